"""Rotary positions: a layer that turns queries and keys by angles proportional to their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradengine import ops
from gradengine.conversion import asarray
from gradengine.creation import arange
from gradengine.errors import ShapeError, hinted
from gradengine.nn.functional.attention import apply_rotary
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class RotaryEmbedding(Module):
    """Turn the pair i of `dim` features at position p by the angle p base^(-2i / dim).

    Shapes: x (..., T, dim), y the same. The product of a query at p and a key at q then depends on
    p - q alone. `offset` is the position of the first row (the length of a cache), `positions`
    (T,), or any shape that broadcasts to (..., T), gives them one by one. Pairs are
    (i, i + dim/2), or neighbours if `interleaved`. The layer has no parameters; angles are computed
    in float64. Source: arXiv:2104.09864, equations 15 and 34.

    >>> import gradengine as ge
    >>> rotary = RotaryEmbedding(2)
    >>> x = ge.ones((4, 2))
    >>> bool((rotary(x)[3] == rotary(x[3:], offset=3)[0]).all())
    True
    """

    def __init__(self, dim: int, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ShapeError(
                hinted(f"RotaryEmbedding: dim={dim}", "features turn in pairs: give an even number")
            )
        if not base > 0:
            raise ValueError(hinted(f"RotaryEmbedding: base={base}", "a positive number"))
        self.dim, self.base, self.interleaved = dim, base, interleaved
        self._frequencies = np.float64(base) ** (-np.arange(0, dim, 2) / dim)

    def forward(self, x: Tensor, offset: int = 0, positions: Any = None) -> Tensor:
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ShapeError(
                hinted(
                    f"RotaryEmbedding: x {tuple(x.shape)} for dim={self.dim}",
                    f"x is (..., length, {self.dim})",
                )
            )
        cos, sin = self.angles(x, offset, positions)
        return apply_rotary(x, cos, sin, self.interleaved)

    def angles(self, x: Tensor, offset: int = 0, positions: Any = None) -> tuple[Any, Any]:
        """cos and sin of the angles for x, (..., T, dim/2), at least float32."""
        if positions is None:
            places = arange(offset, offset + x.shape[-2], dtype="float64", device=x.device)
        else:
            places = asarray(positions, device=x.device).astype("float64")
        turns = ops.expand_dims(places, axis=-1) * asarray(self._frequencies, device=x.device)
        dtype = x.dtype if x.dtype.itemsize > 2 else "float32"
        return ops.cos(turns).astype(dtype), ops.sin(turns).astype(dtype)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, base={self.base}, interleaved={self.interleaved}"
