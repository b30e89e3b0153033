"""What every CUDA functor should give: float64 NumPy for value and derivative, mpmath for the
value.

The NumPy formulas are written from the definitions, not from the headers. The derivatives of the
mpmath column are taken by mpmath itself, so they do not share a mistake with ours. Used by the
tests/test_kernels_*.py files; holds no tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from scipy import special

mp = mpmath.mp
half = mpmath.mpf(1) / 2


@dataclass(frozen=True)
class Reference:
    """One functor: NumPy value and derivative, mpmath value, parameters, kinks, ulp limits."""

    value: Callable[..., Any]
    slope: Callable[..., Any]
    exact: Callable[..., Any]
    parameters: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    ulp: tuple[float, float] = (4, 8)  # accurate types: value, derivative
    flush: bool = False  # a derivative below the smallest normal number may come out as zero


# --- pieces --------------------------------------------------------------------------------------


def where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(condition, yes, no)


def sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return where(x < 0, e / (1 + e), 1 / (1 + e))


def sigmoid_slope(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2


def gate(x: Any, factor: Any) -> Any:
    """x * factor where the factor has underflowed to zero at an infinite x."""
    return where(factor == 0, 0, x * factor)


def normal_pdf(x: Any) -> Any:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def twice_u(x: Any) -> Any:
    return 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


def gelu_tanh_slope(x: Any) -> Any:
    s, d = sigmoid(twice_u(x)), sigmoid_slope(twice_u(x))
    return s + gate(x * 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x), d)


def mish_slope(x: Any) -> Any:
    w = np.minimum(x, 40.0)
    n = np.exp(w) * (np.exp(w) + 2)
    sech2 = 4 * (n + 1) / (n + 2) ** 2
    return where(x > 40, 1, n / (n + 2) + gate(x, sech2 * sigmoid(w)))


def mish(x: Any) -> Any:
    n = np.exp(np.minimum(x, 40.0)) * (np.exp(np.minimum(x, 40.0)) + 2)
    return gate(x, n / (n + 2))


def sech2(x: Any) -> Any:
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


def tanhshrink(x: Any) -> Any:
    """x - tanh x by its Taylor series below 0.3, where the difference loses its digits."""
    q = np.minimum(x * x, 1.0)
    series = [1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075]
    series += [929569 / 638512875, -6404582 / 10854718875, 443861162 / 1856156927625]
    small = sum(c * q**k for k, c in enumerate(series))
    return where(np.abs(x) < 0.3, x * q * small, x - np.tanh(x))


def clip(x: Any, low: float, high: float) -> Any:
    return where(np.isnan(x), x, np.clip(x, low, high))


def inside(x: Any, low: float, high: float) -> Any:
    return ((x > low) & (x < high)) * 1.0


def mp_sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def mp_softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x))


def mp_clip(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


LOG2E, LOG10E = 1 / np.log(2), 1 / np.log(10)
SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)

# --- activations, in the order of kernels/activations.cuh ----------------------------------------

UNARY: dict[str, Reference] = {
    "Relu": Reference(
        lambda x: where(np.isnan(x), x, np.maximum(x, 0)),
        lambda x: x > 0,
        lambda x: max(x, 0),
        kinks=(0,),
    ),
    "LeakyRelu": Reference(
        lambda x, s: where(x > 0, x, s * x),
        lambda x, s: where(x > 0, 1, s),
        lambda x, s: x if x > 0 else s * x,
        (0.01,),
        (0,),
    ),
    "Relu6": Reference(
        lambda x: clip(x, 0, 6), lambda x: inside(x, 0, 6), lambda x: mp_clip(x, 0, 6), kinks=(0, 6)
    ),
    "Elu": Reference(
        lambda x, a: where(x > 0, x, a * np.expm1(x)),
        lambda x, a: where(x > 0, 1, a * np.exp(x)),
        lambda x, a: x if x > 0 else a * mpmath.expm1(x),
        (1.25,),
        (0,),
    ),
    "Selu": Reference(
        lambda x: SELU[0] * where(x > 0, x, SELU[1] * np.expm1(x)),
        lambda x: SELU[0] * where(x > 0, 1, SELU[1] * np.exp(x)),
        lambda x: (
            mpmath.mpf("1.0507009873554804934193349852946")
            * (x if x > 0 else mpmath.mpf("1.6732632423543772848170429916717") * mpmath.expm1(x))
        ),
        kinks=(0,),
    ),
    "Celu": Reference(
        lambda x, a: where(x > 0, x, a * np.expm1(x / a)),
        lambda x, a: where(x > 0, 1, np.exp(x / a)),
        lambda x, a: x if x > 0 else a * mpmath.expm1(x / a),
        (1.5,),
        (0,),
    ),
    "Gelu": Reference(
        lambda x: gate(x, special.ndtr(x)),
        lambda x: special.ndtr(x) + gate(x, normal_pdf(x)),
        lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    ),
    "GeluTanh": Reference(
        lambda x: gate(x, sigmoid(twice_u(x))),
        gelu_tanh_slope,
        lambda x: (
            x * mp_sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))
        ),
    ),
    "Silu": Reference(
        lambda x: gate(x, sigmoid(x)),
        lambda x: sigmoid(x) + gate(x, sigmoid_slope(x)),
        lambda x: x * mp_sigmoid(x),
    ),
    "Mish": Reference(mish, mish_slope, lambda x: x * mpmath.tanh(mp_softplus(x))),
    "Softplus": Reference(
        lambda x, b, t: where(x > 0, x, 0) + np.log1p(np.exp(-np.abs(b * x))) / b,
        lambda x, b, t: sigmoid(b * x),
        lambda x, b, t: mp_softplus(b * x) / b,
        (1.5, 20.0),
    ),
    "Sigmoid": Reference(sigmoid, sigmoid_slope, mp_sigmoid),
    "LogSigmoid": Reference(
        lambda x: -np.logaddexp(0, -x), lambda x: sigmoid(-x), lambda x: -mp_softplus(-x)
    ),
    "Tanh": Reference(np.tanh, sech2, mpmath.tanh),
    "Hardtanh": Reference(clip, inside, mp_clip, (-1.5, 2.0), (-1.5, 2.0)),
    "Hardsigmoid": Reference(
        lambda x: clip(x + 3, 0, 6) / 6,
        lambda x: inside(x, -3, 3) / 6,
        lambda x: mp_clip(x + 3, 0, 6) / 6,
        kinks=(-3, 3),
    ),
    "Hardswish": Reference(
        lambda x: where(x <= -3, 0, where(x >= 3, x, x * (x + 3) / 6)),
        lambda x: where(x <= -3, 0, where(x >= 3, 1, x / 3 + 0.5)),
        lambda x: x * mp_clip(x + 3, 0, 6) / 6,
        kinks=(-3, 3),
    ),
    "Softsign": Reference(
        lambda x: where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
        lambda x: (1 + np.abs(x)) ** -2.0,
        lambda x: x / (1 + abs(x)),
        kinks=(0,),
    ),
    "Tanhshrink": Reference(tanhshrink, lambda x: np.tanh(x) ** 2, lambda x: x - mpmath.tanh(x)),
    "Softshrink": Reference(
        lambda x, t: where(np.abs(x) <= t, 0, x - np.copysign(t, x)),
        lambda x, t: np.abs(x) > t,
        lambda x, t: 0 if abs(x) <= t else x - t * mpmath.sign(x),
        (0.5,),
        (-0.5, 0.5),
    ),
    "Hardshrink": Reference(
        lambda x, t: where(np.abs(x) <= t, 0, x),
        lambda x, t: np.abs(x) > t,
        lambda x, t: 0 if abs(x) <= t else x,
        (0.5,),
        (-0.5, 0.5),
    ),
    "Threshold": Reference(
        lambda x, t, v: where(x <= t, v, x),
        lambda x, t, v: x > t,
        lambda x, t, v: v if x <= t else x,
        (0.25, -7.0),
        (0.25,),
    ),
}


# --- elementary functions, in the order of kernels/elementary.cuh --------------------------------


def step(value: Callable[[Any], Any], exact: Callable[[Any], Any]) -> Reference:
    """A function whose derivative is zero wherever it has one."""
    return Reference(value, lambda x: 0 * np.sign(np.nan_to_num(x)), exact, kinks=("everywhere",))  # type: ignore[arg-type]


UNARY |= {
    "Abs": Reference(np.abs, np.sign, abs, kinks=(0,)),
    "Negative": Reference(np.negative, lambda x: np.full_like(x, -1), lambda x: -x),
    "Positive": Reference(np.positive, np.ones_like, lambda x: x),
    "Sign": step(np.sign, mpmath.sign),
    "Floor": step(np.floor, mpmath.floor),
    "Ceil": step(np.ceil, mpmath.ceil),
    "Trunc": step(np.trunc, lambda x: mpmath.sign(x) * mpmath.floor(abs(x))),
    "Round": step(np.rint, mpmath.nint),
    "Square": Reference(np.square, lambda x: 2 * x, lambda x: x * x),
    "Reciprocal": Reference(lambda x: 1 / x, lambda x: -(1 / x) / x, lambda x: 1 / x),
    "Sqrt": Reference(np.sqrt, lambda x: 0.5 / np.sqrt(x), mpmath.sqrt),
    "Rsqrt": Reference(
        lambda x: 1 / np.sqrt(x), lambda x: -0.5 / np.sqrt(x) / x, lambda x: 1 / mpmath.sqrt(x)
    ),
    "Exp": Reference(np.exp, np.exp, mpmath.exp),
    "Expm1": Reference(np.expm1, np.exp, mpmath.expm1),
    "Log": Reference(np.log, lambda x: 1 / x, mpmath.log),
    "Log1p": Reference(np.log1p, lambda x: 1 / (1 + x), mpmath.log1p),
    "Log2": Reference(np.log2, lambda x: LOG2E / x, lambda x: mpmath.log(x) / mpmath.log(2)),
    "Log10": Reference(np.log10, lambda x: LOG10E / x, lambda x: mpmath.log(x) / mpmath.log(10)),
    "Sin": Reference(np.sin, np.cos, mpmath.sin),
    "Cos": Reference(np.cos, lambda x: -np.sin(x), mpmath.cos),
    "Tan": Reference(np.tan, lambda x: 1 + np.tan(x) ** 2, mpmath.tan),
    "Asin": Reference(np.arcsin, lambda x: 1 / np.sqrt((1 - x) * (1 + x)), mpmath.asin),
    "Acos": Reference(np.arccos, lambda x: -1 / np.sqrt((1 - x) * (1 + x)), mpmath.acos),
    "Atan": Reference(np.arctan, lambda x: 1 / (1 + x * x), mpmath.atan, flush=True),
    "Sinh": Reference(np.sinh, np.cosh, mpmath.sinh),
    "Cosh": Reference(np.cosh, np.sinh, mpmath.cosh),
    "Asinh": Reference(np.arcsinh, lambda x: 1 / np.hypot(1, x), mpmath.asinh),
    "Acosh": Reference(np.arccosh, lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)), mpmath.acosh),
    "Atanh": Reference(np.arctanh, lambda x: 1 / ((1 - x) * (1 + x)), mpmath.atanh, flush=True),
    "Erf": Reference(special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x), mpmath.erf),
    "Erfc": Reference(special.erfc, lambda x: -2 / np.sqrt(np.pi) * np.exp(-x * x), mpmath.erfc),
}

# --- arithmetic, in the order of kernels/arithmetic.cuh (and Prelu) ------------------------------


@dataclass(frozen=True)
class Reference2:
    """A functor of two operands: NumPy value and both derivatives."""

    value: Callable[..., Any]
    slope_a: Callable[..., Any]
    slope_b: Callable[..., Any]
    ulp: tuple[float, float] = (4, 8)


def full(number: float) -> Callable[..., Any]:
    return lambda a, b: np.full_like(a, number)


def remainder_slope(a: Any, b: Any) -> Any:
    return -np.floor_divide(a, b)


BINARY: dict[str, Reference2] = {
    "Prelu": Reference2(
        lambda x, w: where(x > 0, x, w * x),
        lambda x, w: where(x > 0, 1, w),
        lambda x, w: where(x > 0, 0, x),
    ),
    "Add": Reference2(np.add, full(1), full(1)),
    "Subtract": Reference2(np.subtract, full(1), full(-1)),
    "Multiply": Reference2(np.multiply, lambda a, b: b, lambda a, b: a),
    "Divide": Reference2(np.divide, lambda a, b: 1 / b, lambda a, b: -(a / b) / b),
    "Maximum": Reference2(
        np.maximum, lambda a, b: (a > b) + 0.5 * (a == b), lambda a, b: (b > a) + 0.5 * (a == b)
    ),
    "Minimum": Reference2(
        np.minimum, lambda a, b: (a < b) + 0.5 * (a == b), lambda a, b: (b < a) + 0.5 * (a == b)
    ),
    "Power": Reference2(
        np.power,
        lambda a, b: where((b == 0) | (np.power(a, b - 1) == 0), 0, b * np.power(a, b - 1)),
        lambda a, b: where(
            (np.power(a, b) == 0) | ((a == 0) & (b >= 0)), 0, np.power(a, b) * np.log(a)
        ),
    ),
    "Hypot": Reference2(
        np.hypot,
        lambda a, b: where(a == 0, 0, a / np.hypot(a, b)),
        lambda a, b: where(b == 0, 0, b / np.hypot(a, b)),
    ),
    "Atan2": Reference2(
        np.arctan2,
        lambda a, b: b / np.hypot(a, b) / np.hypot(a, b),
        lambda a, b: -a / np.hypot(a, b) / np.hypot(a, b),
    ),
    "Logaddexp": Reference2(
        np.logaddexp,
        lambda a, b: where(a == b, 0.5, sigmoid(a - b)),
        lambda a, b: where(a == b, 0.5, sigmoid(b - a)),
    ),
    "FloorDivide": Reference2(np.floor_divide, full(0), full(0)),
    "Remainder": Reference2(np.remainder, full(1), remainder_slope),
    "Copysign": Reference2(np.copysign, lambda a, b: np.sign(a) * np.copysign(1, b), full(0)),
}

# --- measuring -----------------------------------------------------------------------------------

MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
SMALLEST = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}
LARGEST = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": float(np.finfo(np.float32).max),
    "float64": float(np.finfo(np.float64).max),
}


def spacing(reference: Any, dtype: str) -> Any:
    """One unit in the last place of `dtype` at each (float64) reference value."""
    with np.errstate(all="ignore"):
        exponent = np.frexp(np.abs(reference))[1] - 1
    exponent = np.maximum(np.where(reference == 0, SMALLEST[dtype], exponent), SMALLEST[dtype])
    return np.ldexp(1.0, exponent - MANTISSA[dtype])


def errors_in_ulp(got: Any, reference: Any, dtype: str) -> Any:
    """|got - reference| in units of the last place; infinities and NaN must agree in kind.

    A reference beyond the largest finite number may come out as that number or as infinity.
    """
    with np.errstate(all="ignore"):  # ml_dtypes' casts complain about NaN
        got = np.asarray(got).astype(np.float64)
    reference = np.asarray(reference, np.float64)
    over = np.abs(reference) > LARGEST[dtype] * (1 - 2.0 ** -(MANTISSA[dtype] + 2))
    with np.errstate(all="ignore"):
        error = np.abs(got - reference) / spacing(
            np.where(np.isfinite(reference), reference, 1.0), dtype
        )
    error = np.where(np.isnan(reference), np.where(np.isnan(got), 0.0, np.inf), error)
    same_side = np.sign(got) == np.sign(reference)
    near = same_side & (np.abs(got) >= LARGEST[dtype] * (1 - 2.0 ** -MANTISSA[dtype]))
    error = np.where(over & ~np.isnan(reference), np.where(near, 0.0, np.inf), error)
    return np.where(np.isnan(error), np.inf, error)
