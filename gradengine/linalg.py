"""`ge.linalg`: the linear algebra of the array API standard that can be differentiated.

Floor 3: stands on ops/ alone.
"""

from __future__ import annotations

from typing import Any

from . import ops
from .errors import ShapeError, hinted
from .ops.axes import as_axes as _as_axes
from .ops.diagonals import diagonal as _diagonal
from .ops.diagonals import trace as _trace
from .ops.einsum import einsum as einsum
from .ops.einsum import tensordot as tensordot
from .ops.linalg import matmul as matmul
from .ops.linalg import outer as outer
from .ops.linalg import vecdot as vecdot
from .ops.normalisation import vector_norm as vector_norm
from .ops.shape import matrix_transpose as matrix_transpose


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """NumPy's norm: the 2-norm of all elements, or the `ord`-norm of vectors along `axis`.

    For two axes "fro": sqrt(sum x**2). Raises ShapeError for another norm of matrices.

    >>> import gradengine as ge
    >>> ge.linalg.norm(ge.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    axes = _as_axes(axis, x.ndim, "norm")
    rank = len(axes)
    if ord is None or (ord == "fro" and rank == 2):
        return vector_norm(x, axis=axes, keepdims=keepdims)
    if rank != 1:
        raise ShapeError(
            hinted(f"norm: ord={ord!r} over {rank} axes", 'use "fro", or one axis: axis=-1')
        )
    return vector_norm(x, axis=axes, keepdims=keepdims, ord=float(ord))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The Frobenius norm of the matrices in the last two axes: sqrt(sum x**2).

    >>> import gradengine as ge
    >>> ge.linalg.matrix_norm(ge.ones((2, 2)))
    tensor(2.)
    """
    return norm(x, ord, (-2, -1), keepdims)


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonals of the matrices in the last two axes.

    >>> import gradengine as ge
    >>> ge.linalg.diagonal(ge.eye(2))
    tensor([1., 1.])
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums along the diagonals of the matrices in the last two axes.

    >>> import gradengine as ge
    >>> ge.linalg.trace(ge.eye(3))
    tensor(3.)
    """
    return _trace(x if dtype is None else ops.astype(x, dtype), offset, -2, -1)
