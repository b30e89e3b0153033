"""One training step of each workload on the CPU, side by side with the other libraries.

`python -m bench.cpu` takes samples of all sides in turn in one run, two threads for all, and writes
bench/results/cpu.json, cpu.md and cpu.png. `--only TEXT` picks workloads by name; `--quick` takes
few samples, leaves the compiled sides out and writes nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")

from . import chain, functions, networks
from .models import NETWORKS
from .remote import Remote
from .timing import RESULTS, summary, table, write

Call = Callable[[], Any]
BASE = "pytorch"
THREADS = 2
SLOW_TO_START = ("torch.compile", "jax")
LIBRARIES = (
    "gradengine",
    "pytorch",
    "pytorch, fused Adam",
    "torch.compile",
    "jax",
    "autograd",
    "mygrad",
)


def workloads() -> list[dict[str, Any]]:
    """Name, what is timed, the aim."""
    rows: list[dict[str, Any]] = [
        {"name": str(f), "what": "forward + vjp", "aim": f.aim} for f in functions.FUNCTIONS
    ]
    rows += [{"name": n.name, "what": n.what, "aim": n.aim} for n in NETWORKS]
    whole = {"name": chain.NAME, "what": "record + backward", "aim": chain.AIMS["time"]}
    return [*rows, whole]


def find(library: str, name: str) -> Call | None:
    """The call of one workload in one library; None where it is not offered."""
    _set_threads(library)
    for function in functions.FUNCTIONS:
        if str(function) == name:
            make = functions.SIDES.get(library)
            return None if make is None else make(function)
    for network in NETWORKS:
        if network.name == name:
            make = networks.SIDES.get(library)
            return None if make is None else make(network)
    return chain.side(library)


def _set_threads(library: str) -> None:
    if "torch" in library:
        import torch

        torch.set_num_threads(THREADS)


def measure(workload: dict[str, Any], remotes: list[Remote], quick: bool) -> dict[str, Any]:
    """Medians and ratios of one workload, the sides in turn."""
    rounds, seconds = (3, 0.01) if quick else (15, 0.15)
    counts: dict[str, tuple[Remote, int]] = {}
    for remote in remotes:
        count = remote.prepare(workload["name"], seconds)
        if count:
            counts[remote.side] = remote, count
    samples: dict[str, list[float]] = {name: [] for name in counts}
    for turn in range(rounds):
        for name in list(counts)[:: 1 if turn % 2 == 0 else -1]:
            remote, count = counts[name]
            samples[name].append(remote.sample(count))
    return workload | {"sides": summary(samples, BASE)}


def report(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of each side and our ratio to PyTorch beside the aim, as Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row["sides"]))
    header = ["workload", "timed", *(f"{n}, ms" for n in names), "ours / pytorch", "aim"]
    lines: list[list[str]] = []
    for row in rows:
        sides = row["sides"]
        times = [f"{1e3 * sides[n]['seconds']:.3f}" if n in sides else "" for n in names]
        ratio = sides["gradengine"].get("ratio")
        shown = "" if ratio is None else f"{ratio:.2f}"
        aim = "" if row["aim"] is None else f"{row['aim']:g}"
        lines.append([row["name"], row["what"], *times, shown, aim])
    return table(header, lines)


def draw(rows: list[dict[str, Any]]) -> None:
    """A bar for each side of each workload: its time over PyTorch eager's, on a log axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [n for n in dict.fromkeys(n for row in rows for n in row["sides"]) if n != BASE]
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) * len(names) / 2 + 1.6))
    height = 0.8 / len(names)
    colours = plt.get_cmap("tab10")
    for k, name in enumerate(names):
        places = [i + k * height for i, row in enumerate(rows) if name in row["sides"]]
        ratios = [row["sides"][name]["ratio"] for row in rows if name in row["sides"]]
        axes.barh(places, ratios, height, label=name, color=colours(k))
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(rows))])
    axes.set_yticklabels([row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("time / PyTorch eager's (left of the line is faster)")
    axes.legend(fontsize=8, loc="lower right")
    axes.set_title("One gradient or step on two cores")
    figure.tight_layout()
    figure.savefig(RESULTS / "cpu.png", dpi=100)


def main(argv: list[str] | None = None) -> None:
    """Run, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.cpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples, nothing written")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name has TEXT")
    args = parser.parse_args(argv)
    chosen = [w for w in workloads() if args.only.lower() in w["name"].lower()]
    names = [n for n in LIBRARIES if not (args.quick and n in SLOW_TO_START)]
    remotes = [Remote(find, name) for name in names]
    try:
        rows: list[dict[str, Any]] = []
        for workload in chosen:
            rows.append(measure(workload, remotes, args.quick))
            print(report(rows[-1:]), flush=True)
        facts = {remote.side: remote.facts() for remote in remotes}
    finally:
        for remote in remotes:
            remote.close()
    if not args.quick and not args.only:
        finish(rows, facts)


def finish(rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The memory of the chain, and everything on disk."""
    libraries = [n for n in rows[-1]["sides"] if n in ("gradengine", BASE)]
    held = {name: chain.bytes_per_op(name) for name in libraries}
    text = report(rows) + "\n\n" + memory_report(held)
    print(text)
    versions = {k: v for found in facts.values() for k, v in found.items()}
    print(write("cpu", rows, threads=THREADS, versions=versions, chain_bytes_per_op=held))
    (RESULTS / "cpu.md").write_text(text + "\n")
    draw(rows)


def memory_report(held: dict[str, float]) -> str:
    """Bytes of each library's chain and our ratio, as Markdown."""
    ratio = held["gradengine"] / held[BASE] if BASE in held else float("nan")
    cells = [f"{size:.0f}" for size in held.values()]
    header = [chain.NAME, *(f"{name}, bytes an op" for name in held)]
    row = ["recorded", *cells, f"{ratio:.2f}", f"{chain.AIMS['memory']:g}"]
    return table([*header, "ours / pytorch", "aim"], [row])


if __name__ == "__main__":
    main()
