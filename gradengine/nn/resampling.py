"""Images made larger: functional/resampling.py as modules.

Floor 6: stands on functional/resampling.py and module.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradengine.nn.functional.resampling import interpolate
from gradengine.nn.functional.sizes import Size
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class Upsample(Module):
    """(N, C, *old) to (N, C, *size), or to floor(old scale_factor); modes as in `F.interpolate`.

    >>> import gradengine as ge
    >>> Upsample(scale_factor=2, mode="bilinear")(ge.zeros((1, 2, 3, 4))).shape
    (1, 2, 6, 8)
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.mode, self.align_corners = size, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor
        self.scale_factor: float | tuple[float, ...] | None = None
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor = tuple(float(factor) for factor in scale_factor)
        elif scale_factor:
            self.scale_factor = float(scale_factor)  # pyright: ignore[reportArgumentType]

    def forward(self, input: Tensor) -> Tensor:
        to = (self.size, self.scale_factor, self.mode, self.align_corners)
        return interpolate(input, *to, self.recompute_scale_factor)

    def extra_repr(self) -> str:
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images by their nearest pixels.

    >>> import gradengine as ge
    >>> UpsamplingNearest2d(scale_factor=2)(ge.tensor([[[[1.0, 2.0]]]])).flatten()
    tensor([1., 1., 2., 2., 1., 1., 2., 2.])
    """

    def __init__(
        self, size: Size | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images, bilinear, with the corners' pixels aligned.

    >>> import gradengine as ge
    >>> UpsamplingBilinear2d(3)(ge.tensor([[[[0.0, 2.0]]]]))[0, 0, 0]
    tensor([0., 1., 2.])
    """

    def __init__(
        self, size: Size | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)
