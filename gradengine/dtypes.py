"""dtypes: which ones have gradients, and what Python numbers become.

Floor 0: stands on NumPy alone.
"""

from __future__ import annotations

import importlib
from contextvars import ContextVar
from typing import Any, cast

import numpy as np

from .errors import DTypeError, hinted

_FLOAT32: Any = np.dtype(np.float32)
_default: ContextVar[Any] = ContextVar("gradengine_dtype", default=_FLOAT32)


def is_inexact(dtype: Any) -> bool:
    """Whether elements of `dtype` are real floating-point numbers, bfloat16 included.

    >>> is_inexact(np.dtype("float16")), is_inexact(np.dtype("int8"))
    (True, False)
    """
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name.startswith(("bfloat", "float")))


def default_dtype(data: Any) -> Any:
    """The dtype Python data becomes: None (NumPy's choice) for integers, else the default."""
    if isinstance(data, (bool, int)) or hasattr(data, "dtype"):  # np.float64 is a float too
        return None
    if isinstance(data, float):
        return _default.get()
    if isinstance(data, complex):
        return np.dtype(np.complex64 if _default.get().itemsize <= 4 else np.complex128)
    dtype = np.asarray(data).dtype
    has_arrays = _holds_arrays(data)
    return _default.get() if dtype == np.float64 and not has_arrays else None


def _holds_arrays(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(map(_holds_arrays, cast("list[Any]", data)))
    return hasattr(data, "dtype")


def get_default_dtype() -> Any:
    """The dtype that Python floats become.

    >>> get_default_dtype()
    dtype('float32')
    """
    return _default.get()


def set_default_dtype(dtype: Any) -> None:
    """Make Python floats become `dtype`, in this thread and context."""
    chosen = as_dtype(dtype)
    if not is_inexact(chosen):
        raise DTypeError(hinted(f"set_default_dtype: {chosen} is no real float", "use float32"))
    _default.set(chosen)


def as_dtype(dtype: Any) -> Any:
    """`dtype` as a NumPy dtype; knows `"bfloat16"`.

    >>> as_dtype("bfloat16").itemsize
    2
    """
    if dtype == "bfloat16":
        ml_dtypes: Any = importlib.import_module("ml_dtypes")
        return np.dtype(ml_dtypes.bfloat16)
    try:
        return np.dtype(dtype)
    except TypeError:
        raise DTypeError(
            hinted(f"dtype: {dtype!r} is none", 'use a NumPy dtype or a name such as "float32"')
        ) from None
