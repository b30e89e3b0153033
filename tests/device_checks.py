"""An op on the GPU against the same op on the CPU: value, first and second derivative.

No tests here: tests/test_gpu.py runs these on a GPU, and on the stand-in for one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

import gradengine as ge
from gradengine.device import is_array, move, to_numpy
from gradengine.dtypes import is_inexact
from gradengine.errors import DTypeError
from gradengine.op import Op
from gradengine.tape import Traced
from gradengine.testing import cases
from gradengine.testing.cases import describe_call

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
ROOM = {"float16": 16.0, "bfloat16": 16.0, "float32": 64.0, "float64": 512.0}
"""How many epsilons device and host may lie apart, at a size of one or at the largest element."""


def outcomes(
    op: Op, args: tuple[Any, ...], params: dict[str, Any], device: str, order: int
) -> list[list[Any]]:
    """[values, first derivatives, second derivatives] of one call, as NumPy arrays (None: none)."""
    random = np.random.default_rng(7)
    placed = [move(x, device) if is_array(x) else x for x in args]
    inputs = [
        ge.tensor(x, requires_grad=True) if is_array(x) and is_inexact(x.dtype) else x
        for x in placed
    ]
    leaves = [x for x in inputs if isinstance(x, ge.Tensor)]
    y = op.function(*inputs, **params)
    found = [[_host(v) for v in _listed(y)]]
    outs = [v for v in _listed(y) if isinstance(v, ge.Tensor) and v.requires_grad]
    for _ in range(order):
        if not outs or not op.differentiable:
            break
        seeds = [_seed(random, v, device) for v in outs]
        grads = ge.autograd.grad(outs, leaves, seeds, create_graph=True, allow_unused=True)
        found.append([None if g is None else _host(g) for g in grads])
        outs = [g for g in grads if g is not None and g.requires_grad]
    return found


def _seed(random: np.random.Generator, v: Any, device: str) -> Any:
    drawn = random.uniform(0.5, 1.5, tuple(v.shape)).astype(v.dtype)
    return ge.tensor(move(np.asarray(drawn), device))


def _listed(y: Any) -> list[Any]:
    return [*y] if isinstance(y, (tuple, list)) else [y]


def _host(x: Any) -> Any:
    return to_numpy(x.array if isinstance(x, Traced) else x)


def compare(op: Op, dtype: str, device: str = "cuda", order: int = 2) -> list[str]:
    """What differs between device and host in the calls that test `op`; [] if nothing does."""
    problems: list[str] = []
    for args, params in _calls(op, dtype):
        with np.errstate(all="ignore"):
            try:
                want = outcomes(op, args, params, "cpu", order)
            except DTypeError:  # the op does not take this dtype at all
                with contextlib.suppress(DTypeError):
                    outcomes(op, args, params, device, order)
                    problems.append(f"{describe_call(args, params)}: refused on the CPU alone")
                continue
            try:
                got = outcomes(op, args, params, device, order)
            except Exception as error:
                problems.append(f"{describe_call(args, params)}: {type(error).__name__}: {error}")
                continue
        for level, (a, b) in enumerate(zip_longest(got, want)):
            wrong = _difference(a, b, dtype)
            if wrong:
                name = ("value", "first derivative", "second derivative")[level]
                problems.append(f"{describe_call(args, params)}: {name}: {wrong}")
    return problems


def _calls(op: Op, dtype: str) -> Iterator[Any]:
    """The calls that test an op; those of moves between devices are tested elsewhere."""
    return iter(()) if op.name == "to_device" else cases(op, dtype=dtype)


def _difference(got: list[Any] | None, want: list[Any] | None, dtype: str) -> str:
    if got is None or want is None:  # a derivative of zero that one side does not record
        there = [x for x in (got or want or []) if x is not None]
        return "" if not any(x.any() for x in there) else "derivatives that only one side has"
    if len(got) != len(want):
        return f"{len(got)} arrays for {len(want)}"
    for a, b in zip(got, want, strict=True):
        if (a is None) != (b is None):
            return "a derivative that only one side has"
        if a is None:
            continue
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.shape} {a.dtype} for {b.shape} {b.dtype}"
        if a.dtype.kind not in "fcV":
            if not np.array_equal(a, b):
                return f"{a!r} for {b!r}"
            continue
        x, y = (
            np.asarray(v).astype("complex128" if v.dtype.kind == "c" else "float64") for v in (a, b)
        )
        scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            near = np.abs(x - y) <= ROOM[dtype] * EPSILON[dtype] * scale
        if not (same | near).all():
            worst = np.abs(x - y)[~(same | near)]
            return f"off by {worst.max():.3g} where {scale:.3g} is the largest"
    return ""
