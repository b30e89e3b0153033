"""Parameter and Buffer: tensors that a module owns.

Both are leaves with memory of their own. What a Parameter holds is learned, what a Buffer holds is
kept along (running statistics, masks), and moved and saved with the module.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
        parameter: Parameter = constant(cls, _own(data))
        parameter.requires_grad_(requires_grad)
        return parameter

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor without gradient that belongs to a module's state: a copy of `data`.

    Assigning one to an attribute is `Module.register_buffer`. With `persistent=False` it is moved
    with the module but not in its `state_dict`.

    >>> from gradengine.nn import Module
    >>> class Count(Module):
    ...     def __init__(self):
    ...         self.calls = Buffer([0.0])
    >>> list(Count().state_dict())
    ['calls']
    """

    __slots__ = ()

    persistent: ClassVar[bool] = True

    def __new__(cls, data: Any, *, persistent: bool = True) -> Buffer:
        return constant(Buffer if persistent else TransientBuffer, _own(data))


class TransientBuffer(Buffer):
    """What `Buffer(data, persistent=False)` gives."""

    __slots__ = ()

    persistent: ClassVar[bool] = False


def _own(data: Any) -> Any:
    array = data.array if isinstance(data, Tensor) else as_array(data, default_dtype(data))
    return array.copy()
