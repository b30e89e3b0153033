"""Sums along axes: the adjoint of broadcasting, bias gradients, sums of squares.

Every sum is kept in float32 (float64 for float64), added in an order fixed by the shape and rounded
once at the end: the same bits every time, no atomics.

Floor 1: stands on shapes.py, launch.py, moves.py and kernels.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ShapeError, hinted
from . import shapes
from .kernels import backend, fire
from .launch import check_bias, fits_bias, forward2, plan, vjp
from .moves import contiguous
from .shapes import Array, at

ROWS_PER_PIECE = 256  # fewer are summed sooner than a second launch starts

__all__ = ["bias_vjp", "column_sums", "row_sums", "square_sums", "sum_to"]


# --- along one axis ------------------------------------------------------------------------------


def column_sums(x: Array, dtype: Any = None) -> Array:
    """Sum of the middle axis of a contiguous (batch, rows, cols) array, as (batch, cols)."""
    out_dtype = x.dtype if dtype is None else np.dtype(dtype)
    batch, rows, cols = x.shape
    chosen = backend()
    if x.size == 0:
        return chosen.zeros((batch, cols), out_dtype)
    n = shapes.lanes(cols, x.dtype, x)
    across, pieces = _column_pieces(batch, rows, cols // n, 8 * chosen.multiprocessors())
    middle = shapes.accumulator(x.dtype)
    shape = (batch, cols) if pieces == 1 else (batch, pieces, cols)
    out = chosen.empty(shape, out_dtype if pieces == 1 else middle)
    name = f"column_sums<{n},{shapes.c_type(x.dtype)},{shapes.c_type(out.dtype)}>"
    here, there = at(x, out)
    for start in range(0, batch, 65535):
        grid = (across, pieces, min(65535, batch - start))
        values = (
            here + start * rows * cols * x.itemsize,
            there + start * pieces * cols * out.itemsize,
            *(rows, cols),
        )
        fire(name, grid, (32, 8, 1), ("P", "P", "q", "q"), values)
    return out if pieces == 1 else column_sums(out, out_dtype)


@lru_cache(maxsize=4096)
def _column_pieces(batch: int, rows: int, vectors: int, most: int) -> tuple[int, int]:
    """Blocks across the columns, and the pieces the rows are cut into to fill the device."""
    across = shapes.ceil_div(vectors, 32)
    wanted = shapes.ceil_div(most, across * batch)
    return across, max(1, min(wanted, shapes.ceil_div(rows, ROWS_PER_PIECE), 1024))


def row_sums(x: Array, dtype: Any = None, *, squared: bool = False) -> Array:
    """Sum of each row of a contiguous (rows, cols) array, of the squares if `squared`."""
    out_dtype = x.dtype if dtype is None else np.dtype(dtype)
    rows, cols = x.shape
    if x.size == 0:
        return backend().zeros((rows,), out_dtype)
    n = shapes.lanes(cols, x.dtype, x)
    shape, pieces, length = _row_pieces(rows, cols, n, backend().multiprocessors())
    out = backend().empty((rows, pieces), out_dtype if pieces == 1 else shapes.accumulator(x.dtype))
    kinds = f"{shapes.c_type(x.dtype)},{shapes.c_type(out.dtype)}"
    name = f"row_sums<{'true' if squared else 'false'},{n},{kinds}>"
    values = (*at(x, out), rows, cols, length)
    fire(name, shape.grid, shape.block, ("P", "P", "q", "q", "q"), values)
    return out.reshape(rows) if pieces == 1 else row_sums(out, out_dtype)


@lru_cache(maxsize=4096)
def _row_pieces(rows: int, cols: int, n: int, processors: int) -> tuple[shapes.Grid, int, int]:
    """Launch shape, pieces per row, columns per piece: few long rows are cut to fill the device."""
    if cols // n <= 128:
        grid = max(1, min(shapes.ceil_div(rows, 8), 32 * processors))
        return shapes.Grid((grid, 1, 1), (32, 8, 1)), 1, cols
    threads = min(512, max(64, shapes.power_of_two(cols // n // 4)))
    wanted = shapes.ceil_div(4 * processors, rows)
    pieces = max(1, min(wanted, cols // (n * threads * 4), 65535))
    length = shapes.ceil_div(shapes.ceil_div(cols, pieces), n) * n
    pieces = shapes.ceil_div(cols, length)
    return (
        shapes.Grid((max(1, min(rows, 32 * processors)), pieces, 1), (threads, 1, 1)),
        pieces,
        length,
    )


# --- along any axes ------------------------------------------------------------------------------


def sum_to(g: Array, shape: Sequence[int], dtype: Any = None) -> Array:
    """`g` summed to `shape`, from which it was broadcast: the adjoint of broadcasting.

    In `dtype`, g's own unless given.
    """
    shape = tuple(shape)
    if g.shape == shape:
        return g
    steps = _sum_steps(g.shape, shape)
    if steps is None:
        raise ShapeError(
            hinted(f"sum_to: {g.shape} was not broadcast from {shape}", "check the shapes")
        )
    target = g.dtype if dtype is None else dtype
    x = contiguous(g)
    for i, layout in enumerate(steps):
        kind = target if i == len(steps) - 1 else shapes.accumulator(target)
        x = (row_sums if len(layout) == 2 else column_sums)(x.reshape(layout), kind)
    return x.reshape(shape)


@lru_cache(maxsize=4096)
def _sum_steps(big: tuple[int, ...], small: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    """The shapes to be summed one after the other, the last group of summed axes first.

    (outer, size) is summed along its rows, (outer, size, inner) along its middle axis; None where
    `big` was not broadcast from `small`.
    """
    lead = len(big) - len(small)
    if lead < 0 or any(n not in (1, m) for n, m in zip(small, big[lead:], strict=True)):
        return None
    kept = (False,) * lead + tuple(n == m for n, m in zip(small, big[lead:], strict=True))
    groups = _groups(big, kept)
    steps: list[tuple[int, ...]] = []
    while any(not keep for _, keep in groups):
        last = max(i for i, (_, keep) in enumerate(groups) if not keep)
        outer = shapes.size_of([size for size, _ in groups[:last]])
        inner = shapes.size_of([size for size, _ in groups[last + 1 :]])
        size = groups[last][0]
        steps.append((outer, size, inner) if groups[last + 1 :] else (outer, size))
        groups = groups[:last] + groups[last + 1 :]
    return tuple(steps)


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
    members = plan(functor, x.dtype, len(parameters)).members
    layout = ("P", "P", "P", "P", "P", "q", "I", members)
    values = (*at(x, bias, g, dx, partial), rows, cols, *parameters)
    fire(f"bias_vjp<{functor},{kind}>", (across, pieces, 1), (32, 8, 1), layout, values)
    return dx, column_sums(partial, x.dtype).reshape(cols)
