"""Large arrays on the CPU: elementwise work in blocks that stay in the cache, in several threads.

A formula of several steps writes an array at each step. On a million elements those arrays leave
the cache, and the memory is what one waits for; block by block they do not. NumPy releases the
interpreter's lock inside its loops, so that blocks run side by side. The results are the same, bit
for bit, as those of one call on the whole array, since elementwise functions know no neighbours;
only a zero may have another sign where a NaN stands in its block.

Floor 0: stands on NumPy and the standard library.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

LARGE = 1 << 16
"""Elements from which an array is taken in blocks; below, everything fits the cache anyway."""
BLOCK = 1 << 20
"""Bytes of a block: a second-level cache holds one, and calls on it are long beside the moments in
which a thread waits for the interpreter's lock."""
ROWS = 1 << 21
"""Bytes of a block of rows, on which functions of rows work in place: NumPy's calls take a row at a
time, so more of them should be in one. A formula's temporaries are better half as large: such that
the C library would return to the system after each step."""
WORTH = 3e-4
"""Seconds of work that are worth waking another thread, which takes up to 5e-5."""
MOST = 8
"""Threads by default at most: beyond, they wait for the interpreter's lock."""


# --- threads ---


def default_threads() -> int:
    """As many as the BLAS is told to take, or one for each core this process may use."""
    for name in ("GRADENGINE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text.isdigit() and int(text) > 0:
            return int(text)
    count = getattr(os, "sched_getaffinity", None)
    cores = len(count(0)) if count is not None else os.cpu_count() or 1
    return min(MOST, cores)


class _Team:
    """The threads beside the caller's, started when first needed; a forked child starts its own.

    A pool of concurrent.futures does the same in 40 us more a loop: a tenth of a short one.
    """

    def __init__(self) -> None:
        self.size = default_threads()
        self.mine = threading.local()
        self.forget()

    def forget(self) -> None:
        """In a forked child: the parent's threads are not here."""
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.lock, self.started = threading.Lock(), 0

    def give(self, job: Callable[[], None]) -> None:
        """`job`, which raises nothing, to the next thread that is free, if there are any."""
        if self.started < self.size - 1:
            with self.lock, suppress(RuntimeError):  # no more threads, or the interpreter ends
                while self.started < self.size - 1:
                    threading.Thread(target=self._serve, name="gradengine", daemon=True).start()
                    self.started += 1
        if self.started:
            self.jobs.put(job)

    def _serve(self) -> None:
        self.mine.enlisted, get = True, self.jobs.get
        while (job := get()) is not None:
            job()
            del job  # while this waits for the next

    def is_member(self) -> bool:
        """Whether this thread works on a block already: loops within are not cut again."""
        return getattr(self.mine, "enlisted", False)

    @contextmanager
    def working(self) -> Generator[None]:
        """The caller's own share of the work."""
        self.mine.enlisted = True
        try:
            yield
        finally:
            self.mine.enlisted = False

    def resize(self, size: int) -> None:
        with self.lock:
            self.size = size
            while self.started > size - 1:
                self.jobs.put(None)
                self.started -= 1


_team = _Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_team.forget)


def set_num_threads(n: int) -> None:
    """Take `n` threads for elementwise work on large arrays on the CPU; 1 takes only the caller's.

    The start value is GRADENGINE_NUM_THREADS, else OMP_NUM_THREADS or OPENBLAS_NUM_THREADS, else
    the number of cores, 8 at most. Products are the BLAS's, which has threads of its own. The
    setting is the process's. Raises ValueError unless n is a positive integer.

    >>> import gradengine as ge
    >>> before = ge.get_num_threads()
    >>> ge.set_num_threads(1)
    >>> ge.get_num_threads()
    1
    >>> ge.set_num_threads(before)
    """
    if n.__class__ is not int or n < 1:
        raise ValueError(f"set_num_threads: {n!r} threads; hint: give a positive integer")
    if n != _team.size:
        _team.resize(n)


def get_num_threads() -> int:
    """How many threads elementwise work on large arrays takes on the CPU."""
    return _team.size


def in_threads(work: Callable[[Any], None], parts: Any) -> None:
    """work(part) for every part, in any order, by all threads; the first exception is raised.

    Threads work in the caller's context: np.errstate and the like hold for them too.
    """
    todo = deque(parts)
    helpers = min(_team.size, len(todo)) - 1
    if helpers < 1 or _team.is_member():
        for part in todo:
            work(part)
        return
    held = [work]

    def run() -> None:
        try:
            while True:
                try:
                    part = todo.popleft()
                except IndexError:
                    return
                held[0](part)
        except BaseException:
            todo.clear()
            raise

    called = [None] * helpers
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def assist() -> None:
        try:
            called.pop()
        except IndexError:  # called off: all was done before this thread woke
            return
        try:
            run()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    for _ in range(helpers):
        _team.give(partial(copy_context().run, assist))
    try:
        with _team.working():
            run()
    finally:
        late = 0
        with suppress(IndexError):
            while True:
                called.pop()
                late += 1
        errors = [e for _ in range(helpers - late) if (e := ended.get()) is not None]
        held.clear()  # it holds arrays, and a job may still be in a thread's hands
    if errors:
        raise errors[0]


# --- how a loop is cut ---

_pace: dict[Any, float] = {}
"""Seconds an element took in the last loop of a function: whether threads pay the next time."""


def is_large(x: Any) -> bool:
    """Whether `x` is a NumPy array that is worth taking in blocks."""
    return x.__class__ is np.ndarray and x.size >= LARGE


def for_blocks(
    work: Callable[[slice], None], count: int, like: Any, key: Any, most: int = BLOCK
) -> None:
    """work(slice) for blocks that cover range(count), `like` being an array as long as that.

    `key` names the loop: how long it took tells the next time whether other threads are woken. A
    block has `most` bytes at most.
    """
    if not is_large(like) or _team.is_member():
        work(slice(0, count))
        return
    threads, size = _team.size, like.nbytes
    shared = threads > 1 and _pace.get(key, math.inf) * like.size > WORTH
    pieces = threads * -(-size // (threads * most)) if shared else -(-size // most)
    step = -(-count // max(1, min(pieces, count)))
    parts = [slice(i, min(i + step, count)) for i in range(0, count, step)]
    begun = time.perf_counter()
    if shared:
        in_threads(work, parts)
    else:
        with _team.working():
            for part in parts:
                work(part)
    spent = time.perf_counter() - begun
    _pace[key] = (spent * threads if shared else spent) / like.size


# --- elementwise functions, block by block ---


def blockwise(function: Callable[..., Any], *xs: Any) -> Any:
    """function(*xs) for an elementwise function of arrays of one shape (scalars and None pass).

    Arrays of several shapes or memory orders are handed on whole.
    """
    flat, order = _flattened(xs)
    first = next(x for x in xs if x.__class__ is np.ndarray)
    if not order:
        return function(*xs)
    head: Any = function(*_part(flat, slice(1)))
    if head.__class__ is not np.ndarray or head.shape != (1,):
        return function(*xs)
    out = np.empty(first.shape, head.dtype, order)
    y = out.reshape(-1, order=order)
    writes = isinstance(function, np.ufunc)  # where it is told to

    def work(part: slice) -> None:
        if writes:
            function(*_part(flat, part), out=y[part])
        else:
            y[part] = function(*_part(flat, part))

    for_blocks(work, first.size, first, function)
    return out


def fill_blockwise(function: Callable[..., None], outs: Sequence[Any], *xs: Any) -> None:
    """function(*outs, *xs), which fills `outs`, block by block as above where they are large."""
    flat, order = _flattened((*outs, *xs)) if outs[0].size >= LARGE else ([], "")
    if not order:
        function(*outs, *xs)
        return

    def work(part: slice) -> None:
        function(*_part(flat, part))

    for_blocks(work, outs[0].size, outs[0], function)


def fill_rows(function: Callable[..., None], like: Any, *xs: Any) -> Any:
    """An array like `like` that `function(out, *xs)` fills, a function of the last axis.

    Rows are taken in blocks, as above, if all arrays have one shape and are in C order.
    """
    out = np.empty_like(like)
    same = all(x.shape == like.shape and x.flags.c_contiguous for x in (out, *xs))
    if like.size < LARGE or not same:
        function(out, *xs)
        return out
    flat = [x.reshape(-1, like.shape[-1]) for x in (out, *xs)]

    def work(part: slice) -> None:
        function(*[x[part] for x in flat])

    for_blocks(work, len(flat[0]), like, getattr(function, "__code__", function), ROWS)
    return out


def _flattened(xs: Sequence[Any]) -> tuple[list[Any], Any]:
    """The arrays as flat views, and their common memory order; "" where shapes or orders differ."""
    first = next(x for x in xs if x.__class__ is np.ndarray)
    shape, flags = first.shape, first.flags
    order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else ""
    flat: list[Any] = []
    for x in xs:
        if x.__class__ is np.ndarray:
            if not order or x.shape != shape or not x.flags[order + "_CONTIGUOUS"]:
                return flat, ""
            x = x.reshape(-1, order=order)
        flat.append(x)
    return flat, order


def _part(flat: Sequence[Any], part: slice) -> list[Any]:
    return [x[part] if x.__class__ is np.ndarray else x for x in flat]


def in_blocks(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The elementwise function of one array that takes large ones block by block."""

    def apply(x: Any) -> Any:
        whole = x.size < LARGE or _team.is_member()
        return function(x) if whole else blockwise(function, x)

    return apply


COSTLY = {
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan"),
    *("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
}
"""NumPy's functions that compute longer than they wait for the memory: threads pay."""


# --- what formulas need: NumPy is slow beside a scalar, and where branches ---

_levels: dict[tuple[float, Any], Any] = {}


def at_least(xp: Any, x: Any, value: float, out: Any = None) -> Any:
    """max(x, value), where value is a formula's constant."""
    return _beside_level(xp.maximum, x, value, out)


def at_most(xp: Any, x: Any, value: float, out: Any = None) -> Any:
    """min(x, value), where value is a formula's constant."""
    return _beside_level(xp.minimum, x, value, out)


def _beside_level(choose: Callable[..., Any], x: Any, value: float, out: Any) -> Any:
    """choose(x, value): between two arrays NumPy is three times as fast as beside a scalar."""
    if x.__class__ is not np.ndarray or x.size < 1 << 12 or x.dtype.kind != "f":
        return choose(x, value) if out is None else choose(x, value, out=out)
    if x.size <= LARGE and x.flags.c_contiguous:
        return choose(x, _level(value, x.dtype, x.size)[: x.size].reshape(x.shape), out=out)
    out = np.empty_like(x) if out is None else out
    flat, order = _flattened((x, out))
    if not order:
        return choose(x, value, out=out)
    given, found = flat
    beside = _level(value, x.dtype, min(x.size, LARGE))
    for start in range(0, x.size, LARGE):
        part = given[start : start + LARGE]
        choose(part, beside[: part.size], out=found[start : start + LARGE])
    return out


def _level(value: float, dtype: Any, size: int) -> Any:
    """An array full of `value`, kept: one for each constant of a formula."""
    found = _levels.get((value, dtype))
    if found is None or found.size < size:
        found = np.full(1 << (size - 1).bit_length(), value, dtype)
        found.flags.writeable = False
        _levels[value, dtype] = found
    return found
