"""Timing several sides in turn, so that a noisy machine disturbs all of them alike.

Each round times every side once (a sample of many calls); a ratio is taken within its round, and
the median over the rounds is reported. Stands on the standard library alone.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Call = Callable[[], Any]


def calls_for(call: Call, seconds: float) -> int:
    """How many calls make a sample of about `seconds`."""
    call()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        spent = time.perf_counter() - start
        if spent > seconds / 4 or count > 1_000_000:
            return max(1, int(count * seconds / max(spent, 1e-9)))
        count *= 4


def in_turn(
    sides: dict[str, Call], rounds: int = 15, seconds: float = 0.02
) -> dict[str, list[float]]:
    """Seconds per call of each side, one sample per round."""
    counts = {name: calls_for(call, seconds) for name, call in sides.items()}
    samples: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    for turn in range(rounds):
        names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in names:
            call, count = sides[name], counts[name]
            start = time.perf_counter()
            for _ in range(count):
                call()
            samples[name].append((time.perf_counter() - start) / count)
    return samples


def summary(samples: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Median seconds of each side, and the median over rounds of its ratio to `base`."""
    found: dict[str, dict[str, float]] = {}
    for name, times in samples.items():
        found[name] = {"seconds": statistics.median(times)}
        if base in samples:
            pairs = zip(times, samples[base], strict=True)
            found[name]["ratio"] = statistics.median(t / b for t, b in pairs)
    return found


def machine() -> dict[str, Any]:
    """What a result must say of where it was measured."""
    import numpy as np

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    for name in ("torch", "jax", "autograd", "mygrad"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = getattr(module, "__version__", "installed")
    return found


def write(name: str, rows: list[dict[str, Any]], **facts: Any) -> Path:
    """Save rows and machine as bench/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **facts, "rows": rows}, indent=1) + "\n")
    return path


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
