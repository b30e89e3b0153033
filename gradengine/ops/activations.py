"""Activations: the bends between the layers of a network, and their slopes.

Names, parameters and the derivative at a kink are PyTorch's. Rows stand in the order of the
functors in kernels/activations.cuh. Every value lies within 4 ulp and every slope within 8 of the
true one over the whole range of the dtype (tests/test_accuracy.py), which decides the formulas:
exponentials only of what is not positive, and slopes from x, since y has lost what 1 - y needs.

Letters: `x` input, `w` weight, `y` output; each derivative is dy/d(input) of `(y, *inputs)`.

>>> import gradengine as ge
>>> ge.sigmoid(ge.tensor([-float("inf"), 0.0]))
tensor([0. , 0.5])

Floor 3: stands on op.py, arithmetic.py and elementary.py.
"""

from __future__ import annotations

from typing import Any

from ..device import is_array, is_host
from ..hostloops import at_least
from ..op import pointwise, real, zero_like
from .arithmetic import abs, alike, filled, select, square
from .elementary import exp

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
KINK = real(-2, 2, 0)
KINKS = real(-8, 8, -6, -3, -1, -0.5, 0, 0.5, 1, 3, 6)
WIDE = real(-6, 6)


# --- what several of them share ---


def logistic(xp: Any, x: Any) -> Any:
    """1 / (1 + e**-x) from e**-|x|, which neither overflows nor rounds 1 + e to 1 too early."""
    e = xp.exp(-xp.abs(x))
    top = xp.maximum(e, x >= 0)
    top /= 1 + e
    return top


HIGHEST = {"f": 87.0, "d": 708.0}
"""By a dtype's character: up to here e**x is finite, and its inverse not denormal."""


def _sigmoid_both(xp: Any, x: Any, y: Any, d: Any) -> None:
    """y = e / (1 + e) and d = y / (1 + e) with e = e**x; where that would overflow, d = e**-x."""
    highest = HIGHEST[x.dtype.char]
    beyond = x.size and not x.max() <= highest  # also with a NaN
    xp.exp(xp.minimum(x, highest, out=y) if beyond else x, out=y)
    below = xp.add(y, 1, out=d)
    y /= below
    if d is None:
        return
    xp.divide(y, below, out=d)
    if beyond:
        tail = x > highest
        d[tail] = xp.exp(-x[tail])


def _sigmoid(xp: Any, x: Any) -> Any:
    return value_of(_sigmoid_both, xp, x) if may_look(xp, x) else logistic(xp, x)


def _sigmoid_slope(xp: Any, x: Any) -> Any:
    if may_look(xp, x):
        return slope_of(_sigmoid_both, xp, x)
    d = 0.5 / xp.cosh(0.5 * x)
    d *= d
    return d


def value_of(both: Any, xp: Any, x: Any) -> Any:
    """The value alone of a formula for value and slope."""
    y = xp.empty_like(x)
    both(xp, x, y, None)
    return y


def slope_of(both: Any, xp: Any, x: Any) -> Any:
    """The slope alone of a formula for value and slope."""
    d = xp.empty_like(x)
    both(xp, x, xp.empty_like(x), d)
    return d


def may_look(xp: Any, x: Any) -> bool:
    """Whether x is an array whose values can be looked at: on a GPU that would wait for them."""
    return is_host(xp) and is_array(x) and x.ndim > 0 and x.dtype.char in HIGHEST


sigmoid_slope = pointwise(
    "sigmoid_slope",
    forward=_sigmoid_slope,
    partial=lambda y, x: -y * tanh(0.5 * x),
    sample=WIDE,
    doc="sigmoid(x) sigmoid(-x), with all its digits in both tails.",
)


def _log1p_exp(xp: Any, x: Any) -> Any:
    """log(1 + e**x), exact on both sides, so that no threshold is needed."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


sech2 = pointwise(
    "sech2",
    forward=lambda xp, x: _sech2(xp, x),
    partial=lambda y, x: -2 * y * tanh(x),
    doc="1 / cosh(x)**2, the slope of tanh, with all its digits where 1 - tanh(x)**2 has none.",
)


def _sech2(xp: Any, x: Any) -> Any:
    r = xp.cosh(x)
    r = xp.divide(1, r, out=r) if r.ndim else 1 / r
    r *= r
    return r


# --- rectifiers: straight pieces ---

relu = pointwise(
    "relu",
    forward=lambda xp, x: at_least(xp, x, 0),
    single_pass=True,
    partial=lambda y, _x: y > 0,
    sample=KINK,
    kernel="Relu",
    doc="max(x, 0); dy/dx = 1 above 0, else 0.",
)
leaky_relu = pointwise(
    "leaky_relu",
    forward=lambda xp, x, negative_slope=0.01: xp.maximum(x, 0) + negative_slope * xp.minimum(x, 0),
    partial=lambda _y, x, negative_slope: select(x > 0, 1.0, filled(negative_slope, x)),
    sample=KINK,
    kernel="LeakyRelu",
    doc="x above 0, else negative_slope x; dy/dx = 1 above 0, else negative_slope.",
)
prelu = pointwise(
    "prelu",
    forward=lambda xp, x, w: _prelu(xp, *alike(xp, x, w)),
    partials=(
        lambda _y, x, w: select(x > 0, 1.0, filled(w, x)),
        lambda _y, x, w: select(x > 0, 0.0, filled(x, w)),
    ),
    sample=(KINK, real()),
    kernel="Prelu",
    doc="x above 0, else w x, for a weight w that broadcasts against x; dy/dw = min(x, 0).",
)


def _prelu(xp: Any, x: Any, w: Any) -> Any:
    """No 0 w above 0: an infinite or undefined weight spoils only what it multiplies."""
    return xp.where(x > 0, 1, w) * x


relu6 = pointwise(
    "relu6",
    forward=lambda xp, x: xp.clip(x, 0, 6),
    partial=lambda y, _x: (y > 0) & (y < 6),
    sample=KINKS,
    kernel="Relu6",
    doc="min(max(x, 0), 6); dy/dx = 1 strictly inside, else 0.",
)

# --- exponential below zero ---


def _below(x: Any) -> Any:
    """min(x, 0), to which 0 itself still belongs."""
    return select(x > 0, 0.0, x)


elu = pointwise(
    "elu",
    forward=lambda xp, x, alpha=1.0: xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0))),
    partial=lambda _y, x, alpha: select(x > 0, 1.0, alpha * exp(_below(x))),
    sample=KINK,
    kernel="Elu",
    doc="x above 0, else alpha (e**x - 1); Clevert et al. 2016, eq. 15.",
)
selu = pointwise(
    "selu",
    forward=lambda xp, x: SELU_SCALE * xp.where(x > 0, x, SELU_ALPHA * xp.expm1(xp.minimum(x, 0))),
    partial=lambda _y, x: SELU_SCALE * select(x > 0, 1.0, SELU_ALPHA * exp(_below(x))),
    sample=KINK,
    kernel="Selu",
    doc="elu scaled so as to keep mean 0 and variance 1; Klambauer et al. 2017, eq. 2.",
)
celu = pointwise(
    "celu",
    forward=lambda xp, x, alpha=1.0: xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0) / alpha)),
    partial=lambda _y, x, alpha: select(x > 0, 1.0, exp(_below(x) / alpha)),
    sample=KINK,
    kernel="Celu",
    doc="x above 0, else alpha (e**(x / alpha) - 1), whose slope has no step; Barron 2017.",
)

# --- sigmoids ---

softplus = pointwise(
    "softplus",
    forward=lambda xp, x, beta=1.0, threshold=20.0: _softplus(xp, x, beta),
    partial=lambda _y, x, beta, threshold: sigmoid(beta * x),
    sample=WIDE,
    kernel="Softplus",
    doc="""log(1 + e**(beta x)) / beta; dy/dx = sigmoid(beta x).

    `threshold` is there for PyTorch's signature only: the formula is exact on both sides of it,
    while x alone for beta x > threshold would lose digits in float64.""",
)


def _softplus(xp: Any, x: Any, beta: float) -> Any:
    """x itself, not beta x / beta, so that the product may overflow."""
    z = beta * x
    return xp.where(z > 0, x, 0) + xp.log1p(xp.exp(-xp.abs(z))) / beta


sigmoid = pointwise(
    "sigmoid",
    forward=_sigmoid,
    both=_sigmoid_both,
    partial=lambda _y, x: sigmoid_slope(x),
    sample=WIDE,
    kernel="Sigmoid",
    doc="1 / (1 + e**-x); dy/dx = sigmoid(x) sigmoid(-x).",
)
log_sigmoid = pointwise(
    "log_sigmoid",
    forward=lambda xp, x: -_log1p_exp(xp, -x),
    partial=lambda _y, x: sigmoid(-x),
    sample=WIDE,
    kernel="LogSigmoid",
    doc="-log(1 + e**-x); dy/dx = sigmoid(-x).",
)
tanh = pointwise(
    "tanh",
    forward="tanh",
    partial=lambda _y, x: sech2(x),
    kernel="Tanh",
    doc="Hyperbolic tangent; dy/dx = 1 / cosh(x)**2.",
)

# --- clipped and shrunken ---

hardtanh = pointwise(
    "hardtanh",
    forward=lambda xp, x, min_val=-1.0, max_val=1.0: xp.clip(x, min_val, max_val),
    partial=lambda _y, x, min_val, max_val: (x > min_val) & (x < max_val),
    sample=KINKS,
    kernel="Hardtanh",
    doc="min(max(x, min_val), max_val); dy/dx = 1 strictly inside, else 0.",
)
hardsigmoid = pointwise(
    "hardsigmoid",
    forward=lambda xp, x: xp.clip(x + 3, 0, 6) / 6,
    partial=lambda _y, x: select((x > -3) & (x < 3), 1 / 6, zero_like(x)),
    sample=KINKS,
    kernel="Hardsigmoid",
    doc="relu6(x + 3) / 6; dy/dx = 1/6 between -3 and 3, else 0; Courbariaux et al. 2015.",
)
hardswish = pointwise(
    "hardswish",
    forward=lambda xp, x: xp.maximum(x, -3) * (xp.clip(x + 3, 0, 6) / 6),
    partial=lambda _y, x: select(x <= -3, 0.0, select(x >= 3, 1.0, x / 3 + 0.5)),
    sample=KINKS,
    kernel="Hardswish",
    doc="x relu6(x + 3) / 6; dy/dx = 0 up to -3, 1 from 3; Howard et al. 2019, section 5.2.",
)
softsign = pointwise(
    "softsign",
    forward=lambda xp, x: (t := xp.clip(x, -1e30, 1e30)) / (1 + xp.abs(t)),
    partial=lambda _y, x: square(1 / (1 + abs(x))),
    kernel="Softsign",
    doc="x / (1 + |x|); dy/dx = 1 / (1 + |x|)**2.",
)


def _tanhshrink(xp: Any, x: Any) -> Any:
    """x - tanh(x) cancels near 0: there Lambert's continued fraction, whose terms only add.

    tanh x = x / (1 + q / (3 + q / (5 + ...))) with q = x**2; up to q / 21 it is exact for |x| < 2.
    """
    t = xp.clip(x, -2, 2)
    q = t * t
    k = q / 21
    for odd in range(19, 3, -2):
        k = q / (odd + k)
    return xp.where(t == x, t * q / (3 + k + q), x - xp.tanh(x))


tanhshrink = pointwise(
    "tanhshrink",
    forward=_tanhshrink,
    partial=lambda _y, x: square(tanh(x)),
    kernel="Tanhshrink",
    doc="x - tanh(x), exact near 0; dy/dx = tanh(x)**2.",
)
softshrink = pointwise(
    "softshrink",
    forward=lambda xp, x, lambd=0.5: x - xp.clip(x, -lambd, lambd),
    partial=lambda _y, x, lambd: abs(x) > lambd,
    sample=KINKS,
    kernel="Softshrink",
    doc="x moved towards 0 by lambd, 0 where |x| <= lambd; dy/dx = 1 outside, else 0.",
)
hardshrink = pointwise(
    "hardshrink",
    forward=lambda xp, x, lambd=0.5: xp.where(xp.abs(x) <= lambd, 0, x),
    partial=lambda _y, x, lambd: abs(x) > lambd,
    sample=KINKS,
    kernel="Hardshrink",
    doc="x where |x| > lambd, else 0; dy/dx = 1 or 0.",
)
threshold = pointwise(
    "threshold",
    forward=lambda xp, x, threshold=0.0, value=0.0: xp.where(x <= threshold, value, x),
    partial=lambda _y, x, threshold, value: x > threshold,
    sample=KINKS,
    kernel="Threshold",
    doc="x above the threshold, else value; dy/dx = 1 above, else 0.",
)
