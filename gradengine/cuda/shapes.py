"""How work is laid out for our kernels: C++ names of dtypes, grids, alignment, joined dimensions.

Shared by the launch modules; knows no particular kernel. Everything here is arithmetic on shapes
and strides in Python, so it runs and is tested without a GPU.

Floor 1: stands on kernels.py and errors.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from ..errors import DTypeError, ShapeError, hinted
from .kernels import backend

Array: TypeAlias = Any

THREADS = 256
_BFLOAT16: Any = getattr(ml_dtypes, "bfloat16")  # noqa: B009  # the package has no types
MAX_DIMENSIONS = 6  # of Layout in kernels/layout.cuh
LIMIT = 2**31  # elements in one strided launch; a test lowers it

C_TYPES: dict[Any, str] = {
    np.dtype(np.float16): "f16",
    np.dtype(_BFLOAT16): "bf16",
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}
"""The dtypes our kernels take, by their name in kernels/common.cuh."""


# --- dtypes --------------------------------------------------------------------------------------


def c_type(dtype: Any) -> str:
    """The C++ name of a dtype; DTypeError for one that no kernel takes.

    >>> c_type(np.float32)
    'float'
    """
    found = C_TYPES.get(dtype) or C_TYPES.get(np.dtype(dtype))
    if found is None:
        raise DTypeError(
            hinted(
                f"kernels: no kernel takes {np.dtype(dtype)}",
                "use float16, bfloat16, float32 or float64",
            )
        )
    return found


def supported(dtype: Any) -> bool:
    """Whether our kernels take this dtype."""
    return dtype in C_TYPES


def accumulator(dtype: Any) -> Any:
    """The dtype that sums of `dtype` are kept in: float32, or float64 for float64."""
    return _DOUBLE if dtype == _DOUBLE else _SINGLE


_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def width(dtype: Any) -> int:
    """Elements in 16 bytes."""
    return 16 // (dtype.itemsize if dtype.__class__ is not type else np.dtype(dtype).itemsize)


def one_dtype(name: str, *arrays: Array) -> str:
    """The C++ name of the dtype that all arrays share; DTypeError otherwise."""
    first = arrays[0].dtype
    for x in arrays[1:]:
        if x is not None and x.dtype != first:
            raise DTypeError(
                hinted(f"{name}: dtypes {first} and {x.dtype}", "cast one: x.astype(y.dtype)")
            )
    return c_type(first)


def same_shape(name: str, *arrays: Array) -> None:
    """ShapeError unless all arrays have the first one's shape."""
    for x in arrays[1:]:
        if x is not None and x.shape != arrays[0].shape:
            raise ShapeError(
                hinted(f"{name}: shapes {arrays[0].shape} and {x.shape}", "give them equal shapes")
            )


# --- memory --------------------------------------------------------------------------------------


def scalar(dtype: Any, value: float) -> Any:
    """A number in a dtype, rounded as NumPy does, as the module struct packs it (see SCALAR)."""
    char = dtype.char
    if char == "d" or (char == "f" and -1e38 < value < 1e38):
        return float(value)
    with np.errstate(over="ignore"):
        found = np.asarray(value, np.float64).astype(dtype)
    return int(found.view(np.uint16)) if char == "E" else float(found)


SCALAR = {"e": "e", "E": "H", "f": "f", "d": "d"}
"""The code of the module struct for one number of a dtype, by the dtype's character."""


def at(*arrays: Array | None) -> tuple[int, ...]:
    """The addresses of arrays, 0 for None."""
    pointer = backend().pointer
    return tuple([0 if x is None else pointer(x) for x in arrays])


def aligned(*arrays: Array, bytes: int = 16) -> bool:
    """Whether every array starts on a 16-byte boundary."""
    pointer = backend().pointer
    for x in arrays:  # noqa: SIM110  # a generator would cost as much as all the rest
        if x is not None and pointer(x) % bytes:
            return False
    return True


def dense(*arrays: Array) -> bool:
    """Whether every array is C-contiguous and starts on a 16-byte boundary."""
    chosen = backend()
    for x in arrays:
        if x is not None and (not chosen.contiguous(x) or chosen.pointer(x) % 16):
            return False
    return True


def lanes(columns: int, dtype: Any, *arrays: Array) -> int:
    """Elements per access for rows of `columns`: 16 bytes if every row starts on that boundary."""
    n = width(dtype)
    return n if columns % n == 0 and aligned(*arrays) else 1


# --- grids ---------------------------------------------------------------------------------------


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n.

    >>> power_of_two(5)
    8
    """
    return 1 << max(n - 1, 0).bit_length()


def blocks(work: int, per_block: int, waves: int = 32) -> int:
    """Blocks for `work` items, at most `waves` per multiprocessor: kernels loop over the rest."""
    return max(1, min(ceil_div(work, per_block), waves * backend().multiprocessors()))


@dataclass(frozen=True)
class Grid:
    """A launch shape."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]


def matrix_grid(rows: int, vectors: int) -> Grid:
    """Blocks of 256 threads over rows x vectors: narrow rows share a block."""
    return _matrix_grid(rows, vectors, 32 * backend().multiprocessors())


@lru_cache(maxsize=4096)
def _matrix_grid(rows: int, vectors: int, limit: int) -> Grid:
    x = min(THREADS, power_of_two(max(vectors, 1)))
    y = THREADS // x
    across = max(1, min(ceil_div(vectors, x), limit))
    down = max(1, min(ceil_div(rows, y), 65535, limit))
    return Grid((across, down, 1), (x, y, 1))


# --- functors ------------------------------------------------------------------------------------


_NOTHING = ctypes.c_char(b"\0")


def members(dtype: Any, parameters: Sequence[float]) -> Any:
    """A functor's members as a C struct: floats or doubles in order, one byte if there are none."""
    if not parameters:
        return _NOTHING
    kind = ctypes.c_double if np.dtype(dtype) == np.float64 else ctypes.c_float
    return (kind * len(parameters))(*parameters)


# --- any strides ---------------------------------------------------------------------------------


class FastDivisor(ctypes.Structure):
    """FastDivisor of kernels/common.cuh."""

    _fields_ = (
        ("divisor", ctypes.c_uint32),
        ("multiplier", ctypes.c_uint32),
        ("shift", ctypes.c_uint32),
    )


@lru_cache(maxsize=4096)
def divisor(d: int) -> tuple[int, int, int]:
    """Divisor, multiplier and shift with n // d == (n * multiplier // 2**32 + n) >> shift.

    Exact for every n below 2**31 (Granlund and Montgomery 1994).

    >>> d, m, s = divisor(7)
    >>> all(((n * m >> 32) + n) >> s == n // 7 for n in (0, 6, 7, 2**31 - 1))
    True
    """
    shift = max(d - 1, 0).bit_length()
    return d, ((2**32 * (2**shift - d)) // d + 1) & 0xFFFFFFFF, shift


@lru_cache(maxsize=8)
def _layout_type(operands: int) -> type[ctypes.Structure]:
    class Layout(ctypes.Structure):
        _fields_ = (
            ("dimensions", ctypes.c_uint32),
            ("size", FastDivisor * MAX_DIMENSIONS),
            ("stride", (ctypes.c_int64 * operands) * MAX_DIMENSIONS),
        )

    return Layout


Dimension: TypeAlias = tuple[int, tuple[int, ...]]


def joined(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Dimension]:
    """Dimensions innermost first, (size, stride of each operand), with neighbours joined.

    Dimensions of size one go; two that lie behind one another in every operand become one.

    >>> joined((2, 3, 4), [(12, 4, 1), (0, 0, 0)])
    [(24, (1, 0))]
    """
    result: list[Dimension] = []
    for axis in range(len(shape) - 1, -1, -1):
        size, steps = shape[axis], tuple(s[axis] for s in strides)
        if size == 1:
            continue
        if result:
            inner, below = result[-1]
            if all(outer == inner * step for outer, step in zip(steps, below, strict=True)):
                result[-1] = (inner * size, below)
                continue
        result.append((size, steps))
    return result or [(1, (0,) * len(strides))]


def element_strides(x: Array, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of `x` in elements when broadcast to `shape`: 0 along what it repeats."""
    return broadcast_strides(x.shape, x.strides, x.itemsize, shape)


def broadcast_strides(
    own: Sequence[int], strides: Sequence[int], itemsize: int, shape: Sequence[int]
) -> tuple[int, ...]:
    """Strides in elements of an array of shape `own` when broadcast to `shape`."""
    missing = len(shape) - len(own)
    found = (
        0 if size == 1 and wanted != 1 else step // itemsize
        for size, wanted, step in zip(own, shape[missing:], strides, strict=True)
    )
    return (0,) * missing + tuple(found)


def layout(dimensions: Sequence[Dimension]) -> Any:
    """The Layout struct of joined dimensions."""
    if len(dimensions) > MAX_DIMENSIONS:
        raise ShapeError(
            hinted(
                f"kernels: {len(dimensions)} dimensions cannot be joined to {MAX_DIMENSIONS}",
                "make the operands contiguous first",
            )
        )
    struct: Any = _layout_type(len(dimensions[0][1]))()
    struct.dimensions = len(dimensions)
    for d, (size, steps) in enumerate(dimensions):
        struct.size[d] = FastDivisor(*divisor(size))
        for operand, step in enumerate(steps):
            struct.stride[d][operand] = step
    return struct


def broadcast_shape(name: str, *arrays: Array) -> tuple[int, ...]:
    """The shape that the arrays broadcast to; ShapeError with all shapes otherwise."""
    try:
        return np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in arrays)
        raise ShapeError(
            hinted(f"{name}: shapes {shapes} do not broadcast", "align the trailing axes")
        ) from None


def size_of(shape: Sequence[int]) -> int:
    return prod(shape)
