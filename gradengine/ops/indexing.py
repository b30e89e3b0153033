"""Indexing: reading and writing parts of arrays, by slices, integer arrays and masks.

Letters: `x` the array read or written to, `v` the values written, `y` output, `g` cotangent.
The pairs below are adjoint to each other: getitem and scatter_index (reading, adding back), gather
and scatter_along (the same along one axis), read_winners and place (reading, writing). A write is a
function like any other: `overwrite` returns a copy with the values in it, and tensor.py turns
`x[index] = v` into it. Indexing follows NumPy's rules.

Index arrays are data, not values one differentiates by: a derivative never reaches them.

Floor 3: stands on op.py, tape.py, device.py and the ops files before it.
"""

from __future__ import annotations

from typing import Any

from ..device import Array, as_array, common_namespace, is_array, is_host, namespace, owner
from ..errors import DTypeError, OutOfRangeError, hinted
from ..op import case, primitive
from ..tape import Traced

Steps = tuple[tuple[Any, dict[str, Any]], ...]
"""The view ops, with their parameters, that lead from a base to a view."""


# --- what an index may be ---


def raw_index(x: Any, index: Any, name: str = "getitem") -> Any:
    """`index` without Tensors: its arrays are checked and copied, since the tape keeps them."""
    cls = index.__class__
    if cls is int or cls is slice or index is None or index is Ellipsis:
        return index
    if cls is tuple:
        return tuple([raw_index(x, i, name) for i in index])
    if isinstance(index, Traced):
        return index_array(x, index.array, name)
    if cls is list:
        array = as_array([i.array if isinstance(i, Traced) else i for i in index])
        return index_array(x, array if array.size else array.astype("int64"), name)
    if is_array(index):
        return index_array(x, index, name)
    if isinstance(index, (float, complex)):
        raise _index_dtype(name, f"the number {index!r}")
    return index


def index_array(x: Any, index: Array, name: str) -> Array:
    if index.dtype.kind not in "iub":
        raise _index_dtype(name, f"an array of {index.dtype}")
    raw = x.array if isinstance(x, Traced) else x
    if is_array(raw) and not is_host(xp := namespace(raw)) and is_host(namespace(index)):
        return xp.asarray(index)
    common_namespace((raw, index), name)
    return index.copy()


def _index_dtype(name: str, what: str) -> DTypeError:
    return DTypeError(
        hinted(
            f"{name}: an index must be integers, booleans or slices, not {what}",
            'positions: i.astype("int64"); a mask: x[x > 0]',
        )
    )


def _arrays_in(index: Any, ndim: int) -> list[tuple[int, Array]]:
    """The integer arrays in an index, each with the axis it indexes."""
    parts = index if index.__class__ is tuple else (index,)
    widths = [
        0 if p is None or p is Ellipsis or p is True or p is False
        else p.ndim if is_array(p) and p.dtype.kind == "b"
        else 1
        for p in parts
    ]  # fmt: skip
    rest = ndim - sum(widths)
    found: list[tuple[int, Array]] = []
    axis = 0
    for part, width in zip(parts, widths, strict=True):
        if is_array(part) and part.dtype.kind != "b":
            found.append((axis, part))
        axis += rest if part is Ellipsis else width
    return found


def check_range(xp: Any, indices: Array, size: int, axis: int, name: str) -> None:
    """Raise OutOfRangeError unless -size <= indices < size; on a GPU this waits for the answer."""
    wrong = (indices < -size) | (indices >= size)
    if bool(wrong.any()):
        first = int(indices[wrong][0])
        raise OutOfRangeError(
            hinted(
                f"{name}: index {first} is out of bounds for axis {axis} with size {size}",
                f"indices must lie in [{-size}, {size - 1}]" if size else "the axis is empty",
            )
        )


def _check_device_index(xp: Any, x: Any, index: Any, name: str) -> None:
    """NumPy looks at every index itself; CuPy wraps them silently, so look first."""
    if not is_host(xp):
        for axis, array in _arrays_in(index, len(x.shape)):
            check_range(xp, array, x.shape[axis], axis, name)


# --- reading ---


@primitive(
    linear=True,
    view=True,
    arity=1,
    cases=[
        case((3, 4), index=1),
        case((3, 4), index=(slice(None), -1)),
        case((5, 4), index=(slice(4, 0, -2), None, slice(None, None, 3))),
        case((2, 3, 4), index=(Ellipsis, 0)),
        case((4,), index=Ellipsis),
        case((), index=()),
        case((), index=None),
        case((0, 3), index=slice(None, None, 2)),
        case((4, 3), index=slice(2, 2)),
    ],
)
def getitem_(xp: Any, x: Any, index: Any) -> Any:
    """y = x[index]; the public `getitem` has taken the Tensors out of the index."""
    _check_device_index(xp, x, index, "getitem")
    return x[index]


@getitem_.adjoint
def _(g: Any, _y: Any, x_like: Any, index: Any) -> Any:
    return scatter_index(g, tuple(x_like.shape), index)


getitem_op = getitem_.op


def getitem(x: Any, index: Any) -> Any:
    """The part of `x` that `index` selects: y = x[index], by NumPy's rules.

    Slices (steps of either sign), integers, None and Ellipsis give a view; integer arrays (or
    lists) and boolean masks give a copy; they mix as in NumPy. The gradient adds up where an
    element is read several times. Raises OutOfRangeError for a position outside the array (on a
    GPU that check waits for it), DTypeError for an index that is no integer, mask or slice.

    >>> import gradengine as ge
    >>> x = ge.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    >>> getitem(x, (slice(None), [0, 0, 2])).sum().backward()
    >>> x.grad.tolist()
    [[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]]
    """
    params = {"index": raw_index(x, index)}
    if x.__class__ is Traced.plain:
        return getitem_op.run_one(x, params)
    return getitem_op.run((x,), params)


@primitive(
    linear=True,
    wide=True,
    arity=1,
    cases=[
        case((4,), shape=(3, 4), index=1),
        case((2, 1, 2), shape=(5, 4), index=(slice(4, 0, -2), None, slice(None, None, 3))),
        case((4,), shape=(3,), index=([0, 2, 2, -1],)),
        case((2, 4), shape=(3, 4), index=([1, 1],)),
        case((), shape=(), index=()),
    ],
)
def scatter_index(xp: Any, g: Any, shape: Any, index: Any) -> Any:
    """Zeros of `shape` with `g` added at `index`, repeated positions adding up."""
    index = _listed(xp, index)
    y = xp.zeros(shape, g.dtype)
    repeats = _arrays_in(index, y.ndim)
    if not repeats:
        y[index] = g  # slices and masks reach each element at most once
    elif len(repeats) == 1 and _is_whole(index, y.ndim):
        axis, indices = repeats[0]
        add_at(xp, y, take_positions(xp, y.shape, indices, axis), g)
    else:
        xp.add.at(y, index, g)
    return y


@scatter_index.adjoint
def _(g: Any, _y: Any, _x: Any, shape: Any, index: Any) -> Any:
    return getitem_(g, index=index)


def _listed(xp: Any, index: Any) -> Any:
    """Lists in an index as arrays."""
    if index.__class__ is tuple:
        return tuple([_listed(xp, i) for i in index])
    return xp.asarray(index) if index.__class__ is list else index


def _is_whole(index: Any, ndim: int) -> bool:
    """Whether the index is one integer array among full slices."""
    parts = index if index.__class__ is tuple else (index,)
    whole = slice(None)
    return all(
        p.dtype.kind != "b" if is_array(p) else p.__class__ is slice and p == whole for p in parts
    )


def add_at(xp: Any, y: Array, positions: Array, g: Array) -> None:
    """Add `g` to a contiguous `y` at flat positions: several times faster than N-D `add.at`."""
    xp.add.at(y.reshape(-1), positions.reshape(-1), g.reshape(-1))


def take_positions(xp: Any, shape: tuple[int, ...], indices: Array, axis: int) -> Array:
    """Flat positions of `take(x, indices, axis)`, in the order of its result."""
    size, inner, outer = shape[axis], 1, 1
    for n in shape[axis + 1 :]:
        inner *= n
    for n in shape[:axis]:
        outer *= n
    rows = xp.where(indices < 0, indices + size, indices).astype("int64").reshape(-1, 1)
    flat = rows * inner + xp.arange(inner)
    return flat if outer == 1 else xp.arange(outer).reshape(-1, 1, 1) * (size * inner) + flat


# --- writing ---


def write_into(xp: Any, x: Array, v: Any, index: Any, steps: Steps = ()) -> None:
    """x[index] = v in place, on raw arrays; `steps` lead from `x` to the view that is written to.

    Where an index repeats a position, the last value wins, on the GPU too.
    """
    index = _listed(xp, index)
    view = x
    for op, params in steps:
        view = op.compute(xp, (view,), params)
    if owner(view) is not owner(x):  # x's layout differs from the one the view was taken of
        _write_by_position(xp, x, v, index, steps)
    elif not is_host(xp) and _arrays_in(index, view.ndim):
        _write_winners(xp, view, v, index)
    else:
        view[index] = v


def _write_winners(xp: Any, view: Array, v: Any, index: Any) -> None:
    """A write whose repeated positions have an order, where the library gives them none."""
    _check_device_index(xp, view, index, "setitem")
    places = _selected(xp, view.shape, index)
    values = xp.asarray(v, view.dtype)
    if values.ndim > places.ndim:  # NumPy lets a value have more leading ones than its place
        values = values.reshape(values.shape[values.ndim - places.ndim :])
    values = xp.broadcast_to(values, places.shape).reshape(-1)
    if values.size:
        sources = _sources(xp, view.shape, index)
        view[...] = xp.where(sources < 0, view, values[sources])


def _write_by_position(xp: Any, x: Array, v: Any, index: Any, steps: Steps) -> None:
    positions = xp.arange(x.size).reshape(x.shape)
    for op, params in steps:
        positions = op.compute(xp, (positions,), params)
    x[xp.unravel_index(positions[index], x.shape)] = v


def _selected(xp: Any, shape: tuple[int, ...], index: Any) -> Array:
    """The flat positions that `index` selects from an array of `shape`, in the result's shape."""
    size = 1
    for n in shape:
        size *= n
    return xp.asarray(xp.arange(size).reshape(shape)[index])


def _sources(xp: Any, shape: tuple[int, ...], index: Any) -> Array:
    """For each element, which of the written values it gets (counted flat); -1 where none."""
    positions = _selected(xp, shape, index).reshape(-1)
    size = 1
    for n in shape:
        size *= n
    sources = xp.full(size, -1)
    xp.maximum.at(sources, positions, xp.arange(positions.size))
    return sources.reshape(shape)


@primitive(
    name="setitem",
    arity=2,
    cases=[
        case((3, 4), (4,), index=1),
        case((3, 4), (), index=(slice(None), -1)),
        case((5, 4), (2, 1, 2), index=(slice(4, 0, -2), None, slice(None, None, 3))),
        case((4,), (4,), index=([0, 2, 2, -1],)),
        case((3, 4), (1, 1, 4), index=Ellipsis),
        case((), (), index=()),
        case((0, 3), (3,), index=Ellipsis),
    ],
)
def overwrite_(xp: Any, x: Any, v: Any, index: Any, steps: Any = ()) -> Any:
    """A copy of x in which x[index] is v; `overwrite` has taken the Tensors out of the index."""
    y = x.copy(order="K")
    write_into(xp, y, v, index, steps)
    return y


@overwrite_.adjoint(0)
def _(g: Any, _y: Any, _x: Any, _v: Any, index: Any, steps: Any) -> Any:
    return overwrite_(g, 0, index=index, steps=steps)


@overwrite_.adjoint(1)
def _(g: Any, _y: Any, _x: Any, v_like: Any, index: Any, steps: Any) -> Any:
    c = read_winners(g, index=index, steps=steps)
    extra = len(v_like.shape) - c.ndim  # NumPy lets a value have more leading ones than its place
    return c.reshape((1,) * extra + tuple(c.shape)) if extra > 0 else c


def overwrite(x: Any, v: Any, index: Any, steps: Steps = ()) -> Any:
    """A copy of `x` in which x[index] is `v`, broadcast: item assignment as a function.

    `steps`, view ops with their parameters, are applied to the copy first, so that a write
    through a view is one op. Where an index repeats a position the last value wins, and it alone
    gets the gradient. The copy has x's dtype. Raises ShapeError, OutOfRangeError and DTypeError
    where NumPy would.

    >>> import gradengine as ge
    >>> overwrite(ge.tensor([1.0, 2.0, 3.0]), 0.0, slice(None, None, 2))
    tensor([0., 2., 0.])
    """
    index = raw_index(x, index, "setitem")
    return overwrite_.op.run((x, v), {"index": index, "steps": tuple(steps)})


overwrite.op = overwrite_.op  # type: ignore[attr-defined]


@primitive(
    linear=True,
    arity=1,
    cases=[
        case((3, 4), index=(slice(None), -1)),
        case((4,), index=([0, 2, 2, -1],)),
        case((2, 3), index=([1, 1], slice(0, 2))),
    ],
)
def read_winners(xp: Any, g: Any, index: Any, steps: Any = ()) -> Any:
    """g[index] seen through `steps`, 0 where a later value was written over: adjoint of place."""
    index = _listed(xp, index)
    for op, params in steps:
        g = op.compute(xp, (g,), params)
    c = g[index]
    if not _arrays_in(index, g.ndim):
        return c
    positions = _selected(xp, g.shape, index)
    order = xp.arange(positions.size).reshape(positions.shape)
    won = _sources(xp, g.shape, index).reshape(-1)[positions] == order
    return xp.where(won, c, c.dtype.type(0))


@read_winners.adjoint
def _(g: Any, _y: Any, x_like: Any, index: Any, steps: Any) -> Any:
    return place(g, shape=tuple(x_like.shape), index=index, steps=steps)


@primitive(
    linear=True,
    arity=1,
    cases=[
        case((3,), shape=(3, 4), index=(slice(None), -1)),
        case((4,), shape=(4,), index=([0, 2, 2, -1],)),
    ],
)
def place(xp: Any, v: Any, shape: Any, index: Any, steps: Any = ()) -> Any:
    """Zeros of `shape` with v at `index` of the view reached by `steps`; the last value wins."""
    y = xp.zeros(shape, v.dtype)
    write_into(xp, y, v, index, steps)
    return y


@place.adjoint
def _(g: Any, _y: Any, _v: Any, shape: Any, index: Any, steps: Any) -> Any:
    return read_winners(g, index=index, steps=steps)
