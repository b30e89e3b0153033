"""The tree of a module: what stands in its attributes, under which dotted names.

Whatever Parameters, Buffers and Modules stand in attributes belong to the module, in lists, tuples
and dicts too: a plain list has the names a ModuleList would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from gradengine.errors import MemberError, hinted
from gradengine.nn.parameter import Buffer, Parameter
from gradengine.tensor import Tensor

if TYPE_CHECKING:
    from gradengine.nn.module import Module

# pyright: reportPrivateUsage=false
# Which names are buffers is private to people, not to this file.

Keys = tuple[Any, ...]
Undo = tuple[Any, Any, Any]


def dotted(prefix: str, name: str) -> str:
    """`prefix.name`, or the name alone below the root."""
    return f"{prefix}.{name}" if prefix else name


# --- reading ---


def members(container: Any, kinds: tuple[type[Any], ...]) -> Iterator[tuple[str, Any]]:
    """Values of some kinds in a namespace or collection, however nested, with their names."""
    for keys, value in slots(container, kinds):
        yield ".".join(map(str, keys)), value


def slots(container: Any, kinds: tuple[type[Any], ...]) -> Iterator[tuple[Keys, Any]]:
    """The same with the keys that lead to each value, from the outermost container inwards."""
    pairs: Any = container.items() if hasattr(container, "items") else enumerate(container)
    key: Any
    value: Any
    for key, value in pairs:
        if isinstance(value, kinds):
            yield (key,), value
        elif isinstance(value, (list, tuple, dict)):
            for keys, member in slots(value, kinds):
                yield (key, *keys), member


def tensors(module: Module) -> Iterator[tuple[Keys, Any, bool | None]]:
    """(keys, tensor, persistent) of a module itself; `persistent` is None for a Parameter.

    Buffers are names, whatever tensor they hold at the moment; so is, during a functional_call,
    what stands in for a parameter.
    """
    own = vars(module)
    flags, stand_ins = module._buffer_flags or {}, module._stand_ins or {}
    for keys, value in slots(own, (Tensor,) if stand_ins else (Parameter, Buffer)):
        if isinstance(value, Parameter):
            yield keys, value, None
        elif keys in stand_ins:
            yield keys, value, stand_ins[keys]
        elif isinstance(value, Buffer) and len(keys) > 1:
            yield keys, value, value.persistent
    for name, persistent in flags.items():
        value = own.get(name)
        if isinstance(value, Tensor):
            yield (name,), value, persistent


# --- writing ---


def put(holder: Any, keys: Keys, value: Any) -> Undo:
    """Place `value` where `keys` lead; the result is what `restore` undoes it with.

    A tuple cannot be written to: another one takes its place.
    """
    key = keys[0]
    if len(keys) == 1:
        old = holder[key]
        holder[key] = value
        return holder, key, old
    inner: Any = holder[key]
    if not isinstance(inner, tuple):
        return put(inner, keys[1:], value)
    items = list(cast("tuple[Any, ...]", inner))
    put(items, keys[1:], value)
    before: Any = cast(Any, inner)
    holder[key] = type(before)(*items) if hasattr(before, "_fields") else type(before)(items)
    return holder, key, before


def restore(undo: list[Undo]) -> None:
    """Undo a series of `put`, the last first."""
    for holder, key, before in reversed(undo):
        holder[key] = before


# --- names ---


def check_name(module: Any, name: Any, taken: bool, what: str) -> None:
    """Refuse a name that a member cannot have: `taken` says it already names such a member."""
    kind = type(module).__name__
    if not isinstance(name, str):
        text = f"{kind}: the name of a {what} is a {type(name).__name__}"
        raise MemberError(hinted(text, "give a string"))
    if not name or "." in name:
        text = f"{kind}: a {what} cannot be named {name!r}"
        raise MemberError(hinted(text, "give a name that is not empty and holds no dot"))
    if not taken and hasattr(module, name):
        text = f"{kind}: attribute {name!r} exists, a {what} cannot take its name"
        raise MemberError(hinted(text, "choose another name, or delete the attribute first"))
