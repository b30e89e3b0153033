"""NumPy's functions that arrange arrays (shape, joining, indexing) and multiply them, on tensors.

Floor 3: stands on numpy_table.py and ops/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from .. import linalg, ops, writes
from ..errors import hinted
from ..ops.axes import as_axes, as_shape
from ..tape import Traced
from .dispatch import deliver, off_tape
from .numpy_table import arrayed, implements, only, recast

# --- shape ---


@implements("reshape")
def _reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    shape = newshape if shape is None else shape
    if order != "F":
        return ops.reshape(a, shape)
    sizes = as_shape(shape)
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
    found = [ops.atleast_nd(arrayed(x), 1) for x in arys]
    return found[0] if len(found) == 1 else tuple(found)


@implements("atleast_2d")
def _atleast_2d(*arys: Any) -> Any:
    found = [ops.atleast_nd(arrayed(x), 2) for x in arys]
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
    return (
        ops.swapaxes(ops.flip(m, axis=j), i, j)
        if k == 1
        else ops.flip(ops.swapaxes(m, i, j), axis=j)
    )


@implements("concatenate", "concat")
def _concatenate(
    arrays: Sequence[Any], axis: int | None = 0, out: Any = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    return deliver(
        "concatenate", ops.concat([recast(arrayed(x), dtype) for x in arrays], axis=axis), out
    )


@implements("stack")
def _stack(
    arrays: Sequence[Any], axis: int = 0, out: Any = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    return deliver("stack", ops.stack([recast(arrayed(x), dtype) for x in arrays], axis=axis), out)


@implements("vstack", "row_stack")
def _vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return ops.concat([recast(ops.atleast_nd(arrayed(x), 2), dtype) for x in tup], axis=0)


@implements("hstack")
def _hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [recast(ops.atleast_nd(arrayed(x), 1), dtype) for x in tup]
    return ops.concat(parts, axis=0 if parts[0].ndim == 1 else 1)


@implements("dstack")
def _dstack(tup: Sequence[Any]) -> Any:
    planes = (ops.atleast_nd(arrayed(x), 2) for x in tup)
    return ops.concat([ops.expand_dims(x, 2) if x.ndim == 2 else x for x in planes], axis=2)


@implements("column_stack")
def _column_stack(tup: Sequence[Any]) -> Any:
    parts = [ops.atleast_nd(arrayed(x), 1) for x in tup]
    return ops.concat([ops.expand_dims(x, 1) if x.ndim == 1 else x for x in parts], axis=1)


@implements("append")
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return ops.concat([arrayed(arr), arrayed(values)], axis=axis)


@implements("diff")
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    only("diff", prepend=(prepend, None), append=(append, None))
    for _ in range(n):
        x = ops.moveaxis(a, axis, -1)
        a = ops.moveaxis(x[..., 1:] - x[..., :-1], -1, axis)
    return a


@implements("trapezoid", "trapz")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = ops.moveaxis(arrayed(y), axis, -1)
    if x is not None:
        x = arrayed(x)
        x = ops.moveaxis(x, axis, -1) if x.ndim > 1 else x
        dx = x[..., 1:] - x[..., :-1]
    return ops.sum((y[..., 1:] + y[..., :-1]) * dx, axis=-1) / 2


# --- indexing ---


@implements("take")
def _take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    only("take", mode=(mode, "raise"))
    return deliver("take", ops.take(a, indices, axis=axis), out)


@implements("copyto")
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if isinstance(dst, Traced):
        writes.set_item(dst, ..., src if where is True else ops.where(where, src, dst))
    else:
        deliver("copyto", ops.broadcast_to(src, dst.shape), dst, where)


def _in_place(*_: Any, **__: Any) -> Any:
    raise TypeError(
        hinted("numpy: this function writes into its argument's memory", "write t[index] = value")
    )


for _name in ("put", "place", "putmask", "fill_diagonal", "put_along_axis"):
    implements(_name)(_in_place)


# --- linear algebra ---


@implements("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = arrayed(a), arrayed(b)
    if not x.ndim or not y.ndim:
        return deliver("dot", x * y, out)
    if x.ndim <= 2 and y.ndim <= 2:
        return deliver("dot", ops.matmul(x, y), out)
    return deliver(
        "dot", ops.tensordot(x, y, axes=((-1,), (-1 if y.ndim == 1 else y.ndim - 2,))), out
    )


@implements("inner")
def _inner(a: Any, b: Any, /) -> Any:
    x, y = arrayed(a), arrayed(b)
    return x * y if not x.ndim or not y.ndim else ops.tensordot(x, y, axes=((-1,), (-1,)))


@implements("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    return ops.vecdot(ops.reshape(arrayed(a), (-1,)), ops.reshape(arrayed(b), (-1,)))


@implements("outer", "linalg.outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    x, y = (ops.reshape(arrayed(v), (-1,)) for v in (a, b))
    return deliver("outer", ops.outer(x, y), out)


@implements("kron")
def _kron(a: Any, b: Any) -> Any:
    x, y = arrayed(a), arrayed(b)
    n = max(x.ndim, y.ndim)
    x, y = ops.atleast_nd(x, n), ops.atleast_nd(y, n)
    wide = ops.reshape(x, [s for k in x.shape for s in (k, 1)])
    tall = ops.reshape(y, [s for k in y.shape for s in (1, k)])
    return ops.reshape(wide * tall, [i * j for i, j in zip(x.shape, y.shape, strict=True)])


@implements("einsum")
def _einsum(*operands: Any, out: Any = None, optimize: Any = True, **options: Any) -> Any:
    only("einsum", **{key: (value, None) for key, value in options.items()})
    return deliver("einsum", ops.einsum(*operands), out)


@implements("trace")
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    return deliver("trace", ops.trace(recast(a, dtype), offset, axis1, axis2), out)


@implements("linalg.multi_dot")
def _multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    return deliver("multi_dot", fold(ops.matmul, arrays), out)


@implements("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    rank = len(as_axes(axis, x.ndim, "norm"))
    if ord is None or rank == 1 or (rank == 2 and ord == "fro"):
        return linalg.norm(x, ord, axis, keepdims)
    return off_tape("numpy.linalg.norm", np.linalg.norm, (x, ord, axis, keepdims), {})


@implements("linalg.vector_norm")
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
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
