"""Families of tensors that share memory: which tensor is a view of which, and by what steps.

A view remembers its base and the ops that lead from the base to it; the base remembers its views
weakly. A write to any member can then be carried to the base, and from there to every view.

Floor 1: stands on tape.py.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from .device import Array, owner
from .tape import Traced

Step = tuple[Any, dict[str, Any]]


class View(NamedTuple):
    """What a view keeps in `family`: its base, and the (op, params) that lead from there."""

    base: Traced
    steps: tuple[Step, ...]


class Base:
    """What a tensor with views keeps in `family`: its views, weakly."""

    __slots__ = ("limit", "members")

    def __init__(self) -> None:
        self.members: list[weakref.ref[Traced]] = []
        self.limit = 16

    def add(self, view: Traced) -> None:
        if (
            len(self.members) >= self.limit
        ):  # forget the dead now and then, at a constant cost a view
            self.members = [ref for ref in self.members if ref() is not None]
            self.limit = 2 * len(self.members) + 16
        self.members.append(weakref.ref(view))

    def live(self) -> list[Traced]:
        return [view for ref in self.members if (view := ref()) is not None]


def shares_memory(y: Array, x: Array) -> bool:
    """Whether `y`, made from `x` by a view op, shows x's memory (reshape may have copied)."""
    return y is x or owner(y) is owner(x)


def link(view: Traced, source: Traced, op: Any, params: dict[str, Any]) -> None:
    """Enter `view`, made from `source` by `op`, into the source's family."""
    family = getattr(source, "family", None)
    if isinstance(family, View):
        base, steps = family
    else:
        base, steps = source, ()
        if family is None:
            source.family = Base()
    view.family = View(base, (*steps, (op, params)))
    base.family.add(view)


def base_of(t: Traced) -> Traced:
    """The tensor whose memory `t` shows; `t` itself if it is no view."""
    family = getattr(t, "family", None)
    return family.base if isinstance(family, View) else t


def views_of(base: Traced) -> list[Traced]:
    """The live views of a base."""
    family = getattr(base, "family", None)
    return family.live() if isinstance(family, Base) else []
