"""state_dict and load_state_dict: a module's tensors by name, out and in again.

The names are PyTorch's, so that a checkpoint carries over. Loading looks at everything first: it
either takes the whole dict or raises one error that lists all that is wrong, with nothing changed.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gradengine.errors import DTypeError, MemberError, StateError, hinted
from gradengine.modes import no_grad
from gradengine.nn.members import dotted, tensors
from gradengine.tape import constant
from gradengine.tensor import Tensor
from gradengine.writes import replace

if TYPE_CHECKING:
    from gradengine.nn.module import Module

SHOWN = 12


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys({self.missing_keys=}, {self.unexpected_keys=})".replace(
            "self.", ""
        )


# --- out ---


def state_dict(
    module: Module, *, prefix: str = "", keep_vars: bool = False
) -> OrderedDict[str, Tensor]:
    """Parameters and persistent buffers by name, detached; with `keep_vars` the tensors themselves.

    `prefix` stands before every name. A tensor with two names is there twice. The values are those
    of now: memory is shared until either side is written to.

    >>> from gradengine import nn
    >>> list(nn.Linear(2, 1).state_dict())
    ['weight', 'bias']
    """
    return OrderedDict(
        (prefix + name, tensor if keep_vars else tensor.detach())
        for name, tensor in _owned(module).items()
    )


def _owned(module: Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for keys, tensor, persistent in tensors(part):
            if persistent is False:
                continue
            name = dotted(path, ".".join(map(str, keys)))
            if found.setdefault(name, tensor) is not tensor:
                text = f"{type(module).__name__}: two tensors are named {name!r}"
                raise MemberError(hinted(text, "use no dots in the keys of a dict of modules"))
    return found


# --- in ---


def load_state_dict(
    module: Module, given: Mapping[str, Any], *, strict: bool = True, assign: bool = False
) -> IncompatibleKeys:
    """Copy tensors or arrays into the parameters and buffers of the same names.

    Values are converted to the dtype and device of the module's tensors; with `assign` the module
    takes those of the given ones. `strict` asks for all names and no others; without it the result
    says which were missing and unexpected. Shapes must agree in any case.

    Raises StateError that lists every missing, unexpected and mis-shaped name; then nothing has
    changed. A graph recorded before keeps the old values.

    >>> from gradengine import nn
    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> a.load_state_dict(b.state_dict())
    <All keys matched successfully>
    """
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        text = f"load_state_dict: got a {type(given).__name__}"
        raise DTypeError(hinted(text, "give a dict of tensors or arrays by name"))
    own = _owned(module)
    values = {name: _lifted(name, value) for name, value in given.items() if name in own}
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    shapes = {
        name: (value.shape, own[name].shape)
        for name, value in values.items()
        if value.shape != own[name].shape
    }
    if shapes or (strict and (missing or unexpected)):
        raise _refusal(module, own, missing, unexpected, shapes)
    if not assign:  # all conversions before the first assignment
        values = {name: value.to(own[name]) for name, value in values.items()}
    for name, value in values.items():
        _take(own[name], value, assign)
    return IncompatibleKeys(missing, unexpected)


def _lifted(name: str, value: Any) -> Tensor:
    try:
        found = Tensor.lift(value).detach()
    except (TypeError, ValueError) as error:
        text = f"load_state_dict: {name!r} is a {type(value).__name__}"
        raise DTypeError(hinted(text, "give tensors or NumPy arrays")) from error
    if found.dtype.kind not in "fiubcV":
        text = f"load_state_dict: {name!r} is a {type(value).__name__} of {found.dtype}"
        raise DTypeError(hinted(text, "give tensors or NumPy arrays of numbers"))
    return found


def _take(tensor: Tensor, value: Tensor, assign: bool) -> None:
    fresh = constant(Tensor, value.array.copy())
    if assign and (fresh.dtype, fresh.device) != (tensor.dtype, tensor.device):
        tensor.grad = None
        tensor.data = fresh.array
    else:
        with no_grad():
            replace(tensor, fresh, "load_state_dict")


# --- what is wrong ---


def nearest(name: str, known: Collection[str]) -> str:
    """A hint to the known name that is most like `name`, or to all of them."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(map(repr, list(known)[:SHOWN]))
    return f"it has {shown}{', ...' if len(known) > SHOWN else ''}" if known else "it has none"


def _refusal(
    module: Module,
    own: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    shapes: Mapping[str, tuple[Any, Any]],
) -> StateError:
    lines = [f"load_state_dict: the state does not fit {type(module).__name__}"]
    for what, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            lines.append(f"  {what} ({len(names)}): {_listed(names)}")
    for name, (given, needed) in shapes.items():
        lines.append(f"  shape of {name!r}: given {given}, the module has {needed}")
    return StateError(hinted("\n".join(lines), _remedy(own, missing, unexpected, shapes)))


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:SHOWN]))
    return f"{shown}, and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _remedy(
    own: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    shapes: Mapping[str, Any],
) -> str:
    if missing and unexpected:
        start = unexpected[0].removesuffix(missing[0])
        if start != unexpected[0] and all(name.removeprefix(start) in own for name in unexpected):
            return f"the names begin with {start!r}: take it away with name.removeprefix({start!r})"
        start = missing[0].removesuffix(unexpected[0])
        if start != missing[0] and all(start + name in own for name in unexpected):
            return f"the names lack {start!r}: put it before each of them"
    if shapes:
        return "build the module with the sizes of the one that was saved"
    return "load the state of the same model, or pass strict=False to load the names both have"
