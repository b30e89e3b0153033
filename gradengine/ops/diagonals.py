"""Triangles and diagonals of matrices.

Letters: `x` input, `y` output, `g` cotangent. All are linear.

Floor 3: stands on op.py, reductions.py and gathering.py.
"""

from __future__ import annotations

from typing import Any

from ..device import Array, is_host
from ..errors import ShapeError, hinted
from ..op import case, primitive
from .gathering import as_operand
from .reductions import sum as sum_

# --- triangles ---


@primitive(arity=1, linear=True, cases=[case((3, 4)), case((2, 3, 3), k=1), case((4, 2), k=-1)])
def tril(xp: Any, x: Any, k: int = 0) -> Any:
    """The lower triangle of matrices: x[..., i, j] where j - i <= k, else 0.

    >>> import gradengine as ge
    >>> ge.tril(ge.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 0.0], [3.0, 4.0]]
    """
    return xp.tril(_matrices(x, "tril"), k)


@tril.adjoint
def _(g: Any, _y: Any, _x: Any, k: int) -> Any:
    return tril(g, k=k)


@primitive(arity=1, linear=True, cases=[case((3, 4)), case((2, 3, 3), k=1), case((4, 2), k=-1)])
def triu(xp: Any, x: Any, k: int = 0) -> Any:
    """The upper triangle of matrices: x[..., i, j] where j - i >= k, else 0.

    >>> import gradengine as ge
    >>> ge.triu(ge.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 2.0], [0.0, 4.0]]
    """
    return xp.triu(_matrices(x, "triu"), k)


@triu.adjoint
def _(g: Any, _y: Any, _x: Any, k: int) -> Any:
    return triu(g, k=k)


def _matrices(x: Array, name: str) -> Array:
    if x.ndim < 2:
        raise ShapeError(
            hinted(f"{name}: needs matrices, got {tuple(x.shape)}", "reshape to (..., n, m)")
        )
    return x


# --- diagonals ---


@primitive(
    arity=1,
    linear=True,
    view=True,
    cases=[
        case((3, 4)),
        case((3, 4), offset=2),
        case((4, 2), offset=-1),
        case((2, 3, 4), offset=1, axis1=-1, axis2=0),
        case((2, 3), offset=5),
    ],
)
def diagonal(xp: Any, x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonals of `x` in the plane of two axes, as a new last axis: y[i] = x[i, i + offset].

    A view that can be written to. Raises AxisError; ShapeError below two dimensions.

    >>> import gradengine as ge
    >>> ge.diagonal(ge.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    y = xp.diagonal(_matrices(x, "diagonal"), offset, axis1, axis2)
    if is_host(xp) and y.size:  # NumPy marks it read-only, though it shows x's memory
        y.flags.writeable = x.flags.writeable
    return y


@diagonal.adjoint
def _(g: Any, _y: Any, x_like: Any, offset: int, axis1: int, axis2: int) -> Any:
    return on_diagonal(g, tuple(x_like.shape), offset, axis1, axis2)


@primitive(
    arity=1,
    linear=True,
    cases=[
        case((3,), shape=(3, 4), offset=0, axis1=0, axis2=1),
        case((3, 1), shape=(2, 3, 4), offset=1, axis1=-1, axis2=0),
    ],
)
def on_diagonal(xp: Any, g: Any, shape: Any, offset: int, axis1: int, axis2: int) -> Any:
    """Zeros of `shape` with `g` on the diagonals: the adjoint of diagonal."""
    y = xp.zeros(shape, g.dtype)
    if g.size:
        diagonal.op.compute(xp, (y,), {"offset": offset, "axis1": axis1, "axis2": axis2})[...] = g
    return y


@on_diagonal.adjoint
def _(g: Any, _y: Any, _x: Any, shape: Any, offset: int, axis1: int, axis2: int) -> Any:
    return diagonal(g, offset, axis1, axis2)


def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or the matrix with a vector on its k-th diagonal.

    >>> import gradengine as ge
    >>> ge.diag(ge.tensor([1.0, 2.0])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    x = as_operand(x)
    if len(x.shape) == 2:
        return diagonal(x, offset=k)
    if len(x.shape) != 1:
        raise ShapeError(
            hinted(f"diag: needs a vector or a matrix, got {tuple(x.shape)}", "use diagonal")
        )
    n = x.shape[0] + abs(k)
    return on_diagonal(x, shape=(n, n), offset=k, axis1=0, axis2=1)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sum of the diagonal: y = sum_i x[i, i + offset].

    >>> import gradengine as ge
    >>> ge.trace(ge.tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    return sum_(diagonal(x, offset, axis1, axis2), axis=-1)
