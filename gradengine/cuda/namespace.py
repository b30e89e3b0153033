"""CuPy as formulas see it: where CuPy has no bfloat16, what is missing is made of what is there.

A formula gets this module's `xp` on device arrays. CuPy would otherwise compute `where` of bfloat16
in float32, and refuse its logical functions.

Floor 1: stands on shapes.py.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from . import shapes

__all__ = ["DeviceNamespace", "namespace"]

_made: dict[int, DeviceNamespace] = {}


def namespace(cupy: Any) -> DeviceNamespace:
    """The one namespace for a CuPy."""
    found = _made.get(id(cupy))
    if found is None:
        found = _made[id(cupy)] = DeviceNamespace(cupy)
    return found


def _bfloat16(*operands: Any) -> Any:
    """bfloat16 if all arrays among the operands are of it, else None."""
    kinds = {x.dtype for x in operands if hasattr(x, "dtype")}
    return next(iter(kinds)) if len(kinds) == 1 and next(iter(kinds)).char == "E" else None


class DeviceNamespace(types.ModuleType):
    """CuPy's module with a `where` and logical functions that take bfloat16."""

    def __init__(self, cupy: Any) -> None:
        super().__init__("cupy")
        self._cupy = cupy

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cupy, name)
        setattr(self, name, found)  # the next time it is there
        return found

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Elements of x where the condition holds, else of y: 16-bit floats by their bits."""
        kind = _bfloat16(x, y)
        if kind is None:
            return self._cupy.where(condition, x, y)
        bits = [
            v.view(np.uint16) if hasattr(v, "view") else np.uint16(shapes.scalar(kind, v))
            for v in (x, y)
        ]
        return self._cupy.where(condition, *bits).view(kind)

    def logical_not(self, x: Any) -> Any:
        """x == 0, which is what it means."""
        return x == 0 if _bfloat16(x) is not None else self._cupy.logical_not(x)

    def logical_xor(self, a: Any, b: Any) -> Any:
        """(a != 0) != (b != 0), which is what it means."""
        if _bfloat16(a, b) is None:
            return self._cupy.logical_xor(a, b)
        return self._cupy.not_equal(a != 0, b != 0)
