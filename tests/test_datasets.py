"""The data that travels with the package, and the IDX reader: what it takes and what it refuses."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gradengine.datasets import Dataset, load_digits, load_mnist, read_idx
from gradengine.errors import DataError

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
MNIST = Path(__file__).parents[2] / "shared" / "data"


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([3, 1, 4, 1, 5, 9], np.uint8)


@pytest.fixture
def folder(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


# --- digits --------------------------------------------------------------------------------------


def test_digits_are_the_real_ones():
    digits = load_digits()
    assert digits.images.shape == (1797, 8, 8)
    assert digits.images.dtype == digits.labels.dtype == np.uint8
    assert (digits.images.min(), digits.images.max()) == (0, 16)
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(digits.labels).tolist() == counts
    assert digits.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert "CC BY 4.0" in digits.licence


def test_notice_travels_beside_the_data():
    import gradengine.datasets

    notice = Path(gradengine.datasets.__file__).with_name("data") / "NOTICE.md"
    assert "CC BY 4.0" in notice.read_text(encoding="utf-8")


def test_split_is_a_partition_and_repeatable():
    digits = load_digits()
    numbered = Dataset("n", np.arange(1797).reshape(-1, 1, 1), digits.labels, 10)
    train, test = numbered.split(0.2, seed=3)
    assert sorted([*train.images.ravel(), *test.images.ravel()]) == list(range(1797))
    assert len(test) == 359
    again, _ = numbered.split(0.2, seed=3)
    other, _ = numbered.split(0.2, seed=4)
    assert (again.images == train.images).all()
    assert (other.images != train.images).any()
    assert (digits.labels[train.images.ravel()] == train.labels).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 7])
def test_split_refuses_a_share_that_is_none(share: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        load_digits().split(share)


def test_features_are_rows_between_zero_and_one():
    rows = load_digits().features()
    assert rows.shape == (1797, 64)
    assert rows.dtype == np.float32
    assert (rows.min(), rows.max()) == (0.0, 1.0)


# --- one IDX file --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2), (0,), (2, 0, 3)])
def test_every_type_and_rank_survives(tmp_path: Path, name: str, shape: tuple[int, ...]):
    array = (np.arange(np.prod(shape)).reshape(shape) * 3 - 5).astype(name)
    (tmp_path / "file").write_bytes(idx(array))
    got = read_idx(tmp_path / "file")
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


def test_gzip_is_known_by_content_not_by_name(tmp_path: Path, images: np.ndarray):
    (tmp_path / "zipped-without-suffix").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "plain.gz").write_bytes(idx(images))
    np.testing.assert_array_equal(read_idx(tmp_path / "zipped-without-suffix"), images)
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), images)


def damaged(kind: str, images: np.ndarray) -> bytes:
    whole = idx(images)
    zipped = gzip.compress(whole)
    return {
        "empty": b"",
        "two bytes": b"\0\0",
        "header cut": whole[:10],
        "values cut": whole[:-1],
        "one byte more": whole + b"\0",
        "wrong magic": b"\x08\x01" + whole[2:],
        "unknown type": b"\0\0\x0a" + whole[3:],
        "web page": b"\n<!DOCTYPE html><html>404</html>",
        "100 axes": bytes([0, 0, 8, 100]) + b"\0\0\0\1" * 100 + b"\7",
        "too big": bytes([0, 0, 8, 4]) + b"\0" * 4 + b"\xff" * 12,
        "gzip cut": zipped[: len(zipped) // 2],
        "gzip header cut": zipped[:5],
        "gzip damaged": zipped[:-8] + b"\xff\xff\xff\xff" + zipped[-4:],
        "gzip body damaged": zipped[:12] + b"\xff" * 20 + zipped[32:],
        "gzip of nothing": gzip.compress(b""),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "the file is empty"),
        ("two bytes", "wrong magic number"),
        ("header cut", r"truncated: the header of a 3-dimensional array is 16 bytes, .* has 10"),
        ("values cut", r"truncated: .*\(6, 5, 4\), 120 bytes, but 119 follow"),
        ("one byte more", r"1 bytes too many"),
        ("wrong magic", "wrong magic number 0x08010803"),
        ("unknown type", "wrong magic number 0x00000a03"),
        ("web page", "web page"),
        ("100 axes", "which no array has"),
        ("too big", "which no array has"),
        ("gzip cut", "truncated: the gzip stream"),
        ("gzip header cut", "truncated: the gzip stream"),
        ("gzip damaged", "corrupt gzip"),
        ("gzip body damaged", "corrupt gzip"),
        ("gzip of nothing", "the file is empty"),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(
    tmp_path: Path, images: np.ndarray, kind: str, message: str
):
    path = tmp_path / "images"
    path.write_bytes(damaged(kind, images))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "hint: " in str(caught.value)


def test_a_huge_promise_is_refused_before_anything_is_allocated(tmp_path: Path):
    (tmp_path / "file").write_bytes(struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3) + b"\1")
    with pytest.raises(DataError, match="truncated"):
        read_idx(tmp_path / "file")


def test_a_missing_file_and_a_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_idx(tmp_path)


# --- a folder like MNIST's -----------------------------------------------------------------------


@pytest.mark.parametrize("names", ["{}-{}", "{}.{}"])
@pytest.mark.parametrize("zipped", [False, True])
def test_load_mnist(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, names: str, zipped: bool
):
    for stem, kind, array in [("images", "idx3", images), ("labels", "idx1", labels)]:
        name = names.format(f"t10k-{stem}", f"{kind}-ubyte") + ".gz" * zipped
        raw = idx(array)
        (tmp_path / name).write_bytes(gzip.compress(raw) if zipped else raw)
    data = load_mnist(tmp_path, "test")
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    assert (data.classes, data.brightest) == (10, 255)
    assert data.name == f"{tmp_path.name}/test"


def test_load_mnist_missing(folder: Path):
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte\.gz.*found: train-images"):
        load_mnist(folder, "test")
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz into this folder"):
        load_mnist(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_mnist(folder / "nowhere")
    with pytest.raises(ValueError, match="'train' or 'test', got 'validation'"):
        load_mnist(folder, "validation")


def test_load_mnist_swapped_files(folder: Path):
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    a, b = images.read_bytes(), labels.read_bytes()
    images.write_bytes(b)
    with pytest.raises(DataError, match=r"mislabelled: images have 3 .*\(6,\): it holds labels"):
        load_mnist(folder)
    images.write_bytes(a)
    labels.write_bytes(a)
    with pytest.raises(DataError, match=r"mislabelled: labels have 1 .*: it holds images"):
        load_mnist(folder)


def test_load_mnist_wrong_counts_and_types(folder: Path, images: np.ndarray, labels: np.ndarray):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels[:4]))
    with pytest.raises(DataError, match=r"6 images but .* 4 labels"):
        load_mnist(folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.int32)))
    with pytest.raises(DataError, match="unsigned bytes, this array is int32"):
        load_mnist(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images[:0]))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels[:0]))
    with pytest.raises(DataError, match="no images"):
        load_mnist(folder)


@pytest.mark.skipif(
    not (MNIST / "t10k-images-idx3-ubyte.gz").exists(), reason="needs MNIST's test files"
)
def test_the_real_mnist_test_part():
    data = load_mnist(MNIST, "test")
    assert data.images.shape == (10_000, 28, 28)
    assert data.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.labels).tolist() == counts
