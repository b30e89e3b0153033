"""Optimisers that follow the gradient itself, or its sign: SGD, ASGD, Rprop, Lion."""

from __future__ import annotations

from typing import Any

from gradengine.device import namespace

from . import rules
from .lift import wide_dtype
from .optimizer import Array, Group, Optimizer, Params
from .state import State


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's form of it; see `rules.sgd`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.8
    """

    rule = staticmethod(rules.sgd)
    names = ("momentum_buffer",)
    numbers = ()
    options = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def kept(self, group: Group) -> tuple[str, ...]:
        return self.names if group["momentum"] else ()

    def begin(self, name: str, p: Array, group: Group) -> Array:
        return None  # the rule starts it at the first gradient

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        return {}


class ASGD(Optimizer):
    """SGD that also keeps the mean of its path, in `state[p]["ax"]`; see `rules.asgd`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> ASGD([w], lr=0.1, lambd=0.0).step()
    >>> round(w.item(), 6)
    0.8
    """

    rule = staticmethod(rules.asgd)
    names = ("ax",)
    numbers = ("step", "eta", "mu")
    options = ("lambd", "weight_decay", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        told = {"eta": state.get("eta", group["lr"]), "mu": state.get("mu", 1.0)}
        step = state["step"] = state.get("step", 0) + 1
        rates = {name: group[name] for name in ("lr", "lambd", "alpha", "t0")}
        state["eta"], state["mu"] = rules.asgd_rates(step, **rates)
        return told


class Rprop(Optimizer):
    """Resilient propagation, for full batches; see `rules.rprop`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Rprop([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    rule = staticmethod(rules.rprop)
    names = ("prev", "step_size")
    options = ("etas", "step_sizes", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "etas": etas, "step_sizes": step_sizes}
        super().__init__(params, defaults | {"maximize": maximize})

    def begin(self, name: str, p: Array, group: Group) -> Array:
        start = group["lr"] if name == "step_size" else 0.0
        return namespace(p).full(p.shape, start, dtype=wide_dtype(p))

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        super().advance(state, group)
        return {}


class Lion(Optimizer):
    """The sign of a blend of gradient and momentum (arXiv:2302.06675); see `rules.lion`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Lion([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    rule = staticmethod(rules.lion)
    names = ("exp_avg",)
    numbers = ()
    options = ("lr", "betas", "weight_decay", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "betas": betas}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "maximize": maximize})

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        return {}
