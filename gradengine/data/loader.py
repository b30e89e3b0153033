"""DataLoader: batches of a dataset, shuffled by seed, fetched ahead, on the device; resumable.

Everything random of a pass follows from the states of its generators at its beginning, so the pass
can be begun again and continued at any batch: `state_dict` holds those states and how many batches
have been handed out. What threads have prefetched beyond is fetched again and not lost.

Floor 6: stands on the files beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..conversion import as_device
from ..errors import DataError, DTypeError, OutOfRangeError, hinted
from ..philox import Generator, State, default_generator, drawing_from
from .dataset import IterableDataset, length
from .fetch import READING, Fetch, generator_for
from .prefetch import Prefetcher
from .samplers import BatchSampler, RandomSampler, SequentialSampler, checked_size

Saved = dict[str, Any]


# --- where a pass stands ---


@dataclass
class _Progress:
    """A pass over the data: its number, the batches handed out, how its generators began."""

    epoch: int = 0
    position: int = 0
    seed: int = 0
    began: list[tuple[int, int]] | None = None  # None: not begun
    loaded: bool = False  # from a state: the next iterator continues it

    def finish(self) -> None:
        """The next pass is another."""
        self.epoch, self.position, self.began = self.epoch + 1, 0, None


# --- the loader ---


class DataLoader:
    """Batches of `dataset`; iterating it once is one epoch.

    `dataset` has samples by number, or is an IterableDataset. `shuffle` draws a new order each
    epoch from `generator` (or `seed`, or the default generator); `sampler` (indices) or
    `batch_sampler` (lists of them) replace it. `batch_size=None` hands out single samples.
    `num_workers` threads fetch `prefetch_factor` batches each ahead (default 2): order and values
    are those without threads. `timeout` limits the seconds a batch may take,
    `worker_init_fn(number)` runs in each thread; `persistent_workers` is accepted: threads cost
    next to nothing, every pass has new ones. They end when the pass ends, or its iterator is
    dropped.
    What samples draw from `ge.random` depends on the seed, the epoch and the batch alone (see
    `sample_generator`).
    `device` (default: the current one) is where batches land. On the way to a GPU they are staged
    in pinned memory and copied on a stream of their own, beside the kernels; `pin_memory=True`
    leaves batches for the CPU in pinned memory, for copies of yours.

    >>> import gradengine as ge
    >>> from gradengine.data import TensorDataset
    >>> data = TensorDataset(ge.arange(10).reshape(5, 2), ge.arange(5))
    >>> for x, y in DataLoader(data, batch_size=2, shuffle=True, seed=0):
    ...     print(x.shape, y.shape)
    (2, 2) (2,)
    (2, 2) (2,)
    (1, 2) (1,)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        generator: Generator | None = None,
        seed: int | None = None,
        device: Any = None,
    ) -> None:
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.collate_fn, self.timeout = num_workers, collate_fn, timeout
        self.pin_memory, self.worker_init_fn = pin_memory, worker_init_fn
        self.persistent_workers, self.prefetch_factor = persistent_workers, prefetch_factor
        self.generator = generator if seed is None else Generator(seed)
        self.device = None if device is None else as_device(device)
        self.iterable = isinstance(dataset, IterableDataset)
        _check(
            self, bool(shuffle), sampler, batch_sampler, generator is not None and seed is not None
        )
        self.sampler, self.batch_sampler = sampler, batch_sampler
        if not self.iterable and batch_sampler is None:
            if sampler is None:
                random = RandomSampler(dataset, generator=self.generator)
                self.sampler = sampler = random if shuffle else SequentialSampler(dataset)
            if batch_size is not None:
                self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self._progress = _Progress()

    def __len__(self) -> int:
        """Batches in a pass (samples, where `batch_size` is None)."""
        if self.iterable and self.batch_size is not None:
            n = length(self.dataset, "DataLoader")
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        source: Any = self.batch_sampler if self.batch_sampler is not None else self.sampler
        return len(self.dataset if self.iterable else source)

    def __iter__(self) -> Iterator[Any]:
        return _Pass(self, self._tasks())

    # --- beginning or continuing a pass ---

    def _tasks(self) -> Iterator[Any]:
        """The numbered tasks of the pass that begins, or of the rest of one that was loaded."""
        before = self._progress
        generators = self._generators()
        if before.loaded and before.began is not None:
            self._progress = _Progress(before.epoch, before.position, before.seed, before.began)
            return self._again(generators)
        if before.began is not None:  # left early
            before = _Progress(before.epoch + 1)
        began: Any = [tuple(g.get_state()) for g in generators]
        seed = _key((self.generator or default_generator).get_state())
        self._progress = _Progress(before.epoch, 0, seed, began)
        return enumerate(self._source())

    def _again(self, generators: list[Generator]) -> Iterator[Any]:
        """The pass from its beginning, without what has been handed out.

        The default generator has moved on since, for others too: it gets its state back.
        """
        progress = self._progress
        now = [g.get_state() for g in generators]
        for generator, state in zip(generators, progress.began or (), strict=True):
            generator.set_state(state)
        tasks = enumerate(self._source())
        next(itertools.islice(tasks, progress.position, progress.position), None)
        for generator, state in zip(generators, now, strict=True):
            if generator is default_generator:
                generator.set_state(state)
        return tasks

    def _source(self) -> Iterator[Any]:
        """Batches of indices, or of samples where the dataset has no numbers."""
        if not self.iterable:
            source: Any = self.batch_sampler if self.batch_sampler is not None else self.sampler
            return iter(source)
        generator = generator_for(self._progress.seed, self._progress.epoch, READING)
        samples = _read(self.dataset, generator)
        if self.batch_size is None:
            return samples
        return iter(BatchSampler(samples, self.batch_size, self.drop_last))

    def _generators(self) -> list[Generator]:
        """Those that the samplers draw from; a sampler whose generator is None uses the default."""
        chain: list[Any] = [self.sampler, self.batch_sampler]
        chain.append(getattr(self.batch_sampler, "sampler", None))
        found = [x.generator or default_generator for x in chain if hasattr(x, "generator")]
        return [g for i, g in enumerate(found) if all(g is not other for other in found[:i])]

    # --- state ---

    def state_dict(self) -> Saved:
        """Where the pass stands: fit for `ge.save`, taken at any time, with threads too.

        A pass that was left early counts as under way until another is begun. The order of a
        sampler of your own is repeated only if it does not change, or comes from its `generator`.
        """
        p = self._progress
        return {
            "epoch": p.epoch,
            "position": p.position,
            "seed": p.seed,
            "began": None if p.began is None else [list(state) for state in p.began],
            "generators": [
                None if g is default_generator else list(g.get_state()) for g in self._generators()
            ],
            **self._shape(),
        }

    def load_state_dict(self, state: Saved) -> None:
        """Continue where `state` was taken: the next iterator begins with the next batch.

        Raises DataError where batch size, length or samplers are not those of the state.
        """
        shape, generators = self._shape(), self._generators()
        wrong = [
            f"{key}={value!r} (here {shape.get(key)!r})"
            for key, value in state.items()
            if key in shape and shape[key] != value
        ]
        if len(state["generators"]) != len(generators):
            wrong.append(f"{len(state['generators'])} random samplers (here {len(generators)})")
        if wrong:
            text = f"DataLoader: the state was taken with {', '.join(wrong)}"
            raise DataError(hinted(text, "make the loader as it was, or begin a new epoch"))
        for generator, value in zip(generators, state["generators"], strict=True):
            if value is not None and generator is not default_generator:
                generator.set_state(value)
        began = state["began"]
        pairs = None if began is None else [(int(a), int(b)) for a, b in began]
        self._progress = _Progress(
            int(state["epoch"]), int(state["position"]), int(state["seed"]), pairs, loaded=True
        )

    def _shape(self) -> Saved:
        try:
            size = len(self.dataset)
        except (TypeError, NotImplementedError):
            size = None
        return {"batch_size": self.batch_size, "drop_last": self.drop_last, "samples": size}


def _check(
    loader: DataLoader, shuffle: bool, sampler: Any, batch_sampler: Any, seeded_twice: bool
) -> None:
    """Options that contradict each other, PyTorch's rules."""
    sampled = sampler is not None or batch_sampler is not None
    sized = loader.batch_size != 1 or loader.drop_last
    problems = [
        (shuffle and sampled, "shuffle with a sampler",
         "the sampler decides the order: leave shuffle out"),
        (loader.iterable and (shuffle or sampled),
         "an IterableDataset has no indices to sample", "shuffle within its __iter__"),
        (batch_sampler is not None and (sized or sampler is not None),
         "batch_sampler with batch_size, sampler or drop_last", "the batch sampler decides them"),
        (loader.batch_size is None and loader.drop_last, "drop_last without batch_size",
         "give a batch_size"),
        (seeded_twice, "generator and seed", "give one of them"),
        (loader.num_workers == 0 and loader.prefetch_factor is not None,
         "prefetch_factor without workers", "num_workers=1 or more"),
    ]  # fmt: skip
    for wrong, what, hint in problems:
        if wrong:
            raise DTypeError(hinted(f"DataLoader: {what}", hint))
    ahead = 1 if loader.prefetch_factor is None else loader.prefetch_factor
    numbers = [("num_workers", loader.num_workers, 0), ("timeout", loader.timeout, 0)]
    for name, value, least in [*numbers, ("prefetch_factor", ahead, 1)]:
        if value < least:
            text = f"DataLoader: {name}={value!r}"
            raise OutOfRangeError(hinted(text, f"{least} or more"))
    if loader.batch_size is not None:
        loader.batch_size = checked_size("DataLoader", loader.batch_size)


# --- random numbers of a pass ---


def _key(state: State) -> int:
    """The key of what a pass draws beside its order: another where the generator has moved on."""
    return (state.seed ^ (state.offset + 1) * 0x9E3779B97F4A7C15) & (1 << 64) - 1


def _read(dataset: Iterable[Any], generator: Generator) -> Iterator[Any]:
    """The samples of an IterableDataset, which draws from `generator`, whichever thread reads."""
    with drawing_from(generator):
        samples = iter(dataset)
    while True:
        with drawing_from(generator):
            try:
                sample = next(samples)
            except StopIteration:
                return
        yield sample


# --- one pass ---


class _Pass(Iterator[Any]):
    """An iterator over the batches of one pass; it counts what it has handed out."""

    def __init__(self, loader: DataLoader, tasks: Iterator[Any]) -> None:
        self._progress = progress = loader._progress  # pyright: ignore[reportPrivateUsage]
        fetch = Fetch(loader, progress.seed, progress.epoch)
        if loader.num_workers == 0:
            self._batches: Iterator[Any] = map(fetch, tasks)
        else:
            self._batches = Prefetcher(
                tasks,
                fetch,
                loader.num_workers,
                loader.num_workers * (loader.prefetch_factor or 2),
                loader.timeout or None,
                loader.worker_init_fn,
            )
        self._arrive = fetch.arrive
        self._ended = False

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        try:
            batch = next(self._batches)
        except StopIteration:
            self._ended = True
            self._progress.finish()
            raise
        except BaseException:
            self._ended = True
            raise
        self._progress.position += 1
        return self._arrive(batch)
