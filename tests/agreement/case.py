"""What one comparison with PyTorch is: a class of both libraries, its arguments, its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]
Inputs = Sequence[tuple[int, ...] | Draw]

TOLERANCE = 1e-9
STEPS = 30


@dataclass(frozen=True)
class Case:
    """`kind` is layer, function, optimiser or scheduler; `name` is the one both libraries use."""

    kind: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: Inputs = ()
    id: str = ""
    mode: str = "train"
    call: dict[str, Any] = field(default_factory=dict)
    order: int = 2
    small: Inputs | None = None
    tolerance: float = TOLERANCE
    setup: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-{self.id}" if self.id else self.name

    def arrays(self, *, small: bool = False) -> list[np.ndarray]:
        """The inputs, the same ones each time."""
        chosen = self.small if small and self.small is not None else self.inputs
        random = np.random.default_rng(7)
        return [draw(random) if callable(draw) else random.normal(size=draw) for draw in chosen]


def layer(
    name: str,
    *args: Any,
    inputs: Inputs,
    id: str = "",
    mode: str = "train",
    call: dict[str, Any] | None = None,
    order: int = 2,
    small: Inputs | None = None,
    tolerance: float = TOLERANCE,
    **kwargs: Any,
) -> Case:
    """`nn.<name>(*args, **kwargs)` with the same state on the same inputs; `call` goes to it."""
    return Case("layer", name, args, kwargs, inputs, id, mode, call or {}, order, small, tolerance)


def function(
    name: str,
    *args: Any,
    inputs: Inputs,
    id: str = "",
    order: int = 2,
    small: Inputs | None = None,
    tolerance: float = TOLERANCE,
    **kwargs: Any,
) -> Case:
    """`nn.functional.<name>(*inputs, *args, **kwargs)`."""
    return Case(
        "function",
        name,
        args,
        kwargs,
        inputs,
        id,
        order=order,
        small=small,
        tolerance=tolerance,
    )


def optimiser(name: str, id: str = "", tolerance: float = TOLERANCE, **kwargs: Any) -> Case:
    """30 steps of `optim.<name>(groups, **kwargs)` on a small problem of two parameter groups."""
    return Case("optimiser", name, (), kwargs, id=id, tolerance=tolerance)


def scheduler(
    name: str,
    *args: Any,
    id: str = "",
    tolerance: float = TOLERANCE,
    optim: dict[str, Any] | None = None,
    call: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Case:
    """30 steps of `lr_scheduler.<name>(SGD, *args, **kwargs)`; `optim` are SGD's options.

    `call` with the key "metric" hands the loss to `step`.
    """
    return Case(
        "scheduler",
        name,
        args,
        kwargs,
        id=id,
        tolerance=tolerance,
        setup=optim or {},
        call=call or {},
    )


# --- inputs that are no normal numbers ---


def ints(low: int, high: int, shape: tuple[int, ...]) -> Draw:
    """Integers in [low, high)."""
    return lambda random: random.integers(low, high, shape)


def uniform(low: float, high: float, shape: tuple[int, ...]) -> Draw:
    """Numbers in [low, high)."""
    return lambda random: random.uniform(low, high, shape)


def array(values: Any) -> Draw:
    """These values."""
    return lambda _: np.array(values)
