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
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import ShapeError, hinted
from . import shapes
from .kernels import backend, fire, launch
from .shapes import Array

__all__ = ["bias_forward", "forward", "forward2", "vjp", "vjp2"]

NUMBERS = (bool, int, float)


class Plan(NamedTuple):
    """What the launches of one functor and dtype have in common, worked out once."""

    functor: str
    dtype: Any
    kind: str
    width: int
    members: str  # codes of the functor's parameters for the module struct
    operand: str  # those of a Broadcast of kernels/map.cu
    forward: str  # names of the kernels
    vjp: str
    forward2: str
    vjp2: str


@lru_cache(maxsize=1024)
def plan(functor: str, dtype: Any, parameters: int) -> Plan:
    """The plan of a functor with so many parameters; DTypeError for a dtype no kernel takes."""
    kind = shapes.c_type(dtype)
    wide = "d" if kind == "double" else "f"
    names = [f"{k}<{functor},{kind}>" for k in ("map_forward", "map_vjp")]
    names += [f"{k}<{functor},{kind}>" for k in ("map2_forward", "map2_vjp")]
    operand = f"Pqq{shapes.SCALAR[dtype.char]}"
    return Plan(
        functor, dtype, kind, shapes.width(dtype), wide * parameters or "x", operand, *names
    )


# --- one operand ---------------------------------------------------------------------------------


def forward(functor: str, x: Array, parameters: Sequence[float] = ()) -> Array:
    """y = op(x), any strides; y is C-contiguous and has x's dtype."""
    p = plan(functor, x.dtype, len(parameters))
    chosen = backend()
    y = chosen.empty(x.shape, p.dtype)
    n = x.size
    if n == 0:
        return y
    here = chosen.pointer(x)
    if chosen.contiguous(x) and here % 16 == 0:
        grid = (shapes.blocks(n, 512 * p.width), 1, 1)  # two vectors in flight per thread
        layout = ("P", "P", "q", p.members)
        fire(p.forward, grid, BLOCK, layout, (here, chosen.pointer(y), n, *parameters))
    else:
        op = shapes.members(x.dtype, parameters)
        _strided(f"map_forward_strided<{functor},{p.kind}>", [x], [y], op)
    return y


def vjp(functor: str, g: Array, x: Array, parameters: Sequence[float] = ()) -> Array:
    """dx = g op'(x), any strides; a zero in g gives zero whatever op' is."""
    p = plan(functor, x.dtype, len(parameters))
    shapes.one_dtype(functor, x, g)
    shapes.same_shape(functor, x, g)
    chosen = backend()
    dx = chosen.empty(x.shape, p.dtype)
    n = x.size
    if n == 0:
        return dx
    if shapes.dense(x, g):
        grid = (shapes.blocks(n, 256 * p.width), 1, 1)
        values = (chosen.pointer(x), chosen.pointer(g), chosen.pointer(dx), n, *parameters)
        fire(p.vjp, grid, BLOCK, ("P", "P", "P", "q", p.members), values)
    else:
        op = shapes.members(x.dtype, parameters)
        _strided(f"map_vjp_strided<{functor},{p.kind}>", [x, g], [dx], op)
    return dx


BLOCK = (shapes.THREADS, 1, 1)


# --- two operands --------------------------------------------------------------------------------

Operand = tuple[int, int, int, Any]
"""Broadcast of kernels/map.cu, an operand over a matrix: address, pitch, step, value."""


def forward2(functor: str, a: Any, b: Any, parameters: Sequence[float] = ()) -> Array:
    """y = op(a, b) over the shape both broadcast to; one of them may be a Python number."""
    array = b if a.__class__ in NUMBERS else a
    p = plan(functor, array.dtype, len(parameters))
    shape = _shape_of(functor, a, b)
    chosen = backend()
    y = chosen.empty(shape, p.dtype)
    if y.size == 0:
        return y
    matrix = _as_matrix(p, shape, a, b)
    if matrix is None:
        a, b = _arrays(p, a, b)
        op = shapes.members(p.dtype, parameters)
        _strided(f"map2_forward_strided<{functor},{p.kind}>", [a, b], [y], op)
        return y
    rows, cols, left, right = matrix
    grid = shapes.matrix_grid(rows, cols // p.width)
    layout = (p.operand, p.operand, "P", "q", "q", p.members)
    values = (*left, *right, chosen.pointer(y), rows, cols, *parameters)
    fire(p.forward2, grid.grid, grid.block, layout, values)
    return y


def vjp2(
    functor: str,
    g: Array,
    a: Any,
    b: Any,
    parameters: Sequence[float] = (),
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Array | None, Array | None]:
    """(g dop/da, g dop/db) over the broadcast shape, in one launch; None for one not wanted."""
    p = plan(functor, g.dtype, len(parameters))
    shape = _shape_of(functor, a, b)
    if g.shape != shape:
        raise ShapeError(
            hinted(f"{functor}: cotangent {g.shape} of an output {shape}", "give it that shape")
        )
    shapes.one_dtype(functor, g, *(x for x in (a, b) if x.__class__ not in NUMBERS))
    chosen = backend()
    da = chosen.empty(shape, p.dtype) if wanted[0] else None
    db = chosen.empty(shape, p.dtype) if wanted[1] else None
    if g.size == 0 or not any(wanted):
        return da, db
    matrix = _as_matrix(p, shape, a, b) if shapes.dense(g) else None
    if matrix is None:
        a, b = _arrays(p, a, b)
        op = shapes.members(p.dtype, parameters)
        _strided(f"map2_vjp_strided<{functor},{p.kind}>", [a, b, g], [da, db], op)
        return da, db
    rows, cols, left, right = matrix
    grid = shapes.matrix_grid(rows, cols // p.width)
    layout = (p.operand, p.operand, "P", "P", "P", "q", "q", p.members)
    outputs = [0 if x is None else chosen.pointer(x) for x in (da, db)]
    values = (*left, *right, chosen.pointer(g), *outputs, rows, cols, *parameters)
    fire(p.vjp2, grid.grid, grid.block, layout, values)
    return da, db


def _shape_of(functor: str, a: Any, b: Any) -> tuple[int, ...]:
    """The shape of the result; DTypeError or ShapeError where the operands do not go together."""
    if a.__class__ in NUMBERS:
        return b.shape
    if b.__class__ in NUMBERS:
        return a.shape
    if a.dtype != b.dtype:
        shapes.one_dtype(functor, a, b)
    return a.shape if a.shape == b.shape else shapes.broadcast_shape(functor, a, b)


def _number(p: Plan, x: float) -> Operand:
    return 0, 0, 0, shapes.scalar(p.dtype, x)


def _arrays(p: Plan, *operands: Any) -> list[Array]:
    """Numbers as arrays of one element, for the strided kernels, which read memory only."""
    found: list[Array] = []
    for x in operands:
        if x.__class__ in NUMBERS:
            array = backend().empty((1,), p.dtype)
            array.fill(x)
            x = array.reshape(())
        found.append(x)
    return found


def _as_matrix(
    p: Plan, shape: tuple[int, ...], a: Any, b: Any
) -> tuple[int, int, Operand, Operand] | None:
    """rows, columns and both operands as the vector kernels take them, or None if they cannot.

    The output's own strides take part in the joining, so that it stays dense.
    """
    if a.__class__ in NUMBERS:
        return (1, b.size, _number(p, a), (backend().pointer(b), 0, 1, 0)) if _flat(b) else None
    if b.__class__ in NUMBERS:
        return (1, a.size, (backend().pointer(a), 0, 1, 0), _number(p, b)) if _flat(a) else None
    if a.shape == b.shape and shapes.dense(a, b):
        pointer = backend().pointer
        return 1, a.size, (pointer(a), 0, 1, 0), (pointer(b), 0, 1, 0)
    found = _matrix_of(shape, a.shape, a.strides, b.shape, b.strides, a.itemsize)
    if found is None:
        return None
    rows, cols, steps, pitches = found
    operands: list[Operand] = []
    for x, step, pitch in zip((a, b), steps, pitches, strict=True):
        address = backend().pointer(x)
        if step and address % 16:
            return None
        operands.append((address, pitch, step, 0))
    return rows, cols, operands[0], operands[1]


Pair = tuple[int, int]


@lru_cache(maxsize=4096)
def _matrix_of(
    shape: tuple[int, ...], a: Any, a_strides: Any, b: Any, b_strides: Any, itemsize: int
) -> tuple[int, int, Pair, Pair] | None:
    """rows, columns, steps along a row and between rows of two operands over a dense matrix."""
    strides = [
        _dense_strides(shape),
        shapes.broadcast_strides(a, a_strides, itemsize, shape),
        shapes.broadcast_strides(b, b_strides, itemsize, shape),
    ]
    dimensions = shapes.joined(shape, strides)
    if len(dimensions) > 2:
        return None
    cols, (_, *steps) = dimensions[0]
    rows, (_, *pitches) = dimensions[1] if len(dimensions) == 2 else (1, (0, 0, 0))
    n = 16 // itemsize
    if rows > 1 and cols % n:
        return None
    for step, pitch in zip(steps, pitches, strict=True):
        if step not in (0, 1) or (step == 1 and pitch % n):
            return None
    return rows, cols, (steps[0], steps[1]), (pitches[0], pitches[1])


_flat = shapes.dense


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
    layout = ("P", "P", "P", "q", "I", plan(functor, x.dtype, len(parameters)).members)
    values = (*shapes.at(x, bias, y), rows, cols, *parameters)
    fire(f"bias_forward<{functor},{kind}>", shape2.grid, shape2.block, layout, values)
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
