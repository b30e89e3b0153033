"""DataLoader: random numbers of samples do not depend on threads, and resume within an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.data import DataLoader, Dataset, IterableDataset, random_split, sample_generator
from gradengine.errors import OutOfRangeError
from gradengine.random import Generator, default_generator

WORKERS = (0, 1, 3)


class Noisy(Dataset[Any]):
    """Samples augmented as a user would write it: the default generator, no word of threads."""

    def __len__(self) -> int:
        return 37

    def __getitem__(self, index: int) -> Any:
        return ge.rand(3) + index


class Shuffled(IterableDataset[Any]):
    """Shuffled within its `__iter__`, with noise drawn while it is read."""

    def __iter__(self) -> Iterator[Any]:
        for index in ge.randperm(20).tolist():
            yield ge.rand(1) + index


def loader(kind: type[Any], workers: int, **options: Any) -> DataLoader:
    shuffle = True if kind is Noisy else None
    return DataLoader(kind(), 4, shuffle=shuffle, num_workers=workers, **options)


def drained(batches: Any) -> list[Any]:
    return [x.tolist() for x in batches]


@pytest.mark.parametrize("kind", [Noisy, Shuffled])
@pytest.mark.parametrize("workers", WORKERS)
def test_the_default_generator_gives_the_same_samples_with_any_number_of_workers(kind, workers):
    def run(n: int) -> list[Any]:
        ge.manual_seed(3)
        data, found = loader(kind, n), []
        for _ in range(2):
            found += [(x.tolist(), ge.rand(1).item()) for x in data]  # dropout draws meanwhile
        return found

    expected = run(0)
    assert run(workers) == expected
    assert len(np.unique(np.concatenate([x for x, _ in expected]))) > 20


@pytest.mark.parametrize("kind", [Noisy, Shuffled])
@pytest.mark.parametrize("workers", WORKERS)
def test_a_run_that_resumes_draws_what_it_would_have_drawn(kind, workers, tmp_path):
    ge.manual_seed(5)
    data = loader(kind, workers)
    whole = [drained(data) for _ in range(3)]
    after = ge.rand(2).tolist()

    ge.manual_seed(5)
    data = loader(kind, workers)
    found = [drained(data)]
    batches = iter(data)
    second = [next(batches).tolist() for _ in range(3)]
    ge.Checkpoint(tmp_path, loader=data).save(1)
    ge.manual_seed(77)
    data = loader(kind, workers)
    ge.Checkpoint(tmp_path, loader=data).restore()
    found += [second + drained(data), drained(data)]
    assert found == whole
    assert ge.rand(2).tolist() == after


def test_every_epoch_and_every_new_loader_draws_other_numbers():
    ge.manual_seed(1)
    data = loader(Noisy, 0)
    seen = drained(data) + drained(data) + drained(loader(Noisy, 0))
    parts = np.concatenate(seen) % 1
    assert len(np.unique(parts)) > 0.99 * parts.size


def test_seeding_within_a_sample_is_the_samples_own_affair():
    class Fixed(Noisy):
        def __getitem__(self, index: int) -> Any:
            ge.manual_seed(index)
            return ge.rand(2)

    before = default_generator.get_state()
    found = np.concatenate(drained(DataLoader(Fixed(), 5, num_workers=2)))
    assert default_generator.get_state() == before
    for index in (0, 11, 36):
        assert found[index].tolist() == ge.rand(2, generator=Generator(index)).tolist()


def test_numpys_generator_may_be_seeded_from_the_samples():
    class Noise(Noisy):
        def __getitem__(self, index: int) -> Any:
            return np.random.default_rng(sample_generator().take()).normal(size=2)

    one = drained(DataLoader(Noise(), 5, seed=1))
    assert one == drained(DataLoader(Noise(), 5, seed=1, num_workers=3))
    assert one != drained(DataLoader(Noise(), 5, seed=2))


def test_sizes_may_be_numpys_integers():
    assert [len(x) for x in random_split(range(10), [np.int64(7), np.int64(3)])] == [7, 3]
    assert next(iter(DataLoader(range(9), np.int64(4)))).shape == (4,)
    for bad in (2.0, "2", 0, True):
        with pytest.raises(OutOfRangeError, match="batch_size"):
            DataLoader(range(9), bad)
