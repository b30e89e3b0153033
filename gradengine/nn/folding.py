"""Windows as columns, channels as pixels: functional/folding.py as modules.

Floor 6: stands on functional/folding.py and module.py.
"""

from __future__ import annotations

from gradengine.nn.functional import folding as F
from gradengine.nn.functional.sizes import Size
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class Unfold(Module):
    """Every window of an image as a column: (N, C, H, W) to (N, C kH kW, L).

    >>> import gradengine as ge
    >>> Unfold(3, padding=1)(ge.zeros((2, 4, 5, 6))).shape
    (2, 36, 30)
    """

    def __init__(
        self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, dilation={self.dilation}"
        return f"{window}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns added back where their windows stood: (N, C kH kW, L) to (N, C, *output_size).

    >>> import gradengine as ge
    >>> Fold((5, 6), 3, padding=1)(ge.zeros((2, 36, 30))).shape
    (2, 4, 5, 6)
    """

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Size = 0,
        stride: Size = 1,
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        window = (self.kernel_size, self.dilation, self.padding, self.stride)
        return F.fold(input, self.output_size, *window)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, dilation={self.dilation}"
        rest = f"padding={self.padding}, stride={self.stride}"
        return f"output_size={self.output_size}, {window}, {rest}"


class PixelShuffle(Module):
    """Channels turned into pixels: (..., C r^2, H, W) to (..., C, H r, W r).

    >>> import gradengine as ge
    >>> PixelShuffle(2)(ge.zeros((1, 8, 3, 4))).shape
    (1, 2, 6, 8)
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Pixels turned into channels: (..., C, H r, W r) to (..., C r^2, H, W).

    >>> import gradengine as ge
    >>> PixelUnshuffle(2)(ge.zeros((1, 2, 6, 8))).shape
    (1, 8, 3, 4)
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels dealt out among groups, so that grouped convolutions mix: (N, C, *size) to the same.

    >>> import gradengine as ge
    >>> ChannelShuffle(2)(ge.arange(4.0).reshape(1, 4, 1)).flatten()
    tensor([0., 2., 1., 3.])
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
