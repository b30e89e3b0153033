"""The one loader: finds, compiles, caches and launches our CUDA kernels.

A kernel is asked for by its C++ name, `map_forward<Gelu,float>`. The unit that defines it is
compiled by NVRTC for that one instantiation and the device at hand, the cubin is kept on disk under
a hash of the whole inlined source, and the loaded function in memory. `launch` runs it on one of
two back ends: CuPy, or the emulator, which runs the same source on the CPU for our tests.

Floor 1: stands on source.py, nvrtc.py, errors.py; imports CuPy when a GPU is first asked for.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import GradengineError, hinted
from . import nvrtc, source
from .trace import Trace as Trace
from .trace import fell_back as fell_back
from .trace import launched as launched
from .trace import note, traces

__all__ = [
    "Backend",
    "KernelCompileError",
    "backend",
    "cache_folder",
    "compiled",
    "fire",
    "launch",
    "launched",
    "pack",
    "using",
    "warmup",
]

Function = Any  # what a back end launches: an address or a ctypes function

# NVRTC's own -ftz=false, -prec-div and -prec-sqrt keep float32 as NumPy has it, subnormals too.
OPTIONS = ("--device-as-default-execution-space",)


class KernelCompileError(GradengineError, RuntimeError):
    """NVRTC refused one of our kernels; the message shows the source line."""


# --- compiling, with a cache on disk -------------------------------------------------------------


def cache_folder() -> Path:
    """Where cubins are kept: `$GRADENGINE_CACHE`, or `gradengine/` in the user's cache folder."""
    chosen = os.environ.get("GRADENGINE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or tempfile.gettempdir()
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "gradengine" / "kernels"


def compiled(names: Sequence[str], arch: str, *, cache: Path | None = None) -> nvrtc.Compiled:
    """The cubin of the kernels `names`, all of one unit, for `arch`; from the cache if it is there.

    Raises KernelCompileError, showing our source line; ValueError for a kernel that does not exist.
    """
    unit = _unit(names)
    text = _inlined(unit)
    cache = cache_folder() if cache is None else cache
    stem = cache / key(text, names, arch)
    found = _read_cache(stem)
    if found is None:
        try:
            found = nvrtc.compile_cubin(text, names, arch, OPTIONS, unit)
        except nvrtc.NvrtcError as error:
            raise KernelCompileError(explain(error, unit, names, arch)) from error
        _write_cache(stem, found)
    return found


_inlined = lru_cache(maxsize=32)(source.inlined)


def _unit(names: Sequence[str]) -> str:
    known = source.kernels()
    for name in names:
        if name.partition("<")[0] not in known:
            raise ValueError(
                hinted(
                    f"kernels: there is no kernel {name!r}", f"one of {', '.join(sorted(known))}"
                )
            )
    found = {known[name.partition("<")[0]] for name in names}
    if len(found) != 1:
        raise ValueError(f"kernels: one unit at a time, got {sorted(found)}")
    return found.pop()


def key(text: str, names: Sequence[str], arch: str) -> str:
    """The name of a compilation in the cache."""
    parts = [text, *names, arch, *OPTIONS, str(nvrtc.version())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _read_cache(stem: Path) -> nvrtc.Compiled | None:
    try:
        meta = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        cubin = stem.with_suffix(".cubin").read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(cubin).hexdigest() != meta.get("sha256"):
        return None  # half written or damaged: compile again
    return nvrtc.Compiled(cubin, meta["names"], meta["log"])


def _write_cache(stem: Path, result: nvrtc.Compiled) -> None:
    """Best effort: a read-only home costs time, never the result."""
    digest = hashlib.sha256(result.cubin).hexdigest()
    meta = json.dumps({"names": result.names, "log": result.log, "sha256": digest})
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix, data in ((".cubin", result.cubin), (".json", meta.encode())):
            handle, temporary = tempfile.mkstemp(dir=stem.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, stem.with_suffix(suffix))
    except OSError:
        return


_MESSAGE = re.compile(r"^(?:\S*/)?([\w.]+)\((\d+)\): (?:catastrophic )?error: (.*)$", re.MULTILINE)


def explain(error: nvrtc.NvrtcError, unit: str, names: Sequence[str], arch: str) -> str:
    """The first complaint of the log with our source line under it, then the whole log."""
    what = names[0] if len(names) == 1 else f"{len(names)} kernels of {unit}"
    first = _MESSAGE.search(error.log)
    if first is None:
        return hinted(f"kernels: {what} does not compile for {arch}: {error}", "gradengine doctor")
    file, number, message = first[1], int(first[2]), first[3]
    line = source.line_of(file, number).strip()
    return (
        hinted(
            f"kernels: {what} does not compile for {arch}\n  {file}:{number}: {message}\n {line}",
            f"mend {file}, then: gradengine kernels compile --arch {arch}",
        )
        + f"\n{error.log}"
    )


# --- arguments -----------------------------------------------------------------------------------


BY_VALUE = (ctypes.Structure, ctypes.Array, ctypes.c_char, ctypes.c_int64, ctypes.c_uint32)


def pack(args: Iterable[Any], pointer: Any) -> tuple[Any, list[Any]]:
    """A C array of pointers to the arguments, and what must stay alive until the launch.

    Arrays go as their address, None as a null pointer, NumPy scalars and ctypes values by value.
    Python numbers are refused: their C type would be a guess.
    """
    values: list[Any] = []
    for arg in args:
        if arg is None:
            values.append(ctypes.c_void_p(None))
        elif isinstance(arg, BY_VALUE):
            values.append(arg)
        elif isinstance(arg, np.generic):
            data = arg.tobytes()
            values.append((ctypes.c_char * len(data)).from_buffer_copy(data))
        elif isinstance(arg, (bool, int, float, complex)):
            raise TypeError(f"kernels: argument {len(values)} is {arg!r}; give a NumPy scalar")
        else:
            values.append(ctypes.c_void_p(pointer(arg)))
    block = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    return block, values


# --- back ends -----------------------------------------------------------------------------------


class Backend(Protocol):
    """What launch code needs of a device: functions, memory, and two of its numbers."""

    name: str

    def function(self, kernel: str, shared: int) -> Function:
        """The loaded kernel, allowed to use `shared` bytes of dynamic shared memory."""
        ...

    def start(
        self,
        function: Function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        packed: Any,
        shared: int,
        stream: Any,
    ) -> None: ...
    def pointer(self, array: Any) -> int: ...
    def contiguous(self, array: Any) -> bool: ...
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def multiprocessors(self) -> int: ...
    def shared_limit(self) -> int: ...


class CupyBackend:
    """The GPU of the current CuPy device."""

    name = "cupy"

    def __init__(self, cupy: Any = None, driver: Any = None) -> None:
        self._cupy: Any = importlib.import_module("cupy") if cupy is None else cupy
        # CuPy's own launch call, below RawKernel: it takes structures and costs less
        name = "cupy_backends.cuda.api.driver"
        self._launch: Any = (driver or importlib.import_module(name)).launchKernel
        self._stream: Any = self._cupy.cuda.get_current_stream
        self._ndarray: Any = self._cupy.ndarray
        self._functions: dict[tuple[int, str], tuple[Any, int, int]] = {}
        self._facts: dict[int, tuple[int, int]] = {}
        runtime = self._cupy.cuda.runtime
        # one device is always the current one: asking would cost more than half a launch
        one = runtime.getDeviceCount() == 1
        self._device: Any = (lambda: 0) if one else runtime.getDevice

    def function(self, kernel: str, shared: int) -> Function:
        key = (self._device(), kernel)
        found = self._functions.get(key)
        if found is None:
            raw = self._load(kernel)
            found = self._functions[key] = (raw, 48 * 1024, raw.kernel.ptr)
        if shared > found[1]:
            found[0].max_dynamic_shared_size_bytes = shared
            self._functions[key] = (found[0], shared, found[2])
        return found[2]

    def _load(self, kernel: str) -> Any:
        arch = f"sm_{self._cupy.cuda.Device().compute_capability}"
        result = compiled([kernel], arch)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "kernel.cubin"
            path.write_bytes(result.cubin)
            raw = self._cupy.RawModule(path=str(path)).get_function(result.names[kernel])
            _ = raw.kernel  # loads it now, while the file is there
        return raw

    def start(
        self,
        function: Function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        packed: Any,
        shared: int,
        stream: Any,
    ) -> None:
        chosen = self._stream() if stream is None else stream
        self._launch(function, *grid, *block, shared, chosen.ptr, ctypes.addressof(packed), 0)

    def pointer(self, array: Any) -> int:
        return array.data.ptr

    def contiguous(self, array: Any) -> bool:
        return array._c_contiguous

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._ndarray(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._cupy.zeros(shape, dtype)

    def multiprocessors(self) -> int:
        return self._of_device()[0]

    def shared_limit(self) -> int:
        """Bytes of shared memory one block may ask for; a little is left for the static arrays."""
        return self._of_device()[1] - 4096

    def _of_device(self) -> tuple[int, int]:
        device = self._device()
        if device not in self._facts:
            facts = self._cupy.cuda.Device(device).attributes
            self._facts[device] = (
                facts["MultiProcessorCount"],
                facts["MaxSharedMemoryPerBlockOptin"],
            )
        return self._facts[device]


_chosen: Backend | None = None


def backend() -> Backend:
    """The back end in use: the one set by `using`, else CuPy."""
    global _chosen
    if _chosen is None:
        _chosen = CupyBackend()
    return _chosen


@contextmanager
def using(chosen: Backend) -> Generator[Backend]:
    """Launch on another back end inside a `with` block: the emulator, in tests."""
    global _chosen
    before, _chosen = _chosen, chosen
    try:
        yield chosen
    finally:
        _chosen = before


# --- launching -----------------------------------------------------------------------------------


def launch(
    name: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    args: Sequence[Any],
    shared: int = 0,
    stream: Any = None,
) -> None:
    """Run the kernel `name` over `grid` blocks of `block` threads; returns before it has finished.

    `args` are arrays (passed by address), None (null), NumPy scalars and ctypes structures (by
    value); `shared` is dynamic shared memory in bytes; `stream` is the current one unless given.
    """
    chosen = backend()
    packed, _alive = pack(args, chosen.pointer)
    if traces:
        note(name)
    chosen.start(chosen.function(name, shared), grid, block, packed, shared, stream)


class _Block:
    """Room for the arguments of one kind of launch, filled again every time; one for each thread.

    A launch copies its arguments, so the room is free as soon as the call has returned.
    """

    def __init__(self, layout: tuple[str, ...]) -> None:
        kind = struct.Struct("@" + "".join(layout))
        self.buffer = ctypes.create_string_buffer(kind.size)
        self.fill = kind.pack_into
        ends = [struct.calcsize("@" + "".join(layout[: i + 1])) for i in range(len(layout))]
        starts = [
            end - struct.calcsize(f"@{group}") for end, group in zip(ends, layout, strict=True)
        ]
        base = ctypes.addressof(self.buffer)
        self.pointers = (ctypes.c_void_p * len(layout))(*(base + start for start in starts))


class _Rooms(threading.local):
    def __init__(self) -> None:
        self.of: dict[tuple[str, ...], _Block] = {}


_rooms = _Rooms()


def fire(
    name: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    layout: tuple[str, ...],
    values: tuple[Any, ...],
    shared: int = 0,
) -> None:
    """`launch` where every microsecond counts: the arguments as numbers, and how they lie.

    `layout` has one group of codes of the module struct for each parameter of the kernel: "P" for
    an address, "q" for a 64-bit integer, "ff" for a structure of two floats, "x" for an empty one.
    """
    rooms = _rooms.of
    room = rooms.get(layout)
    if room is None:
        room = rooms[layout] = _Block(layout)
    room.fill(room.buffer, 0, *values)
    chosen = backend()
    if traces:
        note(name)
    chosen.start(chosen.function(name, shared), grid, block, room.pointers, shared, None)


def warmup(names: Iterable[str]) -> int:
    """Compile and load kernels ahead of their first use; returns how many."""
    chosen = backend()
    count = 0
    for name in names:
        chosen.function(name, 0)
        count += 1
    return count
