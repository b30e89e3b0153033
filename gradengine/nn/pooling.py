"""Pooling as modules: a window and how it slides; functional/pooling.py and max_pooling.py compute.

Floor 6: stands on functional/pooling.py, functional/max_pooling.py and module.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradengine.nn.functional import max_pooling as M
from gradengine.nn.functional import pooling as F
from gradengine.nn.functional.max_pooling import Pooled, Sizes
from gradengine.nn.functional.sizes import Size, per_axis, strides_of
from gradengine.nn.module import Module
from gradengine.tensor import Tensor

# --- the largest of each window ---


class MaxPool(Module):
    """What MaxPool1d, MaxPool2d and MaxPool3d share."""

    axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Pooled:
        function = (M.max_pool1d, M.max_pool2d, M.max_pool3d)[self.axes - 1]
        window = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return function(input, *window, self.return_indices)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{window}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool1d(MaxPool):
    """The largest of each window: (N, C, L) or (C, L) to (N, C, L').

    L' = (L + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up with
    `ceil_mode`. Padding counts as -inf. With `return_indices` the result is a pair: the maxima, and
    where they stand in the flattened size, for `MaxUnpool1d`.

    >>> import gradengine as ge
    >>> MaxPool1d(2)(ge.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """

    axes = 1


class MaxPool2d(MaxPool):
    """`MaxPool1d` over two axes: (N, C, H, W) to (N, C, H', W').

    >>> import gradengine as ge
    >>> MaxPool2d(3, stride=2, padding=1)(ge.zeros((1, 2, 8, 8))).shape
    (1, 2, 4, 4)
    """

    axes = 2


class MaxPool3d(MaxPool):
    """`MaxPool1d` over three axes.

    >>> import gradengine as ge
    >>> MaxPool3d(2)(ge.zeros((1, 2, 4, 4, 4))).shape
    (1, 2, 2, 2, 2)
    """

    axes = 3


class MaxUnpool(Module):
    """What MaxUnpool1d, MaxUnpool2d and MaxUnpool3d share."""

    axes: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        name, n = type(self).__name__, self.axes
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, n, 1)
        self.stride = strides_of(name, stride, self.kernel_size)
        self.padding = per_axis(name, "padding", padding, n)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        function = (M.max_unpool1d, M.max_unpool2d, M.max_unpool3d)[self.axes - 1]
        window = (self.kernel_size, self.stride, self.padding)
        return function(input, indices, *window, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(MaxUnpool):
    """Maxima put back where they stood, among zeros: (N, C, L') to (N, C, L).

    >>> import gradengine as ge
    >>> y, i = MaxPool1d(2, return_indices=True)(ge.tensor([[1.0, 3.0, 2.0, 0.0]]))
    >>> MaxUnpool1d(2)(y, i)
    tensor([[0., 3., 2., 0.]])
    """

    axes = 1


class MaxUnpool2d(MaxUnpool):
    """`MaxUnpool1d` over two axes.

    >>> import gradengine as ge
    >>> y, i = MaxPool2d(2, return_indices=True)(ge.ones((1, 4, 5)))
    >>> MaxUnpool2d(2)(y, i, output_size=(4, 5)).shape
    (1, 4, 5)
    """

    axes = 2


class MaxUnpool3d(MaxUnpool):
    """`MaxUnpool1d` over three axes.

    >>> import gradengine as ge
    >>> y, i = MaxPool3d(2, return_indices=True)(ge.ones((1, 2, 4, 6)))
    >>> MaxUnpool3d(2)(y, i).shape
    (1, 2, 4, 6)
    """

    axes = 3


class AdaptivePool(Module):
    """What pooling to a given size shares; None keeps an axis as it is."""

    axes: int

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool(AdaptivePool):
    """What AdaptiveMaxPool1d, AdaptiveMaxPool2d and AdaptiveMaxPool3d share."""

    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Pooled:
        functions = (M.adaptive_max_pool1d, M.adaptive_max_pool2d, M.adaptive_max_pool3d)
        return functions[self.axes - 1](input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """The largest of each of `output_size` windows that divide the axis as evenly as they can.

    >>> import gradengine as ge
    >>> AdaptiveMaxPool1d(2)(ge.tensor([[1.0, 3.0, 2.0, 0.0, 5.0]]))
    tensor([[3., 5.]])
    """

    axes = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """`AdaptiveMaxPool1d` over two axes.

    >>> import gradengine as ge
    >>> AdaptiveMaxPool2d((None, 2))(ge.zeros((1, 3, 4, 5))).shape
    (1, 3, 4, 2)
    """

    axes = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """`AdaptiveMaxPool1d` over three axes.

    >>> import gradengine as ge
    >>> AdaptiveMaxPool3d(2)(ge.zeros((1, 3, 4, 5, 6))).shape
    (1, 3, 2, 2, 2)
    """

    axes = 3


# --- the mean of each window ---


class AvgPool1d(Module):
    """The mean of each window: (N, C, L) or (C, L) to (N, C, L').

    L' = (L + 2 padding - kernel_size) / stride + 1, rounded down, or up with `ceil_mode`. Padding
    is zeros, which count unless `count_include_pad` is False.

    >>> import gradengine as ge
    >>> AvgPool1d(2)(ge.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis("AvgPool1d", "kernel_size", kernel_size, 1, 1)
        self.stride = strides_of("AvgPool1d", stride, self.kernel_size)
        self.padding = per_axis("AvgPool1d", "padding", padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        window = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return F.avg_pool1d(input, *window, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool(Module):
    """What AvgPool2d and AvgPool3d share."""

    axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        function = F.avg_pool2d if self.axes == 2 else F.avg_pool3d
        window = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return function(input, *window, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(AvgPool):
    """`AvgPool1d` over two axes; `divisor_override` divides all sums instead of their counts.

    >>> import gradengine as ge
    >>> AvgPool2d(2)(ge.arange(4.0).reshape(1, 2, 2)).item()
    1.5
    """

    axes = 2


class AvgPool3d(AvgPool):
    """`AvgPool2d` over three axes.

    >>> import gradengine as ge
    >>> AvgPool3d((1, 2, 2))(ge.zeros((1, 3, 4, 4))).shape
    (1, 3, 2, 2)
    """

    axes = 3


class LPPool(Module):
    """What LPPool1d, LPPool2d and LPPool3d share."""

    axes: int

    def __init__(
        self,
        norm_type: float,
        kernel_size: Size,
        stride: Size | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        function = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.axes - 1]
        return function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"norm_type={self.norm_type}, {window}, ceil_mode={self.ceil_mode}"


class LPPool1d(LPPool):
    """The p-norm of each window, p = `norm_type`, without absolute values: (sum x^p)^(1/p).

    >>> import gradengine as ge
    >>> LPPool1d(2, 2)(ge.tensor([[3.0, 4.0, 0.0, 2.0]]))
    tensor([[5., 2.]])
    """

    axes = 1


class LPPool2d(LPPool):
    """`LPPool1d` over two axes.

    >>> import gradengine as ge
    >>> LPPool2d(2, 2)(ge.ones((1, 2, 2))).item()
    2.0
    """

    axes = 2


class LPPool3d(LPPool):
    """`LPPool1d` over three axes.

    >>> import gradengine as ge
    >>> LPPool3d(1, 2)(ge.ones((1, 2, 2, 2))).item()
    8.0
    """

    axes = 3


# --- means of windows that divide an axis evenly ---


class AdaptiveAvgPool(AdaptivePool):
    """What AdaptiveAvgPool1d, AdaptiveAvgPool2d and AdaptiveAvgPool3d share."""

    def forward(self, input: Tensor) -> Tensor:
        functions: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return functions[self.axes - 1](input, self.output_size)


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """The mean of each of `output_size` windows that divide the axis as evenly as they can.

    >>> import gradengine as ge
    >>> AdaptiveAvgPool1d(2)(ge.tensor([[1.0, 3.0, 2.0, 0.0, 4.0]]))
    tensor([[2., 2.]])
    """

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """`AdaptiveAvgPool1d` over two axes; 1 is the mean of each channel.

    >>> import gradengine as ge
    >>> AdaptiveAvgPool2d(1)(ge.ones((1, 3, 4, 5))).shape
    (1, 3, 1, 1)
    """

    axes = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """`AdaptiveAvgPool1d` over three axes.

    >>> import gradengine as ge
    >>> AdaptiveAvgPool3d((1, 2, None))(ge.zeros((1, 3, 4, 5, 6))).shape
    (1, 3, 1, 2, 6)
    """

    axes = 3
