"""Launches that move elements: dtype conversion, copies between layouts, embedding, dropout,
random.

Floor 1: stands on shapes.py and kernels.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, hinted
from . import shapes
from .kernels import backend, fire, launch
from .shapes import Array, at

__all__ = [
    "advance",
    "cast",
    "contiguous",
    "copy_into",
    "dropout",
    "gather",
    "scatter_add",
    "uniform",
]

WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "u64"}


# --- conversion and copies -----------------------------------------------------------------------


def cast(x: Array, dtype: Any) -> Array:
    """`x` in another of the four float dtypes, rounded once."""
    dtype = np.dtype(dtype)
    source, target = shapes.c_type(x.dtype), shapes.c_type(dtype)
    x = contiguous(x)
    if dtype == x.dtype:
        return x
    y = backend().empty(x.shape, dtype)
    n = 16 // max(x.itemsize, dtype.itemsize)
    here, there = at(x, y)
    for part, lanes in pieces(x.size, n, x, y):
        size = part.stop - part.start
        grid = (shapes.blocks(size // lanes, shapes.THREADS), 1, 1)
        values = (here + part.start * x.itemsize, there + part.start * y.itemsize, size)
        fire(f"cast<{lanes},{source},{target}>", grid, BLOCK, ("P", "P", "q"), values)
    return y


BLOCK = (shapes.THREADS, 1, 1)


def pieces(size: int, n: int, *arrays: Array) -> list[tuple[slice, int]]:
    """Slices of a flat buffer with the vector each takes: the whole vectors, then what is left."""
    whole = size // n * n if n > 1 and shapes.aligned(*arrays) else 0
    if whole == size and size:
        return [(slice(0, size), n)]
    parts = [(slice(0, whole), n), (slice(whole, size), 1)]
    return [(part, lanes) for part, lanes in parts if part.stop > part.start]


def contiguous(x: Array) -> Array:
    """`x` itself if it is C-contiguous, else a contiguous copy."""
    return x if backend().contiguous(x) else solid(x)


def solid(x: Array) -> Array:
    """A contiguous copy of `x` in memory of its own, which starts on a 16-byte boundary."""
    y = backend().empty(x.shape, x.dtype)
    copy_into(y, x)
    return y


def copy_into(y: Array, x: Array) -> None:
    """y[...] = x for two layouts of one shape and dtype, transpositions through shared memory."""
    shapes.same_shape("copy", y, x)
    if x.dtype != y.dtype or x.itemsize not in WORDS:
        raise DTypeError(hinted(f"copy: {x.dtype} into {y.dtype}", "cast first"))
    if x.size == 0:
        return
    strides = [shapes.element_strides(x, x.shape), shapes.element_strides(y, y.shape)]
    dimensions = shapes.joined(x.shape, strides)
    word = WORDS[x.itemsize]
    swapped = _transposition(dimensions)
    if swapped is not None:
        batch, rows, cols = swapped
        tiles = (shapes.ceil_div(cols, 32), min(65535, shapes.ceil_div(rows, 32)), batch)
        values = (*at(x, y), rows, cols)
        fire(f"transpose<{word}>", tiles, (32, 8, 1), ("P", "P", "q", "q"), values)
        return
    if x.size >= shapes.LIMIT or len(dimensions) > shapes.MAX_DIMENSIONS:
        axis = next(i for i, size in enumerate(x.shape) if size > 1)
        middle = x.shape[axis] // 2
        for part in (slice(0, middle), slice(middle, None)):
            take = (slice(None),) * axis + (part,)
            copy_into(y[take], x[take])
        return
    grid = (shapes.blocks(x.size, shapes.THREADS), 1, 1)
    args = (x, y, np.uint32(x.size), shapes.layout(dimensions))
    launch(f"copy_strided<{word}>", grid, (shapes.THREADS, 1, 1), args)


def _transposition(dimensions: list[shapes.Dimension]) -> tuple[int, int, int] | None:
    """(batch, rows, columns of the source) if this is a batch of dense matrix transpositions."""
    if len(dimensions) not in (2, 3):
        return None
    (inner, (x_inner, y_inner)), (outer, (x_outer, y_outer)) = dimensions[:2]
    if (x_outer, y_inner) != (1, 1) or x_inner != outer or y_outer != inner:
        return None
    if len(dimensions) == 2:
        return 1, inner, outer
    batch, steps = dimensions[2]
    return (batch, inner, outer) if steps == (inner * outer,) * 2 and batch <= 65535 else None


# --- rows by index -------------------------------------------------------------------------------


def _index_kind(name: str, index: Array) -> str:
    if index.dtype == np.int64:
        return "i64"
    if index.dtype == np.int32:
        return "int"
    raise DTypeError(hinted(f"{name}: indices of {index.dtype}", "use int64 or int32"))


def gather(table: Array, index: Array, bad: Array | None = None) -> Array:
    """table[index] for a (size, cols) table: an embedding's forward.

    Negative indices count from the end. One out of range gives a row of zeros and sets `bad`, an
    int32 array of one element, to 1: nothing waits for the device.
    """
    kind, of_index = shapes.c_type(table.dtype), _index_kind("gather", index)
    _check_table("gather", table)
    table, index = contiguous(table), contiguous(index)
    size, cols = table.shape
    y = backend().empty((*index.shape, cols), table.dtype)
    if y.size == 0:
        return y
    n = shapes.lanes(cols, table.dtype, table, y)
    shape = shapes.matrix_grid(index.size, cols // n)
    layout = ("P", "P", "P", "q", "q", "I", "P")
    values = (*at(table, index, y), index.size, size, cols, *at(bad))
    fire(f"gather_rows<{n},{kind},{of_index}>", shape.grid, shape.block, layout, values)
    return y


def _check_table(name: str, table: Array) -> None:
    if table.ndim != 2:
        raise ShapeError(
            hinted(f"{name}: table {table.shape}", "give it two axes, (rows, columns)")
        )


def scatter_add(
    g: Array, index: Array, size: int, *, deterministic: bool = True, bad: Array | None = None
) -> Array:
    """The (size, cols) sum of the rows of `g` by index: the adjoint of `gather`.

    Deterministic: equal indices are added in order, after one stable sort. Else with atomic
    additions, whose order and so last bits vary.
    """
    kind, of_index = shapes.c_type(g.dtype), _index_kind("scatter_add", index)
    cols = g.shape[-1] if g.ndim else 0
    if g.shape != (*index.shape, cols):
        raise ShapeError(
            hinted(f"scatter_add: rows {g.shape} for indices {index.shape}", "give one row each")
        )
    g, index = contiguous(g), contiguous(index)
    rows = index.size
    n = shapes.lanes(cols, g.dtype, g)
    shape = shapes.matrix_grid(rows, max(1, cols // n))
    numbers = (np.int64(rows), np.int64(size), np.uint32(cols), bad)
    if deterministic:
        out = backend().zeros((size, cols), g.dtype)
        if g.size:
            flat = index.reshape(-1)
            # sorted as the kernel reads them, so that -1 and size - 1 fall into one run
            wrapped = flat + (flat < 0) * flat.dtype.type(size)
            order = wrapped.argsort(kind="stable").astype(np.int64)
            name = f"scatter_add_sorted<{n},{kind},{of_index}>"
            launch(name, shape.grid, shape.block, (g, flat, order, out, *numbers))
        return out
    wide = backend().zeros((size, cols), shapes.accumulator(g.dtype))
    if g.size:
        name = f"scatter_add_atomic<{n},{kind},{of_index}>"
        launch(name, shape.grid, shape.block, (g, index, wide, *numbers))
    return cast(wide, g.dtype)


# --- dropout and random numbers ------------------------------------------------------------------


def dropout(x: Array, p: float, seed: int, offset: int, live: Array | None = None) -> Array:
    """x / (1 - p) where element i's uniform number is at least p, else 0; its own vjp too.

    The numbers are those of gradengine/philox.py for (seed, offset). `live`, a uint64 array of two
    on the device, replaces seed and offset where a captured step is replayed.
    """
    kind = shapes.c_type(x.dtype)
    x = x if shapes.dense(x) else solid(x)
    y = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return y
    scale = 1 / (1 - p) if p < 1 else 0.0
    group = max(4, shapes.width(x.dtype))
    grid = (shapes.blocks(x.size, shapes.THREADS * group), 1, 1)
    layout = ("P", "P", "q", "f", shapes.accumulator(x.dtype).char, "Q", "Q", "P")
    values = (*at(x, y), x.size, p, scale, seed, offset, *at(live))
    fire(f"dropout<{kind}>", grid, BLOCK, layout, values)
    return y


def uniform(shape: tuple[int, ...], dtype: Any, seed: int, offset: int) -> Array:
    """Uniform numbers in [0, 1), those of `philox.uniform` for (seed, offset), bit for bit."""
    y = backend().empty(shape, np.dtype(dtype))
    if y.size:
        grid = (shapes.blocks(shapes.ceil_div(y.size, 2), shapes.THREADS), 1, 1)
        values = (*at(y), y.size, seed, offset)
        fire(f"random_uniform<{shapes.c_type(dtype)}>", grid, BLOCK, ("P", "q", "Q", "Q"), values)
    return y


def advance(state: Array, by: int) -> None:
    """state[1] += by on the device: the next step of a replayed graph draws fresh numbers.

    `state` is the (seed, offset) that `dropout` takes as `live`, a uint64 array of two.
    """
    if state.dtype != np.uint64 or state.shape != (2,):
        raise ShapeError(
            hinted(f"advance: state {state.shape} of {state.dtype}", "give uint64 (seed, offset)")
        )
    launch("advance_offset", (1, 1, 1), (1, 1, 1), (state, np.uint64(by)))
