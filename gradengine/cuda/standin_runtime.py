"""The CUDA side of the stand-in: devices, streams, events, memory pools, without a GPU.

Small fakes that keep count: a current device, the bytes in use against a limit, and a log of what
was asked for (`log`). They compute nothing and wait for nothing.

Floor 1: stands on NumPy alone.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np

NULL_STREAM = 0


class StandinError(RuntimeError):
    """What CuPy would do wrongly or not at all, and the engine must not ask of it."""


class CUDARuntimeError(RuntimeError):
    """CuPy's error of the CUDA runtime."""


class OutOfMemoryError(MemoryError):
    """CuPy's error where its pool cannot grow."""


class Device:
    """`cupy.cuda.Device`: a context that makes a device the current one."""

    owner: Runtime

    def __init__(self, device: Any = None) -> None:
        self.id: int = self.owner.current if device is None else int(getattr(device, "id", device))
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(self.owner.current)
        self.owner.choose(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        self.owner.choose(self._before.pop())

    def __int__(self) -> int:
        return self.id

    def use(self) -> None:
        self.owner.choose(self.id)

    def synchronize(self) -> None:
        self.owner.caught_up()
        self.owner.log.append(f"synchronize device {self.id}")

    compute_capability = "90"
    attributes = types.MappingProxyType(
        {"MultiProcessorCount": 3, "MaxSharedMemoryPerBlockOptin": 40_000 + 4096}
    )
    mem_info = property(lambda self: self.owner.memory_info())


class Stream:
    """`cupy.cuda.Stream`: a context, and an order that nothing needs here."""

    owner: Runtime
    null: Any = None

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.ptr = NULL_STREAM if null else id(self)

    def __enter__(self) -> Stream:
        self.owner.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.owner.streams.pop()

    def use(self) -> Stream:
        self.owner.streams[-1] = self
        return self

    def synchronize(self) -> None:
        self.owner.caught_up()
        self.owner.log.append("synchronize stream")

    def is_capturing(self) -> bool:
        return self.owner.capturing

    def record(self, event: Any = None) -> Any:
        found = self.owner.cuda.Event() if event is None else event
        self.owner.log.append("record event")
        return found

    def wait_event(self, event: Any) -> None:
        self.owner.log.append("wait for event")

    done = True


class Event:
    """`cupy.cuda.Event`: done, unless the device was `behind` when it was recorded and still is."""

    owner: Runtime

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.tick = 0

    def record(self, stream: Any = None) -> None:
        self.tick = self.owner.tick
        self.owner.log.append("record event")

    def synchronize(self) -> None:
        self.owner.caught_up()
        self.owner.log.append("synchronize event")

    done = property(lambda self: not (self.owner.behind and self.tick == self.owner.tick))


class MemoryPool:
    """`cupy.cuda.MemoryPool`: what is in use; nothing is kept back after it is freed."""

    owner: Runtime

    def used_bytes(self) -> int:
        return self.owner.used

    def total_bytes(self) -> int:
        return self.owner.used

    def free_bytes(self) -> int:
        return 0

    def get_limit(self) -> int:
        return self.owner.limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        total = self.owner.total
        self.owner.limit = int(total * fraction) if fraction is not None else size or 0

    def free_all_blocks(self, stream: Any = None) -> None:
        self.owner.log.append("free all blocks")


class PinnedMemory(np.ndarray[Any, Any]):
    """`cupy.cuda.alloc_pinned_memory`: host memory with a buffer, of `size` bytes at `ptr`."""

    def __new__(cls, size: int) -> PinnedMemory:
        return cast(PinnedMemory, np.empty(size, np.uint8).view(cls))

    memory = property(lambda self: self)
    ptr = property(lambda self: self.ctypes.data)


def _properties(index: int) -> dict[str, Any]:
    """`cupy.cuda.runtime.getDeviceProperties`, its name."""
    return {"name": b"stand-in"}


class Runtime:
    """The state of the stand-in: devices, streams, memory; `cuda` is its `cupy.cuda`."""

    total = 2**34
    session = 0

    def __init__(self) -> None:
        self.reserve: Callable[..., Any] = np.empty
        self.stop()
        self.cuda: Any = self._cuda()

    def start(self, count: int) -> None:
        self.stop()
        self.count = count

    def stop(self) -> None:
        self.session += 1
        self.count = self.current = self.used = self.limit = self.tick = 0
        self.behind = self.capturing = False
        self.log: list[str] = []
        self.streams: list[Any] = []

    # --- devices ---

    def choose(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.current = index

    def wait(self) -> None:
        self.caught_up()
        self.log.append("copy to host")

    def caught_up(self) -> None:
        """All that was recorded so far is done; a device that is `behind` falls behind again."""
        self.tick += 1

    def stream(self) -> Any:
        return self.streams[-1] if self.streams else self.cuda.Stream.null

    # --- memory ---

    def allocate(self, shape: Any, dtype: Any) -> Any:
        """Memory for an array; OutOfMemoryError, with CuPy's words, beyond the limit."""
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        need = dtype.itemsize
        for n in sizes:
            need *= n
        self._check(need)
        found = self.reserve(sizes, dtype)
        self.account(found)
        return found

    def _check(self, need: int) -> None:
        room = self.limit or self.total
        if self.used + need > room:
            raise OutOfMemoryError(
                f"Out of memory allocating {need:,} bytes "
                f"(allocated so far: {self.used:,} bytes, limit set to: {room:,} bytes)."
            )

    def account(self, found: Any) -> None:
        """Count an array's memory as in use until it is freed."""
        size = found.nbytes
        self._check(size)
        self.used += size
        weakref.finalize(found, self._free, size, self.session)

    def _free(self, size: int, session: int) -> None:
        if session == self.session:
            self.used -= size

    def memory_info(self) -> tuple[int, int]:
        return self.total - self.used, self.total

    # --- the module ---

    def _cuda(self) -> Any:
        made: Any = types.ModuleType("cupy.cuda")
        for cls in (Device, Stream, Event, MemoryPool):
            setattr(made, cls.__name__, type(cls.__name__, (cls,), {"owner": self}))
        self.pool: Any = made.MemoryPool()
        made.Stream.null = made.Stream(null=True)
        made.is_available = lambda: self.count > 0
        made.get_device_id = lambda: self.current
        made.get_current_stream = self.stream
        made.alloc_pinned_memory = PinnedMemory
        made.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        made.runtime = types.SimpleNamespace(
            getDevice=lambda: self.current,
            setDevice=self.choose,
            getDeviceCount=lambda: self.count,
            deviceSynchronize=lambda: self.log.append("synchronize device"),
            memGetInfo=self.memory_info,
            getDeviceProperties=_properties,
            CUDARuntimeError=CUDARuntimeError,
        )
        return made
