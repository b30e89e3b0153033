"""What a rule reads of an op's output and inputs, told by the names of its arguments.

`x` is read by value, of `x_like` shape and dtype, of `_x` nothing: so much the tape must save.

Floor 2: stands on tape.py.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, cast

from .device import is_array
from .tape import Like

NONE, LIKE, VALUE = 0, 1, 2


def reads(rule: Any, skip: int, count: int) -> list[int]:
    """What a rule reads of y and of each of `count` inputs; y is its argument number `skip`."""
    if not callable(rule):
        return [NONE] * (count + 1)
    code = cast(Any, rule).__code__
    names = code.co_varnames[skip : code.co_argcount]
    if code.co_flags & inspect.CO_VARARGS:
        names += (code.co_varnames[code.co_argcount + code.co_kwonlyargcount],) * count
    return [
        NONE if n.startswith("_") else LIKE if n.endswith("_like") else VALUE
        for n in names[: count + 1]
    ]


@cache
def asks(rule: Any) -> bool:
    """Whether a rule for all inputs has a keyword `needed`: which cotangents will be used."""
    return "needed" in inspect.signature(rule).parameters


def like_of(x: Any) -> Any:
    """Shape and dtype of an array, None for anything else."""
    return Like(x.shape, x.dtype) if is_array(x) else None
