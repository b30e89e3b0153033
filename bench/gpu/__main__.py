"""`python -m bench.gpu`: kernels, products, steps and CPU against GPU, on the GPU at hand.

Side by side with PyTorch eager, `torch.compile` and JAX where they are installed, in one run.
Writes bench/results/gpu-<name>.json, .md and two pictures. `--standin` runs all of it on the
stand-in device at tiny sizes: it shows that everything runs, its times mean nothing and nothing is
written unless `--folder` says where.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import re
import statistics
import traceback
from collections.abc import Iterable
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


def run(scale: Scale, torch: Any, only: str) -> dict[str, Any]:
    """All measurements; a subject that fails is reported and does not stop the others."""
    cupy: Any = importlib.import_module("cupy")
    clock = Clock(cupy.cuda.runtime.deviceSynchronize, scale)
    found: dict[str, Any] = {"device": device_name(cupy), "machine": machine(), "rows": []}
    found["copy"] = copy_bandwidth(clock, scale.elements)
    found["failures"] = []
    print(f"{found['device']}: copy {found['copy'] / 1e12:.3f} TB/s", flush=True)
    for source in (kernels.subjects, training.subjects):
        for subject in _each(source(scale, torch), found["failures"]):
            if only.lower() in subject.name.lower():
                _measured(clock, subject, found)
            subject.sides.clear()
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()
    found["crossing"] = training.crossing(scale, clock, lambda text: print(text, flush=True))
    return found


def _each(subjects: Iterable[Subject], failures: list[str]) -> Iterable[Subject]:
    try:
        yield from subjects
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
    args = parser.parse_args(argv)
    if args.standin:
        from gradengine.cuda.standin import standin

        place, scale = standin(), TINY
    else:
        place, scale = nullcontext(), Scale()
    with place:
        found = run(scale, _torch(args.standin), args.only)
    folder = args.folder or (None if args.standin else RESULTS)
    text = report.markdown(found)
    print(text)
    if folder is not None:
        write(found, folder, text)
    return 1 if found["failures"] else 0


def write(found: dict[str, Any], folder: Path, text: str) -> None:
    """The JSON, the table and the pictures, named after the GPU."""
    name = re.sub(r"[^a-z0-9]+", "-", found["device"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"gpu-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"gpu-{name}.md").write_text(text + "\n")
    for path in report.draw(found, folder, name):
        print(path)


if __name__ == "__main__":
    raise SystemExit(main())
