"""Datasets: samples by number, or one after another; tensors, windows, parts and unions.

A dataset is whatever has `__len__` and `__getitem__`; the classes here save writing it out. Two
methods more make batches fast: `__getitems__(indices)`, a list of samples (PyTorch's contract), and
`__getbatch__(indices)`, the collated batch itself, which a TensorDataset takes by one fancy index.

Floor 6: stands on conversion.py and philox.py.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ..conversion import made
from ..device import Array, device_of, is_array, move, namespace
from ..errors import DTypeError, OutOfRangeError, ShapeError, hinted
from ..philox import Generator, default_generator, order
from ..tensor import Tensor

Sample = TypeVar("Sample", covariant=True)


# --- what a dataset is ---


class Dataset(Generic[Sample]):
    """Samples by number: subclasses define `__getitem__(index)` and `__len__()`.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> [Squares()[i] for i in range(4)], len(Squares() + Squares())
    ([0, 1, 4, 9], 8)
    """

    def __getitem__(self, index: int, /) -> Sample:
        """Sample number `index`."""
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Generic[Sample]):
    """Samples one after another: subclasses define `__iter__`; `__len__` where it is known.

    A DataLoader reads it from one thread at a time, so every sample comes once, in order, whatever
    the number of workers. To resume within an epoch it is read again up to the old position.
    """

    def __iter__(self) -> Iterator[Sample]:
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")


NOT_WHOLE: Any = NotImplemented
"""What `__getbatch__` returns where samples must be taken one by one."""


def get_batch(dataset: Any, indices: Sequence[int]) -> Any:
    """The collated batch of a dataset that can take it in one go, else NotImplemented."""
    return dataset.__getbatch__(indices) if _states(dataset, "__getbatch__") else NOT_WHOLE


def get_samples(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """The samples at `indices`; an error is noted with the index that caused it."""
    if _states(dataset, "__getitems__"):
        return list(dataset.__getitems__(indices))
    return [get_sample(dataset, index) for index in indices]


def _states(dataset: Any, name: str) -> bool:
    """Whether the class that states `__getitem__`, or one derived from it, states `name` too: a
    subclass that changes samples, to augment them say, must not be passed by.
    """
    for cls in dataset.__class__.__mro__:
        if name in vars(cls):
            return True
        if "__getitem__" in vars(cls):
            return False
    return False


def get_sample(dataset: Any, index: Any) -> Any:
    """One sample; an error is noted with its index."""
    try:
        return dataset[index]
    except Exception as error:
        error.add_note(f"while loading sample {index!r} of {type(dataset).__name__}")
        raise


def length(dataset: Any, name: str) -> int:
    """`len(dataset)`, or what to do without."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        text = f"{name}: {type(dataset).__name__} has no length"
        raise DTypeError(hinted(text, "define __len__")) from None


# --- tensors ---


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Tensors (or arrays) with one first axis: sample i is the tuple of their rows i.

    >>> import gradengine as ge
    >>> data = TensorDataset(ge.arange(4), np.eye(4))
    >>> len(data), data[2]
    (4, (tensor(2), array([0., 0., 1., 0.])))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ShapeError(hinted("TensorDataset: no tensors", "TensorDataset(x, y)"))
        for i, t in enumerate(tensors):
            if not isinstance(t, Tensor) and not is_array(t):
                text = f"TensorDataset: argument {i} is a {type(t).__name__}"
                raise DTypeError(hinted(text, "give tensors or arrays: ge.tensor(data)"))
        shapes = [tuple(t.shape) for t in tensors]
        if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
            text = f"TensorDataset: shapes {' and '.join(map(str, shapes))}"
            raise ShapeError(hinted(text, "all need the same first axis, one row a sample"))
        self.tensors = tensors

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: int, /) -> tuple[Any, ...]:
        return tuple([t[index] for t in self.tensors])

    def __getbatch__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """The batch of samples `indices` by one fancy index a tensor."""
        rows = checked(indices, len(self), "TensorDataset")
        return tuple([take(t, rows) for t in self.tensors])


class WindowDataset(Dataset[tuple[Any, Any]]):
    """Windows of a sequence, each with the same window one step on: x = s[i:i+n], y = s[i+1:i+n+1].

    What a language model or a forecast is trained on; window k begins at k * `stride` (default:
    `length`, so that windows do not overlap).

    >>> x, y = WindowDataset(np.arange(10), 4)[1]
    >>> x, y
    (array([4, 5, 6, 7]), array([5, 6, 7, 8]))
    """

    def __init__(self, sequence: Any, length: int, stride: int | None = None) -> None:
        self.sequence, self.length = sequence, length
        self.stride = length if stride is None else stride
        if length < 1 or self.stride < 1 or len(sequence) <= length:
            text = f"WindowDataset: length {length}, stride {self.stride}, sequence {len(sequence)}"
            raise ShapeError(hinted(text, "the sequence must exceed the length by at least one"))

    def __len__(self) -> int:
        return (len(self.sequence) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        (row,) = checked([index], len(self), "WindowDataset")
        start = int(row) * self.stride
        stop = start + self.length
        return self.sequence[start:stop], self.sequence[start + 1 : stop + 1]

    def __getbatch__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Both (batch, length, ...) tensors by one fancy index each."""
        starts = checked(indices, len(self), "WindowDataset") * self.stride
        rows = starts[:, None] + np.arange(self.length)
        return take(self.sequence, rows), take(self.sequence, rows + 1)


def checked(indices: Any, size: int, name: str) -> Array:
    """Indices as int64 from 0 up, or OutOfRangeError."""
    rows = np.asarray(indices, dtype=np.int64)
    outside = (rows < -size) | (rows >= size)
    if outside.any():
        text = f"{name}: index {int(rows[outside][0])} for {size} samples"
        raise OutOfRangeError(hinted(text, f"indices lie in 0 ... {size - 1}"))
    return np.where(rows < 0, rows + size, rows)


def take(t: Any, rows: Array) -> Tensor:
    """Rows of a tensor or array as a new tensor on its device; on the tape where `t` is."""
    if isinstance(t, Tensor) and t.node is not None:
        return t[rows]
    array = t.array if isinstance(t, Tensor) else t
    return made(namespace(array).take(array, move(rows, device_of(array)), axis=0))


# --- parts and unions ---


class Subset(Dataset[Any]):
    """The samples of `dataset` at `indices`, in that order.

    >>> Subset("abcd", [3, 0])[0]
    'd'
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Any:
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        return get_samples(self.dataset, [self.indices[i] for i in indices])

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        return get_batch(self.dataset, [self.indices[i] for i in indices])


class ConcatDataset(Dataset[Any]):
    """Several datasets one after the other.

    >>> ConcatDataset(["ab", "cde"])[3], len(ConcatDataset(["ab", "cde"]))
    ('d', 5)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ShapeError(hinted("ConcatDataset: no datasets", "give at least one"))
        sizes = [length(dataset, "ConcatDataset") for dataset in self.datasets]
        self.cumulative_sizes = list(itertools.accumulate(sizes))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int, /) -> Any:
        (row,) = checked([index], len(self), "ConcatDataset")
        part = bisect.bisect_right(self.cumulative_sizes, int(row))
        before = self.cumulative_sizes[part - 1] if part else 0
        return self.datasets[part][int(row) - before]


class StackDataset(Dataset[Any]):
    """Datasets of one length side by side: tuples of their samples, or dicts where named.

    >>> StackDataset(letter="ab", number=[1, 2])[1]
    {'letter': 'b', 'number': 2}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            text = "StackDataset: give datasets, or named datasets"
            raise ShapeError(hinted(text, "StackDataset(a, b) or StackDataset(image=a, label=b)"))
        self.datasets: tuple[Any, ...] | dict[str, Any] = kwargs or args
        sizes = [length(dataset, "StackDataset") for dataset in self._parts()]
        if len(set(sizes)) > 1:
            text = f"StackDataset: lengths {' and '.join(map(str, sizes))}"
            raise ShapeError(hinted(text, "all need the same length"))

    def __len__(self) -> int:
        return len(self._parts()[0])

    def __getitem__(self, index: int, /) -> Any:
        return self._rebuilt([dataset[index] for dataset in self._parts()])

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        found = [get_batch(dataset, indices) for dataset in self._parts()]
        return NOT_WHOLE if any(x is NOT_WHOLE for x in found) else self._rebuilt(found)

    def _parts(self) -> list[Any]:
        found = self.datasets
        return list(found.values()) if isinstance(found, dict) else list(found)

    def _rebuilt(self, parts: list[Any]) -> Any:
        names = self.datasets
        return dict(zip(names, parts, strict=True)) if isinstance(names, dict) else tuple(parts)


# --- splitting ---


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Parts of the given lengths, or shares that sum to 1, of the samples in random order.

    Of shares, each part first gets its whole samples, what is left goes round one by one.

    >>> [len(part) for part in random_split(range(10), [0.7, 0.3], Generator(0))]
    [7, 3]
    """
    size = length(dataset, "random_split")
    counts = _counts(lengths, size)
    rows = order(np, size, *(generator or default_generator).take()).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, rows[end - n : end]) for n, end in zip(counts, ends, strict=True)]


def _counts(lengths: Sequence[int | float], size: int) -> list[int]:
    shares = any(isinstance(n, float) for n in lengths) and math.isclose(sum(lengths), 1)
    if shares and all(0 <= n <= 1 for n in lengths):
        counts = [math.floor(size * n) for n in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        return counts
    whole = all(hasattr(n, "__index__") and n >= 0 for n in lengths)
    if not whole or sum(lengths) != size:
        text = f"random_split: lengths {list(lengths)} sum to {sum(lengths)}, samples are {size}"
        raise ShapeError(hinted(text, "give counts that sum to the samples, or shares to 1"))
    return [int(n) for n in lengths]
