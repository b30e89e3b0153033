"""functional_call: a module as a function of its parameters, for transforms such as `ge.grad`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from gradengine.errors import DTypeError, GraphError, MemberError, ShapeError, hinted
from gradengine.nn.members import Keys, Undo, dotted, put, restore, tensors
from gradengine.nn.state import nearest
from gradengine.tensor import Tensor

if TYPE_CHECKING:
    from gradengine.nn.module import Module

# pyright: reportPrivateUsage=false
# Where a module keeps its tensors is private to people, not to this file.

Place = tuple[Any, Keys, Tensor, bool | None]
_lock = threading.Lock()
_busy: dict[int, list[int]] = {}  # module -> the threads inside a call of it, nested ones too


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Any] | tuple[Mapping[str, Any], ...],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other tensors in the place of its parameters and buffers.

    `parameter_and_buffer_dicts` is a dict by dotted name, or a tuple of such dicts. The tensors may
    carry a history or tangents, so the call can be differentiated in them, to any order. `args` is
    a tuple, or the one argument. A tensor the module holds under several names is replaced under
    all of them (unless `tie_weights` is False); with `strict` every name must be given.

    The module holds the given tensors during the call and its own afterwards, also after an error;
    what `forward` writes in place, it writes into the given ones. Hence two threads cannot do this
    with one module at once (GraphError), a thread that merely calls the module meanwhile sees
    the given tensors, and `ge.checkpoint` inside `forward` recomputes with the module's own.

    >>> import gradengine as ge
    >>> from gradengine import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> x = ge.tensor([[3.0]])
    >>> f = lambda weight: nn.functional_call(layer, {"weight": weight}, x).sum()
    >>> ge.grad(f)(ge.tensor([[2.0]]))
    tensor([[3.]])
    """
    given = cast("tuple[Any, ...]", args) if isinstance(args, tuple) else (args,)
    undo: list[Undo] = []
    known: list[tuple[Module, Any]] = []
    _enter(module)
    try:
        places = _places(module)
        chosen = _chosen(module, _merged(parameter_and_buffer_dicts), places, tie_weights, strict)
        for name, value in chosen.items():
            owner, keys, _, persistent = places[name]
            undo.append(put(vars(owner), keys, value))
            if keys[0] not in (owner._buffer_flags or {}):
                known.append((owner, owner._stand_ins))
                owner._stand_ins = {**(owner._stand_ins or {}), keys: persistent}
        return module(*given, **(kwargs or {}))
    finally:
        restore(undo)
        for owner, before in reversed(known):
            owner._stand_ins = before
        _leave(module)


def _places(module: Module) -> dict[str, Place]:
    return {
        dotted(path, ".".join(map(str, keys))): (part, keys, tensor, persistent)
        for path, part in module.named_modules(remove_duplicate=False)
        for keys, tensor, persistent in tensors(part)
    }


def _merged(given: Any) -> dict[str, Any]:
    dicts = cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given,)
    merged: dict[str, Any] = {}
    for part in dicts:
        if not isinstance(part, Mapping):
            text = f"functional_call: got a {type(part).__name__} for the parameters"
            raise DTypeError(hinted(text, "give a dict of tensors by name, or a tuple of dicts"))
        for name, value in cast("Mapping[str, Any]", part).items():
            if name in merged:
                text = f"functional_call: {name!r} stands in two of the dicts"
                raise MemberError(hinted(text, "give every name once"))
            merged[name] = Tensor.lift(value)
    return merged


def _chosen(
    module: Module, given: dict[str, Any], places: dict[str, Place], tie: bool, strict: bool
) -> dict[str, Any]:
    """What goes where, the other names of shared tensors included."""
    for name, value in given.items():
        if name not in places:
            text = f"functional_call: {type(module).__name__} has no tensor named {name!r}"
            raise MemberError(hinted(text, nearest(name, places)))
        if value.shape != places[name][2].shape:
            text = (
                f"functional_call: {name!r} is {value.shape}, "
                f"{type(module).__name__} has {places[name][2].shape}"
            )
            raise ShapeError(hinted(text, "give a tensor of the same shape"))
    chosen = dict(given)
    by_tensor = {id(places[name][2]): name for name in given} if tie else {}
    for name, (_, _, tensor, _) in places.items():
        source = by_tensor.get(id(tensor))
        if source is None:
            continue
        if given.get(name, given[source]) is not given[source]:
            text = f"functional_call: {name!r} and {source!r} are one tensor, given two values"
            raise MemberError(hinted(text, "give one of them, or pass tie_weights=False"))
        chosen[name] = given[source]
    missing = [name for name in places if name not in chosen]
    if strict and missing:
        text = f"functional_call: {type(module).__name__} lacks {', '.join(map(repr, missing))}"
        raise MemberError(hinted(text, "give them too, or leave strict out"))
    return chosen


def _enter(module: Module) -> None:
    me = threading.get_ident()
    with _lock:
        inside = _busy.setdefault(id(module), [])
        if any(thread != me for thread in inside):
            text = f"functional_call: {type(module).__name__} is in a call of another thread"
            raise GraphError(hinted(text, "give every thread its own copy.deepcopy(module)"))
        inside.append(me)


def _leave(module: Module) -> None:
    with _lock:
        inside = _busy[id(module)]
        inside.pop()
        if not inside:
            del _busy[id(module)]
