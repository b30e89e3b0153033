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
from gradengine.errors import DataError, hinted
from gradengine.files import MissingDataError as MissingDataError

Array = Any

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
PARTS = {"train": "train", "test": "t10k"}
AGAIN = "fetch the file again"


# --- one file ------------------------------------------------------------------------------------


def read_idx(path: str | Path) -> Array:
    """The array in an IDX file, in native byte order; gzip is recognised by content, not by name.

    Raises DataError for a missing, corrupt, truncated, overlong or foreign file.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     file.flush()
    ...     read_idx(file.name)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    raw = _decompressed(path)
    dtype, shape, start = _header(path, raw)
    expected, present = math.prod(shape) * dtype.itemsize, len(raw) - start
    promise = f"its header promises shape {shape}, {expected} bytes, but {present} follow"
    if present < expected:
        raise DataError(hinted(f"{path}: truncated: {promise}", AGAIN))
    if present > expected:
        raise DataError(hinted(f"{path}: {present - expected} bytes too many: {promise}", AGAIN))
    try:
        values = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    except ValueError as error:  # 65 dimensions and more, or 0 times 2**96
        text = f"{path}: its header promises shape {shape}, which no array has ({error})"
        raise DataError(hinted(text, "is this the right file?")) from error
    return values.astype(dtype.newbyteorder("="))  # a copy: writable, native byte order


def _decompressed(path: Path) -> bytes:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingDataError(hinted(f"{path} {what}", "give the path of an IDX file"))
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError as error:
        text = f"{path}: truncated: the gzip stream ends early, after {len(raw)} bytes"
        raise DataError(hinted(text, AGAIN)) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(hinted(f"{path}: corrupt gzip stream ({error})", AGAIN)) from error


def _header(path: Path, raw: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    if not raw:
        raise DataError(hinted(f"{path}: the file is empty", AGAIN))
    if raw.lstrip()[:1] == b"<":
        hint = "the download brought an error page; fetch the file again, or from another mirror"
        raise DataError(hinted(f"{path}: this is a web page, not an IDX file", hint))
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in DTYPES:
        known = ", ".join(f"{code:02x}" for code in DTYPES)
        text = (
            f"{path}: wrong magic number 0x{raw[:4].hex()}: "
            f"an IDX file begins 0000TTDD with a type TT of {known}"
        )
        raise DataError(hinted(text, "is this the right file?"))
    dtype, dimensions = np.dtype(DTYPES[raw[2]]), raw[3]
    start = 4 + 4 * dimensions
    if len(raw) < start:
        text = (
            f"{path}: truncated: the header of a {dimensions}-dimensional array is {start} bytes, "
            f"the file has {len(raw)}"
        )
        raise DataError(hinted(text, AGAIN))
    return dtype, struct.unpack(f">{dimensions}I", raw[4:start]), start


# --- a folder of four ----------------------------------------------------------------------------


def load_mnist(folder: str | Path, part: str = "train") -> Dataset:
    """The `part` ("train" or "test") of MNIST, or of any set laid out like it, from `folder`.

    It looks for `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (`t10k-` for the test),
    with `.` for the second `-` as some mirrors have it, and with or without `.gz`.
    Raises DataError for a missing or wrong file.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise ValueError(f"load_mnist: part is 'train' or 'test', got {part!r}")
    images_path = _find(folder, f"{PARTS[part]}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{PARTS[part]}-labels", "idx1-ubyte")
    images = _expect(images_path, "images", dimensions=3)
    labels = _expect(labels_path, "labels", dimensions=1)
    if len(images) != len(labels):
        text = f"{images_path} holds {len(images)} images but {labels_path} {len(labels)} labels"
        raise DataError(hinted(text, "the files belong to different parts; fetch both again"))
    if len(images) == 0:
        raise DataError(hinted(f"{images_path}: no images in it", AGAIN))
    return Dataset(f"{folder.name}/{part}", images, labels, classes=int(labels.max()) + 1)


def has_part(folder: str | Path, part: str) -> bool:
    """Whether `folder` has an images or a labels file of `part`, so that loading it makes sense."""
    kinds = ("images", "labels")
    return any(path for kind in kinds for path in Path(folder).glob(f"{PARTS[part]}-{kind}*"))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}{suffix}" for dot in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        hint = f"give the folder that holds {names[1]}"
        raise MissingDataError(hinted(f"{folder}: no such folder", hint))
    present = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(present[:8]) + (", ..." if len(present) > 8 else "")
    text = f"{folder}: none of {', '.join(names)} is there (found: {shown or 'nothing'})"
    raise MissingDataError(hinted(text, f"copy {names[1]} into this folder"))


def _expect(path: Path, what: str, dimensions: int) -> Array:
    array = read_idx(path)
    if array.ndim != dimensions:
        other = {1: "labels", 3: "images"}.get(array.ndim, "neither images nor labels")
        text = (
            f"{path}: mislabelled: {what} have {dimensions} dimensions, this array has "
            f"{array.ndim}, shape {array.shape}: it holds {other}"
        )
        raise DataError(hinted(text, "were the images file and the labels file swapped?"))
    if array.dtype != np.uint8:
        text = f"{path}: mislabelled: {what} are unsigned bytes, this array is {array.dtype}"
        raise DataError(hinted(text, "is this the right file?"))
    return array
