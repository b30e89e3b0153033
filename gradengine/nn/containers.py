"""Modules that hold modules, and modules that hold parameters, as lists and dicts.

They keep what they hold as attributes named "0", "1", ... or by key, so that names in a state_dict
come out as PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self, SupportsIndex, cast, overload

from gradengine.errors import DTypeError, MemberError, OutOfRangeError, hinted
from gradengine.nn import texts
from gradengine.nn.module import Module
from gradengine.nn.state import nearest

# --- lists of modules ---


class _Modules(Module):
    """What Sequential and ModuleList share: the manners of a list."""

    def _names(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, Module)]

    def _items(self) -> list[Module]:
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def _renumber(self, modules: Iterable[Module]) -> None:
        listed = list(modules)
        for module in listed:
            check_module(self, module)
        for name in self._names():
            delattr(self, name)
        for index, module in enumerate(listed):
            setattr(self, str(index), module)

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items())

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        names = self._names()
        check_module(self, module)
        setattr(self, names[place(self, index, len(names))], module)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        items = self._items()
        del items[index if isinstance(index, slice) else place(self, index, len(items))]
        self._renumber(items)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        check_module(self, module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in listed_modules(self, modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before position `index`; the later ones move on."""
        items = self._items()
        if not -len(items) <= index <= len(items):
            raise out_of_range(self, index, len(items))
        items.insert(index, module)
        self._renumber(items)
        return self

    def pop(self, index: int = -1) -> Module:
        """Remove the module at `index` and return it."""
        module = self._items()[place(self, index, len(self))]
        del self[index]
        return module

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)


class Sequential(_Modules):
    """Modules one after the other, named "0", "1", ..., or by the keys of one dict.

    >>> from gradengine.nn import Linear, ReLU
    >>> Sequential(Linear(4, 3), ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            pairs: Any = cast("Mapping[str, Module]", modules[0]).items()
        else:
            pairs = ((str(index), module) for index, module in enumerate(modules))
        for name, module in pairs:
            check_module(self, module)
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        for module in self._items():
            input = module(input)
        return input

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: Any) -> Any:
        names = self._names()
        if isinstance(index, slice):
            return type(self)({name: vars(self)[name] for name in names[index]})
        return vars(self)[names[place(self, index, len(names))]]

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*chain.from_iterable([self._items()] * _positive(times)))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(self._items() * (_positive(times) - 1))


class ModuleList(_Modules):
    """A list of modules that belong to the module it is an attribute of.

    >>> from gradengine.nn import Linear
    >>> ModuleList(Linear(3, 3) for _ in range(2))
    ModuleList(
      (0-1): 2 x Linear(in_features=3, out_features=3, bias=True)
    )
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self.extend(modules or ())

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: Any) -> Any:
        items = self._items()
        if isinstance(index, slice):
            return type(self)(items[index])
        return items[place(self, index, len(items))]

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        blocks: list[tuple[int, int, str]] = []
        for index, text in enumerate(map(repr, self)):
            if blocks and blocks[-1][2] == text:
                blocks[-1] = (blocks[-1][0], index, text)
            else:
                blocks.append((index, index, text))
        return texts.tree(
            self,
            [
                (f"({i})", texts.Plain(text))
                if i == j
                else (f"({i}-{j})", texts.Plain(f"{j - i + 1} x {text}"))
                for i, j, text in blocks
            ],
        )


# --- a dict of modules ---


class ModuleDict(Module):
    """Modules by name that belong to the module it is an attribute of, in order of insertion.

    >>> from gradengine.nn import ReLU, Tanh
    >>> choices = ModuleDict({"relu": ReLU(), "tanh": Tanh()})
    >>> choices["tanh"]
    Tanh()
    """

    def __init__(self, modules: Any = None) -> None:
        self.update(modules or {})

    def _own(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def __getitem__(self, key: str) -> Module:
        own = self._own()
        if key not in own:
            raise no_key(self, key, own)
        return own[key]

    def __setitem__(self, key: str, module: Module) -> None:
        check_module(self, module)
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # says which keys there are
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[str]:
        return iter(self._own())

    def __contains__(self, key: object) -> bool:
        return key in self._own()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._own().keys()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._own().items()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._own().values()

    def clear(self) -> None:
        """Remove all."""
        for name in self._own():
            delattr(self, name)

    def pop(self, key: str) -> Module:
        """Remove the module `key` and return it."""
        module = self[key]
        del self[key]
        return module

    def update(self, modules: Any) -> None:
        """Add or replace modules: a mapping, a ModuleDict, or pairs of name and module."""
        for key, module in pairs_of(self, modules):
            self[key] = module


# --- what a user gets wrong ---


def check_module(holder: Module, module: Any) -> None:
    """Refuse what is no module."""
    if not isinstance(module, Module):
        text = f"{type(holder).__name__}: got a {describe_kind(module)}, no module"
        raise DTypeError(hinted(text, "give instances of nn.Module, such as nn.ReLU()"))


def describe_kind(value: Any) -> str:
    """The type of a value; a class that was not called is named as such."""
    return f"class {value.__name__}" if isinstance(value, type) else type(value).__name__


def listed_modules(holder: Module, modules: Any) -> list[Any]:
    """Modules as a list, taken before anything is changed."""
    if not hasattr(modules, "__iter__"):
        text = f"{type(holder).__name__}: got one {describe_kind(modules)}"
        raise DTypeError(hinted(text, "give a list of modules"))
    return list(modules)


def pairs_of(holder: Module, given: Any) -> list[tuple[str, Any]]:
    """The pairs of a mapping, of a container with `items`, or of an iterable of pairs."""
    if hasattr(given, "items"):
        return list(given.items())
    pairs = [tuple(pair) for pair in given]
    if any(len(pair) != 2 for pair in pairs):
        text = f"{type(holder).__name__}: got something else than pairs"
        raise DTypeError(hinted(text, "give a dict, or pairs of a name and a value"))
    return cast("list[tuple[str, Any]]", pairs)


def place(holder: Module, index: SupportsIndex, size: int) -> int:
    """`index` counted from the front."""
    found = index.__index__()
    if not -size <= found < size:
        raise out_of_range(holder, found, size)
    return found % size


def out_of_range(holder: Module, index: int, size: int) -> OutOfRangeError:
    """The error for an index that is not there."""
    text = f"{type(holder).__name__}: index {index} is out of range"
    return OutOfRangeError(hinted(text, f"it holds {size}, counted from 0"))


def no_key(holder: Module, key: Any, known: Mapping[str, Any]) -> MemberError:
    """The error for a key that is not there."""
    text = f"{type(holder).__name__}: no key {key!r}"
    return MemberError(hinted(text, nearest(str(key), known)))


def _positive(times: int) -> int:
    if times < 1:
        raise OutOfRangeError(hinted(f"Sequential: repeated {times} times", "give at least 1"))
    return times
