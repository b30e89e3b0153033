"""Convolution layers: weights, a bias, how windows slide; functional/convolution.py computes.

Floor 6: stands on functional/convolution.py, functional/padding.py and module.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradengine import creation
from gradengine.errors import ShapeError, hinted
from gradengine.nn import init
from gradengine.nn.functional import convolution as F
from gradengine.nn.functional.padding import pad
from gradengine.nn.functional.sizes import Size, per_axis
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Windowed(Module):
    """What all convolution layers have: attributes, weights drawn as PyTorch draws them, a repr."""

    axes: int
    transposed: bool
    padding: str | tuple[int, ...]

    def _build(
        self,
        channels: tuple[int, int],
        window: tuple[Any, Any, Any, Any, Any],
        groups: int,
        bias: bool,
        padding_mode: str,
        options: dict[str, Any],
    ) -> None:
        """`window`: kernel_size, stride, padding, dilation, output_padding."""
        name, n = type(self).__name__, self.axes
        self.in_channels, self.out_channels = channels
        self.groups, self.padding_mode = groups, padding_mode
        if groups < 1 or min(channels) < 1 or channels[0] % groups or channels[1] % groups:
            text = f"{name}: in_channels={channels[0]}, out_channels={channels[1]}, groups={groups}"
            raise ShapeError(hinted(text, "groups must divide both, and both be at least 1"))
        known = PADDING_MODES[:1] if self.transposed else PADDING_MODES
        if padding_mode not in known:
            text = f"{name}: padding_mode={padding_mode!r}"
            raise ShapeError(hinted(text, f"one of {', '.join(known)}"))
        kernel, stride, padding, dilation, extra = window
        self.kernel_size = per_axis(name, "kernel_size", kernel, n, 1)
        self.stride = per_axis(name, "stride", stride, n, 1)
        self.dilation = per_axis(name, "dilation", dilation, n, 1)
        self.output_padding = per_axis(name, "output_padding", extra, n)
        if isinstance(padding, str):  # said once here, so that a wrong one is refused early
            F.paddings(name, padding, self.kernel_size, self.stride, self.dilation)
            self.padding = padding
        else:
            self.padding = per_axis(name, "padding", padding, n)
        generator = options.pop("generator")
        inner, outer = channels
        pair = (inner, outer // groups) if self.transposed else (outer, inner // groups)
        self.weight = Parameter(creation.empty((*pair, *self.kernel_size), **options))
        self.bias = Parameter(creation.empty((outer,), **options)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw weight and bias anew from U(-k, k), k = 1 / sqrt(weight[0].size)."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound, generator)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        n = self.axes
        for name, plain in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (plain,) * n:
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


# --- convolution ---


class Convolution(Windowed):
    """What Conv1d, Conv2d and Conv3d share."""

    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        window = (kernel_size, stride, padding, dilation, 0)
        options = {"device": device, "dtype": dtype, "generator": generator}
        self._build((in_channels, out_channels), window, groups, bias, padding_mode, options)

    def forward(self, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            around = F.paddings(
                type(self).__name__, padding, self.kernel_size, self.stride, self.dilation
            )
            widths = [width for pair in reversed(around) for width in pair]
            input, padding = pad(input, widths, self.padding_mode), 0
        function = (F.conv1d, F.conv2d, F.conv3d)[self.axes - 1]
        return function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(Convolution):
    """Convolution over one axis: y = b + sum over channels and taps of w x, a correlation.

    (N, in_channels, L) or (in_channels, L) to (N, out_channels, L'),
    L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1. weight (out_channels,
    in_channels/groups, kernel_size) and bias (out_channels,) are drawn from U(-k, k),
    k = 1 / sqrt(in_channels/groups kernel_size). `padding` may be "same" or "valid";
    `padding_mode` is zeros, reflect, replicate or circular.

    >>> import gradengine as ge
    >>> Conv1d(3, 8, 5, padding=2)(ge.zeros((4, 3, 10))).shape
    (4, 8, 10)
    """

    axes = 1


class Conv2d(Convolution):
    """`Conv1d` over two axes: (N, in_channels, H, W) to (N, out_channels, H', W').

    >>> import gradengine as ge
    >>> layer = Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    >>> layer
    Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    >>> layer(ge.zeros((4, 3, 10, 12))).shape
    (4, 8, 5, 6)
    """

    axes = 2


class Conv3d(Convolution):
    """`Conv1d` over three axes: (N, in_channels, D, H, W) to (N, out_channels, D', H', W').

    >>> import gradengine as ge
    >>> Conv3d(2, 4, (1, 3, 3), padding="same")(ge.zeros((2, 5, 6, 7))).shape
    (4, 5, 6, 7)
    """

    axes = 3


# --- transposed convolution ---


class Transposed(Windowed):
    """What ConvTranspose1d, ConvTranspose2d and ConvTranspose3d share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        window = (kernel_size, stride, padding, dilation, output_padding)
        options = {"device": device, "dtype": dtype, "generator": generator}
        self._build((in_channels, out_channels), window, groups, bias, padding_mode, options)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """`output_size`, of the last axes, chooses among the sizes a stride leaves open."""
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.axes - 1]
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        padding: Any = self.padding
        return function(
            input, self.weight, self.bias, self.stride, padding, extra, self.groups, self.dilation
        )

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output_padding that gives `output_size`."""
        n, padding = self.axes, tuple(int(p) for p in self.padding)
        wanted = tuple(output_size)
        if len(wanted) in (n + 1, n + 2) and len(wanted) == input.ndim:
            wanted = wanted[-n:]
        wanted = per_axis(type(self).__name__, "output_size", wanted, n)
        axes = zip(
            input.shape[-n:], self.kernel_size, self.stride, padding, self.dilation, strict=True
        )
        least = tuple((m - 1) * s - 2 * p + d * (k - 1) + 1 for m, k, s, p, d in axes)
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
            text = f"{type(self).__name__}: output_size={wanted} for input {tuple(input.shape)}"
            raise ShapeError(hinted(text, f"give sizes from {least} to {most}"))
        return extra


class ConvTranspose1d(Transposed):
    """The adjoint of `Conv1d` in its input, as a layer: (N, C, L) to (N, out_channels, L').

    L' = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1; or call it
    with `output_size`. weight (in_channels, out_channels/groups, kernel_size) and bias
    (out_channels,) are drawn from U(-k, k), k = 1 / sqrt(out_channels/groups kernel_size).

    >>> import gradengine as ge
    >>> layer = ConvTranspose1d(3, 2, 3, stride=2, padding=1)
    >>> layer(ge.zeros((4, 3, 5))).shape, layer(ge.zeros((4, 3, 5)), output_size=[10]).shape
    ((4, 2, 9), (4, 2, 10))
    """

    axes = 1


class ConvTranspose2d(Transposed):
    """`ConvTranspose1d` over two axes: (N, in_channels, H, W) to (N, out_channels, H', W').

    >>> import gradengine as ge
    >>> ConvTranspose2d(3, 2, 2, stride=2)(ge.zeros((4, 3, 5, 6))).shape
    (4, 2, 10, 12)
    """

    axes = 2


class ConvTranspose3d(Transposed):
    """`ConvTranspose1d` over three axes: (N, C, D, H, W) to (N, out_channels, D', H', W').

    >>> import gradengine as ge
    >>> ConvTranspose3d(1, 2, 2, stride=2)(ge.zeros((1, 2, 3, 4))).shape
    (2, 4, 6, 8)
    """

    axes = 3
