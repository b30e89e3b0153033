"""The GPU: `ge.cuda`. Devices, and our CUDA kernels: found, compiled, cached and launched.

One of the two places that import CuPy (the other is device.py), and only when a GPU is asked for.

Floor 1: stands on device.py and kernels.py.
"""

from __future__ import annotations

from typing import Any

from ..device import Device, cuda_is_available, import_cupy, usable
from .kernels import Trace as Trace
from .kernels import launched as launched

__all__ = [
    "Trace",
    "current_device",
    "device",
    "device_count",
    "is_available",
    "launched",
    "set_device",
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


def synchronize(index: int | str | Device | None = None) -> None:
    """Wait until everything launched on a GPU (the current one by default) is done."""
    usable(current_device() if index is None else Device(index)).synchronize()
