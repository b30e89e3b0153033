"""ParameterList and ParameterDict: parameters as lists and dicts that belong to a module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self, SupportsIndex, overload

from gradengine.errors import MemberError, hinted
from gradengine.nn.containers import no_key, pairs_of, place
from gradengine.nn.members import check_name
from gradengine.nn.module import Module
from gradengine.nn.parameter import Buffer, Parameter
from gradengine.tensor import Tensor


class _Values(Module):
    """What both share: tensors become parameters, and how they print."""

    def _shown(self, pairs: Iterable[tuple[Any, Any]]) -> str:
        return "\n".join(f"  ({key}): {_line(value)}" for key, value in pairs)


def _learned(value: Any) -> Any:
    """A tensor as a Parameter; parameters, buffers and what is no tensor unchanged."""
    plain = isinstance(value, Tensor) and not isinstance(value, (Parameter, Buffer))
    return Parameter(value) if plain else value


def _line(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    size = "x".join(map(str, value.shape))
    place = "" if str(value.device) == "cpu" else f" ({value.device})"
    return f"{kind} containing: [{value.dtype} of size {size}{place}]"


class ParameterList(_Values):
    """A list of parameters that belong to the module it is an attribute of.

    Tensors become parameters; anything else is kept as it is.

    >>> weights = ParameterList([Tensor.lift([1.0]), Tensor.lift([2.0, 3.0])])
    >>> [name for name, _ in weights.named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        self._size = 0
        self.extend(values or ())

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([vars(self)[str(index)] for index in range(self._size)])

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return vars(self)[str(place(self, index, self._size))]

    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        name = str(place(self, index, self._size))
        value = _learned(value)
        if isinstance(vars(self)[name], Parameter) and not isinstance(value, Parameter):
            delattr(self, name)
        setattr(self, name, value)

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        setattr(self, str(self._size), _learned(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        return self._shown(enumerate(self))


class ParameterDict(_Values):
    """Parameters by name that belong to the module it is an attribute of, in order of insertion.

    Tensors become parameters; anything else is kept as it is.

    >>> weights = ParameterDict({"left": Tensor.lift([1.0]), "right": Tensor.lift([2.0])})
    >>> [name for name, _ in weights.named_parameters()]
    ['left', 'right']
    """

    def __init__(self, parameters: Any = None) -> None:
        self._keys: dict[str, None] = {}
        self.update(parameters or {})

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise no_key(self, key, self._keys)
        return vars(self)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        check_name(self, key, key in self._keys, "parameter")
        value = _learned(value)
        if isinstance(vars(self).get(key), Parameter) and not isinstance(value, Parameter):
            delattr(self, key)
        self._keys[key] = None
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        self[key]  # says which keys there are
        del self._keys[key]
        delattr(self, key)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and values."""
        return [(key, vars(self)[key]) for key in self._keys]

    def values(self) -> Iterable[Any]:
        """The values."""
        return [vars(self)[key] for key in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return vars(self)[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`, which is set to `default` first if there is none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Remove `key` and return its value."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the pair inserted last and return it."""
        if not self._keys:
            text = "ParameterDict: popitem of an empty one"
            raise MemberError(hinted(text, "look at len(d) first"))
        key = list(self._keys)[-1]
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another dict of the same parameters."""
        return type(self)(dict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict with these keys, all of one value."""
        return type(self)(dict.fromkeys(keys, default))

    def update(self, parameters: Any) -> None:
        """Add or replace values: a mapping, a ParameterDict, or pairs of name and value."""
        for key, value in pairs_of(self, parameters):
            self[key] = value

    def __or__(self, other: ParameterDict) -> ParameterDict:
        joined = self.copy()
        joined.update(other)
        return joined

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return self._shown(self.items())
