"""`ge.save` and `ge.load`: nested containers of arrays in one safetensors file, without pickle.

The arrays are ordinary safetensors tensors, so other libraries read them by their names; how they
were nested, and every plain value, stands as JSON in the file's metadata together with checksums.
A file that others wrote has no such JSON: it loads as a dict of tensors.

Source: the format, https://github.com/huggingface/safetensors (its README).

Floor 6: stands on conversion.py, device.py, files.py and damage.py.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import zlib
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from ..conversion import as_device, made
from ..device import Array, bare, current_device, is_array, move, to_numpy
from ..dtypes import as_dtype
from ..errors import DataError, DTypeError, hinted
from ..files import replacing
from ..tape import Traced
from .damage import HEADER_LIMIT, check_file, check_keys, corrupt, explained

Node = Any
"""What JSON can say: None, bool, int, float, str, a list, or a dict with one key, the kind."""

VERSION = 1
STRUCTURE, CHECKSUM = "gradengine", "gradengine.crc32"
DTYPES = {"bool", "float16", "bfloat16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
PAIRS = {"complex64": "float32", "complex128": "float64"}
"""Complex arrays are stored as pairs: a last axis of real and imaginary part."""
INTEGER_BITS = 2048
"""What Python reads back however it is set (`sys.set_int_max_str_digits` is 640 or more)."""


# --- the two functions ---


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write `obj` to `path` as safetensors: the whole file or nothing (see files.py).

    `obj` nests dicts, lists and tuples of tensors, arrays, NumPy scalars, numbers, strings, bools
    and None. dtypes: bool, integers, float16, bfloat16, float32, float64; complex arrays are
    stored as pairs of reals. Only values are kept: no history, no `requires_grad`, no device.
    A tensor that occurs twice is stored once, under the first of its names, and is one tensor
    again when loaded. Named tuples come back as tuples, subclasses of dict as dicts.
    In the file an array is named by its keys joined with dots, so `save(model.state_dict(), p)` is
    what `safetensors.torch.load_file(p)` reads. Raises DTypeError for what cannot be stored.

    >>> import tempfile
    >>> import gradengine as ge
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"w": ge.ones(2), "shape": (2, None)}, f"{folder}/a.safetensors")
    ...     load(f"{folder}/a.safetensors")
    {'w': tensor([1., 1.]), 'shape': (2, None)}
    """
    packer = _Packer()
    try:
        root = packer.pack(obj, "obj", "")
    except RecursionError:
        raise DTypeError(hinted("save: obj is nested too deeply", "flatten it")) from None
    stored = {name: _storable(array) for name, array in packer.arrays.items()}
    described = {name: _described(packer.arrays[name], x) for name, x in stored.items()}
    text = json.dumps({"version": VERSION, "tensors": described, "root": root}, allow_nan=False)
    if (size := len(json.dumps(text)) + 200 * len(stored)) > HEADER_LIMIT:
        raise DTypeError(
            hinted(
                f"save: {size} bytes of names and plain values; a file holds {HEADER_LIMIT}",
                "make arrays of long lists of numbers: np.asarray(values)",
            )
        )
    with replacing(path) as new:
        _write(new, stored, {STRUCTURE: text, CHECKSUM: str(zlib.crc32(text.encode()))})


def load(path: str | os.PathLike[str], *, device: Any = None) -> Any:
    """What `save` wrote to `path`; of a safetensors file by others, a dict of its tensors.

    Tensors come to `device` (default: the current one) one by one, without a gradient; NumPy
    arrays stay NumPy's unless `device` is given. Raises DataError, which names the file, for one
    that is missing, truncated, corrupt or of another kind; every array is held to its checksum.
    """
    path = Path(path)
    check_file(path)
    try:
        return _read(path, device)
    except RecursionError as error:
        raise corrupt(path, "its structure is nested too deeply") from error


# --- packing ---


class _Packer:
    """Splits a nested object into arrays by name and what JSON can say of the rest."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._names: dict[int, str] = {}  # by id of the array, so that shared ones are stored once
        self._open: set[int] = set()  # containers being walked: one that holds itself has no end

    def pack(self, x: Any, where: str, name: str) -> Node:
        if isinstance(x, Traced):
            return {"tensor": self._stored(x.array, where, name)}
        if is_array(x):
            return {"array": self._stored(bare(x), where, name)}
        if isinstance(x, np.generic):
            return {"scalar": self._stored(np.asarray(cast(Any, x)), where, name)}
        if x is None or isinstance(x, (bool, str)):
            return x if x is None or isinstance(x, bool) else str(x)
        if isinstance(x, int):
            return _whole(x, where)
        if isinstance(x, float):
            return float(x) if math.isfinite(x) else {"float": repr(float(x))}
        if isinstance(x, complex):
            return {"complex": [repr(x.real), repr(x.imag)]}
        if isinstance(x, (dict, list, tuple)):
            return self._container(cast(Any, x), where, name)
        _refuse(x, where)

    def _container(self, x: Any, where: str, name: str) -> Node:
        if id(x) in self._open:
            raise DTypeError(hinted(f"save: {where} holds itself", "save a tree"))
        self._open.add(id(x))
        kind: type[Any] = x.__class__
        if issubclass(kind, dict):
            found = self._dict(x, where, name)
        else:
            parts: Any = enumerate(x)
            packed = [self.pack(v, f"{where}[{i}]", _joined(name, i)) for i, v in parts]
            found = {"tuple": packed} if issubclass(kind, tuple) else packed
        self._open.discard(id(x))
        return found

    def _dict(self, x: dict[Any, Any], where: str, name: str) -> Node:
        values = [self.pack(v, f"{where}[{k!r}]", _joined(name, k)) for k, v in x.items()]
        if all(type(k) is str for k in x):
            return {"dict": dict(zip(x, values, strict=True))}
        keys = [self._key(k, where) for k in x]
        return {"items": [list(pair) for pair in zip(keys, values, strict=True)]}

    def _key(self, key: Any, where: str) -> Node:
        kind: type[Any] = key.__class__
        if key is None or issubclass(kind, (tuple, str, bool, int, float)):
            before = len(self.arrays)
            packed = self.pack(key, f"a key of {where}", "")
            if len(self.arrays) == before:
                return packed
        text = f"save: {where} has the key {key!r}, a {kind.__name__}"
        raise DTypeError(hinted(text, "keys are strings, numbers, bools, None and tuples of those"))

    def _stored(self, array: Array, where: str, name: str) -> str:
        if array.dtype.name not in DTYPES and array.dtype.name not in PAIRS:
            hint = "convert it: x.astype('float32'), or text to numbers; no pickle is written"
            raise DTypeError(hinted(f"save: {where} has dtype {array.dtype}", hint))
        known = self._names.get(id(array))
        if known is not None:
            return known
        if not name.isascii() and any("\ud800" <= c <= "\udfff" for c in name):
            text = f"save: {where} has a name that is no Unicode text: {name!r}"
            raise DTypeError(hinted(text, "surrogates come from file names; use another key"))
        free, count = name or "tensor", 1
        while free in self.arrays or free == "__metadata__":
            count += 1
            free = f"{name or 'tensor'}~{count}"
        self.arrays[free] = array  # kept alive, so that its id stays its own
        self._names[id(array)] = free
        return free


def _whole(x: int, where: str) -> int:
    """A number that can be written as JSON and read again: Python limits the digits it reads."""
    if abs(x) >> INTEGER_BITS:
        text = f"save: {where} is an integer of {x.bit_length()} bits"
        raise DTypeError(hinted(text, f"integers have up to {INTEGER_BITS}; store it as text"))
    return int(x)


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _refuse(x: Any, where: str) -> NoReturn:
    kind: type[Any] = x.__class__
    hint = "store arrays, numbers, strings, bools, None, and dicts, lists and tuples of them"
    if hasattr(x, "state_dict"):
        hint = "store its x.state_dict()"
    elif issubclass(kind, (bytes, bytearray)):
        hint = "store np.frombuffer(data, np.uint8)"
    elif issubclass(kind, (set, frozenset)):
        hint = "store a sorted list"
    raise DTypeError(hinted(f"save: {where} is a {kind.__name__}", hint))


def _storable(array: Array) -> Array:
    """In host memory, native byte order and C order, its shape kept.

    The library takes the bytes from the first on as if they were in C order (its issue 825), so
    that transposed arrays would be stored wrong without a word. NumPy's ascontiguousarray makes
    0-d arrays 1-d, hence the reshape.
    """
    host = to_numpy(array)
    pairs = PAIRS.get(host.dtype.name)
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    solid = np.ascontiguousarray(host).reshape(host.shape)
    return solid if pairs is None else solid.reshape(*host.shape, 1).view(pairs)


def _described(array: Array, stored: Array) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "crc32": _crc(stored)}


def _crc(solid: Array) -> int:
    return zlib.crc32(solid.reshape(-1).view(np.uint8)) if solid.size else 0


# --- writing ---

CODES = {"bool": "BOOL", "bfloat16": "BF16"}


def _write(path: Path, arrays: dict[str, Array], metadata: dict[str, str]) -> None:
    """The format: the header's length as 8 bytes, the header as JSON, padded to 8, the values.

    Written here and not by the format's library, which puts a temporary file of its own into the
    folder and leaves it there when it is killed. Arrays stand in falling order of their item size,
    so that each is aligned.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    names = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    end = 0
    for name in names:
        x, begin = arrays[name], end
        end += x.nbytes
        code = CODES.get(x.dtype.name, f"{x.dtype.kind.upper()}{8 * x.itemsize}")
        header[name] = {"dtype": code, "shape": list(x.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            if arrays[name].size:
                file.write(arrays[name].reshape(-1).view(np.uint8).data)


# --- reading ---


def _read(path: Path, device: Any) -> Any:
    library = importlib.import_module("safetensors")  # not before: most programs never load
    try:
        with library.safe_open(path, framework="np") as file:
            names = list(file.keys())
            structure = _structure(path, file.metadata() or {})
            if structure is None:
                check_keys(path, names)
                return {name: made(_placed(_tensor(path, file, name), device)) for name in names}
            unpacker = _Unpacker(path, file, structure, device)
            if set(names) != set(unpacker.described):
                raise corrupt(path, "its arrays are not those that its metadata list")
            return unpacker.unpack(structure["root"])
    except (library.SafetensorError, OSError) as error:
        raise explained(path, str(error)) from error


def _tensor(path: Path, file: Any, name: str) -> Array:
    try:
        return file.get_tensor(name)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        hint = "convert it where it was written, to float32 or bfloat16 for example"
        text = f"{path}: {name!r} has a dtype that NumPy cannot read ({error})"
        raise DataError(hinted(text, hint)) from error


def _placed(array: Array, device: Any) -> Array:
    return move(array, current_device() if device is None else as_device(device))


def _structure(path: Path, metadata: dict[str, str]) -> Any:
    """What `save` wrote of the nesting; None where the file comes from others."""
    text, checksum = metadata.get(STRUCTURE), metadata.get(CHECKSUM)
    if text is None and checksum is None:
        return None
    if text is None or checksum != str(zlib.crc32(text.encode("utf-8", "surrogatepass"))):
        raise corrupt(path, "its metadata do not have their checksum")
    try:
        found = json.loads(text)
        version = int(found["version"])
        if version == VERSION and isinstance(found["tensors"], dict) and "root" in found:
            return found
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(path, f"its metadata are no structure of gradengine's ({error})") from error
    if version > VERSION:
        text = f"{path}: version {version} of gradengine's structure; this one reads {VERSION}"
        raise DataError(hinted(text, "pip install --upgrade gradengine"))
    raise corrupt(path, "its metadata are no structure of gradengine's")


class _Unpacker:
    """Builds the object again, reading each array when it is met, each once."""

    def __init__(self, path: Path, file: Any, structure: dict[str, Any], device: Any) -> None:
        self.path, self.file, self.device = path, file, device
        self.described: dict[str, Any] = structure["tensors"]
        self._found: dict[tuple[str, str], Any] = {}

    def unpack(self, node: Node) -> Any:
        if isinstance(node, list):
            return [self.unpack(x) for x in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        try:
            ((kind, value),) = cast("dict[str, Any]", node).items()
            return self._build(kind, value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            text = f"its metadata are no structure of gradengine's ({error!r})"
            raise corrupt(self.path, text) from error

    def _build(self, kind: str, value: Any) -> Any:
        if kind in ("tensor", "array", "scalar"):
            if (kind, value) not in self._found:
                self._found[kind, value] = self._array(kind, value)
            return self._found[kind, value]
        if kind == "dict":
            return {key: self.unpack(x) for key, x in value.items()}
        if kind == "items":
            return {self.unpack(key): self.unpack(x) for key, x in value}
        if kind == "tuple":
            return tuple([self.unpack(x) for x in value])
        if kind == "float":
            return float(value)
        if kind == "complex":
            return complex(float(value[0]), float(value[1]))
        raise ValueError(f"kind {kind!r}")

    def _array(self, kind: str, name: str) -> Any:
        said = self.described[name]
        dtype, shape = as_dtype(said["dtype"]), tuple(said["shape"])
        array = _tensor(self.path, self.file, name)
        if _crc(array) != said["crc32"]:
            raise corrupt(self.path, f"the values of {name!r} do not have their checksum")
        if dtype.name in PAIRS:
            array = array.view(dtype).reshape(array.shape[:-1])
        if array.shape != shape or array.dtype != dtype:
            text = f"{name!r} is {array.shape} {array.dtype}, its metadata say {shape} {dtype}"
            raise corrupt(self.path, text)
        if kind == "scalar":
            return array[()]
        if kind == "tensor":
            return made(_placed(array, self.device))
        return array if self.device is None else _placed(array, self.device)
