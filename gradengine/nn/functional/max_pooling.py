"""Max pooling and its inverse, with PyTorch's signatures; ops/pooling.py finds the maxima.

Floor 6: stands on ops and functional/sizes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias, cast

from gradengine import creation, ops
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.functional.sizes import Size, check_rank, per_axis, strides_of
from gradengine.ops.gathering import gather, put_along_axis
from gradengine.ops.pooling import even_argmax, max_positions
from gradengine.tensor import Tensor

Pooled: TypeAlias = Any
"""A tensor, or with `return_indices` two: the maxima and where they stood."""
Sizes: TypeAlias = Size | Sequence[int | None]
"""The size to reach: a number for all axes, or one for each; None keeps an axis as it is."""


# --- the largest of each window ---


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled:
    """The largest of each window: (N, C, L) or (C, L) to (N, C, L').

    L' = (L + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up with
    `ceil_mode`; `stride` is the kernel's size if None. Padding counts as -inf. Of equals the first
    gets the gradient. `return_indices` adds where the maxima stand in the flattened size.

    >>> import gradengine as ge
    >>> max_pool1d(ge.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[3., 2.]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool1d", 1, input, *window, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled:
    """`max_pool1d` over two axes.

    >>> import gradengine as ge
    >>> max_pool2d(ge.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool2d", 2, input, *window, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled:
    """`max_pool1d` over three axes.

    >>> import gradengine as ge
    >>> max_pool3d(ge.ones((1, 2, 4, 4, 4)), 2).shape
    (1, 2, 2, 2, 2)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool3d", 3, input, *window, return_indices)


def _max_pool(
    name: str,
    n: int,
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    check_rank(name, x, n)
    kernel = per_axis(name, "kernel_size", kernel, n, 1)
    steps = strides_of(name, stride, kernel)
    apart = per_axis(name, "dilation", dilation, n, 1)
    around = per_axis(name, "padding", padding, n)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, apart, strict=True))
    pads = pool_padding(name, tuple(x.shape[-n:]), reach, steps, around, ceil_mode)
    y = ops.max_windows(x, kernel, steps, pads, apart)
    return (y, max_positions(x, kernel, steps, pads, apart)) if return_indices else y


def pool_padding(
    name: str,
    size: tuple[int, ...],
    reach: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil_mode: bool,
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis; `ceil_mode` adds after what a last window lacks.

    That window must begin inside the input or the padding before it.
    """
    if any(2 * p > r for p, r in zip(padding, reach, strict=True)):
        text = f"{name}: padding={padding} for windows of {reach}"
        raise ShapeError(hinted(text, "at most half a window: no window may see padding alone"))
    pairs: list[tuple[int, int]] = []
    for n, r, s, p in zip(size, reach, stride, padding, strict=True):
        rest = (n + 2 * p - r) % s
        after = p
        if ceil_mode and rest and n + 2 * p - r + s - rest < n + p:
            after += s - rest
        pairs.append((p, after))
    return tuple(pairs)


# --- its inverse ---


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Maxima put back where they stood, among zeros: (N, C, L') or (C, L') to (N, C, L).

    `indices` as `max_pool1d(..., return_indices=True)` gives them. L = (L' - 1) stride - 2 padding
    + kernel_size, unless `output_size` says another that is less than a stride away.

    >>> import gradengine as ge
    >>> y, i = max_pool1d(ge.tensor([[1.0, 3.0, 2.0, 0.0]]), 2, return_indices=True)
    >>> max_unpool1d(y, i, 2)
    tensor([[0., 3., 2., 0.]])
    """
    window = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool1d", 1, input, indices, *window)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool1d` over two axes.

    >>> import gradengine as ge
    >>> y, i = max_pool2d(ge.arange(4.0).reshape(1, 2, 2), 2, return_indices=True)
    >>> max_unpool2d(y, i, 2).tolist()
    [[[0.0, 0.0], [0.0, 3.0]]]
    """
    window = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool2d", 2, input, indices, *window)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool1d` over three axes.

    >>> import gradengine as ge
    >>> y, i = max_pool3d(ge.ones((1, 2, 2, 2)), 2, return_indices=True)
    >>> max_unpool3d(y, i, 2).shape
    (1, 2, 2, 2)
    """
    window = (kernel_size, stride, padding, output_size)
    return _unpool("max_unpool3d", 3, input, indices, *window)


def _unpool(
    name: str,
    n: int,
    x: Any,
    indices: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    check_rank(name, x, n)
    if tuple(indices.shape) != tuple(x.shape):
        text = f"{name}: indices {tuple(indices.shape)} for input {tuple(x.shape)}"
        raise ShapeError(hinted(text, "give both as max_pool returned them"))
    kernel = per_axis(name, "kernel_size", kernel, n, 1)
    steps = strides_of(name, stride, kernel)
    around = per_axis(name, "padding", padding, n)
    axes = list(zip(x.shape[-n:], kernel, steps, around, strict=True))
    size = tuple((m - 1) * s - 2 * p + k for m, k, s, p in axes)
    if output_size is not None:
        wanted = per_axis(name, "output_size", tuple(output_size)[-n:], n, 1)
        if any(abs(a - b) >= s for a, b, s in zip(wanted, size, steps, strict=True)):
            text = f"{name}: output_size={wanted} from input {tuple(x.shape)}"
            raise ShapeError(hinted(text, f"less than a stride {steps} away from {size}"))
        size = wanted
    lead, total = tuple(x.shape[:-n]), prod(size)
    flat = (*lead, prod(x.shape[-n:]))
    places = ops.reshape(indices, flat)
    if places.size and (int(places.max()) >= total or int(places.min()) < 0):
        text = f"{name}: indices up to {int(places.max())} for an output of {size}"
        raise OutOfRangeError(hinted(text, f"they must lie in [0, {total - 1}]: give output_size"))
    empty = creation.zeros((*lead, total), dtype=x.dtype, device=x.device)
    y = put_along_axis(empty, places, ops.reshape(x, flat), axis=-1)
    return ops.reshape(y, (*lead, *size))


# --- windows that divide an axis evenly ---


def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Pooled:
    """The largest of each of `output_size` windows: (N, C, L) or (C, L) to (N, C, output_size).

    Window i reaches from floor(i L/output_size) to ceil((i + 1) L/output_size).

    >>> import gradengine as ge
    >>> adaptive_max_pool1d(ge.tensor([[1.0, 3.0, 2.0, 0.0, 5.0]]), 2)
    tensor([[3., 5.]])
    """
    return _adaptive("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Pooled:
    """`adaptive_max_pool1d` over two axes; a size of None keeps the axis as it is.

    >>> import gradengine as ge
    >>> adaptive_max_pool2d(ge.arange(12.0).reshape(1, 3, 4), (None, 1)).flatten()
    tensor([ 3.,  7., 11.])
    """
    return _adaptive("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Pooled:
    """`adaptive_max_pool1d` over three axes.

    >>> import gradengine as ge
    >>> adaptive_max_pool3d(ge.ones((1, 2, 3, 4, 5)), 2).shape
    (1, 2, 2, 2, 2)
    """
    return _adaptive("adaptive_max_pool3d", 3, input, output_size, return_indices)


def adaptive_sizes(name: str, x: Any, output_size: Any, n: int) -> tuple[int, ...]:
    """The size to reach, None replaced by what the axis has."""
    check_rank(name, x, n)
    size = tuple(x.shape[-n:])
    many = isinstance(output_size, (tuple, list))
    given = tuple(cast(Any, output_size)) if many else (output_size,) * n
    if len(given) == n:
        given = tuple(m if o is None else o for o, m in zip(given, size, strict=True))
    found = per_axis(name, "output_size", given, n, 1)
    if 0 in size:
        text = f"{name}: input {tuple(x.shape)} has an empty axis"
        raise ShapeError(hinted(text, "give at least one element to pool"))
    return found


def _adaptive(name: str, n: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    counts = adaptive_sizes(name, x, output_size, n)
    lead, total = tuple(x.shape[:-n]), prod(x.shape[-n:])
    places = even_argmax(x, counts)
    flat = ops.reshape(places, (*lead, prod(counts)))
    y = ops.reshape(gather(ops.reshape(x, (*lead, total)), flat, axis=-1), (*lead, *counts))
    return (y, places) if return_indices else y
