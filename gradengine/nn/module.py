"""Module and Parameter: a tree of layers that knows its parameters by name, in PyTorch's manners.

A module is a plain object. Whatever Parameters and Modules stand in its attributes, in lists,
tuples and dicts too, belong to it, in the order of assignment; nothing is registered. An error
raised inside a module gets a note with the path to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from gradengine.device import as_array
from gradengine.dtypes import default_dtype
from gradengine.tape import constant
from gradengine.tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module owns and an optimiser changes: a copy of `data`, a leaf of the tape.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any, requires_grad: bool = True) -> Parameter:
        array = data.array if isinstance(data, Tensor) else as_array(data, default_dtype(data))
        parameter: Parameter = constant(cls, array.copy())
        parameter.requires_grad_(requires_grad)
        return parameter

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """A function with parameters: subclasses assign them in `__init__` and define `forward`.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool = True
    forward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`; an error from it is noted with the module's path."""
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            _note_path(error, self)
            raise

    # --- the tree ---

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules directly below this one, with their names."""
        for name, value in _members(vars(self)):
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names; this one's is `prefix`."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [(f"{name}.{key}".lstrip("."), child) for key, child in module.named_children()]
            stack.extend(reversed(below))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with dotted names."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in _members(vars(module)):
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}".lstrip("."), value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    # --- changing all of it ---

    def train(self, mode: bool = True) -> Module:
        """Set `training` on this module and all below it; the result is this module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """`train(False)`."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, mode: bool = True) -> Module:
        """Ask for gradients of all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(mode)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Move or convert all parameters in place, as `Tensor.to`; the result is this module."""
        for parameter in self.parameters():
            gradient = parameter.grad
            parameter.data = parameter.detach().to(*args, **kwargs)
            parameter.grad = None if gradient is None else gradient.detach().to(*args, **kwargs)
        return self

    # --- text ---

    def extra_repr(self) -> str:
        """What a layer shows of itself between its parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".splitlines() for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        below = "".join(f"  {line}\n" for child in lines for line in child)
        return f"{type(self).__name__}({self.extra_repr()}\n{below})"


def _members(container: Any) -> Iterator[tuple[str, Any]]:
    """Parameters and modules in a namespace or collection, however nested, with their names."""
    pairs: Any = container.items() if hasattr(container, "items") else enumerate(container)
    key: Any
    value: Any
    for key, value in pairs:
        if isinstance(value, (Parameter, Module)):
            yield str(key), value
        elif isinstance(value, (list, tuple, dict)):
            for name, member in _members(value):
                yield f"{key}.{name}", member


# --- where an error happened ---


def _note_path(error: Exception, module: Module) -> None:
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
