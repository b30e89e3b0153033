"""Convolution over 1, 2 or 3 axes: one bilinear map and its two adjoints, each by matrix products.

The windows of an image are copied as columns, from one strided view, into a buffer that stays in
the processor's cache, and multiplied there by the weights: blocks of images, or of rows of a large
image. Nothing of the size of all columns is ever stored. The three maps

    y = convolution(x, w)    dx = convolution_input(g, w)    dw = convolution_weight(x, g)

are linear in each argument, and the adjoint of each is the other two: derivatives of any order
are again these. A transposed convolution is `convolution_input`.

Letters: `x` input (N, C, *size), `w` weight (O, C/groups, *kernel), `y` output (N, O, *counts), `g`
its cotangent. Inside, channels are split by group: `G` groups of `C/G` and `O/G` channels.

Floor 3: stands on op.py, windows.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from ..device import is_host
from ..errors import ShapeError, hinted
from ..op import case, primitive
from ..tape import Like
from .windows import Padding, Sizes, add_windows, check_windows, padded, window_view

CACHE_BYTES, DEVICE_BYTES = 1 << 20, 1 << 28
"""How large a block of columns may be: half of a core's cache, or what keeps a GPU busy."""
LONG = 512
"""Columns that make the product for the weights' gradient worth its call."""


def _one(*shapes: Any, n: int, **changed: Any) -> Any:
    """A test case over `n` axes; what is not given is 1, or no padding."""
    params = {
        "stride": (1,) * n, "padding": ((0, 0),) * n, "dilation": (1,) * n, "groups": 1, **changed
    }  # fmt: skip
    return case(*shapes, **params)


# --- the map ---


@primitive(
    linear=(0, 1),
    arity=2,
    wide=True,
    cases=[
        _one((2, 3, 5, 4), (4, 3, 3, 2), n=2),
        _one((2, 2, 5), (3, 2, 3), n=1, padding=((2, 1),), stride=(2,)),
        _one((1, 2, 3, 4, 3), (2, 2, 2, 1, 2), n=3, dilation=(1, 2, 1), padding=((1, 0),) * 3),
        _one((2, 4, 4, 4), (6, 2, 2, 2), n=2, groups=2, dilation=(2, 1), stride=(1, 3)),
        _one((2, 3, 4), (3, 1, 3), n=1, groups=3, padding=((1, 1),)),
        _one((2, 3, 2, 3), (2, 3, 1, 1), n=2),
        _one((0, 3, 4), (2, 3, 2), n=1),
    ],
)
def convolution(
    xp: Any, x: Any, w: Any, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    """y[n, o, p] = sum over c and taps t of w[o, c, t] x[n, c, p*stride + t*dilation - before].

    x (N, C, *size), w (O, C/groups, *kernel), y (N, O, *counts); padding is ((before, after), ...)
    in zeros. It is a correlation, as everywhere in deep learning. 16-bit floats are computed in
    float32. Raises ShapeError where channels, groups or sizes do not fit.
    """
    _check_channels("convolution", x, w, groups)
    kernel = tuple(w.shape[2:])
    counts = check_windows("convolution", x.shape, kernel, stride, padding, dilation)
    dtype = xp.result_type(x, w)
    weight = _by_group(w, groups).astype(dtype, copy=False)
    y = xp.empty((x.shape[0], groups, weight.shape[1], prod(counts)), dtype)
    grouped = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    if _is_plain(grouped, kernel, stride, padding):  # the images are their own columns
        xp.matmul(weight, grouped.reshape(*grouped.shape[:3], -1), out=y)
        return y.reshape(x.shape[0], w.shape[0], *counts)
    view = window_view(xp, padded(xp, grouped, padding), counts, kernel, stride, dilation)
    buffer: Any = None
    for images, rows, places in _blocks(xp, x.shape[0], weight.shape[2] * groups, counts, dtype):
        shown = view[(images, ..., rows, *(slice(None),) * (len(kernel) - 1))]
        if buffer is None:  # the first block is the largest
            buffer = xp.empty(shown.size, dtype)
        columns = buffer[: shown.size].reshape(shown.shape)
        xp.copyto(columns, shown)
        columns = columns.reshape(shown.shape[0], groups, weight.shape[2], -1)
        xp.matmul(weight, columns, out=y[images, ..., places])
    return y.reshape(x.shape[0], w.shape[0], *counts)


@convolution.adjoint(0)
def _(
    g: Any,
    _y: Any,
    x_like: Like,
    w: Any,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution_input(g, w, tuple(x_like.shape[2:]), stride, padding, dilation, groups)


@convolution.adjoint(1)
def _(
    g: Any,
    _y: Any,
    x: Any,
    w_like: Like,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution_weight(x, g, tuple(w_like.shape[2:]), stride, padding, dilation, groups)


# --- its adjoint in x ---


@primitive(
    linear=(0, 1),
    arity=2,
    wide=True,
    cases=[
        _one((2, 4, 3, 3), (4, 3, 3, 2), n=2, size=(5, 4)),
        _one((2, 3, 3), (3, 2, 3), n=1, size=(5,), padding=((2, 1),), stride=(2,)),
        _one(
            (2, 6, 3, 1), (6, 2, 2, 2), n=2, size=(5, 4), groups=2, dilation=(2, 1), stride=(1, 3)
        ),
        _one((2, 2, 2, 3), (2, 3, 1, 1), n=2, size=(2, 3)),
    ],
)
def convolution_input(
    xp: Any,
    g: Any,
    w: Any,
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    """The adjoint of `convolution` in x: g (N, O, *counts), w as there, dx (N, C, *size).

    dx[n, c, p*stride + t*dilation - before] += sum over o of w[o, c, t] g[n, o, p]. With stride 1
    that is a convolution of g with the kernels turned around, which needs no adding back.
    """
    _check_cotangent("convolution_input", g, w, size, stride, padding, dilation, groups)
    kernel, counts = tuple(w.shape[2:]), tuple(g.shape[2:])
    around = _turned_padding(kernel, padding, dilation)
    fewer = g.shape[1] <= 2 * w.shape[1] * groups  # columns of g rather than of dx
    if fewer and max(stride) == 1 and min(before for before, _ in around) >= 0:
        return convolution.op.forward(xp, g, _turned(w, groups), stride, around, dilation, groups)
    dtype = xp.result_type(g, w)
    weight = _by_group(w, groups).astype(dtype, copy=False).swapaxes(1, 2)  # (G, C/G*taps, O/G)
    n, inner = g.shape[0], w.shape[1]
    grouped = g.reshape(n, groups, g.shape[1] // groups, prod(counts)).astype(dtype, copy=False)
    dx = xp.zeros((n, groups, inner, *size), dtype)
    if _is_plain(dx, kernel, stride, padding):
        xp.matmul(weight, grouped, out=dx.reshape(n, groups, inner, -1))
        return dx.reshape(n, groups * inner, *size)
    buffer: Any = None
    for images, rows, places in _blocks(xp, n, weight.shape[1] * groups, counts, dtype):
        part = grouped[images, ..., places]
        shape = (part.shape[0], groups, weight.shape[1], part.shape[3])
        if buffer is None:
            buffer = xp.empty(prod(shape), dtype)
        columns = buffer[: prod(shape)].reshape(shape)
        xp.matmul(weight, part, out=columns)
        columns = columns.reshape(*shape[:2], inner, *kernel, rows.stop - rows.start, *counts[1:])
        add_windows(dx[images], columns, kernel, stride, padding, dilation, rows.start)
    return dx.reshape(n, groups * inner, *size)


@convolution_input.adjoint(0)
def _(
    c: Any,
    _dx: Any,
    _g: Any,
    w: Any,
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution(c, w, stride, padding, dilation, groups)


@convolution_input.adjoint(1)
def _(
    c: Any,
    _dx: Any,
    g: Any,
    w_like: Like,
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution_weight(c, g, tuple(w_like.shape[2:]), stride, padding, dilation, groups)


# --- its adjoint in w ---


@primitive(
    linear=(0, 1),
    arity=2,
    wide=True,
    cases=[
        _one((2, 3, 5, 4), (2, 4, 3, 3), n=2, kernel=(3, 2)),
        _one((2, 2, 5), (2, 3, 3), n=1, kernel=(3,), padding=((2, 1),), stride=(2,)),
        _one(
            (2, 4, 4, 4), (2, 6, 2, 1), n=2, kernel=(2, 2), groups=2, dilation=(2, 1), stride=(1, 3)
        ),
        _one((0, 3, 4), (0, 2, 3), n=1, kernel=(2,)),
    ],
)
def convolution_weight(
    xp: Any,
    x: Any,
    g: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    """The adjoint of `convolution` in w: x and g as there, dw (O, C/groups, *kernel).

    dw[o, c, t] = sum over n and p of g[n, o, p] x[n, c, p*stride + t*dilation - before].
    """
    n, outer, inner = x.shape[0], g.shape[1] // groups, x.shape[1] // groups
    counts = check_windows("convolution_weight", x.shape, kernel, stride, padding, dilation)
    dtype = xp.result_type(x, g)
    taps = inner * prod(kernel)
    grouped = g.reshape(n, groups, outer, prod(counts))
    split = padded(xp, x.reshape(n, groups, inner, *x.shape[2:]), padding)
    view = window_view(xp, split, counts, kernel, stride, dilation)
    dw = xp.zeros((groups, taps, outer), dtype)
    product = xp.empty_like(dw)
    axes = (*range(1, 3 + len(kernel)), 0, *range(3 + len(kernel), view.ndim))
    view = view.transpose(axes)  # (G, C/G, *kernel, N, *counts): the columns of all images in a row
    for images, rows, places in _blocks(xp, n, taps * groups, counts, dtype, LONG):
        shown = view[(..., images, rows, *(slice(None),) * (len(kernel) - 1))]
        columns = xp.empty(shown.shape, dtype)
        xp.copyto(columns, shown)
        columns = columns.reshape(groups, taps, -1)
        part = grouped[images, ..., places].astype(dtype, copy=False)
        part = part.transpose(1, 0, 3, 2).reshape(groups, -1, outer)
        dw += xp.matmul(columns, part, out=product)
    dw = dw.swapaxes(1, 2).reshape(groups * outer, inner, *kernel)
    return dw


@convolution_weight.adjoint(0)
def _(
    c: Any,
    _dw: Any,
    x_like: Like,
    g: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution_input(g, c, tuple(x_like.shape[2:]), stride, padding, dilation, groups)


@convolution_weight.adjoint(1)
def _(
    c: Any,
    _dw: Any,
    x: Any,
    _g: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    return convolution(x, c, stride, padding, dilation, groups)


# --- parts ---


def _by_group(w: Any, groups: int) -> Any:
    """w (O, C/G, *kernel) as matrices (G, O/G, C/G*taps)."""
    return w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))


def _turned(w: Any, groups: int) -> Any:
    """w (O, C/G, *kernel) as (C, O/G, *kernel), each kernel turned end to end."""
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    split = split[(..., *(slice(None, None, -1),) * (w.ndim - 2))]
    return split.reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:])


def _turned_padding(kernel: Sizes, padding: Padding, dilation: Sizes) -> Padding:
    """What the input's gradient is padded by where it is a convolution of g, stride being 1."""
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((r - p[0], r - p[1]) for r, p in zip(reach, padding, strict=True))


def _is_plain(x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> bool:
    """Whether each pixel is a window of its own, and the images are stored without gaps."""
    apart = max(kernel) > 1 or max(stride) > 1 or any(p != (0, 0) for p in padding)
    return not apart and x.flags.c_contiguous


def _blocks(
    xp: Any, n: int, column: int, counts: Sizes, dtype: Any, enough: int | None = None
) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of columns that fit into the cache: which images, which rows, which places.

    Whole images, as many as fit (or have `enough` columns together); of a larger image some rows
    at a time. `column` is how many numbers one column has.
    """
    budget = CACHE_BYTES if is_host(xp) else DEVICE_BYTES
    total, inner = prod(counts), prod(counts[1:])
    fitting = budget // max(column * dtype.itemsize, 1)  # columns
    if fitting >= total:
        step = max(fitting // total, 1)
        if enough is not None and is_host(xp):
            step = min(step, max(enough // total, 1))
        for a in range(0, n, step):
            yield slice(a, min(a + step, n)), slice(0, counts[0]), slice(0, total)
        return
    step = max(fitting // inner, 1)
    for a in range(n):
        for b in range(0, counts[0], step):
            stop = min(b + step, counts[0])
            yield slice(a, a + 1), slice(b, stop), slice(b * inner, stop * inner)


# --- errors ---


def _check_channels(name: str, x: Any, w: Any, groups: int) -> None:
    shapes = f"input {tuple(x.shape)}, weight {tuple(w.shape)}, groups={groups}"
    if x.ndim != w.ndim or w.ndim < 3:
        raise ShapeError(
            hinted(
                f"{name}: {shapes}: the ranks do not fit",
                "input is (N, C, *size) and weight (O, C/groups, *kernel), with as many axes",
            )
        )
    if groups < 1 or w.shape[0] % groups or x.shape[1] % groups:
        text = f"{name}: {shapes}: channels cannot be split into {groups} groups"
        raise ShapeError(hinted(text, "groups must divide the channels in and out"))
    expected = w.shape[1] * groups
    if x.shape[1] != expected:
        raise ShapeError(
            hinted(
                f"{name}: the weight expects {expected} channels, the input has {x.shape[1]} on "
                f"axis 1: {shapes}",
                f"give (N, {expected}, *size) (channels first: permute_dims), or build the layer "
                f"with in_channels={x.shape[1]}",
            )
        )


def _check_cotangent(
    name: str,
    g: Any,
    w: Any,
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> None:
    shapes = f"input {tuple(g.shape)}, weight {tuple(w.shape)}, groups={groups}"
    if g.ndim != w.ndim or w.ndim < 3 or g.shape[1] != w.shape[0] or w.shape[0] % groups:
        raise ShapeError(
            hinted(
                f"{name}: {shapes}: the weight takes {w.shape[0]} channels",
                "input is (N, O, *counts) and weight (O, C/groups, *kernel)",
            )
        )
    counts = check_windows(name, size, tuple(w.shape[2:]), stride, padding, dilation)
    if counts != tuple(g.shape[2:]):
        raise ShapeError(
            hinted(
                f"{name}: a convolution of {size} has size {counts}, not {tuple(g.shape[2:])}: "
                f"{shapes}",
                "check stride, padding and output_padding",
            )
        )
