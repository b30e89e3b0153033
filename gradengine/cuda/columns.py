"""Sums along axes: the adjoint of broadcasting, bias gradients, sums of squares.

Every sum is kept in float32 (float64 for float64), added in an order fixed by the shape and rounded
once at the end: the same bits every time, no atomics.

Floor 1: stands on shapes.py, launch.py, moves.py and kernels.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, hinted
from . import shapes
from .kernels import backend, launch
from .launch import check_bias, fits_bias, forward2, vjp
from .moves import contiguous
from .shapes import Array

__all__ = ["bias_vjp", "column_sums", "row_sums", "square_sums", "sum_to"]


# --- along one axis ------------------------------------------------------------------------------


def column_sums(x: Array, dtype: Any = None) -> Array:
    """Sum of the middle axis of a contiguous (batch, rows, cols) array, as (batch, cols)."""
    out_dtype = np.dtype(dtype or x.dtype)
    batch, rows, cols = x.shape
    if x.size == 0:
        return backend().zeros((batch, cols), out_dtype)
    n = shapes.lanes(cols, x.dtype, x)
    across = shapes.ceil_div(cols // n, 32)
    wanted = shapes.ceil_div(8 * backend().multiprocessors(), across * batch)
    pieces = max(1, min(wanted, shapes.ceil_div(rows, 64), 1024))
    middle = shapes.accumulator(x.dtype)
    out = backend().empty((batch, pieces, cols), out_dtype if pieces == 1 else middle)
    name = f"column_sums<{n},{shapes.c_type(x.dtype)},{shapes.c_type(out.dtype)}>"
    for start in range(0, batch, 65535):
        part = slice(start, start + 65535)
        grid = (across, pieces, min(65535, batch - start))
        launch(name, grid, (32, 8, 1), (x[part], out[part], np.int64(rows), np.int64(cols)))
    return out.reshape(batch, cols) if pieces == 1 else column_sums(out, out_dtype)


def row_sums(x: Array, dtype: Any = None, *, squared: bool = False) -> Array:
    """Sum of each row of a contiguous (rows, cols) array, of the squares if `squared`."""
    out_dtype = np.dtype(dtype or x.dtype)
    rows, cols = x.shape
    if x.size == 0:
        return backend().zeros((rows,), out_dtype)
    n = shapes.lanes(cols, x.dtype, x)
    shape, pieces, length = _row_pieces(rows, cols, n)
    out = backend().empty((rows, pieces), out_dtype if pieces == 1 else shapes.accumulator(x.dtype))
    kinds = f"{shapes.c_type(x.dtype)},{shapes.c_type(out.dtype)}"
    name = f"row_sums<{'true' if squared else 'false'},{n},{kinds}>"
    args = (x, out, np.int64(rows), np.int64(cols), np.int64(length))
    launch(name, shape.grid, shape.block, args)
    return out.reshape(rows) if pieces == 1 else row_sums(out, out_dtype)


def _row_pieces(rows: int, cols: int, n: int) -> tuple[shapes.Grid, int, int]:
    """Launch shape, pieces per row, columns per piece: few long rows are cut to fill the device."""
    if cols // n <= 128:
        grid = shapes.blocks(rows, 8)
        return shapes.Grid((grid, 1, 1), (32, 8, 1)), 1, cols
    threads = min(512, max(64, shapes.power_of_two(cols // n // 4)))
    wanted = shapes.ceil_div(4 * backend().multiprocessors(), rows)
    pieces = max(1, min(wanted, cols // (n * threads * 4), 65535))
    length = shapes.ceil_div(shapes.ceil_div(cols, pieces), n) * n
    pieces = shapes.ceil_div(cols, length)
    return shapes.Grid((shapes.blocks(rows, 1), pieces, 1), (threads, 1, 1)), pieces, length


# --- along any axes ------------------------------------------------------------------------------


def sum_to(g: Array, shape: Sequence[int], dtype: Any = None) -> Array:
    """`g` summed to `shape`, from which it was broadcast: the adjoint of broadcasting.

    In `dtype`, g's own unless given.
    """
    shape = tuple(shape)
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    fits = lead >= 0 and all(
        small in (1, big) for small, big in zip(shape, g.shape[lead:], strict=True)
    )
    if not fits:
        raise ShapeError(
            hinted(f"sum_to: {g.shape} was not broadcast from {shape}", "check the shapes")
        )
    kept = (False,) * lead + tuple(
        small == big for small, big in zip(shape, g.shape[lead:], strict=True)
    )
    return _sum_groups(contiguous(g), _groups(g.shape, kept), dtype or g.dtype).reshape(shape)


def _groups(shape: Sequence[int], kept: Sequence[bool]) -> list[tuple[int, bool]]:
    """Runs of kept or summed axes as (size, kept); axes of size one join either side."""
    groups: list[tuple[int, bool]] = []
    for size, keep in zip(shape, kept, strict=True):
        if size == 1:
            continue
        if groups and groups[-1][1] == keep:
            groups[-1] = (groups[-1][0] * size, keep)
        else:
            groups.append((size, keep))
    return groups


def _sum_groups(x: Array, groups: list[tuple[int, bool]], dtype: Any) -> Array:
    """Sum the summed groups away, the last one first; wide until the last sum."""
    while any(not keep for _, keep in groups):
        last = max(i for i, (_, keep) in enumerate(groups) if not keep)
        outer = shapes.size_of([size for size, _ in groups[:last]])
        inner = shapes.size_of([size for size, _ in groups[last + 1 :]])
        size = groups[last][0]
        remaining = groups[:last] + groups[last + 1 :]
        done = all(keep for _, keep in remaining)
        target = dtype if done else shapes.accumulator(dtype)
        if inner == 1 and not groups[last + 1 :]:
            x = row_sums(x.reshape(outer, size), target)
        else:
            x = column_sums(x.reshape(outer, size, inner), target)
        groups = remaining
    return x


def square_sums(x: Array) -> Array:
    """Sum of the squares of all elements of a contiguous array, in the accumulation dtype, (1,)."""
    return row_sums(x.reshape(1, -1), shapes.accumulator(x.dtype), squared=True)


# --- bias + activation ---------------------------------------------------------------------------


def bias_vjp(
    functor: str, g: Array, x: Array, bias: Array, parameters: Sequence[float] = ()
) -> tuple[Array, Array]:
    """(dx, dbias) of y = op(x + bias): one read of x and g, and the sums' second stage."""
    kind = shapes.one_dtype(functor, x, bias, g)
    check_bias(functor, x, bias)
    shapes.same_shape(functor, x, g)
    cols = x.shape[-1]
    if x.size == 0 or not (fits_bias(x, bias) and shapes.dense(g)):
        dx = vjp(functor, g, forward2("Add", x, bias), parameters)
        return dx, sum_to(dx, bias.shape)
    rows = x.size // cols
    across = shapes.ceil_div(cols // shapes.width(x.dtype), 32)
    wanted = shapes.ceil_div(8 * backend().multiprocessors(), across)
    pieces = max(1, min(wanted, shapes.ceil_div(rows, 16), 65535))
    dx = backend().empty(x.shape, x.dtype)
    partial = backend().empty((1, pieces, cols), shapes.accumulator(x.dtype))
    op = shapes.members(x.dtype, parameters)
    args = (x, bias, g, dx, partial, np.int64(rows), np.uint32(cols), op)
    launch(f"bias_vjp<{functor},{kind}>", (across, pieces, 1), (32, 8, 1), args)
    return dx, column_sums(partial, x.dtype).reshape(cols)
