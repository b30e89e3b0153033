"""Row-wise launches: softmax, log-softmax, softmax cross-entropy, layer norm and RMS norm.

The last axis is the row. A row is kept in shared memory where it fits, so that every kernel reads
and writes each element once; short rows get a warp each, long ones a block.

Floor 1: stands on shapes.py, columns.py, moves.py and kernels.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, hinted
from . import shapes
from .columns import column_sums
from .kernels import backend, fire
from .moves import contiguous
from .shapes import Array, Grid, at

__all__ = [
    "count_targets",
    "norm_forward",
    "norm_vjp",
    "softmax_cross_entropy",
    "softmax_forward",
    "softmax_vjp",
    "total_loss",
]


# --- launch shapes -------------------------------------------------------------------------------


def _matrix(name: str, x: Array) -> tuple[Array, int, int]:
    """`x` contiguous, and its rows and columns; ShapeError for a scalar or a row of 2^31."""
    if x.ndim == 0:
        raise ShapeError(hinted(f"{name}: a scalar has no rows", "give it at least one axis"))
    cols = x.shape[-1]
    if cols >= shapes.LIMIT:  # positions inside a row are 32-bit
        limit = f"give it fewer than {shapes.LIMIT} columns"
        raise ShapeError(hinted(f"{name}: rows of {cols} in {x.shape}", limit))
    return contiguous(x), (x.size // cols if cols else 0), cols


def _row_grid(rows: int, vectors: int, bytes_per_row: int) -> tuple[Grid, str, int]:
    """Launch shape, whether rows are kept in shared memory (as C++ has it), and its bytes."""
    chosen = backend()
    return _row_shape(
        rows, vectors, bytes_per_row, chosen.shared_limit(), 32 * chosen.multiprocessors()
    )


@lru_cache(maxsize=4096)
def _row_shape(
    rows: int, vectors: int, bytes_per_row: int, limit: int, most: int
) -> tuple[Grid, str, int]:
    if vectors <= 128:
        side = 8
        while side > 1 and side * bytes_per_row > limit:
            side //= 2
        block = (32, side, 1)
    else:
        side = 1
        block = (min(512, max(64, shapes.power_of_two(shapes.ceil_div(vectors, 4)))), 1, 1)
    cached = side * bytes_per_row <= limit
    grid = (max(1, min(shapes.ceil_div(rows, side), most)), 1, 1)
    return Grid(grid, block), _flag(cached), side * bytes_per_row if cached else 0


def _flag(value: bool) -> str:
    return "true" if value else "false"


# --- softmax -------------------------------------------------------------------------------------


def softmax_forward(x: Array, *, log: bool = False) -> Array:
    """softmax(x), or its logarithm, along the last axis."""
    x, rows, cols = _matrix("softmax", x)
    kind = shapes.c_type(x.dtype)
    y = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return y
    n = shapes.lanes(cols, x.dtype, x, y)
    shape, cached, shared = _row_grid(rows, cols // n, cols * x.itemsize)
    name = f"softmax_forward<{_flag(log)},{cached},{n},{kind}>"
    fire(name, shape.grid, shape.block, ("P", "P", "q", "I"), (*at(x, y), rows, cols), shared)
    return y


def softmax_vjp(g: Array, y: Array, *, log: bool = False) -> Array:
    """The cotangent of x from that of y = softmax_forward(x, log=log)."""
    y, rows, cols = _matrix("softmax", y)
    kind = shapes.one_dtype("softmax", y, g)
    shapes.same_shape("softmax", y, g)
    g = contiguous(g)
    dx = backend().empty(y.shape, y.dtype)
    if y.size == 0:
        return dx
    n = shapes.lanes(cols, y.dtype, y, g, dx)
    shape, cached, shared = _row_grid(rows, cols // n, 2 * cols * y.itemsize)
    name = f"softmax_vjp<{_flag(log)},{cached},{n},{kind}>"
    values = (*at(y, g, dx), rows, cols)
    fire(name, shape.grid, shape.block, ("P", "P", "P", "q", "I"), values, shared)
    return dx


def softmax_cross_entropy(
    x: Array,
    target: Array,
    *,
    scale: float = 1.0,
    ignore_index: int = -100,
    inplace: bool = False,
    factor: Array | None = None,
    counts: Array | None = None,
    loss: bool = True,
    gradient: bool = True,
) -> tuple[Array | None, Array | None]:
    """(loss of each row, scale * d loss / dx) in one launch: one read, one write of the logits.

    `target` are int64 classes of shape x.shape[:-1]; rows with `ignore_index` count nothing, a
    class out of range gives a NaN loss. `inplace` writes the gradient over the logits. The losses
    are in the accumulation dtype. `factor`, of that dtype and of one element or one for each row,
    multiplies the gradient, and counts[0] (see `count_targets`) divides it, both on the device.
    Without `loss` or without `gradient` that half is not computed and None is returned for it.
    """
    given = x
    x, rows, cols = _matrix("softmax_cross_entropy", x)
    kind = shapes.c_type(x.dtype)
    if target.shape != x.shape[:-1] or target.dtype != np.int64:
        raise ShapeError(
            hinted(
                f"softmax_cross_entropy: target {target.shape} {target.dtype} for logits {x.shape}",
                f"give int64 classes of shape {x.shape[:-1]}",
            )
        )
    target = contiguous(target)
    wide = shapes.accumulator(x.dtype)
    losses = backend().empty(x.shape[:-1], wide) if loss else None
    dx = None
    if gradient:
        dx = x if inplace and x is given else backend().empty(x.shape, x.dtype)
    if x.size == 0:
        return backend().zeros(x.shape[:-1], wide) if loss else None, dx
    n = shapes.lanes(cols, x.dtype, x, dx)
    shape, cached, shared = _row_grid(rows, cols // n, cols * x.itemsize)
    name = f"softmax_cross_entropy<{cached},{n},{kind}>"
    layout = ("P", "P", "P", "P", "q", "I", wide.char, "q", "P", "q", "P")
    step = 0 if factor is None or factor.size == 1 else 1
    numbers = (rows, cols, scale, ignore_index, *at(factor), step, *at(counts))
    fire(name, shape.grid, shape.block, layout, (*at(x, target, losses, dx), *numbers), shared)
    return losses, dx


def count_targets(target: Array, classes: int, ignore_index: int) -> Array:
    """[rows that count, first row whose class is out of range or the number of rows], int64."""
    kind = {"int64": "i64", "int32": "int"}.get(target.dtype.name)
    if kind is None:
        raise DTypeError(hinted(f"count_targets: {target.dtype}", "use int64 or int32"))
    counts = backend().empty((2,), np.dtype(np.int64))
    target = contiguous(target)
    values = (*at(target, counts), target.size, classes, ignore_index)
    fire(f"count_targets<{kind}>", (1, 1, 1), (512, 1, 1), ("P", "P", "q", "q", "q"), values)
    return counts


def total_loss(losses: Array, dtype: Any, counts: Array | None = None) -> Array:
    """The sum of the rows' losses, over counts[0] if that is given, as a 0-d array of `dtype`."""
    y = backend().empty((), np.dtype(dtype))
    values = (*at(losses, counts, y), losses.size)
    name = f"total_loss<{shapes.c_type(dtype)}>"
    fire(name, (1, 1, 1), (512, 1, 1), ("P", "P", "P", "q"), values)
    return y


# --- layer norm and RMS norm ---------------------------------------------------------------------


def norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    *,
    epsilon: float,
    centered: bool = True,
    room: Array | None = None,
) -> tuple[Array, Array | None, Array]:
    """(y, mean, 1/std): layer norm over the last axis, or RMS norm (no mean) if not `centered`.

    `room`, of (2 or more, rows) in the accumulation dtype, is where mean and 1/std are to go.
    """
    x, rows, cols = _matrix("norm", x)
    kind = shapes.one_dtype("norm", x, weight, bias)
    _check_affine(cols, weight, bias)
    wide = shapes.accumulator(x.dtype)
    y = backend().empty(x.shape, x.dtype)
    if room is None:
        mean = backend().empty(x.shape[:-1], wide) if centered else None
        rstd = backend().empty(x.shape[:-1], wide)
    else:
        mean, rstd = room[0] if centered else None, room[1]
    if x.size == 0:
        return y, mean, rstd
    n = shapes.lanes(cols, x.dtype, x, weight, bias, y)
    shape, cached, shared = _row_grid(rows, cols // n, cols * x.itemsize)
    name = f"norm_forward<{_flag(centered)},{cached},{n},{kind}>"
    layout = ("P", "P", "P", "P", "P", "P", "q", "I", wide.char)
    values = (*at(x, weight, bias, y, mean, rstd), rows, cols, epsilon)
    fire(name, shape.grid, shape.block, layout, values, shared)
    return y, mean, rstd


def _check_affine(cols: int, *parameters: Array | None) -> None:
    for p in parameters:
        if p is not None and (p.shape != (cols,) or not p.flags.c_contiguous):
            raise ShapeError(
                hinted(f"norm: weight or bias {p.shape} for rows of {cols}", "give it that size")
            )


def norm_vjp(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array | None,
    rstd: Array,
    *,
    affine: bool = True,
) -> tuple[Array, Array | None, Array | None]:
    """(dx, dweight, dbias) in one read of x and g; the last two are None unless `affine`."""
    x, rows, cols = _matrix("norm", x)
    kind = shapes.one_dtype("norm", x, weight, g)
    _check_affine(cols, weight)
    shapes.same_shape("norm", x, g)
    g = contiguous(g)
    dx = backend().empty(x.shape, x.dtype)
    if x.size == 0:
        zero = backend().zeros((2, cols), x.dtype)
        return (dx, zero[0], zero[1]) if affine else (dx, None, None)
    n = shapes.lanes(cols, x.dtype, x, weight, g, dx)
    threads, per = norm_threads(cols // n, n)
    grid = min(rows, backend().multiprocessors() * max(1, 1024 // threads))
    wide = shapes.accumulator(x.dtype)
    partial = backend().empty((1, grid, 2 * cols), wide) if affine else None
    name = f"norm_vjp<{_flag(mean is not None)},{per},{n},{kind}>"
    layout = ("P", "P", "P", "P", "P", "P", "P", "q", "I")
    values = (*at(x, weight, g, mean, rstd, dx, partial), rows, cols)
    fire(name, (grid, 1, 1), (threads, 1, 1), layout, values)
    if partial is None:
        return dx, None, None
    sums = column_sums(partial, x.dtype).reshape(2, cols)
    return dx, sums[0], sums[1]


NORM_PER: dict[int, Sequence[int]] = {1: (1, 2, 4), 2: (1, 2, 4), 4: (1, 2, 4), 8: (1, 2)}
"""Vectors of columns a thread may keep, by vector width: at most 16 columns in registers."""


def norm_threads(vectors: int, n: int) -> tuple[int, int]:
    """Threads per block and vectors per thread of norm_vjp; 0 for rows beyond the registers."""
    for per in NORM_PER[n]:
        if vectors <= 512 * per:
            return max(32, min(512, shapes.power_of_two(shapes.ceil_div(vectors, per)))), per
    return 512, 0


def norm_instances(dtype: Any) -> list[tuple[int, int]]:
    """Every (vectors per thread, vector width) that `norm_vjp` may ask for."""
    return [(per, n) for n in sorted({1, shapes.width(dtype)}) for per in (0, *NORM_PER[n])]
