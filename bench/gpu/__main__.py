"""`python -m bench.gpu`: kernels, products, steps and CPU against GPU, on the GPU at hand.

Side by side with PyTorch eager, `torch.compile` and JAX where they are installed, in one run.
Writes bench/results/gpu-<name>.json, .md and two pictures; the JSON after every subject, so that
nothing measured is lost where a run is cut short, and `--resume` goes on from there. `--standin`
runs all of it on the stand-in device at tiny sizes: it shows that everything runs, its times mean
nothing and nothing is written unless `--folder` says where.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import re
import statistics
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.timing import RESULTS, machine

from . import kernels, report, training
from .clock import TINY, Clock, Scale, Subject


def copy_bandwidth(clock: Clock, elements: int) -> float:
    """Bytes read and written per second by the device's own copy."""
    cupy: Any = importlib.import_module("cupy")
    x, y = cupy.zeros(elements, "float32"), cupy.zeros(elements, "float32")

    def copy() -> None:
        y[...] = x

    return 2 * x.nbytes / statistics.median(clock.samples({"copy": copy})["copy"])


Keep = Callable[[dict[str, Any]], None]


def run(scale: Scale, torch: Any, only: str, earlier: dict[str, Any], keep: Keep) -> dict[str, Any]:
    """All measurements that `earlier` has not; `keep` gets the results after each of them.

    A subject that fails is reported and does not stop the others.
    """
    cupy: Any = importlib.import_module("cupy")
    clock = Clock(cupy.cuda.runtime.deviceSynchronize, scale)
    found: dict[str, Any] = {
        "device": device_name(cupy),
        "machine": machine(),
        "rows": [],
        "copy": 0,
    }
    found |= {"crossing": {"points": [], "crossing": None}} | earlier | {"failures": []}
    found["copy"] = found["copy"] or copy_bandwidth(clock, scale.elements)
    print(f"{found['device']}: copy {found['copy'] / 1e12:.3f} TB/s", flush=True)
    there = {(row["group"], row["name"]) for row in found["rows"]}
    for source in (kernels.subjects, training.subjects):
        for subject in _each(source(scale, torch), found["failures"]):
            wanted = only.lower() in subject.name.lower()
            if wanted and (subject.group, subject.name) not in there:
                _measured(clock, subject, found)
                found["machine"] = machine()  # by now the peers' versions are known
                keep(found)
            subject.sides.clear()
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()
    if only.lower() in "cpu against gpu":
        for _ in _each(training.crossing(scale, clock, found["crossing"]), found["failures"]):
            keep(found)
    return found


def _each(source: Iterable[Any], failures: list[str]) -> Iterable[Any]:
    """What `source` gives, up to where it fails."""
    try:
        yield from source
    except Exception:
        failures.append(traceback.format_exc())
        print(failures[-1], flush=True)


def _measured(clock: Clock, subject: Subject, found: dict[str, Any]) -> None:
    try:
        row = clock.measure(subject, found["copy"])
    except Exception:
        found["failures"].append(f"{subject.name}\n{traceback.format_exc()}")
        print(found["failures"][-1], flush=True)
        return
    found["rows"].append(row)
    shown = {name: f"{1e6 * t:.1f} us" for name, t in row["seconds"].items()}
    extra = {k: round(row[k], 3) for k in ("share", "speed") if k in row}
    print(subject.group, subject.name, shown, extra, flush=True)


def device_name(cupy: Any) -> str:
    """The GPU's name."""
    properties = getattr(cupy.cuda.runtime, "getDeviceProperties", None)
    name = properties(0)["name"] if properties else "stand-in"
    return name.decode() if isinstance(name, bytes) else str(name)


def _torch(standin: bool) -> Any:
    if standin:
        return None
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--standin", action="store_true", help="tiny, on the stand-in device")
    parser.add_argument("--only", default="", metavar="TEXT", help="subjects whose name has TEXT")
    parser.add_argument("--folder", type=Path, help="where to write (default: bench/results)")
    parser.add_argument("--resume", action="store_true", help="measure what the JSON has not")
    args = parser.parse_args(argv)
    # JAX would otherwise take three quarters of the memory for itself
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if args.standin:
        from gradengine.cuda.standin import standin

        place, scale = standin(), TINY
    else:
        place, scale = nullcontext(), Scale()
    folder = args.folder or (None if args.standin else RESULTS)
    with place:
        stem = None if folder is None else stem_in(folder)
        earlier = read(stem) if args.resume and stem is not None else {}
        found = run(scale, _torch(args.standin), args.only, earlier, lambda f: write(f, stem))
    print(report.markdown(found))
    write(found, stem)
    for path in () if stem is None else report.draw(found, stem):
        print(path)
    return 1 if found["failures"] else 0


def stem_in(folder: Path) -> Path:
    """Where this GPU's results go, without the suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    name = device_name(importlib.import_module("cupy"))
    return folder / f"gpu-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


def read(stem: Path) -> dict[str, Any]:
    """The results of a run before; empty where there was none."""
    path = stem.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else {}


def write(found: dict[str, Any], stem: Path | None) -> None:
    """The numbers and the table, whole files at any moment."""
    if stem is None:
        return
    texts = {".json": json.dumps(found, indent=1), ".md": report.markdown(found)}
    for suffix, text in texts.items():
        fresh = stem.with_suffix(f"{suffix}.part")
        fresh.write_text(text + "\n")
        fresh.replace(stem.with_suffix(suffix))


if __name__ == "__main__":
    raise SystemExit(main())
