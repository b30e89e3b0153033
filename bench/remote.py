"""A library in a process of its own: the thread pools of two in one process disturb each other.

OpenMP threads spin for a while after their work is done, and take the core from whoever comes next.
The parent tells each process when to take a sample, so that sides still alternate within one run.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .timing import calls_for

REST = 0.02
"""Seconds between samples of two sides, for threads to stop spinning."""


class Remote:
    """One library's process; `find(library, name)` runs there and gives the call to time."""

    def __init__(self, find: Callable[[str, str], Callable[[], Any] | None], library: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.side = library
        self.process = context.Process(target=_serve, args=(theirs, find, library), daemon=True)
        self.process.start()

    def ask(self, *message: Any) -> Any:
        """Send, and wait for the answer; what failed there is raised here."""
        self.pipe.send(message)
        found = self.pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def prepare(self, name: str, seconds: float) -> int:
        """Build the call of a workload and warm it up: calls in a sample, 0 if not offered."""
        return self.ask("prepare", name, seconds)

    def sample(self, count: int) -> float:
        """Seconds per call of `count` calls in a row."""
        time.sleep(REST)
        return self.ask("sample", count)

    def facts(self) -> dict[str, Any]:
        """The machine and the versions as the process sees them."""
        return self.ask("facts")

    def close(self) -> None:
        """End the process."""
        self.pipe.send(("close",))
        self.process.join(10)


def _serve(pipe: Connection, find: Callable[..., Any], library: str) -> None:
    from .timing import machine

    call: Any = None
    while True:
        what, *rest = pipe.recv()
        if what == "close":
            return
        try:
            if what == "prepare":
                name, seconds = rest
                call = None
                call = find(library, name)
                pipe.send(0 if call is None else calls_for(call, seconds))
            elif what == "sample":
                pipe.send(_sample(call, rest[0]))
            else:
                pipe.send(machine())
        except ImportError:
            pipe.send(0)
        except Exception as error:
            pipe.send(RuntimeError(f"{library}: {type(error).__name__}: {error}"))


def _sample(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
