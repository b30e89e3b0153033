"""Samplers: in which order a dataset is read, as indices or as lists of them.

Those that are random take one offset of their generator (`generator=`, the default one if none is
given) the moment they are iterated, and the whole order follows from it: the same from the same
seed, and again from the same state, which is how a DataLoader resumes within an epoch.

Floor 6: stands on philox.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..conversion import asnumpy
from ..device import Array
from ..errors import OutOfRangeError, ShapeError, hinted
from ..philox import Generator, State, default_generator, integers, order, uniform
from .dataset import length


class Sampler:
    """An order of reading: subclasses define `__iter__`, and `__len__` where it is known."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ...

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return length(self.data_source, "SequentialSampler")

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


class _RandomSampler(Sampler):
    """Draws its order from a fresh state of its generator."""

    generator: Generator | None

    def __iter__(self) -> Iterator[int]:
        state = (self.generator or default_generator).take()  # now, not at the first sample
        return iter(self.drawn(state).tolist())

    def drawn(self, state: State) -> Array:
        """The indices that belong to a generator's state."""
        raise NotImplementedError


class RandomSampler(_RandomSampler):
    """Every index once in random order; or `num_samples` of them, or drawn with `replacement`.

    Without replacement and more samples than there are, whole random orders follow each other.

    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._count = num_samples
        if num_samples is not None and num_samples < 1:
            text = f"RandomSampler: num_samples={num_samples}"
            raise OutOfRangeError(hinted(text, "draw at least one"))

    @property
    def num_samples(self) -> int:
        """How many indices a pass has."""
        return length(self.data_source, "RandomSampler") if self._count is None else self._count

    def __len__(self) -> int:
        return self.num_samples

    def drawn(self, state: State) -> Array:
        n, count = length(self.data_source, "RandomSampler"), self.num_samples
        if n == 0 and count:
            raise ShapeError(hinted("RandomSampler: the dataset is empty", "give it samples"))
        if self.replacement:
            return integers(np, (count,), 0, max(n, 1), *state)
        rounds = -(-count // n) if n else 0
        found = [order(np, n, _keyed(state.seed, i), state.offset) for i in range(rounds)]
        return np.concatenate(found)[:count] if found else np.zeros(0, np.int64)


def _keyed(seed: int, number: int) -> int:
    """Another key for every whole order within one pass, which has one offset."""
    return (seed + number * 0x9E3779B97F4A7C15) & (1 << 64) - 1


class SubsetRandomSampler(_RandomSampler):
    """The given indices in random order.

    >>> sorted(SubsetRandomSampler([5, 2, 9]))
    [2, 5, 9]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __len__(self) -> int:
        return len(self.indices)

    def drawn(self, state: State) -> Array:
        return np.asarray(self.indices, np.int64)[order(np, len(self), *state)]


class WeightedRandomSampler(_RandomSampler):
    """`num_samples` indices, index i with a chance proportional to `weights[i]`.

    With replacement by inverting the cumulative sum; without, the indices of the largest
    log(u) / w (Efraimidis and Spirakis, Inf. Process. Lett. 97 (2006) 181).

    >>> list(WeightedRandomSampler([0.0, 2.0, 0.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        self.weights: Array = np.asarray(asnumpy(weights), np.float64)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator
        w = self.weights
        if w.ndim != 1 or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
            text = f"WeightedRandomSampler: weights {w.shape}"
            raise ShapeError(hinted(text, "a vector of finite weights, none negative, not all 0"))
        positive = int(np.count_nonzero(w))
        if num_samples < 1 or (not replacement and num_samples > positive):
            text = f"WeightedRandomSampler: num_samples={num_samples} of {positive} weights above 0"
            raise OutOfRangeError(hinted(text, "draw fewer, or with replacement=True"))

    def __len__(self) -> int:
        return self.num_samples

    def drawn(self, state: State) -> Array:
        w, double = self.weights, np.dtype(np.float64)
        if self.replacement:
            sums: Any = np.cumsum(w)
            chance = uniform(np, (self.num_samples,), double, *state) * sums[-1]
            last = int(np.flatnonzero(w)[-1])  # rounding may reach the sum itself
            return sums.searchsorted(chance, side="right").clip(max=last)
        chosen: Array = np.flatnonzero(w)
        u: Array = uniform(np, w.shape, double, *state)[chosen]
        waits: Array = -np.log1p(-u) / w[chosen]  # 1 - u is above 0
        first: Array = np.argsort(waits, kind="stable")
        return chosen[first][: self.num_samples]


def checked_size(name: str, batch_size: Any) -> int:
    """`batch_size` as an int of at least 1, or OutOfRangeError."""
    whole = hasattr(batch_size, "__index__") and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:
        text = f"{name}: batch_size={batch_size!r}"
        raise OutOfRangeError(hinted(text, "give an integer of at least 1"))
    return int(batch_size)


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of another sampler; the last may be shorter, or be dropped.

    >>> list(BatchSampler(range(5), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = checked_size("BatchSampler", batch_size)

    def __len__(self) -> int:
        n = length(self.sampler, "BatchSampler")
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))  # the sampler draws now

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch
