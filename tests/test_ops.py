"""Every op of the registry, tested by what its row says; nothing here names an op but exceptions.

A row is tried on the calls that `gradengine.testing.cases` makes of it: forward against its own
formula in float64, both modes against central differences at first and second order, dtypes,
memory, NaN, and broadcasting on random shapes. What is special about an op is in tables at the top.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes

import gradengine as ge
from gradengine.op import Op, registry
from gradengine.program.selftest import check
from gradengine.tape import Traced
from gradengine.tensor import Tensor
from gradengine.testing import cases, check_grads
from gradengine.testing.cases import describe_call, sample

OPS = list(registry.values())
DIFFERENTIABLE = [op for op in OPS if op.differentiable]
CONSTANT = [op for op in OPS if not op.differentiable]
ROWS = [op for op in DIFFERENTIABLE if op.domain is not None]
BINARY = [op for op in ROWS if op.arity == 2 and not op.names]

# --- the exceptions, which people write ---

CHOOSES_DTYPE = {"astype"}
"""Ops whose result has the dtype they are told, whatever comes in."""

ROUNDING = {np.float64: 1e-12, np.float32: 2e-5, np.float16: 2e-2, ml_dtypes.bfloat16: 1e-1}
"""dtype -> how far a result may lie from the one in float64, relative to the largest element."""


def by_op(ops: list[Op]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


def is_flat(op: Op) -> bool:
    """Whether the derivative is 0 wherever there is one: floor, sign and the like."""
    return op.partials is not None and all(d is None or d == 0 for d in op.partials)


# --- calls ---


def floats_in(args: Any) -> list[int]:
    """Which arguments are float arrays."""
    return [i for i, x in enumerate(args) if isinstance(x, np.ndarray) and is_float(x)]


def is_float(x: Any) -> bool:
    return x.dtype.kind == "f" or x.dtype == ml_dtypes.bfloat16


def calls(op: Op, **options: Any) -> Iterator[tuple[Callable[..., Any], Any, Any]]:
    """(the op as a function of its arrays alone, args, params) for every generated call."""
    for args, params in cases(op, **options):

        def function(*inputs: Any, params: Any = params) -> Any:
            return op.function(*inputs, **params)

        yield function, args, params


class called:
    """Adds the call to whatever goes wrong inside."""

    def __init__(self, args: Any, params: Any) -> None:
        self.args, self.params = args, params

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: Any, error: BaseException | None, _where: Any) -> None:
        if error is not None:
            strides = [getattr(x, "strides", None) for x in self.args]
            error.add_note(f"in the call ({describe_call(self.args, self.params)}), {strides=}")


def wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and is_float(x) else x


def outputs(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def lifted(args: Any) -> list[Any]:
    """The arguments with arrays as constant tensors."""
    return [ge.asarray(x) if isinstance(x, np.ndarray) else x for x in args]


def leaves(args: Any) -> list[Any]:
    """The arguments with float arrays as tensors that ask for a gradient."""
    chosen = floats_in(args)
    return [ge.asarray(x).requires_grad_() if i in chosen else x for i, x in enumerate(args)]


def backward(op: Op, inputs: list[Any], params: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Outputs, cotangents given to them, and tensors with their gradients in `.grad`."""
    ys = [y for y in outputs(op.function(*inputs, **params)) if y.requires_grad]
    seeds = [np.linspace(-1, 1, y.size).reshape(y.shape).astype(y.dtype) for y in ys]
    if ys:
        ge.autograd.backward(ys, seeds)
    return ys, seeds, [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]


# --- values ---


@by_op(OPS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda d: d.__name__)
def test_forward_is_the_formula_in_float64(op: Op, dtype: Any):
    compare_with_float64(op, dtype)


@by_op(ROWS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=lambda d: d.__name__)
def test_elementwise_ops_in_16_bits(op: Op, dtype: Any):
    compare_with_float64(op, dtype)


def compare_with_float64(op: Op, dtype: Any) -> None:
    tried = 0
    for function, args, params in calls(op, dtype=dtype):
        expected = outputs(op.compute(np, [wide(x) for x in args], params))
        with called(args, params):
            for y, e in zip(outputs(function(*lifted(args))), expected, strict=True):
                y, e = np.asarray(getattr(y, "array", y)), np.asarray(e)
                assert y.shape == e.shape
                if op.differentiable and floats_in(args) and op.name not in CHOOSES_DTYPE:
                    assert y.dtype == dtype
                assert close(y, e, ROUNDING[dtype])
                tried += 1
    assert tried


def close(y: Any, e: Any, rounding: float) -> bool:
    y, e = y.astype(np.float64), e.astype(np.float64)
    return bool((np.abs(y - e) <= rounding * max(1.0, np.abs(e).max(initial=0.0))).all())


@by_op(OPS)
def test_raw_arrays_stay_raw_and_tensors_stay_tensors(op: Op):
    for function, args, params in calls(op):
        with called(args, params):
            raw = outputs(function(*args))
            assert all(isinstance(y, (np.ndarray, np.generic)) for y in raw)
            if not any(isinstance(x, np.ndarray) for x in args):
                continue
            for y, e in zip(outputs(function(*lifted(args))), raw, strict=True):
                assert type(y) is Tensor
                assert isinstance(y.array, np.ndarray)
                assert not y.requires_grad
                assert (y.shape, y.dtype) == (e.shape, e.dtype)
                assert np.array_equal(y.array, e)


# --- derivatives ---


@by_op(DIFFERENTIABLE)
def test_derivatives_to_second_order(op: Op):
    """vjp and jvp against central differences, then the derivatives of both of them."""
    tried = 0
    for function, args, params in calls(op):
        if floats_in(args):
            with called(args, params):
                check_grads(function, args, order=2)
            tried += 1
    assert tried


@by_op(DIFFERENTIABLE)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_and_tangents_have_their_dtype(op: Op, dtype: str):
    for function, args, params in calls(op, dtype=dtype):
        with called(args, params):
            _, _, xs = backward(op, leaves(args), params)
            for x in xs:
                assert x.grad is None or (x.grad.dtype, x.grad.shape) == (x.dtype, x.shape)
            chosen = floats_in(args)
            if chosen:
                check_tangents(function, args, chosen)


def check_tangents(function: Callable[..., Any], args: Any, chosen: list[int]) -> None:
    def of_floats(*xs: Any) -> Any:
        new = list(args)
        for i, x in zip(chosen, xs, strict=True):
            new[i] = x
        return function(*new)

    xs = tuple(args[i] for i in chosen)
    ys, dys = ge.jvp(of_floats, xs, tuple(np.ones_like(x) for x in xs))
    for y, dy in zip(outputs(ys), outputs(dys), strict=True):
        assert (dy.dtype, dy.shape) == (y.dtype, y.shape)


@by_op(DIFFERENTIABLE)
def test_gradients_in_float32_are_those_of_float64(op: Op):
    for _, args, params in calls(op, dtype=np.float32):
        with called(args, params):
            _, _, xs = backward(op, leaves(args), params)
            _, _, references = backward(op, leaves([wide(x) for x in args]), params)
            for x, reference in zip(xs, references, strict=True):
                if reference.grad is None:
                    assert x.grad is None
                    continue
                g, e = x.grad.numpy().astype(np.float64), reference.grad.numpy()
                assert np.abs(g - e).max(initial=0) <= 1e-3 * max(1, np.abs(e).max(initial=0))


@by_op(CONSTANT)
def test_results_without_derivative_never_ask_for_one(op: Op):
    tried = 0
    for _, args, params in calls(op):
        for y in outputs(op.function(*leaves(args), **params)):
            assert not isinstance(y, Traced) or not y.requires_grad, describe_call(args, params)
            tried += 1
    assert tried


# --- memory ---


@by_op(OPS)
def test_inputs_are_left_as_they_were(op: Op):
    for _, args, params in calls(op):
        before = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
        with called(args, params):
            if op.differentiable:
                backward(op, leaves(args), params)
            else:
                op.function(*args, **params)
            for x, copy in zip(args, before, strict=True):
                assert np.array_equal(x, copy) if isinstance(x, np.ndarray) else x is copy


@by_op(DIFFERENTIABLE)
def test_no_gradient_shares_memory(op: Op):
    for _, args, params in calls(op):
        with called(args, params):
            ys, seeds, xs = backward(op, leaves(args), params)
            grads = [x.grad.array for x in xs if x.grad is not None]
            for a, b in combinations(grads, 2):
                assert not np.shares_memory(a, b), "two gradients"
            for g in grads:
                assert g.flags.writeable
                for other in [*seeds, *(y.array for y in ys), *(x for x in args)]:
                    if isinstance(other, np.ndarray):
                        assert not np.shares_memory(g, other), "a gradient and another array"


# --- not a number ---


@by_op(DIFFERENTIABLE)
def test_nan_reaches_every_output_that_depends_on_it(op: Op):
    """Where the output moves with an input (by the jvp), an input of NaN makes it NaN."""
    tried = 0
    for function, args, params in calls(op):
        for i in floats_in(args):
            with called(args, params), np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")

                def of_one(x: Any, i: int = i, args: Any = args, function: Any = function) -> Any:
                    return function(*args[:i], x, *args[i + 1 :])

                _, dys = ge.jvp(of_one, (args[i],), (np.full(args[i].shape, 0.7),))
                spoilt = outputs(of_one(np.full(args[i].shape, np.nan)))
                for dy, y in zip(outputs(dys), spoilt, strict=True):
                    moves = dy.numpy() != 0
                    assert np.isnan(np.asarray(y)[moves]).all()
                    tried += int(moves.sum())
    assert tried or is_flat(op)


NUMPY_NAMES = {"permute_dims": "transpose", "concat": "concatenate", "pow": "power"}


def numpy_twin(op: Op) -> Callable[..., Any] | None:
    return getattr(np, NUMPY_NAMES.get(op.name, op.name), None)


@by_op([op for op in OPS if numpy_twin(op) is not None])
def test_one_nan_goes_where_numpy_sends_it(op: Op):
    """Ops that NumPy has under the same name: one NaN planted in each float input in turn."""
    twin, tried = numpy_twin(op), 0
    assert twin is not None
    for function, args, params in calls(op):
        for i in floats_in(args):
            if not args[i].size:
                continue
            x = args[i].copy()
            x.reshape(-1)[x.size // 2] = np.nan
            spoilt = [*args[:i], x, *args[i + 1 :]]
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    expected = twin(*spoilt, **params)
                except TypeError:
                    continue  # NumPy calls its parameters otherwise
                with called(args, params):
                    y = np.asarray(function(*spoilt))
                    if y.dtype.kind == "f":
                        assert np.array_equal(np.isnan(y), np.isnan(expected))
                        tried += 1
    if op.differentiable and op.domain is not None:
        assert tried


# --- integers ---


@by_op([op for op in CONSTANT if op.domain is not None])
def test_integers_go_in(op: Op):
    """Comparisons, bit operations and roundings take integers (NumPy refuses some: TypeError)."""
    for _, args, params in calls(op):
        whole = [
            np.abs(x * 3).astype(np.int64) + 1 if isinstance(x, np.ndarray) and is_float(x) else x
            for x in args
        ]
        if any(isinstance(x, float) for x in whole):
            continue
        expected = op.compute(np, whole, params)
        y = op.function(*[ge.asarray(x) for x in whole], **params)
        for got, e in zip(outputs(y), outputs(expected), strict=True):
            assert np.array_equal(got.numpy(), e)


# --- broadcasting on random shapes ---

DRAWS = 10_000
SHAPES = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0)
PROFILE = settings(
    max_examples=-(-DRAWS // len(BINARY)),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@by_op(BINARY)
def test_broadcasting_is_undone_by_summing(op: Op):
    """The gradient of an input is that of its broadcast self, summed where it was repeated."""
    domains = op.domain if isinstance(op.domain, tuple) else (op.domain, op.domain)

    @PROFILE
    @given(SHAPES, st.integers(0, 2**32 - 1))
    def check(drawn: BroadcastableShapes, seed: int) -> None:
        random = np.random.default_rng(seed)
        args = [
            sample(d, math.prod(shape), random).reshape(shape)
            for shape, d in zip(drawn.input_shapes, domains, strict=True)
        ]
        g = random.uniform(0.5, 1, drawn.result_shape)
        full = [np.broadcast_to(x, drawn.result_shape) for x in args]
        for x, e in zip(gradients(op, args, g), gradients(op, full, g), strict=True):
            if x is not None:
                assert np.allclose(x, summed(e, x.shape), rtol=1e-9, atol=1e-12)

    check()


def gradients(op: Op, args: list[Any], g: Any) -> list[Any]:
    xs = [ge.tensor(x, requires_grad=True) for x in args]
    y = op.function(*xs)
    assert y.shape == g.shape
    if y.requires_grad:
        y.backward(g)
    for x in xs:
        assert x.grad is None or x.grad.shape == x.shape
    return [None if x.grad is None else x.grad.numpy() for x in xs]


def summed(g: Any, shape: tuple[int, ...]) -> Any:
    """One element of the result at a time: nothing of the engine's own summing."""
    total = np.zeros(shape)
    padded = total.reshape((1,) * (g.ndim - len(shape)) + shape)
    for index in np.ndindex(g.shape):
        padded[tuple(0 if n == 1 else i for i, n in zip(index, padded.shape, strict=True))] += g[
            index
        ]
    return total


# --- on a GPU ---


@pytest.mark.gpu
@by_op(OPS)
def test_the_gpu_agrees(op: Op):
    """Values as on the CPU, derivatives as by differences, on every call of `cases`."""
    for verdict in check([op.name], "cuda", order=2):
        assert verdict.calls
        assert not verdict.problems
