"""NumPy's functions on tensors: `np.sum(t)`, `np.concatenate([t, u])` stay on the tape.

Adapters from NumPy's arguments to our ops'. A function that has none is computed on the raw arrays
where nothing asks for a gradient, and refused where something does (dispatch.py). This module is
imported with the first call.

Floor 3: stands on numpy_table.py, numpy_arrays.py and ops/.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from .. import ops
from ..device import as_array
from ..tape import Traced
from . import numpy_arrays as numpy_arrays
from .dispatch import METHODS, deliver, leaves, off_tape, wrapped
from .numpy_table import TABLE, arrayed, implements, only, recast


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
    only("mean", where=(where, True))
    return deliver("mean", ops.mean(recast(a, dtype), axis=axis, keepdims=keepdims), out)


def _spreads(name: str) -> None:
    @implements(name)
    def _(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
        keepdims: bool = False, *, where: Any = True, mean: Any = None, correction: Any = None,
    ) -> Any:  # fmt: skip
        only(name, where=(where, True), mean=(mean, None))
        free = ddof if correction is None else correction
        op = getattr(ops, name)
        return deliver(
            name, op(recast(a, dtype), axis=axis, correction=free, keepdims=keepdims), out
        )


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
        x = ops.reshape(recast(a, dtype), (-1,)) if axis is None else recast(a, dtype)
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


@implements("sort")
def _sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    only("sort", order=(order, None))
    return ops.sort(ops.ravel(a) if axis is None else a, axis=-1 if axis is None else axis)


@implements("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    high, low = (op(a, axis=axis, keepdims=keepdims) for op in (ops.max, ops.min))
    return deliver("ptp", high - low, out)


@implements("average")
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    only("average", returned=(returned, False))
    if weights is None:
        return ops.mean(a, axis=axis, keepdims=keepdims)
    w, x = arrayed(weights), arrayed(a)
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
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
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
    only("nan_to_num", copy=(copy, True))
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
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    size = arrayed(a).shape if shape is None else shape
    value = fill_value if isinstance(fill_value, Traced) else wrapped(as_array(fill_value))
    return ops.copy(ops.broadcast_to(ops.astype(value, dtype or a.dtype), size))
