"""Our own history, with pytest-benchmark: `python -m pytest bench --benchmark-autosave`.

Not part of the tests (`testpaths` leaves it out): times are compared with our own earlier ones
(`--benchmark-compare`), on one machine, and never asserted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradengine as ge

from .ops import OPS, SIZES, sides_for
from .step import ours


@pytest.mark.parametrize("phase", [0, 1], ids=["forward", "both"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("op", OPS)
def test_op(benchmark: Any, op: str, n: int, phase: int) -> None:
    benchmark(sides_for(op, n, only="gradengine")["gradengine"][phase])


@pytest.mark.parametrize("part", ["forward", "forward+backward", "step"])
def test_step(benchmark: Any, part: str) -> None:
    rng = np.random.default_rng(0)
    calls = ours(rng.random((64, 784), dtype=np.float32), rng.integers(0, 10, 64))
    benchmark(calls[part])


@pytest.mark.parametrize("depth", [1_000, 10_000])
def test_chain(benchmark: Any, depth: int) -> None:
    def run() -> None:
        x = ge.ones((3,), requires_grad=True)
        y = x
        for _ in range(depth):
            y = y * 1.0001
        y.sum().backward()

    benchmark(run)
