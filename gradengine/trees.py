"""Nested containers of tensors: dicts, lists, tuples, named tuples and dataclasses, flattened and rebuilt.

Floor 0: imports nothing of gradengine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

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
    if tree is None:
        return lambda _: None
    if isinstance(tree, dict):
        keys, inner = list(tree), [_walk(x, leaves) for x in tree.values()]
        return lambda new: {k: build(new) for k, build in zip(keys, inner, strict=True)}
    if isinstance(tree, (list, tuple)):
        parts, kind = [_walk(x, leaves) for x in tree], type(tree)
        if hasattr(kind, "_fields"):
            return lambda new: kind(*[build(new) for build in parts])
        return lambda new: kind([build(new) for build in parts])
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [f.name for f in dataclasses.fields(tree) if f.init]
        fields = [_walk(getattr(tree, n), leaves) for n in names]
        return lambda new: dataclasses.replace(
            tree, **{n: build(new) for n, build in zip(names, fields, strict=True)}
        )
    leaves.append(tree)
    return next


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`function` applied to the leaves of `tree` (and of others of the same structure).

    >>> tree_map(lambda a, b: a + b, [1, (2,)], [10, (20,)])
    [11, (22,)]
    """
    leaves, rebuild = flatten(tree)
    columns = [leaves, *(flatten(other)[0] for other in others)]
    return rebuild([function(*row) for row in zip(*columns, strict=True)])
