"""Optimiser launches over flat buffers, and the norm of all gradients with its clipping.

One launch updates every parameter of a dtype. Nothing here waits for the device: the clipping
coefficient stays in device memory and the step reads it there.

Floor 1: stands on shapes.py, columns.py, moves.py and kernels.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, hinted
from . import shapes
from .columns import square_sums
from .kernels import backend, fire, launch
from .moves import BLOCK, contiguous, pieces
from .shapes import Array, at

__all__ = ["adam_step", "clip_coefficient", "scale_by", "sgd_step", "step_struct"]

NUMBERS = ("lr", "weight_decay", "beta1", "beta2", "epsilon", "correction1", "correction2")
FIELDS = (*NUMBERS, "rest1", "rest2")


class _Step32(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in FIELDS)


class _Step64(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_double) for name in FIELDS)


def step_struct(dtype: Any, **values: float) -> ctypes.Structure:
    """The Step struct of kernels/optim.cu; numbers not given are zero.

    rest1 and rest2 are 1 - beta1 and 1 - beta2, taken here in double.
    """
    kind = _Step64 if np.dtype(dtype) == np.float64 else _Step32
    numbers = {name: float(values.get(name, 0.0)) for name in NUMBERS}
    return kind(*numbers.values(), 1 - numbers["beta1"], 1 - numbers["beta2"])


def _check(name: str, p: Array, g: Array, *wide: Array | None, scale: Array | None = None) -> str:
    kind = shapes.one_dtype(name, p, g)
    shapes.same_shape(name, p, g, *wide)
    dense = backend().contiguous
    for x in (p, g, *wide):
        if x is not None and not dense(x):
            raise DTypeError(hinted(f"{name}: a buffer is not contiguous", "use flat buffers"))
    for x in (*wide, scale):
        if x is not None and x.dtype != shapes.accumulator(p.dtype):
            raise DTypeError(
                hinted(f"{name}: state of {x.dtype} for {p.dtype}", "keep it in float32 (float64)")
            )
    return kind


def _codes(dtype: Any) -> str:
    """A Step for the module struct."""
    return ("d" if dtype == np.float64 else "f") * len(FIELDS)


def _lanes(dtype: Any) -> int:
    return 2 if np.dtype(dtype) == np.float64 else 4


def _cut(part: slice, *arrays: Array | None) -> list[Array | None]:
    if all(x is None or x.size == part.stop - part.start for x in arrays):
        return [*arrays]  # the whole of them
    return [x if x is None else x.reshape(-1)[part] for x in arrays]


# --- steps ---------------------------------------------------------------------------------------


def sgd_step(
    p: Array,
    g: Array,
    buffer: Array | None = None,
    master: Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    first: bool = False,
    scale: Array | None = None,
    live: Array | None = None,
) -> None:
    """One step of SGD in place: p, and the momentum `buffer` and `master` weights if given.

    `first` says that the buffer holds nothing yet. `scale` is a device scalar that multiplies the
    gradient; `live` a Step in device memory that replaces the numbers.
    """
    kind = _check("sgd_step", p, g, buffer, master, scale=scale)
    numbers = (lr, weight_decay, momentum, 1 - dampening, 0, 0, 0, 1 - momentum, dampening)
    layout = ("P", "P", "P", "P", "q", _codes(p.dtype), "P", "P", "i", "i")
    for part, n in pieces(p.size, _lanes(p.dtype), p, g, buffer, master):
        a, b, c, d = _cut(part, p, g, buffer, master)
        grid = (shapes.blocks((part.stop - part.start) // n, shapes.THREADS), 1, 1)
        values = (*at(a, b, c, d), part.stop - part.start, *numbers, *at(live, scale))
        fire(f"sgd_step<{n},{kind}>", grid, BLOCK, layout, (*values, nesterov, first))


def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    master: Array | None = None,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    step: int,
    decoupled: bool = False,
    scale: Array | None = None,
    live: Array | None = None,
) -> None:
    """Step number `step` (from 1) of Adam, or AdamW if `decoupled`, in place."""
    kind = _check("adam_step", p, g, m, v, master, scale=scale)
    corrections = (1 - beta1**step, 1 - beta2**step)
    numbers = (lr, weight_decay, beta1, beta2, epsilon, *corrections, 1 - beta1, 1 - beta2)
    layout = ("P", "P", "P", "P", "P", "q", _codes(p.dtype), "P", "P")
    flag = "true" if decoupled else "false"
    for part, n in pieces(p.size, _lanes(p.dtype), p, g, m, v, master):
        a, b, c, d, e = _cut(part, p, g, m, v, master)
        size = part.stop - part.start
        grid = (shapes.blocks(size // n, shapes.THREADS), 1, 1)
        values = (*at(a, b, c, d, e), size, *numbers, *at(live, scale))
        fire(f"adam_step<{flag},{n},{kind}>", grid, BLOCK, layout, values)


# --- norm and clipping ---------------------------------------------------------------------------


def clip_coefficient(gradients: Sequence[Array], max_norm: float) -> Array:
    """[norm of all gradients together, min(1, max_norm / (norm + 1e-6))], two device scalars.

    The gradients may have different shapes and 16- or 32-bit dtypes; float64 ones go by themselves.
    """
    wide = shapes.accumulator(gradients[0].dtype)
    squares = backend().empty((len(gradients),), wide)
    for i, g in enumerate(gradients):
        if shapes.accumulator(g.dtype) != wide:
            raise DTypeError(
                hinted("clip: float64 and narrower gradients together", "clip them apart")
            )
        squares[i : i + 1] = square_sums(contiguous(g))
    result = backend().empty((2,), wide)
    args = (squares, np.int64(len(gradients)), wide.type(max_norm), result)
    launch(f"clip_coefficient<{shapes.c_type(wide)}>", (1, 1, 1), (256, 1, 1), args)
    return result


def scale_by(x: Array, factor: Array) -> None:
    """x *= factor in place, the factor a device scalar in the accumulation dtype."""
    kind = _check("scale_by", x, x, scale=factor)
    for part, n in pieces(x.size, shapes.width(x.dtype), x):
        a = x.reshape(-1)[part]
        grid = (shapes.blocks(a.size // n, shapes.THREADS), 1, 1)
        launch(f"scale_by<{n},{kind}>", grid, (shapes.THREADS, 1, 1), (a, np.int64(a.size), factor))
