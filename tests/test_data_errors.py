"""DataLoader: what goes wrong inside a dataset is never the quiet end of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gradengine.data import DataLoader, Dataset, IterableDataset
from gradengine.errors import DataError


class Drained(Dataset[Any]):
    """Reads from an iterator that ends before the dataset does."""

    def __init__(self) -> None:
        self.source = iter(range(5))

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return next(self.source)


class Broken(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from (1, 2, 3)
        raise KeyError("row 3")


def take(batches: Iterator[Any], count: int, found: list[Any]) -> None:
    for _ in range(count):
        found.append(next(batches).tolist())


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stop_iteration_of_a_sample_does_not_end_the_pass(workers: int):
    batches = iter(DataLoader(Drained(), 2, num_workers=workers))
    with pytest.raises(DataError, match=r"batch \d: the dataset or collate_fn raised StopIterat"):
        take(batches, 6, [])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_while_a_dataset_is_read_comes_after_what_was_read_whole(workers: int):
    batches = iter(DataLoader(Broken(), 2, num_workers=workers))
    found: list[Any] = []
    with pytest.raises(KeyError, match="row 3"):
        take(batches, 3, found)
    assert found == [[1, 2]]
