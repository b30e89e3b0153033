"""Windows written out and added back, and channels turned into pixels, with PyTorch's signatures.

Floor 6: stands on ops and functional/sizes.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.nn.functional.sizes import Size, batched, per_axis
from gradengine.ops.windows import window_counts
from gradengine.tensor import Tensor

# --- windows ---


def unfold(
    input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """Every window of an image as a column: (N, C, H, W) to (N, C kH kW, L), L windows row by row.

    A convolution is a product of matrices with it. A batch axis may be left out.

    >>> import gradengine as ge
    >>> unfold(ge.arange(6.0).reshape(1, 2, 3), (2, 2)).tolist()
    [[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]
    """
    x, single = batched("unfold", input, 2)
    kernel, around, steps, apart = _window("unfold", kernel_size, dilation, padding, stride)
    y = ops.unfold_windows(x, kernel, steps, around, apart)
    y = ops.reshape(y, (x.shape[0], x.shape[1] * prod(kernel), prod(y.shape[4:])))
    return ops.squeeze(y, 0) if single else y


def fold(
    input: Tensor,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """Columns added back where their windows stood: (N, C kH kW, L) to (N, C, *output_size).

    The adjoint of `unfold`: where windows overlap, they add up. Raises ShapeError unless the
    columns are those of an image of that size.

    >>> import gradengine as ge
    >>> fold(ge.ones((4, 2)), (2, 3), (2, 2)).tolist()
    [[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]
    """
    if input.ndim not in (2, 3):
        text = f"fold: input {tuple(input.shape)} has {input.ndim} axes"
        raise ShapeError(hinted(text, "give (N, C kH kW, L) or (C kH kW, L)"))
    kernel, around, steps, apart = _window("fold", kernel_size, dilation, padding, stride)
    size = per_axis("fold", "output_size", output_size, 2, 1)
    counts = window_counts(size, kernel, steps, around, apart)
    channels, columns = input.shape[-2:]
    if channels % prod(kernel) or min(counts) < 1 or columns != prod(counts):
        raise ShapeError(
            hinted(
                f"fold: input {tuple(input.shape)}; an image of {size} has {counts} windows of "
                f"{kernel}: axis -2 must be a multiple of {prod(kernel)}, "
                f"axis -1 {prod(max(c, 0) for c in counts)}",
                "give the output_size, stride, padding and dilation that unfold was given",
            )
        )
    lead = input.shape[:-2]
    y = ops.reshape(input, (*lead, channels // prod(kernel), *kernel, *counts))
    return ops.fold_windows(y, size, kernel, steps, around, apart)


def _window(name: str, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    around = per_axis(name, "padding", padding, 2)
    return (
        per_axis(name, "kernel_size", kernel, 2, 1),
        tuple((p, p) for p in around),
        per_axis(name, "stride", stride, 2, 1),
        per_axis(name, "dilation", dilation, 2, 1),
    )


# --- channels ---


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels turned into pixels: (..., C r^2, H, W) to (..., C, H r, W r).

    y[c, h r + i, w r + j] = x[c r^2 + i r + j, h, w]. Shi et al., arXiv:1609.05158, equation 4.

    >>> import gradengine as ge
    >>> pixel_shuffle(ge.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    r, shape = upscale_factor, tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-3] % (r * r):
        text = f"pixel_shuffle: input {shape}, upscale_factor={r}"
        raise ShapeError(hinted(text, f"(..., C, H, W) with C a multiple of {max(r, 1) ** 2}"))
    *lead, c, h, w = shape
    y = ops.reshape(input, (*lead, c // (r * r), r, r, h, w))
    k = len(lead)
    y = ops.permute_dims(y, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return ops.reshape(y, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """`pixel_shuffle` undone, pixels turned into channels: (..., C, Hr, Wr) to (..., C r^2, H, W).

    >>> import gradengine as ge
    >>> pixel_unshuffle(ge.arange(4.0).reshape(1, 2, 2), 2).flatten()
    tensor([0., 1., 2., 3.])
    """
    r, shape = downscale_factor, tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-1] % r or shape[-2] % r:
        text = f"pixel_unshuffle: input {shape}, downscale_factor={r}"
        raise ShapeError(hinted(text, f"(..., C, H, W) with H and W multiples of {max(r, 1)}"))
    *lead, c, h, w = shape
    y = ops.reshape(input, (*lead, c, h // r, r, w // r, r))
    k = len(lead)
    y = ops.permute_dims(y, (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return ops.reshape(y, (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels dealt out among groups: y[n, i G + g] = x[n, g C/G + i], so that groups mix.

    Zhang et al., arXiv:1707.01083, section 3.1. input (N, C, *size).

    >>> import gradengine as ge
    >>> channel_shuffle(ge.arange(4.0).reshape(1, 4, 1), 2).flatten()
    tensor([0., 2., 1., 3.])
    """
    shape = tuple(input.shape)
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        text = f"channel_shuffle: input {shape}, groups={groups}"
        raise ShapeError(hinted(text, "(N, C, *size) with C a multiple of groups"))
    y = ops.reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return ops.reshape(ops.swapaxes(y, 1, 2), shape)
