"""What ran on the device: `with launched() as trace`, for tests and for the curious.

Floor 1: imports nothing of gradengine.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Trace", "fell_back", "launched", "note", "traces"]


class Trace:
    """`kernels`: what was launched, in order; `formulas`: ops that fell back to their formula."""

    def __init__(self) -> None:
        self.kernels: list[str] = []
        self.formulas: list[str] = []

    def names(self) -> list[str]:
        """The kernels without their template arguments."""
        return [name.partition("<")[0] for name in self.kernels]


traces: list[Trace] = []


@contextmanager
def launched() -> Generator[Trace]:
    """What runs on the device inside the block: `with launched() as trace: ...; trace.kernels`.

    Of all threads. Formulas are those of ops that have a kernel which did not fit the arguments.
    """
    trace = Trace()
    traces.append(trace)
    try:
        yield trace
    finally:
        traces.remove(trace)


def note(name: str) -> None:
    """Note that the kernel `name` was launched."""
    for trace in traces:
        trace.kernels.append(name)


def fell_back(name: str) -> None:
    """Note that the op `name` was computed by its formula."""
    for trace in traces:
        trace.formulas.append(name)
