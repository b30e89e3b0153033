"""Singular points, kinks, ties and infinities: what is documented there, row by row.

Numbers at ordinary points are the business of test_ops.py (generated) and test_accuracy.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.op import registry
from gradengine.ops import activations, gates

INF, NAN = math.inf, math.nan
Function = Callable[..., Any]


def derivatives(f: Function, x: Any, order: int) -> list[Any]:
    """f', f'', ... at each element of x, by repeated reverse mode."""
    t = ge.tensor(np.asarray(x, np.float64), requires_grad=True)
    found: list[Any] = []
    with np.errstate(all="ignore"):
        y = f(t)
        for _ in range(order):
            (y,) = ge.autograd.grad([y.sum()], [t], create_graph=True)
            found.append(y.numpy().copy())
            if not y.requires_grad:
                y = y * t * 0  # constant from here on: its derivatives are zero
    return found


def gradient(f: Function, *args: Any, dtype: Any = np.float64) -> list[Any]:
    ts = [ge.tensor(np.asarray(a, dtype), requires_grad=True) for a in args]
    with np.errstate(all="ignore"):
        f(*ts).sum().backward()
    return [t.grad.numpy() for t in ts if t.grad is not None]


# --- a masked branch gives no NaN ---

MASKED: dict[str, tuple[Function, list[float], list[float]]] = {
    # name: (op, points where it is singular or undefined, points where it is smooth)
    "sqrt": (ge.sqrt, [-1.0, 0.0, -INF], [4.0, 0.25]),
    "rsqrt": (ge.rsqrt, [-1.0, 0.0], [4.0]),
    "cbrt": (ge.cbrt, [0.0, -0.0], [8.0, -8.0]),
    "log": (ge.log, [-1.0, 0.0, -INF], [0.5, 3.0]),
    "log1p": (ge.log1p, [-1.0, -2.0], [0.5, 3.0]),
    "log2": (ge.log2, [-1.0, 0.0], [0.5, 3.0]),
    "log10": (ge.log10, [-1.0, 0.0], [0.5, 3.0]),
    "divide": (lambda x: 1 / x, [0.0, -0.0], [0.5, -3.0]),
    "reciprocal": (ge.reciprocal, [0.0, -0.0], [0.5, -3.0]),
    "power": (lambda x: x**-1.5, [-1.0, 0.0], [0.5, 3.0]),
    "root": (lambda x: x**0.5, [-1.0, 0.0], [0.5, 3.0]),
    "power of itself": (lambda x: x**x, [-1.0, 0.0], [0.5, 3.0]),
    "xlogy": (lambda x: ge.xlogy(x, x), [-1.0, 0.0], [0.5, 3.0]),
    "acos": (ge.acos, [-1.0, 1.0, 2.0], [0.5, -0.3]),
    "asin": (ge.asin, [-1.0, 1.0, 2.0], [0.5, -0.3]),
    "atanh": (ge.atanh, [-1.0, 1.0, 2.0], [0.5, -0.3]),
    "acosh": (ge.acosh, [1.0, 0.5, -1.0], [2.0, 3.0]),
    "hypot": (lambda x: ge.hypot(x, 0 * x), [0.0], [0.5, -3.0]),
    "atan2": (lambda x: ge.atan2(x, 2 * x), [0.0], [0.5, -3.0]),
    "norm": (lambda x: ge.sqrt(x * x + 0 * x), [0.0], [0.5, -3.0]),
    "log of abs": (lambda x: ge.log(ge.abs(x)), [0.0], [0.5, -3.0]),
    "logaddexp": (lambda x: ge.logaddexp(x, 2 * x), [INF, -INF], [0.5, -3.0]),
    "exp": (ge.exp, [1e4, INF], [0.5, -3.0]),
    "exp2": (ge.exp2, [1e4, INF], [0.5, -3.0]),
    "expm1": (ge.expm1, [1e4, INF], [0.5, -3.0]),
    "sinh": (ge.sinh, [1e4, -INF], [0.5, -3.0]),
    "cosh": (ge.cosh, [1e4, -INF], [0.5, -3.0]),
    "naive softplus": (lambda x: ge.log1p(ge.exp(x)), [1e4, INF], [0.5, -3.0]),
    "remainder": (lambda x: ge.remainder(1.0, x), [0.0], [0.3, 0.7]),
}


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_branch_gives_no_nan_at_first_and_second_order(name: str):
    f, singular, smooth = MASKED[name]
    x = np.array([*singular, *smooth])
    mask = np.arange(len(x)) >= len(singular)
    first, second = derivatives(lambda t: ge.where(mask, f(t), t), x, 2)
    plain_first, plain_second = derivatives(f, smooth, 2)
    np.testing.assert_array_equal(first, [*np.ones(len(singular)), *plain_first])
    np.testing.assert_array_equal(second, [*np.zeros(len(singular)), *plain_second])


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_branch_gives_no_nan_forwards(name: str):
    f, singular, smooth = MASKED[name]
    x = np.array([*singular, *smooth])
    mask = np.arange(len(x)) >= len(singular)

    def masked(t: Any) -> Any:
        return ge.where(mask, f(t), t)

    def slope(t: Any) -> Any:
        return ge.jvp(masked, (t,), (np.ones_like(x),))[1]

    with np.errstate(all="ignore"):
        first, second = ge.jvp(slope, (x,), (np.ones_like(x),))
    np.testing.assert_allclose(first.numpy()[~mask], 1)
    np.testing.assert_allclose(second.numpy()[~mask], 0)
    assert np.isfinite(first.numpy()).all()
    assert np.isfinite(second.numpy()).all()


def test_where_takes_the_derivative_of_the_chosen_branch():
    with np.errstate(invalid="ignore"):
        (g,) = gradient(lambda x: ge.where(x > 0, ge.sqrt(x), x), [-1.0, 0.0, 4.0])
    np.testing.assert_array_equal(g, [1, 1, 0.25])


def test_where_passes_infinite_cotangents_to_one_side_only():
    a, b = ge.tensor([1.0, 1.0], requires_grad=True), ge.tensor([2.0, 2.0], requires_grad=True)
    ge.where(np.array([True, False]), a, b).backward(ge.tensor([INF, NAN]))
    assert a.grad is not None
    assert b.grad is not None
    np.testing.assert_array_equal(a.grad.numpy(), [INF, 0])
    np.testing.assert_array_equal(b.grad.numpy(), [0, NAN])


def test_where_ignores_the_gradient_of_its_condition():
    c = ge.tensor([0.0, 2.0], requires_grad=True)
    x = ge.tensor([1.0, 1.0], requires_grad=True)
    ge.where(c, x, 3 * x).sum().backward()
    assert c.grad is None
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [3, 1])


# --- slopes where there is a choice ---

SLOPES: list[tuple[str, Function, float, float]] = [
    ("abs", ge.abs, 0.0, 0.0),
    ("abs", ge.abs, -0.0, 0.0),
    ("sign", ge.sign, 0.0, 0.0),
    ("sqrt", ge.sqrt, 0.0, INF),
    ("cbrt", ge.cbrt, 0.0, INF),
    ("asin", ge.asin, 1.0, INF),
    ("acos", ge.acos, -1.0, -INF),
    ("acosh", ge.acosh, 1.0, INF),
    ("atanh", ge.atanh, 1.0, INF),
    ("log", ge.log, 0.0, INF),
    ("round", ge.round, 0.5, 0.0),
    ("floor", ge.floor, 1.0, 0.0),
    ("copysign", lambda x: ge.copysign(x, -1.0), 0.0, 0.0),
    ("copysign", lambda x: ge.copysign(x, -1.0), -2.0, 1.0),
    ("clip", lambda x: ge.clip(x, -1, 1), 1.0, 1.0),
    ("clip", lambda x: ge.clip(x, -1, 1), -1.0, 1.0),
    ("clip", lambda x: ge.clip(x, -1, 1), 1.5, 0.0),
    ("maximum with 0", lambda x: ge.maximum(x, 0.0), 0.0, 0.5),
    ("minimum with itself", lambda x: ge.minimum(x, x), 3.0, 1.0),
    ("relu", ge.relu, 0.0, 0.0),
    ("leaky_relu", ge.leaky_relu, 0.0, 0.01),
    ("prelu", lambda x: ge.prelu(x, 0.25), 0.0, 0.25),
    ("relu6", ge.relu6, 0.0, 0.0),
    ("relu6", ge.relu6, 6.0, 0.0),
    ("elu", lambda x: ge.elu(x, alpha=2.0), 0.0, 2.0),
    ("selu", ge.selu, 0.0, activations.SELU_SCALE * activations.SELU_ALPHA),
    ("celu", lambda x: ge.celu(x, alpha=2.0), 0.0, 1.0),
    ("hardtanh", ge.hardtanh, 1.0, 0.0),
    ("hardsigmoid", ge.hardsigmoid, -3.0, 0.0),
    ("hardswish", ge.hardswish, -3.0, 0.0),
    ("hardswish", ge.hardswish, 3.0, 1.0),
    ("softsign", ge.softsign, 0.0, 1.0),
    ("softshrink", ge.softshrink, 0.5, 0.0),
    ("hardshrink", ge.hardshrink, -0.5, 0.0),
    ("threshold", lambda x: ge.threshold(x, 1.0, 5.0), 1.0, 0.0),
]


@pytest.mark.parametrize(
    ("name", "f", "x", "slope"), SLOPES, ids=[f"{s[0]} {s[2]}" for s in SLOPES]
)
def test_slopes_at_kinks_and_poles(name: str, f: Function, x: float, slope: float):
    (g,) = gradient(f, x)
    np.testing.assert_allclose(g, slope, rtol=1e-15)


def test_second_derivatives_at_the_kinks_belong_to_the_same_side():
    _, elu = derivatives(ge.elu, [0.0], 2)
    np.testing.assert_array_equal(elu, [1])
    _, softsign = derivatives(ge.softsign, [0.0], 2)
    np.testing.assert_array_equal(softsign, [0])


@pytest.mark.parametrize("f", [ge.maximum, ge.minimum], ids=["maximum", "minimum"])
def test_ties_share_evenly_and_the_total_is_one(f: Function):
    random = np.random.default_rng(0)
    a, b = random.integers(0, 3, (2, 1000)).astype(np.float32)
    a[:2] = b[:2] = INF, -INF
    da, db = gradient(f, a, b, dtype=np.float32)
    np.testing.assert_array_equal(da + db, 1)
    np.testing.assert_array_equal(da[a == b], 0.5)


def test_hypot_at_the_origin():
    da, db = gradient(ge.hypot, 0.0, 0.0)
    assert (da, db) == (0, 0)
    x = ge.tensor([0.0, 0.0], dtype="float64")
    np.testing.assert_array_equal(ge.hessian(lambda v: ge.hypot(v[0], v[1]))(x).numpy(), 0)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (7.0, 7.0), (INF, INF), (-INF, -INF)])
def test_logaddexp_of_equal_arguments(a: float, b: float):
    assert gradient(ge.logaddexp, a, b) == [0.5, 0.5]


def test_logaddexp_of_unequal_arguments():
    cases = (
        (-INF, 0.0, 0.0, 1.0),
        (INF, 0.0, 1.0, 0.0),
        (0.0, 1e4, 0.0, 1.0),
        (-1e308, 1e308, 0, 1),
    )
    for a, b, da, db in cases:
        assert gradient(ge.logaddexp, a, b) == [da, db]


def test_xlogy_at_zero():
    assert gradient(ge.xlogy, 0.0, 0.0) == [-INF, 0.0]
    assert gradient(ge.xlogy, 0.0, 2.0) == [math.log(2), 0.0]


# --- powers ---

POWERS: list[tuple[float, float, list[float]]] = [
    # x**p and its derivatives of order 1 to 4 with respect to x
    (0.0, 0, [0, 0, 0, 0]),
    (0.0, 1, [1, 0, 0, 0]),
    (0.0, 2, [0, 2, 0, 0]),
    (0.0, 3, [0, 0, 6, 0]),
    (0.0, 4, [0, 0, 0, 24]),
    (0.0, 5, [0, 0, 0, 0]),
    (-2.0, 0, [0, 0, 0, 0]),
    (-2.0, 3, [12, -12, 6, 0]),
    (-2.0, -1, [-1 / 4, -1 / 4, -3 / 8, -3 / 4]),
    (3.0, 0.5, [0.5 * 3**-0.5, -0.25 * 3**-1.5, 0.375 * 3**-2.5, -0.9375 * 3**-3.5]),
    (INF, 1, [1, 0, 0, 0]),
    (0.0, 2.5, [0, 0, INF, -INF]),
]


@pytest.mark.parametrize(("x", "p", "expected"), POWERS)
@pytest.mark.parametrize("kind", ["int", "float", "array"])
def test_powers_of_constant_exponent_to_order_4(x: float, p: float, expected: Any, kind: str):
    exponent: Any = {"int": p, "float": float(p), "array": np.array([float(p)])}[kind]
    found = derivatives(lambda t: t**exponent, [x], 4)
    finite = 1 + expected.index(INF) if INF in expected else 4
    np.testing.assert_allclose(np.ravel(found)[:finite], expected[:finite], rtol=1e-14)


EXPONENTS = [
    # base, exponent, d/dbase, d/dexponent
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 1.0, 0.0),
    (0.0, 2.5, 0.0, 0.0),
    (0.0, 0.5, INF, 0.0),
    (0.0, -1.0, -INF, -INF),
    (2.0, 0.0, 0.0, math.log(2)),
    (2.0, 3.0, 12.0, 8 * math.log(2)),
    (-2.0, 2.0, -4.0, NAN),
    (1.0, INF, INF, 0.0),
]


@pytest.mark.parametrize(("a", "b", "da", "db"), EXPONENTS)
def test_powers_in_both_arguments(a: float, b: float, da: float, db: float):
    np.testing.assert_allclose(gradient(ge.pow, [a], [b]), [[da], [db]], rtol=1e-15)
    (db_alone,) = gradient(lambda t: a**t, [b])
    np.testing.assert_allclose(db_alone, [db], rtol=1e-15)


def test_no_nan_in_the_mixed_derivatives_at_zero():
    x = ge.tensor([0.0, 3.0], dtype="float64")
    h = ge.hessian(lambda v: v[0] ** v[1])(x)
    np.testing.assert_array_equal(h.numpy(), 0)
    h = ge.hessian(lambda v: v[0] ** v[1])(ge.tensor([0.0, 0.0], dtype="float64"))
    assert np.isfinite(h.numpy()).all()


# --- clip ---


def test_clip_sends_the_gradient_to_what_it_chose():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 0.5])
    low, high = np.array([-1.0] * 5 + [3.0]), np.array([1.0] * 5 + [2.0])
    dx, dlow, dhigh = gradient(ge.clip, x, low, high)
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(dlow, [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(dhigh, [0, 0, 0, 0, 1, 1])  # max wins where min > max
    np.testing.assert_array_equal(ge.clip(ge.tensor(x), low, high).numpy(), np.clip(x, low, high))


def test_clip_broadcasts_and_takes_none():
    x = np.arange(6.0).reshape(2, 3)
    dx, dhigh = gradient(lambda x, high: ge.clip(x, None, high), x, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(dx, x <= 2)
    np.testing.assert_array_equal(dhigh, [1, 1, 1])
    y = ge.clip(ge.tensor(x))
    np.testing.assert_array_equal(y.numpy(), x)
    assert not np.shares_memory(y.numpy(), x)


# --- both ends of the activations, without a warning ---

ENDS: dict[str, tuple[float, float, float, float]] = {
    # limits of the value and of the slope at -inf and inf; None: the value grows as scale * x
    "relu": (0, INF, 0, 1),
    "leaky_relu": (-INF, INF, 0.01, 1),
    "relu6": (0, 6, 0, 0),
    "elu": (-1, INF, 0, 1),
    "selu": (-activations.SELU_SCALE * activations.SELU_ALPHA, INF, 0, activations.SELU_SCALE),
    "celu": (-1, INF, 0, 1),
    "gelu": (0, INF, 0, 1),
    "gelu_tanh": (0, INF, 0, 1),
    "silu": (0, INF, 0, 1),
    "mish": (0, INF, 0, 1),
    "softplus": (0, INF, 0, 1),
    "sigmoid": (0, 1, 0, 0),
    "log_sigmoid": (-INF, 0, 1, 0),
    "tanh": (-1, 1, 0, 0),
    "hardtanh": (-1, 1, 0, 0),
    "hardsigmoid": (0, 1, 0, 0),
    "hardswish": (0, INF, 0, 1),
    "softsign": (-1, 1, 0, 0),
    "tanhshrink": (-INF, INF, 1, 1),
    "softshrink": (-INF, INF, 1, 1),
    "hardshrink": (-INF, INF, 1, 1),
    "threshold": (0, INF, 0, 1),
}
FLOATS = ["float16", "float32", "float64"]


def value_and_slope(name: str, x: Any) -> tuple[Any, Any]:
    t = ge.tensor(x, requires_grad=True)
    with np.errstate(all="raise", under="ignore"):  # a vanishing tail underflows, rightly
        y = registry[name].function(t)
        y.backward(ge.ones_like(y))
    assert t.grad is not None
    return y.numpy(), t.grad.numpy()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ENDS)
def test_limits_at_infinity_and_the_way_there(name: str, dtype: str):
    low, high, slope_low, slope_high = (np.dtype(dtype).type(v) for v in ENDS[name])
    y, d = value_and_slope(name, np.array([-INF, INF], dtype))
    np.testing.assert_array_equal(y, [low, high])
    np.testing.assert_array_equal(d, [slope_low, slope_high])
    y, d = value_and_slope(name, np.array([-1e4, 1e4], dtype))
    far = np.array([low, high])
    finite = np.isfinite(far)
    np.testing.assert_allclose(y[finite], far[finite], rtol=2e-4)
    assert np.isfinite(y).all()
    assert np.sign(y[~finite]).tolist() == np.sign(far[~finite]).tolist()
    np.testing.assert_allclose(d, [slope_low, slope_high], atol=2e-8, rtol=2e-3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ENDS)
def test_subnormal_zero_and_nan(name: str, dtype: str):
    tiny = np.finfo(dtype).smallest_subnormal
    y, d = value_and_slope(name, np.array([tiny, -tiny, 0.0, -0.0], dtype))
    y0, d0 = y[2], d[:2]
    assert np.isfinite([*y, *d]).all()
    np.testing.assert_allclose(y, y0, atol=4 * float(tiny))
    assert (np.abs(d0) <= 2).all()
    y, _ = value_and_slope(name, np.array([NAN], dtype))
    assert np.isnan(y).all()


def test_every_activation_is_listed_here():
    rows = [*vars(activations).values(), *vars(gates).values()]
    listed = {n for n, op in registry.items() if op.function in rows}
    assert listed - set(ENDS) == {"prelu", "sech2", *SLOPE_ROWS} | (listed & set(IMPORTED))


IMPORTED = ("abs", "exp", "multiply", "square", "where", "zero_like")
SLOPE_ROWS = ("gelu_slope", "sigmoid_slope", "silu_slope")
