"""The CUDA sources: where `kernels/` is, its files with their includes inlined, and what they
define.

`kernels/` travels in the wheel as `gradengine/kernels` and stands beside the package in a checkout;
a folder counts only if `common.cuh` is in it, since another package on PyPI is called `kernels`
too. Includes are inlined because a compiler cache that hashes the source would not see a changed
header; `#line` keeps the compiler's messages in our files.

Floor 1: stands on errors.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import MissingDependencyError, hinted

__all__ = ["Functor", "folder", "functors", "inlined", "kernels", "line_of", "units"]

SENTINEL = "common.cuh"
HEADERS = ("activations.cuh", "elementary.cuh", "arithmetic.cuh")


# --- finding the folder --------------------------------------------------------------------------


def folder(package: Path | None = None) -> Path:
    """The folder of the CUDA sources of the package at `package` (ours, unless given)."""
    package = Path(__file__).resolve().parent.parent if package is None else package
    candidates = (package / "kernels", package.parent / "kernels")
    for candidate in candidates:
        if (candidate / SENTINEL).is_file():
            return candidate
    raise MissingDependencyError(
        hinted(
            f"kernels: no CUDA sources: {SENTINEL} is neither in {candidates[0]} "
            f"nor in {candidates[1]}",
            "install gradengine again: python -m pip install --force-reinstall gradengine",
        )
    )


def units(root: Path | None = None) -> list[str]:
    """The translation units, `map.cu` and its like, by name.

    >>> "map.cu" in units()
    True
    """
    return sorted(path.name for path in (root or folder()).glob("*.cu"))


# --- inlining ------------------------------------------------------------------------------------

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def inlined(unit: str, root: Path | None = None) -> str:
    """The text of `unit` with every `#include "..."` of ours replaced by that file, once each."""
    root = folder() if root is None else root
    seen: set[str] = set()

    def expand(name: str) -> str:
        seen.add(name)
        lines = [f'#line 1 "{name}"']
        for number, line in enumerate((root / name).read_text(encoding="utf-8").splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                lines.append("" if line.startswith("#pragma once") else line)
            elif include[1] not in seen:
                lines += [expand(include[1]), f'#line {number + 1} "{name}"']
            else:
                lines.append("")
        return "\n".join(lines)

    return expand(unit) + "\n"


def line_of(name: str, number: int, root: Path | None = None) -> str:
    """Line `number` of the source file `name`, or "" where there is none."""
    path = (root or folder()) / name
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""


# --- what the sources define ---------------------------------------------------------------------

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")


@lru_cache(maxsize=8)
def kernels(root: Path | None = None) -> dict[str, str]:
    """Kernel name -> the unit that defines it.

    >>> kernels()["map_forward"]
    'map.cu'
    """
    root = folder() if root is None else root
    found: dict[str, str] = {}
    for unit in units(root):
        for name in _KERNEL.findall((root / unit).read_text(encoding="utf-8")):
            if name in found:
                raise ValueError(f"kernels: {name} is defined in {found[name]} and in {unit}")
            found[name] = unit
    return found


@dataclass(frozen=True)
class Functor:
    """A functor of a header: its name, its operands (1 or 2), its parameters in order."""

    name: str
    header: str
    arity: int
    parameters: tuple[str, ...]


_FUNCTOR = re.compile(r"^template <class M> struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_MEMBERS = re.compile(r"^  A ([\w, ]+);$", re.MULTILINE)


@lru_cache(maxsize=8)
def functors(root: Path | None = None) -> dict[str, Functor]:
    """Every functor by name, in the order of the headers.

    >>> functors()["LeakyRelu"].parameters, functors()["Prelu"].arity
    (('negative_slope',), 2)
    """
    return _functors(root, HEADERS)


def outputs(root: Path | None = None) -> dict[str, Functor]:
    """The functors of outputs.cuh: derivatives of y, for the vjp kernels alone.

    >>> outputs()["SqrtFromOutput"].arity
    1
    """
    return _functors(root, ("outputs.cuh",))


def _functors(root: Path | None, headers: tuple[str, ...]) -> dict[str, Functor]:
    root = folder() if root is None else root
    found: dict[str, Functor] = {}
    for header in headers:
        for name, body in _FUNCTOR.findall((root / header).read_text(encoding="utf-8")):
            members = _MEMBERS.findall(body)
            names = tuple(n.strip() for line in members for n in line.split(","))
            found[name] = Functor(name, header, 2 if "partial_b(" in body else 1, names)
    return found
