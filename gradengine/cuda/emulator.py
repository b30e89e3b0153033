"""A back end without a GPU: the real CUDA sources compiled by g++ and run on NumPy arrays.

The same launch code that drives CuPy drives this one, so kernels, grids, argument packing and
choices of kernel are tested on any machine with g++ and the CUDA headers. Arrays it allocates are
filled with NaN bits and end at a page that may not be touched, so an element never written and a
read past the end both show. Orders of threads and blocks follow `seed`.

Floor 1: stands on kernels.py, source.py, nvrtc.py (for the headers) and emulator.h.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GradengineError, MissingDependencyError, hinted
from . import nvrtc, source
from .kernels import Function

__all__ = ["EmulatedFault", "EmulatorBackend", "build", "guarded", "missing"]

HEADER = Path(__file__).with_name("emulator.h")
# Traps instead of messages: a misaligned vector or a wrong shared index raises a signal that the
# emulator turns into an error, without a sanitizer's runtime in the process.
FLAGS = (
    *(
        "-std=c++17",
        "-O1",
        "-fPIC",
        "-w",
        "-fno-strict-aliasing",
        "-ffp-contract=off",
        "-fno-gnu-unique",
    ),
    *("-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error"),
)


class EmulatedFault(GradengineError, RuntimeError):
    """A kernel did what a GPU would not forgive; the message names block and thread."""


def missing() -> str | None:
    """Why the emulator cannot run here, or None if it can."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    try:
        folders = nvrtc.include_directories()
    except nvrtc.NvrtcMissing as error:
        return str(error)
    for header in ("crt/host_defines.h", "nv/target"):
        if not any((Path(folder) / header).is_file() for folder in folders):
            wheel = "nvidia-cuda-crt" if header.startswith("crt") else "nvidia-cuda-cccl"
            return f"{header} is not in {folders[0]}; pip install {wheel}"
    return None


# --- compiling -----------------------------------------------------------------------------------


def build_folder() -> Path:
    """Builds are kept by hash in `$GRADENGINE_EMULATOR_CACHE` or a folder of the temporary one."""
    chosen = os.environ.get("GRADENGINE_EMULATOR_CACHE")
    path = (
        Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"gradengine-emulator-{_user()}"
    )
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "0"


def _base() -> list[str]:
    return ["g++", *FLAGS, *(f"-I{folder}" for folder in nvrtc.include_directories())]


@lru_cache(maxsize=4)
def _identity() -> str:
    """What every build depends on beside its source: header, flags, compiler."""
    gcc = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    return hashlib.sha256((HEADER.read_text() + gcc + " ".join(_base())).encode()).hexdigest()


def _run(command: Sequence[str], target: Path) -> None:
    """Run a compiler whose output reaches `target` whole, whoever else builds it meanwhile."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.{id(command)}")
    done = subprocess.run(
        [*command, "-o", str(temporary)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EmulatedFault(f"g++ failed:\n{done.stderr[:4000]}")
    os.replace(temporary, target)


@lru_cache(maxsize=4)
def _precompiled(defines: tuple[str, ...]) -> Path:
    """The folder of the precompiled emulator header: it saves a second per build."""
    key = hashlib.sha256((_identity() + " ".join(defines)).encode()).hexdigest()[:16]
    folder = build_folder() / f"header-{key}"
    folder.mkdir(exist_ok=True)
    header = folder / "ge_emulator_main.h"
    if not (folder / "ge_emulator_main.h.gch").exists():
        header.write_text(f'#define GE_EMULATOR_MAIN 1\n#include "{HEADER}"\n')
        command = [*_base(), *defines, "-x", "c++-header", str(header)]
        _run(command, folder / "ge_emulator_main.h.gch")
    return folder


def build(text: str, defines: Sequence[str] = ()) -> Path:
    """Compile C++ that includes our sources to a shared library; builds are kept by hash."""
    defines = tuple(defines)
    key = hashlib.sha256("\0".join([text, _identity(), *defines]).encode()).hexdigest()[:24]
    library = build_folder() / f"{key}.so"
    if not library.exists():
        header = _precompiled(defines)
        file = build_folder() / f"{key}.cpp"
        file.write_text(f'#include "ge_emulator_main.h"\n{text}')
        command = [*_base(), *defines, "-shared", f"-I{header}", str(file)]
        _run(command, library)
    return library


# --- memory that notices -------------------------------------------------------------------------

_PAGE = mmap.PAGESIZE


def guarded(shape: tuple[int, ...], dtype: Any, *, fill: int = 0xFF, shift: int = 0) -> Any:
    """A NumPy array whose last byte lies `shift` bytes before a page that may not be touched.

    Its bytes are `fill`: NaN in every float type. Sizes that are no multiple of 16 leave up to 15
    bytes of slack, so that the start stays on a 16-byte boundary, as CuPy's allocations do.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = -(-max(size + shift, 1) // 16) * 16
    pages = -(-room // _PAGE) * _PAGE
    memory = mmap.mmap(-1, pages + _PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + pages), ctypes.c_size_t(_PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect failed")
    flat = np.frombuffer(memory, np.uint8, pages)
    flat[:] = fill
    start = pages - room
    return flat[start : start + size].view(dtype).reshape(shape)


# --- the back end --------------------------------------------------------------------------------


class EmulatorBackend:
    """Runs kernels on NumPy arrays; `calls` lists the kernels launched, newest last."""

    name = "emulator"

    def __init__(
        self, seed: int = 0, *, guard: bool = True, multiprocessors: int = 3, shared: int = 40_000
    ) -> None:
        reason = missing()
        if reason is not None:
            raise MissingDependencyError(hinted(f"emulator: {reason}", "install it"))
        self.seed = seed
        self.guard = guard
        self.calls: list[str] = []
        self._multiprocessors = multiprocessors
        self._shared = shared
        self._functions: dict[str, Any] = {}

    def add(self, text: str, names: Sequence[str]) -> None:
        """Compile CUDA source of one's own (the planted faults of the tests) and its kernels."""
        exports = "\n".join(
            f"GE_EMULATOR_EXPORT(ge_kernel_{i}, {name})" for i, name in enumerate(names)
        )
        library = ctypes.CDLL(str(build(f"{text}\n{exports}\n")))
        for i, name in enumerate(names):
            function = getattr(library, f"ge_kernel_{i}")
            function.restype = ctypes.c_int
            self._functions[name] = (function, name)

    def prepare(self, names: Iterable[str], jobs: int = 2) -> None:
        """Compile many kernels, one library per unit and dtype, `jobs` of them at a time."""
        known = source.kernels()
        groups: dict[tuple[str, str], list[str]] = {}
        for name in dict.fromkeys(names):
            if name not in self._functions:
                unit = known[name.partition("<")[0]]
                groups.setdefault((unit, name.rpartition(",")[2]), []).append(name)
        _precompiled(())
        with ThreadPoolExecutor(jobs) as pool:
            texts = [source.inlined(unit) for unit, _ in groups]
            list(pool.map(self.add, texts, groups.values()))

    def function(self, kernel: str, shared: int) -> Function:
        if shared > self._shared:
            raise EmulatedFault(f"{kernel}: {shared} bytes of shared memory, {self._shared} there")
        if kernel not in self._functions:
            unit = source.kernels().get(kernel.partition("<")[0])
            if unit is None:
                raise ValueError(f"kernels: there is no kernel {kernel!r}")
            self.add(source.inlined(unit), [kernel])
        return self._functions[kernel]

    def start(
        self,
        function: Function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        packed: Any,
        shared: int,
        stream: Any,
    ) -> None:
        call, name = function
        threads = block[0] * block[1] * block[2]
        if min(*grid, *block) < 1 or threads > 1024 or grid[1] > 65535 or grid[2] > 65535:
            raise EmulatedFault(f"{name}: no GPU starts a grid of {grid} with blocks of {block}")
        self.calls.append(name)
        shape = (ctypes.c_uint * 6)(*grid, *block)
        message = ctypes.create_string_buffer(512)
        failed = call(
            shape,
            ctypes.c_size_t(shared),
            ctypes.c_uint(self.seed),
            packed,
            message,
            ctypes.c_size_t(512),
        )
        if failed:
            raise EmulatedFault(f"{name}: {message.value.decode()}")

    def pointer(self, array: Any) -> int:
        return array.ctypes.data

    def contiguous(self, array: Any) -> bool:
        return array.flags.c_contiguous

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        if self.guard:
            return guarded(shape, dtype)
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[...] = 0xFF
        return array

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return guarded(shape, dtype, fill=0) if self.guard else np.zeros(shape, dtype)

    def array(self, values: Any, dtype: Any = None, *, shift: int = 0) -> Any:
        """A guarded copy of `values`, as an array on the device would be."""
        values = np.asarray(values, dtype)
        copy = guarded(values.shape, values.dtype, shift=shift)
        copy[...] = values
        return copy

    def multiprocessors(self) -> int:
        return self._multiprocessors

    def shared_limit(self) -> int:
        return self._shared
