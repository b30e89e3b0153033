"""Joining and splitting: concat, stack and their inverses, tile and repeat.

A split is one step of the tape however many pieces it has: going back it joins the cotangents of
the pieces, where a slice for each piece would pad each one to the whole size.

Letters: `x` input, `y` output, `g` cotangent.

Floor 3: stands on op.py, views.py, shape.py and padding.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from operator import index as as_int
from operator import mul
from typing import Any

from .. import views
from ..device import as_array, is_host
from ..errors import ShapeError, hinted
from ..op import case, primitive
from ..tape import PICK, Like, Node, Traced, constant, fit, grad_enabled, record
from .axes import as_axis, as_shape
from .padding import crop, pad_zeros
from .shape import atleast_nd, broadcast_to, expand_dims, reshape

Span = tuple[int, int]


# --- several arrays into one ---


@primitive(
    name="concat",
    cases=[
        case((2, 3), (1, 3)),
        case((2, 3), (2, 0), (2, 2), axis=1),
        case((2, 3), (2,), (), axis=None),
        case((2, 1, 2), (2, 3, 2), axis=-2),
    ],
)
def _concat(xp: Any, *arrays: Any, axis: int | None = 0) -> Any:
    """Arrays joined along an existing axis."""
    return xp.concatenate(arrays, axis=axis)


@_concat.adjoint
def _(g: Any, _y: Any, *xs_like: Like | None, axis: int | None = 0) -> list[Any]:
    found: list[Any] = []
    start = 0
    for x in xs_like:
        if axis is None:  # everything was flattened; a bare number counts as one element
            shape = () if x is None else x.shape
            size = math.prod(shape)
            found.append(g[start : start + size].reshape(shape))
        else:
            assert x is not None
            place, size = axis % x.ndim, x.shape[axis]
            found.append(g[(*(slice(None),) * place, slice(start, start + size))])
        start += size
    return found


def concat(arrays: Sequence[Any], /, axis: int | None = 0) -> Any:
    """The arrays joined along `axis` (None: flattened first); all other sizes must agree.

    >>> import gradengine as ge
    >>> ge.concat([ge.tensor([1.0, 2.0]), ge.tensor([3.0])])
    tensor([1., 2., 3.])
    """
    return _concat(*_listed(arrays, "concat"), axis=axis)


concatenate = concat


@primitive(
    name="stack",
    cases=[
        case((2, 3), (2, 3)),
        case((2,), (2,), (2,), axis=-1),
        case((), ()),
        case((0, 2), axis=1),
    ],
)
def _stack(xp: Any, *arrays: Any, axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis."""
    return xp.stack(arrays, axis=axis)


@_stack.adjoint
def _(g: Any, _y: Any, *xs_like: Like, axis: int = 0) -> list[Any]:
    place = (slice(None),) * (axis % len(g.shape))
    return [g[(*place, i)] for i in range(len(xs_like))]


def stack(arrays: Sequence[Any], /, axis: int = 0) -> Any:
    """The arrays, all of one shape, joined along a new axis at position `axis` of the result.

    >>> import gradengine as ge
    >>> ge.stack([ge.tensor([1.0, 2.0]), ge.tensor([3.0, 4.0])], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    return _stack(*_listed(arrays, "stack"), axis=axis)


def hstack(arrays: Sequence[Any], /) -> Any:
    """The arrays side by side: joined along axis 1, or along the only axis of 1-d arrays.

    >>> import gradengine as ge
    >>> ge.hstack([ge.zeros((2, 1)), ge.zeros((2, 3))]).shape
    (2, 4)
    """
    rows = [atleast_nd(x, 1) for x in _listed(arrays, "hstack")]
    return concat(rows, axis=0 if len(rows[0].shape) == 1 else 1)


def vstack(arrays: Sequence[Any], /) -> Any:
    """The arrays on top of each other: joined along axis 0, 1-d arrays as rows.

    >>> import gradengine as ge
    >>> ge.vstack([ge.zeros(3), ge.zeros((2, 3))]).shape
    (3, 3)
    """
    return concat([atleast_nd(x, 2) for x in _listed(arrays, "vstack")], axis=0)


def _listed(arrays: Iterable[Any], name: str) -> list[Any]:
    found = [x if hasattr(x, "shape") else as_array(x) for x in arrays]
    if not found:
        raise ShapeError(hinted(f"{name}: no arrays given", "give one array or more"))
    return found


# --- one array into several ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[case((2, 3), axis=0, index=1), case((2, 3, 1), axis=1, index=-1)],
)
def select(xp: Any, x: Any, axis: int, index: int) -> Any:
    """The sub-array at place `index` of `axis`, which disappears."""
    return x[(*(slice(None),) * (axis % x.ndim), index, ...)]


@select.adjoint
def _(g: Any, _y: Any, x_like: Like, axis: int, index: int) -> Any:
    axis, widths = axis % x_like.ndim, [(0, 0)] * x_like.ndim
    at = index % x_like.shape[axis]
    widths[axis] = (at, x_like.shape[axis] - 1 - at)
    return pad_zeros(expand_dims(g, axis), tuple(widths))


@primitive(cases=[case((2, 3), (2, 1), axis=1, starts=(1, 5), size=7), case((3,), axis=0)])
def assemble(
    xp: Any, *parts: Any, axis: int = 0, starts: Sequence[int] = (0,), size: int = 3
) -> Any:
    """Zeros with each part at its place along `axis`: the adjoint of a split."""
    shape = list(parts[0].shape)
    shape[axis] = size
    filled = sum(part.shape[axis] for part in parts) == size
    y = (xp.empty if filled else xp.zeros)(tuple(shape), parts[0].dtype)
    before = (slice(None),) * axis
    for part, start in zip(parts, starts, strict=True):
        y[(*before, slice(start, start + part.shape[axis]))] = part
    return y


@assemble.adjoint
def _(g: Any, _y: Any, *xs_like: Like, axis: int, starts: Sequence[int], size: int) -> list[Any]:
    before = (slice(None),) * axis
    spans = zip(xs_like, starts, strict=True)
    return [g[(*before, slice(start, start + x.shape[axis]))] for x, start in spans]


class _Split:
    """The step that all pieces of a split share; its params are (axis, spans, stacked)."""

    name = "split"

    @staticmethod
    def pull(node: Node, g: list[Any], _graph: bool) -> list[tuple[Node | None, Any]]:
        axis, spans, stacked = node.params
        assert node.meta is not None
        (meta,) = node.meta
        live = [(c, start) for c, (start, _) in zip(g, spans, strict=True) if c is not None]
        parts = [expand_dims(c, axis) if stacked else c for c, _ in live]
        starts = tuple(start for _, start in live)
        joined = assemble(*parts, axis=axis, starts=starts, size=meta[0][axis])
        return [(node.inputs[0], fit(joined, *meta))]


_SPLIT = _Split()


def _pieces(x: Any, axis: int, spans: Sequence[Span], stacked: bool) -> list[Any]:
    """The parts of x between start and stop of each span; `stacked`: without the axis."""
    before = (slice(None),) * axis
    indices = [(*before, a, ...) if stacked else (*before, slice(a, b)) for a, b in spans]
    if not isinstance(x, Traced):
        return [x[index] for index in indices]
    steps = [_step(x, axis, span, stacked) for span in spans]
    if x.level or not all(a[1] <= b[0] for a, b in itertools.pairwise(spans)):
        return [op.run((x,), params) for op, params in steps]
    arrays, node, plain = [x.array[index] for index in indices], x.node, x.plain
    if node is None or not grad_enabled():
        parts = [constant(plain, array) for array in arrays]
    else:
        meta, n = ((x.array.shape, x.array.dtype),), len(arrays)
        split = record(plain, _SPLIT, None, (node,), (), (axis, tuple(spans), stacked), meta).node
        parts = [record(plain, PICK, a, (split,), (), (k, n)) for k, a in enumerate(arrays)]
    for part, (op, params) in zip(parts, steps, strict=True):
        views.link(part, x, op, params)
    return parts


def _step(x: Any, axis: int, span: Span, stacked: bool) -> tuple[Any, dict[str, Any]]:
    """The op that makes one piece alone, and its parameters."""
    if stacked:
        return select.op, {"axis": axis, "index": span[0]}
    bounds = [(0, n) for n in x.shape]
    bounds[axis] = span
    return crop.op, {"bounds": tuple(bounds)}


def unstack(x: Any, /, axis: int = 0) -> tuple[Any, ...]:
    """The sub-arrays of x along `axis`, which disappears; views. The inverse of `stack`.

    >>> import gradengine as ge
    >>> a, b = ge.unstack(ge.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> b
    tensor([3., 4.])
    """
    axis = as_axis(axis, len(x.shape), "unstack")
    return tuple(_pieces(x, axis, [(i, i + 1) for i in range(x.shape[axis])], True))


def split(x: Any, indices_or_sections: int | Sequence[int], /, axis: int = 0) -> list[Any]:
    """x cut along `axis` into so many equal parts, or before each of the given indices; views.

    ShapeError where the axis does not divide into equal parts; `array_split` takes any number.

    >>> import gradengine as ge
    >>> ge.split(ge.tensor([1.0, 2.0, 3.0]), [1])
    [tensor([1.]), tensor([2., 3.])]
    """
    if isinstance(indices_or_sections, int):
        n = x.shape[as_axis(axis, len(x.shape), "split")]
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ShapeError(
                hinted(
                    f"split: axis {axis} of {tuple(x.shape)} has {n} places, which do not divide "
                    f"into {indices_or_sections} equal parts",
                    "use array_split for parts of unequal size",
                )
            )
    return array_split(x, indices_or_sections, axis)


def array_split(x: Any, indices_or_sections: int | Sequence[int], /, axis: int = 0) -> list[Any]:
    """x cut along `axis` into so many parts, the first ones larger by one where need be; views.

    >>> import gradengine as ge
    >>> [part.shape for part in ge.array_split(ge.zeros(7), 3)]
    [(3,), (2,), (2,)]
    """
    axis = as_axis(axis, len(x.shape), "split")
    n = x.shape[axis]
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts < 1:
            raise ShapeError(hinted(f"split: {parts} parts", "ask for one part or more"))
        cuts = [i * (n // parts) + min(i, n % parts) for i in range(parts + 1)]
    else:
        cuts = [0, *map(as_int, indices_or_sections), n]
    spans = [slice(a, b).indices(n)[:2] for a, b in itertools.pairwise(cuts)]
    return _pieces(x, axis, [(a, max(a, b)) for a, b in spans], False)


# --- one array several times ---


def tile(x: Any, repetitions: Any, /) -> Any:
    """x side by side with itself, `repetitions[i]` times along axis i (counted from the last axis).

    >>> import gradengine as ge
    >>> ge.tile(ge.tensor([1.0, 2.0]), 2)
    tensor([1., 2., 1., 2.])
    """
    times = as_shape(repetitions)
    x = atleast_nd(x, len(times))
    shape = tuple(x.shape)
    times = (1,) * (len(shape) - len(times)) + times
    if min(times, default=0) < 0:
        raise ShapeError(hinted(f"tile: repetitions={repetitions}", "give counts from 0 on"))
    grown = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
    apart = reshape(x, tuple(n for size in shape for n in (1, size)))
    return reshape(broadcast_to(apart, grown), tuple(map(mul, times, shape)), copy=True)


def repeat(x: Any, repeats: Any, /, axis: int | None = None) -> Any:
    """Each element of x `repeats` times in a row along `axis` (None: of x flattened).

    `repeats` is one number, or one for each place on the axis.

    >>> import gradengine as ge
    >>> ge.repeat(ge.tensor([1.0, 2.0]), [2, 1])
    tensor([1., 1., 2.])
    """
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = as_axis(axis, len(x.shape), "repeat")
    n = x.shape[axis]
    given: Any = repeats.tolist() if hasattr(repeats, "tolist") else repeats
    counts = list(as_shape(given))
    if len(counts) not in (1, n) or min(counts, default=0) < 0:
        raise ShapeError(
            hinted(
                f"repeat: {len(counts)} counts for the {n} places on axis {axis}",
                "give one count from 0 on, or one for each place",
            )
        )
    if len(counts) > 1:
        return repeat_each(x, axis, tuple(counts))
    shape = tuple(x.shape)
    grown = (*shape[: axis + 1], counts[0], *shape[axis + 1 :])
    flat = (*shape[:axis], n * counts[0], *shape[axis + 1 :])
    return reshape(broadcast_to(expand_dims(x, axis + 1), grown), flat, copy=True)


@primitive(
    arity=1,
    linear=True,
    cases=[case((3, 2), axis=0, counts=(2, 0, 3)), case((2, 3), axis=1, counts=(0, 0, 1))],
)
def repeat_each(xp: Any, x: Any, axis: int, counts: Sequence[int]) -> Any:
    """Place i of `axis` counts[i] times in a row."""
    return xp.repeat(x, list(counts), axis)


@repeat_each.adjoint
def _(g: Any, _y: Any, _x: Any, axis: int, counts: Sequence[int]) -> Any:
    return sum_runs(g, axis, counts)


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[case((5, 2), axis=0, counts=(2, 0, 3)), case((2, 1), axis=1, counts=(0, 0, 1))],
)
def sum_runs(xp: Any, x: Any, axis: int, counts: Sequence[int]) -> Any:
    """Sums of counts[i] neighbours in a row along `axis`: the adjoint of `repeat_each`."""
    shape, before = list(x.shape), (slice(None),) * axis
    shape[axis] = len(counts)
    y = xp.zeros(tuple(shape), x.dtype)
    if is_host(xp):
        starts = [0, *itertools.accumulate(counts)]
        full = [i for i, n in enumerate(counts) if n]
        if full:
            y[(*before, full)] = xp.add.reduceat(x, [starts[i] for i in full], axis)
        return y
    places = xp.repeat(xp.arange(len(counts)), list(counts))
    xp.add.at(y, (*before, places), x)
    return y


@sum_runs.adjoint
def _(g: Any, _y: Any, _x: Any, axis: int, counts: Sequence[int]) -> Any:
    return repeat_each(g, axis, counts)
