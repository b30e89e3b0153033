"""`gradengine kernels compile` and `gradengine kernels report`: our CUDA kernels, with no GPU
needed.

Floor 1: stands on report.py, instances.py and nvrtc.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

from ..errors import GradengineError
from . import instances, nvrtc, report, source

__all__ = ["add_parser", "run_compile", "run_report"]


def add_parser(subparsers: Any) -> None:
    """Add `kernels` with its two sub-commands to the command line's parser."""
    text = "compile and measure our CUDA kernels; needs NVRTC, not a GPU"
    parser = subparsers.add_parser(
        "kernels", help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    text = "compile every kernel, or those that match"
    compile_ = commands.add_parser("compile", help=text, description=f"{text.capitalize()}.")
    _options(compile_, several=True)
    compile_.set_defaults(run=run_compile)

    text = "registers, spills, access widths, instructions per element"
    table = commands.add_parser("report", help=text, description=f"{text.capitalize()}.")
    _options(table, several=False)
    table.add_argument("--json", action="store_true", help="JSON instead of a table")
    table.set_defaults(run=run_report)


def _options(parser: argparse.ArgumentParser, *, several: bool) -> None:
    default = list(instances.ARCHITECTURES) if several else ["sm_90"]
    text = f"such as sm_90 (default: {', '.join(default)})"
    if several:
        parser.add_argument("--arch", action="append", help=f"{text}; repeatable")
    else:
        parser.add_argument("--arch", default="sm_90", help=text)
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only kernels whose C++ name holds TEXT"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        help="processes (default: all cores)",
    )


def _chosen(match: str) -> list[list[str]]:
    groups = [[n for n in names if match in n] for names in instances.groups().values()]
    return [names for names in groups if names]


def run_compile(options: argparse.Namespace) -> int:
    """Compile for every architecture asked for; status 1 at the first kernel that does not."""
    return _guarded(_compile, options)


def _compile(options: argparse.Namespace) -> int:
    groups = _chosen(options.match)
    if not groups:
        return _nothing(options.match)
    major, minor = nvrtc.version()
    print(f"NVRTC {major}.{minor}, sources in {source.folder()}")
    for arch in options.arch or instances.ARCHITECTURES:
        start = time.perf_counter()
        rows = report.measure(groups, arch, options.jobs, code=False)
        spilled = sum(row.spills > 0 for row in rows)
        print(
            f"{arch}: {len(rows)} kernels, {spilled} with spills, "
            f"at most {max(row.registers for row in rows)} registers, "
            f"{time.perf_counter() - start:.1f} s"
        )
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Print the table of every kernel for one architecture."""
    return _guarded(_report, options)


def _report(options: argparse.Namespace) -> int:
    groups = _chosen(options.match)
    if not groups:
        return _nothing(options.match)
    rows = report.measure(groups, options.arch, options.jobs)
    if options.json:
        extra = [{**asdict(row), "bytes": row.bytes, "share": row.share} for row in rows]
        print(json.dumps(extra, indent=1))
        return 0
    print(report.table(rows))
    print(
        f"\n{len(rows)} kernels for {options.arch}. instr/elem: of the vector loops, rare branches "
        "included; reach: at most\nthis share of the memory bandwidth by instruction issue "
        f"({report.INSTRUCTIONS_PER_BYTE:.1f} instructions per byte on an H200)."
    )
    if report.disassembler() is None:
        print("Widths and instructions need nvdisasm: pip install nvidia-cuda-nvdisasm")
    return 0


def _nothing(match: str) -> int:
    print(f"no kernel's name holds {match!r}", file=sys.stderr)
    return 1


def _guarded(work: Any, options: argparse.Namespace) -> int:
    try:
        return work(options)
    except (GradengineError, nvrtc.NvrtcMissing) as error:
        print(error, file=sys.stderr)
        return 1
