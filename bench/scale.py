"""How time and memory grow with depth, width and batch, and what a gradient costs in forwards.

`python -m bench.scale` fits t = a n^k on log-log axes (least squares) and writes
bench/results/scale.json, scale.md and scale.png; `--quick` takes small sizes and writes nothing.
Finite differences cost one forward a parameter and one more; the dashed lines are that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np

import gradengine as ge

from .timing import RESULTS, table, write

DEPTHS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)


@dataclass
class Point:
    """Seconds of a forward and of forward plus backward, bytes the tape holds, parameters."""

    size: int
    forward: float
    gradient: float
    held: float
    parameters: int


def chain(depth: int) -> tuple[Callable[[], Any], int]:
    """y <- sin(y) * 1.01, `depth` ops deep on 16 numbers."""
    x = ge.full((16,), 0.5, requires_grad=True)

    def forward() -> Any:
        y = x
        for _ in range(depth // 2):
            y = y.sin() * 1.01
        return y.sum()

    return forward, x.size


def network(width: int, batch: int) -> tuple[Callable[[], Any], int]:
    """Four linear layers with tanh, `width` wide."""
    ge.manual_seed(0)
    layers: list[Any] = []
    for _ in range(4):
        layers += [ge.nn.Linear(width, width), ge.nn.Tanh()]
    model = ge.nn.Sequential(*layers)
    x = ge.randn(batch, width)
    return (lambda: (model(x) ** 2).mean()), sum(p.size for p in model.parameters())


def measure(size: int, made: tuple[Callable[[], Any], int], seconds: float) -> Point:
    """Medians of forward and gradient in turn, and the memory the recorded forward holds."""
    forward, parameters = made
    forward().backward()
    tracemalloc.start()
    kept = forward()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    times: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    while len(times[0]) < 3 or time.perf_counter() - start < seconds:
        for backward, found in zip((False, True), times, strict=True):
            begun = time.perf_counter()
            loss = forward()
            if backward:
                loss.backward()
            found.append(time.perf_counter() - begun)
            del loss
    medians = [statistics.median(found) for found in times]
    return Point(size, medians[0], medians[1], held, parameters)


def exponent(sizes: Sequence[int], values: Sequence[float], above: int) -> float:
    """k of values = a sizes^k by least squares on logarithms, sizes below `above` left out."""
    chosen = [(n, v) for n, v in zip(sizes, values, strict=True) if n >= above and v > 0]
    if len(chosen) < 2:
        return float("nan")
    x, y = np.log([n for n, _ in chosen]), np.log([v for _, v in chosen])
    return float(np.polyfit(x, y, 1)[0])


def sweeps(quick: bool) -> dict[str, tuple[list[Point], int]]:
    """What grows -> its points, and from which size on the exponent is fitted."""
    seconds = 0.02 if quick else 1.0
    depths, widths, batches = (
        (sizes[:3] if quick else sizes) for sizes in (DEPTHS, WIDTHS, BATCHES)
    )
    return {
        "depth": ([measure(n, chain(n), seconds) for n in depths], 1_000),
        "width": ([measure(n, network(n, 64), seconds) for n in widths], 256),
        "batch": ([measure(n, network(256, n), seconds) for n in batches], 64),
    }


def report(found: dict[str, tuple[list[Point], int]]) -> str:
    """Every point, and the fitted exponents, as Markdown."""
    parts: list[str] = []
    for what, (points, above) in found.items():
        rows = [
            [
                f"{p.size}",
                f"{1e3 * p.forward:.4g}",
                f"{1e3 * p.gradient:.4g}",
                f"{p.gradient / p.forward:.2f}",
                f"{p.parameters + 1}",
                f"{p.held / 2**20:.2f}",
            ]
            for p in points
        ]
        sizes = [p.size for p in points]
        fits = (
            exponent(sizes, [p.gradient for p in points], above),
            exponent(sizes, [p.held for p in points], above),
        )
        header = [what, "forward, ms", "gradient, ms", "in forwards"]
        header += ["by differences, forwards", "tape, MiB"]
        line = f"time ~ {what}^{fits[0]:.2f}, memory ~ {what}^{fits[1]:.2f} from {above} on"
        parts.append(f"## {what}\n\n{table(header, rows)}\n\n{line}")
    return "\n\n".join(parts)


def draw(found: dict[str, tuple[list[Point], int]]) -> None:
    """Time above, memory below, on log-log axes with the fitted exponents."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(found), figsize=(12, 7), sharex="col")
    for column, (what, (points, above)) in enumerate(found.items()):
        sizes = [p.size for p in points]
        top, bottom = axes[0][column], axes[1][column]
        gradient = [p.gradient for p in points]
        top.loglog(sizes, [p.forward for p in points], "o-", label="forward")
        k = exponent(sizes, gradient, above)
        top.loglog(sizes, gradient, "s-", label=f"gradient, ~ n^{k:.2f}")
        differences = [p.forward * (p.parameters + 1) for p in points]
        top.loglog(sizes, differences, "k--", label="finite differences (computed)")
        top.set_ylabel("seconds")
        top.set_title(f"{what}: one gradient = {gradient[-1] / points[-1].forward:.1f} forwards")
        held = [(p.size, p.held / 2**20) for p in points if p.held > 0]
        k = exponent(sizes, [p.held for p in points], above)
        bottom.loglog([n for n, _ in held], [m for _, m in held], "o-", label=f"~ n^{k:.2f}")
        bottom.set_xlabel(what)
        bottom.set_ylabel("memory held by the tape, MiB")
        for one in (top, bottom):
            one.grid(alpha=0.3)
            one.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "scale.png", dpi=100)


def main(argv: list[str] | None = None) -> None:
    """Run, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing written")
    args = parser.parse_args(argv)
    found = sweeps(args.quick)
    text = report(found)
    print(text)
    if not args.quick:
        rows = [{"grows": w} | vars(p) for w, (points, _) in found.items() for p in points]
        print(write("scale", rows))
        (RESULTS / "scale.md").write_text(text + "\n")
        draw(found)


if __name__ == "__main__":
    main()
