"""Shape: conversion, reshaping, axes, broadcasting: numbers move, their values stay.

All are linear, so the tangent of each is the op itself, and most results are views of their
input. Joining, splitting, repeating and padding follow in joining.py and padding.py.

Letters: `x` input, `y` output, `g` cotangent.

Floor 3: stands on op.py and axes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_int
from typing import Any

from ..device import namespace
from ..dtypes import as_dtype
from ..errors import AxisError, ShapeError, hinted
from ..op import case, primitive
from ..tape import Like, Traced
from .axes import Axis as Axis
from .axes import as_axes as as_axes
from .axes import as_axis as as_axis
from .axes import as_shape as as_shape
from .axes import broadcast_shapes as broadcast_shapes
from .axes import keep_shape as keep_shape

# --- the adjoint of a sum ---


def spread(g: Any, x_like: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """What was reduced over `axis`, back in the shape of `x_like`: the adjoint of a sum."""
    if axis is not None and not keepdims:
        g = g.reshape(keep_shape(x_like.shape, as_axes(axis, len(x_like.shape), "spread")))
    if isinstance(g, Traced):
        return broadcast_to(g, x_like.shape)
    return namespace(g).broadcast_to(g, x_like.shape)


# --- conversion ---


@primitive(arity=1, linear=True, view=True, cases=[case((3, 4), dtype="float64"), case(())])
def astype(xp: Any, x: Any, dtype: Any = "float64", copy: bool = True) -> Any:
    """x with its elements converted to `dtype`; the gradient comes back in x's dtype.

    To an integer or bool dtype the result is a constant. With `copy=False` an array that has the
    dtype already is returned as a view.

    >>> import gradengine as ge
    >>> ge.tensor([1.5, 2.0]).astype("int64")
    tensor([1, 2])
    """
    return x.astype(as_dtype(dtype), copy=copy)


@astype.adjoint
def _(g: Any, _y: Any, _x: Any, dtype: Any, copy: bool) -> Any:
    return g  # the engine converts each cotangent to its input's dtype


@primitive(arity=1, linear=True, cases=[case((3, 4)), case(()), case((0, 2))])
def copy(xp: Any, x: Any) -> Any:
    """A copy of x in memory of its own, on the tape.

    >>> import gradengine as ge
    >>> ge.copy(ge.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return x.copy()


@copy.adjoint
def _(g: Any, _y: Any, _x: Any) -> Any:
    return g


# --- reshaping ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((3, 4), shape=(2, 6)),
        case((3, 4), shape=(2, -1, 2)),
        case((3, 4), shape=-1),
        case((1, 1), shape=()),
        case((0, 3), shape=(3, 0)),
        case((2, 3), shape=(6,), copy=True),
    ],
)
def reshape(xp: Any, x: Any, shape: Any, copy: bool | None = None) -> Any:
    """x's elements, in row-major order, in another shape; one size may be -1: whatever fits.

    `copy=True` always copies, `copy=False` never (ShapeError where a copy would be needed).

    >>> import gradengine as ge
    >>> ge.reshape(ge.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1))
    tensor([[1., 2.],
            [3., 4.]])
    """
    y = x.reshape(shape)
    if copy is not None and bool(copy) != (x.size > 0 and not xp.may_share_memory(x, y)):
        if copy:
            return y.copy()
        raise ShapeError(
            hinted(
                f"reshape: {tuple(x.shape)} cannot be shown as {shape} without a copy",
                "leave copy=None, or reshape a contiguous array",
            )
        )
    return y


@reshape.adjoint
def _(g: Any, _y: Any, x_like: Like, shape: Any, copy: bool | None) -> Any:
    return g.reshape(x_like.shape)


def ravel(x: Any, /) -> Any:
    """x's elements in row-major order along one axis: (d0, d1, ...) -> (d0*d1*...,).

    >>> import gradengine as ge
    >>> ge.ravel(ge.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2., 3., 4.])
    """
    return reshape(x, (-1,))


flatten = ravel


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[case((3, 4)), case((3, 4), axis=(0, -1)), case((), axis=0), case((0, 2), axis=1)],
)
def expand_dims(xp: Any, x: Any, axis: Axis = 0) -> Any:
    """x with new axes of size 1 at the positions `axis` of the result.

    >>> import gradengine as ge
    >>> ge.expand_dims(ge.zeros((2, 3)), axis=(0, -1)).shape
    (1, 2, 3, 1)
    """
    return xp.expand_dims(x, axis)


@expand_dims.adjoint
def _(g: Any, _y: Any, x_like: Like, axis: Axis) -> Any:
    return g.reshape(x_like.shape)


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((3, 1, 4), axis=1),
        case((1, 3, 1)),
        case((1, 3, 1), axis=(0, -1)),
        case((1, 0), axis=0),
        case((), axis=()),
    ],
)
def squeeze(xp: Any, x: Any, axis: Axis = None) -> Any:
    """x without the axes of size 1 listed in `axis` (None: without any of them).

    ShapeError where a listed axis has another size.

    >>> import gradengine as ge
    >>> ge.squeeze(ge.zeros((1, 2, 1)), axis=0).shape
    (2, 1)
    """
    if axis is not None:
        axis = as_axes(axis, x.ndim, "squeeze")
        wrong = [i for i in axis if x.shape[i] != 1]
        if wrong:
            raise ShapeError(
                hinted(
                    f"squeeze: axes {wrong} of {tuple(x.shape)} do not have size 1",
                    "index or reduce the axis, or leave axis=None for all axes of size 1",
                )
            )
    return x.squeeze(axis)


@squeeze.adjoint
def _(g: Any, _y: Any, x_like: Like, axis: Axis) -> Any:
    return g.reshape(x_like.shape)


def atleast_nd(x: Any, ndim: int, /) -> Any:
    """x with axes of size 1 in front, so that it has at least `ndim` axes.

    >>> import gradengine as ge
    >>> ge.atleast_nd(ge.tensor([1.0, 2.0]), 2)
    tensor([[1., 2.]])
    """
    missing = ndim - len(x.shape)
    return x if missing <= 0 else reshape(x, (1,) * missing + tuple(x.shape))


# --- order of axes and of elements ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((2, 3, 4)),
        case((2, 3, 4), axes=(1, 2, 0)),
        case((2, 3, 4), axes=(-1, 0, 1)),
        case((0, 2), axes=(1, 0)),
        case(()),
    ],
)
def permute_dims(xp: Any, x: Any, axes: Sequence[int] | None = None) -> Any:
    """x with its axes in the order `axes` (None: reversed): y's axis i is x's axis axes[i].

    >>> import gradengine as ge
    >>> ge.permute_dims(ge.zeros((2, 3, 4)), (1, 2, 0)).shape
    (3, 4, 2)
    """
    return x.transpose(axes)


@permute_dims.adjoint
def _(g: Any, _y: Any, _x: Any, axes: Sequence[int] | None) -> Any:
    if axes is None:
        return permute_dims(g)
    n = len(axes)
    return permute_dims(g, tuple(sorted(range(n), key=[a % n for a in axes].__getitem__)))


def moveaxis(x: Any, source: Axis, destination: Axis, /) -> Any:
    """x with the axes `source` moved to the positions `destination`, the others in order.

    >>> import gradengine as ge
    >>> ge.moveaxis(ge.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    n = len(x.shape)
    old, to = as_axes(source, n, "moveaxis"), as_axes(destination, n, "moveaxis")
    if len(old) != len(to):
        raise AxisError(
            hinted(
                f"moveaxis: {len(old)} axes to move and {len(to)} places for them",
                "give source and destination the same length",
            )
        )
    order = [i for i in range(n) if i not in old]
    for place, axis in sorted(zip(to, old, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, tuple(order))


def swapaxes(x: Any, axis1: int, axis2: int, /) -> Any:
    """x with two axes exchanged.

    >>> import gradengine as ge
    >>> ge.swapaxes(ge.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    n = len(x.shape)
    i, j = as_axis(axis1, n, "swapaxes"), as_axis(axis2, n, "swapaxes")
    order = list(range(n))
    order[i], order[j] = j, i
    return permute_dims(x, tuple(order))


def matrix_transpose(x: Any, /) -> Any:
    """x with its last two axes exchanged: (..., m, n) -> (..., n, m).

    >>> import gradengine as ge
    >>> ge.matrix_transpose(ge.zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    n = len(x.shape)
    if n < 2:
        raise ShapeError(
            hinted(
                f"matrix_transpose: {tuple(x.shape)} has no matrix in its last two axes",
                "it needs two axes or more; expand_dims adds one",
            )
        )
    return permute_dims(x, (*range(n - 2), n - 1, n - 2))


transpose = permute_dims


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((3, 4)),
        case((3, 4), axis=-1),
        case((2, 3, 2), axis=(0, 2)),
        case(()),
        case((0, 2), axis=0),
    ],
)
def flip(xp: Any, x: Any, axis: Axis = None) -> Any:
    """x with the order of its elements reversed along `axis` (None: along every axis).

    >>> import gradengine as ge
    >>> ge.flip(ge.tensor([1.0, 2.0, 3.0]))
    tensor([3., 2., 1.])
    """
    chosen = as_axes(axis, x.ndim, "flip")
    return x[tuple(slice(None, None, -1 if i in chosen else 1) for i in range(x.ndim))]


@flip.adjoint
def _(g: Any, _y: Any, _x: Any, axis: Axis) -> Any:
    return flip(g, axis)


@primitive(
    arity=1,
    linear=True,
    cases=[
        case((3, 4), shift=5),
        case((3, 4), shift=-1, axis=1),
        case((3, 4), shift=(1, -2), axis=(0, 1)),
        case((3, 4), shift=2, axis=(0, 1)),
        case((0, 2), shift=1, axis=0),
    ],
)
def roll(xp: Any, x: Any, shift: Any, axis: Axis = None) -> Any:
    """x with its elements moved `shift` places along `axis`; the last come back as the first.

    With `axis=None` x is rolled as if flattened. Tuples of shifts go with tuples of axes.

    >>> import gradengine as ge
    >>> ge.roll(ge.tensor([1.0, 2.0, 3.0]), 1)
    tensor([3., 1., 2.])
    """
    return xp.roll(x, shift, axis)


@roll.adjoint
def _(g: Any, _y: Any, _x: Any, shift: Any, axis: Axis) -> Any:
    back = -shift if isinstance(shift, int) else tuple(-as_int(s) for s in shift)
    return roll(g, back, axis)


# --- broadcasting ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((3, 1), shape=(2, 3, 4)),
        case((), shape=(2, 2)),
        case((1, 1, 1), shape=(2, 3, 4)),
        case((3,), shape=(3,)),
        case((1, 2), shape=(0, 2)),
    ],
)
def broadcast_to(xp: Any, x: Any, shape: Any) -> Any:
    """x repeated along missing axes and axes of size 1 until it has `shape`; a read-only view.

    >>> import gradengine as ge
    >>> ge.broadcast_to(ge.tensor([1.0, 2.0]), (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    try:
        return xp.broadcast_to(x, shape)
    except ValueError as error:
        raise ShapeError(
            hinted(
                f"broadcast_to: {tuple(x.shape)} does not broadcast to {as_shape(shape)}",
                "sizes must be equal or 1, counted from the last axis; reshape or expand_dims",
            )
        ) from error


@broadcast_to.adjoint
def _(g: Any, _y: Any, _x: Any, shape: Any) -> Any:
    return g  # the engine sums every cotangent to its input's shape


def broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    """All `arrays` broadcast to their common shape; views where that is possible.

    >>> import gradengine as ge
    >>> a, b = ge.broadcast_arrays(ge.zeros((3, 1)), ge.zeros(2))
    >>> a.shape, b.shape
    ((3, 2), (3, 2))
    """
    shape = broadcast_shapes(*(x.shape for x in arrays))
    return tuple(x if x.shape == shape else broadcast_to(x, shape) for x in arrays)
