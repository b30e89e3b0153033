"""DataLoader: order, threads, errors, and resuming within an epoch."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from identical import identical

import gradengine as ge
from gradengine.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    LoaderTimeoutError,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    sample_generator,
)
from gradengine.errors import DataError, DeviceError, DTypeError, OutOfRangeError, ShapeError
from gradengine.random import Generator, default_generator

WORKERS = (0, 1, 2, 5)


class Slow(Dataset[Any]):
    """Samples that take longer the earlier they are in their batch, and know who fetched them."""

    def __init__(self, size: int = 23, seconds: float = 0.002) -> None:
        self.size, self.seconds, self.fetched = size, seconds, []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        time.sleep(self.seconds * (index % 3))
        self.fetched.append((index, threading.current_thread().name))
        return index


class Stream(IterableDataset[int]):
    def __init__(self, size: int = 10) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


def drained(loader: Any) -> list[Any]:
    return [x.tolist() if isinstance(x, ge.Tensor) else x for x in loader]


def workers_alive() -> int:
    return sum(t.name.startswith("DataLoader worker") for t in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    ended()


def ended(seconds: float = 5) -> None:
    """Every worker ends within some seconds."""
    limit = time.monotonic() + seconds
    while workers_alive():
        assert time.monotonic() < limit, f"{workers_alive()} workers are alive"
        time.sleep(0.005)


# --- batches ---


@pytest.mark.parametrize("workers", WORKERS)
def test_order_and_values_do_not_depend_on_workers(workers: int):
    data = Slow()
    loader = DataLoader(data, 4, shuffle=True, num_workers=workers, seed=1)
    plain = DataLoader(range(23), 4, shuffle=True, seed=1)
    for _ in range(2):
        assert drained(loader) == drained(plain)
    assert len(loader) == 6
    names = {name for _, name in data.fetched}
    assert len(names) == max(1, workers)


@pytest.mark.parametrize("workers", WORKERS)
def test_samplers_and_sizes(workers: int):
    n = {"num_workers": workers}
    assert drained(DataLoader(range(5), **n)) == [[0], [1], [2], [3], [4]]
    assert drained(DataLoader(range(5), 2, drop_last=True, **n)) == [[0, 1], [2, 3]]
    assert drained(DataLoader(range(5), None, **n)) == [0, 1, 2, 3, 4]
    assert drained(DataLoader(range(5), None, collate_fn=str, **n)) == ["0", "1", "2", "3", "4"]
    assert drained(DataLoader(range(9), 2, sampler=[8, 0, 3], **n)) == [[8, 0], [3]]
    assert drained(DataLoader(range(9), batch_sampler=[[1], [2, 3]], **n)) == [[1], [2, 3]]
    assert drained(DataLoader(range(4), 3, collate_fn=sum, **n)) == [3, 3]
    assert drained(DataLoader([], 3, **n)) == []
    assert len(DataLoader(range(9), 2, sampler=[8, 0, 3])) == 2
    assert len(DataLoader(range(9), batch_sampler=[[1], [2, 3]])) == 2
    assert len(DataLoader(range(9), None)) == 9


@pytest.mark.parametrize("workers", WORKERS)
def test_samples_one_after_another(workers: int):
    loader = DataLoader(Stream(), 4, num_workers=workers)
    assert drained(loader) == drained(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert drained(DataLoader(Stream(), 4, drop_last=True, num_workers=workers))[-1] == [4, 5, 6, 7]
    assert drained(DataLoader(Stream(3), None, num_workers=workers)) == [0, 1, 2]


def test_nested_and_several_passes():
    loader = DataLoader(range(6), 2, shuffle=True, seed=0, num_workers=2)
    pairs = [(a.tolist(), b.tolist()) for a in loader for b in loader]
    assert len(pairs) == 9
    assert sorted(i for _, b in pairs[:3] for i in b) == list(range(6))


def test_a_tensor_dataset_is_read_by_fancy_index(monkeypatch: pytest.MonkeyPatch):
    data = TensorDataset(np.arange(20.0), np.arange(20))
    expected = [list(zip(x.tolist(), y.tolist(), strict=True)) for x, y in DataLoader(data, 8)]

    def refuse(self: Any, index: int) -> Any:
        raise AssertionError("item by item")

    monkeypatch.setattr(TensorDataset, "__getitem__", refuse)
    for dataset in (data, Subset(data, range(20))):
        got = [list(zip(x.tolist(), y.tolist(), strict=True)) for x, y in DataLoader(dataset, 8)]
        assert got == expected


def test_shuffling_is_seeded():
    ge.manual_seed(5)
    a = drained(DataLoader(range(30), 7, shuffle=True))
    b = drained(DataLoader(range(30), 7, shuffle=True))
    ge.manual_seed(5)
    assert drained(DataLoader(range(30), 7, shuffle=True)) == a != b
    assert drained(DataLoader(range(30), 7, shuffle=True, generator=Generator(5))) == a
    before = default_generator.get_state()
    drained(DataLoader(range(30), 7))
    drained(DataLoader(range(30), 7, shuffle=True, seed=0))
    assert default_generator.get_state() == before, "only loaders without a seed draw from it"


@pytest.mark.parametrize("workers", WORKERS)
def test_random_changes_of_samples_do_not_depend_on_workers(workers: int):
    class Noisy(Slow):
        def __getitem__(self, index: int) -> Any:
            super().__getitem__(index)
            return ge.rand(2, generator=sample_generator())

    def run(n: int) -> list[Any]:
        loader = DataLoader(Noisy(12), 3, shuffle=True, seed=3, num_workers=n)
        return drained(loader) + drained(loader)

    found = run(workers)
    assert found == run(0)
    assert len(np.unique(np.array(found))) == 48
    assert sample_generator() is default_generator


def test_threads_see_the_context():
    class Made(Slow):
        def __getitem__(self, index: int) -> Any:
            return ge.tensor([0.5])

    try:
        ge.set_default_dtype("float64")
        assert next(iter(DataLoader(Made(2), 2, num_workers=1))).dtype == "float64"
    finally:
        ge.set_default_dtype("float32")


def test_worker_init_fn_runs_in_every_thread():
    seen: list[tuple[int, str]] = []
    loader = DataLoader(
        Slow(4), num_workers=3, persistent_workers=True,
        worker_init_fn=lambda n: seen.append((n, threading.current_thread().name)),
    )  # fmt: skip
    drained(loader)
    assert sorted(seen) == [(n, f"DataLoader worker {n}") for n in range(3)]


def test_prefetching_is_bounded():
    data = Slow(100, seconds=0)
    batches = iter(DataLoader(data, 1, num_workers=2, prefetch_factor=3))
    next(batches)
    time.sleep(0.1)
    assert len(data.fetched) == 7


# --- threads end ---


def test_threads_end_with_the_pass():
    loader = DataLoader(Slow(), 2, num_workers=3)
    drained(loader)
    ended()


def test_threads_end_when_an_epoch_is_left_early():
    gc.disable()
    try:
        for batch in DataLoader(Slow(1000), 2, num_workers=3):
            assert batch.shape == (2,)
            assert workers_alive() == 3
            break
        ended()
    finally:
        gc.enable()


def test_threads_end_when_the_iterator_is_dropped_not_with_the_loader():
    loader = DataLoader(Slow(1000), 2, num_workers=3)
    batches = iter(loader)
    del loader
    assert next(batches).tolist() == [0, 1]
    assert workers_alive() == 3
    del batches
    ended()


def test_threads_that_wait_for_a_slow_reader_end():
    class Stuck(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            yield 0
            time.sleep(0.2)
            yield 1
            raise AssertionError("read on after the end")

    batches = iter(DataLoader(Stuck(), 1, num_workers=3))
    next(batches)
    del batches
    ended()


# --- errors ---


class Broken(Slow):
    def __getitem__(self, index: int) -> Any:
        if index == 13:
            raise KeyError("no such thing")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_reaches_the_caller_in_its_turn(workers: int):
    loader = DataLoader(Broken(), 5, num_workers=workers)
    batches = iter(loader)
    assert [next(batches).tolist()[0] for _ in range(2)] == [0, 5]
    with pytest.raises(KeyError, match="no such thing") as caught:
        next(batches)
    assert "while loading sample 13 of Broken" in caught.value.__notes__
    assert any(entry.name == "__getitem__" for entry in caught.traceback)
    with pytest.raises(StopIteration):
        next(batches)
    assert loader.state_dict()["position"] == 2
    ended()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_collation_names_the_samples(workers: int):
    class Ragged(Slow):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(3 if index == 7 else 2)

    batches = iter(DataLoader(Ragged(), 4, num_workers=workers, sampler=[5, 6, 2, 1, 4, 7]))
    next(batches)
    with pytest.raises(ShapeError, match=r"\(2,\), item 1 \(3,\)") as caught:
        next(batches)
    assert "while collating batch 1 of the pass, samples 4, 7" in caught.value.__notes__


@pytest.mark.parametrize("where", ["sampler", "init"])
def test_errors_elsewhere_reach_the_caller_too(where: str):
    def indices() -> Iterator[int]:
        yield 0
        if where == "sampler":
            raise OSError("sampler broke")

    def start(number: int) -> None:
        if where == "init" and number == 1:
            raise OSError("init broke")

    loader = DataLoader(Slow(), 1, sampler=indices(), num_workers=2, worker_init_fn=start)
    with pytest.raises(OSError, match=f"{where} broke"):
        drained(loader)


def test_timeout():
    class Late(Slow):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.3 if index else 0)
            return index

    batches = iter(DataLoader(Late(3), 1, num_workers=1, timeout=0.05))
    next(batches)
    with pytest.raises(LoaderTimeoutError, match=r"batch 1 was not ready after 0\.05 s"):
        next(batches)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shuffle": True, "sampler": [0]}, DTypeError, "shuffle with a sampler"),
        ({"batch_sampler": [[0]], "batch_size": 3}, DTypeError, "batch_sampler with batch_size"),
        ({"batch_sampler": [[0]], "drop_last": True}, DTypeError, "batch_sampler with batch_size"),
        ({"batch_size": None, "drop_last": True}, DTypeError, "drop_last without"),
        ({"generator": Generator(0), "seed": 1}, DTypeError, "generator and seed"),
        ({"prefetch_factor": 2}, DTypeError, "without workers"),
        ({"prefetch_factor": 0, "num_workers": 1}, OutOfRangeError, "prefetch_factor"),
        ({"num_workers": -1}, OutOfRangeError, "num_workers"),
        ({"timeout": -1}, OutOfRangeError, "timeout"),
        ({"batch_size": 0}, OutOfRangeError, "batch_size=0"),
    ],
)
def test_options_that_contradict(options: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message) as caught:
        DataLoader(range(3), **options)
    assert "hint: " in str(caught.value)


def test_an_iterable_dataset_is_not_sampled():
    for options in ({"shuffle": True}, {"sampler": [1]}):
        with pytest.raises(DTypeError, match="no indices"):
            DataLoader(Stream(), **options)


def test_pinned_memory_needs_cuda():
    if not ge.cuda_is_available():
        with pytest.raises(DeviceError, match="cuda"):
            drained(DataLoader(TensorDataset(np.zeros(3)), pin_memory=True))


# --- resuming ---


def resumed(make: Any, batches: int, epochs: int = 3) -> None:
    """Interrupted after any number of batches, a new loader hands out the rest, exactly."""
    whole = [b for loader in [make(0)] for _ in range(epochs) for b in drained(loader)]
    loader = make(2)
    done: list[Any] = []
    while len(done) < batches:
        for batch in loader:
            done.append(batch.tolist())
            if len(done) == batches:
                break
    state = json.loads(json.dumps(loader.state_dict()))
    epoch = state["epoch"]
    default = default_generator.get_state()
    del loader
    ge.manual_seed(99)
    default_generator.set_state(default)
    for workers in (0, 3):
        default_generator.set_state(default)
        other = make(workers, seed=77)
        other.load_state_dict(state)
        assert other.state_dict() == state
        rest = [b for _ in range(epoch, epochs) for b in drained(other)]
        assert done + rest == whole


@pytest.mark.parametrize("batches", [1, 3, 6, 7, 12, 15])
def test_resume_with_its_own_generator(batches: int):
    def make(workers: int, seed: int = 4) -> DataLoader:
        return DataLoader(Slow(23, 0), 4, shuffle=True, seed=seed, num_workers=workers)

    resumed(make, batches)


@pytest.mark.parametrize("batches", [1, 6, 8])
def test_resume_with_the_default_generator(batches: int):
    def make(workers: int, seed: int = 4) -> DataLoader:
        if seed == 4:
            ge.manual_seed(4)
        return DataLoader(Slow(23, 0), 4, shuffle=True, num_workers=workers)

    resumed(make, batches)


@pytest.mark.parametrize("kind", ["weighted", "replacement", "batch_sampler", "stream"])
def test_resume_other_orders(kind: str):
    def make(workers: int, seed: int = 4) -> DataLoader:
        g, n = Generator(seed), {"num_workers": workers}
        if kind == "weighted":
            sampler: Any = WeightedRandomSampler(np.arange(9.0), 11, generator=g)
            return DataLoader(range(9), 2, sampler=sampler, **n)
        if kind == "replacement":
            return DataLoader(range(9), 2, sampler=RandomSampler(range(9), True, 9, g), **n)
        if kind == "batch_sampler":
            batches = BatchSampler(RandomSampler(range(9), generator=g), 2)
            return DataLoader(range(9), batch_sampler=batches, **n)
        return DataLoader(Stream(9), 2, **n)

    resumed(make, 7)


def test_resume_between_epochs_and_at_the_end():
    a = DataLoader(range(9), 2, shuffle=True, seed=1, num_workers=2)
    drained(a)
    state = a.state_dict()
    assert (state["epoch"], state["position"], state["began"]) == (1, 0, None)
    b = DataLoader(range(9), 2, shuffle=True, seed=2)
    b.load_state_dict(state)
    assert drained(b) == drained(a)
    it = iter(a)
    for _ in range(5):
        last = next(it)
    assert last.shape == (1,)
    b.load_state_dict(a.state_dict())
    assert drained(b) == [], "every batch had been handed out, the epoch had not been ended"
    assert list(it) == []
    assert drained(b) == drained(a)


def test_resume_keeps_random_changes():
    class Noisy(Slow):
        def __getitem__(self, index: int) -> Any:
            return ge.rand(1, generator=sample_generator())

    def make(seed: int) -> DataLoader:
        return DataLoader(Noisy(10, 0), 2, shuffle=True, seed=seed, num_workers=2)

    whole = drained(make(1))
    loader = make(1)
    it = iter(loader)
    next(it), next(it)
    other = make(8)
    other.load_state_dict(loader.state_dict())
    assert drained(other) == whole[2:]


def test_resuming_leaves_the_default_generator_alone():
    loader = DataLoader(range(9), 2, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    ge.rand(3)
    now = default_generator.get_state()
    other = DataLoader(range(9), 2, shuffle=True)
    other.load_state_dict(state)
    next(iter(other))
    assert default_generator.get_state() == now


def test_a_state_of_another_loader_is_refused():
    state = DataLoader(range(9), 2, shuffle=True, seed=0).state_dict()
    with pytest.raises(DataError, match=r"batch_size=2 \(here 3\), samples=9 \(here 10\)"):
        DataLoader(range(10), 3, shuffle=True).load_state_dict(state)
    with pytest.raises(DataError, match=r"1 random samplers \(here 0\)"):
        DataLoader(range(9), 2).load_state_dict(state)


def test_a_pass_left_early_is_given_up_by_the_next():
    loader = DataLoader(range(9), 2, shuffle=True, seed=0)
    next(iter(loader))
    assert loader.state_dict()["epoch"] == 0
    first = drained(loader)
    assert loader.state_dict()["epoch"] == 2
    same = DataLoader(range(9), 2, shuffle=True, seed=0)
    drained(same)
    identical(drained(same), first)


# --- devices ---


def test_batches_move():
    data = TensorDataset(ge.arange(4), np.arange(4))
    x, y = next(iter(DataLoader(data, 2, device="cpu", num_workers=1)))
    assert x.device == y.device == "cpu"
    named = next(iter(DataLoader([{"a": np.ones(2), "b": "text"}], device="cpu")))
    assert named["b"] == ["text"]


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_land_on_the_gpu(workers: int):
    x = np.random.default_rng(0).normal(size=(4096, 256))
    loader = DataLoader(TensorDataset(x, np.arange(4096)), 100, num_workers=workers, device="cuda")
    for _ in range(3):
        for batch, rows in loader:
            assert batch.device == "cuda"
            np.testing.assert_array_equal((batch * 1).numpy(), x[rows.numpy()])
