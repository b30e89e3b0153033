"""The ops with parameters that have kernels: how each calls them, forward and vjp, by its name.

`FORWARD[name](*arrays, **params)` gives the result; `VJP[name](g, y, xs, params, needed)` the
cotangents of all inputs, None for one not needed. Either gives None where shapes or dtypes do not
fit: the formula computes it then, and the trace of kernels.py says so. NotImplemented means that
the formula is the right way (a view, a copy that the array library makes just as well).

Letters: `x` input, `y` output, `g` cotangent, `t` targets, `w` weights.

Floor 1: stands on rows.py, columns.py, moves.py, launch.py and kernels.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ..device import namespace as module_of
from ..dtypes import as_dtype
from . import checks, columns, launch, moves, rows, shapes
from .kernels import backend
from .namespace import namespace
from .shapes import Array

__all__ = ["FORWARD", "VJP"]

FORWARD: dict[str, Callable[..., Any]] = {}
VJP: dict[str, Callable[..., Any]] = {}

FLOATS = "efdE"
Inputs = Sequence[Any]
Params = dict[str, Any]


def _forward(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        FORWARD[name] = function
        return function

    return register


def _vjp(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        VJP[name] = function
        return function

    return register


def _floats(*arrays: Any) -> bool:
    """Whether all arrays (None aside) are of one of our dtypes, the same."""
    given = [x for x in arrays if x is not None]
    dtype = getattr(given[0], "dtype", None)
    return (
        dtype is not None
        and dtype.char in FLOATS
        and all(getattr(x, "dtype", None) == dtype for x in given)
    )


# --- sums ----------------------------------------------------------------------------------------


def _axes(axis: Any, ndim: int) -> tuple[int, ...] | None:
    """The axes as positive numbers, None where the formula should say what is wrong with them."""
    if axis is None:
        return tuple(range(ndim))
    given = cast("tuple[Any, ...]", axis if isinstance(axis, tuple) else (axis,))
    if not all(isinstance(i, int) and -ndim <= i < ndim for i in given):
        return None
    found = tuple(i % ndim for i in given)
    return found if len(set(found)) == len(found) else None


def _summed(x: Array, axis: Any, keepdims: bool, dtype: Any) -> tuple[Array, int] | None:
    """The sum over `axis` in `dtype`, and how many elements each is of."""
    axes = _axes(axis, x.ndim)
    if not axes or x.size == 0 or x.size >= shapes.LIMIT**2:
        return None
    small = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    count = math.prod(x.shape[i] for i in axes)
    if count == 1:
        return None
    y = columns.sum_to(x, small, dtype)
    if not keepdims:
        y = y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))
    return y, count


@_forward("sum")
def _(x: Array, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    if not _floats(x) or (dtype is not None and np.dtype(dtype) != x.dtype):
        return None
    found = _summed(x, axis, keepdims, x.dtype)
    return NotImplemented if found is None else found[0]


@_forward("mean")
def _(x: Array, axis: Any = None, keepdims: bool = False) -> Any:
    if not _floats(x):
        return None
    found = _summed(x, axis, keepdims, shapes.accumulator(x.dtype))
    if found is None:
        return NotImplemented
    y, count = found
    return moves.cast(launch.forward2("Divide", y, float(count)), x.dtype)


# --- softmax -------------------------------------------------------------------------------------


def _last(axis: Any, x: Array) -> bool:
    return isinstance(axis, int) and x.ndim > 0 and axis in (-1, x.ndim - 1)


def _softmax(log: bool) -> Callable[..., Any]:
    def forward(x: Array, axis: Any = -1) -> Any:
        return rows.softmax_forward(x, log=log) if _floats(x) and _last(axis, x) else None

    return forward


def _softmax_pullback(log: bool) -> Callable[..., Any]:
    def forward(g: Array, y: Array, axis: Any = -1) -> Any:
        fits = _floats(g, y) and g.shape == y.shape and _last(axis, y)
        return rows.softmax_vjp(g, y, log=log) if fits else None

    return forward


def _softmax_vjp(log: bool) -> Callable[..., Any]:
    def vjp(g: Array, y: Array, xs: Inputs, params: Params, needed: Any) -> list[Any] | None:
        if not (_floats(g, y) and _last(params["axis"], y)):
            return None
        return [rows.softmax_vjp(g, y, log=log)]

    return vjp


for _name, _log in (("softmax", False), ("log_softmax", True)):
    FORWARD[_name] = _softmax(_log)
    FORWARD[f"{_name}_pullback"] = _softmax_pullback(_log)
    VJP[_name] = _softmax_vjp(_log)


# --- softmax cross-entropy -----------------------------------------------------------------------


def _targets(x: Any, t: Any, w: Any) -> Array | None:
    """Class numbers as the kernels take them, None where they do not fit."""
    if w is not None or not _floats(x) or x.ndim != 2 or not x.size:
        return None
    if t.dtype.kind not in "iu" or t.dtype.name == "uint64" or t.size != x.shape[0]:
        return None
    return t.reshape(-1).astype(np.int64, copy=False)


@_forward("cross_entropy")
def _(x: Array, t: Array, w: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """A class out of range is the formula's to complain about: the counts tell, later."""
    labels = _targets(x, t, w)
    if labels is None:
        return None
    counts = rows.count_targets(labels, x.shape[1], ignore_index)
    losses, _ = rows.softmax_cross_entropy(x, labels, ignore_index=ignore_index, gradient=False)
    if reduction == "none":
        y = moves.cast(losses, x.dtype)
    else:
        y = rows.total_loss(losses, x.dtype, counts if reduction == "mean" else None)
    operands = (checks.Blank(x.shape, x.dtype), t)
    params = {"w": None, "ignore_index": ignore_index, "reduction": reduction}
    inside = checks.expect("cross_entropy", counts, 1, labels.size, operands, params)
    return y if inside else None


@_forward("cross_entropy_grad")
def _(
    g: Any, x: Array, t: Array, w: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    labels = _targets(x, t, w)
    if labels is None:
        return None
    wide = shapes.accumulator(x.dtype)
    number = isinstance(g, (int, float))
    if not number and (g.dtype.char not in FLOATS or g.size not in (1, labels.size)):
        return None
    factor = None if number else moves.cast(g, wide)
    counts = None
    if reduction == "mean":
        counts = rows.count_targets(labels, x.shape[1], ignore_index)
    return rows.softmax_cross_entropy(
        x, labels, scale=g if number else 1.0, ignore_index=ignore_index,
        factor=factor, counts=counts, loss=False,
    )[1]  # fmt: skip


@_vjp("cross_entropy")
def _(g: Array, y: Any, xs: Inputs, params: Params, needed: Any) -> list[Any] | None:
    dx = FORWARD["cross_entropy_grad"](g, *xs, **params)
    return None if dx is None else [dx, None]


# --- layer norm and RMS norm ---------------------------------------------------------------------


@_forward("standardise")
def _(
    x: Array,
    weight: Any = None,
    bias: Any = None,
    moments: Any = None,
    eps: float = 1e-5,
    over: str = "row",
    centered: bool = True,
) -> Any:
    if over != "row" or not _floats(x, weight, bias) or not x.size:
        return None
    weight, bias = _solid(weight), _solid(bias)
    return rows.norm_forward(
        x, weight, bias, epsilon=eps, centered=centered, room=moments
    )[0]  # fmt: skip


def _solid(x: Any) -> Any:
    return None if x is None else moves.contiguous(x)


@_vjp("standardise")
def _(g: Array, y: Any, xs: Inputs, params: Params, needed: Sequence[bool]) -> list[Any] | None:
    x, weight, _, moments = xs
    if params["over"] != "row" or moments is None or x is None or not x.size:
        return None
    if not _floats(g, x, weight):
        return None
    mean = moments[0] if params["centered"] else None
    affine = needed[1] or needed[2]
    dx, dw, db = rows.norm_vjp(g, x, _solid(weight), mean, moments[1], affine=affine)
    return [dx if needed[0] else None, dw if needed[1] else None, db if needed[2] else None, None]


# --- dropout -------------------------------------------------------------------------------------


@_forward("dropout")
def _(x: Array, p: float, seed: int, offset: int) -> Any:
    return moves.dropout(x, p, seed, offset) if _floats(x) else None


@_vjp("dropout")
def _(g: Array, y: Any, xs: Inputs, params: Params, needed: Any) -> list[Any] | None:
    return [moves.dropout(g, **params)] if _floats(g) else None


# --- rows by index -------------------------------------------------------------------------------


def _rows_fit(x: Any, index: Any, axis: int) -> bool:
    return (
        _floats(x)
        and x.ndim > 1
        and axis in (0, -x.ndim)
        and x.size > 0
        and index.dtype.name in ("int64", "int32")
    )


@_forward("take")
def _(x: Array, indices: Array, axis: int = 0) -> Any:
    """An index out of range is the formula's to complain about; the kernel notes it."""
    if not _rows_fit(x, indices, axis):
        return None
    table = moves.contiguous(x).reshape(x.shape[0], -1)
    bad = backend().zeros((1,), np.dtype(np.int32))
    y = moves.gather(table, indices, bad)
    operands = (checks.Blank(x.shape, x.dtype), indices)
    if not checks.expect("take", bad, 0, 0, operands, {"axis": axis}):
        return None
    return y.reshape((*indices.shape, *x.shape[1:]))


@_forward("take_back")
def _(g: Array, indices: Array, shape: Any, axis: int) -> Any:
    if axis != 0 or len(shape) < 2 or not _floats(g) or not g.size:
        return None
    if indices.dtype.name not in ("int64", "int32"):
        return None
    wide = math.prod(shape[1:])
    flat = moves.contiguous(g).reshape((*indices.shape, wide))
    return moves.scatter_add(flat, indices, shape[0]).reshape(shape)


@_vjp("take")
def _(g: Array, y: Any, xs: Inputs, params: Params, needed: Any) -> list[Any] | None:
    x, indices = xs
    if params["axis"] not in (0, -len(x.shape)):
        return None
    dx = FORWARD["take_back"](g, indices, shape=tuple(x.shape), axis=0)
    return None if dx is None else [dx, None]


# --- choices -------------------------------------------------------------------------------------


@_forward("where")
def _(condition: Array, a: Any, b: Any) -> Any:
    if isinstance(condition, (bool, np.generic)):
        return NotImplemented
    return namespace(module_of(condition)).where(condition, a, b)


# --- copies and conversion -----------------------------------------------------------------------


@_forward("astype")
def _(x: Array, dtype: Any = "float64", copy: bool = True) -> Any:
    target = as_dtype(dtype)
    if not _floats(x) or not shapes.supported(target):
        return None
    return NotImplemented if target == x.dtype else moves.cast(x, target)


@_forward("copy")
def _(x: Array) -> Any:
    if backend().contiguous(x) or x.itemsize not in moves.WORDS:
        return NotImplemented  # one block of memory is the array library's to copy
    return moves.contiguous(x)


@_forward("reshape")
def _(x: Array, shape: Any, copy: bool | None = None) -> Any:
    if copy is not None or backend().contiguous(x) or x.itemsize not in moves.WORDS or not x.size:
        return NotImplemented
    try:
        return x.reshape(shape, copy=False)
    except ValueError:  # no strides show these elements in that shape
        return moves.contiguous(x).reshape(shape)
