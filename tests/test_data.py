"""Datasets, samplers and collation: what a batch is made of."""

from __future__ import annotations

from collections import Counter, namedtuple
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from identical import identical

import gradengine as ge
from gradengine.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    WindowDataset,
    default_collate,
    random_split,
)
from gradengine.data.dataset import get_batch, get_samples
from gradengine.errors import DTypeError, OutOfRangeError, ShapeError
from gradengine.random import Generator

# --- datasets ---


def test_a_tensor_dataset_takes_a_batch_at_once():
    x, y = ge.rand(10, 3), np.arange(10)
    data = TensorDataset(x, y)
    rows = [7, 0, -1, 7]
    batch = data.__getbatch__(rows)
    identical(batch, default_collate([data[i] for i in rows]))
    assert not np.shares_memory(batch[0].array, x.array)
    assert len(data) == 10
    with pytest.raises(OutOfRangeError, match=r"index 10 for 10 samples(.|\n)*0 \.\.\. 9"):
        data.__getbatch__([0, 10])


def test_a_tensor_dataset_stays_on_the_tape():
    x = ge.rand(4, 2).requires_grad_()
    (batch,) = TensorDataset(x).__getbatch__([1, 1, 3])
    batch.sum().backward()
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ((), ShapeError, "no tensors"),
        ((np.zeros((3, 2)), np.zeros(4)), ShapeError, r"\(3, 2\) and \(4,\)(.|\n)*same first axis"),
        ((np.zeros(()),), ShapeError, r"shapes \(\)"),
        (([1, 2],), DTypeError, "argument 0 is a list"),
    ],
)
def test_a_tensor_dataset_refuses(tensors: Any, error: type, message: str):
    with pytest.raises(error, match=message):
        TensorDataset(*tensors)


def test_a_subclass_that_changes_samples_is_not_passed_by():
    class Doubled(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            return tuple(2 * x for x in super().__getitem__(index))

    class Shifted(Subset):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index) + 1

    (batch,) = next(iter(DataLoader(Doubled(np.arange(4)), 4)))
    assert batch.tolist() == [0, 2, 4, 6]
    assert next(iter(DataLoader(Shifted(range(9), [3, 4]), 2))).tolist() == [4, 5]


def test_getitems_is_used():
    class Many(Dataset[int]):
        def __len__(self) -> int:
            return 5

        def __getitems__(self, indices: list[int]) -> list[int]:
            return [10 * i for i in indices]

    assert [x.tolist() for x in DataLoader(Many(), 3)] == [[0, 10, 20], [30, 40]]


def test_windows():
    text = np.arange(20)
    for stride in (None, 1, 3):
        data = WindowDataset(text, 5, stride)
        step = stride or 5
        expected = [k for k in range(0, 20, step) if k + 6 <= 20]
        assert [int(x[0]) for x, _ in (data[i] for i in range(len(data)))] == expected
        rows = list(range(len(data)))
        identical(data.__getbatch__(rows), default_collate([data[i] for i in rows]))
    x, y = data[-1]
    assert (y == x + 1).all()
    with pytest.raises(ShapeError, match=r"length 5(.|\n)*exceed"):
        WindowDataset(np.arange(5), 5)
    with pytest.raises(OutOfRangeError):
        data[len(data)]


def test_parts_and_unions():
    both = ConcatDataset([range(3), range(10, 12), range(20, 21)])
    assert [both[i] for i in range(-6, 6)] == [0, 1, 2, 10, 11, 20] * 2
    with pytest.raises(OutOfRangeError):
        both[6]
    with pytest.raises(ShapeError):
        ConcatDataset([])
    a, b = TensorDataset(np.arange(3)), TensorDataset(np.arange(3) * 1.0)
    assert len(a + b) == 6
    pairs = StackDataset(x=a, y=b)
    identical(get_batch(pairs, [2, 0]), default_collate(get_samples(pairs, [2, 0])))
    assert StackDataset("abc", [1, 2, 3])[1] == ("b", 2)
    assert get_batch(StackDataset("abc", a), [0]) is NotImplemented
    with pytest.raises(ShapeError, match="lengths 3 and 2"):
        StackDataset("abc", "ab")
    with pytest.raises(ShapeError, match="named"):
        StackDataset()
    part = Subset(a, [2, 1])
    identical(get_batch(part, [1, 0]), (ge.tensor([1, 2]),))
    assert get_batch(Subset("abc", [1]), [0]) is NotImplemented
    assert get_samples(Subset("abc", [2, 1]), [0, 1]) == ["c", "b"]


def test_a_dataset_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Dataset defines no __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="no __iter__"):
        iter(IterableDataset())
    with pytest.raises(NotImplementedError, match="no __iter__"):
        iter(Sampler())
    with pytest.raises(DTypeError, match=r"object has no length(.|\n)*__len__"):
        len(SequentialSampler(object()))


@pytest.mark.parametrize(
    ("lengths", "counts"),
    [([7, 3], [7, 3]), ([0.7, 0.3], [7, 3]), ([0.5, 0.25, 0.25], [6, 2, 2]), ([1.0], [10])],
)
def test_random_split_is_a_partition(lengths: Any, counts: list[int]):
    parts = random_split(range(10), lengths, Generator(0))
    assert [len(p) for p in parts] == counts
    assert sorted(p[i] for p in parts for i in range(len(p))) == list(range(10))
    again = random_split(range(10), lengths, Generator(0))
    assert [p.indices for p in parts] == [p.indices for p in again]


def test_random_split_uses_pytorch_s_rule_for_shares():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for size in (10, 99):
        for shares in ([0.5, 0.5], [0.9, 0.1], [0.3, 0.3, 0.4], [1 / 3, 1 / 3, 1 / 3]):
            theirs = torch.utils.data.random_split(range(size), shares)
            ours = random_split(range(size), shares, Generator(0))
            assert [len(p) for p in ours] == [len(p) for p in theirs]


@pytest.mark.parametrize("lengths", [[7, 4], [0.5, 0.6], [11, -1], [0.5, 5], [5.0, 5.0]])
def test_random_split_refuses(lengths: Any):
    with pytest.raises(ShapeError, match="samples are 10"):
        random_split(range(10), lengths)


# --- samplers ---


def test_random_orders():
    g = Generator(3)
    sampler = RandomSampler(range(50), generator=g)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    g.manual_seed(3)
    assert list(sampler) == first
    assert all(type(i) is int for i in first)


def test_an_order_is_drawn_when_the_iterator_is_made():
    g = Generator(0)
    order = iter(RandomSampler(range(5), generator=g))
    assert g.get_state().offset == 1
    g.manual_seed(9)
    assert list(order) == list(RandomSampler(range(5), generator=Generator(0)))


def test_more_samples_than_there_are():
    drawn = list(RandomSampler(range(4), num_samples=10, generator=Generator(0)))
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3]
    assert drawn[:4] != drawn[4:8] or drawn[:2] != drawn[8:]
    assert len(set(drawn[8:])) == 2
    many = list(RandomSampler(range(4), True, 10_000, Generator(0)))
    assert set(many) == {0, 1, 2, 3}
    assert all(abs(n - 2500) < 200 for n in Counter(many).values())
    assert len(RandomSampler(range(4), True)) == 4
    assert list(RandomSampler([])) == []
    with pytest.raises(ShapeError, match="empty"):
        iter(RandomSampler([], num_samples=1))
    with pytest.raises(OutOfRangeError, match="num_samples=0"):
        RandomSampler(range(4), num_samples=0)


def test_subset_and_weights():
    assert sorted(SubsetRandomSampler([4, 9, 2], Generator(0))) == [2, 4, 9]
    weights = [0.0, 1.0, 3.0, 0.0]
    many = Counter(WeightedRandomSampler(weights, 10_000, generator=Generator(0)))
    assert set(many) == {1, 2}
    assert abs(many[2] / 10_000 - 0.75) < 0.02
    first = Counter(
        next(iter(WeightedRandomSampler(weights, 2, False, Generator(s)))) for s in range(2000)
    )
    assert abs(first[2] / 2000 - 0.75) < 0.04
    assert sorted(WeightedRandomSampler(weights, 2, False)) == [1, 2]
    for bad in ([], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [[1.0]]):
        with pytest.raises(ShapeError, match="weights"):
            WeightedRandomSampler(bad, 1)
    with pytest.raises(OutOfRangeError, match="of 2 weights above 0"):
        WeightedRandomSampler(weights, 3, False)


def test_batches_of_indices():
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(range(5), 2)) == 3
    assert len(BatchSampler(range(5), 2, True)) == 2
    for bad in (0, -1, 2.0, True):
        with pytest.raises(OutOfRangeError, match="batch_size"):
            BatchSampler(range(5), bad)


# --- collation ---

Point = namedtuple("Point", "x y")


def test_collate_keeps_the_nesting():
    samples = [
        {
            "image": np.full((2, 2), i, np.uint8), "t": ge.full((3,), i), "label": i, "w": i / 2,
            "flag": i > 0, "name": f"n{i}", "raw": b"x", "p": Point(i, [i, (i,)]),
            "np": np.float32(i), "z": 1j * i, "half": np.zeros(1, ml_dtypes.bfloat16),
        }
        for i in range(3)
    ]  # fmt: skip
    batch = default_collate(samples)
    expected = {
        "image": ge.tensor(np.stack([s["image"] for s in samples])),
        "t": ge.stack([s["t"] for s in samples]), "label": ge.tensor([0, 1, 2]),
        "w": ge.tensor([0, 0.5, 1.0]), "flag": ge.tensor([False, True, True]),
        "name": ["n0", "n1", "n2"], "raw": [b"x"] * 3,
        "p": Point(ge.tensor([0, 1, 2]), [ge.tensor([0, 1, 2]), (ge.tensor([0, 1, 2]),)]),
        "np": ge.tensor(np.arange(3, dtype=np.float32)), "z": ge.tensor([0j, 1j, 2j]),
        "half": ge.zeros((3, 1), dtype="bfloat16"),
    }  # fmt: skip
    identical(batch, expected)
    assert default_collate([1, 2.5]).dtype == ge.get_default_dtype()


def test_collate_stays_on_the_tape():
    w = ge.ones(2).requires_grad_()
    default_collate([w, 2 * w]).sum().backward()
    assert w.grad.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (
            [np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 5))],
            ShapeError,
            r"item 0 has shape \(3, 4\), item 2 \(3, 5\)(.|\n)*pad, crop(.|\n)*collate_fn",
        ),
        (
            [{"a": (1, np.zeros(2))}, {"a": (1, np.zeros(3))}],
            ShapeError,
            r"item 0\['a'\]\[1\] has shape \(2,\), item 1\['a'\]\[1\] \(3,\)",
        ),
        ([{"a": 1}, {"b": 1}], ShapeError, r"keys \['a'\], item 1 \['b'\]"),
        ([(1, 2), (1,)], ShapeError, "2 parts, item 1 1"),
        ([1, "x"], DTypeError, "item 0 is a int, item 1 a str"),
        ([np.zeros(2), 3], DTypeError, "item 0 is a ndarray, item 1 a int"),
        ([None, None], DTypeError, "item 0 is a NoneType"),
        ([{"a": object()}], DTypeError, r"item 0\['a'\] is a object"),
        ([], ShapeError, "empty batch"),
    ],
)
def test_collate_refuses_by_name(samples: Any, error: type, message: str):
    with pytest.raises(error, match=message):
        default_collate(samples)
