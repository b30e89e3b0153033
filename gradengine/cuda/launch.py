"""Elementwise launches: which kernel, which grid, which arguments, for a functor and its operands.

`forward` and `vjp` take a functor of kernels/*.cuh by name and arrays of the back end (CuPy's, or
NumPy's with the emulator) and give new arrays. Contiguous operands on 16-byte boundaries, and rows,
columns and scalars broadcast against them, go through the vector kernels; anything else through the
strided ones.

Floor 1: stands on shapes.py and kernels.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ShapeError, hinted
from . import shapes
from .kernels import backend, launch
from .shapes import Array

__all__ = ["bias_forward", "forward", "forward2", "vjp", "vjp2"]


# --- one operand ---------------------------------------------------------------------------------


def forward(functor: str, x: Array, parameters: Sequence[float] = ()) -> Array:
    """y = op(x), any strides; y is C-contiguous and has x's dtype."""
    kind = shapes.c_type(x.dtype)
    y = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return y
    op = shapes.members(x.dtype, parameters)
    if shapes.dense(x):
        tile = 2 * shapes.THREADS * shapes.width(x.dtype)
        grid = (shapes.blocks(x.size, tile), 1, 1)
        launch(
            f"map_forward<{functor},{kind}>",
            grid,
            (shapes.THREADS, 1, 1),
            (x, y, ctypes.c_int64(x.size), op),
        )
    else:
        _strided(f"map_forward_strided<{functor},{kind}>", [x], [y], op)
    return y


def vjp(functor: str, g: Array, x: Array, parameters: Sequence[float] = ()) -> Array:
    """dx = g op'(x), any strides; a zero in g gives zero whatever op' is."""
    kind = shapes.one_dtype(functor, x, g)
    shapes.same_shape(functor, x, g)
    dx = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return dx
    op = shapes.members(x.dtype, parameters)
    if shapes.dense(x, g):
        tile = shapes.THREADS * shapes.width(x.dtype)
        grid = (shapes.blocks(x.size, tile), 1, 1)
        args = (x, g, dx, ctypes.c_int64(x.size), op)
        launch(f"map_vjp<{functor},{kind}>", grid, (shapes.THREADS, 1, 1), args)
    else:
        _strided(f"map_vjp_strided<{functor},{kind}>", [x, g], [dx], op)
    return dx


# --- two operands --------------------------------------------------------------------------------


class Broadcast(ctypes.Structure):
    """Broadcast of kernels/map.cu: an operand over a matrix."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("pitch", ctypes.c_int64),
        ("step", ctypes.c_int64),
    )


def forward2(functor: str, a: Array, b: Array, parameters: Sequence[float] = ()) -> Array:
    """y = op(a, b) over the shape both broadcast to."""
    kind = shapes.one_dtype(functor, a, b)
    shape = shapes.broadcast_shape(functor, a, b)
    y = backend().empty(shape, a.dtype)
    if y.size == 0:
        return y
    op = shapes.members(a.dtype, parameters)
    matrix = _as_matrix(shape, a, b)
    if matrix is None:
        _strided(f"map2_forward_strided<{functor},{kind}>", [a, b], [y], op)
        return y
    rows, cols, left, right = matrix
    shape2 = shapes.matrix_grid(rows, cols // shapes.width(a.dtype))
    args = (left, right, y, ctypes.c_int64(rows), ctypes.c_int64(cols), op)
    launch(f"map2_forward<{functor},{kind}>", shape2.grid, shape2.block, args)
    return y


def vjp2(
    functor: str,
    g: Array,
    a: Array,
    b: Array,
    parameters: Sequence[float] = (),
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Array | None, Array | None]:
    """(g dop/da, g dop/db) over the broadcast shape, in one launch; None for one not wanted."""
    kind = shapes.one_dtype(functor, a, b, g)
    shape = shapes.broadcast_shape(functor, a, b)
    if g.shape != shape:
        raise ShapeError(
            hinted(f"{functor}: cotangent {g.shape} of an output {shape}", "give it that shape")
        )
    da = backend().empty(shape, a.dtype) if wanted[0] else None
    db = backend().empty(shape, a.dtype) if wanted[1] else None
    if g.size == 0 or not any(wanted):
        return da, db
    op = shapes.members(a.dtype, parameters)
    matrix = _as_matrix(shape, a, b) if shapes.dense(g) else None
    if matrix is None:
        _strided(f"map2_vjp_strided<{functor},{kind}>", [a, b, g], [da, db], op)
        return da, db
    rows, cols, left, right = matrix
    shape2 = shapes.matrix_grid(rows, cols // shapes.width(a.dtype))
    args = (left, right, g, da, db, ctypes.c_int64(rows), ctypes.c_int64(cols), op)
    launch(f"map2_vjp<{functor},{kind}>", shape2.grid, shape2.block, args)
    return da, db


def _as_matrix(shape: Sequence[int], a: Array, b: Array) -> tuple[int, int, Any, Any] | None:
    """rows, columns and both operands as the vector kernels take them, or None if they cannot.

    The output's own strides take part in the joining, so that it stays dense.
    """
    if a.shape == b.shape and shapes.dense(a, b):
        pointer = backend().pointer
        return 1, a.size, Broadcast(pointer(a), 0, 1), Broadcast(pointer(b), 0, 1)
    dense = _dense_strides(shape)
    dimensions = shapes.joined(
        shape, [dense, shapes.element_strides(a, shape), shapes.element_strides(b, shape)]
    )
    if len(dimensions) > 2:
        return None
    cols = dimensions[0][0]
    rows, pitches = dimensions[1] if len(dimensions) == 2 else (1, (0, 0, 0))
    n = shapes.width(a.dtype)
    if rows > 1 and cols % n:
        return None
    operands: list[Any] = []
    for i, x in enumerate((a, b), 1):
        step, pitch = dimensions[0][1][i], pitches[i]
        if step not in (0, 1) or (step == 1 and (pitch % n or not shapes.aligned(x))):
            return None
        operands.append(Broadcast(backend().pointer(x), pitch, step))
    return rows, cols, operands[0], operands[1]


def _dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


# --- any strides ---------------------------------------------------------------------------------


def _strided(name: str, inputs: list[Array], outputs: list[Array | None], op: Any) -> None:
    """Launch a strided kernel; outputs are contiguous; cut along an axis below LIMIT elements."""
    out = next(y for y in outputs if y is not None)
    shape: tuple[int, ...] = out.shape
    if out.size >= shapes.LIMIT:
        _halves(shape, inputs, outputs, lambda i, o: _strided(name, i, o, op))
        return
    dimensions = shapes.joined(shape, [shapes.element_strides(x, shape) for x in inputs])
    if len(dimensions) > shapes.MAX_DIMENSIONS:
        inputs = [_spread(x, shape) for x in inputs]
        dimensions = shapes.joined(shape, [shapes.element_strides(x, shape) for x in inputs])
    grid = (shapes.blocks(out.size, shapes.THREADS), 1, 1)
    args = (*inputs, *outputs, ctypes.c_uint32(out.size), shapes.layout(dimensions), op)
    launch(name, grid, (shapes.THREADS, 1, 1), args)


def _spread(x: Array, shape: Sequence[int]) -> Array:
    """`x` written out over `shape`: more dimensions than Layout holds have to be joined."""
    full = backend().empty(tuple(shape), x.dtype)
    full[...] = x
    return full


def _expanded(x: Array, shape: Sequence[int]) -> Array:
    """`x` with the number of dimensions of `shape`, leading ones added."""
    return x.reshape((1,) * (len(shape) - x.ndim) + x.shape)


Work = Callable[[list[Array], list[Array | None]], None]


def _halves(
    shape: Sequence[int], inputs: list[Array], outputs: list[Array | None], work: Work
) -> None:
    """Do `work` on both halves of the first axis longer than one; outputs stay contiguous."""
    axis = next(i for i, size in enumerate(shape) if size > 1)
    middle = shape[axis] // 2
    for part in (slice(0, middle), slice(middle, None)):
        take = (slice(None),) * axis + (part,)
        wide = [_expanded(x, shape) for x in inputs]
        cut = [x if x.shape[axis] == 1 else x[take] for x in wide]
        work(cut, [y if y is None else y[take] for y in outputs])


# --- bias + activation ---------------------------------------------------------------------------


def bias_forward(functor: str, x: Array, bias: Array, parameters: Sequence[float] = ()) -> Array:
    """y = op(x + bias), bias along the last axis, in one launch; see `columns.bias_vjp`."""
    kind = shapes.one_dtype(functor, x, bias)
    check_bias(functor, x, bias)
    cols = x.shape[-1]
    if not fits_bias(x, bias):
        return forward(functor, forward2("Add", x, bias), parameters)
    y = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return y
    rows = x.size // cols
    shape2 = shapes.matrix_grid(rows, cols // shapes.width(x.dtype))
    op = shapes.members(x.dtype, parameters)
    args = (x, bias, y, ctypes.c_int64(rows), ctypes.c_uint32(cols), op)
    launch(f"bias_forward<{functor},{kind}>", shape2.grid, shape2.block, args)
    return y


def check_bias(name: str, x: Array, bias: Array) -> None:
    """ShapeError unless `bias` lies along the last axis of `x`."""
    if x.ndim == 0 or bias.shape != x.shape[-1:]:
        raise ShapeError(
            hinted(
                f"{name}: bias {bias.shape} for an input {x.shape}", "give it the last axis' size"
            )
        )


def fits_bias(x: Array, bias: Array) -> bool:
    """Whether the fused bias kernels take these arrays."""
    cols = x.shape[-1]
    return cols % shapes.width(x.dtype) == 0 and cols < shapes.LIMIT and shapes.dense(x, bias)
