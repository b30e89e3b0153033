"""Losses of comparisons as modules: pairs, triplets, and classes ranked by a margin.

The formulas stand with the functions of nn.functional. `reduction` is "mean", "sum" or "none".

Floor 6: stands on functional/ranking.py and loss.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.nn.functional import ranking as F
from gradengine.nn.loss import Loss, WeightedLoss
from gradengine.tensor import Tensor

# --- pairs ---


class MarginRankingLoss(Loss):
    """max(0, margin - t (x1 - x2)): x1 should be larger where t = 1, smaller where t = -1.

    >>> import gradengine as ge
    >>> MarginRankingLoss()(ge.tensor([2.0]), ge.tensor([5.0]), ge.tensor([1])).item()
    3.0
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Any) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class HingeEmbeddingLoss(Loss):
    """x where t = 1, max(0, margin - x) where t = -1, for distances x of pairs.

    >>> import gradengine as ge
    >>> HingeEmbeddingLoss()(ge.tensor([0.25, 0.25]), ge.tensor([1, -1])).item()
    0.5
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class CosineEmbeddingLoss(Loss):
    """1 - c where t = 1, max(0, c - margin) where t = -1, c the cosine of (N, D) or (D,).

    >>> import gradengine as ge
    >>> x = ge.tensor([[3.0, 4.0]])
    >>> CosineEmbeddingLoss()(x, -x, ge.tensor([1])).item()
    2.0
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Any) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


# --- classes ---


class MultiMarginLoss(WeightedLoss):
    """sum over wrong classes j of max(0, margin - x[t] + x[j])**p / C.

    `weight` (C,) counts the right classes. Crammer and Singer, JMLR 2 (2001) 265.

    >>> import gradengine as ge
    >>> MultiMarginLoss()(ge.tensor([[0.5, 0.0]]), ge.tensor([0])).item()
    0.25
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class MultiLabelMarginLoss(Loss):
    """sum over right classes i and wrong ones j of max(0, 1 - x[i] + x[j]) / C.

    The target lists the right class numbers of each row up to the first -1.

    >>> import gradengine as ge
    >>> MultiLabelMarginLoss()(ge.tensor([[0.5, 0.0]]), ge.tensor([[0, -1]])).item()
    0.25
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.multilabel_margin_loss(input, target, self.reduction)


# --- triplets ---


class TripletMarginLoss(Loss):
    """max(0, margin + d(a, p) - d(a, n)), d the p-norm of the difference + eps.

    `swap` takes d(p, n) for d(a, n) where that is smaller. Balntas et al., BMVC 2016. Raises
    OutOfRangeError unless the margin is positive.

    >>> import gradengine as ge
    >>> a, p, n = ge.tensor([0.0]), ge.tensor([2.0]), ge.tensor([2.5])
    >>> round(TripletMarginLoss()(a, p, n).item(), 4)
    0.5
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        F.check_margin("TripletMarginLoss", margin)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            self.reduction,
        )


class TripletMarginWithDistanceLoss(Loss):
    """max(0, margin + d(a, p) - d(a, n)) for any distance d; PairwiseDistance if none is given.

    >>> import gradengine as ge
    >>> a, p, n = ge.tensor([0.0]), ge.tensor([2.0]), ge.tensor([2.5])
    >>> l1 = lambda x, y: abs(x - y).sum(axis=-1)
    >>> TripletMarginWithDistanceLoss(distance_function=l1)(a, p, n).item()
    0.5
    """

    def __init__(
        self,
        *,
        distance_function: F.Distance | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        F.check_margin("TripletMarginWithDistanceLoss", margin)
        self.distance_function, self.margin, self.swap = distance_function, margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
