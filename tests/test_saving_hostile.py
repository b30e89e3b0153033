"""ge.load and files that are corrupt, truncated, hostile or of another kind: DataError, always."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from identical import identical

import gradengine as ge
from gradengine.errors import DataError, DTypeError
from gradengine.saving import load, save

# --- files of every bad kind ---


def header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


def entry(dtype: str = "F32", shape: str = "[1]", offsets: str = "[0, 4]") -> str:
    return f'{{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}'


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    return file.getvalue()


HOSTILE = {
    "empty": (b"", "truncated: 0 bytes"),
    "five bytes": (b"\1\0\0\0\0", "truncated: 5 bytes"),
    "claims 2^60": (
        struct.pack("<Q", 2**60) + b"{}" * 20,
        "claims a header of 1152921504606846976",
    ),
    "claims 2^64 - 1": (b"\xff" * 8 + b"{}", "claims a header"),
    "header cut": (struct.pack("<Q", 100) + b'{"a"', "its header takes 100 bytes"),
    "data cut": (header(f'{{"a": {entry()}}}', b"123"), "truncated: .* 4 bytes of values, 3"),
    "data too long": (
        header(f'{{"a": {entry()}}}', b"12345"),
        "promises 4 bytes of values, 5 are there",
    ),
    "no JSON": (header("{]"), "corrupt: .*JSON"),
    "a list": (header("[]"), "corrupt: .*JSON"),
    "deep": (header('{"a":' + "[" * 100_000), "corrupt"),
    "dtype unknown": (header(f'{{"a": {entry("F77")}}}', b"1234"), "corrupt"),
    "dtype text": (header(f'{{"a": {entry(shape="7")}}}', b"1234"), "corrupt"),
    "wrong size": (header(f'{{"a": {entry(shape="[2]")}}}', b"1234"), "corrupt"),
    "size overflows": (
        header(f'{{"a": {entry(shape="[4294967296, 4294967296, 4294967296]")}}}', b"1234"),
        "corrupt",
    ),
    "negative": (header(f'{{"a": {entry(shape="[-1]")}}}', b"1234"), "corrupt"),
    "overlap": (
        header(f'{{"a": {entry()}, "b": {entry(offsets="[2, 6]")}}}', b"123456"),
        "corrupt",
    ),
    "hole": (header(f'{{"a": {entry()}, "b": {entry(offsets="[8, 12]")}}}', b"1" * 12), "corrupt"),
    "offsets backwards": (header(f'{{"a": {entry(offsets="[4, 0]")}}}', b"1234"), "corrupt"),
    "twice": (header(f'{{"a": {entry()}, "a": {entry("I32")}}}', b"1234"), "names an array twice"),
    "four bits": (header(f'{{"a": {entry("F4", "[8]")}}}', b"1234"), "NumPy cannot read|corrupt"),
    "torch.save": (zipped(), "zip archive(.|\n)*pickles run code"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle(.|\n)*never read"),
    "npy": (b"\x93NUMPY\1\0" + b"\0" * 100, "an array of NumPy's"),
    "web page": (b"<!DOCTYPE html>" + b" " * 100, "a web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": (b"Once upon a time there was a file", "claims a header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_with_its_remedy(tmp_path: Path, name: str):
    path = tmp_path / "model.safetensors"
    data, message = HOSTILE[name]
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "hint: " in str(caught.value)


def test_no_file_and_a_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="does not exist") as caught:
        load(tmp_path / "none")
    assert isinstance(caught.value, DataError)
    with pytest.raises(DataError, match=r"is a folder(.|\n)*Checkpoint"):
        load(tmp_path)


def test_no_pickle_is_run(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "a").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError):
        load(tmp_path / "a")
    with pytest.raises(DTypeError):
        save({"a": np.array([Trap()])}, tmp_path / "b")
    assert not (tmp_path / "sprung").exists()


# --- damage anywhere ---

EXAMPLE = {
    "model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": ge.ones(2)},
    "step": 12, "lr": 0.125, "names": ("a", None), 7: [True, np.int16(3)], "none": np.zeros((0, 3)),
}  # fmt: skip


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("example") / "file"
    save(EXAMPLE, path)
    return path.read_bytes()


def test_cut_anywhere(tmp_path: Path, example: bytes):
    path = tmp_path / "file"
    for length in [*range(0, len(example), 7), len(example) - 1]:
        path.write_bytes(example[:length])
        with pytest.raises(DataError, match="truncated"):
            load(path)


def test_flip_anything(tmp_path: Path, example: bytes):
    """A byte changed anywhere is told, unless it changes nothing that is loaded."""
    path = tmp_path / "file"
    rng = np.random.default_rng(0)
    refused: list[str] = []
    for at in range(len(example)):
        damaged = bytearray(example)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            got = load(path)
        except DataError as error:
            refused.append(str(error))
        else:
            identical(got, EXAMPLE)
    assert len(refused) > 0.95 * len(example)
    assert all(str(path) in message for message in refused)


def test_bits_of_a_foreign_header(tmp_path: Path):
    """Without our checksums a flip may go unseen, but nothing other than DataError comes out."""
    path = tmp_path / "file"
    safetensors.numpy.save_file({"weight": np.ones((2, 3)), "n": np.arange(3)}, path)
    whole = path.read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    for at in range(size):
        for bit in (1, 8, 64, 128):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            path.write_bytes(damaged)
            try:
                got = load(path)
            except DataError:
                continue
            assert isinstance(got, dict)


@pytest.mark.parametrize(
    "structure",
    [
        "[]", "{", '{"version": 1}', '{"version": 1, "tensors": [], "root": 1}',
        '{"version": "x", "tensors": {}, "root": 1}', '{"version": 1, "tensors": {}, "root": {}}',
        '{"version": 1, "tensors": {}, "root": {"tensor": "none"}}',
        '{"version": 1, "tensors": {}, "root": {"tensor": ["list"]}}',
        '{"version": 1, "tensors": {}, "root": {"os.system": "x"}}',
        '{"version": 1, "tensors": {}, "root": {"items": [[[], 1]]}}',
        '{"version": 1, "tensors": {}, "root": {"items": 3}}',
        '{"version": 1, "tensors": {}, "root": {"dict": 3}}',
        '{"version": 1, "tensors": {}, "root": {"complex": ["x", "y"]}}',
        '{"version": 1, "tensors": {}, "root": {"float": []}}',
        '{"version": 1, "tensors": {"a": {}}, "root": 1}',
        '{"version": 1, "tensors": {}, "root": ' + '{"tuple": [' * 50_000 + "]}" * 50_000 + "}",
        '{"version": 2, "tensors": {}, "root": 1}',
    ],
)  # fmt: skip
def test_a_hostile_structure(tmp_path: Path, structure: str):
    metadata = {
        "gradengine": structure,
        "gradengine.crc32": str(zlib.crc32(structure.encode())),
    }
    safetensors.numpy.save_file({}, tmp_path / "a", metadata=metadata)
    with pytest.raises(DataError, match=r"corrupt|version 2") as caught:
        load(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


def test_a_structure_whose_arrays_differ(tmp_path: Path):
    save({"x": np.arange(4)}, tmp_path / "a")
    with safetensors.safe_open(tmp_path / "a", framework="np") as file:
        metadata = file.metadata()
    for arrays in [{}, {"x": np.arange(4.0)}, {"x": np.arange(4).reshape(2, 2)}, {"y": np.ones(1)}]:
        safetensors.numpy.save_file(arrays, tmp_path / "a", metadata=metadata)
        with pytest.raises(DataError, match="corrupt"):
            load(tmp_path / "a")
    text = json.loads(metadata["gradengine"])
    assert text["tensors"]["x"]["dtype"] == "int64"
