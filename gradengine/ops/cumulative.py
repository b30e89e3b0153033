"""Running sums and products along one axis.

Letters: `x` input, `y` output, `g` cotangent, `n` the size of the axis.

Floor 3: stands on op.py, shape.py, joining.py and reductions.py.
"""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, hinted
from ..op import case, primitive
from .axes import as_axis
from .joining import stack
from .padding import pad_constant, pad_zeros
from .reductions import accumulated, widened
from .shape import flip, moveaxis, ravel, reshape

_CASES = [
    case((4,)),
    case((3, 4), axis=1),
    case((5, 3), axis=-2, include_initial=True),
    case((1, 2), axis=0),
    case((0, 3), axis=0),
    case((3, 0), axis=0, include_initial=True),
]


def _one_axis(name: str, shape: tuple[int, ...], axis: int | None) -> int:
    if axis is None and len(shape) > 1:
        raise ShapeError(
            hinted(
                f"{name}: {tuple(shape)} has several axes and none was named",
                "give axis=..., or flatten with ge.ravel(x) first",
            )
        )
    return as_axis(0 if axis is None else axis, len(shape) or 1, name)


def _running(xp: Any, x: Any, name: str, axis: int | None, dtype: Any, initial: int | None) -> Any:
    """Cumulative sums or products, with an initial element in front if one is given."""
    axis = _one_axis(name, x.shape, axis)
    if x.ndim == 0:
        x = x.reshape((1,))
    y = accumulated(x.cumsum if "sum" in name else x.cumprod, x, dtype, axis=axis)
    if initial is None:
        return y
    first = xp.full((*y.shape[:axis], 1, *y.shape[axis + 1 :]), initial, dtype=y.dtype)
    return xp.concatenate([first, y], axis=axis)


# --- sums ---


@primitive(arity=1, linear=True, cases=_CASES)
def cumulative_sum(
    xp: Any,
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Any:
    """y_k = x_1 + ... + x_k along `axis`; with `include_initial` a 0 stands in front.

    `axis` may be left out for one-dimensional arrays only (ShapeError).

    >>> import gradengine as ge
    >>> ge.cumulative_sum(ge.tensor([1.0, 2.0, 3.0]), include_initial=True)
    tensor([0., 1., 3., 6.])
    """
    return _running(xp, x, "cumulative_sum", axis, dtype, 0 if include_initial else None)


@cumulative_sum.adjoint
def _(g: Any, _y: Any, x_like: Any, axis: int | None, dtype: Any, include_initial: bool) -> Any:
    axis = _one_axis("cumulative_sum", x_like.shape, axis)
    g = _without_first(g, axis) if include_initial else g
    return flip(cumulative_sum(flip(g, axis), axis=axis), axis)


def _without_first(g: Any, axis: int) -> Any:
    return g[(*(slice(None),) * axis, slice(1, None))]


def cumsum(x: Any, /, axis: int | None = None, dtype: Any = None) -> Any:
    """NumPy's running sum: `cumulative_sum`, of x flattened where no axis is named.

    >>> import gradengine as ge
    >>> ge.cumsum(ge.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([ 1.,  3.,  6., 10.])
    """
    return cumulative_sum(ravel(x) if axis is None else x, axis=axis, dtype=dtype)


# --- products ---


@primitive(arity=1, cases=_CASES)
def cumulative_prod(
    xp: Any,
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Any:
    """y_k = x_1 * ... * x_k along `axis`; with `include_initial` a 1 stands in front.

    The gradient is exact however many elements are 0, and so are higher orders. `axis` may be left
    out for one-dimensional arrays only (ShapeError).

    >>> import gradengine as ge
    >>> ge.cumulative_prod(ge.tensor([1.0, 2.0, 3.0]))
    tensor([1., 2., 6.])
    """
    return _running(xp, x, "cumulative_prod", axis, dtype, 1 if include_initial else None)


@cumulative_prod.adjoint
def _(g: Any, y: Any, x: Any, axis: int | None, dtype: Any, include_initial: bool) -> Any:
    # dx_j = (x_1 ... x_{j-1}) * s_j with s_j = g_j + x_{j+1} s_{j+1}: without a division
    axis, shape = _one_axis("cumulative_prod", x.shape, axis), x.shape
    g, y, x = (moveaxis(widened(z if z.shape else reshape(z, (1,))), axis, -1) for z in (g, y, x))
    if include_initial:
        g, before = g[..., 1:], y[..., :-1]
    else:
        before = _shifted(y, 1)
    later = flip(linear_recurrence(_shifted(flip(x, -1), 0), flip(g, -1)), -1)
    return reshape(moveaxis(before * later, -1, axis), shape)


def _shifted(x: Any, first: int) -> Any:
    """x one place further along its last axis, with `first` in front."""
    n = x.shape[-1]
    if n == 0:
        return x
    ends = ((0, 0),) * (len(x.shape) - 1)
    return pad_constant(x[..., : n - 1], (*ends, (1, 0)), (*ends, (first, 0)))


def linear_recurrence(a: Any, b: Any) -> Any:
    """h_k = a_k h_{k-1} + b_k along the last axis, h_{-1} = 0, in log2(n) steps and O(n) work.

    Neighbouring steps are composed into one, the half as long recurrence solved, and the places
    between filled in (Blelloch, Prefix sums and their applications, 1990). Written with engine
    operations, so that every order of derivative follows.
    """
    n = a.shape[-1]
    if n <= 1:
        return b
    if n % 2:
        ends = (*((0, 0),) * (len(a.shape) - 1), (0, 1))
        return linear_recurrence(pad_zeros(a, ends), pad_zeros(b, ends))[..., :n]
    pairs = (*a.shape[:-1], n // 2, 2)
    a, b = reshape(a, pairs), reshape(b, pairs)
    a0, a1, b0, b1 = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    odd = linear_recurrence(a1 * a0, a1 * b0 + b1)
    even = a0 * _shifted(odd, 0) + b0
    return reshape(stack([even, odd], axis=-1), (*pairs[:-2], n))


def cumprod(x: Any, /, axis: int | None = None, dtype: Any = None) -> Any:
    """NumPy's running product: `cumulative_prod`, of x flattened where no axis is named.

    >>> import gradengine as ge
    >>> ge.cumprod(ge.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([ 1.,  2.,  6., 24.])
    """
    return cumulative_prod(ravel(x) if axis is None else x, axis=axis, dtype=dtype)
