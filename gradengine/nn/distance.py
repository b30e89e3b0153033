"""Distances and similarities of vectors as modules.

Floor 6: stands on functional/distance.py and module.py.
"""

from __future__ import annotations

from gradengine.nn.functional import distance as F
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class CosineSimilarity(Module):
    """<x1, x2> / (max(|x1|, eps) max(|x2|, eps)) along `dim`; the others broadcast.

    >>> import gradengine as ge
    >>> CosineSimilarity()(ge.tensor([[3.0, 4.0]]), ge.tensor([[-4.0, 3.0]]))
    tensor([0.])
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps over the last axis; the others broadcast.

    >>> import gradengine as ge
    >>> PairwiseDistance(eps=0.0)(ge.tensor([[3.0, 4.0]]), ge.tensor([[0.0, 0.0]]))
    tensor([5.])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
