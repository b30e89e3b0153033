"""Standardising: what layer, RMS, batch, group and instance normalisation share, as one op.

y = (x - mean) / sqrt(var + eps) * weight + bias, with statistics of each row (the last axis) or of
each channel (all axes but axis 1). The adjoint is one fused op, which is its own transpose apart
from the weight, so that every order of derivative is made of the same few ops.

Letters: `x` input, `y` output, `g`, `c` cotangents, `m` mean, `r` 1 / sqrt(var + eps),
`u` = (x - m) * r.

Floor 3: stands on op.py, reductions.py and moments.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import is_host
from ..errors import ShapeError, hinted
from ..op import case, primitive
from .arithmetic import divide, subtract
from .elementary import sqrt
from .moments import (
    MEAN,
    SCALE,
    VARIANCE,
    column,
    group_size,
    groups,
    in_blocks,
    moments_of,
    part_of,
    pieces,
    products,
    scratch,
    settle,
    solid,
    totals,
    view,
)
from .reductions import mean, sum, widened

_CASES = [
    case((3, 4), (4,), (4,)),
    case((2, 3, 4), (4,), (4,), eps=0.1, centered=False),
    case((3, 2, 2), (2,), (2,), over="channel"),
    case((4, 3), (3,), (3,), over="channel"),
    case((0, 3), (3,), (3,)),
]


# --- the op ---


@primitive(arity=4, cases=_CASES)
def standardise(
    xp: Any,
    x: Any,
    weight: Any = None,
    bias: Any = None,
    moments: Any = None,
    eps: float = 1e-5,
    over: str = "row",
    centered: bool = True,
) -> Any:
    """y = (x - m) * r * weight + bias; dx = r * (g w - mean(g w) - u * mean(g w u)).

    `over` is "row" (statistics over the last axis, weight of its size) or "channel" (over all axes
    but axis 1, weight of its size). Not `centered`: m = 0. `moments` (3, groups) is room that the
    forward fills with m, r and the variance: they are functions of x, and derivatives count them
    as such. Computed in float32 for 16-bit floats; y has x's dtype.
    """
    dtype, shape = x.dtype, x.shape
    x = solid(x, over)
    room = xp.empty((3, groups(x, over), 1), x.dtype) if moments is None else moments[..., None]
    weight, bias = column(xp, weight, x, over), column(xp, bias, x, over)
    y = xp.empty(shape, x.dtype)
    rows = view(y, over)

    def work(part: slice) -> None:
        block, out = x[part], rows[part]
        mine = room[:, part] if over == "row" else room
        settle(xp, block, out if centered else None, mine, eps, over)
        if over == "channel" and weight is not None:
            xp.multiply(out if centered else block, mine[SCALE] * weight, out=out)
        else:
            xp.multiply(out if centered else block, mine[SCALE], out=out)
            if weight is not None:
                out *= part_of(weight, block)
        if bias is not None:
            out += bias if over == "channel" else part_of(bias, block)

    in_blocks(work, xp, x, over)
    return y.astype(dtype, copy=False)


@standardise.adjoint(0)
def _(
    g: Any, _y: Any, x: Any, weight: Any, _bias: Any, moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    return standardise_pullback(g, x, weight, moments, eps=eps, over=over, centered=centered)


@standardise.adjoint(1)
def _(
    g: Any, _y: Any, x: Any, _weight: Any, _bias: Any, moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    return standardise_scale_pullback(g, x, moments, eps=eps, over=over, centered=centered)


@standardise.adjoint(2)
def _(
    g: Any, _y: Any, _x: Any, _weight: Any, _bias: Any, _moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    return g if over == "row" else sum(g, axis=_axes(g, over))


@standardise.adjoint(3)
def _(
    _g: Any, _y: Any, _x: Any, _weight: Any, _bias: Any, _moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    return None  # what the moments owe to x is part of x's cotangent


# --- the cotangent of x ---


@primitive(arity=4, linear=(0, 2), cases=[case((3, 4), (3, 4), (4,)), *(
    case(shape, shape, (shape[1],), over="channel") for shape in ((3, 2, 2), (4, 3))
), case((3, 4), (3, 4), (4,), centered=False), case((0, 4), (0, 4), (4,))])  # fmt: skip
def standardise_pullback(
    xp: Any,
    g: Any,
    x: Any,
    weight: Any = None,
    moments: Any = None,
    eps: float = 1e-5,
    over: str = "row",
    centered: bool = True,
) -> Any:
    """dx = r * (a - mean(a) - u * mean(a u)), a = g * weight: the cotangent of x from that of y.

    Sorted by what runs through memory, dx = r a + k x + l with numbers k and l of each group. x is
    centred first, a pass more, where a mean so dwarfs the deviations that digits would be lost.
    """
    dtype, shape = x.dtype, x.shape
    x, g = solid(x, over), solid(g, over)
    settled = moments_of(xp, x, moments, eps, over, centered)
    weight = column(xp, weight, x, over)
    dx = xp.empty(shape, x.dtype)
    rows = view(dx, over)
    n = group_size(x, over)
    far = centered and not (is_host(xp) and _near(xp, settled))

    def work(part: slice) -> None:
        block, a, out = x[part], g[part], rows[part]
        m, r = settled[:2, part] if over == "row" else settled[:2]
        if weight is not None:
            beside = weight if over == "channel" else part_of(weight, block)
            a = xp.multiply(a, beside, out=out)
        if far:
            block = block - m
        k = products(xp, a, block, over)
        total = totals(xp, a, over) if centered else None
        if not far and total is not None:
            k -= m * total
        for factor in (r, r, r / -n):
            k *= factor
        bend = block * k
        if total is not None:
            total *= r / -n
            bend += total if far else total - k * m
        xp.multiply(a, r, out=out)
        out += bend

    in_blocks(work, xp, x, over)
    return dx.astype(dtype, copy=False)


NEAR = 16.0


def _near(xp: Any, settled: Any) -> bool:
    """Whether no mean is more than so many standard deviations away from 0."""
    return bool((xp.abs(settled[MEAN]) * settled[SCALE] <= NEAR).all())


@standardise_pullback.adjoint(0)
def _(
    c: Any, _dx: Any, _g: Any, x: Any, weight: Any, moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    found = standardise_pullback(c, x, None, moments, eps=eps, over=over, centered=centered)
    return found if weight is None else found * _beside(weight, x, over)


@standardise_pullback.adjoint(1)
def _(
    c: Any, _dx: Any, g: Any, x: Any, weight: Any, moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    """dx is r (K - A B / n) in the direction c: K = <c - mean(c), a>, A = <c, u>, B = <a, u>."""
    rest: dict[str, Any] = {"eps": eps, "over": over, "centered": centered}
    axes = _axes(x, over)
    x, c, a = widened(x), widened(c), widened(g)
    if weight is not None:
        a = a * _beside(widened(weight), x, over)
    n = math.prod(x.shape[i] for i in axes)
    u, r = _unit(x, axes, eps, centered)
    inner = sum(c * a, axis=axes, keepdims=True)
    if centered:
        inner = inner - sum(c, axis=axes, keepdims=True) * mean(a, axis=axes, keepdims=True)
    left, right = (sum(v * u, axis=axes, keepdims=True) / n for v in (c, a))
    through = right * standardise_pullback(c, x, None, moments, **rest)
    through = through + left * standardise_pullback(a, x, None, moments, **rest)
    return -r * (r * u * (inner / n - left * right) + through)


@standardise_pullback.adjoint(2)
def _(
    c: Any, _dx: Any, g: Any, x: Any, _weight: Any, moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    found = standardise_pullback(c, x, None, moments, eps=eps, over=over, centered=centered)
    found = widened(found) * widened(g)
    return found if over == "row" else sum(found, axis=_axes(x, over))


@standardise_pullback.adjoint(3)
def _(
    _c: Any, _dx: Any, _g: Any, _x: Any, _weight: Any, _moments: Any,
    eps: float, over: str, centered: bool,
) -> Any:  # fmt: skip
    return None


# --- the cotangent of the weight ---


@primitive(arity=3, linear=(0,), cases=[case((3, 4), (3, 4)), case((3, 2, 2), (3, 2, 2), over=
"channel"), case((3, 4), (3, 4), centered=False), case((0, 4), (0, 4))])  # fmt: skip
def standardise_scale_pullback(
    xp: Any,
    g: Any,
    x: Any,
    moments: Any = None,
    eps: float = 1e-5,
    over: str = "row",
    centered: bool = True,
) -> Any:
    """dw = sum(g * u) over the rows, or over all places of a channel."""
    dtype = x.dtype
    x, g = solid(x, over), solid(g, over)
    settled = moments_of(xp, x, moments, eps, over, centered)
    if over == "channel":
        centre = x - settled[MEAN] if centered else x
        found = products(xp, g, centre, over) * settled[SCALE]
        return found[:, 0].astype(dtype, copy=False)
    found, room = xp.zeros(x.shape[-1], x.dtype), None
    for part in pieces(xp, x):
        block = x[part]
        m, r = settled[:2, part]
        room = xp.empty_like(block) if room is None else room[: len(block)]
        centre = xp.subtract(block, m, out=room) if centered else block
        xp.multiply(g[part], centre, out=room)
        found += xp.matmul(r[:, 0], room)
    return found.astype(dtype, copy=False)


@standardise_scale_pullback.adjoint(0)
def _(
    c: Any, _dw: Any, _g: Any, x: Any, moments: Any, eps: float, over: str, centered: bool
) -> Any:
    axes = _axes(x, over)
    u, _ = _unit(widened(x), axes, eps, centered)
    return u * _beside(widened(c), x, over)


@standardise_scale_pullback.adjoint(1)
def _(c: Any, _dw: Any, g: Any, x: Any, moments: Any, eps: float, over: str, centered: bool) -> Any:
    return standardise_pullback(g, x, c, moments, eps=eps, over=over, centered=centered)


@standardise_scale_pullback.adjoint(2)
def _(
    _c: Any, _dw: Any, _g: Any, _x: Any, _moments: Any, eps: float, over: str, centered: bool
) -> Any:
    return None


# --- what the rules share: engine code ---


def _axes(x: Any, over: str) -> tuple[int, ...]:
    """The axes a statistic is taken over."""
    return (x.ndim - 1,) if over == "row" else (0, *range(2, x.ndim))


def _beside(v: Any, x: Any, over: str) -> Any:
    """A number for each column or channel, so that it broadcasts against x."""
    return v if over == "row" else v.reshape((x.shape[1],) + (1,) * (x.ndim - 2))


def _unit(x: Any, axes: tuple[int, ...], eps: float, centered: bool) -> tuple[Any, Any]:
    """(u, r) as functions of x."""
    centre = subtract(x, mean(x, axis=axes, keepdims=True)) if centered else x
    r = divide(1, sqrt(mean(centre * centre, axis=axes, keepdims=True) + eps))
    return centre * r, r


# --- public functions ---


def layer_norm(x: Any, /, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with statistics of the last axis.

    x (..., n), weight and bias (n,) or None; y like x. Raises ShapeError where sizes differ.
    Source: Ba, Kiros, Hinton, arXiv:1607.06450.

    >>> import gradengine as ge
    >>> layer_norm(ge.tensor([[1.0, 3.0]]), eps=0.0)
    tensor([[-1.,  1.]])
    """
    _check("layer_norm", x, -1, weight=weight, bias=bias)
    return standardise(x, weight, bias, scratch(x, "row"), eps=eps)


def rms_norm(x: Any, /, weight: Any = None, eps: float = 1e-5) -> Any:
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axis.

    x (..., n), weight (n,) or None; y like x. Raises ShapeError where sizes differ.
    Source: Zhang, Sennrich, arXiv:1910.07467, equation 4.

    >>> import gradengine as ge
    >>> rms_norm(ge.tensor([3.0, -3.0]), eps=0.0)
    tensor([ 1., -1.])
    """
    _check("rms_norm", x, -1, weight=weight)
    return standardise(x, weight, None, scratch(x, "row"), eps=eps, centered=False)


def batch_norm(
    x: Any, /, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """(y, mean, var): y = (x - mean) / sqrt(var + eps) * weight + bias for every channel (axis 1).

    x (N, C, ...), weight and bias (C,) or None; y like x, mean and the biased variance (C,), in
    float32 for 16-bit floats, constants to the tape. Raises ShapeError where sizes differ.
    Source: Ioffe, Szegedy, arXiv:1502.03167, algorithm 1.

    >>> import gradengine as ge
    >>> y, mean, var = batch_norm(ge.tensor([[1.0], [3.0]]), eps=0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    _check("batch_norm", x, 1, weight=weight, bias=bias)
    moments = scratch(x, "channel")
    y = standardise(x, weight, bias, moments, eps=eps, over="channel")
    return y, moments[MEAN], moments[VARIANCE]


def _check(name: str, x: Any, axis: int, **parameters: Any) -> None:
    """Weight and bias must have the size of `axis` of x."""
    shape = tuple(x.shape)
    if len(shape) <= max(axis, 0):
        raise ShapeError(
            hinted(f"{name}: x {shape} has no axis {axis}", "give (..., n), or (N, C, ...)")
        )
    for what, p in parameters.items():
        if p is not None and tuple(p.shape) != (shape[axis],):
            raise ShapeError(
                hinted(
                    f"{name}: {what} {tuple(p.shape)} for x {shape}, whose axis {axis} has "
                    f"{shape[axis]} places",
                    f"give a {what} of shape ({shape[axis]},)",
                )
            )
