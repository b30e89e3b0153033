"""Distances and similarities of vectors, with PyTorch's names.

Floor 6: stands on ops.
"""

from __future__ import annotations

from typing import Any

from gradengine.ops import broadcast_arrays, broadcast_shapes, maximum, take, vector_norm
from gradengine.ops import sum as sum_
from gradengine.ops.gathering import as_operand
from gradengine.ops.reductions import widened
from gradengine.tensor import Tensor


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """<x1, x2> / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the broadcast shape.

    >>> import gradengine as ge
    >>> cosine_similarity(ge.tensor([[3.0, 4.0]]), ge.tensor([[-4.0, 3.0]]))
    tensor([0.])
    """
    a, b, dtype = _both(x1, x2)
    if a.shape != b.shape:
        a, b = broadcast_arrays(a, b)
    units = [x / maximum(vector_norm(x, axis=dim, keepdims=True), eps) for x in (a, b)]
    return _typed(sum_(units[0] * units[1], axis=dim), dtype)


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last axis; the others broadcast.

    >>> import gradengine as ge
    >>> pairwise_distance(ge.tensor([[3.0, 4.0]]), ge.tensor([[0.0, 0.0]]), eps=0.0)
    tensor([5.])
    """
    a, b, dtype = _both(x1, x2)
    return _typed(vector_norm(a - b + eps, axis=-1, keepdims=keepdim, ord=p), dtype)


def pdist(input: Any, p: float = 2.0) -> Tensor:
    """The p-norm distances of the rows i < j of (N, M), as a vector of N (N - 1) / 2.

    The order is that of the upper triangle, row by row. The gradient of equal rows is 0.

    >>> import gradengine as ge
    >>> pdist(ge.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]))
    tensor([5., 3., 4.])
    """
    x: Any = widened(as_operand(input))
    count = x.shape[0]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    a, b = (take(x, [pair[k] for pair in pairs], axis=0) for k in range(2))
    return _typed(vector_norm(a - b, axis=-1, ord=p), input.dtype)


def _both(x1: Any, x2: Any) -> tuple[Any, Any, Any]:
    """Two operands that broadcast, in the type to compute in, and the type of the result."""
    a, b = as_operand(x1), as_operand(x2)
    broadcast_shapes(tuple(a.shape), tuple(b.shape))
    return widened(a), widened(b), a.dtype if a.dtype.itemsize >= b.dtype.itemsize else b.dtype


def _typed(y: Any, dtype: Any) -> Any:
    return y if y.dtype == dtype else y.astype(dtype)
