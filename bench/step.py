"""One training step of the perceptron 784-256-128-10 at batch 512: forward, backward, Adam.

`python -m bench.step` measures (forward + backward) / forward of ours, and our step against
PyTorch eager's (Adam in its default and its fused form), two threads for all, in one run.
"""

from __future__ import annotations

import argparse
import importlib
import os
from itertools import pairwise
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np

import gradengine as ge
from gradengine import nn, optim

from .timing import RESULTS, in_turn, summary, table, write

WIDTHS = (784, 256, 128, 10)


def ours(x: Any, labels: Any) -> dict[str, Any]:
    """Forward, forward plus backward, and the whole step, on our engine."""
    ge.manual_seed(0)
    layers: list[Any] = []
    for i, o in pairwise(WIDTHS):
        layers += [nn.Linear(i, o), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    opt = optim.Adam(model.parameters(), lr=1e-3)
    inputs, targets = ge.tensor(x), ge.tensor(labels)

    def forward() -> Any:
        return ge.cross_entropy(model(inputs), targets)

    def both() -> None:
        opt.zero_grad()
        forward().backward()

    def step() -> None:
        both()
        opt.step()

    return {"forward": forward, "forward+backward": both, "step": step}


def theirs(x: Any, labels: Any) -> dict[str, Any]:
    """The same on PyTorch eager."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    layers: list[Any] = []
    for i, o in pairwise(WIDTHS):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    inputs, targets = torch.tensor(x), torch.tensor(labels)

    def make(fused: bool) -> Any:
        model = torch.nn.Sequential(*layers[:-1])
        opt = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

        def forward() -> Any:
            return torch.nn.functional.cross_entropy(model(inputs), targets)

        def both() -> None:
            opt.zero_grad()
            forward().backward()

        def step() -> None:
            both()
            opt.step()

        return forward, both, step

    plain, fused = make(False), make(True)
    return {
        "torch forward": plain[0],
        "torch forward+backward": plain[1],
        "torch step": plain[2],
        "torch step fused": fused[2],
    }


def main(argv: list[str] | None = None) -> None:
    """Run, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.step", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples, nothing written")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for batch in (64, 512):
        x = rng.random((batch, WIDTHS[0]), dtype=np.float32)
        labels = rng.integers(0, WIDTHS[-1], batch)
        calls = ours(x, labels)
        try:
            calls |= theirs(x, labels)
        except ImportError:
            print("PyTorch is not installed: only our side is timed")
        samples = in_turn(calls, *((3, 0.01) if args.quick else (21, 0.1)))
        rows.append({"batch": batch, "sides": summary(samples, "torch step")})
        pairs = zip(samples["forward+backward"], samples["forward"], strict=True)
        rows[-1]["backward_in_forwards"] = float(np.median([b / f for b, f in pairs]))
    text = report(rows)
    print(text)
    if not args.quick:
        print(write("step", rows, widths=WIDTHS))
        (RESULTS / "step.md").write_text(text + "\n")


def report(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of each part and the ratios, as Markdown."""
    lines: list[list[str]] = []
    for row in rows:
        for name, found in row["sides"].items():
            ratio = found.get("ratio")
            shown = "" if ratio is None else f"{ratio:.2f}"
            lines.append([str(row["batch"]), name, f"{1e3 * found['seconds']:.3f}", shown])
        cost = f"{row['backward_in_forwards']:.2f} forwards"
        lines.append([str(row["batch"]), "(forward + backward) / forward", cost, ""])
    return table(["batch", "part", "ms", "/ torch step"], lines)


if __name__ == "__main__":
    main()
