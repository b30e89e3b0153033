"""One training step of each workload on the CPU, side by side with the other libraries.

`python -m bench.cpu` takes samples of all sides in turn in one run, two threads for all, and writes
bench/results/cpu.json, cpu.md and cpu.png. `--only TEXT` picks workloads by name; `--quick` takes
few samples, leaves the compiled sides out and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")

from . import chain, functions, networks
from .models import NETWORKS
from .timing import RESULTS, in_turn, summary, table, write

Call = Callable[[], Any]
BASE = "pytorch"
THREADS = 2
SLOW_TO_START = ("torch.compile", "jax")


def workloads(only: str, quick: bool) -> list[dict[str, Any]]:
    """Name, what is timed, the aim, and the calls of every side that is installed."""
    found: list[dict[str, Any]] = []
    for function in functions.FUNCTIONS:
        name = f"{function.name}, {'x'.join(map(str, function.shape))}"
        if only.lower() in name.lower():
            calls = _sides(functions.SIDES, function, quick)
            found.append(
                {"name": name, "what": "forward + vjp", "aim": function.aim, "calls": calls}
            )
    for network in NETWORKS:
        if only.lower() in network.name.lower():
            calls = _sides(networks.SIDES, network, quick)
            row = {"name": network.name, "what": network.what, "aim": network.aim}
            found.append(row | {"calls": calls})
    if only.lower() in chain.NAME:
        calls = chain.sides(1_000 if quick else chain.DEPTH)
        row = {"name": chain.NAME, "what": "record + backward", "aim": chain.AIMS["time"]}
        found.append(row | {"calls": calls})
    return found


def _sides(makers: dict[str, Any], subject: Any, quick: bool) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for name, make in makers.items():
        if quick and name in SLOW_TO_START:
            continue
        try:
            call = make(subject)
            if call is not None:
                start = time.perf_counter()
                call()
                print(f"  {name}: first call {time.perf_counter() - start:.1f} s", flush=True)
                calls[name] = call
        except ImportError:
            continue
    return calls


def measure(workload: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Medians and ratios of one workload."""
    rounds, seconds = (3, 0.01) if quick else (15, 0.15)
    row = {key: workload[key] for key in ("name", "what", "aim")}
    return row | {"sides": summary(in_turn(workload["calls"], rounds, seconds), BASE)}


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
    _set_threads()
    rows: list[dict[str, Any]] = []
    for workload in workloads(args.only, args.quick):
        rows.append(measure(workload, args.quick))
        print(report(rows[-1:]), flush=True)
    text = report(rows)
    print(text)
    if not args.quick and not args.only:
        held = {name: chain.bytes_per_op(name) for name in chain.sides()}
        text += "\n\n" + memory_report(held)
        print(text)
        print(write("cpu", rows, threads=THREADS, chain_bytes_per_op=held))
        (RESULTS / "cpu.md").write_text(text + "\n")
        draw(rows)


def memory_report(held: dict[str, float]) -> str:
    """Bytes of each library's chain and our ratio, as Markdown."""
    ratio = held["gradengine"] / held[BASE] if BASE in held else float("nan")
    cells = [f"{size:.0f}" for size in held.values()]
    header = ["chain of 100 000 ops", *(f"{name}, bytes an op" for name in held)]
    aim = f"{chain.AIMS['memory']:g}"
    row = ["recorded", *cells, f"{ratio:.2f}", aim]
    return table([*header, "ours / pytorch", "aim"], [row])


def _set_threads() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(THREADS)


if __name__ == "__main__":
    main()
