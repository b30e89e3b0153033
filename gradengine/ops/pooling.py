"""Max pooling: the largest element of each window, and where it stood.

The maximum over a window is taken along one axis after the other, the last axis first; so of equal
elements the first one in reading order wins. Where along the axis it stood is asked only on the way
back: the first tap that shows it, from which a gradient is placed. Placing and picking are adjoint
to each other, so max pooling is right to any order. Both choose by masks of bits, so that what is
not chosen, infinite or NaN, leaves no trace.

Letters: `x` input, `y` output, `g` cotangent. A `Window` is what slides along one axis.

Floor 3: stands on windows.py and the ops files before it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

from ..device import may_hold_nan
from ..op import Draw, case, distinct, integers, primitive
from ..tape import Like
from .windows import Padding, Sizes, check_windows, taps


class Window(NamedTuple):
    """`kernel` places, `dilation` apart, at every `stride`-th of an axis padded (before, after)."""

    kernel: int
    stride: int
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1

    def reach(self, n: int, count: int) -> tuple[tuple[int, slice, slice], ...]:
        """For each tap on an axis of n: its number, where it reads, which of `count` windows."""
        k, s, p, d = self
        found = taps((n,), (count,), (s,), (p,), (d,), (k,))
        return tuple((tap[0], read[0], seen[0]) for tap, read, seen in found)


_APART, _CLOSE, _WIDE = Window(2, 2), Window(3, 2, (1, 0)), Window(2, 1, (1, 1), 3)


# --- maxima along one axis ---


@primitive(
    arity=1,
    cases=[
        case(Draw((2, 5, 4), distinct()), axis=2, window=_APART),
        case(Draw((2, 6, 2), distinct()), axis=1, window=_CLOSE),
        case(Draw((3, 5), distinct()), axis=1, window=_WIDE),
        case(Draw((7, 2), distinct()), axis=0, window=Window(2, 3)),
        case((0, 4), axis=1, window=_APART),
    ],
)
def max_along(xp: Any, x: Any, axis: int, window: Window) -> Any:
    """The largest element of each window along `axis`, the first of equals; NaN is the largest.

    Padding counts as -inf.
    """
    return _largest(xp, x, axis, window)


@max_along.adjoint
def _(g: Any, y: Any, x: Any, axis: int, window: Window) -> Any:
    return place_along(g, first_tap(x, y, axis, window), axis, x.shape[axis], window)


def _largest(xp: Any, x: Any, axis: int, window: Window) -> Any:
    k, s, p, d = window
    n, lead = x.shape[axis], (slice(None),) * axis
    count = (n + sum(p) - d * (k - 1) - 1) // s + 1
    y: Any = None
    for _, read, seen in window.reach(n, count):
        part = x[(*lead, read)]
        if y is None:
            if seen == slice(0, count):
                y = part.copy()
                continue
            y = xp.empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
            y.fill(xp.iinfo(x.dtype).min if x.dtype.kind in "iu" else -inf)
        place = y[(*lead, seen)]
        xp.maximum(place, part, out=place)
    return y


@primitive(
    differentiable=False,
    arity=2,
    cases=[
        case(Draw((2, 4), integers(0, 1)), Draw((2, 2), integers(1, 1)), axis=1, window=_APART),
    ],
)
def first_tap(xp: Any, x: Any, y: Any, axis: int, window: Window) -> Any:
    """The number of the tap at which each window along `axis` first shows its maximum y.

    Where the maximum is NaN it is the last NaN, as in PyTorch.
    """
    lead, reach = (slice(None),) * axis, window.reach(x.shape[axis], y.shape[axis])
    found = xp.zeros(y.shape, "uint8" if window.kernel < 256 else "int32")
    missed = xp.ones(y.shape, bool)
    for tap, read, seen in reach:  # one more for each tap before the first that shows y
        own = missed[(*lead, seen)]
        own &= x[(*lead, read)] != y[(*lead, seen)]
        if tap < window.kernel - 1:
            found += missed
    if y.dtype.kind in "fV" and may_hold_nan(y):
        for tap, read, seen in reach:
            part = x[(*lead, read)]
            xp.copyto(found[(*lead, seen)], tap, where=part != part)
    return found


# --- one tap of each window: placing and picking ---


@primitive(
    linear=(0,),
    arity=2,
    wide=True,
    cases=[
        case((2, 2), Draw((2, 2), integers(0, 1)), axis=1, size=5, window=_APART),
        case((2, 3, 2), Draw((2, 3, 2), integers(1, 2)), axis=1, size=6, window=_CLOSE),
    ],
)
def place_along(xp: Any, g: Any, found: Any, axis: int, size: int, window: Window) -> Any:
    """Zeros, `size` long, with g added at the tap `found` of each window along `axis`."""
    lead = (slice(None),) * axis
    y = xp.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]), g.dtype)
    apart = window.dilation * (window.kernel - 1) < window.stride
    bits, target = _bits(g), _bits(y)
    for tap, read, seen in window.reach(size, g.shape[axis]):
        mask = _mask(found[(*lead, seen)] == tap, bits.dtype)
        if apart:
            xp.bitwise_and(bits[(*lead, seen)], mask, out=target[(*lead, read)])
        else:
            mask &= bits[(*lead, seen)]
            y[(*lead, read)] += mask.view(y.dtype)
    return y


@place_along.adjoint(0)
def _(c: Any, _y: Any, _g: Any, found: Any, axis: int, size: int, window: Window) -> Any:
    return pick_along(c, found, axis, window)


@primitive(
    linear=(0,),
    arity=2,
    cases=[case((2, 6, 2), Draw((2, 3, 2), integers(1, 2)), axis=1, window=_CLOSE)],
)
def pick_along(xp: Any, x: Any, found: Any, axis: int, window: Window) -> Any:
    """The element of x at the tap `found` of each window along `axis`."""
    return _picked(xp, x, found, axis, window)


@pick_along.adjoint(0)
def _(g: Any, _y: Any, x_like: Like, found: Any, axis: int, window: Window) -> Any:
    return place_along(g, found, axis, x_like.shape[axis], window)


def _picked(xp: Any, x: Any, found: Any, axis: int, window: Window) -> Any:
    lead, y = (slice(None),) * axis, xp.zeros(found.shape, x.dtype)
    bits, target = _bits(x), _bits(y)
    for tap, read, seen in window.reach(x.shape[axis], found.shape[axis]):
        mask = _mask(found[(*lead, seen)] == tap, bits.dtype)
        mask &= bits[(*lead, read)]
        target[(*lead, seen)] |= mask
    return y


def _bits(x: Any) -> Any:
    """x's memory as integers of the same width."""
    return x.view(f"int{8 * x.dtype.itemsize}")


def _mask(chosen: Any, dtype: Any) -> Any:
    """All bits set where `chosen`, else none."""
    mask = chosen.astype(dtype)
    mask *= -1
    return mask


# --- several axes ---


def max_windows(x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Any:
    """The largest element of each window over the last axes: x (..., *size), y (..., *counts).

    >>> import gradengine as ge
    >>> max_windows(ge.tensor([[1.0, 3.0, 2.0, 0.0]]), (2,), (2,), ((0, 0),), (1,))
    tensor([[3., 2.]])
    """
    check_windows("max_pool", x.shape, kernel, stride, padding, dilation)
    for axis, window in _windows(x.ndim, kernel, stride, padding, dilation):
        if window != Window(1, 1):
            x = max_along(x, axis, window)
    return x


def _windows(
    ndim: int, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> list[tuple[int, Window]]:
    """Each axis with what slides along it, the last axis first."""
    each = zip(kernel, stride, padding, dilation, strict=True)
    return [(ndim - len(kernel) + i, Window(*w)) for i, w in enumerate(each)][::-1]


@primitive(
    differentiable=False,
    arity=1,
    cases=[
        case(Draw((2, 5, 4), distinct()), kernel=(3, 2), stride=(2, 1),
             padding=((1, 1), (0, 1)), dilation=(1, 2)),
    ],
)  # fmt: skip
def max_positions(
    xp: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """Where the maxima of `max_windows` stand in the flattened axes slid over: int64."""
    check_windows("max_pool", x.shape, kernel, stride, padding, dilation)
    below, places = 1, xp.zeros(x.shape, "int64")
    for axis, window in _windows(x.ndim, kernel, stride, padding, dilation):
        y = _largest(xp, x, axis, window)
        found = first_tap.op.forward(xp, x, y, axis, window)
        first = xp.arange(y.shape[axis]) * window.stride - window.padding[0]
        own = first.reshape(-1, *(1,) * (x.ndim - 1 - axis)) + found * window.dilation
        places = _picked(xp, places, found, axis, window) + own * below
        below *= x.shape[axis]
        x = y
    return places


# --- windows that divide an axis as evenly as they can ---


@lru_cache(maxsize=256)
def even_windows(n: int, count: int) -> tuple[tuple[int, int], ...]:
    """(start, stop) of `count` windows: floor(i*n/count) to ceil((i + 1)*n/count).

    >>> even_windows(5, 3)
    ((0, 2), (1, 4), (3, 5))
    """
    return tuple((i * n // count, -(-(i + 1) * n // count)) for i in range(count))


@lru_cache(maxsize=64)
def even_places(size: Sizes, counts: Sizes) -> tuple[tuple[int, ...], ...]:
    """For each such window, row by row, the flat positions it shows; the last one fills it up."""
    axes = [even_windows(n, count) for n, count in zip(size, counts, strict=True)]
    longest = [max(b - a for a, b in axis) for axis in axes]
    places: list[tuple[int, ...]] = []
    for window in product(*axes):
        inside = [
            [min(a + t, b - 1) for t in range(k)] for (a, b), k in zip(window, longest, strict=True)
        ]
        places.append(tuple(_flat(place, size) for place in product(*inside)))
    return tuple(places)


def _flat(place: Sizes, size: Sizes) -> int:
    """The number of `place` when an array of `size` is counted row by row."""
    count = 0
    for at, n in zip(place, size, strict=True):
        count = count * n + at
    return count


@primitive(
    differentiable=False,
    arity=1,
    cases=[
        case(Draw((2, 5, 4), distinct()), counts=(2, 3)),
        case(Draw((3, 2, 6), distinct()), counts=(2,)),
    ],
)
def even_argmax(xp: Any, x: Any, counts: Sizes) -> Any:
    """Where the largest element of each of `counts` even windows of x (..., *size) stands: int64.

    Positions count in the flattened `size`.
    """
    lead, size = x.shape[: x.ndim - len(counts)], tuple(x.shape[-len(counts) :])
    places = xp.asarray(even_places(size, counts))
    best = x.reshape(*lead, prod(size))[..., places].argmax(axis=-1)
    return places[xp.arange(len(places)), best].reshape(*lead, *counts)
