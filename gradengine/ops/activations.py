"""Activations: the bends between the layers of a network, and their slopes.

Names, parameters and the derivative at a kink are PyTorch's. Rows stand in the order of the
functors in kernels/activations.cuh. Every value lies within 4 ulp and every slope within 8 of the
true one over the whole range of the dtype (tests/test_accuracy.py), which decides the formulas:
exponentials only of what is not positive, and slopes from x, since y has lost what 1 - y needs.

Letters: `x` input, `w` weight, `y` output; each derivative is dy/d(input) of `(y, *inputs)`.

>>> import gradengine as ge
>>> ge.silu(ge.tensor([-float("inf"), 0.0, 2.0]))
tensor([-0.      ,  0.      ,  1.761594])

Floor 3: stands on op.py, arithmetic.py and elementary.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import ShapeError, hinted
from ..hostloops import level
from ..op import pointwise, real, zero_like
from .arithmetic import abs, alike, clip, filled, multiply, select, square
from .elementary import exp, normal_pdf
from .normal import DENSITY, magnitude, tail_parts

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
GELU_LINEAR, GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715 * 2 * math.sqrt(2 / math.pi)
KINK = real(-2, 2, 0)
KINKS = real(-8, 8, -6, -3, -1, -0.5, 0, 0.5, 1, 3, 6)
WIDE = real(-6, 6)


# --- what several of them share ---


def _logistic(xp: Any, x: Any) -> Any:
    """1 / (1 + e**-x) from e**-|x|, which neither overflows nor rounds 1 + e to 1 too early."""
    e = xp.exp(-xp.abs(x))
    top = xp.maximum(e, x >= 0)
    top /= 1 + e
    return top


def _log1p_exp(xp: Any, x: Any) -> Any:
    """log(1 + e**x), exact on both sides, so that no threshold is needed."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


sech2 = pointwise(
    "sech2",
    forward=lambda xp, x: xp.square(1 / xp.cosh(x)),
    partial=lambda y, x: -2 * y * tanh(x),
    doc="1 / cosh(x)**2, the slope of tanh, with all its digits where 1 - tanh(x)**2 has none.",
)


def _sigmoid_slope(xp: Any, x: Any) -> Any:
    r = 0.5 / xp.cosh(0.5 * x)
    r *= r
    return r


sigmoid_slope = pointwise(
    "sigmoid_slope",
    forward=_sigmoid_slope,
    partial=lambda y, x: -y * tanh(0.5 * x),
    sample=WIDE,
    doc="sigmoid(x) sigmoid(-x) in one exponential, with all its digits in both tails.",
)


# --- rectifiers: straight pieces ---

relu = pointwise(
    "relu",
    forward=lambda xp, x: xp.maximum(x, level(0, x)),
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

# --- smooth gates: x times a curve from 0 to 1; the cut keeps -inf * 0 away ---


def _gelu(xp: Any, x: Any) -> Any:
    """max(x, 0) - |x| P(-|x|): one formula for both signs, without a branch."""
    size = magnitude(xp, x)
    tail, e, height = tail_parts(xp, size)
    e *= height
    tail *= e
    tail *= size
    return xp.maximum(x, level(0, x)) - tail


def _gelu_slope(xp: Any, x: Any) -> Any:
    """P(x) + x P'(x): on the left s = P(-|x|) - |x| P'(x), on the right 1 - s."""
    size = magnitude(xp, x)
    twice, e, height = tail_parts(xp, size)
    e *= 2 * height
    size *= DENSITY / height
    twice -= size
    twice *= e
    right = (x >= 0).astype(twice.dtype)
    twice *= 0.5 - right
    twice += right
    return twice


def _gelu_bend(_y: Any, x: Any) -> Any:
    x = clip(x, -40.0, 40.0)  # beyond, the density has underflowed
    return (2 - x * x) * normal_pdf(x)


gelu_slope = pointwise(
    "gelu_slope",
    forward=_gelu_slope,
    partial=_gelu_bend,
    sample=WIDE,
    doc="The derivative of gelu, P(x) + x P'(x); dy/dx = (2 - x**2) P'(x).",
)
gelu_erf = pointwise(
    "gelu",
    forward=_gelu,
    partial=lambda _y, x: gelu_slope(x),
    sample=WIDE,
    kernel="Gelu",
    doc="x P(x), P the normal distribution function; Hendrycks and Gimpel 2016, section 2.",
)


def _gelu_exponent(x: Any) -> Any:
    return x * (GELU_LINEAR + GELU_CUBIC * x * x)


def _gelu_tanh_slope(_y: Any, x: Any) -> Any:
    x = clip(x, -100.0, 100.0)  # where the gate is 0 or 1 to the last digit
    z = _gelu_exponent(x)
    return sigmoid(z) + x * (GELU_LINEAR + 3 * GELU_CUBIC * x * x) * sigmoid_slope(z)


gelu_tanh = pointwise(
    "gelu_tanh",
    forward=lambda xp, x: (
        xp.maximum(x, -100) * _logistic(xp, _gelu_exponent(xp.clip(x, -100, 100)))
    ),
    partial=_gelu_tanh_slope,
    sample=WIDE,
    kernel="GeluTanh",
    doc="x (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))) / 2; Hendrycks and Gimpel 2016, section 2.",
)


def gelu(x: Any, /, approximate: str = "none") -> Any:
    """x P(x) with the normal distribution function P; `approximate="tanh"` takes a tanh for P.

    Hendrycks and Gimpel 2016, section 2.

    >>> import gradengine as ge
    >>> ge.gelu(ge.tensor([0.0, 8.0]))
    tensor([0., 8.])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(hinted(f"gelu: approximate={approximate!r}", 'use "none" or "tanh"'))
    return gelu_erf(x) if approximate == "none" else gelu_tanh(x)


def _silu_slope(xp: Any, x: Any) -> Any:
    """s (1 + x (1 - s)): near its root this product keeps more digits than s + x s (1 - s)."""
    e = xp.exp(-xp.abs(x))
    r = 1 / (1 + e)
    left, right = xp.maximum(e, x < 0), xp.maximum(e, x >= 0)  # 1 on their side, e on the other
    left *= r
    left *= xp.clip(x, -1e4, 1e4)
    left += 1
    left *= right
    left *= r
    return left


silu_slope = pointwise(
    "silu_slope",
    forward=_silu_slope,
    partial=lambda _y, x: sigmoid_slope(x) * (2 - x * tanh(0.5 * x)),
    sample=WIDE,
    doc="The derivative of silu.",
)
silu = pointwise(
    "silu",
    forward=lambda xp, x: xp.maximum(x, -1e4) * _logistic(xp, x),
    partial=lambda _y, x: silu_slope(x),
    sample=WIDE,
    kernel="Silu",
    doc="x sigmoid(x); Hendrycks and Gimpel 2016, section 2; also called swish.",
)


def _mish(xp: Any, x: Any) -> Any:
    """tanh(log(1 + e)) is n / (n + 2) for n = e (e + 2), and 1 to the last digit from x = 40."""
    e = xp.exp(xp.minimum(x, 40))
    n = e * (e + 2)
    return xp.maximum(x, -1e4) * (n / (n + 2))


def _mish_slope(_y: Any, x: Any) -> Any:
    x = clip(x, -1e4, 40.0)
    e = exp(x)
    n = e * (e + 2)
    r = 1 / (n + 2)
    return n / (n + 2) + e * (4 * x * (1 + e) * r * r)  # e last: it may have few bits left


mish = pointwise(
    "mish",
    forward=_mish,
    partial=_mish_slope,
    sample=WIDE,
    kernel="Mish",
    doc="x tanh(softplus(x)); Misra 2019, eq. 1.",
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
    forward=_logistic,
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

# --- gated in halves ---


def glu(x: Any, /, axis: int = -1) -> Any:
    """a sigmoid(b) for the two halves a and b of `x` along `axis`; Dauphin et al. 2017, eq. 1.

    The axis must have an even size; ShapeError otherwise.

    >>> import gradengine as ge
    >>> ge.glu(ge.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5, 1. ])
    """
    size = x.shape[axis]
    if size % 2:
        raise ShapeError(
            hinted(
                f"glu: axis {axis} of {tuple(x.shape)} has odd size {size}",
                "give twice as many features: the second half gates the first",
            )
        )
    before = (slice(None),) * (axis % x.ndim)
    half = size // 2
    return multiply(x[(*before, slice(half))], sigmoid(x[(*before, slice(half, None))]))
