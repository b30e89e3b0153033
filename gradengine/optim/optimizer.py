"""Optimizer: holds parameters and their state, and lifts one rule of rules.py over them.

It sees tensors only as arrays with gradients, and nothing of modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradengine.device import is_host, namespace
from gradengine.errors import GraphError, hinted
from gradengine.optim import rules
from gradengine.tape import constant, no_grad
from gradengine.tensor import Tensor
from gradengine.writes import replace

Array = Any
State = dict[str, Any]


class Optimizer:
    """The loop all optimisers share; a subclass defines `update`.

    `lr` may be assigned at any time. A parameter whose `grad` is None is left as it is.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _checked(params)
        if not lr >= 0:
            raise ValueError(f"{type(self).__name__}: lr must not be negative, got {lr}")
        self.lr = lr
        self.state: list[State] = [{} for _ in self.params]

    def update(self, p: Array, g: Array, state: State) -> Array:
        """The new array of one parameter; `state` is a dict of its own, empty at first."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def step(self) -> None:
        """Change every parameter that has a gradient, by one step of the rule.

        A graph recorded before keeps the old values; views of a parameter see the new ones.
        """
        with no_grad():
            for parameter, state in zip(self.params, self.state, strict=True):
                gradient = parameter.grad
                if gradient is not None:
                    changed = self.update(parameter.array, gradient.array, state)
                    replace(parameter, constant(Tensor, changed), "step")

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts afresh."""
        for parameter in self.params:
            parameter.grad = None


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's form of it; see `rules.sgd`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.8
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")
        self.momentum, self.dampening = momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov

    def update(self, p: Array, g: Array, state: State) -> Array:
        p, state["velocity"] = rules.sgd(
            p,
            g,
            state.get("velocity"),
            lr=self.lr,
            momentum=self.momentum,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
        return p


class Adam(Optimizer):
    """Adam; see `rules.adam`.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adam: betas lie in [0, 1), got {betas}")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, p: Array, g: Array, state: State) -> Array:
        if not state:
            xp = namespace(p)
            dtype = xp.promote_types(p.dtype, "float32")  # 16 bits would lose eps and small g^2
            state.update(step=0, m=xp.zeros(p.shape, dtype), v=xp.zeros(p.shape, dtype))
        state["step"] += 1
        m, v = state["m"].reshape(-1), state["v"].reshape(-1)
        flat_p, flat_g = p.reshape(-1), g.reshape(-1)
        moved = namespace(p).empty(p.size, p.dtype)
        for part in _blocks(p):
            own = m[part], v[part]
            rules.adam(
                flat_p[part],
                flat_g[part],
                *own,
                state["step"],
                lr=self.lr,
                betas=self.betas,
                eps=self.eps,
                weight_decay=self.weight_decay,
                out=(moved[part], *own),
            )
        return moved.reshape(p.shape)


def _blocks(p: Array) -> list[slice]:
    """Slices of a flat parameter; on the CPU small, so that a rule's temporaries stay in cache."""
    size = 1 << 16 if is_host(namespace(p)) else max(p.size, 1)
    return [slice(i, i + size) for i in range(0, p.size, size)]


def _checked(params: Iterable[Tensor]) -> list[Tensor]:
    found = list(params)
    if not found:
        hint = "pass model.parameters(); has the model any layers?"
        raise ValueError(hinted("optimizer: got no parameters", hint))
    for index, parameter in enumerate(found):
        if not isinstance(parameter, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(parameter).__name__
            hint = "pass tensors: model.parameters(), or a list of them"
            raise TypeError(hinted(f"optimizer: parameter {index} is a {kind}, no tensor", hint))
        if not parameter.is_leaf:
            hint = "optimise the tensor it was computed from, or x.detach().requires_grad_()"
            text = f"optimizer: parameter {index}, shape {parameter.shape}, is the result of an op"
            raise GraphError(hinted(text, hint))
    if len({id(parameter) for parameter in found}) < len(found):
        hint = "pass every parameter once"
        raise ValueError(hinted("optimizer: a parameter appears twice", hint))
    return found
