"""Numerical derivatives: central differences in float64, extrapolated, and vectors to compare.

Floor 6: stands on tensor.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gradengine.device import as_array, device_of, move, to_numpy
from gradengine.tape import constant
from gradengine.tensor import Tensor

Fun = Callable[..., Any]
Vector = np.ndarray[Any, np.dtype[np.float64]]

# --- the derivative in one direction ---


class Slope:
    """The derivative of f(*xs) as argument `i` moves along `t`, by differences in float64."""

    def __init__(
        self, f: Fun, xs: list[Tensor], i: int, t: Tensor, eps: float | None, coarse: float
    ) -> None:
        """`eps` is the step, chosen if None; `coarse` the coarsest precision met so far."""
        self.f, self.i = f, i
        self.xs = [x.astype("float64") for x in xs]
        self.t = t.array.astype("float64")
        self.found: dict[bool, Vector] = {}
        self.coarse = max([coarse, *(_epsilon(y.dtype) for y in f(*self.xs))])
        self.step = eps or 0.5 * self.coarse**0.2

    def value(self, refined: bool) -> Vector:
        """Two steps extrapolated (error of fourth order); `refined`: the best of many steps."""
        if refined not in self.found:
            h = self.step
            self.found[refined] = (
                self._ridders() if refined else (4 * self._central(h / 2) - self._central(h)) / 3
            )
        return self.found[refined]

    def _central(self, h: float) -> Vector:
        return (self._at(h) - self._at(-h)) / (2 * h)

    def _at(self, h: float) -> Vector:
        xs = list(self.xs)
        xs[self.i] = constant(Tensor, as_array(xs[self.i].array + h * self.t))
        return vector(self.f(*xs))

    def _ridders(self) -> Vector:
        """Extrapolated twice at each of many steps; each element from where it has settled best."""
        steps = [self.step * 2.0**k for k in range(3, -6, -1)]
        plain = [self._central(h) for h in steps]
        once = [(4 * b - a) / 3 for a, b in pairwise(plain)]
        twice = [(16 * b - a) / 15 for a, b in pairwise(once)]
        error = np.array([np.abs(b - a) for a, b in zip(once[1:], twice, strict=True)])
        best = np.where(np.isnan(error), np.inf, error).argmin(axis=0)
        return np.take_along_axis(np.array(twice), best[None], axis=0)[0]


def _epsilon(dtype: Any) -> float:
    if dtype.kind == "f":
        return float(np.finfo(dtype).eps)
    return 2.0**-7  # bfloat16, the coarsest of the 16-bit floats we have


# --- between tensors and one vector of float64 ---


def vector(tensors: Sequence[Tensor]) -> Vector:
    """All elements of some tensors, in float64 on the host."""
    parts = [to_numpy(x.array).astype(np.float64).reshape(-1) for x in tensors]
    return np.concatenate(parts) if parts else np.zeros(0)


def split(vector: Vector, like: Sequence[Tensor]) -> list[Tensor]:
    """The elements of a vector in the shapes, dtypes and places of some tensors."""
    parts = np.split(vector, np.cumsum([y.size for y in like])[:-1])
    return [
        constant(Tensor, move(part.reshape(y.shape).astype(y.dtype), device_of(y.array)))
        for part, y in zip(parts, like, strict=True)
    ]


def place(tensors: Sequence[Tensor], i: int) -> str:
    """Where element `i` of the vector of some tensors stands."""
    for k, y in enumerate(tensors):
        if i < y.size:
            index = ", ".join(str(int(j)) for j in np.unravel_index(i, y.shape))
            return f"output {k} [{index}]"
        i -= y.size
    raise IndexError(i)
