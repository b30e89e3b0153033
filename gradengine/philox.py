"""Random words by counting: Philox4x32-10, and the generator that hands out its counters.

A random number here is a function of (seed, offset, element number) and of nothing else: the same
on the CPU and the GPU, whatever the order or the number of threads, and it can be computed again
instead of being kept, as dropout's backward does. The contract, which the CUDA kernels follow too:

    counter of element i   (lo32(i // 4), hi32(i // 4), lo32(offset), hi32(offset))
    key                    (lo32(seed), hi32(seed))
    word of element i      output word i % 4 of that counter

A generator is a seed and the next offset; every call that draws takes one offset.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011, section 4.2; constants of the Random123 library.

Floor 1: stands on device.py.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from .device import Array, is_host
from .errors import DTypeError, OutOfRangeError, hinted

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, as 32-bit fractions
LOW = 0xFFFFFFFF
ROUNDS = 10
BLOCK = 1 << 14  # counters worked on at a time on the CPU: six such arrays stay in the L2 cache


# --- the function ---


def philox(xp: Any, counter: Sequence[Any], key: tuple[int, int]) -> tuple[Any, ...]:
    """The four output words (as uint64 below 2**32) of four counter words and a key of two.

    >>> import numpy as np
    >>> [hex(int(word[0])) for word in philox(np, [np.zeros(1, np.uint64)] * 4, (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    u64 = xp.uint64
    low, half, m0, m1 = u64(LOW), u64(32), u64(MULTIPLIERS[0]), u64(MULTIPLIERS[1])
    a, b, c, d = (xp.asarray(word, dtype=u64) for word in counter)
    for i in range(ROUNDS):
        k0, k1 = (u64((k + i * w) & LOW) for k, w in zip(key, WEYL, strict=True))
        p, q = a * m0, c * m1
        a, b, c, d = (q >> half) ^ (b ^ k0), q & low, (p >> half) ^ (d ^ k1), p & low
    return a, b, c, d


def words(xp: Any, count: int, seed: int, offset: int, start: int = 0) -> Array:
    """The uint32 words of the elements `start` to `start + count` (`start` a multiple of 4)."""
    groups = -(-count // 4)
    out = xp.empty((groups, 4), dtype=xp.uint32)
    step = BLOCK if is_host(xp) else max(groups, 1)
    key = (seed & LOW, seed >> 32 & LOW)
    for begin in range(0, groups, step):
        end = min(begin + step, groups)
        group = xp.arange(start // 4 + begin, start // 4 + end, dtype=xp.uint64)
        counter = (group & xp.uint64(LOW), group >> xp.uint64(32), offset & LOW, offset >> 32 & LOW)
        for i, word in enumerate(philox(xp, counter, key)):
            out[begin:end, i] = word
    return out.reshape(-1)[:count]


# --- numbers from words ---


def uniform(xp: Any, shape: tuple[int, ...], dtype: Any, seed: int, offset: int) -> Array:
    """Uniform numbers in [0, 1), each a multiple of 2**-bits, exactly representable in `dtype`.

    float32: (word >> 8) * 2**-24. float16: the top 11 bits, bfloat16: the top 8. float64 takes
    words 2i and 2i+1: ((w >> 5) * 2**26 + (v >> 6)) * 2**-53.
    """
    if not is_host(xp):
        from .cuda.dispatch import uniform as launched

        return launched(shape, dtype, seed, offset)
    count = _size(shape)
    if dtype.itemsize == 8:
        pair = words(xp, 2 * count, seed, offset).reshape(-1, 2)
        high = (pair[:, 0] >> xp.uint32(5)).astype("float64")
        out = (high * 67108864.0 + (pair[:, 1] >> xp.uint32(6))) * 2.0**-53
        return out.reshape(shape)
    bits = 24 if dtype.itemsize == 4 else 11 if dtype.name == "float16" else 8
    top = words(xp, count, seed, offset) >> xp.uint32(32 - bits)
    return (top.astype("float32") * xp.float32(2.0**-bits)).astype(dtype, copy=False).reshape(shape)


def normal(xp: Any, shape: tuple[int, ...], dtype: Any, seed: int, offset: int) -> Array:
    """Standard normal numbers by Box and Muller's transform of pairs of uniforms.

    r = sqrt(-2 log(1 - u)), z = (r cos(2 pi v), r sin(2 pi v)); computed in float32 (float64 for
    float64), so the two devices may differ in the last bits, as their log and cos do.
    Source: G. E. P. Box and M. E. Muller, Ann. Math. Statist. 29 (1958) 610.
    """
    count = _size(shape)
    wide = "float64" if dtype.itemsize == 8 else "float32"
    pairs = -(-count // 2)
    uv = uniform(xp, (pairs, 2), xp.dtype(wide), seed, offset)
    radius = xp.sqrt(-2.0 * xp.log(1.0 - uv[:, 0]))
    angle = uv[:, 1] * uv.dtype.type(6.283185307179586)
    out = xp.stack((radius * xp.cos(angle), radius * xp.sin(angle)), axis=1)
    return out.reshape(-1)[:count].reshape(shape).astype(dtype, copy=False)


def integers(xp: Any, shape: tuple[int, ...], low: int, span: int, seed: int, offset: int) -> Array:
    """Integers from `low` to `low + span - 1`: floor(w * span / 2**64) of 64-bit words w.

    The bias is at most span / 2**64. Element i takes words 2i (high) and 2i+1 (low).
    """
    if not 0 < span <= 1 << 63:
        raise OutOfRangeError(
            hinted(f"randint: the range from {low} has {span} values", "high must exceed low")
        )
    u64 = xp.uint64
    high, last = _words64(xp, _size(shape), seed, offset)
    big, small, half, mask = u64(span >> 32), u64(span & LOW), u64(32), u64(LOW)
    middle = high * small + (last * small >> half)
    cross = last * big + (middle & mask)
    found = high * big + (middle >> half) + (cross >> half)
    return (found.astype("int64") + low).reshape(shape)


def order(xp: Any, n: int, seed: int, offset: int) -> Array:
    """A random permutation of 0 .. n-1: the order that sorts n 64-bit words (ties keep theirs)."""
    high, low = _words64(xp, n, seed, offset)
    return xp.argsort((high << xp.uint64(32)) | low, kind="stable").astype("int64", copy=False)


def keep_mask(xp: Any, shape: tuple[int, ...], p: float, seed: int, offset: int) -> Array:
    """Dropout's mask: True where the float32 uniform of the element (in C order) is >= p.

    (word >> 8) * 2**-24 >= p is word >= ceil(p * 2**24) * 2**8, exactly: p is rounded to float32.
    """
    bound = math.ceil(float(xp.float32(p)) * 2**24) << 8
    if bound > LOW:
        return xp.zeros(shape, dtype=xp.bool_)
    return (words(xp, _size(shape), seed, offset) >= xp.uint32(bound)).reshape(shape)


def _words64(xp: Any, count: int, seed: int, offset: int) -> tuple[Array, Array]:
    pair = words(xp, 2 * count, seed, offset).reshape(-1, 2).astype("uint64")
    return pair[:, 0], pair[:, 1]


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


# --- the generator ---


class State(NamedTuple):
    """All there is to know of a generator: its seed and the next offset."""

    seed: int
    offset: int


class Generator:
    """A stream of random numbers: a seed, and the offset that the next call takes.

    Safe to share between threads: every call gets an offset of its own. Without a seed, one is
    asked of the operating system at the first use.

    >>> a, b = Generator(7), Generator(7)
    >>> a.take() == b.take(), a.take()
    (True, State(seed=7, offset=1))
    """

    __slots__ = ("_lock", "_state")

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self._state: State | None = None if seed is None else State(_checked(seed), 0)

    def __repr__(self) -> str:
        state = self.get_state()
        return f"Generator(seed={state.seed}, offset={state.offset})"

    def __reduce__(self) -> Any:
        """For copy and pickle: another generator in the same state, with a lock of its own."""
        return _restored, (tuple(self.get_state()),)

    def take(self) -> State:
        """The seed and an offset that nobody else gets."""
        with self._lock:
            state = self._ready()
            self._state = State(state.seed, state.offset + 1 & (1 << 64) - 1)
            return state

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed`."""
        state = State(_checked(seed), 0)
        with self._lock:
            self._state = state
        return self

    def seed(self) -> int:
        """Start again from a seed of the operating system's; returns it."""
        state = State(_from_system(), 0)
        with self._lock:
            self._state = state
        return state.seed

    @property
    def initial_seed(self) -> int:
        """The seed in use."""
        return self.get_state().seed

    def get_state(self) -> State:
        """The seed and the next offset; two integers, fit for JSON."""
        with self._lock:
            return self._ready()

    def set_state(self, state: Sequence[int]) -> None:
        """Continue from a state that `get_state` gave."""
        seed, offset = state
        new = State(_checked(seed), _checked(offset))
        with self._lock:
            self._state = new

    def _ready(self) -> State:
        if self._state is None:
            self._state = State(_from_system(), 0)
        return self._state


def _restored(state: Sequence[int]) -> Generator:
    made = Generator()
    made.set_state(state)
    return made


def _from_system() -> int:
    return int.from_bytes(os.urandom(8), "little")


def _checked(seed: int) -> int:
    """A seed as 64 bits; negative ones wrap around, as in PyTorch."""
    try:
        number = seed.__index__()
    except AttributeError:
        raise DTypeError(hinted(f"seed: {seed!r} is no integer", "give an int")) from None
    if not -(1 << 63) <= number < 1 << 64:
        raise OutOfRangeError(
            hinted(f"seed: {number} does not fit into 64 bits", "use a smaller one")
        )
    return number & (1 << 64) - 1


# --- the default one ---

_instead: ContextVar[Generator | None] = ContextVar("gradengine_generator", default=None)


class _Default(Generator):
    """The default generator: within `drawing_from(other)` it is `other`, for that context only."""

    __slots__ = ()

    def take(self) -> State:
        other = _instead.get()
        return super().take() if other is None else other.take()

    def manual_seed(self, seed: int) -> Generator:
        other = _instead.get()
        return super().manual_seed(seed) if other is None else other.manual_seed(seed)

    def seed(self) -> int:
        other = _instead.get()
        return super().seed() if other is None else other.seed()

    def get_state(self) -> State:
        other = _instead.get()
        return super().get_state() if other is None else other.get_state()

    def set_state(self, state: Sequence[int]) -> None:
        other = _instead.get()
        if other is None:
            super().set_state(state)
        else:
            other.set_state(state)


default_generator: Generator = _Default()
"""The generator of every call that is given none."""


@contextmanager
def drawing_from(generator: Generator) -> Yields[None]:
    """Calls of this context that are given no generator draw from `generator`.

    >>> with drawing_from(Generator(7)):
    ...     default_generator.take()
    State(seed=7, offset=0)
    """
    token = _instead.set(generator)
    try:
        yield
    finally:
        _instead.reset(token)


def current_generator() -> Generator:
    """The generator that calls of this context draw from if they are given none."""
    return _instead.get() or default_generator
