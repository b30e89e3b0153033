"""Silence for floating-point warnings, at the lowest price: every pass and many ops ask for it.

Floor 0: stands on NumPy alone.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import Any

import numpy as np


def _error_state() -> tuple[ContextVar[Any], Any] | None:
    """NumPy's variable for what follows a floating-point error, and its value for "nothing".

    Found by what `numpy.seterr` changes; None where NumPy keeps no such context variable.
    """
    context, before = copy_context(), copy_context()
    context.run(np.seterr, all="ignore")
    found = [(key, value) for key, value in context.items() if before.get(key) is not value]
    return found[0] if len(found) == 1 else None


class _Quiet:
    """`numpy.errstate(all="ignore")` with its value made beforehand: a third of the time."""

    __slots__ = ("token",)
    state: Any = _error_state()

    def __enter__(self) -> None:
        variable, value = self.state
        self.token = variable.set(value)

    def __exit__(self, *_: object) -> None:
        self.state[0].reset(self.token)


def quiet() -> Any:
    """A context without floating-point warnings: derivatives meet 1/0 where it does no harm.

    >>> with quiet():
    ...     np.ones(1) / np.zeros(1)
    array([inf])
    """
    return _Quiet() if _Quiet.state is not None else np.errstate(all="ignore")
