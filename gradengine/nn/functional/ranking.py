"""Losses of comparisons with PyTorch's names: pairs, triplets, and classes ranked by a margin.

At the edge of a margin the derivative is 1, as PyTorch's clamp has it.

Floor 6: stands on ops, distance.py and loss.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.functional.distance import pairwise_distance
from gradengine.nn.functional.loss import finished, hinge, like_scores
from gradengine.ops import (
    broadcast_shapes,
    equal,
    minimum,
    multi_margin_loss,
    multiply,
    not_equal,
    sqrt,
)
from gradengine.ops import multilabel_margin_loss as multilabel_margin_loss
from gradengine.ops import sum as sum_
from gradengine.ops.arithmetic import select
from gradengine.ops.gathering import as_operand
from gradengine.ops.losses import check_reduction, operands
from gradengine.ops.reductions import widened
from gradengine.tensor import Tensor

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

Distance = Callable[[Tensor, Tensor], Tensor]

# --- pairs ---


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - t (x1 - x2)): the first should score higher where t = 1, lower where t = -1.

    The three have the same number of axes and broadcast; ShapeError otherwise.

    >>> import gradengine as ge
    >>> x1, x2 = ge.tensor([1.0, 2.0]), ge.tensor([0.0, 5.0])
    >>> margin_ranking_loss(x1, x2, ge.tensor([1, 1]), reduction="none").tolist()
    [0.0, 3.0]
    """
    name = "margin_ranking_loss"
    check_reduction(name, reduction)
    a, b, t = as_operand(input1), as_operand(input2), as_operand(target)
    _same_axes(name, input1=a, input2=b, target=t)
    wide = widened(a)
    y = hinge(margin - multiply(like_scores(wide, t), wide - widened(b)))
    return finished(y, reduction, a.dtype)


def hinge_embedding_loss(
    input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """x where t = 1, max(0, margin - x) where t = -1, for distances x = `input` of pairs.

    Both of the same shape; ShapeError otherwise.

    >>> import gradengine as ge
    >>> hinge_embedding_loss(ge.tensor([0.25, 0.25]), ge.tensor([1, -1]), reduction="none").tolist()
    [0.25, 0.75]
    """
    check_reduction("hinge_embedding_loss", reduction)
    given, t = operands("hinge_embedding_loss", input, target)
    x = widened(given)
    y = select(not_equal(t, -1), x, 0.0) + select(not_equal(t, 1), hinge(margin - x), 0.0)
    return finished(y, reduction, given.dtype)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - c where t = 1, max(0, c - margin) where t = -1; c is the cosine of (N, D) or (D,).

    c = <a, b> / sqrt((|a|**2 + e) (|b|**2 + e)) with e = 1e-12. `target` has the shape (N,) or ().
    Raises ShapeError.

    >>> import gradengine as ge
    >>> x, t = ge.tensor([[3.0, 4.0]]), ge.tensor([-1])
    >>> round(cosine_embedding_loss(x, ge.tensor([[4.0, 3.0]]), t, margin=0.5).item(), 4)
    0.46
    """
    name = "cosine_embedding_loss"
    check_reduction(name, reduction)
    a, b, t = as_operand(input1), as_operand(input2), as_operand(target)
    shape = tuple(a.shape)
    if len(shape) not in (1, 2) or shape != tuple(b.shape) or tuple(t.shape) != shape[:-1]:
        text = f"{name}: input1 {shape}, input2 {tuple(b.shape)}, target {tuple(t.shape)}"
        raise ShapeError(hinted(text, "give (N, D), (N, D) and (N,), or (D,), (D,) and ()"))
    x, z, axis, dtype = widened(a), widened(b), len(shape) - 1, a.dtype
    lengths = [sum_(v * v, axis=axis) + 1e-12 for v in (x, z)]
    c = sum_(x * z, axis=axis) / sqrt(lengths[0] * lengths[1])
    y = select(equal(t, 1), 1 - c, 0.0) + select(equal(t, -1), hinge(c - margin), 0.0)
    return finished(y, reduction, dtype)


# --- triplets ---


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(a, p) - d(a, n)) with d(x, y) the p-norm of x - y + eps: (N, D) or (D,).

    `swap` takes d(p, n) for d(a, n) where that is smaller. Raises ShapeError, and OutOfRangeError
    unless the margin is positive. Balntas et al., BMVC 2016.

    >>> import gradengine as ge
    >>> a, p, n = ge.tensor([0.0]), ge.tensor([2.0]), ge.tensor([2.5])
    >>> round(triplet_margin_loss(a, p, n).item(), 4)
    0.5
    """
    name = "triplet_margin_loss"

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplets(name, anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(a, p) - d(a, n)) for any distance d; `pairwise_distance` if none is given.

    >>> import gradengine as ge
    >>> a, p, n = ge.tensor([0.0]), ge.tensor([2.0]), ge.tensor([2.5])
    >>> l1 = lambda x, y: abs(x - y).sum(axis=-1)
    >>> triplet_margin_with_distance_loss(a, p, n, distance_function=l1).item()
    0.5
    """
    name, chosen = "triplet_margin_with_distance_loss", distance_function or pairwise_distance
    return _triplets(name, anchor, positive, negative, chosen, margin, swap, reduction)


def _triplets(
    name: str,
    anchor: Any,
    positive: Any,
    negative: Any,
    distance: Distance,
    margin: float,
    swap: bool,
    reduction: str,
) -> Any:
    check_reduction(name, reduction)
    check_margin(name, margin)
    _same_axes(name, anchor=anchor, positive=positive, negative=negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return finished(hinge(margin + near - far), reduction, near.dtype)


def check_margin(name: str, margin: float) -> None:
    """Raise OutOfRangeError unless `margin` is positive."""
    if not margin > 0:
        text = f"{name}: margin={margin} is not positive"
        raise OutOfRangeError(hinted(text, "without a margin, equal distances cost nothing"))


def _same_axes(name: str, **given: Any) -> None:
    """Raise ShapeError unless all have the same number of axes and broadcast."""
    shapes = {key: tuple(x.shape) for key, x in given.items()}
    shown = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
    if len({len(shape) for shape in shapes.values()}) > 1:
        raise ShapeError(hinted(f"{name}: {shown}", "give them the same number of axes"))
    try:
        broadcast_shapes(*shapes.values())
    except ShapeError as error:
        text = f"{name}: {shown} do not broadcast"
        raise ShapeError(hinted(text, "sizes must be equal or 1; reshape one of them")) from error
