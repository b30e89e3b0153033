"""Axes and shapes as people give them: checked, counted from 0, made tuples.

Floor 3: stands on errors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index as as_int
from typing import Any, TypeAlias, cast

from ..errors import AxisError, ShapeError, broadcast_clash, hinted

Axis: TypeAlias = int | Sequence[int] | None
"""One axis, several, or None for all of them; negative ones count from the last."""


def as_shape(shape: Any) -> tuple[int, ...]:
    """A shape given as an integer or a sequence of integers."""
    return tuple(map(as_int, cast(Any, shape) if isinstance(shape, Iterable) else (shape,)))


def as_axes(axis: Axis, ndim: int, name: str) -> tuple[int, ...]:
    """`axis` as a tuple of different axes between 0 and `ndim - 1`; AxisError for any other."""
    if axis is None:
        return tuple(range(ndim))
    given = tuple(map(as_int, axis)) if isinstance(axis, Sequence) else (as_int(axis),)
    for i in given:
        if not -ndim <= i < ndim:
            hint = f"this array has axes {-ndim} to {ndim - 1}" if ndim else "a 0-d array has none"
            raise AxisError(hinted(f"{name}: axis {i} lies outside {ndim} dimensions", hint))
    axes = tuple(i % ndim for i in given)
    if len(set(axes)) < len(axes):
        raise AxisError(hinted(f"{name}: axis={given} names an axis twice", "name each axis once"))
    return axes


def as_axis(axis: int, ndim: int, name: str) -> int:
    """One axis, counted from 0."""
    return as_axes(as_int(axis), ndim, name)[0]


def keep_shape(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """`shape` with size 1 at each of `axes`: the shape of a reduction that keeps its axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of `shapes` broadcast to; ShapeError where they do not.

    >>> broadcast_shapes((3, 1), (2, 1, 4))
    (2, 3, 4)
    """
    listed = [as_shape(s) for s in shapes]
    clash = broadcast_clash(listed)
    if clash is not None:
        shown = " and ".join(map(str, listed))
        raise ShapeError(
            hinted(
                f"broadcast: shapes {shown} do not fit: axis {clash[0]} has sizes {clash[1]}",
                "sizes must be equal or 1, counted from the last axis; reshape or expand_dims",
            )
        )
    ndim = max(map(len, listed), default=0)
    columns = zip(*((1,) * (ndim - len(s)) + s for s in listed), strict=True)
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in columns)
