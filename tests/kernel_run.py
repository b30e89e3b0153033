"""Running launch code in the emulator under several orders of threads and blocks; holds no tests.

`results(f)` runs `f(device)` once per order, asserts that every array it returns has the same bits
each time (no race, deterministic), that the launch code asked only for kernels of the proven list,
and gives the arrays of the last run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gradengine.cuda import emulator, instances, kernels

REASON = emulator.missing()
needs_emulator = pytest.mark.skipif(REASON is not None, reason=f"emulated kernels: {REASON}")

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-22, "float64": 2.0**-50}
ORDERS = (0, 1, 5)

FUNCTORS = ("Gelu", "LeakyRelu", "Sqrt", "Multiply", "Prelu", "Add")


@cache
def device() -> emulator.EmulatorBackend:
    """One stand-in device for all tests, with the kernels they use built side by side."""
    chosen = emulator.EmulatorBackend()
    names: list[str] = []
    for (what, _), group in instances.groups().items():
        if what.startswith(("map", "bias")):
            group = [n for n in group if instances.parse(n)[1][0] in FUNCTORS]
        names += group
    chosen.prepare(names)
    return chosen


def results(f: Callable[[emulator.EmulatorBackend], Any], orders: tuple[int, ...] = ORDERS) -> Any:
    chosen = device()
    before = len(chosen.calls)
    runs: list[list[Any]] = []
    for seed in orders:
        chosen.seed = seed
        with kernels.using(chosen):
            value = f(chosen)
        runs.append(list(value) if isinstance(value, tuple) else [value])
    for run in runs[1:]:
        for first, other in zip(runs[0], run, strict=True):
            if first is not None:
                assert first.tobytes() == other.tobytes(), (
                    "another order of threads, another result"
                )
    unknown = set(chosen.calls[before:]) - set(_proven())
    assert not unknown, f"launched but never compiled by the proof: {sorted(unknown)}"
    return runs[-1][0] if len(runs[-1]) == 1 else tuple(runs[-1])


@cache
def _proven() -> frozenset[str]:
    return frozenset(instances.every())


def draw(shape: Any, dtype: str, seed: int = 0, low: float = -3, high: float = 3) -> Any:
    with np.errstate(over="ignore"):
        return np.random.default_rng(seed).uniform(low, high, shape).astype(DTYPES[dtype])


def wide(x: Any) -> Any:
    """float64, without the complaint of ml_dtypes' casts about NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(np.float64)


def close(got: Any, want: Any, dtype: str, factor: float = 2.0, scale: Any = None) -> None:
    """|got - want| <= factor eps (|want| + scale), scale being the size of what was added up."""
    assert got.dtype == DTYPES[dtype]
    assert got.shape == np.shape(want)
    got, want = wide(got), np.asarray(want, np.float64)
    room = 1e-300 + factor * EPSILON[dtype] * (np.abs(want) + (1.0 if scale is None else scale))
    assert np.isfinite(got).all(), "an element was not written, or overflowed"
    worst = float((np.abs(got - want) / room).max(initial=0.0))
    assert worst <= 1, f"{dtype}: {worst:.3g} times the tolerance"
