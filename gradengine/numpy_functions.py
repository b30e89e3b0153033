"""NumPy's functions on tensors: `np.concatenate([t, u])`, `np.sum(t)`, `np.linalg.norm(t)` stay on the tape.

One table from NumPy's function to ours, with an adapter where the arguments differ. A function that
is not in it is computed on the raw arrays where nothing asks for a gradient, refused where something
does (dispatch.py). Imported with the first call.

Floor 3: stands on dispatch.py and ops/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any, cast

import numpy as np

from . import linalg, ops, writes
from .device import as_array
from .dispatch import METHODS, deliver, leaves, off_tape, unwrapped, wrapped
from .errors import hinted
from .tape import Traced

Function = Callable[..., Any]
TABLE: dict[Any, Function] = {}


def call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A NumPy function met by a tensor."""
    if not any(isinstance(x, Traced) for x in leaves([args, kwargs])):
        return wrapped(func(*args, **kwargs))  # np.zeros(3, like=t)
    found = TABLE.get(func)
    name = f"numpy.{func.__name__}"
    if found is not None:
        return found(*args, **kwargs)
    out = kwargs.pop("out", None) if "out" in kwargs else None
    return deliver(name, off_tape(name, func, args, kwargs), out)


def _numpy(name: str) -> Any:
    """A function of NumPy by dotted name, None where this version has none."""
    return fold(lambda module, part: getattr(module, part, None), name.split("."), cast(Any, np))


def implements(*names: str) -> Callable[[Function], Function]:
    """Enter a function in the table under NumPy's names for it."""

    def register(function: Function) -> Function:
        for name in names:
            if (found := _numpy(name)) is not None:
                TABLE[found] = function
        return function

    return register


def _only(name: str, **defaults: Any) -> None:
    """Refuse an option of NumPy's that we have not, unless it is at its default."""
    for key, (value, default) in defaults.items():
        if value is not default and value != default:
            raise TypeError(hinted(f"numpy.{name}: {key}={value!r} on tensors", "leave it out"))


def _as(x: Any, dtype: Any) -> Any:
    return x if dtype is None or x.dtype == dtype else ops.astype(x, np.dtype(dtype))


def _array(x: Any) -> Any:
    return x if isinstance(x, Traced) else as_array(x)


# --- reductions ---


def _reduces(ufunc: Any, name: str, *, dtype: bool) -> None:
    method = METHODS[ufunc.__name__, "reduce"]
    if dtype:

        @implements(name)
        def _(
            a: Any,
            axis: Any = None,
            dtype: Any = None,
            out: Any = None,
            keepdims: bool = False,
            initial: Any = None,
            where: Any = True,
        ) -> Any:
            options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
            return method(
                name, ufunc, a, axis=axis, out=out, keepdims=keepdims, initial=initial, where=where,
                **options,
            )  # fmt: skip

        return

    @implements(name, f"a{name}")
    def _(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        return method(
            name, ufunc, a, axis=axis, out=out, keepdims=keepdims, initial=initial, where=where
        )


_reduces(np.add, "sum", dtype=True)
_reduces(np.multiply, "prod", dtype=True)
_reduces(np.maximum, "max", dtype=False)
_reduces(np.minimum, "min", dtype=False)
_reduces(np.logical_and, "all", dtype=False)
_reduces(np.logical_or, "any", dtype=False)


@implements("mean")
def _mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *,
    where: Any = True,
) -> Any:  # fmt: skip
    _only("mean", where=(where, True))
    return deliver("mean", ops.mean(_as(a, dtype), axis=axis, keepdims=keepdims), out)


def _spreads(name: str) -> None:
    @implements(name)
    def _(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
        keepdims: bool = False, *, where: Any = True, mean: Any = None, correction: Any = None,
    ) -> Any:  # fmt: skip
        _only(name, where=(where, True), mean=(mean, None))
        free = ddof if correction is None else correction
        op = getattr(ops, name)
        return deliver(name, op(_as(a, dtype), axis=axis, correction=free, keepdims=keepdims), out)


_spreads("var")
_spreads("std")


def _positions(name: str) -> None:
    @implements(name)
    def _(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        return deliver(name, getattr(ops, name)(a, axis=axis, keepdims=keepdims), out)


_positions("argmax")
_positions("argmin")


def _runs(name: str, op: str) -> None:
    @implements(name)
    def _(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        x = ops.reshape(_as(a, dtype), (-1,)) if axis is None else _as(a, dtype)
        return deliver(name, getattr(ops, op)(x, axis=0 if axis is None else axis), out)


_runs("cumsum", "cumulative_sum")
_runs("cumprod", "cumulative_prod")


@implements("cumulative_sum")
def _cumulative_sum(x: Any, /, *, axis: int | None = None, **options: Any) -> Any:
    return ops.cumulative_sum(x, axis=axis, **options)


@implements("cumulative_prod")
def _cumulative_prod(x: Any, /, *, axis: int | None = None, **options: Any) -> Any:
    return ops.cumulative_prod(x, axis=axis, **options)


@implements("count_nonzero")
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return ops.count_nonzero(a, axis=axis, keepdims=keepdims)


@implements("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    high, low = (op(a, axis=axis, keepdims=keepdims) for op in (ops.max, ops.min))
    return deliver("ptp", high - low, out)


@implements("average")
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    _only("average", returned=(returned, False))
    if weights is None:
        return ops.mean(a, axis=axis, keepdims=keepdims)
    w, x = _array(weights), _array(a)
    if w.ndim == 1 != x.ndim and isinstance(axis, int):
        w = ops.reshape(w, [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    total = ops.sum(ops.broadcast_to(w, x.shape), axis=axis, keepdims=keepdims)
    return ops.sum(x * w, axis=axis, keepdims=keepdims) / total


# --- elementwise ---


@implements("where")
def _where(condition: Any, *xy: Any) -> Any:
    return ops.where(condition, *xy) if xy else ops.nonzero(condition)


@implements("clip")
def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None
) -> Any:
    low, high = (y if x is None else x for x, y in ((a_min, min), (a_max, max)))
    return deliver("clip", ops.clip(a, low, high), out)


@implements("round", "around")
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    y = ops.round(a) if not decimals else ops.round(a * 10**decimals) / 10**decimals
    return deliver("round", y, out)


@implements("nan_to_num")
def _nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    _only("nan_to_num", copy=(copy, True))
    limits = np.finfo(x.dtype)
    top, bottom = (b if a is None else a for a, b in ((posinf, limits.max), (neginf, limits.min)))
    y = ops.where(ops.isnan(x), nan, x)
    return ops.where(y == np.inf, float(top), ops.where(y == -np.inf, float(bottom), y))


@implements("copy")
def _copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return ops.copy(a)


@implements("real")
def _real(val: Any) -> Any:
    return ops.real(val) if val.dtype.kind == "c" else val


@implements("select")
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    pairs = list(zip(condlist, choicelist, strict=True))
    return fold(lambda y, pair: ops.where(pair[0], pair[1], y), reversed(pairs), default)


@implements("full_like")
def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Any:
    size = _array(a).shape if shape is None else shape
    value = fill_value if isinstance(fill_value, Traced) else wrapped(as_array(fill_value))
    return ops.copy(ops.broadcast_to(ops.astype(value, dtype or a.dtype), size))


# --- shape ---


@implements("reshape")
def _reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    shape = newshape if shape is None else shape
    if order != "F":
        return ops.reshape(a, shape)
    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else (shape,)
    return ops.permute_dims(ops.reshape(ops.permute_dims(a), sizes[::-1]))


@implements("ravel")
def _ravel(a: Any, order: str = "C") -> Any:
    return _reshape(a, -1, order)


@implements("transpose", "permute_dims")
def _transpose(a: Any, axes: Any = None) -> Any:
    return ops.permute_dims(a, None if axes is None else tuple(axes))


@implements("rollaxis")
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    axis, start = axis % a.ndim, start + a.ndim if start < 0 else start
    return ops.moveaxis(a, axis, start - 1 if start > axis else start)


@implements("atleast_1d")
def _atleast_1d(*arys: Any) -> Any:
    found = [ops.atleast_nd(_array(x), 1) for x in arys]
    return found[0] if len(found) == 1 else tuple(found)


@implements("atleast_2d")
def _atleast_2d(*arys: Any) -> Any:
    found = [ops.atleast_nd(_array(x), 2) for x in arys]
    return found[0] if len(found) == 1 else tuple(found)


@implements("broadcast_to")
def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    return ops.broadcast_to(array, (shape,) if isinstance(shape, int) else tuple(shape))


@implements("broadcast_arrays")
def _broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    return tuple(ops.broadcast_arrays(*args))


@implements("rot90")
def _rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    i, j = axes
    k %= 4
    if k == 0:
        return ops.copy(m)
    if k == 2:
        return ops.flip(m, axis=(i, j))
    return ops.swapaxes(ops.flip(m, axis=j), i, j) if k == 1 else ops.flip(ops.swapaxes(m, i, j), axis=j)


@implements("concatenate", "concat")
def _concatenate(
    arrays: Sequence[Any], axis: int | None = 0, out: Any = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    return deliver("concatenate", ops.concat([_as(_array(x), dtype) for x in arrays], axis=axis), out)


@implements("stack")
def _stack(
    arrays: Sequence[Any], axis: int = 0, out: Any = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    return deliver("stack", ops.stack([_as(_array(x), dtype) for x in arrays], axis=axis), out)


@implements("vstack", "row_stack")
def _vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return ops.concat([_as(ops.atleast_nd(_array(x), 2), dtype) for x in tup], axis=0)


@implements("hstack")
def _hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [_as(ops.atleast_nd(_array(x), 1), dtype) for x in tup]
    return ops.concat(parts, axis=0 if parts[0].ndim == 1 else 1)


@implements("dstack")
def _dstack(tup: Sequence[Any]) -> Any:
    planes = (ops.atleast_nd(_array(x), 2) for x in tup)
    return ops.concat([ops.expand_dims(x, 2) if x.ndim == 2 else x for x in planes], axis=2)


@implements("column_stack")
def _column_stack(tup: Sequence[Any]) -> Any:
    parts = [ops.atleast_nd(_array(x), 1) for x in tup]
    return ops.concat([ops.expand_dims(x, 1) if x.ndim == 1 else x for x in parts], axis=1)


@implements("append")
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return ops.concat([_array(arr), _array(values)], axis=axis)


@implements("diff")
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    _only("diff", prepend=(prepend, None), append=(append, None))
    for _ in range(n):
        x = ops.moveaxis(a, axis, -1)
        a = ops.moveaxis(x[..., 1:] - x[..., :-1], -1, axis)
    return a


@implements("trapezoid", "trapz")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = ops.moveaxis(_array(y), axis, -1)
    if x is not None:
        x = _array(x)
        x = ops.moveaxis(x, axis, -1) if x.ndim > 1 else x
        dx = x[..., 1:] - x[..., :-1]
    return ops.sum((y[..., 1:] + y[..., :-1]) * dx, axis=-1) / 2


# --- indexing ---


@implements("take")
def _take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
    _only("take", mode=(mode, "raise"))
    return deliver("take", ops.take(a, indices, axis=axis), out)


@implements("copyto")
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, Traced):
        deliver("copyto", ops.broadcast_to(src, dst.shape), dst, where)
    elif where is True:
        writes.set_item(dst, ..., src)
    else:
        mask = ops.broadcast_to(_array(where), dst.shape)
        writes.set_item(dst, ..., ops.where(mask, src, dst))


def _in_place(*_: Any, **__: Any) -> Any:
    raise TypeError(
        hinted("numpy: this function writes into its argument's memory", "write t[index] = value")
    )


for _name in ("put", "place", "putmask", "fill_diagonal", "put_along_axis"):
    implements(_name)(_in_place)


# --- linear algebra ---


@implements("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = _array(a), _array(b)
    if not x.ndim or not y.ndim:
        return deliver("dot", x * y, out)
    if x.ndim <= 2 and y.ndim <= 2:
        return deliver("dot", ops.matmul(x, y), out)
    return deliver("dot", ops.tensordot(x, y, axes=((-1,), (-1 if y.ndim == 1 else y.ndim - 2,))), out)


@implements("inner")
def _inner(a: Any, b: Any, /) -> Any:
    x, y = _array(a), _array(b)
    return x * y if not x.ndim or not y.ndim else ops.tensordot(x, y, axes=((-1,), (-1,)))


@implements("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    return ops.vecdot(ops.reshape(_array(a), (-1,)), ops.reshape(_array(b), (-1,)))


@implements("outer", "linalg.outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    x, y = (ops.reshape(_array(v), (-1,)) for v in (a, b))
    return deliver("outer", ops.outer(x, y), out)


@implements("kron")
def _kron(a: Any, b: Any) -> Any:
    x, y = _array(a), _array(b)
    n = max(x.ndim, y.ndim)
    x, y = ops.atleast_nd(x, n), ops.atleast_nd(y, n)
    wide = ops.reshape(x, [s for k in x.shape for s in (k, 1)])
    tall = ops.reshape(y, [s for k in y.shape for s in (1, k)])
    return ops.reshape(wide * tall, [i * j for i, j in zip(x.shape, y.shape, strict=True)])


@implements("einsum")
def _einsum(*operands: Any, out: Any = None, optimize: Any = True, **options: Any) -> Any:
    _only("einsum", **{key: (value, None) for key, value in options.items()})
    return deliver("einsum", ops.einsum(*operands), out)


@implements("trace")
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    return deliver("trace", ops.trace(_as(a, dtype), offset, axis1, axis2), out)


@implements("linalg.multi_dot")
def _multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    return deliver("multi_dot", fold(ops.matmul, arrays), out)


@implements("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    axes = axis if axis is None or isinstance(axis, (list, tuple)) else (axis,)
    rank = x.ndim if axes is None else len(cast(Any, axes))
    if ord is None or rank == 1 or (rank == 2 and ord == "fro"):
        return linalg.norm(x, ord, axis, keepdims)
    return off_tape("numpy.linalg.norm", np.linalg.norm, (x, ord, axis, keepdims), {})


@implements("linalg.vector_norm")
def _vector_norm(
    x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2
) -> Any:
    return ops.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)


# --- the same arguments: NumPy's name, our op ---

SAME: dict[str, str] = {
    "swapaxes": "swapaxes",
    "moveaxis": "moveaxis",
    "expand_dims": "expand_dims",
    "squeeze": "squeeze",
    "matrix_transpose": "matrix_transpose",
    "linalg.matrix_transpose": "matrix_transpose",
    "flip": "flip",
    "roll": "roll",
    "tile": "tile",
    "repeat": "repeat",
    "split": "split",
    "array_split": "array_split",
    "unstack": "unstack",
    "pad": "pad",
    "diagonal": "diagonal",
    "diag": "diag",
    "tril": "tril",
    "triu": "triu",
    "take_along_axis": "take_along_axis",
    "nonzero": "nonzero",
    "tensordot": "tensordot",
    "linalg.tensordot": "tensordot",
    "linalg.matmul": "matmul",
    "linalg.vecdot": "vecdot",
    "imag": "imag",
}
for _name, _ours in SAME.items():
    if hasattr(ops, _ours):
        implements(_name)(getattr(ops, _ours))


@implements("flipud")
def _flipud(m: Any) -> Any:
    return ops.flip(m, axis=0)


@implements("fliplr")
def _fliplr(m: Any) -> Any:
    return ops.flip(m, axis=1)


def _sections(name: str, axis_of: Callable[[Any], int]) -> None:
    @implements(name)
    def _(ary: Any, indices_or_sections: Any) -> Any:
        return ops.split(ary, indices_or_sections, axis=axis_of(ary))


_sections("hsplit", lambda x: 1 if x.ndim > 1 else 0)
_sections("vsplit", lambda _: 0)
_sections("dsplit", lambda _: 2)


# --- no derivative to lose: shapes, positions, comparisons, printing ---

VALUES_ONLY = (
    "shape ndim size result_type can_cast common_type min_scalar_type iscomplexobj isrealobj "
    "zeros_like ones_like empty_like argsort argpartition lexsort searchsorted digitize argwhere "
    "flatnonzero unravel_index ravel_multi_index isin allclose isclose array_equal array_equiv "
    "isneginf isposinf iscomplex isreal may_share_memory shares_memory array_repr array_str "
    "array2string save savez savez_compressed savetxt"
).split()


def _values_only(name: str) -> None:
    function = _numpy(name)

    @implements(name)
    def _(*args: Any, **kwargs: Any) -> Any:
        return wrapped(function(*unwrapped(args), **unwrapped(kwargs)))


for _name in VALUES_ONLY:
    _values_only(_name)
