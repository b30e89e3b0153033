"""Checks whose answer is on the device: an index out of range, found out without waiting for it.

A kernel that meets a bad index writes no memory of others and leaves a number that tells. That
number is copied to pinned memory behind the kernel, with an event after it, and looked at as soon
as the event is done: when the next check is filed, and at the latest where the host waits for the
device anyway, that is where values are copied to it and at `ge.cuda.synchronize()`. The error is
the one that the op would have raised on the CPU, with a note that its launch lies behind; for it
the formula is called again with the indices, which are kept that long.

Floor 1: stands on device.py and errors.py.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..device import guard, import_cupy
from ..errors import OutOfRangeError, hinted

__all__ = ["Blank", "expect", "formulas", "set_sync_checks", "settle", "sync_checks"]

Array: TypeAlias = Any

VARIABLE = "GRADENGINE_SYNC_CHECKS"
SLOTS, WIDTH = 1024, 16
"""Answers under way at a time, and the bytes of one."""

formulas: dict[tuple[str, type], Callable[..., Any]] = {}
"""The formulas of ops, which say what is wrong, by name and class of array; dispatch.py enters."""


class Blank(NamedTuple):
    """An operand whose values no check reads."""

    shape: tuple[int, ...]
    dtype: Any


# --- at once, or later ---

_at_once: bool | None = None


def set_sync_checks(value: bool) -> None:
    """Wait for the device at every op that checks indices, so that an error is raised by its op.

    As CUDA_LAUNCH_BLOCKING for kernels: for finding a mistake, not for speed. The default is what
    the environment variable GRADENGINE_SYNC_CHECKS says (1: wait), else not to wait.

    >>> set_sync_checks(False)
    """
    global _at_once
    _at_once = bool(value)


def sync_checks() -> bool:
    """Whether ops wait for the answers of their checks; see `set_sync_checks`."""
    return os.environ.get(VARIABLE, "0") not in ("", "0") if _at_once is None else _at_once


# --- what is under way ---


class _Check(NamedTuple):
    name: str
    answer: Array  # pinned
    place: int
    good: int
    event: Any
    flags: Array
    operands: tuple[Any, ...]
    params: dict[str, Any]


class _Waiting:
    """The checks under way in order of their launches, and pinned memory for their answers."""

    def __init__(self) -> None:
        self.checks: deque[_Check] = deque()
        self.lock = threading.RLock()
        self.ring: Array = None
        self.next = 0

    def slot(self, cupy: Any, flags: Array) -> Array:
        """Pinned memory for a copy of `flags`, of which none is under way."""
        if self.ring is None:
            memory = cupy.cuda.alloc_pinned_memory(SLOTS * WIDTH)
            self.ring = np.frombuffer(memory, np.uint8, SLOTS * WIDTH).reshape(SLOTS, WIDTH)
        self.next = (self.next + 1) % SLOTS
        return self.ring[self.next, : flags.nbytes].view(flags.dtype).reshape(flags.shape)


_waiting = _Waiting()


def expect(
    name: str,
    flags: Array,
    place: int,
    good: int,
    operands: tuple[Any, ...],
    params: dict[str, Any],
) -> bool:
    """File that flags[place] will be `good` unless an index of the op `name` is out of range.

    False where it is known at once not to be. `operands` are what the formula needs to say what is
    wrong: the indices, `Blank`s for the rest. While a stream is captured nothing is checked: what
    is captured runs later, and more than once.
    """
    if sync_checks():
        return int(flags[place]) == good
    cupy = import_cupy()
    stream = cupy.cuda.get_current_stream()
    if stream.is_capturing():
        return True
    with _waiting.lock:
        if len(_waiting.checks) >= SLOTS - 1:
            _waiting.checks[0].event.synchronize()
            settle()
        answer = _waiting.slot(cupy, flags)
        flags.get(stream=stream, out=answer, blocking=False)
        event = cupy.cuda.Event(disable_timing=True)
        event.record(stream)
        _waiting.checks.append(_Check(name, answer, place, good, event, flags, operands, params))
    settle()
    return True


def settle() -> None:
    """Look at the answers that have arrived; raises the error of the first that is wrong."""
    checks = _waiting.checks
    while checks:
        with _waiting.lock:
            if not checks or not checks[0].event.done:
                return
            check = checks.popleft()
            wrong = int(check.answer[check.place]) != check.good
        if wrong:
            raise _late_error(check)


def forget() -> None:
    """Drop all that is under way: for tests."""
    with _waiting.lock:
        _waiting.checks.clear()
        _waiting.ring = None


# --- what was wrong ---


def _late_error(check: _Check) -> Exception:
    """The error of the op's own formula, with a note on when and where it comes."""
    error: Exception
    try:
        with guard(check.flags):
            formula = formulas[check.name, check.flags.__class__]
            formula(*map(_filled, check.operands), **check.params)
    except OutOfRangeError as found:
        error = found
    else:  # the indices have been written to since
        shown = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in check.operands)
        hint = "all indices must lie inside; give the op a copy of indices that are written to"
        error = OutOfRangeError(
            hinted(f"{check.name}: an index was out of range: called with {shown}", hint)
        )
    error.add_note(
        f"This comes from an earlier launch of {check.name}; the GPU's answer has only just arrived"
        f".\nhint: to have it raised by the op itself: ge.cuda.set_sync_checks(True), or set "
        f"{VARIABLE}=1"
    )
    return error


def _filled(x: Any) -> Any:
    """Zeros in the place of what was not kept."""
    if not isinstance(x, Blank):
        return x
    cupy = import_cupy()
    return cupy.broadcast_to(cupy.zeros((1,) * len(x.shape), x.dtype), x.shape)
