"""Where an op's tests draw their inputs: domains for rows, cases for primitives.

Floor 1: stands on nothing of gradengine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Domain:
    """Where an op is smooth: values are drawn from [low, high], `gap` away from each of `avoid`."""

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    gap: float = 0.05
    integer: bool = False
    distinct: bool = False  # no two values closer than `gap` (for max, sort, ...)


def real(low: float = -2.0, high: float = 2.0, *avoid: float, gap: float = 0.05) -> Domain:
    """Real numbers between `low` and `high`, at least `gap` from the kinks and poles in `avoid`."""
    return Domain(low, high, avoid, gap)


def integers(low: int, high: int) -> Domain:
    """Integers from `low` to `high` inclusive; not differentiated."""
    return Domain(low, high, integer=True)


def distinct(low: float = -2.0, high: float = 2.0) -> Domain:
    """Real numbers of which no two are close to each other."""
    return Domain(low, high, distinct=True)


@dataclass(frozen=True)
class Draw:
    """An input of a test case: an array of `shape` from `domain`."""

    shape: tuple[int, ...]
    domain: Domain = field(default_factory=Domain)


class Case:
    """One call that the generated tests make: array inputs (shapes, draws or arrays) and params."""

    def __init__(self, *inputs: Any, **params: Any) -> None:
        self.inputs, self.params = inputs, params

    def __repr__(self) -> str:
        shown = [str(getattr(x, "shape", x)) for x in self.inputs]
        return ", ".join(shown + [f"{k}={v}" for k, v in self.params.items()])


case = Case
