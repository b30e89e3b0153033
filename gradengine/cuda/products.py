"""The ops that are matrix products: how each calls gemm.py, forward and vjp, by its name.

As in primitives.py an entry gives None where dtypes or shapes do not fit: the formula computes it
then, or says what is wrong. Where the library has no algorithm for an epilogue, the plain product
and our own kernels do the same in one launch more; where it has none for the product, the formula.

Floor 1: stands on gemm.py, launch.py, columns.py and primitives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from . import columns, gemm, launch
from .cublaslt import UnsupportedError
from .kernels import backend
from .primitives import FORWARD, VJP
from .shapes import Array

__all__ = ["feed_forward", "feed_forward_vjp", "linear", "linear_vjp", "matmul"]


def matmul(a: Any, b: Any) -> Array | None:
    """a @ b; None for dtypes or shapes that the formula should judge."""
    if not (hasattr(a, "data") and hasattr(b, "data")) or not (a.ndim and b.ndim):
        return None
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0] or not gemm.fits(a, b):
        return None
    if not gemm.broadcastable(a.shape[:-2], b.shape[:-2]):
        return None
    return _product(a, b)


def _product(a: Array, b: Array) -> Array | None:
    try:
        return gemm.matmul(a, b)
    except UnsupportedError:
        return None


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
    try:
        y = _affine(_rows(x), weight, bias)
    except UnsupportedError:
        return None
    return y.reshape((*x.shape[:-1], weight.shape[0]))


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """x weight' + bias, the bias by a kernel where no product adds it."""
    try:
        return gemm.linear(x, weight, bias)[0]
    except UnsupportedError:
        if bias is None:
            raise
    return launch.forward2("Add", gemm.linear(x, weight)[0], bias)


def linear_vjp(
    g: Array, _y: Any, xs: Sequence[Any], _params: dict[str, Any], needed: Sequence[bool]
) -> list[Any] | None:
    """The cotangents of x, weight and bias in two launches: the bias's comes with the weight's."""
    x, weight, _ = xs
    if not gemm.fits(g, *(v for v in (x, weight) if hasattr(v, "data"))):
        return None
    rows = _rows(g)
    dx = None
    try:
        if needed[0]:
            dx = gemm.matmul(rows, weight).reshape((*g.shape[:-1], weight.shape[1]))
        dw, db = _last_layer(rows, _rows(x) if needed[1] else None, needed[1], needed[2])
    except UnsupportedError:
        return None
    return [dx, dw, db]


# --- the feed-forward block ----------------------------------------------------------------------

EPILOGUES = {"relu": "relu", "gelu_tanh": "gelu"}
"""What gemm.py calls the activations of `feed_forward`."""


def _layers_fit(x: Any, *weights: Any) -> bool:
    """Whether both layers are products of ours: sizes that fit, none of them 0, one float dtype."""
    given = [v for v in (x, *weights) if v is not None]
    if not all(hasattr(v, "data") and v.size and v.ndim for v in given):
        return False
    w1, b1, w2, b2 = weights
    return (
        w1.ndim == w2.ndim == 2
        and x.shape[-1] == w1.shape[1]
        and w1.shape[0] == w2.shape[1]
        and all(b is None or b.flags.c_contiguous for b in (b1, b2))
        and (b1 is None or b1.shape == w1.shape[:1])
        and (b2 is None or b2.shape == w2.shape[:1])
        and gemm.fits(*given)
    )


def feed_forward(
    x: Array,
    w1: Array,
    b1: Any,
    w2: Array,
    b2: Any = None,
    hidden: Any = None,
    kept: Any = None,
    activation: str = "relu",
) -> Array | None:
    """Two launches: bias and activation are the epilogue of the first product, bias of the other.

    An activation that the library refuses (None then) is the formula's, as in the stand-in.
    """
    if not _layers_fit(x, w1, b1, w2, b2):
        return None
    if b1 is None:  # an activation's epilogue adds a bias
        b1 = backend().zeros(w1.shape[:1], w1.dtype)
    try:
        h, _ = gemm.linear(_rows(x), w1, b1, EPILOGUES[activation], out=hidden, aux=kept)
        y = _affine(h, w2, b2)
    except UnsupportedError:
        return None
    return y.reshape((*x.shape[:-1], w2.shape[0]))


def feed_forward_vjp(
    g: Array, _y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
) -> list[Any] | None:
    """Four launches: dw2 with db2, dz with db1, dw1, dx; fewer where fewer are needed."""
    x, w1, b1, w2, _, hidden, kept = xs
    if hidden is None or kept is None or not _layers_fit(x, w1, b1, w2, None) or g.dtype != x.dtype:
        return None
    rows = _rows(g)
    dx = dw1 = db1 = dz = None
    try:
        if any(needed[:3]):
            dz, db1 = gemm.linear_backward(rows, w2, kept, EPILOGUES[params["activation"]])
        if needed[0]:
            dx = gemm.matmul(dz, w1).reshape(x.shape)
        if needed[1]:
            assert dz is not None
            dw1 = gemm.matmul(dz.T, _rows(x))
        dw2, db2 = _last_layer(rows, hidden, needed[3], needed[4])
    except UnsupportedError:
        return None
    return [dx, dw1, db1 if needed[2] else None, dw2, db2, None, None]


def _last_layer(g: Array, x: Any, weight: bool, bias: bool) -> tuple[Any, Any]:
    """The cotangents of a layer's weight and bias, those that are wanted."""
    if weight and bias:
        try:
            return gemm.weight_backward(g, x)
        except UnsupportedError:
            pass
    dw = gemm.matmul(g.T, x) if weight else None
    return dw, columns.sum_to(g, (1, g.shape[1])).reshape(-1) if bias else None


FORWARD["matmul"] = matmul
FORWARD["linear"] = linear
FORWARD["feed_forward"] = feed_forward
VJP["feed_forward"] = feed_forward_vjp
VJP["linear"] = linear_vjp
