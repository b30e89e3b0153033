"""Mean pooling of every kind, with PyTorch's signatures; sums of windows are in ops/windows.py.

Floor 6: stands on ops and functional/max_pooling.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

from gradengine import ops
from gradengine.conversion import tensor
from gradengine.errors import OutOfRangeError, hinted
from gradengine.nn.functional.max_pooling import Sizes, adaptive_sizes, pool_padding
from gradengine.nn.functional.sizes import Size, check_rank, per_axis, strides_of
from gradengine.ops.reductions import widened
from gradengine.ops.resampling import Rule
from gradengine.tensor import Tensor

# --- the mean of each window ---


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window: (N, C, L) or (C, L) to (N, C, L').

    L' = (L + 2 padding - kernel_size) / stride + 1, rounded down, or up with `ceil_mode`; `stride`
    is the kernel's size if None. Padding is zeros, which count unless `count_include_pad` is
    False; what `ceil_mode` adds never counts.

    >>> import gradengine as ge
    >>> avg_pool1d(ge.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[2., 1.]])
    """
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool1d", 1, input, *window)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool1d` over two axes; `divisor_override` divides all sums instead of their counts.

    >>> import gradengine as ge
    >>> avg_pool2d(ge.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool2d", 2, input, *window, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool2d` over three axes.

    >>> import gradengine as ge
    >>> avg_pool3d(ge.ones((1, 2, 4, 4, 4)), 2).shape
    (1, 2, 2, 2, 2)
    """
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool3d", 3, input, *window, divisor_override)


def _avg_pool(
    name: str,
    n: int,
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:
    check_rank(name, x, n)
    kernel = per_axis(name, "kernel_size", kernel, n, 1)
    steps = strides_of(name, stride, kernel)
    around = per_axis(name, "padding", padding, n)
    if divisor is not None and divisor == 0:
        text = f"{name}: divisor_override={divisor}"
        raise OutOfRangeError(hinted(text, "give None or a number other than 0"))
    size = tuple(x.shape[-n:])
    pads = pool_padding(name, size, kernel, steps, around, ceil_mode)
    y = ops.sum_windows(widened(x), kernel, steps, pads)
    if divisor is not None:
        y = y / divisor
    else:
        y = _divided(y, size, kernel, steps, around, count_include_pad)
    return y if y.dtype == x.dtype else y.astype(x.dtype)


def _divided(
    y: Any, size: tuple[int, ...], kernel: Any, stride: Any, padding: Any, include: bool
) -> Any:
    """Sums of windows by how many elements each counts, which is a product over the axes."""
    n = len(size)
    scale = 1.0
    for i, (m, k, s, p) in enumerate(zip(size, kernel, stride, padding, strict=True)):
        low, high = (-p, m + p) if include else (0, m)
        starts = [j * s - p for j in range(y.shape[y.ndim - n + i])]
        counts = [min(a + k, high) - max(a, low) for a in starts]
        if len(set(counts)) <= 1:
            scale *= counts[0] if counts else 1
            continue
        divisors = tensor(counts, dtype=y.dtype, device=y.device)
        y = y / ops.reshape(divisors, (len(counts), *(1,) * (n - 1 - i)))
    return y / scale


# --- the p-norm of each window ---


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window, p = `norm_type`: (sum x^p)^(1/p); (N, C, L) to (N, C, L').

    Without absolute values, as in PyTorch: a negative sum has no norm, unless p is 1.
    A sum of 0 has the gradient 0.

    >>> import gradengine as ge
    >>> lp_pool1d(ge.tensor([[3.0, 4.0, 0.0, 2.0]]), 2, 2)
    tensor([[5., 2.]])
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """`lp_pool1d` over two axes.

    >>> import gradengine as ge
    >>> lp_pool2d(ge.ones((1, 2, 2)), 2, 2).tolist()
    [[[2.0]]]
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """`lp_pool1d` over three axes.

    >>> import gradengine as ge
    >>> lp_pool3d(ge.ones((1, 4, 4, 4)), 1, 2).shape
    (1, 2, 2, 2)
    """
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    name: str, n: int, x: Any, p: float, kernel: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    if not p > 0:
        raise OutOfRangeError(hinted(f"{name}: norm_type={p}", "give a positive number"))
    kernel = per_axis(name, "kernel_size", kernel, n, 1)
    wide: Any = widened(x)
    means: Any = _avg_pool(name, n, wide**p, kernel, stride, 0, ceil_mode, True)
    y: Any = (means * prod(kernel)) ** (1.0 / p)
    return y if y.dtype == x.dtype else y.astype(x.dtype)


# --- windows that divide an axis evenly ---


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """The mean of each of `output_size` windows: (N, C, L) or (C, L) to (N, C, output_size).

    Window i reaches from floor(i L/output_size) to ceil((i + 1) L/output_size).

    >>> import gradengine as ge
    >>> adaptive_avg_pool1d(ge.tensor([[1.0, 3.0, 2.0, 0.0, 4.0]]), 2)
    tensor([[2., 2.]])
    """
    return _adaptive("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """`adaptive_avg_pool1d` over two axes; a size of None keeps the axis as it is.

    >>> import gradengine as ge
    >>> adaptive_avg_pool2d(ge.arange(12.0).reshape(1, 3, 4), (None, 1)).flatten()
    tensor([1.5, 5.5, 9.5])
    """
    return _adaptive("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """`adaptive_avg_pool1d` over three axes.

    >>> import gradengine as ge
    >>> adaptive_avg_pool3d(ge.ones((1, 2, 3, 4, 5)), 2).shape
    (1, 2, 2, 2, 2)
    """
    return _adaptive("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive(name: str, n: int, x: Any, output_size: Any) -> Tensor:
    counts = adaptive_sizes(name, x, output_size, n)
    for i, m in enumerate(counts):
        axis = x.ndim - n + i
        if x.shape[axis] != m:
            x = ops.resample(x, axis, m, Rule("mean"))
    return x
