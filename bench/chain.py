"""A chain of small ops, recorded and gone back through: seconds, and bytes a recorded op holds."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

DEPTH = 100_000
WIDTH = 16
NAME = "chain of 100 000 ops"
AIMS = {"time": 0.6, "memory": 0.7}

Call = Callable[[], Any]


def _leaf(library: str) -> Any:
    start = np.full(WIDTH, 0.5, np.float32)
    if library == "gradengine":
        import gradengine as ge

        return ge.tensor(start, requires_grad=True)
    torch = importlib.import_module("torch")
    return torch.tensor(start, requires_grad=True)


def record(library: str, depth: int) -> tuple[Any, Any]:
    """The leaf, and the end of the chain y <- sin(y) * 1.01."""
    x = y = _leaf(library)
    for _ in range(depth // 2):
        y = y.sin() * 1.01
    return x, y


def side(library: str, depth: int = DEPTH) -> Call | None:
    """Record the chain, go back through it, free it; None for libraries without it."""
    if library not in ("gradengine", "pytorch"):
        return None

    def call() -> None:
        x, y = record(library, depth)
        y.sum().backward()
        x.grad = None

    return call


# --- memory, each library in a process of its own ---


def bytes_per_op(library: str, depth: int = DEPTH) -> float:
    """Growth of the resident memory by recording, for each op."""
    code = f"from bench.chain import grown; print(grown({library!r}, {depth}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) / depth


def grown(library: str, depth: int) -> int:
    """Bytes this process grows by while the chain is recorded."""
    from .growth import resident

    record(library, 1_000)[1].sum().backward()
    before = resident()
    kept = record(library, depth)
    after = resident()
    del kept
    return after - before
