"""Normalisation: logsumexp, the softmax family, norms and normalize.

Each of softmax, log_softmax and logsumexp is one op with its adjoint in closed form; the largest
element is subtracted before exp, so that no finite input overflows. Masked entries may be -inf.

Letters: `x` input, `y` output, `g` cotangent, `m` maximum; sums run over `axis`.

Floor 3: stands on op.py, shape.py and reductions.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import SCALARS, is_host, quiet
from ..hostloops import fill_rows, is_large
from ..op import case, pointwise, primitive, real
from .arithmetic import abs, maximum, negative
from .axes import Axis, as_axes
from .elementary import exp
from .reductions import (
    SHAPES,
    count_nonzero,
    kept,
    max,
    min,
    quotient_or_zero,
    sum,
    widened,
)

_ROWS = [
    case((3, 4)),
    case((3, 4), axis=0),
    case((2, 3, 2), axis=(0, 2)),
    case((2, 3), axis=None),
    case((0, 3)),
    case((3, 1), axis=-1),
]
_PAIRS = [case((3, 4), (3, 4)), case((2, 3), (2, 3), axis=0), case((2, 2), (2, 2), axis=None)]


MODERATE = 60.0
"""e to this, summed over a row, is far from overflow."""


def _floating(x: Any) -> Any:
    return x if x.dtype.kind in "fcV" else x.astype("float64")


def _peak(xp: Any, x: Any, axis: Axis) -> Any:
    """max(x) with its axes kept, 0 for a row of nothing."""
    if x.size == 0:
        return xp.zeros((), x.dtype)
    return x.max(axis=axis, keepdims=True)


def _in_place(function: Any, x: Any) -> Any:
    """function(x) in x's own memory, which must be fresh; 0-d results are scalars without any."""
    return function(x, out=x) if x.ndim else function(x)


# --- log(sum(exp)) ---


@primitive(arity=1, wide=True, cases=[*SHAPES, case((3, 2), axis=1)])
def logsumexp(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """y = log(sum(exp(x))) over `axis`, without overflow; dx = g * exp(x - y).

    Where all elements are -inf, or there are none, y is -inf and the gradient 0. An element of
    +inf has the gradient NaN.

    >>> import gradengine as ge
    >>> ge.logsumexp(ge.tensor([0.0, 0.0]))
    tensor(0.6931472)
    """
    x = _floating(x)
    m = _peak(xp, x, axis)
    m = xp.where(xp.isfinite(m), m, 0)  # inf - inf would be NaN
    with quiet():
        total = _in_place(xp.exp, x - m).sum(axis=axis, keepdims=keepdims)
        y = xp.log(total)
    y += m if keepdims or not m.ndim else m.reshape(y.shape)
    return y


@logsumexp.adjoint
def _(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    y = kept(y, x, axis, keepdims)
    return kept(g, x, axis, keepdims) * exp_difference(x, y)


def _exp_difference(xp: Any, a: Any, b: Any) -> Any:
    lowest = b == -math.inf
    shift = (0.0 if lowest else b) if isinstance(b, SCALARS) else xp.where(lowest, 0, b)
    with quiet():
        return _in_place(xp.exp, a - shift)


exp_difference = pointwise(
    "exp_difference",
    forward=_exp_difference,
    partials=(lambda y, _a, _b: y, lambda y, _a, _b: -y),
    doc="exp(a - b), where a and b may both be -inf: the result is then 0.",
)


# --- softmax ---


@primitive(arity=2, linear=(0,), cases=[case((3, 4), (3, 4)), case((2, 3), (2, 3), axis=0)])
def wanted_rows(xp: Any, y: Any, g: Any, axis: Axis = -1) -> Any:
    """y, with 0 in rows that are NaN but whose cotangent g is all 0: they were masked out later."""
    axes = as_axes(axis, y.ndim, "softmax")
    first = y[tuple(slice(0, 1 if i in axes else None) for i in range(y.ndim))]
    lost = first != first  # a NaN anywhere makes its whole row NaN
    if is_host(xp) and not lost.any():
        return y
    return xp.where(lost & (g == 0).all(axis=axis, keepdims=True), 0, y)


@wanted_rows.adjoint(0)
def _(c: Any, _out: Any, _y: Any, _g: Any, axis: Axis) -> Any:
    return c


@wanted_rows.adjoint(1)
def _(c: Any, _out: Any, _y: Any, _g: Any, axis: Axis) -> Any:
    return None


@primitive(arity=1, wide=True, cases=_ROWS)
def softmax(xp: Any, x: Any, axis: Axis = -1) -> Any:
    """y = exp(x) / sum(exp(x)) along `axis`; dx = y*(g - sum(g*y)).

    Entries of -inf get weight 0. A row of nothing but -inf is NaN, as in PyTorch; it takes no
    gradient unless it is given one, so that masking it out afterwards is safe.

    >>> import gradengine as ge
    >>> ge.softmax(ge.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """

    def fill(y: Any, x: Any, axis: Axis = -1) -> None:
        peak = _peak(xp, x, axis)
        if is_host(xp):  # a row whose peak is moderate is not moved: nothing overflows or is lost
            peak *= (peak < 0) | (peak > MODERATE)
            x = xp.subtract(x, peak, out=y) if peak.any() else x
            xp.exp(x, out=y)
        else:
            xp.subtract(x, peak, out=y)
            xp.exp(y, out=y)
        y /= _total(xp, y, axis)

    return _filled(xp, fill, axis, _floating(x))


def _total(xp: Any, x: Any, axis: Axis) -> Any:
    """Sums along `axis`, kept; of rows on the CPU as products with ones, at the speed of BLAS."""
    if axis == -1 and x.ndim and is_host(xp):
        return xp.vecdot(xp.ones(x.shape[-1], x.dtype), x)[..., None]  # the first is conjugated
    return x.sum(axis=axis, keepdims=True)


def _filled(xp: Any, fill: Any, axis: Axis, x: Any, *others: Any) -> Any:
    """An array like x, filled by fill(y, x, *others, axis); in blocks of rows where that can be."""
    with quiet():
        if axis == x.ndim - 1:
            axis = -1
        if is_large(x) and axis == -1:
            return fill_rows(fill, x, x, *others)
        y = xp.empty_like(x)
        fill(y, x, *others, axis)
    return y


@softmax.adjoint
def _(g: Any, y: Any, _x: Any, axis: Axis) -> Any:
    return softmax_pullback(g, wanted_rows(y, g, axis), axis)


@primitive(arity=2, linear=(0,), wide=True, cases=_PAIRS)
def softmax_pullback(xp: Any, g: Any, y: Any, axis: Axis = -1) -> Any:
    """dx = y*(g - sum(g*y)): the cotangent of softmax's input from that of its output y."""

    def fill(dx: Any, g: Any, y: Any, axis: Axis = -1) -> None:
        one_pass = axis == -1 and is_host(xp)
        total = xp.vecdot(g, y)[..., None] if one_pass else (g * y).sum(axis=axis, keepdims=True)
        xp.subtract(g, total, out=dx)
        dx *= y

    return _filled(xp, fill, axis, g, y)


@softmax_pullback.adjoint(0)
def _(c: Any, _dx: Any, _g: Any, y: Any, axis: Axis) -> Any:
    return softmax_pullback(c, y, axis)


@softmax_pullback.adjoint(1)
def _(c: Any, _dx: Any, g: Any, y: Any, axis: Axis) -> Any:
    c, g, y = widened(c), widened(g), widened(y)
    total = sum(g * y, axis=axis, keepdims=True)
    return c * (g - total) - g * sum(c * y, axis=axis, keepdims=True)


@primitive(arity=1, wide=True, cases=_ROWS)
def log_softmax(xp: Any, x: Any, axis: Axis = -1) -> Any:
    """y = x - log(sum(exp(x))) along `axis`; dx = g - exp(y)*sum(g).

    >>> import gradengine as ge
    >>> ge.log_softmax(ge.tensor([-10000.0, 10000.0]))
    tensor([-20000.,      0.])
    """

    def fill(y: Any, x: Any, axis: Axis = -1) -> None:
        xp.subtract(x, _peak(xp, x, axis), out=y)
        y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))

    return _filled(xp, fill, axis, _floating(x))


@log_softmax.adjoint
def _(g: Any, y: Any, _x: Any, axis: Axis) -> Any:
    return log_softmax_pullback(g, wanted_rows(y, g, axis), axis)


@primitive(arity=2, linear=(0,), wide=True, cases=_PAIRS)
def log_softmax_pullback(xp: Any, g: Any, y: Any, axis: Axis = -1) -> Any:
    """dx = g - exp(y)*sum(g): the cotangent of log_softmax's input from that of its output y."""

    def fill(dx: Any, g: Any, y: Any, axis: Axis = -1) -> None:
        xp.exp(y, out=dx)
        dx *= -g.sum(axis=axis, keepdims=True)
        dx += g

    return _filled(xp, fill, axis, g, y)


@log_softmax_pullback.adjoint(0)
def _(c: Any, _dx: Any, _g: Any, y: Any, axis: Axis) -> Any:
    c = widened(c)
    return c - sum(c * exp(widened(y)), axis=axis, keepdims=True)


@log_softmax_pullback.adjoint(1)
def _(c: Any, _dx: Any, g: Any, y: Any, axis: Axis) -> Any:
    total = sum(widened(g), axis=axis, keepdims=True)
    return -widened(c) * exp(widened(y)) * total


def softmin(x: Any, /, axis: Axis = -1) -> Any:
    """softmax(-x) along `axis`: the smallest element gets the largest weight.

    >>> import gradengine as ge
    >>> ge.softmin(ge.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    return softmax(negative(x), axis=axis)


# --- norms ---

abs_power = pointwise(
    "abs_power",
    forward=lambda xp, x, r=2.0: _power(xp, x, r),
    partial=lambda _y, x, r=2.0: r * signed_power(x, r=r - 1),
    sample=real(-2, 2, 0, gap=0.3),
    doc="|x|**r, and 0 at x = 0 where r < 0.",
)
signed_power = pointwise(
    "signed_power",
    forward=lambda xp, x, r=1.0: _power(xp, x, r) * xp.sign(x),
    partial=lambda _y, x, r=1.0: r * abs_power(x, r=r - 1),
    sample=real(-2, 2, 0, gap=0.3),
    doc="sign(x) * |x|**r, and 0 at x = 0.",
)


def _power(xp: Any, x: Any, r: float) -> Any:
    size = xp.abs(x)
    return size**r if r >= 0 else xp.where(size == 0, math.inf, size) ** r


@primitive(
    arity=1,
    wide=True,
    cases=[*SHAPES, *(case((2, 3), axis=1, p=p) for p in (1.5, 3.0, 4))],
)
def p_norm(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False, p: float = 2) -> Any:
    """y = sum(|x|**p)**(1/p) over `axis`; dx = g * sign(x) * |x/y|**(p-1), 0 where y is 0."""
    if x.dtype.kind == "c":
        x = xp.abs(x)
    if p == 2:
        return xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    size = xp.abs(x)
    size **= p
    return size.sum(axis=axis, keepdims=keepdims) ** (1 / p)


@p_norm.adjoint
def _(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool, p: float) -> Any:
    share = quotient_or_zero(x, kept(y, x, axis, keepdims))
    g = kept(g, x, axis, keepdims)
    return g * (share if p == 2 else signed_power(share, r=p - 1))


def vector_norm(x: Any, /, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The p-norm over `axis`, p = `ord`: sum(|x|**p)**(1/p); inf: max |x|; 0: how many are not 0.

    The gradient at x = 0 is 0 (the subgradient of least norm), and so are higher derivatives.
    Matrices are taken as long vectors.

    >>> import gradengine as ge
    >>> ge.norm(ge.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if ord in (math.inf, -math.inf, 1):
        reduce = max if ord == math.inf else min if ord < 0 else sum
        return reduce(abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return count_nonzero(x, axis=axis, keepdims=keepdims).astype(x.dtype)
    return p_norm(x, axis=axis, keepdims=keepdims, p=ord)


norm = vector_norm


def normalize(x: Any, /, p: float = 2, axis: Axis = -1, eps: float = 1e-12) -> Any:
    """x / max(||x||_p, eps) along `axis`; an all-zero row stays zero.

    >>> import gradengine as ge
    >>> ge.normalize(ge.tensor([3.0, 4.0]))
    tensor([0.6, 0.8])
    """
    wide = widened(x)
    scale = maximum(vector_norm(wide, axis=axis, keepdims=True, ord=p), eps)
    y = quotient_or_zero(wide, scale)
    return y if y.dtype == x.dtype else y.astype(x.dtype)
