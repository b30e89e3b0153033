"""Windows that slide over the last axes of an array: what they show, its adjoint, and their sums.

A window of `kernel` places, `dilation` apart, stands at every `stride`-th place of the padded
array. One place of the window is a tap; the tap seen from all windows at once is a slice of the
array, so loops run over taps, never over positions. Taps that stand in the padding are cut off
these slices: the padding is never stored, except where a strided view is wanted.

Letters: `x` input, `y` output, `g` cotangent, `k` kernel; `size` the axes slid over, unpadded.

Floor 3: stands on op.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, TypeAlias

from ..errors import ShapeError, hinted
from ..op import case, primitive
from ..tape import Like

Sizes: TypeAlias = tuple[int, ...]
Padding: TypeAlias = tuple[tuple[int, int], ...]
"""For each axis how many places are added before and after; after, fewer than none may be."""
Slices: TypeAlias = tuple[slice, ...]


# --- geometry ---


def window_counts(
    size: Sequence[int], kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Sizes:
    """How many windows fit along each axis: (n + before + after - d*(k - 1) - 1) // s + 1.

    >>> window_counts((28,), (3,), (2,), ((1, 1),), (1,))
    (14,)
    """
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)


def check_windows(
    name: str, shape: Sequence[int], kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Sizes:
    """`window_counts` over the last axes of an array of `shape`; ShapeError if none fits."""
    given = (len(kernel), len(stride), len(padding), len(dilation))
    if len(set(given)) > 1 or len(shape) < len(kernel):
        raise ShapeError(
            hinted(
                f"{name}: kernel {kernel}, stride {stride}, padding {padding} and dilation "
                f"{dilation} do not fit an array of {tuple(shape)}",
                "give one number for each axis that the window slides over",
            )
        )
    if min((*kernel, *stride, *dilation)) < 1:
        text = f"{name}: kernel {kernel}, stride {stride}, dilation {dilation}"
        raise ShapeError(hinted(text, "each must be at least 1"))
    size = shape[-len(kernel) :]
    counts = window_counts(size, kernel, stride, padding, dilation)
    if min(counts) < 1:
        padded = tuple(n + sum(p) for n, p in zip(size, padding, strict=True))
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        raise ShapeError(
            hinted(
                f"{name}: a window of {reach} does not fit into {padded}: input "
                f"{tuple(shape)}, kernel {kernel}, dilation {dilation}, padding {padding}",
                "use a smaller kernel or more padding, or fewer layers that halve the size",
            )
        )
    return counts


@lru_cache(maxsize=512)
def taps(
    size: Sizes,
    counts: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    kernel: Sizes,
    start: int = 0,
) -> tuple[tuple[Sizes, Slices, Slices], ...]:
    """For each tap: its place in the kernel, the slices of the array it reads, and of the windows.

    `start`: the windows given begin with this one on the first axis.
    """  # fmt: skip
    firsts = (start, *(0,) * (len(size) - 1))
    axes = [
        [_reach(n, m, s, p[0] - a * d, first) for a in range(k)]
        for n, m, s, p, d, k, first in zip(
            size, counts, stride, padding, dilation, kernel, firsts, strict=True
        )
    ]
    found = zip(product(*(range(k) for k in kernel)), product(*axes), strict=True)
    return tuple(
        (tap, tuple(read for read, _ in pairs), tuple(seen for _, seen in pairs))
        for tap, pairs in found
        if all(seen.start < seen.stop for _, seen in pairs)
    )


def _reach(n: int, count: int, stride: int, before: int, first: int) -> tuple[slice, slice]:
    """Of the windows first .. first + count, those whose tap lies inside, and where it lies."""
    low = max(-(-before // stride), first)
    high = min((n - 1 + before) // stride + 1, first + count)
    begin = low * stride - before
    length = max(high - low, 0)
    stop = begin + stride * (length - 1) + 1 if length else begin
    return slice(begin, stop, stride), slice(low - first, low - first + length)


def padded(xp: Any, x: Any, padding: Padding) -> Any:
    """x with a border of zeros around its last axes; x itself where there is none.

    A negative padding after the axis cuts nothing off: there are only fewer windows.
    """
    if all(before == 0 >= after for before, after in padding):
        return x
    lead = x.ndim - len(padding)
    size = x.shape[lead:]
    grown = tuple(n + p[0] + max(p[1], 0) for n, p in zip(size, padding, strict=True))
    y = xp.zeros((*x.shape[:lead], *grown), x.dtype)
    inner = tuple(slice(p[0], p[0] + n) for n, p in zip(size, padding, strict=True))
    y[(..., *inner)] = x
    return y


def window_view(xp: Any, x: Any, counts: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes):
    """All windows of x, already padded, as a view of (..., *kernel, *counts): nothing is copied."""
    lead = x.ndim - len(kernel)
    steps = x.strides[lead:]
    strides = (
        *x.strides[:lead],
        *(t * d for t, d in zip(steps, dilation, strict=True)),
        *(t * s for t, s in zip(steps, stride, strict=True)),
    )
    shape = (*x.shape[:lead], *kernel, *counts)
    return xp.lib.stride_tricks.as_strided(x, shape, strides)


def add_windows(
    y: Any,
    windows: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    start: int = 0,
) -> None:
    """Add `windows` (..., *kernel, *counts) back to y (..., *size), where `window_view` read."""
    n = len(kernel)
    size, counts = tuple(y.shape[-n:]), tuple(windows.shape[-n:])
    for tap, read, seen in taps(size, counts, stride, padding, dilation, kernel, start):
        y[(..., *read)] += windows[(..., *tap, *seen)]


# --- every window written out, and its adjoint ---

_CASES = [
    case((2, 5, 4), kernel=(3, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)),
    case((1, 2, 5), kernel=(2,), stride=(3,), padding=((1, 0),), dilation=(2,)),
    case((3, 4), kernel=(2, 3), stride=(2, 1), padding=((1, 1), (0, 2)), dilation=(1, 1)),
]


@primitive(arity=1, linear=True, cases=_CASES)
def unfold_windows(
    xp: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """Every window over the last axes written out: x (..., *size), y (..., *kernel, *counts)."""
    counts = check_windows("unfold", x.shape, kernel, stride, padding, dilation)
    return window_view(xp, padded(xp, x, padding), counts, kernel, stride, dilation).copy()


@unfold_windows.adjoint
def _(
    g: Any, _y: Any, x_like: Like, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    size = tuple(x_like.shape[-len(kernel) :])
    return fold_windows(g, size, kernel, stride, padding, dilation)


@primitive(
    arity=1,
    linear=True,
    wide=True,  # one place collects many windows
    cases=[
        case((2, 3, 2, 3, 3), size=(5, 4), kernel=(3, 2), stride=(1, 1),
             padding=((0, 0), (0, 0)), dilation=(1, 1)),
        case((2, 3), size=(7,), kernel=(2,), stride=(2,), padding=((0, 0),), dilation=(1,)),
    ],
)  # fmt: skip
def fold_windows(
    xp: Any, g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """Windows added back where they overlap: g (..., *kernel, *counts), y (..., *size)."""
    n = len(kernel)
    y = xp.zeros((*g.shape[: g.ndim - 2 * n], *size), g.dtype)
    add_windows(y, g, kernel, stride, padding, dilation)
    return y


@fold_windows.adjoint
def _(
    g: Any,
    _y: Any,
    _x: Any,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
) -> Any:
    return unfold_windows(g, kernel, stride, padding, dilation)  # fmt: skip


# --- sums of windows, one axis after the other ---


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[
        case((2, 5, 4), kernel=(3, 2), stride=(1, 2), padding=((1, 1), (0, 0))),
        case((2, 6), kernel=(2,), stride=(3,), padding=((0, 1),)),
    ],
)
def sum_windows(xp: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    """The sum over each window: x (..., *size), y (..., *counts)."""
    counts = check_windows("pooling", x.shape, kernel, stride, padding, (1,) * len(kernel))
    for i, j, reach in _by_axis(x.ndim, x.shape, counts, kernel, stride, padding):
        y = xp.zeros((*x.shape[:i], counts[j], *x.shape[i + 1 :]), x.dtype)
        lead = (slice(None),) * i
        for _, (read,), (seen,) in reach:
            y[(*lead, seen)] += x[(*lead, read)]
        x = y
    return x


@sum_windows.adjoint
def _(g: Any, _y: Any, x_like: Like, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    return spread_windows(g, tuple(x_like.shape[-len(kernel) :]), kernel, stride, padding)


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[
        case((2, 5, 2), size=(5, 4), kernel=(3, 2), stride=(1, 2), padding=((1, 1), (0, 0))),
        case((2, 2), size=(6,), kernel=(2,), stride=(3,), padding=((0, 1),)),
    ],
)
def spread_windows(
    xp: Any, g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding
) -> Any:
    """Each element added to all places of its window: the adjoint of `sum_windows`."""
    shape = (*g.shape[: g.ndim - len(size)], *size)
    counts = tuple(g.shape[-len(size) :])
    for i, j, reach in reversed([*_by_axis(g.ndim, shape, counts, kernel, stride, padding)]):
        x = xp.zeros((*g.shape[:i], size[j], *g.shape[i + 1 :]), g.dtype)
        lead = (slice(None),) * i
        for _, (read,), (seen,) in reach:
            x[(*lead, read)] += g[(*lead, seen)]
        g = x
    return g


@spread_windows.adjoint
def _(g: Any, _y: Any, _x: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    return sum_windows(g, kernel, stride, padding)


def _by_axis(
    ndim: int, shape: Sizes, counts: Sizes, kernel: Sizes, stride: Sizes, padding: Padding
) -> Iterator[tuple[int, int, Any]]:
    """For each axis slid over: its number from the front, among its kind, and its taps alone."""
    lead = ndim - len(kernel)
    for j, k in enumerate(kernel):
        i = lead + j
        yield i, j, taps((shape[i],), (counts[j],), (stride[j],), (padding[j],), (1,), (k,))
