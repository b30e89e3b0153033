"""Convolutions with PyTorch's signatures; ops/convolution.py has the map and its adjoints.

Floor 6: stands on ops and functional/sizes.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.nn.functional.sizes import Size, batched, per_axis
from gradengine.tensor import Tensor

# --- convolution ---


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, o, i] = b[o] + sum over c and t of w[o, c, t] x[n, c, i*stride + t*dilation - padding].

    input (N, C, L) or (C, L), weight (O, C/groups, k), bias (O,); output (N, O, L'),
    L' = (L + 2 padding - dilation (k - 1) - 1) // stride + 1. `padding` may be "valid" (none) or
    "same" (as much as keeps L, for stride 1). ShapeError where channels or sizes do not fit.

    >>> import gradengine as ge
    >>> conv1d(ge.tensor([[1.0, 2.0, 4.0]]), ge.tensor([[[1.0, -1.0]]]))
    tensor([[-1., -2.]])
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """`conv1d` over two axes: input (N, C, H, W), weight (O, C/groups, kH, kW).

    >>> import gradengine as ge
    >>> conv2d(ge.ones((1, 1, 3, 3)), ge.ones((1, 1, 3, 3)), padding="same")[0, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """`conv1d` over three axes: input (N, C, D, H, W), weight (O, C/groups, kD, kH, kW).

    >>> import gradengine as ge
    >>> conv3d(ge.ones((1, 2, 2, 2, 2)), ge.ones((4, 2, 2, 2, 2))).flatten().tolist()
    [16.0, 16.0, 16.0, 16.0]
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _convolve(
    name: str,
    n: int,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    x, single = batched(name, x, n)
    if w.ndim != n + 2:
        text = f"{name}: weight {tuple(w.shape)} has {w.ndim} axes"
        raise ShapeError(hinted(text, f"give (O, C/groups, *kernel): {n + 2} in all"))
    stride = per_axis(name, "stride", stride, n, 1)
    dilation = per_axis(name, "dilation", dilation, n, 1)
    around = paddings(name, padding, tuple(w.shape[2:]), stride, dilation)
    y = ops.convolution(x, w, stride, around, dilation, groups)
    return _with_bias(name, y, bias, n, single)


def paddings(
    name: str, padding: Any, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: Any
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from numbers, "valid" or "same"."""
    n = len(kernel)
    if not isinstance(padding, str):
        return tuple((p, p) for p in per_axis(name, "padding", padding, n))
    if padding == "valid":
        return ((0, 0),) * n
    if padding != "same":
        text = f"{name}: padding={padding!r} is not known"
        raise ShapeError(hinted(text, 'give numbers, "valid" or "same"'))
    if max(stride) > 1:
        text = f'{name}: padding="same" with stride={stride}'
        raise ShapeError(hinted(text, "only stride 1 keeps the size: give the padding in numbers"))
    whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((w // 2, w - w // 2) for w in whole)


def _with_bias(name: str, y: Any, bias: Any, n: int, single: bool) -> Tensor:
    if bias is not None:
        if tuple(bias.shape) != (y.shape[1],):
            text = f"{name}: bias {tuple(bias.shape)} for {y.shape[1]} channels out"
            raise ShapeError(hinted(text, f"give a bias of ({y.shape[1]},)"))
        y = y + ops.reshape(bias, (y.shape[1], *(1,) * n))
    return ops.squeeze(y, 0) if single else y


# --- transposed convolution ---


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The adjoint of `conv1d` in its input, as a layer: it undoes a stride.

    y[n, o, i*stride + t*dilation - padding] += sum over c of w[c, o, t] x[n, c, i], plus b[o].
    input (N, C, L) or (C, L), weight (C, O/groups, k), bias (O,); output (N, O, L'),
    L' = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. Several sizes give the
    same under a stride: `output_padding`, less than the stride or the dilation, chooses one.

    >>> import gradengine as ge
    >>> conv_transpose1d(ge.tensor([[1.0, 2.0]]), ge.tensor([[[1.0, 1.0]]]), stride=2)
    tensor([[1., 1., 2., 2.]])
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transpose("conv_transpose1d", 1, input, weight, bias, *options)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """`conv_transpose1d` over two axes: input (N, C, H, W), weight (C, O/groups, kH, kW).

    >>> import gradengine as ge
    >>> conv_transpose2d(ge.ones((1, 1, 2, 2)), ge.ones((1, 3, 2, 2)), stride=2).shape
    (1, 3, 4, 4)
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transpose("conv_transpose2d", 2, input, weight, bias, *options)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """`conv_transpose1d` over three axes: input (N, C, D, H, W), weight (C, O/groups, kD, kH, kW).

    >>> import gradengine as ge
    >>> conv_transpose3d(ge.ones((1, 1, 2, 2, 2)), ge.ones((1, 1, 3, 3, 3))).shape
    (1, 1, 4, 4, 4)
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transpose("conv_transpose3d", 3, input, weight, bias, *options)


def _transpose(
    name: str,
    n: int,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    x, single = batched(name, x, n)
    if w.ndim != n + 2:
        text = f"{name}: weight {tuple(w.shape)} has {w.ndim} axes"
        raise ShapeError(hinted(text, f"give (C, O/groups, *kernel): {n + 2} in all"))
    if x.shape[1] != w.shape[0]:
        shapes = f"input {tuple(x.shape)}, weight {tuple(w.shape)}, groups={groups}"
        text = f"{name}: the weight expects {w.shape[0]} channels, the input has {x.shape[1]}"
        hint = f"give (N, {w.shape[0]}, *size), or build the layer with in_channels={x.shape[1]}"
        raise ShapeError(hinted(f"{text} on axis 1: {shapes}", hint))
    if groups < 1 or w.shape[0] % groups:
        text = f"{name}: {w.shape[0]} channels, groups={groups}"
        raise ShapeError(hinted(text, "groups must divide the channels in"))
    stride = per_axis(name, "stride", stride, n, 1)
    dilation = per_axis(name, "dilation", dilation, n, 1)
    padding = per_axis(name, "padding", padding, n)
    extra = per_axis(name, "output_padding", output_padding, n)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        text = f"{name}: output_padding={extra}, stride={stride}, dilation={dilation}"
        raise ShapeError(hinted(text, "output_padding must be less than the stride or dilation"))
    size = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, k, s, p, d, e in zip(
            x.shape[2:], w.shape[2:], stride, padding, dilation, extra, strict=True
        )
    )
    if min(size) < 1:
        text = f"{name}: the output would be of size {size}: input {tuple(x.shape)}"
        raise ShapeError(hinted(text, f"use less padding than {padding}, or a larger input"))
    around = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
    y = ops.convolution_input(x, w, size, stride, around, dilation, groups)
    return _with_bias(name, y, bias, n, single)
