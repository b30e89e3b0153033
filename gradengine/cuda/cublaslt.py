"""cuBLASLt through ctypes: a description of one product in, a launch on a stream out.

Our own handle, since CuPy refuses cuBLAS while a stream is captured. A description (`Product`) is
plain numbers and can be built, hashed and tested without a GPU; its plan (descriptors, and the
algorithm cuBLASLt's heuristics choose for it) is made once per thread and kept, so that inside a
stream capture nothing is asked any more. Everything here is column-major, as the library is;
gemm.py turns row-major arrays into it.

Constants are those of cublasLt.h 13.10. Floor 1: stands on errors.py alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import GradengineError, hinted

__all__ = ["CublasLt", "GemmError", "Matrix", "Product", "UnsupportedError", "load"]

V = ctypes.c_void_p

COMPUTE = {"float32": 68, "tf32": 77, "bf16": 75, "float64": 70}
"""cublasComputeType_t by what products are accumulated in; tf32 and bf16 round f32 inputs."""
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
"""cudaDataType_t."""
EPILOGUES = {
    "none": 1,
    "relu": 2,
    "bias": 4,
    "relu_bias": 6,
    "relu_aux_bias": 134,
    "gelu_bias": 36,
    "gelu_aux_bias": 164,
    "drelu": 136,
    "drelu_bgrad": 152,
    "dgelu": 192,
    "dgelu_bgrad": 208,
    "bgrada": 256,
    "bgradb": 512,
}
"""cublasLtEpilogue_t: GELU is the tanh form; aux is the pre-activation (a bit mask for ReLU)."""

TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS, BIAS_TYPE, AUX, AUX_LEADING = 3, 4, 7, 8, 26, 11, 12
BATCH_COUNT, BATCH_STRIDE = 5, 6
WORKSPACE_BYTES, ALIGNMENTS = 1, (5, 6, 7, 8)

REMEDY = "hint: pip install 'cupy-cuda13x[ctk]', or nvidia-cublas"


class GemmError(GradengineError, RuntimeError):
    """cuBLASLt refused a product."""


class UnsupportedError(GemmError):
    """cuBLASLt has no algorithm for this product: an epilogue in float64, say."""


# --- what a product is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Matrix:
    """A stored matrix, column-major: rows, columns, leading dimension, elements between batches."""

    rows: int
    cols: int
    leading: int
    stride: int = 0
    transposed: bool = False
    alignment: int = 256


@dataclass(frozen=True)
class Product:
    """D = epilogue(op(A) op(B) + beta C), C being D: all that a plan depends on."""

    a: Matrix
    b: Matrix
    d: Matrix
    batch: int
    dtype: str
    compute: str
    epilogue: str = "none"
    accumulate: bool = False
    aux_leading: int = 0


# --- the library ---------------------------------------------------------------------------------


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [V],
    "cublasLtMatmulDescCreate": [V, ctypes.c_int, ctypes.c_int],
    "cublasLtMatmulDescDestroy": [V],
    "cublasLtMatmulDescSetAttribute": [V, ctypes.c_int, V, ctypes.c_size_t],
    "cublasLtMatmulDescGetAttribute": [V, ctypes.c_int, V, ctypes.c_size_t, V],
    "cublasLtMatrixLayoutCreate": [V, ctypes.c_int, *[ctypes.c_uint64] * 2, ctypes.c_int64],
    "cublasLtMatrixLayoutDestroy": [V],
    "cublasLtMatrixLayoutSetAttribute": [V, ctypes.c_int, V, ctypes.c_size_t],
    "cublasLtMatmulPreferenceCreate": [V],
    "cublasLtMatmulPreferenceDestroy": [V],
    "cublasLtMatmulPreferenceSetAttribute": [V, ctypes.c_int, V, ctypes.c_size_t],
    "cublasLtMatmulAlgoGetHeuristic": [V] * 7 + [ctypes.c_int, V, V],
    "cublasLtMatmul": [V] * 14 + [ctypes.c_size_t, V],
}


def _candidates() -> Iterable[str]:
    for entry in sys.path:
        for package in ("cu13", "cublas"):
            folder = Path(entry or ".") / "nvidia" / package / "lib"
            yield from map(str, sorted(folder.glob("libcublasLt.so.1?")))
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if root:
            yield from map(str, sorted(Path(root).glob("lib64/libcublasLt.so.1?")))
    yield from ("libcublasLt.so.13", "libcublasLt.so.12", "cublasLt64_13.dll", "cublasLt64_12.dll")


@lru_cache(maxsize=1)
def load() -> ctypes.CDLL:
    """The library, from the pip wheels, then `$CUDA_HOME`, then the system.

    Raises GemmError, naming the pip line that brings it, where it is not found.
    """
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for function, arguments in SIGNATURES.items():
            found = getattr(library, function)
            found.argtypes, found.restype = arguments, ctypes.c_int
        library.cublasLtGetVersion.restype = ctypes.c_size_t
        return library
    raise GemmError(f"gemm: cuBLASLt was not found; {REMEDY}")


STATUS = {
    1: "not initialised",
    3: "allocation failed",
    7: "invalid value",
    8: "no such hardware",
    13: "execution failed",
    14: "internal error",
    15: "not supported",
}


NO_ALGORITHM = (7, 8, 15)
"""What the heuristics answer for a combination of dtype and epilogue that no kernel computes."""


def _check(status: int, what: str, kind: type[GemmError] = GemmError) -> None:
    if status:
        text = f"gemm: cuBLASLt {what}: status {status} ({STATUS.get(status, 'unknown')})"
        raise kind(hinted(text, "run `gradengine doctor`: it compares driver and libraries"))


# --- plans ---------------------------------------------------------------------------------------


class Plan:
    """The descriptors of one Product; its algorithm is asked for when it first runs.

    Bias and aux addresses are attributes of the descriptor, so a plan belongs to one thread.
    """

    def __init__(self, product: Product) -> None:
        self.calls, self.product = load(), product
        wide = product.dtype == "float64"
        number = ctypes.c_double if wide else ctypes.c_float
        self.one, self.beta = number(1), number(1 if product.accumulate else 0)
        self.algorithm = Algorithm()
        self.operation = V()
        compute, scale = COMPUTE[product.compute], DTYPES["float64" if wide else "float32"]
        _check(
            self.calls.cublasLtMatmulDescCreate(ctypes.byref(self.operation), compute, scale),
            "descriptor",
        )
        self.set(TRANSPOSE_A, ctypes.c_int32(product.a.transposed))
        self.set(TRANSPOSE_B, ctypes.c_int32(product.b.transposed))
        self.set(EPILOGUE, ctypes.c_uint32(EPILOGUES[product.epilogue]))
        if "bias" in product.epilogue or "bgrad" in product.epilogue:
            self.set(BIAS_TYPE, ctypes.c_int32(DTYPES[product.dtype]))
        if product.aux_leading:
            self.set(AUX_LEADING, ctypes.c_int64(product.aux_leading))
        self.layouts = [self._layout(m) for m in (product.a, product.b, product.d)]

    def point(self, bias: int | None, aux: int | None) -> None:
        """Where the bias and the aux memory are."""
        for attribute, address in ((BIAS, bias), (AUX, aux)):
            if address is not None:
                self.set(attribute, V(address))

    def set(self, attribute: int, value: Any) -> None:
        """One attribute of the operation."""
        size = ctypes.sizeof(value)
        status = self.calls.cublasLtMatmulDescSetAttribute(
            self.operation, attribute, ctypes.byref(value), size
        )
        _check(status, f"attribute {attribute}")

    def get(self, attribute: int, kind: Any) -> int:
        """One attribute of the operation, read back."""
        value, written = kind(), ctypes.c_size_t()
        status = self.calls.cublasLtMatmulDescGetAttribute(
            self.operation,
            attribute,
            ctypes.byref(value),
            ctypes.sizeof(value),
            ctypes.byref(written),
        )
        _check(status, f"attribute {attribute}")
        return value.value

    def _layout(self, matrix: Matrix) -> Any:
        layout, kind = V(), DTYPES[self.product.dtype]
        status = self.calls.cublasLtMatrixLayoutCreate(
            ctypes.byref(layout), kind, matrix.rows, matrix.cols, matrix.leading
        )
        _check(status, "layout")
        if self.product.batch > 1:
            count, stride = ctypes.c_int32(self.product.batch), ctypes.c_int64(matrix.stride)
            for attribute, value in ((BATCH_COUNT, count), (BATCH_STRIDE, stride)):
                status = self.calls.cublasLtMatrixLayoutSetAttribute(
                    layout, attribute, ctypes.byref(value), ctypes.sizeof(value)
                )
                _check(status, "layout of a batch")
        return layout

    def choose(self, handle: Any, workspace: int) -> None:
        """Ask the heuristics for an algorithm; must not happen while a stream is captured.

        They read the alignment of bias and aux off their addresses, which are there by now. Raises
        UnsupportedError where there is none.
        """
        preference = V()
        _check(self.calls.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)), "preference")
        a, b, d = self.product.a, self.product.b, self.product.d
        limits = zip(ALIGNMENTS, (a.alignment, b.alignment, d.alignment, d.alignment), strict=True)
        values = [(WORKSPACE_BYTES, ctypes.c_size_t(workspace))]
        values += [(attribute, ctypes.c_uint32(size)) for attribute, size in limits]
        try:
            for attribute, value in values:
                status = self.calls.cublasLtMatmulPreferenceSetAttribute(
                    preference, attribute, ctypes.byref(value), ctypes.sizeof(value)
                )
                _check(status, "preference")
            found, count = Heuristic(), ctypes.c_int()
            left, right, out = self.layouts
            status = self.calls.cublasLtMatmulAlgoGetHeuristic(
                handle,
                self.operation,
                left,
                right,
                out,
                out,
                preference,
                1,
                ctypes.byref(found),
                ctypes.byref(count),
            )
        finally:
            self.calls.cublasLtMatmulPreferenceDestroy(preference)
        status = status or (0 if count.value else 15)
        kind = UnsupportedError if status in NO_ALGORITHM else GemmError
        _check(status, f"has no algorithm for {self.product}", kind)
        self.algorithm = found.algorithm

    def __del__(self) -> None:
        for layout in getattr(self, "layouts", ()):
            self.calls.cublasLtMatrixLayoutDestroy(layout)
        if getattr(self, "operation", None):
            self.calls.cublasLtMatmulDescDestroy(self.operation)


class CublasLt:
    """Runs products on the current device; one handle a device, plans by product and thread."""

    name = "cuBLASLt"
    workspace = 32 << 20
    """Bytes of scratch memory a product may use, what NVIDIA recommends for Hopper."""

    def __init__(self) -> None:
        self.calls = load()
        self._handles: dict[int, Any] = {}
        self._own = threading.local()

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
        """Launch on `stream`; returns before it has finished. `pointers` are those of A, B, D."""
        plans: dict[tuple[int, Product], Plan | UnsupportedError]
        plans = self._own.__dict__.setdefault("plans", {})
        plan = plans.get((device, product))
        handle = self._handle(device)
        if plan is None:
            plan = plans[device, product] = self._plan(product, handle, bias, aux)
        if isinstance(plan, UnsupportedError):
            raise plan.with_traceback(None)
        plan.point(bias, aux)
        a, b, d = pointers
        left, right, out = plan.layouts
        status = self.calls.cublasLtMatmul(
            handle,
            plan.operation,
            ctypes.byref(plan.one),
            a,
            left,
            b,
            right,
            ctypes.byref(plan.beta),
            d,
            out,
            d,
            out,
            ctypes.byref(plan.algorithm),
            workspace,
            self.workspace,
            stream,
        )
        _check(status, f"product {product}")

    def _plan(
        self, product: Product, handle: Any, bias: int | None, aux: int | None
    ) -> Plan | UnsupportedError:
        """A plan with its algorithm, or the refusal: both are asked for once."""
        try:
            plan = Plan(product)
            plan.point(bias, aux)
            plan.choose(handle, self.workspace)
        except UnsupportedError as refusal:
            return refusal
        return plan

    def _handle(self, device: int) -> Any:
        if device not in self._handles:
            handle = V()
            _check(self.calls.cublasLtCreate(ctypes.byref(handle)), "handle")
            self._handles[device] = handle
        return self._handles[device]
