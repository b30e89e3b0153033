"""Which kernels an op uses on device arrays: its forward and its vjp, by the op's name.

Rows that name a functor (`kernel="Gelu"`) need no entry: `forward_of` and `vjp_of` read the row.
The other ops with kernels have theirs in primitives.py, matrix products in products.py, what goes
through cuDNN in convolution.py and attention.py. An entry takes what the op takes and gives the
result, or None where shapes or dtypes do not fit, so that the formula computes it.

Floor 1: stands on launch.py, primitives.py and kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import attention as attention  # this and the others enter themselves in primitives.py
from . import convolution as convolution
from . import launch, primitives
from . import products as products
from .kernels import backend
from .shapes import Array

__all__ = ["forward_of", "has_kernel", "vjp_of"]

FLOATS = "efdE"  # dtype characters of float16, float32, float64, bfloat16
NUMBERS = launch.NUMBERS

Forward = Callable[..., Any]
Vjp = Callable[[Array, Any, Sequence[Any], dict[str, Any], Sequence[bool]], "list[Any] | None"]

VALUE = 2  # the code of reads.py for an array that a rule reads

UNARY_OUTPUTS = {
    "Relu": "Relu",
    "Relu6": "Relu6",  # the slope at y is the slope at x
    "Exp": "ExpFromOutput",
    "Sqrt": "SqrtFromOutput",
    "Tan": "TanFromOutput",
}
"""Functors whose row saves y alone -> the functor whose derivative of y is the one wanted."""


def has_kernel(op: Any) -> bool:
    """Whether some kernel computes this op."""
    return op.kernel is not None or op.name in primitives.FORWARD


def forward_of(op: Any) -> Forward | None:
    """The forward of an op on device arrays, None if no kernel computes it."""
    found = primitives.FORWARD.get(op.name)
    if found is not None or op.kernel is None:
        return found
    return _unary(op) if op.arity == 1 else _binary(op)


def vjp_of(op: Any) -> Vjp | None:
    """The vjp of an op on device arrays, None if no kernel computes it."""
    found = primitives.VJP.get(op.name)
    if found is not None or op.kernel is None or op.partials is None:
        return found
    return _unary_vjp(op) if op.arity == 1 else _binary_vjp(op)


# --- rows: forward -------------------------------------------------------------------------------


def _unary(op: Any) -> Forward:
    functor, names = op.kernel, op.names
    if not names:

        def plain(x: Array) -> Any:
            return launch.forward(functor, x) if x.dtype.char in FLOATS else None

        return plain

    def compute(x: Array, **params: Any) -> Any:
        values = _numbers(names, params)
        if values is None or x.dtype.char not in FLOATS:
            return None
        return launch.forward(functor, x, values)

    return compute


def _numbers(names: Sequence[str], params: dict[str, Any]) -> list[float] | None:
    """The parameters of a functor in order, None unless all are numbers."""
    values = [params[name] for name in names]
    return [float(v) for v in values] if all(isinstance(v, NUMBERS) for v in values) else None


def _binary(op: Any) -> Forward:
    functor = op.kernel

    def compute(a: Any, b: Any) -> Any:
        return launch.forward2(functor, a, b) if _one_float(a, b) else None

    return compute


def _one_float(*operands: Any) -> bool:
    """Whether all arrays have one of our dtypes, the same, and the rest are Python numbers."""
    dtype = None
    for x in operands:
        if x.__class__ in NUMBERS:
            continue
        if isinstance(x, np.generic) or (dtype is not None and x.dtype != dtype):
            return False
        dtype = x.dtype
    return dtype is not None and dtype.char in FLOATS


# --- rows: vjp -----------------------------------------------------------------------------------


def _constant(rule: Any, g: Array) -> Any:
    """g times a derivative that is a number: 1, -1 or 0; None where there is none."""
    if rule is None:
        return None
    if rule == 1:
        return g
    if rule == -1:
        return launch.forward("Negative", g)
    if rule == 0:
        return backend().zeros(g.shape, g.dtype)
    return launch.forward2("Multiply", g, float(rule))


def _unary_vjp(op: Any) -> Vjp | None:
    functor, names, rule = op.kernel, op.names, op.partials[0]
    reads_x = op.codes_for((True,))[1] == VALUE
    if callable(rule) and not reads_x:
        functor = UNARY_OUTPUTS.get(functor)
        if functor is None:
            return None

    def vjp(
        g: Array, y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
    ) -> list[Any] | None:
        if g.dtype.char not in FLOATS:
            return None
        if not callable(rule):
            return [_constant(rule, g)]
        x = xs[0] if reads_x else y
        values = _numbers(names, params)
        if values is None or x.dtype != g.dtype:
            return None
        return [launch.vjp(functor, g, x, values)]

    return vjp


def _binary_vjp(op: Any) -> Vjp:
    functor, (left, right) = op.kernel, op.partials

    def vjp(
        g: Array, y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
    ) -> list[Any] | None:
        if not _one_float(g, *(x for x in (y, *xs) if x is not None)):
            return None
        by_kernel = (needed[0] and callable(left), needed[1] and callable(right))
        found = _pair(functor, g, y, xs[0], xs[1], by_kernel) if any(by_kernel) else (None, None)
        return [
            c if kernel else _constant(rule, g) if need else None
            for c, kernel, rule, need in zip(found, by_kernel, (left, right), needed, strict=True)
        ]

    return vjp


def _pair(
    functor: str, g: Array, y: Any, a: Any, b: Any, wanted: tuple[bool, bool]
) -> tuple[Any, Any]:
    """Both cotangents of a row in one launch, from what its rules have saved.

    An operand that was not saved is one that the wanted derivatives do not read: g stands for it.
    """
    if functor == "Divide":
        return launch.vjp2("DivideFromOutput", g, g if y is None else y, b, wanted=wanted)
    if functor == "Hypot" and not all(wanted):
        side = launch.vjp2("HypotFromOutput", g, y, a if wanted[0] else b, wanted=(True, False))[0]
        return (side, None) if wanted[0] else (None, side)
    if functor == "Copysign":
        return launch.vjp2("CopysignFromOutput", g, y, a, wanted=(True, False))
    return launch.vjp2(functor, g, g if a is None else a, g if b is None else b, wanted=wanted)
