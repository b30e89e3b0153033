"""Writes to tensors: `t[i] = v`, `t += v`, and what they do to views and to the tape.

A write is a new step of the tape, never a change to an old one. The array is written in place where
this tensor alone refers to it, and copied first where anybody else does: a node that saved it, a
view, a person. So no write corrupts a gradient, and none needs to be forbidden, except to a leaf
that asks for a gradient. A write to a view is carried to its base, and from there to every other
view.

Floor 3: stands on op.py, views.py and ops/indexing.py.
"""

from __future__ import annotations

from typing import Any, cast

from .device import as_array, namespace
from .errors import DTypeError, GraphError, ShapeError, hinted
from .ops.indexing import overwrite, raw_index, write_into
from .tape import Leaf, Traced, constant, grad_enabled, is_sole_owner
from .views import View, base_of, views_of


def set_item(t: Any, index: Any, value: Any) -> None:
    """`t[index] = value`, recorded."""
    base = base_of(t)
    others = views_of(base)
    _refuse_leaves(base, others)
    op = cast(Any, overwrite).op
    index = raw_index(t, index, op.name)
    if not isinstance(value, Traced):
        value = constant(t.plain, namespace(t.array).asarray(as_array(value), dtype=t.dtype))
    if base is t and not others and not t.level and not value.level and is_sole_owner(t):
        if not grad_enabled() or (t.node is None and value.node is None):
            op.guarded(write_into, t.array, value.array, index=index)
            return
        before = constant(t.plain, t.array)
        before.node = t.node
        op.guarded(write_into, t.array, value.array, index=index)
        out = op.wrap(t.array, (before, value), {"index": index, "steps": ()})
        t.node = out.node
        return
    steps = t.family.steps if base is not t else ()
    _renew(base, others, overwrite(base, value, index=index, steps=steps))


def replace(t: Any, new: Any, name: str) -> Any:
    """`t` takes the value and the history of `new`, as `t += v` does; returns `t`."""
    base = base_of(t)
    others = views_of(base)
    _refuse_leaves(base, others)
    if new.shape != t.shape:
        raise ShapeError(
            hinted(
                f"{name}: the result {tuple(new.shape)} does not fit into {tuple(t.shape)}",
                "an in-place operation cannot grow its tensor; write t = t op v",
            )
        )
    if new.dtype != t.dtype:
        if not namespace(t.array).can_cast(new.dtype, t.dtype, "same_kind"):
            raise DTypeError(
                hinted(
                    f"{name}: the result is {new.dtype}, the tensor {t.dtype}",
                    "convert the tensor first: t = t.astype(dtype)",
                )
            )
        new = new.astype(t.dtype)
    if base is t and not others:
        _rebind(t, new)
    else:
        steps = t.family.steps if base is not t else ()
        _renew(base, others, overwrite(base, new, index=..., steps=steps))
    return t


def _renew(base: Any, others: list[Any], new: Any) -> None:
    """Give a base its new value, and every view its part of it."""
    refreshed: list[Any] = []
    for view in others:
        family = view.family
        assert isinstance(family, View)
        part = new
        for op, params in family.steps:
            part = op.run((part,), params)
        refreshed.append(part)
    _rebind(base, new)
    for view, part in zip(others, refreshed, strict=True):
        _rebind(view, part)


def _rebind(t: Any, new: Any) -> None:
    if not grad_enabled() and not new.level:
        _set_values(t, new.array)
        return
    t.array = new.array
    if new.level != t.level:
        t.__class__ = new.__class__
    t.node = new.node


def _set_values(t: Any, array: Any) -> None:
    """Other values for a tensor that keeps its history and its tangents: a write under no_grad."""
    t.array = array
    if t.level:
        primal = constant(cast(Any, type(t.primal)), array)
        primal.node = t.primal.node
        _set_values(primal, array)
        t.node = t.node._replace(primal=primal)


def _refuse_leaves(base: Any, others: list[Any]) -> None:
    if grad_enabled() and any(isinstance(t.node, Leaf) for t in (base, *others)):
        raise GraphError(
            hinted(
                "in-place write: the tensor is a leaf that requires a gradient, or a view of one",
                "write under ge.no_grad() to change its value, or work on t.clone()",
            )
        )
