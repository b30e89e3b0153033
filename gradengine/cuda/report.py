"""What the compiler made of each kernel: registers, spills, access widths, instructions per
element.

Read from NVRTC's log (`-Xptxas -v`) and, where `nvdisasm` is installed, from the machine code, so
it needs no GPU. The last column is an upper bound: the share of the memory bandwidth a kernel can
reach if every lane issues an instruction every clock; latency and launch cost come on top.

Floor 1: stands on instances.py, kernels.py, source.py, nvrtc.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import instances, kernels, nvrtc, source

__all__ = [
    "INSTRUCTIONS_PER_BYTE",
    "Resources",
    "disassembler",
    "measure",
    "measure_all",
    "measure_group",
    "table",
]

INSTRUCTIONS_PER_BYTE = 132 * 128 * 1.98e9 / 4.3e12
"""What an H200 can issue per byte it moves: 132 multiprocessors, 128 lanes, 1.98 GHz, 4.3 TB/s."""


@dataclass(frozen=True)
class Resources:
    """One compiled kernel: widths in bits, `instructions` per element of the vector loops."""

    name: str
    arch: str
    registers: int
    spills: int
    stack: int
    shared: int
    load: int = 0
    store: int = 0
    calls: int = 0
    instructions: float | None = None

    @property
    def bytes(self) -> float | None:
        """Bytes per element that the kernel must move."""
        return instances.bytes_per_element(self.name)

    @property
    def share(self) -> float | None:
        """At most this share of the bandwidth, by instruction issue."""
        if self.instructions is None or self.bytes is None:
            return None
        return min(1.0, INSTRUCTIONS_PER_BYTE * self.bytes / self.instructions)


# --- compiling and measuring ---------------------------------------------------------------------


Work = tuple[list[str], str, bool, str]


LARGEST = 48  # kernels compiled in one go: small enough that the processes end together


def measure(
    groups: Iterable[Sequence[str]],
    arch: str,
    jobs: int = 2,
    *,
    code: bool = True,
    cache: Path | None = None,
) -> list[Resources]:
    """Compile groups of kernels, each of one unit, in `jobs` processes; raises on an error.

    `code` reads the machine code too; `cache` is a folder where measurements are kept by a hash of
    the sources.
    """
    return measure_all(groups, {arch: code}, jobs, cache=cache)[arch]


def measure_all(
    groups: Iterable[Sequence[str]],
    archs: Mapping[str, bool],
    jobs: int = 2,
    *,
    cache: Path | None = None,
) -> dict[str, list[Resources]]:
    """The same for several architectures at once; the flag of each says whether to read code."""
    listed = [
        list(names)[i : i + LARGEST] for names in groups for i in range(0, len(names), LARGEST)
    ]
    place = {name: i for i, name in enumerate(name for names in listed for name in names)}
    work: list[Work] = [
        (names, arch, code, str(cache or ""))
        for names in listed
        if names
        for arch, code in archs.items()
    ]
    work.sort(key=lambda item: -len(item[0]))  # the long ones first, so that all end together
    if jobs == 1 or len(work) == 1:
        done = [measure_group(item) for item in work]
    else:  # processes: NVRTC compiles one program at a time in each
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            done = list(pool.map(measure_group, work))
    result: dict[str, list[Resources]] = {arch: [] for arch in archs}
    for rows in done:
        result[rows[0].arch] += rows
    return {arch: sorted(rows, key=lambda row: place[row.name]) for arch, rows in result.items()}


def measure_group(work: Work) -> list[Resources]:
    """Compile one group and read its log and, with `code`, its machine code."""
    names, arch, code, cache = work
    unit = source.kernels()[names[0].partition("<")[0]]
    text = source.inlined(unit)
    kept: Path | None = None
    if cache:
        own = Path(__file__).read_text(encoding="utf-8")
        kept = Path(cache) / f"{kernels.key(text + own, [*names, str(code)], arch)}.rows.json"
        if kept.is_file():
            return [Resources(**row) for row in json.loads(kept.read_text(encoding="utf-8"))]
    rows = _measured(unit, text, names, arch, code)
    if kept is not None:
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        os.replace(temporary, kept)
    return rows


def _measured(unit: str, text: str, names: list[str], arch: str, code: bool) -> list[Resources]:
    try:
        options = (*kernels.OPTIONS, "--ptxas-options=-v")
        result = nvrtc.compile_cubin(text, names, arch, options, unit)
    except nvrtc.NvrtcError as error:
        raise kernels.KernelCompileError(kernels.explain(error, unit, names, arch)) from error
    logged = parse_log(result.log)
    found = disassemble(result.cubin) if code and disassembler() else {}
    rows: list[Resources] = []
    for name in names:
        lowered = result.names[name]
        facts = logged.get(lowered)
        if facts is None:
            raise kernels.KernelCompileError(f"kernels: the compiler's log has nothing on {name}")
        rows.append(Resources(name, arch, *facts, **summary(name, found.get(lowered, []))))
    return rows


_ENTRY = re.compile(r"Compiling entry function '(\S+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def parse_log(log: str) -> dict[str, tuple[int, int, int, int]]:
    """Mangled name -> (registers, spilled bytes, stack bytes, static shared bytes)."""
    rows: dict[str, tuple[int, int, int, int]] = {}
    current, frame = "", (0, 0)
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            current, frame = entry[1], (0, 0)
        elif match := _FRAME.search(line):
            frame = (int(match[2]) + int(match[3]), int(match[1]))
        elif (match := _USED.search(line)) and current:
            rows[current] = (int(match[1]), *frame, int(match[2] or 0))
            current = ""
    return rows


# --- machine code --------------------------------------------------------------------------------


def disassembler() -> str | None:
    """`nvdisasm` of the pip wheel or of the system, or None."""
    for entry in sys.path:
        candidate = Path(entry or ".") / "nvidia" / "cu13" / "bin" / "nvdisasm"
        if candidate.is_file():
            return str(candidate)
    return shutil.which("nvdisasm")


_SECTION = re.compile(r"\s*\.text\.(\S+):")
_LABEL = re.compile(r"\s*(\.L_\S+):")
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(.*?);")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_\w+)")


def disassemble(cubin: bytes) -> dict[str, list[str]]:
    """Mangled name -> its lines: instructions, and labels ending in a colon."""
    tool = disassembler()
    if tool is None:
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=True)
    result: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.stdout.splitlines():
        if match := _INSTRUCTION.match(line):
            lines.append(match[1])
        elif match := _LABEL.match(line):
            lines.append(match[1] + ":")
        elif match := _SECTION.match(line):
            lines = result.setdefault(match[1], [])
    return result


def loops(lines: Sequence[str]) -> list[list[str]]:
    """The bodies of the innermost loops that move vectors (128 bits, or 64)."""
    places = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    spans: list[tuple[int, int]] = []
    for i, line in enumerate(lines):
        branch = _BRANCH.search(line)
        if branch and places.get(branch[1], i) < i:
            spans.append((places[branch[1]], i))
    moving = [s for s in spans if any(_moves(line) for line in lines[s[0] : s[1]])]
    inner = [s for s in moving if not any(t != s and s[0] <= t[0] and t[1] <= s[1] for t in moving)]
    return [[x for x in lines[a : b + 1] if not x.endswith(":")] for a, b in inner]


def _moves(line: str) -> bool:
    return re.search(r"\b(LDG|STG|LDS|STS)\b.*\.(128|64)\b", line.partition(" R")[0]) is not None


def _count(body: Sequence[str], operation: str, bits: str = "(128|64)") -> int:
    pattern = re.compile(rf"\b{operation}\S*\.{bits}\b")
    return sum(pattern.search(line) is not None for line in body)


def _width(lines: Sequence[str], operation: str) -> int:
    for bits in (128, 64):
        if _count(lines, operation, str(bits)):
            return bits
    return 32 if any(re.search(rf"\b{operation}\b", line) for line in lines) else 0


INPUTS = {
    "map_vjp": 2,
    "map2_forward": 2,
    "map2_vjp": 3,
    "softmax_vjp": 2,
    "norm_vjp": 2,
    "adam_step": 4,
}
"""Vectors read per vector of elements, where it is not one."""


def summary(name: str, lines: Sequence[str]) -> dict[str, Any]:
    """Access widths, calls and instructions per element from a kernel's code.

    A row kernel has one loop per pass: for each kind of pass (which memories it reads and writes)
    the leanest loop counts, and the kinds are added.
    """
    if not lines:
        return {}
    bodies = loops(lines)
    passes: dict[tuple[bool, ...], float] = {}
    per_vector = elements_per_vector(name)
    inputs = INPUTS.get(instances.parse(name)[0], 1)
    for body in bodies:
        stores = _count(body, "STG")
        reads = _count(body, "LDG"), _count(body, "LDS")
        outputs = 2 if name.startswith("map2_vjp") else 1
        vectors = stores / outputs if stores and "step" not in name else max(reads) / inputs
        if not vectors or per_vector is None:
            continue
        kind = tuple(bool(_count(body, op)) for op in ("LDG", "LDS", "STG"))
        cost = len(body) / (vectors * per_vector)
        passes[kind] = min(passes.get(kind, cost), cost)
    return {
        "load": _width(lines, "LDG"),
        "store": _width(lines, "STG"),
        "calls": sum("CALL" in line for body in bodies for line in body),
        "instructions": sum(passes.values()) if passes else None,
    }


def elements_per_vector(name: str) -> int | None:
    """Elements of one vector access of a kernel, from its template arguments; None if scalar."""
    kernel, arguments = instances.parse(name)
    if kernel.endswith("_strided") or kernel in (
        *("transpose", "advance_offset", "random_uniform", "total_loss"),
    ):
        return None
    numbers = [int(a) for a in arguments if a.isdigit()]
    size = next((instances.SIZES[a] for a in arguments if a in instances.SIZES), None)
    if numbers:
        return numbers[-1] if numbers[-1] > 1 else None
    return 16 // size if size else None


# --- the table -----------------------------------------------------------------------------------

HEAD = ("kernel", "regs", "spill B", "load", "store", "B/elem", "instr/elem", "reach")


def table(rows: Sequence[Resources]) -> str:
    """The rows as aligned text; a dash where a number does not apply."""
    cells = [HEAD] + [
        (
            row.name,
            str(row.registers),
            str(row.spills),
            str(row.load or "-"),
            str(row.store or "-"),
            "-" if row.bytes is None else f"{row.bytes:g}",
            "-" if row.instructions is None else f"{row.instructions:.1f}",
            "-" if row.share is None else f"{row.share:.0%}",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )
