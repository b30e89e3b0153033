"""Parameters that are computed from others: a tensor of a module replaced by f(original).

The module gets a subclass of its own whose property computes the tensor at every access, and a
child `parametrizations` that holds the originals and the functions, with PyTorch's names.

Floor 6: stands on nn/module.py and nn/containers.py.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from gradengine.errors import MemberError, ShapeError, hinted
from gradengine.nn.containers import ModuleDict
from gradengine.nn.module import Module, Parameter
from gradengine.tape import no_grad
from gradengine.tensor import Tensor

_cache: ContextVar[dict[tuple[int, str], Tensor] | None] = ContextVar("parametrized", default=None)


class ParametrizationList(Module):
    """f_n(... f_1(original)): the functions, named "0", "1", ..., and what they start from.

    A function with `right_inverse` starts from that of the tensor's value: one tensor, called
    `original`, or a tuple of them, called `original0`, `original1`, ...
    """

    def __init__(self, first: Module, value: Parameter) -> None:
        self.count = 1
        inverse: Any = getattr(first, "right_inverse", None)
        with no_grad():
            start: Any = value if inverse is None else inverse(value.detach())
        setattr(self, "0", first)
        self.several: bool = start.__class__ is tuple
        if self.several:
            parts: Any = start
            for i, part in enumerate(parts):
                setattr(self, f"original{i}", Parameter(part, requires_grad=value.requires_grad))
            self.names = tuple(f"original{i}" for i in range(len(parts)))
        else:
            kept = start if start is value else Parameter(start, value.requires_grad)
            self.original = kept
            self.names = ("original",)

    def append(self, function: Module) -> None:
        """Another function, applied last."""
        setattr(self, str(self.count), function)
        self.count += 1

    def forward(self) -> Tensor:
        originals = [getattr(self, name) for name in self.names]
        x = getattr(self, "0")(*originals)
        for i in range(1, self.count):
            x = getattr(self, str(i))(x)
        return x

    def right_inverse(self, value: Any) -> None:
        """Start from what gives `value`, written into the originals in place.

        Raises MemberError if a function has no `right_inverse`, ShapeError if the value has
        another shape.
        """
        own: Any = self()
        if tuple(value.shape) != tuple(own.shape):
            text = f"parametrize: a value {tuple(value.shape)} for a tensor {tuple(own.shape)}"
            raise ShapeError(hinted(text, "assign a tensor of the same shape"))
        with no_grad():
            start: Any = value.detach()
            for i in reversed(range(self.count)):
                function = getattr(self, str(i))
                if not hasattr(function, "right_inverse"):
                    text = f"parametrize: {type(function).__name__} has no right_inverse"
                    hint = "define it, to assign to the tensor, or write to its originals"
                    raise MemberError(hinted(text, hint))
                start = function.right_inverse(start)
            parts: Any = start if self.several else (start,)
            for name, part in zip(self.names, parts, strict=True):
                getattr(self, name).copy_(part)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `module.<tensor_name>` be `parametrization(original)`; returns the module.

    The original is a parameter `parametrizations.<tensor_name>.original`. Registered again, the
    functions are applied one after the other. What is assigned to the tensor goes back through
    their `right_inverse`. Raises MemberError if there is no such parameter, ShapeError if the
    function changes shape or dtype, unless `unsafe`.

    >>> import gradengine as ge
    >>> from gradengine import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return (x + x.T) / 2
    >>> layer = register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all()), list(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    if is_parametrized(module, tensor_name):
        _check(tensor_name, parametrization(getattr(module, tensor_name)), module, unsafe)
        _lists(module)[tensor_name].append(parametrization)
        return module
    value = vars(module).get(tensor_name)
    if not isinstance(value, Parameter):
        text = f"register_parametrization: {type(module).__name__} has no parameter {tensor_name!r}"
        names = [name for name, p in vars(module).items() if isinstance(p, Parameter)]
        raise MemberError(hinted(text, f"its parameters are {names}"))
    made = ParametrizationList(parametrization, value)
    _check(tensor_name, made(), value, unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]
    _lists(module)[tensor_name] = made
    _dress(module)
    return module


def _dress(module: Any) -> None:
    """Give the module a class of its own, with a property for each computed tensor.

    A new one after every change: deep copies of the module keep the class they were made with.
    """
    plain: Any = getattr(module.__class__, "_plain", module.__class__)
    if not is_parametrized(module):
        module.__class__ = plain
        return
    own = {name: _property(name) for name in _lists(module)}
    members = {"__module__": __name__, "_plain": plain, **own}
    module.__class__ = type(f"Parametrized{plain.__name__}", (plain,), members)


def _property(name: str) -> property:
    def assign(module: Any, value: Any) -> None:
        _lists(module)[name].right_inverse(value)

    return property(lambda module: _value(module, name), assign)


def _lists(module: Any) -> Any:
    return module.parametrizations


def _value(module: Module, name: str) -> Tensor:
    known = _cache.get()
    if known is None:
        return _lists(module)[name]()
    key = (id(module), name)
    if key not in known:
        known[key] = _lists(module)[name]()
    return known[key]


def _check(name: str, new: Any, old: Any, unsafe: bool) -> None:
    if isinstance(old, Module):
        old = getattr(old, name)
    if not unsafe and (tuple(new.shape), new.dtype) != (tuple(old.shape), old.dtype):
        raise ShapeError(
            hinted(
                f"register_parametrization: {name} {tuple(old.shape)} {old.dtype} becomes "
                f"{tuple(new.shape)} {new.dtype}",
                "keep shape and dtype, or say unsafe=True",
            )
        )


@contextmanager
def cached() -> Generator[None]:
    """Within the block every parametrized tensor is computed once, however often it is read.

    >>> from gradengine import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> with cached():
    ...     layer.weight is layer.weight
    True
    """
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module, or the one named, is computed from others."""
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return tensor_name is None or tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor a parameter again: its computed value, or else the original.

    Raises MemberError if it is not parametrized, or has several originals and none is the value.

    >>> from gradengine import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> list(remove_parametrizations(layer, "weight").state_dict())
    ['bias', 'weight']
    """
    if not is_parametrized(module, tensor_name):
        text = f"remove_parametrizations: {type(module).__name__}.{tensor_name} is a plain tensor"
        raise MemberError(hinted(text, "register_parametrization makes one that can be removed"))
    found: ParametrizationList = _lists(module)[tensor_name]
    if not leave_parametrized and found.several:
        text = f"remove_parametrizations: {tensor_name} has several originals"
        raise MemberError(hinted(text, "say leave_parametrized=True"))
    with no_grad():
        value = found() if leave_parametrized else found.original
    asked = getattr(found, found.names[0]).requires_grad
    del _lists(module)[tensor_name]
    if not len(_lists(module)):
        del module.parametrizations  # type: ignore[attr-defined]
    _dress(module)
    setattr(module, tensor_name, Parameter(value, asked))
    return module
