"""What modules say: the tree that `repr` shows, and the path noted on an error from inside."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradengine.nn.module import Module


def tree(module: Module, children: Sequence[tuple[str, Any]]) -> str:
    """A module as PyTorch prints it: extra_repr in parentheses, children indented below."""
    extra = module.extra_repr()
    lines = extra.splitlines()
    below = [line for name, child in children for line in f"{name}: {child!r}".splitlines()]
    kind = type(module).__name__
    if not below and len(lines) <= 1:
        return f"{kind}({extra})"
    return "\n".join((f"{kind}(", *(f"  {line}" for line in (*lines, *below)), ")"))


def note_path(error: Exception, module: Module) -> None:
    """Note on `error` which module it came from; each module on the way out lengthens the path."""
    chain: list[Module] = [*getattr(error, "module_chain", ()), module]  # innermost first
    error.module_chain = chain  # type: ignore[attr-defined]
    names = [type(module).__name__]
    for parent, child in pairwise(reversed(chain)):
        known = (name for name, found in parent.named_modules() if found is child)
        names.append(next(known, type(child).__name__))
    inner = chain[0]
    note = f"in {'.'.join(names)} ({type(inner).__name__} {inner.extra_repr()}".rstrip() + ")"
    shorter = getattr(error, "module_note", None)  # noted one module further in
    if shorter is not None:
        error.__notes__.remove(shorter)
    error.module_note = note  # type: ignore[attr-defined]
    error.add_note(note)


class Plain:
    """A text whose repr is itself."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text
