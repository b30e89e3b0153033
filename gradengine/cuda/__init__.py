"""The GPU: `ge.cuda`. Devices, and our CUDA kernels: found, compiled, cached and launched.

One of the two places that import CuPy (the other is device.py), and only when a GPU is asked for.

Floor 1: stands on device.py, kernels.py, streams.py, memory.py and gemm.py.
"""

from __future__ import annotations

from typing import Any

from ..device import Device, cuda_is_available, import_cupy, usable
from . import checks
from .checks import set_sync_checks as set_sync_checks
from .gemm import float32_matmul_precision as float32_matmul_precision
from .kernels import Trace as Trace
from .kernels import launched as launched
from .memory import empty_cache as empty_cache
from .memory import mem_get_info as mem_get_info
from .memory import memory_allocated as memory_allocated
from .memory import memory_reserved as memory_reserved
from .memory import memory_stats as memory_stats
from .memory import set_memory_limit as set_memory_limit
from .streams import Event as Event
from .streams import Stream as Stream
from .streams import current_stream as current_stream
from .streams import stream as stream

__all__ = [
    "Event",
    "Stream",
    "Trace",
    "current_device",
    "current_stream",
    "device",
    "device_count",
    "empty_cache",
    "float32_matmul_precision",
    "get_device_capability",
    "get_device_name",
    "is_available",
    "launched",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "set_device",
    "set_memory_limit",
    "set_sync_checks",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """Whether CuPy is installed and finds a GPU."""
    return cuda_is_available()


def device_count() -> int:
    """How many GPUs there are; 0 without CuPy or a driver."""
    return int(import_cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> Device:
    """The GPU that `"cuda"` means. Raises DeviceError without one."""
    return Device(int(import_cupy().cuda.runtime.getDevice()))


def set_device(index: int | str | Device) -> None:
    """Make a GPU the one that `"cuda"` means. Raises DeviceError where there is no such GPU."""
    usable(Device(index)).use()


class device:
    """A GPU as the one that `"cuda"` means, inside a `with` block.

    Raises DeviceError where there is no such GPU.
    """

    def __init__(self, index: int | str | Device) -> None:
        self._context: Any = usable(Device(index))

    def __enter__(self) -> Device:
        self._context.__enter__()
        return current_device()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)


def get_device_name(index: int | str | Device | None = None) -> str:
    """What NVIDIA calls a GPU, such as "NVIDIA H200"."""
    chosen = current_device() if index is None else Device(index)
    usable(chosen)
    name = import_cupy().cuda.runtime.getDeviceProperties(chosen.index)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def get_device_capability(index: int | str | Device | None = None) -> tuple[int, int]:
    """(major, minor) of a GPU's compute capability: (9, 0) for a Hopper GPU."""
    text = str(usable(current_device() if index is None else Device(index)).compute_capability)
    return int(text[:-1]), int(text[-1])


def synchronize(index: int | str | Device | None = None) -> None:
    """Wait until everything launched on a GPU (the current one by default) is done.

    Raises OutOfRangeError where a launch has met an index out of range; see `set_sync_checks`.
    """
    usable(current_device() if index is None else Device(index)).synchronize()
    checks.settle()
