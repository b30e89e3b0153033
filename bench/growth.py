"""What must not grow: memory over 100 000 training steps, time per node of a long tape.

`python -m bench.growth` writes bench/results/growth.json and growth.md; `--quick`: a hundredth.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import gradengine as ge
from gradengine import nn, optim

from .timing import RESULTS, table, write


def resident() -> int:
    """Bytes of memory this process holds (Linux), 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


def steps(count: int) -> list[dict[str, Any]]:
    """Resident memory while a small network trains, with the cycle collector off."""
    ge.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    opt = optim.Adam(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    x, labels = ge.tensor(rng.normal(size=(8, 16)).astype("f")), ge.tensor(rng.integers(0, 4, 8))
    rows: list[dict[str, Any]] = []
    gc.collect()
    gc.disable()
    try:
        for done in range(count + 1):
            if done % (count // 10) == 0:
                rows.append({"steps": done, "MiB": resident() / 2**20})
            opt.zero_grad()
            ge.cross_entropy(model(x), labels).backward()
            opt.step()
    finally:
        gc.enable()
    return rows


def chains(depths: list[int]) -> list[dict[str, Any]]:
    """Microseconds per node: recording a chain, going back through it, and freeing it."""
    rows: list[dict[str, Any]] = []
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)  # nothing in the engine recurses over the graph
    try:
        for depth in depths:
            x = ge.ones((3,), requires_grad=True)
            start = time.perf_counter()
            y = x
            for _ in range(depth):
                y = y * 0.999999
            recorded = time.perf_counter()
            y.sum().backward(retain_graph=True)
            passed = time.perf_counter()
            del y
            freed = time.perf_counter()
            times = (recorded - start, passed - recorded, freed - passed)
            names = ("record", "backward", "free")
            rows.append(
                {"nodes": depth}
                | {name: 1e6 * t / depth for name, t in zip(names, times, strict=True)}
            )
    finally:
        sys.setrecursionlimit(limit)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Run, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth, nothing written")
    args = parser.parse_args(argv)
    share = 100 if args.quick else 1
    memory = steps(100_000 // share)
    time_per_node = chains([n // share for n in (1_000, 10_000, 100_000, 1_000_000)])
    text = "\n\n".join(
        [
            table(
                ["steps", "MiB resident"], [[str(r["steps"]), f"{r['MiB']:.1f}"] for r in memory]
            ),
            table(
                ["nodes", "record us/node", "backward us/node", "free us/node"],
                [
                    [str(r["nodes"]), *(f"{r[k]:.2f}" for k in ("record", "backward", "free"))]
                    for r in time_per_node
                ],
            ),
        ]
    )
    print(text)
    if not args.quick:
        print(write("growth", memory, chains=time_per_node))
        (RESULTS / "growth.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
