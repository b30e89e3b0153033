"""Padding and cropping: arrays grow and shrink at their borders.

Each op here is the adjoint of its neighbour: `crop` of `pad_zeros`, `fold` of `extend`. So all are
linear, and derivatives of any order are again one of the four.

Letters: `x` input, `y` output, `g` cotangent, `n` the size of an axis.

Floor 3: stands on op.py and shape.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

from ..errors import GraphError, ShapeError, hinted
from ..op import case, primitive
from ..tape import Like, Traced
from .axes import as_axis

Widths: TypeAlias = tuple[tuple[int, int], ...]
"""For each axis how much is added before and after."""


# --- zeros around, and their removal ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((4, 5), bounds=((1, 3), (0, 4))),
        case((3,), bounds=((2, 2),)),
        case((), bounds=()),
    ],
)
def crop(xp: Any, x: Any, bounds: Widths) -> Any:
    """The part of x between (start, stop) on each axis: y = x[start0:stop0, start1:stop1, ...]."""
    return x[tuple(slice(start, stop) for start, stop in bounds)]


@crop.adjoint
def _(g: Any, _y: Any, x_like: Like, bounds: Widths) -> Any:
    sizes = zip(bounds, x_like.shape, strict=True)
    return pad_zeros(g, tuple((start, n - max(stop, start)) for (start, stop), n in sizes))


@primitive(
    arity=1,
    linear=True,
    cases=[
        case((2, 3), widths=((1, 2), (0, 3))),
        case((0,), widths=((1, 1),)),
        case((), widths=()),
    ],
)
def pad_zeros(xp: Any, x: Any, widths: Widths) -> Any:
    """x with zeros around it: widths[i] = (before, after) on axis i."""
    y = xp.zeros(_grown(x.shape, widths), x.dtype)
    y[_inside(x.shape, widths)] = x
    return y


@pad_zeros.adjoint
def _(g: Any, _y: Any, x_like: Like, widths: Widths) -> Any:
    return crop(g, _bounds(x_like.shape, widths))


@primitive(
    arity=1,
    cases=[
        case((2, 3), widths=((1, 2), (0, 3)), values=((1.5, 1.5), (1.5, 1.5))),
        case((2, 0), widths=((1, 1), (1, 0)), values=((1.0, 2.0), (3.0, 4.0))),
    ],
)
def pad_constant(xp: Any, x: Any, widths: Widths, values: tuple[tuple[Any, Any], ...]) -> Any:
    """x with the numbers values[i] = (before, after) on axis i; later axes own the corners."""
    y = xp.empty(_grown(x.shape, widths), x.dtype)
    inside = _inside(x.shape, widths)
    y[inside] = x
    for i, (ends, (before, after)) in enumerate(zip(values, widths, strict=True)):
        grown = (slice(None),) * i
        y[(*grown, slice(0, before), *inside[i + 1 :])] = ends[0]
        y[(*grown, slice(before + x.shape[i], before + x.shape[i] + after), *inside[i + 1 :])] = (
            ends[1]
        )
    return y


@pad_constant.adjoint
def _(g: Any, _y: Any, x_like: Like, widths: Widths, values: Any) -> Any:
    return crop(g, _bounds(x_like.shape, widths))


def _grown(shape: tuple[int, ...], widths: Widths) -> tuple[int, ...]:
    return tuple(n + before + after for n, (before, after) in zip(shape, widths, strict=True))


def _bounds(shape: tuple[int, ...], widths: Widths) -> Widths:
    return tuple((before, before + n) for n, (before, _) in zip(shape, widths, strict=True))


def _inside(shape: tuple[int, ...], widths: Widths) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in _bounds(shape, widths))


# --- the array continued by its own elements, and its adjoint ---


class Run(NamedTuple):
    """`length` places from `to` on hold the elements from `source` on, in steps of 1, -1 or 0."""

    to: int
    length: int
    source: int
    step: int

    def slices(self) -> tuple[slice, slice]:
        """Where the run lies, and what it shows."""
        to, length, source, step = self
        last = source + step * (length - 1)
        stop = last + (step or 1)
        return slice(to, to + length), slice(source, None if stop < 0 else stop, step or 1)


_SOURCE: dict[str, Callable[[int, int], int]] = {
    "edge": lambda p, n: min(max(p, 0), n - 1),
    "wrap": lambda p, n: p % n,
    "symmetric": lambda p, n: min(p % (2 * n), 2 * n - 1 - p % (2 * n)),
    "reflect": lambda p, n: min(p % max(2 * n - 2, 1), 2 * n - 2 - p % max(2 * n - 2, 1)),
}
"""Which element of an axis of size n stands at place p, p < 0 or p >= n."""


@lru_cache(maxsize=256)
def _runs(n: int, before: int, after: int, mode: str) -> tuple[Run, ...]:
    """The padded places of one axis as runs; places and sources count in the padded axis.

    Runs turn the gather, and above all the scatter-add of the adjoint, into sums of slices: no
    atomics, the same bits each time.
    """
    found: list[Run] = []
    for start, stop in ((-before, 0), (n, n + after)):
        run: Run | None = None
        for p in range(start, stop):
            source = _SOURCE[mode](p, n) + before
            if run is not None and run.length == 1 and abs(source - run.source) <= 1:
                run = Run(run.to, 2, run.source, source - run.source)
            elif run is not None and source == run.source + run.step * run.length:
                run = run._replace(length=run.length + 1)
            else:
                if run is not None:
                    found.append(run)
                run = Run(p + before, 1, source, 0)
        if run is not None:
            found.append(run)
    return tuple(found)


@primitive(
    arity=1,
    linear=True,
    cases=[
        case((3, 4), widths=((1, 2), (3, 0)), mode="reflect"),
        case((3, 4), widths=((1, 2), (0, 6)), mode="symmetric"),
        case((3, 2), widths=((4, 5), (1, 1)), mode="wrap"),
        case((3, 1), widths=((0, 2), (3, 1)), mode="edge"),
    ],
)
def extend(xp: Any, x: Any, widths: Widths, mode: str) -> Any:
    """x continued beyond its borders by its own elements; see `pad` for the modes."""
    y = xp.empty(_grown(x.shape, widths), x.dtype)
    inside = _inside(x.shape, widths)
    y[inside] = x
    for i, (n, (before, after)) in enumerate(zip(x.shape, widths, strict=True)):
        done, rest = (slice(None),) * i, inside[i + 1 :]
        for run in _runs(n, before, after, mode):
            to, source = run.slices()
            y[(*done, to, *rest)] = y[(*done, source, *rest)]
    return y


@extend.adjoint
def _(g: Any, _y: Any, _x: Any, widths: Widths, mode: str) -> Any:
    return fold(g, widths, mode)


@primitive(
    arity=1,
    linear=True,
    wide=True,  # a border element gathers many cotangents
    cases=[
        case((6, 7), widths=((1, 2), (3, 0)), mode="reflect"),
        case((5, 2), widths=((2, 2), (0, 1)), mode="edge"),
    ],
)
def fold(xp: Any, x: Any, widths: Widths, mode: str) -> Any:
    """The padding of x added back onto the elements it was copied from: the adjoint of `extend`."""
    y = x.copy()
    shape = tuple(n - before - after for n, (before, after) in zip(x.shape, widths, strict=True))
    inside = _inside(shape, widths)
    for i in reversed(range(len(shape))):
        before, after = widths[i]
        done, rest = (slice(None),) * i, inside[i + 1 :]
        for run in _runs(shape[i], before, after, mode):
            to, source = run.slices()
            part = y[(*done, to, *rest)]
            y[(*done, source, *rest)] += part if run.step else part.sum(axis=i, keepdims=True)
    return y[inside]


@fold.adjoint
def _(g: Any, _y: Any, _x: Any, widths: Widths, mode: str) -> Any:
    return extend(g, widths, mode)


# --- as people call it ---


def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """x with `pad_width` elements more before and after each axis, as NumPy's pad.

    `pad_width` is a number, (before, after) for all axes, one such pair for each axis, or a dict
    from axes to either. `constant_values` are numbers, which have no gradient. Modes,
    for the axis 1 2 3: constant `0 0 | 1 2 3 | 0 0`, reflect `3 2 | 1 2 3 | 2 1`, symmetric
    `2 1 | 1 2 3 | 3 2`, edge `1 1 | 1 2 3 | 3 3`, wrap `2 3 | 1 2 3 | 1 2`; a padding wider than
    the array goes on in the same way. ShapeError for negative widths, and for an empty axis in any
    mode but constant.

    >>> import gradengine as ge
    >>> ge.pad(ge.tensor([1.0, 2.0, 3.0]), (1, 2), mode="reflect")
    tensor([2., 1., 2., 3., 2., 1.])
    """
    ndim = len(x.shape)
    if isinstance(pad_width, dict):
        given = {as_axis(axis, ndim, "pad"): width for axis, width in cast(Any, pad_width).items()}
        pad_width = [given.get(axis, 0) for axis in range(ndim)]
        pad_width = [pair if isinstance(pair, (list, tuple)) else (pair,) for pair in pad_width]
    widths = _pairs(pad_width, ndim, "pad_width")
    if min((w for pair in widths for w in pair), default=0) < 0:
        raise ShapeError(
            hinted(f"pad: pad_width={pad_width} is negative", "use x[start:stop] to cut off")
        )
    if mode == "constant":
        values = _pairs(constant_values, ndim, "constant_values")
        if all(v == 0 for pair in values for v in pair):
            return pad_zeros(x, widths)
        return pad_constant(x, widths, values)
    if mode not in _SOURCE:
        known = ", ".join(("constant", *_SOURCE))
        raise ValueError(hinted(f"pad: mode {mode!r} is not known", f"one of {known}"))
    empty = [i for i, n in enumerate(x.shape) if n == 0 and any(widths[i])]
    if empty:
        raise ShapeError(
            hinted(
                f"pad: axis {empty[0]} of {tuple(x.shape)} has no element to continue with",
                'use mode="constant"',
            )
        )
    return extend(x, widths, mode)


def _pairs(value: Any, ndim: int, name: str) -> tuple[tuple[Any, Any], ...]:
    """A number, a pair, or one pair for each axis, broadcast to a pair for each axis."""
    if isinstance(value, Traced) and cast(Any, value).node is not None:
        raise GraphError(hinted(f"pad: {name} has no derivative", "use ge.concat, or detach() it"))
    value = cast(Any, value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    rows = cast(Any, value) if isinstance(value, (list, tuple)) else [value]
    if not any(isinstance(row, (list, tuple)) for row in rows):
        rows = [rows]
    pairs: list[Any] = [row if isinstance(row, (list, tuple)) else (row,) for row in rows]
    if len(pairs) not in (1, ndim) or not all(len(pair) in (1, 2) for pair in pairs):
        raise ShapeError(
            hinted(
                f"pad: {name}={value} does not fit an array of {ndim} axes",
                "give a number, (before, after), or one (before, after) for each axis",
            )
        )
    full: tuple[tuple[Any, Any], ...] = tuple((pair[0], pair[-1]) for pair in pairs)
    return full * ndim if len(full) == 1 else full
