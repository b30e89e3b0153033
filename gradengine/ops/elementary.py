"""Elementary functions: steps, exponentials, logarithms, powers, angles, error functions.

Letters: `a`, `b`, `x` inputs; `y` output; each derivative is dy/d(input) of `(y, *inputs)`.
Values are the array module's own. At its singular points a derivative is infinite, as it should
be, but a cotangent of exactly zero stays zero there: what a mask cuts off gives no NaN.

>>> import gradengine as ge
>>> x = ge.tensor([0.0, 1.0, 4.0], requires_grad=True)
>>> ge.sqrt(x).sum().backward()
>>> x.grad
tensor([ inf, 0.5 , 0.25])

Floor 3: stands on op.py and arithmetic.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import special
from ..op import pointwise, strict_multiply
from ..op import real as between
from .arithmetic import AWAY_FROM_ZERO, NUMBERS, alike, filled, select
from .normal import DENSITY, normal_cdf

BETWEEN_INTEGERS = between(-2.5, 2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, gap=0.1)
POSITIVE = between(0.2, 3)


# --- steps: the derivative is 0, at the jumps too ---

floor = pointwise(
    "floor",
    forward="floor",
    partial=0,
    sample=BETWEEN_INTEGERS,
    kernel="Floor",
    doc="The largest integer <= x.",
)
ceil = pointwise(
    "ceil",
    forward="ceil",
    partial=0,
    sample=BETWEEN_INTEGERS,
    kernel="Ceil",
    doc="The smallest integer >= x.",
)
trunc = pointwise(
    "trunc",
    forward="trunc",
    partial=0,
    sample=BETWEEN_INTEGERS,
    kernel="Trunc",
    doc="The integer next to x towards 0.",
)
round = pointwise(
    "round",
    forward="round",
    partial=0,
    sample=BETWEEN_INTEGERS,
    kernel="Round",
    doc="The nearest integer, halves to even.",
)

# --- roots ---

sqrt = pointwise(
    "sqrt",
    forward="sqrt",
    partial=lambda y, _x: 0.5 / y,
    sample=POSITIVE,
    kernel="Sqrt",
    doc="The square root; dy/dx = 1 / (2 y), inf at 0.",
)
rsqrt = pointwise(
    "rsqrt",
    forward=lambda xp, x: 1 / xp.sqrt(x),
    partial=lambda y, x: -0.5 * y / x,
    sample=POSITIVE,
    kernel="Rsqrt",
    doc="1 / sqrt(x); dy/dx = -y / (2 x).",
)
cbrt = pointwise(
    "cbrt",
    forward="cbrt",
    partial=lambda y, _x: 1 / (3 * y * y),
    sample=AWAY_FROM_ZERO,
    doc="The cube root, negative for negative x; dy/dx = 1 / (3 y**2), inf at 0.",
)

# --- exponentials ---

exp = pointwise("exp", forward="exp", partial=lambda y, _x: y, kernel="Exp", doc="e**x.")
exp2 = pointwise(
    "exp2",
    forward="exp2",
    partial=lambda y, _x: math.log(2) * y,
    doc="2**x; dy/dx = y log 2.",
)
expm1 = pointwise(
    "expm1",
    forward="expm1",
    partial=lambda _y, x: exp(x),
    kernel="Expm1",
    doc="e**x - 1, exact near 0; dy/dx = e**x.",
)

# --- logarithms: -inf at 0, NaN below ---

log = pointwise(
    "log",
    forward="log",
    partial=lambda _y, x: 1 / x,
    sample=POSITIVE,
    kernel="Log",
    doc="The natural logarithm; dy/dx = 1/x.",
)
log1p = pointwise(
    "log1p",
    forward="log1p",
    partial=lambda _y, x: 1 / (1 + x),
    sample=between(-0.8, 2),
    kernel="Log1p",
    doc="log(1 + x), exact near 0; dy/dx = 1 / (1 + x).",
)
log2 = pointwise(
    "log2",
    forward="log2",
    partial=lambda _y, x: (1 / math.log(2)) / x,
    sample=POSITIVE,
    kernel="Log2",
    doc="The logarithm to base 2; dy/dx = 1 / (x log 2).",
)
log10 = pointwise(
    "log10",
    forward="log10",
    partial=lambda _y, x: (1 / math.log(10)) / x,
    sample=POSITIVE,
    kernel="Log10",
    doc="The logarithm to base 10; dy/dx = 1 / (x log 10).",
)
softmax2 = pointwise(
    "softmax2",
    forward=lambda xp, a, b: _first_share(xp, a, b),
    partials=(
        lambda y, a, b: y * softmax2(b, a),
        lambda y, a, b: -y * softmax2(b, a),
    ),
    doc="e**a / (e**a + e**b), and 1/2 where a equals b (both infinite included).",
)
logaddexp = pointwise(
    "logaddexp",
    forward="logaddexp",
    partials=(lambda _y, a, b: softmax2(a, b), lambda _y, a, b: softmax2(b, a)),
    kernel="Logaddexp",
    doc="log(e**a + e**b) without overflow; the derivatives are the softmax of (a, b).",
)


def _first_share(xp: Any, a: Any, b: Any) -> Any:
    d = xp.where(a == b, 0, a - b)
    e = xp.exp(-xp.abs(d))
    return xp.where(d < 0, e, 1) / (1 + e)


# --- powers ---


def _power_base(_y: Any, a: Any, b: Any) -> Any:
    """b a**(b-1); at the corner a = b = 0 the exponent must not become -1."""
    if isinstance(b, NUMBERS):
        return b * a ** (b - 1) if b else 0
    corner = (a == 0) & (b == 0)
    return strict_multiply(b, a ** (select(corner, 1.0, b) - 1))


def _power_exponent(y: Any, a: Any, b: Any) -> Any:
    """y log a; for b >= 0 the power 0**b is constant, so that the log of 0 must not count."""
    if isinstance(a, NUMBERS) and a > 0:
        return math.log(a) * y
    a = filled(a, y)
    constant = (a == 0) & (b >= 0)
    return strict_multiply(y, log(select(constant, 1.0, a)))


pow = pointwise(
    "pow",
    forward=lambda xp, a, b: a**b,  # the operator has short cuts for a**2, a**0.5 and the like
    partials=(_power_base, _power_exponent),
    wide=False,
    sample=between(0.3, 2),
    kernel="Power",
    doc="""a**b; dy/da = b a**(b-1), 0 at b = 0; dy/db = y log a, 0 at a = 0 for b >= 0.

    Where b is constant no logarithm is taken, so that a may be negative; for whole b derivatives of
    any order are right at a = 0. Integers to negative integer powers raise, as in NumPy.""",
)
xlogy = pointwise(
    "xlogy",
    forward=lambda xp, a, b: _xlogy(xp, *alike(xp, a, b)),
    partials=(lambda y, _a, b: log(filled(b, y)), lambda _y, a, b: strict_multiply(a, 1 / b)),
    sample=(between(), POSITIVE),
    doc="a log b, 0 where a is 0; dy/da = log b, dy/db = a / b, 0 where a is 0.",
)


def _xlogy(xp: Any, a: Any, b: Any) -> Any:
    zero = a == 0
    return xp.where(zero, 0, a * xp.log(xp.where(zero, 1, b)))


# --- lengths and angles ---


def _over_length(a: Any, y: Any) -> Any:
    """a / y, 0 at the origin, where the next derivative is 0 as well."""
    return a / select(y == 0, math.inf, y)


hypot = pointwise(
    "hypot",
    forward="hypot",
    partials=(lambda y, a, _b: _over_length(a, y), lambda y, _a, b: _over_length(b, y)),
    sample=AWAY_FROM_ZERO,
    kernel="Hypot",
    doc="sqrt(a**2 + b**2) without overflow; dy/da = a/y, dy/db = b/y, both 0 at the origin.",
)
atan2 = pointwise(
    "atan2",
    forward="atan2",
    partials=(
        lambda _y, a, b: b / hypot(a, b) / hypot(a, b),
        lambda _y, a, b: -a / hypot(a, b) / hypot(a, b),
    ),
    sample=AWAY_FROM_ZERO,
    kernel="Atan2",
    doc="The angle of the point (b, a); dy/da = b / (a**2 + b**2), dy/db = -a / (a**2 + b**2).",
)

# --- trigonometry ---

sin = pointwise("sin", forward="sin", partial=lambda _y, x: cos(x), kernel="Sin", doc="Sine.")
cos = pointwise("cos", forward="cos", partial=lambda _y, x: -sin(x), kernel="Cos", doc="Cosine.")
tan = pointwise(
    "tan",
    forward="tan",
    partial=lambda y, _x: 1 + y * y,
    sample=between(-1.2, 1.2),
    kernel="Tan",
    doc="Tangent; dy/dx = 1 + y**2.",
)
asin = pointwise(
    "asin",
    forward="asin",
    partial=lambda _y, x: 1 / sqrt((1 - x) * (1 + x)),
    sample=between(-0.9, 0.9),
    kernel="Asin",
    doc="Inverse sine; dy/dx = 1 / sqrt(1 - x**2), inf at -1 and 1.",
)
acos = pointwise(
    "acos",
    forward="acos",
    partial=lambda _y, x: -1 / sqrt((1 - x) * (1 + x)),
    sample=between(-0.9, 0.9),
    kernel="Acos",
    doc="Inverse cosine; dy/dx = -1 / sqrt(1 - x**2), -inf at -1 and 1.",
)
atan = pointwise(
    "atan",
    forward="atan",
    partial=lambda _y, x: 1 / (1 + x * x),
    kernel="Atan",
    doc="Inverse tangent; dy/dx = 1 / (1 + x**2).",
)

# --- hyperbolic functions; tanh is among the activations ---

sinh = pointwise(
    "sinh",
    forward="sinh",
    partial=lambda _y, x: cosh(x),
    kernel="Sinh",
    doc="(e**x - e**-x) / 2.",
)
cosh = pointwise(
    "cosh",
    forward="cosh",
    partial=lambda _y, x: sinh(x),
    kernel="Cosh",
    doc="(e**x + e**-x) / 2.",
)
asinh = pointwise(
    "asinh",
    forward="asinh",
    partial=lambda _y, x: 1 / hypot(1.0, x),
    kernel="Asinh",
    doc="Inverse of sinh; dy/dx = 1 / sqrt(1 + x**2).",
)
acosh = pointwise(
    "acosh",
    forward="acosh",
    partial=lambda _y, x: 1 / sqrt(x - 1) / sqrt(x + 1),
    sample=between(1.2, 4),
    kernel="Acosh",
    doc="Inverse of cosh for x >= 1; dy/dx = 1 / sqrt(x**2 - 1), inf at 1.",
)
atanh = pointwise(
    "atanh",
    forward="atanh",
    partial=lambda _y, x: 1 / ((1 - x) * (1 + x)),
    sample=between(-0.9, 0.9),
    kernel="Atanh",
    doc="Inverse of tanh; dy/dx = 1 / (1 - x**2), inf at -1 and 1.",
)

# --- the normal distribution and the error functions ---


def normal_pdf(x: Any) -> Any:
    """The density of the standard normal distribution, e**(-x**2 / 2) / sqrt(2 pi)."""
    return exp(-0.5 * x * x) * DENSITY


erf = pointwise(
    "erf",
    forward=lambda xp, x: special(xp).erf(x),
    partial=lambda _y, x: exp(-x * x) * (2 / math.sqrt(math.pi)),
    kernel="Erf",
    doc="2/sqrt(pi) times the integral of e**(-t**2) from 0 to x; dy/dx = 2/sqrt(pi) e**(-x**2).",
)
erfc = pointwise(
    "erfc",
    forward=lambda xp, x: special(xp).erfc(x),
    partial=lambda _y, x: exp(-x * x) * (-2 / math.sqrt(math.pi)),
    kernel="Erfc",
    doc="1 - erf(x), exact in the right tail; dy/dx = -2/sqrt(pi) e**(-x**2).",
)
ndtr = pointwise(
    "ndtr",
    forward=lambda xp, x: normal_cdf(xp, x),
    partial=lambda _y, x: normal_pdf(x),
    doc="The normal distribution function (1 + erf(x / sqrt(2))) / 2, exact in both tails.",
)

# --- parts of complex numbers; of real ones, x and 0 ---

real = pointwise(
    "real",
    forward=lambda xp, x: x.real.copy(),
    partial=1,
    wide=False,
    doc="The real part; of a real x a copy.",
)
imag = pointwise(
    "imag",
    forward=lambda xp, x: x.imag.copy() if x.dtype.kind == "c" else xp.zeros_like(x),
    partial=0,
    wide=False,
    doc="The imaginary part; of a real x zeros.",
)
conj = pointwise(
    "conj", forward="conj", partial=1, doc="The complex conjugate; of a real x a copy."
)

# --- NumPy's names ---

power = pow
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
conjugate = conj
