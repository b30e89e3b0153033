"""Reductions: sums, products, moments, extremes, and what is counted or found.

`axis` is None (all axes), an integer or a tuple; `keepdims` leaves size 1 where an axis was. Sums,
products and moments of 16-bit floats accumulate in float32. Elements that tie for a maximum or
minimum share its gradient evenly. Running sums follow in cumulative.py, softmax, norms and their
kin in normalisation.py.

Letters: `x` input, `y` output, `g` cotangent, `n` how many elements were reduced to one.

Floor 3: stands on op.py, shape.py and joining.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import SCALARS, quiet
from ..dtypes import as_dtype
from ..errors import ShapeError, hinted
from ..op import Draw, case, distinct, pointwise, primitive, real, zero_like
from .axes import Axis, as_axes, keep_shape
from .joining import concat
from .padding import pad_constant
from .shape import moveaxis, reshape, spread

SHAPES = [
    case((3, 4)),
    case((3, 4), axis=1),
    case((3, 4), axis=-2, keepdims=True),
    case((2, 3, 2), axis=(0, -1)),
    case((2, 3), keepdims=True),
    case(()),
]
EMPTY = [case((0,)), case((0, 3), axis=0), case((0, 3), axis=1), case((3, 0), axis=-1)]
DISTINCT = [case(*(Draw(shape, distinct()) for shape in c.inputs), **c.params) for c in SHAPES]


# --- what reductions share ---


def count(shape: tuple[int, ...], axis: Axis, name: str = "reduction") -> int:
    """How many elements of an array of `shape` are reduced to one over `axis`."""
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[i] for i in as_axes(axis, len(shape), name))


def kept(y: Any, x_like: Any, axis: Axis, keepdims: bool) -> Any:
    """A reduction of `x_like` with its axes kept, so that it broadcasts against x."""
    if axis is None or keepdims:
        return y
    return y.reshape(keep_shape(x_like.shape, as_axes(axis, len(x_like.shape), "reduction")))


def is_half(dtype: Any) -> bool:
    """Whether `dtype` is a 16-bit float, whose sums need a wider accumulator."""
    return dtype.itemsize == 2 and dtype.kind in "fV"


def widened(x: Any) -> Any:
    """x in float32 if it is a 16-bit float, on the tape if x is."""
    return x.astype("float32") if is_half(x.dtype) else x


def accumulated(reduce: Any, x: Any, dtype: Any, **options: Any) -> Any:
    """The sum or product of x as `dtype` (None: x's), accumulated in float32 for 16-bit floats."""
    target = x.dtype if dtype is None else as_dtype(dtype)
    if is_half(target):
        return reduce(dtype="float32", **options).astype(target)
    return reduce(**options) if dtype is None else reduce(dtype=target, **options)


def _quotient_or_zero(xp: Any, a: Any, b: Any) -> Any:
    if isinstance(b, SCALARS):
        return a / (b or math.inf)
    return a / xp.where(b == 0, math.inf, b)


quotient_or_zero = pointwise(
    "quotient_or_zero",
    forward=_quotient_or_zero,
    partials=(
        lambda _y, _a, b: quotient_or_zero(1, b),
        lambda y, _a, b: -quotient_or_zero(y, b),
    ),
    sample=real(-2, 2, 0, gap=0.3),
    doc="a / b, and 0 where b is 0: there the value and every derivative are 0.",
)


# --- sums and means ---


@primitive(arity=1, linear=True, cases=[*SHAPES, *EMPTY])
def sum(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """y = x_1 + ... + x_n over `axis`; the sum of no element is 0.

    >>> import gradengine as ge
    >>> ge.sum(ge.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([4., 6.])
    """
    return accumulated(x.sum, x, dtype, axis=axis, keepdims=keepdims)


@sum.adjoint
def _(g: Any, _y: Any, x_like: Any, axis: Axis, keepdims: bool, dtype: Any) -> Any:
    return spread(g, x_like, axis, keepdims)


@primitive(arity=1, linear=True, cases=SHAPES)
def mean(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """y = (x_1 + ... + x_n) / n over `axis`; integers give float64, no elements NaN.

    >>> import gradengine as ge
    >>> ge.mean(ge.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """
    dtype, n = x.dtype, count(x.shape, axis, "mean")
    if is_half(dtype):
        return (x.sum(axis=axis, keepdims=keepdims, dtype="float32") / n).astype(dtype)
    if dtype.kind in "fcV":
        y = x.sum(axis=axis, keepdims=keepdims)
    else:
        y = x.sum(axis=axis, keepdims=keepdims, dtype="float64")
    y /= n
    return y


@mean.adjoint
def _(g: Any, _y: Any, x_like: Any, axis: Axis, keepdims: bool) -> Any:
    n = count(x_like.shape, axis)
    return spread(g / n if n else g, x_like, axis, keepdims)


# --- variance and standard deviation ---

_MOMENTS = [*SHAPES[:5], case((4,), correction=1), case((3, 4), axis=1, correction=1.5)]


@primitive(arity=1, wide=True, cases=_MOMENTS)
def var(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Any:
    """y = sum((x - mean)**2) / (n - correction) over `axis`: the variance.

    Where n <= correction the value and the gradient are NaN, as the array API standard says.

    >>> import gradengine as ge
    >>> ge.var(ge.tensor([1.0, 2.0, 3.0]), correction=1)
    tensor(1.)
    """
    return _variance("var", xp, x, axis, keepdims, correction)


def _variance(name: str, xp: Any, x: Any, axis: Axis, keepdims: bool, correction: float) -> Any:
    free = count(x.shape, axis, name) - correction
    if x.dtype.kind not in "fcV":
        x = x.astype("float64")
    if free <= 0:
        shape = keep_shape(x.shape, as_axes(axis, x.ndim, name))
        y = xp.full(shape, math.nan, dtype=x.real.dtype)
        return y if keepdims else y.squeeze(as_axes(axis, x.ndim, name))
    d = x - mean(x, axis=axis, keepdims=True)
    if d.dtype.kind == "c":
        d = d.real**2 + d.imag**2
    else:
        d *= d
    y = d.sum(axis=axis, keepdims=keepdims)
    y /= free
    return y


@var.adjoint
def _(g: Any, _y: Any, x: Any, axis: Axis, keepdims: bool, correction: float) -> Any:
    free = count(x.shape, axis) - correction
    g, x = kept(widened(g), x, axis, keepdims), widened(x)
    if free <= 0:
        return g * (x * math.nan)
    return g * (2 / free) * (x - mean(x, axis=axis, keepdims=True))


@primitive(arity=1, wide=True, cases=_MOMENTS)
def std(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Any:
    """y = sqrt(var(x)): the standard deviation over `axis`; see `var`.

    Where all elements are equal y is 0, and so are its derivatives of all orders.

    >>> import gradengine as ge
    >>> ge.std(ge.tensor([1.0, 3.0]))
    tensor(1.)
    """
    return xp.sqrt(_variance("std", xp, x, axis, keepdims, correction))


@std.adjoint
def _(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool, correction: float) -> Any:
    free = count(x.shape, axis) - correction
    g, y = (kept(widened(z), x, axis, keepdims) for z in (g, y))
    x = widened(x)
    if free <= 0:
        return g * (x * math.nan)
    return g / free * quotient_or_zero(x - mean(x, axis=axis, keepdims=True), y)


# --- maximum and minimum ---


@primitive(arity=1, cases=DISTINCT)
def max(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest element over `axis`; NaN where there is one. Ties share the gradient evenly.

    ShapeError where there is no element to choose from.

    >>> import gradengine as ge
    >>> ge.grad(ge.max)(ge.tensor([1.0, 3.0, 3.0]))
    tensor([0. , 0.5, 0.5])
    """
    return _extreme("max", x, axis, keepdims)


@primitive(arity=1, cases=DISTINCT)
def min(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest element over `axis`; NaN where there is one. Ties share the gradient evenly.

    ShapeError where there is no element to choose from.

    >>> import gradengine as ge
    >>> ge.min(ge.tensor([[1.0, 3.0], [0.0, 4.0]]), axis=1)
    tensor([1., 0.])
    """
    return _extreme("min", x, axis, keepdims)


@max.adjoint
def _(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    y = kept(y, x, axis, keepdims)
    return kept(g, x, axis, keepdims) * tie_shares(x, y, axis=axis)


@min.adjoint
def _(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    y = kept(y, x, axis, keepdims)
    return kept(g, x, axis, keepdims) * tie_shares(x, y, axis=axis)


_ONES = real(1, 1)


@primitive(
    arity=2, differentiable=False, cases=[case(Draw((3, 4), _ONES), Draw((3, 1), _ONES), axis=1)]
)
def tie_shares(xp: Any, x: Any, y: Any, axis: Axis = None) -> Any:
    """1/k where x is one of the k elements over `axis` that equal y, 0 elsewhere; NaN if none."""
    hits = x == y
    with quiet():
        return hits * (1 / hits.sum(axis=axis, keepdims=True)).astype(x.dtype)


def _extreme(name: str, x: Any, axis: Axis, keepdims: bool) -> Any:
    try:
        return getattr(x, name)(axis=axis, keepdims=keepdims)
    except ValueError as error:
        if x.size:
            raise
        raise ShapeError(
            hinted(
                f"{name}: {tuple(x.shape)} has no element to choose from over axis={axis}",
                "leave out empty arrays, or concat the value that an empty one should give",
            )
        ) from error


amax, amin = max, min


# --- products ---


@primitive(arity=1, cases=[*SHAPES, *EMPTY])
def prod(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """y = x_1 * ... * x_n over `axis`; the product of no element is 1.

    The gradient, dy/dx_i = the product of the others, is exact however many elements are 0, and so
    are higher orders: nothing is divided.

    >>> import gradengine as ge
    >>> ge.grad(ge.prod)(ge.tensor([2.0, 0.0, 3.0]))
    tensor([0., 6., 0.])
    """
    return accumulated(x.prod, x, dtype, axis=axis, keepdims=keepdims)


@prod.adjoint
def _(g: Any, _y: Any, x: Any, axis: Axis, keepdims: bool, dtype: Any) -> Any:
    return kept(g, x, axis, keepdims) * product_of_others(widened(x), axis)


def product_of_others(x: Any, axis: Axis) -> Any:
    """For each element the product of all others over `axis`, without a division.

    Pairs are multiplied up a tree of depth log2(n) and handed down again, O(n) in all. Written with
    engine operations, so that its derivatives of every order are exact too.
    """
    axes = as_axes(axis, len(x.shape), "prod")
    last = tuple(range(-len(axes), 0))
    moved = moveaxis(x, axes, last)
    shape = moved.shape
    flat = reshape(moved, (*shape[: len(shape) - len(axes)], count(x.shape, axes)))
    return moveaxis(reshape(_others(flat), shape), last, axes)


def _others(x: Any) -> Any:
    n = x.shape[-1]
    if n <= 1:
        return zero_like(x) + 1
    if n % 2:
        ends = ((0, 0),) * (len(x.shape) - 1)
        return _others(pad_constant(x, (*ends, (0, 1)), (*ends, (0, 1))))[..., :n]
    a, b = x[..., : n // 2], x[..., n // 2 :]
    rest = _others(a * b)
    return concat([rest * b, rest * a], axis=-1)


# --- true, counted, found: no gradient ---


@primitive(arity=1, differentiable=False, cases=SHAPES)
def all(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether all elements over `axis` are nonzero; True for none.

    >>> import gradengine as ge
    >>> bool(ge.all(ge.tensor([1.0, 0.0])))
    False
    """
    return x.all(axis=axis, keepdims=keepdims)


@primitive(arity=1, differentiable=False, cases=SHAPES)
def any(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether any element over `axis` is nonzero; False for none.

    >>> import gradengine as ge
    >>> bool(ge.any(ge.tensor([1.0, 0.0])))
    True
    """
    return x.any(axis=axis, keepdims=keepdims)


@primitive(arity=1, differentiable=False, cases=SHAPES)
def count_nonzero(xp: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements over `axis` are not 0.

    >>> import gradengine as ge
    >>> int(ge.count_nonzero(ge.tensor([1.0, 0.0, 2.0])))
    2
    """
    if axis is None and not keepdims:
        return xp.count_nonzero(x)
    return (x != 0).sum(axis=axis, keepdims=keepdims)


@primitive(arity=1, differentiable=False, cases=SHAPES[:3])
def argmax(xp: Any, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the largest element (the first, or the first NaN) along `axis`, or flattened.

    >>> import gradengine as ge
    >>> int(ge.argmax(ge.tensor([1.0, 3.0, 3.0])))
    1
    """
    return _extreme("argmax", x, axis, keepdims)


@primitive(arity=1, differentiable=False, cases=SHAPES[:3])
def argmin(xp: Any, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the smallest element (the first, or the first NaN) along `axis`, or flattened.

    >>> import gradengine as ge
    >>> int(ge.argmin(ge.tensor([1.0, 0.0, 3.0])))
    1
    """
    return _extreme("argmin", x, axis, keepdims)
