"""Every kernel instantiation that our launch code can ask for, by C++ name, in groups that compile
together.

The proof compiles all of them for every architecture, the report measures them, and a test holds
the launch code to this list. `bytes_per_element` is the traffic each one cannot avoid.

Floor 1: stands on source.py, shapes.py and rows.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import rows, shapes, source

__all__ = ["ARCHITECTURES", "bytes_per_element", "every", "groups", "parse"]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")

FLAGS = ("true", "false")
INDICES = ("int", "i64")


def every() -> list[str]:
    """All instantiations, once each."""
    return [name for names in groups().values() for name in names]


def groups() -> dict[tuple[str, str], list[str]]:
    """(unit and kind of kernel, dtype) -> the instantiations that are compiled together."""
    result: dict[tuple[str, str], list[str]] = {}
    for dtype, kind in shapes.C_TYPES.items():
        result["map", kind] = list(_maps(kind, strided=False))
        result["map strided", kind] = list(_maps(kind, strided=True))
        result["bias", kind] = [f"bias_forward<{f},{kind}>" for f in activations()]
        result["bias vjp", kind] = [f"bias_vjp<{f},{kind}>" for f in activations()]
        result["rows", kind] = list(dict.fromkeys(_rows(dtype, kind)))
        result["columns", kind] = list(dict.fromkeys(_columns(dtype, kind)))
        result["copy", kind] = list(dict.fromkeys(_casts(dtype, kind)))
        result["random", kind] = [f"dropout<{kind}>", f"random_uniform<{kind}>"]
        result["scatter", kind] = list(_scatters(dtype, kind))
        result["optim", kind] = list(_steps(dtype, kind))
    words = ("unsigned char", "unsigned short", "unsigned int", "u64")
    result["copy", "words"] = [f"{k}<{w}>" for k in ("copy_strided", "transpose") for w in words]
    result["random", "state"] = ["advance_offset"]
    result["rows", "targets"] = [f"count_targets<{index}>" for index in INDICES]
    return result


def activations() -> list[str]:
    """The functors that come fused with a bias: the activations of one operand."""
    found = source.functors().values()
    return [f.name for f in found if f.header == "activations.cuh" and f.arity == 1]


def _maps(kind: str, *, strided: bool) -> Iterator[str]:
    suffix = "_strided" if strided else ""
    for functor in source.outputs().values():
        yield f"{'map' if functor.arity == 1 else 'map2'}_vjp{suffix}<{functor.name},{kind}>"
    for functor in source.functors().values():
        stem = "map" if functor.arity == 1 else "map2"
        for way in ("forward", "vjp"):
            yield f"{stem}_{way}{suffix}<{functor.name},{kind}>"


def _widths(dtype: Any) -> tuple[int, int]:
    return shapes.width(dtype), 1


def _rows(dtype: Any, kind: str) -> Iterator[str]:
    wide = shapes.c_type(shapes.accumulator(dtype))
    for n in _widths(dtype):
        for cached in FLAGS:
            for flag in FLAGS:
                yield f"softmax_forward<{flag},{cached},{n},{kind}>"
                yield f"softmax_vjp<{flag},{cached},{n},{kind}>"
                yield f"norm_forward<{flag},{cached},{n},{kind}>"
            yield f"softmax_cross_entropy<{cached},{n},{kind}>"
        for target in (kind, wide):
            yield f"row_sums<false,{n},{kind},{target}>"
        yield f"row_sums<true,{n},{kind},{wide}>"
    yield f"total_loss<{kind}>"
    for per, n in rows.norm_instances(dtype):
        for flag in FLAGS:
            yield f"norm_vjp<{flag},{per},{n},{kind}>"
    if wide != kind:  # the second stage: wide sums to the narrow dtype
        for n in _widths(shapes.accumulator(dtype)):
            yield f"row_sums<false,{n},{wide},{kind}>"


def _columns(dtype: Any, kind: str) -> Iterator[str]:
    wide = shapes.c_type(shapes.accumulator(dtype))
    for n in _widths(dtype):
        for target in (kind, wide):
            yield f"column_sums<{n},{kind},{target}>"
    for n in _widths(shapes.accumulator(dtype)):
        yield f"column_sums<{n},{wide},{kind}>"


def _casts(dtype: Any, kind: str) -> Iterator[str]:
    for other, name in shapes.C_TYPES.items():
        if name != kind:
            for n in (16 // max(dtype.itemsize, other.itemsize), 1):
                yield f"cast<{n},{kind},{name}>"


def _scatters(dtype: Any, kind: str) -> Iterator[str]:
    for n in _widths(dtype):
        for index in INDICES:
            for kernel in ("gather_rows", "scatter_add_atomic", "scatter_add_sorted"):
                yield f"{kernel}<{n},{kind},{index}>"


def _steps(dtype: Any, kind: str) -> Iterator[str]:
    for n in (2 if dtype == np.float64 else 4, 1):
        yield f"sgd_step<{n},{kind}>"
        yield f"adam_step<true,{n},{kind}>"
        yield f"adam_step<false,{n},{kind}>"
    for n in _widths(dtype):
        yield f"scale_by<{n},{kind}>"
    if kind in ("float", "double"):
        yield f"clip_coefficient<{kind}>"


# --- traffic -------------------------------------------------------------------------------------


def parse(name: str) -> tuple[str, list[str]]:
    """A C++ name as kernel and template arguments.

    >>> parse("cast<4,f16,float>")
    ('cast', ['4', 'f16', 'float'])
    """
    kernel, _, rest = name.partition("<")
    return kernel, [part for part in rest.rstrip(">").split(",") if part]


SIZES = {"f16": 2, "bf16": 2, "float": 4, "double": 8}

# accesses of one element: (of T, of the accumulation type)
_TRAFFIC: dict[str, tuple[float, float]] = {
    "map_forward": (2, 0),
    "map_vjp": (3, 0),
    "map2_forward": (3, 0),
    "map2_vjp": (5, 0),
    "bias_forward": (2, 0),
    "bias_vjp": (3, 0),
    "softmax_forward": (2, 0),
    "softmax_vjp": (3, 0),
    "softmax_cross_entropy": (2, 0),
    "norm_forward": (2, 0),
    "norm_vjp": (3, 0),
    "row_sums": (1, 0),
    "column_sums": (1, 0),
    "dropout": (2, 0),
    "random_uniform": (1, 0),
    "scale_by": (2, 0),
    "gather_rows": (2, 0),
    "scatter_add_atomic": (1, 2),
    "scatter_add_sorted": (2, 0),
    "sgd_step": (3, 2),
    "adam_step": (3, 4),
}


def bytes_per_element(name: str) -> float | None:
    """The bytes per element that a kernel must move, or None where that depends on the call."""
    kernel, arguments = parse(name)
    if kernel == "cast":
        return SIZES[arguments[1]] + SIZES[arguments[2]]
    found = _TRAFFIC.get(kernel.removesuffix("_strided"))
    if found is None:
        return None
    size = next((SIZES[a] for a in arguments if a in SIZES), None)
    if size is None:
        return None
    return found[0] * size + found[1] * max(size, 4)
