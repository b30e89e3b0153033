"""Pooling: one number for each window, the largest or a mean; and its inverse by positions.

The largest elements are found axis by axis. Where they stood is asked only on the way back: the tap
of each window at which its maximum is found first, from which a gradient is placed. Placing and
picking are adjoint to each other, so max pooling is right to any order.

Letters: `x` input (..., *size), `y` output (..., *counts), `g` cotangent.

Floor 3: stands on windows.py and the ops files before it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any

from ..device import may_hold_nan
from ..op import Draw, case, distinct, integers, primitive
from ..tape import Like
from .windows import Padding, Sizes, check_windows, taps

# --- maxima ---


@primitive(
    arity=1,
    cases=[
        case(Draw((2, 5, 4), distinct()), kernel=(3, 2), stride=(2, 1),
             padding=((1, 1), (0, 1)), dilation=(1, 2)),
        case(Draw((1, 2, 6), distinct()), kernel=(2,), stride=(2,),
             padding=((0, 0),), dilation=(1,)),
        case(Draw((2, 3, 3, 3), distinct()), kernel=(2, 2, 2), stride=(1, 1, 1),
             padding=((0, 0),) * 3, dilation=(1, 1, 1)),
    ],
)  # fmt: skip
def max_windows(
    xp: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """The largest element of each window: x (..., *size), y (..., *counts).

    Padding counts as -inf. NaN is larger than anything. The gradient goes to the first of equals.
    """
    counts = check_windows("max_pool", x.shape, kernel, stride, padding, dilation)
    lead = x.ndim - len(kernel)
    for j, k in enumerate(kernel):
        i = lead + j
        before = (slice(None),) * i
        axis = ((x.shape[i],), (counts[j],), (stride[j],), (padding[j],), (dilation[j],), (k,))
        y: Any = None
        for _, (read,), (seen,) in taps(*axis):
            part = x[(*before, read)]
            if y is None and seen == slice(0, counts[j]):
                y = part.copy()
                continue
            if y is None:
                y = xp.empty((*x.shape[:i], counts[j], *x.shape[i + 1 :]), x.dtype)
                y.fill(_lowest(xp, x.dtype))
            place = y[(*before, seen)]
            xp.maximum(place, part, out=place)
        x = y
    return x


@max_windows.adjoint
def _(
    g: Any, y: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    found = first_taps(x, y, kernel, stride, padding, dilation)
    size = tuple(x.shape[-len(kernel) :])
    return place_windows(g, found, size, kernel, stride, padding, dilation)


def _lowest(xp: Any, dtype: Any) -> Any:
    return xp.iinfo(dtype).min if dtype.kind in "iu" else -inf


@primitive(
    differentiable=False,
    arity=2,
    cases=[
        case(Draw((2, 5), integers(0, 2)), Draw((2, 2), integers(0, 2)), kernel=(2,), stride=(2,),
             padding=((0, 0),), dilation=(1,)),
    ],
)  # fmt: skip
def first_taps(
    xp: Any, x: Any, y: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """The number of the tap at which each window of x first shows y (..., *counts).

    Of a window whose maximum is NaN it is the last NaN, as in PyTorch.
    """
    size, counts = tuple(x.shape[-len(kernel) :]), tuple(y.shape[-len(kernel) :])
    found = xp.zeros(y.shape, "uint8" if prod(kernel) <= 256 else "int32")
    ways = taps(size, counts, stride, padding, dilation, kernel)
    for tap, read, seen in reversed(ways):
        place = found[(..., *seen)]
        xp.copyto(place, _number(tap, kernel), where=x[(..., *read)] == y[(..., *seen)])
    if y.dtype.kind in "fV" and may_hold_nan(y):
        for tap, read, seen in ways:
            part = x[(..., *read)]
            xp.copyto(found[(..., *seen)], _number(tap, kernel), where=part != part)
    return found


@lru_cache(maxsize=256)
def _number(tap: Sizes, kernel: Sizes) -> int:
    """How many taps come before `tap`."""
    count = 0
    for place, k in zip(tap, kernel, strict=True):
        count = count * k + place
    return count


# --- one tap of each window: placing and picking ---

_TAPS = Draw((2, 3, 2), integers(0, 5))


@primitive(
    linear=(0,),
    arity=2,
    wide=True,
    cases=[
        case((2, 3, 2), _TAPS, size=(5, 4), kernel=(3, 2), stride=(1, 2),
             padding=((0, 0), (0, 0)), dilation=(1, 1)),
        case((2, 2), Draw((2, 2), integers(0, 1)), size=(7,), kernel=(2,), stride=(3,),
             padding=((0, 1),), dilation=(2,)),
    ],
)  # fmt: skip
def place_windows(
    xp: Any, g: Any, found: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding,
    dilation: Sizes,
) -> Any:  # fmt: skip
    """Zeros of (..., *size) with g (..., *counts) added at the tap `found` of each window."""
    n = len(kernel)
    y = xp.zeros((*g.shape[: g.ndim - n], *size), g.dtype)
    apart = all(d * (k - 1) < s for k, s, d in zip(kernel, stride, dilation, strict=True))
    zero = g.dtype.type(0)
    for tap, read, seen in taps(size, tuple(g.shape[-n:]), stride, padding, dilation, kernel):
        here, part = found[(..., *seen)] == _number(tap, kernel), g[(..., *seen)]
        if apart:
            xp.copyto(y[(..., *read)], part, where=here)
        else:
            y[(..., *read)] += xp.where(here, part, zero)
    return y


@place_windows.adjoint(0)
def _(
    c: Any, _y: Any, _g: Any, found: Any, size: Sizes, kernel: Sizes, stride: Sizes,
    padding: Padding, dilation: Sizes,
) -> Any:  # fmt: skip
    return pick_windows(c, found, kernel, stride, padding, dilation)


@primitive(
    linear=(0,),
    arity=2,
    cases=[
        case((2, 5, 4), _TAPS, kernel=(3, 2), stride=(1, 2),
             padding=((0, 0), (0, 0)), dilation=(1, 1)),
    ],
)  # fmt: skip
def pick_windows(
    xp: Any, x: Any, found: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """The element of x (..., *size) at the tap `found` (..., *counts) of each window."""
    n = len(kernel)
    y = xp.zeros(found.shape, x.dtype)
    ways = taps(tuple(x.shape[-n:]), tuple(found.shape[-n:]), stride, padding, dilation, kernel)
    for tap, read, seen in ways:
        here = found[(..., *seen)] == _number(tap, kernel)
        xp.copyto(y[(..., *seen)], x[(..., *read)], where=here)
    return y


@pick_windows.adjoint(0)
def _(
    g: Any, _y: Any, x_like: Like, found: Any, kernel: Sizes, stride: Sizes, padding: Padding,
    dilation: Sizes,
) -> Any:  # fmt: skip
    size = tuple(x_like.shape[-len(kernel) :])
    return place_windows(g, found, size, kernel, stride, padding, dilation)


@primitive(
    differentiable=False,
    arity=1,
    cases=[
        case(_TAPS, size=(5, 4), kernel=(3, 2), stride=(1, 2),
             padding=((0, 0), (0, 0)), dilation=(1, 1)),
    ],
)  # fmt: skip
def flat_positions(
    xp: Any, found: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding,
    dilation: Sizes,
) -> Any:  # fmt: skip
    """Where in the flattened `size` the tap `found` (..., *counts) of each window stands: int64."""
    n = len(kernel)
    total, rest = xp.zeros(found.shape, "int64"), found.astype("int64")
    below = 1
    for i in reversed(range(n)):
        rest, tap = rest // kernel[i], rest % kernel[i]
        first = xp.arange(found.shape[found.ndim - n + i]) * stride[i] - padding[i][0]
        first = first.reshape(-1, *(1,) * (n - 1 - i))
        total += (first + tap * dilation[i]) * below
        below *= size[i]
    return total


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
        places.append(tuple(_number(place, size) for place in product(*inside)))
    return tuple(places)


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
