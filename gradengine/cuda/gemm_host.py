"""What cuBLASLt computes, said in NumPy over raw host memory: the stand-in device's library.

It follows a `Product` to the letter (column-major matrices, leading dimensions, strides between
batches, flags, epilogues and their aux memory), so what gemm.py describes is tested without a GPU.

Floor 1: stands on cublaslt.py.
"""

from __future__ import annotations

import ctypes
from math import pi, sqrt
from typing import Any, TypeAlias, cast

import ml_dtypes
import numpy as np

from .cublaslt import GemmError, Matrix, Product

__all__ = ["HostGemm"]

Array: TypeAlias = Any


class HostGemm:
    """The library interface of gemm.py; `products` lists what was asked for."""

    name = "host"
    workspace = 1024

    def __init__(self) -> None:
        self.products: list[Product] = []

    def run(
        self,
        product: Product,
        pointers: tuple[int, int, int],
        *,
        bias: int | None,
        aux: int | None,
        workspace: int,
        stream: int,
        device: int,
    ) -> None:
        """Compute at once."""
        for address in (bias, aux):
            if address is not None and address % 16:
                raise GemmError(f"gemm: address {address:#x} of a bias or aux is not aligned to 16")
        self.products.append(product)
        dtype = _dtype(product.dtype)
        for matrix, address in zip((product.a, product.b, product.d), pointers, strict=True):
            _refuse_misaligned(matrix, address)
        a, b, d = (
            _view(address, matrix, product.batch, dtype)
            for matrix, address in zip((product.a, product.b, product.d), pointers, strict=True)
        )
        wide = np.float64 if product.dtype == "float64" else np.float32
        left = a.astype(wide).swapaxes(1, 2) if product.a.transposed else a.astype(wide)
        right = b.astype(wide).swapaxes(1, 2) if product.b.transposed else b.astype(wide)
        y = left @ right
        if product.accumulate:
            y = y + d.astype(wide)
        d[...] = self._epilogue(product, y, right, bias, aux).astype(dtype)

    def _epilogue(
        self, product: Product, y: Array, right: Array, bias: int | None, aux: int | None
    ) -> Array:
        name, dtype = product.epilogue, _dtype(product.dtype)
        if name == "none":
            return y
        if product.batch != 1:
            raise GemmError(f"gemm: epilogue {name} of a batch of {product.batch}")
        rows, cols = product.d.rows, product.d.cols
        if name == "bgradb":  # the sum over what was summed over, of the second operand
            _vector(bias, cols, dtype)[...] = right[0].sum(0).astype(dtype)
            return y
        if name.startswith("d"):
            kept = _aux(aux, product, rows, cols, dtype)
            z = kept().astype(y.dtype)
            y = y * (z if name.startswith("drelu") else _gelu_slope(z))
            if name.endswith("bgrad"):
                _vector(bias, rows, dtype)[...] = y[0].sum(1).astype(dtype)
            return y
        y = y + _vector(bias, rows, dtype).astype(y.dtype)[:, None] if "bias" in name else y
        if "aux" in name:
            _aux(aux, product, rows, cols, dtype)(y[0])
        if name.startswith("relu"):
            return np.maximum(y, 0)
        return _gelu(y) if name.startswith("gelu") else y


# --- memory --------------------------------------------------------------------------------------


def _dtype(name: str) -> Any:
    return np.dtype(getattr(ml_dtypes, "bfloat16") if name == "bfloat16" else name)  # noqa: B009


def _bytes(address: int, size: int) -> Array:
    return np.frombuffer(cast(Any, (ctypes.c_ubyte * size).from_address(address)), np.uint8)


def _refuse_misaligned(matrix: Matrix, address: int) -> None:
    if address % matrix.alignment:
        raise GemmError(f"gemm: address {address:#x} is not aligned to {matrix.alignment}")


def _view(address: int, matrix: Matrix, batch: int, dtype: Any) -> Array:
    """(batch, rows, cols) of a column-major matrix."""
    if matrix.leading < matrix.rows:
        raise GemmError(f"gemm: leading dimension {matrix.leading} of {matrix.rows} rows")
    last = (batch - 1) * matrix.stride + (matrix.cols - 1) * matrix.leading + matrix.rows
    flat = _bytes(address, last * dtype.itemsize).view(dtype)
    strides = tuple(n * dtype.itemsize for n in (matrix.stride, 1, matrix.leading))
    return np.lib.stride_tricks.as_strided(flat, (batch, matrix.rows, matrix.cols), strides)


def _vector(address: int | None, size: int, dtype: Any) -> Array:
    if address is None:
        raise GemmError("gemm: the epilogue needs a bias")
    return _bytes(address, size * dtype.itemsize).view(dtype)


def _aux(address: int | None, product: Product, rows: int, cols: int, dtype: Any) -> Any:
    """A function that stores the pre-activation if given one, and returns what is stored."""
    if address is None:
        raise GemmError("gemm: the epilogue needs aux memory")
    relu, leading = "relu" in product.epilogue, product.aux_leading
    if leading < rows or leading % (128 if relu else 8):
        raise GemmError(f"gemm: aux leading dimension {leading} for {rows} rows")
    size = leading * cols // 8 if relu else leading * cols * dtype.itemsize
    memory = _bytes(address, size)

    def access(z: Array | None = None) -> Array:
        if relu:
            bits = memory.reshape(cols, leading // 8)
            if z is not None:
                mask = np.zeros((cols, leading), bool)
                mask[:, :rows] = z.T > 0
                bits[...] = np.packbits(mask, axis=1, bitorder="little")
            return np.unpackbits(bits, axis=1, bitorder="little")[:, :rows].T
        stored = memory.view(dtype).reshape(cols, leading)
        if z is not None:
            stored[:, :rows] = z.T.astype(dtype)
        return stored[:, :rows].T

    return access


# --- the tanh form of GELU -----------------------------------------------------------------------

SCALE, CUBE = sqrt(2 / pi), 0.044715


def _gelu(z: Array) -> Array:
    return 0.5 * z * (1 + np.tanh(SCALE * (z + CUBE * z**3)))


def _gelu_slope(z: Array) -> Array:
    t = np.tanh(SCALE * (z + CUBE * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * SCALE * (1 + 3 * CUBE * z * z)
