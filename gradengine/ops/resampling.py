"""Resampling along one axis: each new element is a weighted sum of old ones, y = M x.

M has one row for each new element; it is built from positions on the array's own device and
applied as a product of matrices, its adjoint by the transpose. Several axes are resampled one after
the other. A rule says what M holds:

    linear, cubic   interpolation; with `antialias` the filter widens where the result is coarser
    mean            the mean over windows that divide the axis as evenly as they can

Letters: `n` old size, `m` new size, `x` input, `y` output, `g` cotangent. Positions are in float64.

Floor 3: stands on op.py.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from ..op import case, primitive
from ..tape import Like


class Rule(NamedTuple):
    """How an axis is resampled; `scale` is old elements per new one, None for n/m."""

    kind: str
    align_corners: bool = False
    scale: float | None = None
    antialias: bool = False


_RULES = [
    Rule("linear"), Rule("linear", align_corners=True), Rule("cubic", scale=0.4),
    Rule("cubic", align_corners=True), Rule("linear", antialias=True),
    Rule("cubic", antialias=True), Rule("mean"),
]  # fmt: skip


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[case((2, 5, 3), axis=1, size=3, rule=rule) for rule in _RULES]
    + [case((2, 3), axis=1, size=7, rule=rule) for rule in _RULES],
)
def resample(xp: Any, x: Any, axis: int, size: int, rule: Rule) -> Any:
    """y = M x along `axis` (counted from 0), which becomes `size` long."""
    return _along(xp, _matrix(xp, x.shape[axis], size, rule), x, axis)


@resample.adjoint
def _(g: Any, _y: Any, x_like: Like, axis: int, size: int, rule: Rule) -> Any:
    return resample_back(g, axis, x_like.shape[axis], rule)


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[
        case((2, 3, 2), axis=1, size=5, rule=Rule("linear")),
        case((2, 7), axis=1, size=3, rule=Rule("cubic", align_corners=True)),
    ],
)
def resample_back(xp: Any, g: Any, axis: int, size: int, rule: Rule) -> Any:
    """M' g along `axis`, where M makes g's size of `size`: the adjoint of `resample`."""
    return _along(xp, _matrix(xp, size, g.shape[axis], rule).T, g, axis)


@resample_back.adjoint
def _(c: Any, _y: Any, g_like: Like, axis: int, size: int, rule: Rule) -> Any:
    return resample(c, axis, g_like.shape[axis], rule)


def _along(xp: Any, m: Any, x: Any, axis: int) -> Any:
    """m (new, old) times x along `axis`."""
    m = m.astype(x.dtype)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if not after:
        return xp.matmul(x.reshape(prod(before), x.shape[axis]), m.T).reshape(*before, m.shape[0])
    columns = x.reshape(prod(before), x.shape[axis], prod(after))
    return xp.matmul(m, columns).reshape(*before, m.shape[0], *after)


# --- the matrices ---


def _matrix(xp: Any, n: int, m: int, rule: Rule) -> Any:
    """M (m, n) in float64."""
    if rule.kind == "mean":
        return _mean_matrix(xp, n, m)
    scale = n / m if rule.scale is None else rule.scale
    if rule.align_corners:
        scale = (n - 1) / (m - 1) if m > 1 else 0.0
    new, old = xp.arange(m, dtype="float64"), xp.arange(n)
    if rule.antialias:
        return _filter_matrix(xp, new, old, scale, rule)
    place = new * scale if rule.align_corners else (new + 0.5) * scale - 0.5
    if rule.kind == "linear":  # beyond the border its element continues
        return _hat(xp, xp.clip(place, 0, n - 1).reshape(-1, 1) - old)
    first = xp.floor(place)
    weights = xp.zeros((m, n))
    for t in range(-1, 3):
        near = xp.clip(first + t, 0, n - 1).reshape(-1, 1)
        weights += xp.where(near == old, _cubic(xp, place - first - t, -0.75).reshape(-1, 1), 0)
    return weights


def _mean_matrix(xp: Any, n: int, m: int) -> Any:
    new, old = xp.arange(m).reshape(-1, 1), xp.arange(n)
    inside = (old >= new * n // m) & (old < -(-(new + 1) * n // m))
    return inside / inside.sum(axis=1, keepdims=True)


def _filter_matrix(xp: Any, new: Any, old: Any, scale: float, rule: Rule) -> Any:
    """A filter as wide as the coarser of both grids, centred on each new element."""
    half, wide = (1.0 if rule.kind == "linear" else 2.0), max(scale, 1.0)
    centre = (scale * (new + 0.5)).reshape(-1, 1)
    first = xp.maximum(xp.floor(centre - half * wide + 0.5), 0)
    last = xp.minimum(xp.floor(centre + half * wide + 0.5), old.size)
    distance = (old - centre + 0.5) / wide
    weights = _hat(xp, distance) if rule.kind == "linear" else _cubic(xp, distance, -0.5)
    weights = xp.where((old >= first) & (old < last), weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def _hat(xp: Any, distance: Any) -> Any:
    return xp.maximum(1 - xp.abs(distance), 0)


def _cubic(xp: Any, distance: Any, a: float) -> Any:
    """The cubic convolution kernel. Source: Keys 1981, doi:10.1109/TASSP.1981.1163711."""
    d = xp.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0))
