"""IDX, the file format of MNIST and its kin: read whole, checked whole, gzipped or not.

An IDX file is two zero bytes, one byte for the type, one for the number of dimensions, each
dimension as a big-endian unsigned 32-bit integer, then the values, big-endian, last index fastest.
Whatever can be wrong with such a file is told with the remedy before any array is handed out.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gradengine.datasets.dataset import Dataset

Array = Any

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
PARTS = {"train": "train", "test": "t10k"}


class IDXError(ValueError):
    """A file is not the IDX file it should be; the message says why and what to do."""


# --- one file ------------------------------------------------------------------------------------


def read_idx(path: str | Path) -> Array:
    """The array in an IDX file, in native byte order; gzip is recognised by content, not by name.

    Raises FileNotFoundError, or IDXError for a corrupt, truncated, overlong or foreign file.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "three-labels"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    raw = _decompressed(path)
    dtype, shape, start = _header(path, raw)
    expected = math.prod(shape) * dtype.itemsize
    present = len(raw) - start
    if present < expected:
        raise IDXError(
            f"{path}: truncated: its header promises shape {shape}, {expected} bytes, "
            f"but {present} follow\n  hint: the copy stopped early; fetch the file again"
        )
    if present > expected:
        raise IDXError(
            f"{path}: {present - expected} bytes too many: its header promises shape {shape}, "
            f"{expected} bytes, but {present} follow\n"
            "  hint: the header or the end of the file is damaged; fetch the file again"
        )
    values = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))  # a copy: writable, native byte order


def _decompressed(path: Path) -> bytes:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}\n  hint: give the path of an IDX file")
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError as error:
        raise IDXError(
            f"{path}: truncated: the gzip stream ends early after {len(raw)} bytes\n"
            "  hint: the copy stopped early; fetch the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise IDXError(
            f"{path}: corrupt gzip stream ({error})\n  hint: fetch the file again"
        ) from error


def _header(path: Path, raw: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    if not raw:
        raise IDXError(f"{path}: the file is empty\n  hint: fetch the file again")
    if raw.lstrip()[:1] == b"<":
        raise IDXError(
            f"{path}: this is a web page, not an IDX file\n"
            "  hint: the download brought an error page; fetch the file again from its mirror"
        )
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in DTYPES:
        raise IDXError(
            f"{path}: wrong magic number 0x{raw[:4].hex()}: an IDX file begins 0x0000TTDD with a "
            f"type TT of {', '.join(f'{code:02x}' for code in DTYPES)}\n"
            "  hint: is this the right file?"
        )
    dtype, dimensions = np.dtype(DTYPES[raw[2]]), raw[3]
    start = 4 + 4 * dimensions
    if len(raw) < start:
        raise IDXError(
            f"{path}: truncated: the header of a {dimensions}-dimensional array is {start} bytes, "
            f"the file has {len(raw)}\n  hint: the copy stopped early; fetch the file again"
        )
    return dtype, struct.unpack(f">{dimensions}I", raw[4:start]), start


# --- a folder of four ----------------------------------------------------------------------------


def load_mnist(folder: str | Path, part: str = "train") -> Dataset:
    """The `part` ("train" or "test") of MNIST, or of any set laid out like it, from `folder`.

    It looks for `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (`t10k-` for the test part),
    with `.` for the second-last `-` as some mirrors have it, and with or without `.gz`.
    Raises FileNotFoundError for a missing file and IDXError for a wrong one.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise ValueError(f"load_mnist: part is 'train' or 'test', got {part!r}")
    images_path = _find(folder, f"{PARTS[part]}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{PARTS[part]}-labels", "idx1-ubyte")
    images = _expect(images_path, read_idx(images_path), "images", dimensions=3)
    labels = _expect(labels_path, read_idx(labels_path), "labels", dimensions=1)
    if len(images) != len(labels):
        raise IDXError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels"
            "\n  hint: the two files belong to different parts; fetch both again"
        )
    if len(images) == 0:
        raise IDXError(f"{images_path}: no images in it\n  hint: fetch the file again")
    return Dataset(f"{folder.name}/{part}", images, labels, classes=int(labels.max()) + 1)


def has_part(folder: str | Path, part: str) -> bool:
    """Whether `folder` has an images or a labels file of `part`, so that loading it makes sense."""
    stem = PARTS[part]
    return any(Path(folder).glob(f"{stem}-images*")) or any(Path(folder).glob(f"{stem}-labels*"))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}{suffix}" for dot in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder\n  hint: give the folder that holds {names[1]}"
        )
    present = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(present[:8]) + (", ..." if len(present) > 8 else "")
    raise FileNotFoundError(
        f"{folder}: none of {', '.join(names)} is there (found: {shown or 'nothing'})\n"
        f"  hint: copy {names[1]} into this folder"
    )


def _expect(path: Path, array: Array, what: str, dimensions: int) -> Array:
    if array.ndim != dimensions:
        other = {1: "labels", 3: "images"}.get(array.ndim, "neither images nor labels")
        raise IDXError(
            f"{path}: mislabelled: {what} have {dimensions} dimensions, this array has "
            f"{array.ndim}, shape {array.shape}: it holds {other}\n"
            "  hint: were the images file and the labels file swapped?"
        )
    if array.dtype != np.uint8:
        raise IDXError(
            f"{path}: mislabelled: {what} are unsigned bytes, this array is {array.dtype}\n"
            "  hint: is this the right file?"
        )
    return array
