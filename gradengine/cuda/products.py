"""The ops that are matrix products: how each calls gemm.py, forward and vjp, by its name.

As in primitives.py an entry gives None where dtypes or shapes do not fit: the formula computes it
then, or says what is wrong.

Floor 1: stands on gemm.py, primitives.py and moves.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from . import gemm
from .primitives import FORWARD, VJP
from .shapes import Array

__all__ = ["linear", "linear_vjp", "matmul"]


def matmul(a: Any, b: Any) -> Array | None:
    """a @ b; None for dtypes or shapes that the formula should judge."""
    if not (hasattr(a, "data") and hasattr(b, "data")) or not (a.ndim and b.ndim):
        return None
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0] or not gemm.fits(a, b):
        return None
    if not gemm.broadcastable(a.shape[:-2], b.shape[:-2]):
        return None
    return gemm.matmul(a, b)


def _rows(x: Array) -> Array:
    """x with its leading axes joined into one."""
    return x if x.ndim == 2 else x.reshape((prod(x.shape[:-1]), x.shape[-1]))


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array | None:
    """x weight' + bias in one launch, the bias added as the product is written."""
    given = [v for v in (x, weight, bias) if v is not None]
    if not all(hasattr(v, "data") for v in given) or not gemm.fits(*given):
        return None
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        return None
    if bias is not None and (bias.shape != weight.shape[:1] or not bias.flags.c_contiguous):
        return None
    if not x.shape[-1]:
        return None
    y, _ = gemm.linear(_rows(x), weight, bias)
    return y.reshape((*x.shape[:-1], weight.shape[0]))


def linear_vjp(
    g: Array, _y: Any, xs: Sequence[Any], _params: dict[str, Any], needed: Sequence[bool]
) -> list[Any] | None:
    """The cotangents of x, weight and bias in two launches: the bias's comes with the weight's."""
    x, weight, _ = xs
    if not gemm.fits(g, *(v for v in (x, weight) if hasattr(v, "data"))):
        return None
    rows = _rows(g)
    dx = dw = db = None
    if needed[0]:
        dx = gemm.matmul(rows, weight).reshape((*g.shape[:-1], weight.shape[1]))
    if needed[1] and needed[2]:
        dw, db = gemm.weight_backward(rows, _rows(x))
    elif needed[1]:
        dw = gemm.matmul(rows.T, _rows(x))
    elif needed[2]:
        db = FORWARD["sum"](rows, axis=0)
        db = rows.sum(axis=0) if db is None or db is NotImplemented else db
    return [dx, dw, db]


FORWARD["matmul"] = matmul
FORWARD["linear"] = linear
VJP["linear"] = linear_vjp
