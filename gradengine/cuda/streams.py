"""Streams and events: `ge.cuda.Stream()`, `with ge.cuda.stream(s): ...`.

They are CuPy's own objects, since CuPy's current stream is the one everything runs on. Nothing here
imports CuPy before it is called.

Floor 1: stands on device.py.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..device import import_cupy

__all__ = ["Event", "Stream", "current_stream", "stream"]


def Stream(*, non_blocking: bool = True) -> Any:
    """A new stream of the current GPU: CuPy's object, with `synchronize` and `wait_event`.

    `with ge.cuda.stream(s):` runs ops on it. Raises DeviceError without a GPU.
    """
    return import_cupy().cuda.Stream(non_blocking=non_blocking)


def Event() -> Any:
    """A new event: `record(stream)`, `synchronize()`; `stream.wait_event(event)` orders streams."""
    return import_cupy().cuda.Event()


def current_stream() -> Any:
    """The stream that ops of this thread run on."""
    return import_cupy().cuda.get_current_stream()


@contextmanager
def stream(chosen: Any) -> Generator[Any]:
    """Run the ops inside a `with` block on a stream.

    The block neither waits for other streams nor makes them wait: order them by events, or with
    `synchronize`. CuPy's pool keeps memory by stream: an array freed in the block is used again by
    the same stream only.
    """
    with chosen:
        yield chosen
