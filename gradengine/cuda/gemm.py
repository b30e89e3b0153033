"""Matrix products on the device: row-major arrays described to cuBLASLt, transposes by flag.

Two-dimensional and batched products in float16, bfloat16, float32 and float64, added to what is
there if asked (beta = 1), with the bias, the activation and their derivatives of a linear layer in
the same launch. Nothing is copied but operands whose strides no GEMM can express. 16-bit products
accumulate in float32; float32 is float32 unless `set_float32_matmul_precision` says otherwise.

Row-major C = A B is column-major C' = B' A', so the first operand of the library is our second.
Where cuBLASLt is missing CuPy's matmul takes its place, and says so once.

Floor 1: stands on cublaslt.py, kernels.py and errors.py.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, Protocol, TypeAlias

from ..errors import OutOfRangeError, ShapeError, hinted
from .cublaslt import CublasLt, GemmError, Matrix, Product

__all__ = [
    "Library",
    "broadcastable",
    "fits",
    "float32_matmul_precision",
    "get_float32_matmul_precision",
    "linear",
    "linear_backward",
    "matmul",
    "set_float32_matmul_precision",
    "using",
    "weight_backward",
]

Array: TypeAlias = Any
DTYPES = ("float16", "bfloat16", "float32", "float64")


# --- precision -----------------------------------------------------------------------------------

PRECISIONS = {"highest": "float32", "high": "tf32", "medium": "bf16"}
_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """How float32 products are computed on a GPU: "highest", "high" or "medium".

    "highest" (the default) multiplies in float32, "high" rounds the factors to TF32 (10 bits of
    mantissa), "medium" to bfloat16 (7 bits); sums are float32 in all three. Names as in PyTorch.
    Nothing changes on the CPU.

    >>> set_float32_matmul_precision("highest")
    """
    global _precision
    if precision not in PRECISIONS:
        text = f"set_float32_matmul_precision: {precision!r}"
        raise OutOfRangeError(hinted(text, 'use "highest", "high" (TF32) or "medium" (bfloat16)'))
    _precision = precision


def get_float32_matmul_precision() -> str:
    """The precision of float32 products on a GPU; see `set_float32_matmul_precision`.

    >>> get_float32_matmul_precision()
    'highest'
    """
    return _precision


@contextmanager
def float32_matmul_precision(precision: str) -> Generator[None]:
    """A precision for the products inside a `with` block."""
    before = _precision
    set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        set_float32_matmul_precision(before)


# --- the library ---------------------------------------------------------------------------------


class Library(Protocol):
    """What runs a product: cuBLASLt, or the interpreter of gemm_host.py in tests."""

    name: str
    workspace: int

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
    ) -> None: ...


_chosen: Library | None = None
_missing = False


def in_use() -> Library | None:
    """The library in use; None, with one warning, where cuBLASLt is not installed."""
    global _chosen, _missing
    if _chosen is None and not _missing:
        try:
            _chosen = CublasLt()
        except GemmError as error:
            _missing = True
            warnings.warn(f"{error}; CuPy's matmul takes its place", RuntimeWarning, stacklevel=3)
    return _chosen


@contextmanager
def using(chosen: Library | None) -> Generator[None]:
    """Run products with another library inside a `with` block; None stands for a missing one."""
    global _chosen, _missing
    before = _chosen, _missing
    _chosen, _missing = chosen, chosen is None
    try:
        yield
    finally:
        _chosen, _missing = before


_workspaces: dict[tuple[str, int, int, int], Array] = {}

PER_THREAD = 2  # the handle of every thread's own default stream: one number, many streams


def _run(
    product: Product, arrays: Sequence[Array], bias: Array | None = None, aux: Array | None = None
) -> None:
    """Launch on the current device and stream; every stream has a workspace of its own."""
    chosen = in_use()
    assert chosen is not None, "fits() says no where the library is missing"
    cupy: Any = importlib.import_module("cupy")
    device: int = cupy.cuda.runtime.getDevice()
    stream: int = cupy.cuda.get_current_stream().ptr
    key = (chosen.name, device, stream, threading.get_ident() if stream == PER_THREAD else 0)
    scratch = _workspaces.get(key)
    if scratch is None:
        scratch = _workspaces[key] = cupy.empty(chosen.workspace, "uint8")
    a, b, d = (x.data.ptr for x in arrays)
    chosen.run(
        product,
        (a, b, d),
        bias=None if bias is None else bias.data.ptr,
        aux=None if aux is None else aux.data.ptr,
        workspace=scratch.data.ptr,
        stream=stream,
        device=device,
    )


# --- arrays as the library sees them -------------------------------------------------------------


def fits(*arrays: Array) -> bool:
    """Whether our products take these operands: one of the four float dtypes, and a library."""
    first = arrays[0].dtype
    same = all(x.dtype == first for x in arrays[1:])
    return same and first.name in DTYPES and in_use() is not None


def _alignment(x: Array) -> int:
    """The largest power of two up to 256 that divides the address."""
    address: int = x.data.ptr
    return min(address & -address, 256) if address else 256


def _matrix(x: Array) -> tuple[Array, Matrix]:
    """A matrix or a stack of them (3-D) as the library sees its memory; copied if it must be.

    Rows are contiguous, or columns are (then the flag says transposed); an axis of length one has
    any stride.
    """
    rows, cols = x.shape[-2:]
    size = x.dtype.itemsize
    down, across = x.strides[-2] // size, x.strides[-1] // size
    stride = x.strides[0] // size if x.ndim == 3 and x.shape[0] > 1 else 0
    whole = all(s % size == 0 for s in x.strides) and stride >= 0
    if whole and (across == 1 or cols == 1) and (down >= cols or rows == 1):
        leading = down if rows > 1 else cols
        return x, Matrix(cols, rows, max(leading, 1), stride, False, _alignment(x))
    if whole and (down == 1 or rows == 1) and (across >= rows or cols == 1):
        leading = across if cols > 1 else rows
        return x, Matrix(rows, cols, max(leading, 1), stride, True, _alignment(x))
    return _matrix(x.copy())


def _on_16_bytes(bias: Array) -> Array:
    """A vector where the library may read 16 bytes at once: plans do not tell addresses apart."""
    return bias.copy() if bias.data.ptr % 16 else bias


def _out(d: Array) -> Matrix:
    """A C-contiguous result."""
    rows, cols = d.shape[-2:]
    return Matrix(cols, rows, max(cols, 1), rows * cols, False, _alignment(d))


def _describe(
    a: Array, b: Array, d: Array, *, epilogue: str = "none", accumulate: bool = False, aux: int = 0
) -> tuple[Product, tuple[Array, Array, Array]]:
    """The library's product for d = a b (2-D, or 3-D of one batch), and its operands in order."""
    a, right = _matrix(a)
    b, left = _matrix(b)
    dtype = d.dtype.name
    compute = PRECISIONS[_precision] if dtype == "float32" else "float32"
    compute = "float64" if dtype == "float64" else compute
    batch = d.shape[0] if d.ndim == 3 else 1
    product = Product(left, right, _out(d), batch, dtype, compute, epilogue, accumulate, aux)
    return product, (b, a, d)


def _stack(x: Array, batch: tuple[int, ...]) -> Array:
    """x, broadcast to leading axes `batch`, with those joined into one; a copy if it must be."""
    if len(batch) == 0:
        return x
    rows, cols = x.shape[-2:]
    lead = x.shape[:-2]
    if prod(lead) == 1:  # one matrix for the whole stack: stride 0
        return x.reshape((1, rows, cols))
    if lead != batch:
        whole = importlib.import_module("cupy").broadcast_to(x, (*batch, rows, cols))
        return whole.reshape((-1, rows, cols))
    return x.reshape((-1, rows, cols))


# --- products ------------------------------------------------------------------------------------


def matmul(a: Array, b: Array, *, out: Array | None = None, accumulate: bool = False) -> Array:
    """a @ b with NumPy's rules, in one launch; into `out`, added to it if `accumulate` (beta = 1).

    Operands are as `fits` wants them, at least 1-D. `out` is C-contiguous, of the result's shape
    and dtype. Raises ShapeError where sizes differ.
    """
    left = a.reshape((1, -1)) if a.ndim == 1 else a
    right = b.reshape((-1, 1)) if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        text = f"matmul: inner dimensions differ: {a.shape} @ {b.shape}"
        raise ShapeError(hinted(text, "transpose one: b.T"))
    batch = _broadcast(left.shape[:-2], right.shape[:-2])
    full = (*batch, left.shape[-2], right.shape[-1])
    drop = [-2] * (a.ndim == 1) + [-1] * (b.ndim == 1)
    shape = tuple(n for i, n in enumerate(full, -len(full)) if i not in drop)
    y = _output(out, shape, a.dtype)
    if prod(full) == 0:
        return y
    if left.shape[-1] == 0:
        if not accumulate:
            y.fill(0)
        return y
    if batch and prod(right.shape[:-2]) == 1 and left.flags.c_contiguous:
        left, right = left.reshape((-1, left.shape[-1])), right.reshape(right.shape[-2:])
        result = y.reshape((-1, full[-1]))  # one tall product instead of a batch
    else:
        result = y.reshape((-1, *full[-2:])) if batch else y.reshape(full)
        left, right = _stack(left, batch), _stack(right, batch)
    product, arrays = _describe(left, right, result, accumulate=accumulate)
    _run(product, arrays)
    return y


def _output(out: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
    if out is None:
        return importlib.import_module("cupy").ndarray(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        text = f"matmul: out {out.shape} {out.dtype} for a result {shape} {dtype}"
        raise ShapeError(hinted(text, "give a C-contiguous array of that shape and dtype"))
    return out


def broadcastable(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes broadcast."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(i == j or 1 in (i, j) for i, j in pairs)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if not broadcastable(a, b):
        text = f"matmul: leading axes do not broadcast: {a} and {b}"
        raise ShapeError(hinted(text, "all axes but the last two must be equal or 1"))
    n = max(len(a), len(b))
    left, right = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
    return tuple(j if i == 1 else i for i, j in zip(left, right, strict=True))


# --- a layer's products --------------------------------------------------------------------------


def _aux(rows: int, cols: int, activation: str, dtype: Any) -> tuple[Array, int]:
    """Room for what an activation's derivative needs, and its leading dimension.

    GELU keeps the pre-activation, in rows of a multiple of 8 numbers; ReLU one bit an element, in
    rows of a multiple of 128 bits.
    """
    cupy: Any = importlib.import_module("cupy")
    if activation == "relu":
        bits = -(-cols // 128) * 128
        return cupy.ndarray((rows, bits // 8), "uint8"), bits
    wide = -(-cols // 8) * 8
    return cupy.ndarray((rows, wide), dtype), wide


def _leading(aux: Array, activation: str) -> int:
    """The leading dimension of what was kept: bits for ReLU, numbers for GELU."""
    return aux.shape[1] * (8 if activation == "relu" else 1)


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str = "none",
    keep: bool = False,
    *,
    out: Array | None = None,
    aux: Array | None = None,
) -> tuple[Array, Array | None]:
    """act(x weight' + bias) in one launch, and with `keep` what `linear_backward` wants of it.

    x (rows, in), weight (out, in), bias (out,); `activation` is "none", "relu" or "gelu" (its tanh
    form) and needs a bias. The result is written into `out` and what is kept into `aux`, where
    those are given: C-contiguous, as this function would have made them. Raises UnsupportedError
    where the library has no such epilogue for the dtype.
    """
    y = _output(out, (x.shape[0], weight.shape[0]), x.dtype)
    leading = 0
    if activation == "none":
        aux = None
    elif aux is not None:
        leading = _leading(aux, activation)
    elif keep:
        aux, leading = _aux(y.shape[0], y.shape[1], activation, x.dtype)
    if y.size and x.shape[1]:
        named = {"none": "", "relu": "relu_", "gelu": "gelu_"}[activation]
        epilogue = "none" if bias is None else f"{named}{'aux_' if leading else ''}bias"
        product, arrays = _describe(x, weight.T, y, epilogue=epilogue, aux=leading)
        _run(product, arrays, None if bias is None else _on_16_bytes(bias), aux)
    return y, aux


def linear_backward(
    g: Array, weight: Array, aux: Array | None = None, activation: str = "none"
) -> tuple[Array, Array | None]:
    """The cotangent of a linear layer's input and, through `activation` before it, its bias's.

    g (rows, out), weight (out, in): h = g weight. With `activation` that produced the input from
    z, and the `aux` kept then, the result is h act'(z), and its sum over rows is the bias gradient
    of the layer below: one launch for all three.
    """
    cupy: Any = importlib.import_module("cupy")
    dx = cupy.ndarray((g.shape[0], weight.shape[1]), g.dtype)
    if activation == "none":
        return matmul(g, weight, out=dx), None
    assert aux is not None
    sums = cupy.zeros((weight.shape[1],), g.dtype)
    if dx.size and g.shape[1]:
        leading = _leading(aux, activation)
        product, arrays = _describe(g, weight, dx, epilogue=f"d{activation}_bgrad", aux=leading)
        _run(product, arrays, sums, aux)
    return dx, sums


def weight_backward(g: Array, x: Array, *, out: Array | None = None) -> tuple[Array, Array]:
    """The cotangents of a linear layer's weight, g' x, and bias, the column sums of g: one launch.

    With `out` the weight's is added to it.
    """
    cupy: Any = importlib.import_module("cupy")
    dw = cupy.ndarray((g.shape[1], x.shape[1]), g.dtype) if out is None else out
    sums = cupy.zeros((g.shape[1],), g.dtype)
    if g.size and x.shape[1]:
        product, arrays = _describe(g.T, x, dw, epilogue="bgradb", accumulate=out is not None)
        _run(product, arrays, sums)
    elif out is None:
        dw.fill(0)
    return dw, sums
