"""Smooth gates: x times a curve from 0 to 1, the activations of transformers, and gates in halves.

Rows stand in the order of the functors in kernels/activations.cuh, after those of activations.py,
whose promises hold here too. The cut at large |x| keeps -inf * 0 away.

Letters: `x` input, `y` output, `d` slope; P is the normal distribution function.

>>> import gradengine as ge
>>> ge.silu(ge.tensor([-float("inf"), 0.0]))
tensor([-0.,  0.])

Floor 3: stands on op.py, normal.py and activations.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import ShapeError, hinted
from ..hostloops import at_least
from ..op import pointwise
from .activations import (
    HIGHEST,
    WIDE,
    logistic,
    may_look,
    sigmoid,
    sigmoid_slope,
    slope_of,
    tanh,
    value_of,
)
from .arithmetic import clip, multiply
from .elementary import exp, normal_pdf
from .normal import DENSITY, magnitude, tail_parts

GELU_LINEAR, GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715 * 2 * math.sqrt(2 / math.pi)

LEAST = -1e4
"""Below it every gate is 0, and x must not be -inf."""

# --- GELU ---


def _gelu(xp: Any, x: Any) -> Any:
    """max(x, 0) - |x| P(-|x|): one formula for both signs, without a branch."""
    size = magnitude(xp, x)
    tail, e, height = tail_parts(xp, size)
    e *= height
    tail *= e
    tail *= size
    return at_least(xp, x, 0) - tail


def _gelu_both(xp: Any, x: Any, y: Any, d: Any) -> None:
    """The value as above; the slope P(x) + x P'(x) is s = P(-|x|) - |x| P'(x) on the left and 1 - s
    on the right. y and d hold the parts of the tail on the way: memory is what this waits for.
    """
    size = magnitude(xp, x)
    tail, e, height = tail_parts(xp, size, (y, d))
    e *= height
    lost = tail * e
    lost *= size
    size *= DENSITY / height
    tail -= size
    xp.multiply(tail, e, out=d)
    at_least(xp, x, 0, out=y)
    y -= lost
    lost[...] = x >= 0
    xp.multiply(lost, -2, out=size)
    size += 1  # -1 on the right, 1 on the left
    d *= size
    d += lost


def _gelu_slope(xp: Any, x: Any) -> Any:
    x = xp.asarray(x)
    d = slope_of(_gelu_both, xp, x if x.ndim else x.reshape(1))
    return d.reshape(x.shape)


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
    both=_gelu_both,
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
    forward=lambda xp, x: xp.maximum(x, -100) * logistic(xp, _gelu_exponent(xp.clip(x, -100, 100))),
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


# --- SiLU and Mish ---


def _silu_both(xp: Any, x: Any, y: Any, d: Any) -> None:
    """y = x e q and d = e q (1 + x q) with e = e**x and q = 1 / (1 + e), x cut where e q is 0 or 1:
    near the root of d this product keeps more digits than a sum of products.
    """
    highest = HIGHEST[x.dtype.char]
    inside = not x.size or (x.min() >= LEAST and x.max() <= highest)
    z = x if inside else xp.clip(x, LEAST, highest)
    xp.exp(z, out=y)
    q = xp.add(y, 1, out=d)
    xp.divide(1, q, out=q)
    y *= q
    if d is not None:
        d *= z
        d += 1
        d *= y
    y *= z
    if not inside:
        tail = x > highest
        y[tail] = x[tail]


def _silu(xp: Any, x: Any) -> Any:
    if may_look(xp, x):
        return value_of(_silu_both, xp, x)
    return xp.maximum(x, LEAST) * logistic(xp, x)


def _silu_slope(xp: Any, x: Any) -> Any:
    if may_look(xp, x):
        return slope_of(_silu_both, xp, x)
    e = xp.exp(-xp.abs(x))
    r = 1 / (1 + e)
    left, right = xp.maximum(e, x < 0), xp.maximum(e, x >= 0)  # 1 on their side, e on the other
    left *= r
    left *= xp.clip(x, LEAST, -LEAST)
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
    forward=_silu,
    both=_silu_both,
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
