"""Prefetching: worker threads fetch tasks ahead, results come out in the order of the tasks.

Threads, not processes: NumPy, decompression and file reading release the GIL, and nothing has to
be copied or pickled between processes. The order and the results do not depend on the number of
threads; at most `ahead` tasks are under way or waiting. The threads know the shared state only,
never the iterator, so that they end when the iterator is dropped.

Floor 6: stands on errors.py.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import GradengineError, hinted

Fetch = Callable[[Any], Any]


class LoaderTimeoutError(GradengineError, TimeoutError):
    """A batch was not ready in time."""


class Outcome:
    """What a task gave: a value, or the exception it raised."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value, self.error = value, error

    def get(self) -> Any:
        """The value; the exception is raised, with the traceback of the thread it comes from."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            self.error = None  # the traceback holds this frame, the frame this object: no cycle


class _Shared:
    """What the threads and the consumer share: tasks, results, and who may go on."""

    def __init__(self, tasks: Iterator[Any], ahead: int) -> None:
        self.tasks, self.ahead = tasks, ahead
        self.reading = threading.Lock()  # one thread at a time takes a task, so they keep order
        self.changed = threading.Condition()
        self.results: dict[int, Outcome] = {}
        self.taken = self.handed = 0
        self.ended = self.closed = False

    def take(self) -> tuple[int, Any] | None:
        """The next task and its number, once there is room; None when there are no more."""
        with self.reading:
            with self.changed:
                while not self.closed and self.taken - self.handed >= self.ahead:
                    self.changed.wait()
                if self.closed or self.ended:
                    return None
            try:
                task = next(self.tasks)
            except StopIteration:
                return self._end(None)
            except BaseException as error:
                return self._end(error)
            with self.changed:
                self.taken += 1
                return self.taken - 1, task

    def _end(self, error: BaseException | None) -> None:
        with self.changed:
            self.ended = True
            if error is not None:
                self.results[self.taken] = Outcome(error=error)
                self.taken += 1
            self.changed.notify_all()

    def put(self, number: int, outcome: Outcome) -> None:
        with self.changed:
            if not self.closed:
                self.results[number] = outcome
                self.changed.notify_all()

    def get(self, timeout: float | None) -> Outcome | None:
        """The outcome of the next task in order; None after the last."""
        with self.changed:
            number = self.handed
            ready = self.changed.wait_for(
                lambda: number in self.results or (self.ended and number >= self.taken), timeout
            )
            if not ready:
                text = f"DataLoader: batch {number} was not ready after {timeout} s"
                raise LoaderTimeoutError(hinted(text, "raise timeout=, or look at the dataset"))
            outcome = self.results.pop(number, None)
            self.handed += 1
            self.changed.notify_all()
            return outcome

    def close(self) -> None:
        """Let the threads end after what they are doing now."""
        with self.changed:
            self.closed = self.ended = True
            self.results.clear()
            self.changed.notify_all()


def _work(shared: _Shared, fetch: Fetch, start: Callable[[], None]) -> None:
    try:
        start()
    except BaseException as error:
        with shared.reading:
            shared._end(error)  # pyright: ignore[reportPrivateUsage]
        return
    while (job := shared.take()) is not None:
        number, task = job
        try:
            outcome = Outcome(fetch(task))
        except BaseException as error:
            outcome = Outcome(error=error)
        shared.put(number, outcome)
        del job, task, outcome  # nothing stays alive while this thread waits


class Prefetcher(Iterator[Any]):
    """`fetch(task)` for every task, in order, computed ahead by `workers` threads.

    An exception of a task is raised when its turn comes, and ends the iteration. Threads see the
    context (default device, dtype, ...) in which the iterator was made.

    >>> list(Prefetcher(iter(range(5)), lambda n: n * n, workers=2, ahead=4))
    [0, 1, 4, 9, 16]
    """

    def __init__(
        self,
        tasks: Iterator[Any],
        fetch: Fetch,
        workers: int,
        ahead: int,
        timeout: float | None = None,
        start: Callable[[int], None] | None = None,
    ) -> None:
        self._shared, self._timeout = _Shared(tasks, ahead), timeout
        self.close = weakref.finalize(self, self._shared.close)
        self.threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(_work, self._shared, fetch, _starter(start, i)),
                name=f"DataLoader worker {i}",
                daemon=True,
            )
            for i in range(workers)
        ]
        for thread in self.threads:
            thread.start()

    def __next__(self) -> Any:
        outcome = None if self._shared.closed else self._shared.get(self._timeout)
        if outcome is None:
            self.close()
            raise StopIteration
        if outcome.error is not None:
            self.close()
        return outcome.get()


def _starter(start: Callable[[int], None] | None, number: int) -> Callable[[], None]:
    return lambda: None if start is None else start(number)
