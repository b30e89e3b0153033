"""Losses of predictions and probabilities as modules; those of margins are in ranking.py.

Each keeps its options as attributes, weights as buffers under PyTorch's names, and calls the
function of nn.functional whose docstring has the formula. `reduction` is "mean", "sum" or "none".

Floor 6: stands on functional/loss.py and module.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.nn.functional import loss as F
from gradengine.nn.module import Module
from gradengine.ops.losses import check_reduction
from gradengine.tensor import Tensor


class Loss(Module):
    """What all losses share: how the losses of the elements become one number."""

    more_reductions: tuple[str, ...] = ()

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, self.more_reductions)
        self.reduction = reduction


class WeightedLoss(Loss):
    """A loss whose elements or classes count by the buffer `weight`, or all alike if None."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


# --- distances ---


class L1Loss(Loss):
    """|x - t|, its mean or sum.

    >>> import gradengine as ge
    >>> L1Loss()(ge.tensor([1.0, 2.0]), ge.tensor([1.0, 4.0]))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class MSELoss(Loss):
    """(x - t)**2, its mean or sum.

    >>> import gradengine as ge
    >>> MSELoss()(ge.tensor([1.0, 2.0]), ge.tensor([1.0, 4.0]))
    tensor(2.)
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class HuberLoss(Loss):
    """d**2 / 2 where d = |x - t| <= delta, else delta (d - delta / 2); Huber 1964.

    >>> import gradengine as ge
    >>> HuberLoss(reduction="none")(ge.tensor([0.5, 3.0]), ge.tensor([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(Loss):
    """HuberLoss with delta = beta, divided by beta; L1Loss for beta = 0; Girshick 2015, eq. 3.

    >>> import gradengine as ge
    >>> SmoothL1Loss(reduction="none")(ge.tensor([0.5, 3.0]), ge.tensor([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


# --- densities ---


class PoissonNLLLoss(Loss):
    """e**x - t x for counts t with log-rate x; x - t log(x + eps) for a rate (log_input=False).

    `full` adds Stirling's approximation of log(t!).

    >>> import gradengine as ge
    >>> PoissonNLLLoss(log_input=False)(ge.tensor([1.0]), ge.tensor([3.0])).item()
    1.0
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Any) -> Tensor:
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, self.eps, self.reduction
        )


class GaussianNLLLoss(Loss):
    """(log(v) + (x - t)**2 / v) / 2 with v = max(var, eps); `full` adds log(2 pi) / 2.

    >>> import gradengine as ge
    >>> GaussianNLLLoss()(ge.tensor([1.0]), ge.tensor([3.0]), ge.tensor([1.0])).item()
    2.0
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Any, var: Any) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class KLDivLoss(Loss):
    """sum t (log(t) - x) of log-probabilities x from probabilities t, or from logs of them.

    reduction="batchmean" divides by the first axis, which is the divergence itself.

    >>> import gradengine as ge
    >>> p = ge.tensor([[0.5, 0.5]])
    >>> KLDivLoss(reduction="batchmean")(ge.log(p), p).item()
    0.0
    """

    more_reductions = ("batchmean",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.kl_div(input, target, self.reduction, self.log_target)


# --- classes ---


class CrossEntropyLoss(WeightedLoss):
    """-log(softmax(x)[t]) of logits (N, C, ...) and class numbers, or of class probabilities.

    The class numbers that are `ignore_index` count nothing; `weight` (C,) counts the classes;
    `label_smoothing` e mixes the targets with e / C.

    >>> import gradengine as ge
    >>> loss = CrossEntropyLoss(reduction="none")
    >>> loss(ge.tensor([[0.0, 0.0], [100.0, 0.0]]), ge.tensor([1, 0]))
    tensor([0.6931472, 0.       ])
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(WeightedLoss):
    """-x[t] of log-probabilities (N, C, ...) and class numbers.

    >>> import gradengine as ge
    >>> NLLLoss()(ge.tensor([[-1.0, -2.0], [-3.0, -4.0]]), ge.tensor([1, 0]))
    tensor(2.5)
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class CTCLoss(Loss):
    """-log of the probability that labels come out of (T, N, C), over all alignments.

    Graves et al., ICML 2006; see `nn.functional.ctc_loss` for shapes and lengths.

    >>> import gradengine as ge
    >>> x = ge.log(ge.full((2, 1, 2), 0.5))
    >>> CTCLoss(reduction="sum")(x, ge.tensor([[1]]), [2], [1]).exp().item()
    1.3333333730697632
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )


# --- yes or no ---


class BCELoss(WeightedLoss):
    """-(t log(p) + (1 - t) log(1 - p)) of probabilities, the logarithms no lower than -100.

    `weight` broadcasts over the elements.

    >>> import gradengine as ge
    >>> BCELoss(reduction="sum")(ge.tensor([0.0, 1.0]), ge.tensor([1.0, 1.0])).item()
    100.0
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """BCELoss of sigmoid(x) in one step; `pos_weight` counts the yes of each class.

    >>> import gradengine as ge
    >>> BCEWithLogitsLoss()(ge.tensor([1000.0]), ge.tensor([0.0])).item()
    1000.0
    """

    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class SoftMarginLoss(Loss):
    """log(1 + e**(-t x)) of scores x and signs t.

    >>> import gradengine as ge
    >>> SoftMarginLoss(reduction="sum")(ge.tensor([100.0, 100.0]), ge.tensor([1, -1])).item()
    100.0
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.soft_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """BCEWithLogitsLoss of (N, C), the mean of the classes first; `weight` (C,) counts them.

    >>> import gradengine as ge
    >>> loss = MultiLabelSoftMarginLoss()
    >>> loss(ge.tensor([[100.0, -50.0]]), ge.tensor([[0.0, 1.0]])).item()
    75.0
    """

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, self.weight, self.reduction)
