"""Which of NumPy's functions are ours: the table, how it is filled, and what needs no derivative.

Floor 3: stands on dispatch.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce as fold
from typing import Any, cast

import numpy as np

from .. import ops
from ..device import as_array
from ..errors import hinted
from ..tape import Traced
from .dispatch import unwrapped, wrapped

Function = Callable[..., Any]
TABLE: dict[Any, Function] = {}
"""NumPy's function -> ours."""


def numpy_named(name: str) -> Any:
    """A function of NumPy by dotted name, None where this version has none."""
    return fold(lambda module, part: getattr(module, part, None), name.split("."), cast(Any, np))


def implements(*names: str) -> Callable[[Function], Function]:
    """Enter a function in the table under NumPy's names for it."""

    def register(function: Function) -> Function:
        for name in names:
            if (found := numpy_named(name)) is not None:
                TABLE[found] = function
        return function

    return register


def only(name: str, **defaults: Any) -> None:
    """Refuse an option of NumPy's that we have not, unless it is at its default."""
    for key, (value, default) in defaults.items():
        if value is not default and (hasattr(value, "shape") or value != default):
            raise TypeError(hinted(f"numpy.{name}: {key}={value!r} on tensors", "leave it out"))


def recast(x: Any, dtype: Any) -> Any:
    return x if dtype is None or x.dtype == dtype else ops.astype(x, np.dtype(dtype))


def arrayed(x: Any) -> Any:
    return x if isinstance(x, Traced) else as_array(x)


# --- no derivative to lose: shapes, positions, comparisons, printing ---

VALUES_ONLY = """
shape ndim size result_type can_cast common_type min_scalar_type iscomplexobj isrealobj
zeros_like ones_like empty_like argsort argpartition lexsort searchsorted digitize argwhere
flatnonzero unravel_index ravel_multi_index isin allclose isclose array_equal array_equiv
isneginf isposinf iscomplex isreal may_share_memory shares_memory array_repr array_str
array2string save savez savez_compressed savetxt
"""


def _values_only(name: str) -> None:
    function = numpy_named(name)

    @implements(name)
    def _(*args: Any, **kwargs: Any) -> Any:
        return wrapped(function(*unwrapped(args), **unwrapped(kwargs)))


for _name in VALUES_ONLY.split():
    _values_only(_name)
