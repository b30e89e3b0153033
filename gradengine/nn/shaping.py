"""Layers that change shapes and no values: Flatten, Unflatten."""

from __future__ import annotations

import math
from typing import Any

from gradengine import ops
from gradengine.errors import AxisError, ShapeError, hinted
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class Flatten(Module):
    """Axes `start_dim` to `end_dim`, both included, as one: (N, 2, 3) becomes (N, 6).

    >>> import gradengine as ge
    >>> Flatten()(ge.zeros((4, 2, 3))).shape
    (4, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        shape = input.shape or (1,)
        first, last = (_axis(d, shape, "Flatten") for d in (self.start_dim, self.end_dim))
        if first > last:
            text = f"Flatten: axis {self.start_dim} comes after {self.end_dim} in shape {shape}"
            raise AxisError(hinted(text, "start_dim must not come after end_dim"))
        size = math.prod(shape[first : last + 1])
        return ops.reshape(input, (*shape[:first], size, *shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` as several of the sizes `unflattened_size`, one of which may be -1.

    >>> import gradengine as ge
    >>> Unflatten(1, (2, -1))(ge.zeros((4, 6))).shape
    (4, 2, 3)
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(int(n) for n in unflattened_size)
        free = [n for n in self.unflattened_size if n < 0]
        if not self.unflattened_size or len(free) > 1 or any(n != -1 for n in free):
            text = f"Unflatten: sizes {self.unflattened_size}"
            raise ShapeError(hinted(text, "give at least one size; at most one may be -1"))

    def forward(self, input: Tensor) -> Tensor:
        shape, sizes = input.shape, self.unflattened_size
        axis = _axis(self.dim, shape, "Unflatten")
        known = math.prod(n for n in sizes if n >= 0)
        fits = known > 0 and shape[axis] % known == 0 if -1 in sizes else known == shape[axis]
        if not fits:
            text = f"Unflatten: axis {self.dim} of shape {shape} does not split into {sizes}"
            raise ShapeError(hinted(text, f"the sizes multiply to {shape[axis]}"))
        whole = tuple(shape[axis] // known if n == -1 else n for n in sizes)
        return ops.reshape(input, (*shape[:axis], *whole, *shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _axis(axis: int, shape: tuple[int, ...], name: str) -> int:
    if not -len(shape) <= axis < len(shape):
        text = f"{name}: axis {axis} of shape {shape}"
        raise AxisError(hinted(text, "axes count from 0, or from -1 back"))
    return axis % len(shape)
