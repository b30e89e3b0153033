"""Optimisers with steps scaled by squared gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from typing import Any

from gradengine.device import namespace

from . import rules
from .lift import wide_dtype
from .optimizer import Array, Group, Optimizer, Params
from .state import State


class Adagrad(Optimizer):
    """Steps that shrink with the sum of squared gradients; see `rules.adagrad`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adagrad([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    rule = staticmethod(rules.adagrad)
    names = ("sum",)
    options = ("lr", "lr_decay", "weight_decay", "eps", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def begin(self, name: str, p: Array, group: Group) -> Array:
        start = group["initial_accumulator_value"]
        return namespace(p).full(p.shape, start, dtype=wide_dtype(p))


class Adadelta(Optimizer):
    """Steps in the units of the parameter, from two running means; see `rules.adadelta`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adadelta([w], rho=0.0, eps=4.0).step()
    >>> round(w.item(), 2)
    -0.41
    """

    rule = staticmethod(rules.adadelta)
    names = ("square_avg", "acc_delta")
    options = ("lr", "rho", "eps", "weight_decay", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "rho": rho, "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "maximize": maximize})

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        super().advance(state, group)
        return {}


class RMSprop(Optimizer):
    """Steps divided by the root of the mean squared gradient; see `rules.rmsprop`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RMSprop([w], lr=0.1, alpha=0.75).step()
    >>> round(w.item(), 6)
    0.8
    """

    rule = staticmethod(rules.rmsprop)
    names = ("square_avg", "grad_avg", "momentum_buffer")
    options = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def kept(self, group: Group) -> tuple[str, ...]:
        used = (True, group["centered"], group["momentum"] > 0)
        return tuple(name for name, use in zip(self.names, used, strict=True) if use)

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        super().advance(state, group)
        return {}
