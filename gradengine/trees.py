"""Nested containers of tensors: dicts, lists, (named) tuples, dataclasses, flattened and rebuilt.

Floor 0: stands on errors.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

from .errors import ShapeError, hinted

Rebuild = Callable[[Sequence[Any]], Any]


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of `tree` in a fixed order, and a function that builds it from new leaves.

    Dicts are walked in insertion order, dataclasses field by field. Anything else is a leaf;
    None is a container without leaves.

    >>> leaves, rebuild = flatten({"w": 1, "b": (2, 3)})
    >>> leaves, rebuild([10, 20, 30])
    ([1, 2, 3], {'w': 10, 'b': (20, 30)})
    """
    leaves: list[Any] = []
    build = _walk(tree, leaves)

    def rebuild(new: Sequence[Any]) -> Any:
        if len(new) != len(leaves):
            raise ValueError(f"trees: {len(leaves)} leaves are needed, got {len(new)}")
        return build(iter(new))

    return leaves, rebuild


def _walk(tree: Any, leaves: list[Any]) -> Callable[[Any], Any]:
    children = _children(tree)
    if children is None:
        leaves.append(tree)
        return next
    keys, inner = list(children), [_walk(x, leaves) for x in children.values()]
    make, fields = cast("Callable[..., Any]", type(tree)), hasattr(tree, "_fields")

    def build(new: Any) -> Any:
        parts = [part(new) for part in inner]
        if tree is None:
            return None
        if isinstance(tree, dict):
            return dict(zip(keys, parts, strict=True))
        if isinstance(tree, (list, tuple)):
            return make(*parts) if fields else make(parts)
        return dataclasses.replace(tree, **dict(zip(keys, parts, strict=True)))

    return build


def flatten_like(tree: Any, like: Any, name: str, what: str) -> list[Any]:
    """The leaves of `tree` in the order of the leaves of `like`, whose structure it must have.

    Dicts match by key, in whatever order; lists match tuples. ShapeError says where they differ.

    >>> flatten_like({"b": 1, "a": 2}, {"a": 0, "b": 0}, "jvp", "tangents")
    [2, 1]
    """
    given, needed = _children(tree), _children(like)
    if given is None and needed is None:
        return [tree]
    if given is None or needed is None or given.keys() != needed.keys():
        raise ShapeError(
            hinted(
                f"{name}: {what} hold {_shown(tree)} where {_shown(like)} is needed",
                "give them in the structure of what they belong to",
            )
        )
    return [x for k in needed for x in flatten_like(given[k], needed[k], name, what)]


def _children(tree: Any) -> dict[Any, Any] | None:
    """The parts of a container by key or place; None for a leaf."""
    if tree is None:
        return {}
    if isinstance(tree, dict):
        return cast("dict[Any, Any]", tree)
    if isinstance(tree, (list, tuple)):
        return dict(enumerate(cast("list[Any]", tree)))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree) if f.init}
    return None


def _shown(tree: Any) -> str:
    """A container as a message names it."""
    if isinstance(tree, dict):
        return f"a dict with keys {list(cast(Any, tree))}"
    if isinstance(tree, (list, tuple)):
        return f"a {type(cast(Any, tree)).__name__} of {len(cast(Any, tree))}"
    return "None" if tree is None else f"one {type(tree).__name__}"


def listed(x: Any) -> list[Any]:
    """A list of what is given one by one or in a list or tuple.

    >>> listed(1), listed((1, 2))
    ([1], [1, 2])
    """
    return list(cast(Any, x)) if isinstance(x, (list, tuple)) else [x]


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`function` applied to the leaves of `tree` (and of others of the same structure).

    >>> tree_map(lambda a, b: a + b, [1, (2,)], [10, (20,)])
    [11, (22,)]
    """
    leaves, rebuild = flatten(tree)
    columns = [leaves, *(flatten_like(other, tree, "tree_map", "trees") for other in others)]
    return rebuild([function(*row) for row in zip(*columns, strict=True)])
