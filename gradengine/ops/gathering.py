"""Gathering and scattering by arrays of positions; sorting.

Letters: `x` input, `v` values, `y` output, `g` cotangent. `take` reads whole slices along one axis,
`gather` single elements; `scatter_along` adds back what they read. Arrays of positions are inputs
of the ops, so the tape sees a change to them, but no derivative reaches them.

Floor 3: stands on op.py, indexing.py and shape.py.
"""

from __future__ import annotations

from typing import Any

from ..device import Array, as_array, is_array, is_host, namespace
from ..errors import DTypeError, OutOfRangeError, ShapeError, hinted
from ..op import Draw, case, distinct, integers, primitive
from ..tape import Traced
from .indexing import add_at, check_range, getitem, index_array, overwrite_, take_positions
from .shape import as_axis, broadcast_to, ravel


def positions(indices: Any, x: Any, name: str) -> Any:
    """`indices` as an integer array or Tensor, a list's on x's device; else DTypeError."""
    if not isinstance(indices, Traced) and not is_array(indices):
        indices = as_array(indices)
        if not indices.size:
            indices = indices.astype("int64")
        indices = index_array(x, indices, name)
    found: Any = indices
    if found.dtype.kind not in "iu":
        raise DTypeError(
            hinted(f"{name}: indices must be integers, not {found.dtype}", 'i.astype("int64")')
        )
    return found


def _raw(x: Any) -> Any:
    return x.array if isinstance(x, Traced) else x


def as_operand(x: Any) -> Any:
    """x, a list as an array."""
    return x if isinstance(x, Traced) or is_array(x) else as_array(x)


# --- whole slices along an axis ---


@primitive(
    linear=(0,),
    arity=2,
    cases=[
        case((4, 3), Draw((5,), integers(-4, 3)), axis=0),
        case((2, 4), Draw((2, 3), integers(0, 3)), axis=1),
        case((2, 3, 2), Draw((), integers(0, 2)), axis=-2),
        case((4, 3), Draw((0,), integers(0, 3)), axis=0),
    ],
)
def take_(xp: Any, x: Any, indices: Any, axis: int = 0) -> Any:
    """y = the slices of x at `indices` along `axis`."""
    if not is_host(xp):
        check_range(xp, indices, x.shape[axis], axis, "take")
    return xp.take(x, indices, axis=axis)


@take_.adjoint(0)
def _(g: Any, _y: Any, x_like: Any, indices: Any, axis: int) -> Any:
    return take_back(g, indices, shape=tuple(x_like.shape), axis=axis % len(x_like.shape))


@primitive(
    linear=(0,),
    arity=2,
    wide=True,
    cases=[
        case((5, 3), Draw((5,), integers(0, 3)), shape=(4, 3), axis=0),
        case((2, 2, 3), Draw((2, 3), integers(-4, 3)), shape=(2, 4), axis=1),
    ],
)
def take_back(xp: Any, g: Any, indices: Any, shape: Any, axis: int) -> Any:
    """Zeros of `shape` to which the slices `g` are added at `indices`: the adjoint of take."""
    y = xp.zeros(shape, g.dtype)
    add_at(xp, y, take_positions(xp, y.shape, indices, axis), g)
    return y


@take_back.adjoint(0)
def _(g: Any, _y: Any, _x: Any, indices: Any, shape: Any, axis: int) -> Any:
    return take_(g, indices, axis=axis)


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of `x` at `indices` along `axis`: y[..., i, ...] = x[..., indices[i], ...].

    `indices` may have any shape and stands in the result where the axis was. Without an axis, x
    is flattened first. Negative indices count from the end. An embedding is
    take(weight, tokens, 0). Raises OutOfRangeError, DTypeError for indices that are no integers.

    >>> import gradengine as ge
    >>> ge.take(ge.tensor([1.0, 2.0, 3.0]), [2, 0, 2])
    tensor([3., 1., 3.])
    """
    if axis is None:
        x, axis = ravel(x), 0
    return take_(x, positions(indices, x, "take"), axis=axis)


# --- elements along an axis ---


@primitive(
    linear=(0,),
    arity=2,
    cases=[
        case((4, 3), Draw((2, 3), integers(-4, 3)), axis=0),
        case((3, 4), Draw((3, 5), integers(0, 3)), axis=1),
        case((3, 4), Draw((2, 2), integers(0, 3)), axis=-1),
        case((4,), Draw((6,), integers(0, 3)), axis=0),
        case((3, 4), Draw((3, 0), integers(0, 3)), axis=1),
    ],
)
def gather_(xp: Any, x: Any, indices: Any, axis: int) -> Any:
    """y[i, j] = x[indices[i, j], j] for axis 0, and so on."""
    if not is_host(xp):
        check_range(xp, indices, x.shape[axis], axis, "gather")
    return x[_grid(xp, indices, axis)]


@gather_.adjoint(0)
def _(g: Any, _y: Any, x_like: Any, indices: Any, axis: int) -> Any:
    return scatter_along(g, indices, shape=tuple(x_like.shape), axis=axis)


@primitive(
    linear=(0,),
    arity=2,
    wide=True,
    cases=[
        case((2, 3), Draw((2, 3), integers(-4, 3)), shape=(4, 3), axis=0),
        case((2, 2), Draw((2, 2), integers(0, 3)), shape=(3, 4), axis=-1),
    ],
)
def scatter_along(xp: Any, g: Any, indices: Any, shape: Any, axis: int) -> Any:
    """Zeros of `shape` to which `g` is added at `indices` along `axis`: the adjoint of gather."""
    y = xp.zeros(shape, g.dtype)
    add_at(xp, y, _flat(xp, y.shape, indices, axis), g)
    return y


@scatter_along.adjoint(0)
def _(g: Any, _y: Any, _x: Any, indices: Any, shape: Any, axis: int) -> Any:
    return gather_(g, indices, axis=axis)


def _grid(xp: Any, indices: Array, axis: int, shape: Any = None) -> tuple[Array, ...]:
    """An index that reads `indices` along `axis` and the own position along all other axes."""
    shape = indices.shape if shape is None else shape
    last = len(shape) - 1
    grid = [xp.arange(n).reshape(-1, *(1,) * (last - i)) for i, n in enumerate(shape)]
    grid[axis] = indices
    return tuple(grid)


def _flat(xp: Any, shape: tuple[int, ...], indices: Array, axis: int) -> Array:
    """Flat positions in an array of `shape` of what `_grid` reads."""
    axis %= indices.ndim
    grid = list(_grid(xp, indices, axis))
    grid[axis] = xp.where(indices < 0, indices + shape[axis], indices)
    total, stride = 0, 1
    for own, size in zip(reversed(grid), reversed(shape), strict=True):
        total = total + own.astype("int64") * stride
        stride *= size
    return total


def _checked(x: Any, indices: Any, axis: int, name: str) -> int:
    """`axis`, after a look at the shapes: the same rank, and off the axis no larger than x."""
    axis = as_axis(axis, len(x.shape), name)
    small = len(indices.shape) == len(x.shape) and all(
        n <= m for i, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True)) if i != axis
    )
    if not small:
        raise ShapeError(
            hinted(
                f"{name}: indices {tuple(indices.shape)} do not fit x {tuple(x.shape)} "
                f"along axis {axis}",
                "both need the same number of axes, and indices no more than x off the axis",
            )
        )
    return axis


def gather(x: Any, indices: Any, axis: int = -1) -> Any:
    """Elements of `x` picked along `axis`: y[i, j] = x[indices[i, j], j] for axis 0, and so on.

    The result has the shape of `indices`, which off the axis may be smaller than x (PyTorch's
    `gather`); `take_along_axis` broadcasts instead. Raises ShapeError, OutOfRangeError, DTypeError.

    >>> import gradengine as ge
    >>> ge.gather(ge.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1], [0]], axis=1).tolist()
    [[2.0], [3.0]]
    """
    x, indices = as_operand(x), positions(indices, x, "gather")
    return gather_(x, indices, axis=_checked(x, indices, axis, "gather"))


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Elements of `x` picked along `axis`, the other axes of `x` and `indices` broadcast.

    It undoes argsort: take_along_axis(x, argsort(x, axis), axis) is sorted.

    >>> import gradengine as ge
    >>> take_along_axis(ge.tensor([[3.0, 1.0, 2.0]]), [[1, 2, 0]], axis=1)
    tensor([[1., 2., 3.]])
    """
    x, indices = as_operand(x), positions(indices, x, "take_along_axis")
    axis = as_axis(axis, len(x.shape), "take_along_axis")
    x, indices = _broadcast_off(x, indices, axis, "take_along_axis")
    return gather_(x, indices, axis=axis)


def _broadcast_off(x: Any, indices: Any, axis: int, name: str) -> tuple[Any, Any]:
    """Both arrays broadcast to each other along all axes but one."""
    a, b = tuple(x.shape), tuple(indices.shape)
    pairs = list(zip(a, b, strict=False))
    off = [i for i in range(len(a)) if i != axis]
    if len(a) != len(b) or any(pairs[i][0] != pairs[i][1] and 1 not in pairs[i] for i in off):
        raise ShapeError(
            hinted(
                f"{name}: x {a} and indices {b} do not broadcast off axis {axis}",
                "all axes but that one must be equal or 1",
            )
        )
    common = [n if m == 1 else m for n, m in pairs]
    for i in off:
        if pairs[i][0] != pairs[i][1]:
            x = broadcast_to(x, shape=(*common[:axis], a[axis], *common[axis + 1 :]))
            indices = broadcast_to(indices, shape=(*common[:axis], b[axis], *common[axis + 1 :]))
            break
    return x, indices


@primitive(
    arity=3,
    wide=True,
    cases=[
        case((4, 3), Draw((2, 3), integers(-4, 3)), (2, 3), axis=0),
        case((3, 4), Draw((2, 5), integers(0, 3)), (2, 5), axis=1),
        case((3, 4), Draw((3, 0), integers(0, 3)), (3, 0), axis=1),
    ],
)
def scatter_add_(xp: Any, x: Any, indices: Any, values: Any, axis: int) -> Any:
    """A copy of x to which `values` are added at `indices` along `axis`."""
    check_range(xp, indices, x.shape[axis], axis, "scatter_add")
    y = x.copy(order="C")
    add_at(xp, y, _flat(xp, y.shape, indices, axis), values)
    return y


@scatter_add_.adjoint(0)
def _(g: Any, _y: Any, _x: Any, _indices: Any, _values: Any, axis: int) -> Any:
    return g


@scatter_add_.adjoint(2)
def _(g: Any, _y: Any, _x: Any, indices: Any, _values: Any, axis: int) -> Any:
    return gather_(g, indices, axis=axis)


def scatter_add(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """x with `values` added: y[indices[i, j], j] += values[i, j] for axis 0, and so on.

    Repeated positions add up. Shapes as in PyTorch's `scatter_add`: off the axis, `indices` may be
    smaller than x, and everywhere smaller than `values`, whose rest is not used. 16-bit floats
    accumulate in float32. Raises ShapeError, OutOfRangeError, DTypeError.

    >>> import gradengine as ge
    >>> ge.scatter_add(ge.tensor([0.0, 0.0, 0.0]), [0, 2, 2], ge.tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 0., 5.])
    """
    x, values = as_operand(x), as_operand(values)
    indices = positions(indices, x, "scatter_add")
    axis = _checked(x, indices, axis, "scatter_add")
    if tuple(values.shape) != tuple(indices.shape):
        short = len(values.shape) != len(indices.shape) or any(
            n > m for n, m in zip(indices.shape, values.shape, strict=True)
        )
        if short:
            raise ShapeError(
                hinted(
                    f"scatter_add: indices {tuple(indices.shape)} exceed "
                    f"values {tuple(values.shape)}",
                    "each index needs a value: broadcast_to(values, indices.shape)",
                )
            )
        values = getitem(values, tuple(slice(n) for n in indices.shape))
    return scatter_add_(x, indices, values, axis=axis)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """A copy of x with `values`, broadcast, written at `indices` along `axis`.

    What `take_along_axis` reads, this writes; where an index repeats, the last value wins.

    >>> import gradengine as ge
    >>> put_along_axis(ge.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1], [0]], 0.0, axis=1).tolist()
    [[1.0, 0.0], [0.0, 4.0]]
    """
    x, indices = as_operand(x), positions(indices, x, "put_along_axis")
    axis = as_axis(axis, len(x.shape), "put_along_axis")
    _broadcast_off(x, indices, axis, "put_along_axis")
    rows = index_array(x, _raw(indices), "put_along_axis")
    grid = _grid(namespace(rows), rows, axis, tuple(x.shape))
    return overwrite_.op.run((x, values), {"index": grid, "steps": ()})


# --- classes as rows ---


@primitive(
    differentiable=False,
    arity=1,
    cases=[
        case(Draw((3,), integers(0, 3)), num_classes=4, dtype="float32"),
        case(Draw((2, 3), integers(0, 2)), num_classes=3, dtype="float64"),
        case(Draw((), integers(0, 1)), num_classes=2, dtype="int64"),
        case(Draw((0,), integers(0, 1)), num_classes=2, dtype="float32"),
    ],
)
def one_hot_(xp: Any, indices: Any, num_classes: int, dtype: Any) -> Any:
    """Rows of zeros with a one at each index."""
    wrong = (indices < 0) | (indices >= num_classes)
    if bool(wrong.any()):
        raise OutOfRangeError(
            hinted(
                f"one_hot: class {int(indices[wrong][0])} lies outside [0, {num_classes - 1}]",
                "set num_classes to the number of classes, or map the labels to 0, 1, ...",
            )
        )
    y = xp.zeros((indices.size, num_classes), dtype)
    y[xp.arange(indices.size), indices.reshape(-1)] = 1
    return y.reshape(*indices.shape, num_classes)


def one_hot(indices: Any, num_classes: int | None = None, dtype: Any = "float32") -> Any:
    """Class numbers as rows with a single one: y[..., c] = 1 if indices[...] == c else 0.

    `num_classes` defaults to the largest index plus one. The result is a constant of `dtype`
    (float32, so that a product with it keeps float32). Raises OutOfRangeError, DTypeError.

    >>> import gradengine as ge
    >>> ge.one_hot(ge.tensor([1, 0]), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    indices = positions(indices, indices, "one_hot")
    if num_classes is None:
        raw = _raw(indices)
        num_classes = int(raw.max()) + 1 if raw.size else 0
    return one_hot_.op.run((indices,), {"num_classes": num_classes, "dtype": dtype})


def nonzero(x: Any) -> tuple[Any, ...]:
    """Positions of the elements that are not zero: one integer array for each axis of `x`.

    >>> import gradengine as ge
    >>> [i.tolist() for i in nonzero(ge.tensor([[0.0, 2.0], [3.0, 0.0]]))]
    [[0, 1], [1, 0]]
    """
    found = argwhere_(x)
    return tuple(found[i] for i in range(found.shape[0]))


@primitive(
    differentiable=False,
    arity=1,
    cases=[case(Draw((3, 4), integers(0, 1))), case((2, 3)), case((0, 3)), case((5,))],
)
def argwhere_(xp: Any, x: Any) -> Any:
    """Positions of the nonzero elements, one row for each axis."""
    if not x.ndim:
        raise ShapeError(hinted("nonzero: a 0-d array has no positions", "compare: x != 0"))
    return xp.stack(xp.nonzero(x))


# --- sorting ---


@primitive(
    differentiable=False,
    arity=1,
    cases=[
        case(Draw((3, 4), distinct())),
        case(Draw((3, 4), distinct()), axis=0, descending=True),
        case(Draw((4,), integers(0, 1)), stable=True),
        case((0, 3)),
    ],
)
def argsort(xp: Any, x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Positions that sort `x` along `axis`; NaN counts as the largest.

    Equal elements keep their order, descending too. The result is a constant.

    >>> import gradengine as ge
    >>> ge.argsort(ge.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable" if stable else None)
    back = xp.argsort(xp.flip(x, axis), axis=axis, kind="stable" if stable else None)
    return x.shape[axis] - 1 - xp.flip(back, axis)


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The elements of `x` in order along `axis`; the gradient goes where each came from.

    >>> import gradengine as ge
    >>> sort(ge.tensor([3.0, 1.0, 2.0]), descending=True)
    tensor([3., 2., 1.])
    """
    x = as_operand(x)
    axis = as_axis(axis, len(x.shape), "sort")
    return gather_(x, argsort(x, axis, descending, stable), axis=axis)
