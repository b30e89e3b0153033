"""The recorded graph as such: what a node was computed from, and which steps lead to a target.

Floor 1: stands on nothing; tape.py makes the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tape import Node


class Freed:
    """Stands where saved arrays were, once a backward pass has used them."""


FREED: Any = Freed()


def leading_to(roots: Iterable[Node], targets: Iterable[Node]) -> dict[Node, bool]:
    """The nodes on a path from the roots back to a target: node -> whether it is a target.

    A freed node has forgotten where it came from; if it is younger than a target it may lead
    there, so it is on the path, and a pass that reaches it raises instead of leaving it out.
    """
    wanted = set(targets)
    oldest = min((node.tick for node in wanted), default=0)
    found: dict[Node, bool] = {}
    for node in sorted(reachable(roots), key=lambda n: n.tick):
        if node in wanted:
            found[node] = True
        elif any(parent in found for parent in node.inputs) or (
            node.saved is FREED and node.tick > oldest
        ):
            found[node] = False
    return found


def reachable(roots: Iterable[Node]) -> set[Node]:
    """All nodes the roots were computed from, the roots included."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().inputs:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return seen
