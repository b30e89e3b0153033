"""Hooks: functions called when a module runs, forward and back, in PyTorch's order.

Around `forward` they are plain calls. For the way back the arguments and the outputs each pass an
identity, whose rule is where the hooks are called: at the outputs first, then, once all gradients
have come through the module, at the inputs. The identities are ops of the tape, so the hooks run
in a recorded pass (`create_graph`) too, on recorded gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gradengine.custom import Context, UserOp
from gradengine.errors import DTypeError, GraphError, hinted
from gradengine.modes import grad_enabled
from gradengine.tensor import Tensor

if TYPE_CHECKING:
    from gradengine.nn.module import Module

# pyright: reportPrivateUsage=false
# A module's hooks are private to people, not to this file.

Hook = Callable[..., Any]
KINDS = ("before", "after", "backward_before", "backward")


class Entry(NamedTuple):
    """A hook and how it wants to be called."""

    hook: Hook
    with_kwargs: bool = False
    always_call: bool = False


class Hooks:
    """The hooks of one module, by kind, in the order they are called."""

    def __init__(self) -> None:
        self.count = 0
        self.kinds: dict[str, dict[int, Entry]] = {kind: {} for kind in KINDS}

    def of(self, kind: str) -> tuple[Entry, ...]:
        """Those of one kind: a copy, since a hook may remove itself while it runs."""
        return tuple(self.kinds[kind].values())


class RemovableHandle:
    """What registering a hook returns: `remove()` takes it away, once or more; also a `with`."""

    def __init__(self, entries: dict[int, Entry], key: int) -> None:
        self.entries, self.id = entries, key

    def remove(self) -> None:
        """Take the hook away."""
        self.entries.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.remove()


def register(
    module: Module, kind: str, hook: Hook, prepend: bool = False, **how: bool
) -> RemovableHandle:
    """Add a hook of a kind to a module, at the end or at the beginning."""
    if not callable(hook):
        text = f"{type(module).__name__}: a hook is a {type(hook).__name__}, no function"
        raise DTypeError(hinted(text, "give a function"))
    if module._hooks is None:
        module._hooks = Hooks()
    hooks = module._hooks
    hooks.count += 1
    entries = hooks.kinds[kind]
    others = dict(entries) if prepend else {}
    if prepend:
        entries.clear()  # the handles know this dict
    entries[hooks.count] = Entry(hook, **how)
    entries.update(others)
    return RemovableHandle(entries, hooks.count)


def hooked(module: Module) -> bool:
    """Whether calling the module does more than its class says: hooks, or a `forward` of its own.

    Code that computes what a module would, without calling it, asks first.
    """
    hooks = module._hooks
    return "forward" in vars(module) or (hooks is not None and any(hooks.kinds.values()))


# --- forward ---


def call(module: Module, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward` between its hooks."""
    waiting = [entry for entry in hooks.of("after") if entry.always_call]
    try:
        return _call(module, hooks, args, kwargs, waiting)
    except Exception as error:
        for entry in waiting:
            try:
                _after(module, entry, args, kwargs, None)
            except Exception as second:
                error.add_note(f"a forward hook then raised {type(second).__name__}: {second}")
        raise


def _call(
    module: Module,
    hooks: Hooks,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    waiting: list[Entry],
) -> Any:
    for entry in hooks.of("before"):
        args, kwargs = _before(module, entry, args, kwargs)
    gate = _gate(module, hooks)
    if gate is not None:
        args = gate.enter(args)
    out = module.forward(*args, **kwargs)
    for entry in hooks.of("after"):
        if entry in waiting:
            waiting.remove(entry)
        found = _after(module, entry, args, kwargs, out)
        out = out if found is None else found
    return out if gate is None else gate.leave(out)


def _before(
    module: Module, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if entry.with_kwargs:
        found = entry.hook(module, args, kwargs)
        if found is None:
            return args, kwargs
        pair = _tuple(found)
        if len(pair) == 2:
            return pair[0], pair[1]
        text = f"{type(module).__name__}: a forward pre-hook returned {len(pair)} values"
        raise DTypeError(hinted(text, "with_kwargs: return None or the pair (args, kwargs)"))
    found = entry.hook(module, args)
    if found is None:
        return args, kwargs
    return _tuple(found), kwargs


def _after(module: Module, entry: Entry, args: Any, kwargs: Any, out: Any) -> Any:
    if entry.with_kwargs:
        return entry.hook(module, args, kwargs, out)
    return entry.hook(module, args, out)


# --- backward ---


def _gate(module: Module, hooks: Hooks) -> _Gate | None:
    first, last = hooks.of("backward_before"), hooks.of("backward")
    return _Gate(module, first, last) if (first or last) and grad_enabled() else None


class _Gate:
    """The two identities around one call of a module, and what they tell each other."""

    def __init__(self, module: Module, first: Sequence[Entry], last: Sequence[Entry]) -> None:
        self.module, self.first, self.last = module, first, last
        self.inputs = 0
        self.tracked = False  # whether a gradient flows into an input
        self.grad_output: tuple[Any, ...] | None = None

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(args)
        passed, places = _through(args, self._at_inputs)
        self.tracked = bool(places)
        return passed

    def leave(self, out: Any) -> Any:
        outputs = cast("tuple[Any, ...]", out) if isinstance(out, tuple) else (out,)
        passed, _ = _through(outputs, self._at_outputs)
        if not isinstance(out, tuple):
            return passed[0]
        kind = cast(Any, type(outputs))
        return kind(*passed) if hasattr(outputs, "_fields") else passed

    def _at_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for entry in self.first:
            found = entry.hook(self.module, grads)
            grads = grads if found is None else _same_number(self.module, found, grads)
        if self.tracked:
            self.grad_output = grads
            return grads
        for entry in self.last:  # no gradient will arrive at the inputs
            found = entry.hook(self.module, (None,) * self.inputs, grads)
            if found is not None and any(g is not None for g in _tuple(found)):
                text = f"{type(self.module).__name__}: a backward hook returned a gradient"
                raise GraphError(hinted(text, "no input asks for one: return None"))
        return grads

    def _at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        above, self.grad_output = self.grad_output, None
        for entry in self.last if above is not None else ():
            found = entry.hook(self.module, grads, above)
            grads = grads if found is None else _same_number(self.module, found, grads)
        return grads


def _through(
    values: tuple[Any, ...], meet: Callable[[tuple[Any, ...]], tuple[Any, ...]]
) -> tuple[tuple[Any, ...], list[int]]:
    """The same values behind an identity whose cotangents `meet` sees, None for what has none."""
    places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
    if not places:
        return values, places

    def spread(grads: Sequence[Any]) -> tuple[Any, ...]:
        full: list[Any] = [None] * len(values)
        for i, g in zip(places, grads, strict=True):
            full[i] = g
        return tuple(full)

    def forward(ctx: Context, *xs: Any) -> Any:
        ctx.set_materialize_grads(False)
        return xs

    def backward(_ctx: Context, *grads: Any) -> Any:
        found = meet(spread(grads))
        return tuple(found[i] for i in places)

    def push(_primals: Any, tangents: Any, _outputs: Any) -> Any:
        return tangents

    op = UserOp("module hook", forward, backward, push)
    passed = list(values)
    for i, y in zip(places, op(*(values[i] for i in places)), strict=True):
        passed[i] = y
    return tuple(passed), places


def _tuple(found: Any) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", found) if isinstance(found, tuple) else (found,)


def _same_number(module: Module, found: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    given = _tuple(found)
    if len(given) != len(grads):
        text = (
            f"{type(module).__name__}: a backward hook returned {len(given)} gradients "
            f"instead of {len(grads)}"
        )
        raise GraphError(hinted(text, "return None, or a tuple with one for each"))
    return given
