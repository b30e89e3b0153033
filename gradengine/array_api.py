"""What the array API standard (2024.12) asks of a namespace besides functions: dtypes, devices.

https://data-apis.org/array-api/2024.12/

Floor 5: stands on tensor.py.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, cast

import numpy as np

from . import ops
from .conversion import DeviceLike, DTypeLike, as_device, asarray
from .device import CPU, Device, cuda_is_available, current_device, import_cupy
from .dtypes import as_dtype, get_default_dtype
from .errors import DTypeError, hinted
from .tape import Traced
from .tensor import Tensor

# --- dtypes ---

KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"] + KINDS["complex floating"]


class FloatInfo(NamedTuple):
    """Limits of a floating-point dtype, as Python floats."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Any


class IntInfo(NamedTuple):
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: Any


def _dtype_of(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") and not isinstance(x, type) else as_dtype(x)


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype (of its parts, for a complex one), or of a tensor's.

    >>> finfo("float32").bits, finfo("bfloat16").eps
    (32, 0.0078125)
    """
    dtype = _dtype_of(type)
    info: Any
    if dtype.name == "bfloat16":
        info = importlib.import_module("ml_dtypes").finfo(dtype)
    elif dtype.kind in "fc":
        info = np.finfo(dtype)
    else:
        raise DTypeError(hinted(f"finfo: {dtype} is no floating-point dtype", "use ge.iinfo"))
    eps, top, bottom = float(info.eps), float(info.max), float(info.min)
    normal = float(info.smallest_normal)
    return FloatInfo(int(info.bits), eps, top, bottom, normal, np.dtype(info.dtype))


def iinfo(type: Any, /) -> IntInfo:
    """Limits of an integer dtype, or of a tensor's.

    >>> iinfo("int8").max
    127
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise DTypeError(hinted(f"iinfo: {dtype} is no integer dtype", "use ge.finfo"))
    info = np.iinfo(dtype)
    return IntInfo(int(info.bits), int(info.max), int(info.min), dtype)


def isdtype(dtype: DTypeLike, kind: Any) -> bool:
    """Whether a dtype is `kind`: a dtype, a kind ("real floating", "integral", ...), or a tuple.

    >>> isdtype("float16", "real floating"), isdtype("int8", ("bool", "integral"))
    (True, True)
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in cast(Any, kind))
    found = as_dtype(dtype)
    if isinstance(kind, str) and kind in KINDS:
        return found.name in KINDS[kind]
    if isinstance(kind, str) and kind not in KINDS["numeric"]:
        listed = ", ".join(repr(k) for k in KINDS)
        raise ValueError(hinted(f"isdtype: no kind {kind!r}", f"one of {listed}, or a dtype"))
    return bool(found == as_dtype(kind))


def can_cast(from_: Any, to: DTypeLike, /) -> bool:
    """Whether values of one dtype (or of a tensor) become another without loss of kind or range.

    >>> can_cast("int8", "int16"), can_cast("float64", "float32")
    (True, False)
    """
    return bool(np.can_cast(_dtype_of(from_), as_dtype(to)))


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that an operation on the arguments has; Python numbers are weak (NEP 50).

    >>> result_type("int8", "int16"), result_type(as_dtype("float32"), 2.5)
    (dtype('int16'), dtype('float32'))
    """
    given = [
        x if isinstance(x, (bool, int, float, complex)) else _dtype_of(x) for x in arrays_and_dtypes
    ]
    try:
        return np.result_type(*given)
    except TypeError as error:
        listed = ", ".join(str(x) for x in given)
        raise DTypeError(
            hinted(f"result_type: no common dtype of {listed} ({error})", "convert with x.astype")
        ) from None


def astype(x: Any, dtype: DTypeLike, /, *, copy: bool = True, device: DeviceLike = None) -> Tensor:
    """`x` as another dtype, on the tape; itself if it is that already and `copy` is false.

    >>> astype(asarray([1, 2]), "float32")
    tensor([1., 2.])
    """
    t = x if isinstance(x, Traced) else asarray(x)
    out = ops.astype(t, as_dtype(dtype), copy=copy)
    return out if device is None else out.to(device=as_device(device))


# --- what this namespace can do ---


class Info:
    """Answers to `__array_namespace_info__()`."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and data-dependent shapes work; 64 axes at most."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where new tensors are made."""
        return current_device()

    def default_dtypes(self, *, device: DeviceLike = None) -> dict[str, Any]:
        """The dtypes of Python numbers: float32 unless `ge.set_default_dtype` says otherwise."""
        real = get_default_dtype()
        size = "complex128" if real.itemsize > 4 else "complex64"
        integer = np.dtype("int64")
        return {
            "real floating": real,
            "complex floating": np.dtype(size),
            "integral": integer,
            "indexing": integer,
        }

    def dtypes(self, *, device: DeviceLike = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes by name, all or those of a kind (or of a tuple of kinds)."""
        names = [n for n in ("bool", *KINDS["numeric"]) if n not in ("float16", "bfloat16")]
        return {n: np.dtype(n) for n in names if kind is None or isdtype(n, kind)}

    def devices(self) -> list[Device]:
        """The CPU, and the GPUs that CuPy finds."""
        if not cuda_is_available():
            return [CPU]
        count = import_cupy().cuda.runtime.getDeviceCount()
        return [CPU, *(Device(i) for i in range(count))]


def __array_namespace_info__() -> Info:
    """What the standard wants to know of a namespace.

    >>> __array_namespace_info__().default_dtypes()["real floating"]
    dtype('float32')
    """
    return Info()
