"""Optimisers with running means of the gradient: Adam, AdamW, Adamax, NAdam, RAdam, LAMB."""

from __future__ import annotations

from typing import Any

from . import rules
from .optimizer import Group, Optimizer, Params
from .state import State

Betas = tuple[float, float]


class Adam(Optimizer):
    """Adam (arXiv:1412.6980); `amsgrad` and decoupled weight decay as in `rules.adam`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    rule = staticmethod(rules.adam)
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    options = (
        "lr", "betas", "eps", "weight_decay", "amsgrad", "decoupled_weight_decay", "maximize",
    )  # fmt: skip

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def kept(self, group: Group) -> tuple[str, ...]:
        return self.names if group["amsgrad"] else self.names[:2]


class AdamW(Adam):
    """Adam with decoupled weight decay (arXiv:1711.05101): p shrinks by 1 - lr weight_decay.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> round(w.item(), 6)
    0.85
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, decoupled_weight_decay=True,
        )  # fmt: skip


class Adamax(Optimizer):
    """Adam with the largest gradient instead of the mean square; see `rules.adamax`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adamax([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    rule = staticmethod(rules.adamax)
    names = ("exp_avg", "exp_inf")
    options = ("lr", "betas", "eps", "weight_decay", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "maximize": maximize})


class NAdam(Optimizer):
    """Adam with Nesterov's momentum; see `rules.nadam`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> NAdam([w], lr=0.1).step()
    >>> round(w.item(), 2)
    0.89
    """

    rule = staticmethod(rules.nadam)
    names = ("exp_avg", "exp_avg_sq")
    numbers = ("step", "mu_product")
    options = (
        "lr", "betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay",
        "maximize",
    )  # fmt: skip

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        told = super().advance(state, group)
        mu = rules.nadam_mu(told["step"], group["betas"][0], group["momentum_decay"])
        state["mu_product"] = state.get("mu_product", 1.0) * mu
        return {**told, "mu_product": state["mu_product"]}


class RAdam(Optimizer):
    """Rectified Adam, which needs no warm-up; see `rules.radam`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RAdam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.8
    """

    rule = staticmethod(rules.radam)
    names = ("exp_avg", "exp_avg_sq")
    options = ("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )


class LAMB(Optimizer):
    """Adam's direction at a length relative to each parameter's own norm, for large batches.

    See `rules.lamb` (arXiv:1904.00962).

    >>> import gradengine as ge
    >>> w = ge.tensor([2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> LAMB([w], lr=0.1).step()
    >>> round(w.item(), 6)  # by lr times the norm
    1.8
    """

    rule = staticmethod(rules.lamb)
    names = ("exp_avg", "exp_avg_sq")
    options = ("lr", "betas", "eps", "weight_decay", "maximize")
    whole = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "maximize": maximize})
