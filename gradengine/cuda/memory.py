"""Memory of a GPU: what arrays use, what CuPy's pool holds, what is left.

The names are PyTorch's where it has one. Nothing here imports CuPy before it is called.

Floor 1: stands on device.py.
"""

from __future__ import annotations

from typing import Any

from ..device import Device, cuda_is_available, import_cupy, usable

__all__ = [
    "empty_cache",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "set_memory_limit",
]

Index = int | str | Device | None


def _on(device: Index) -> Any:
    """A context with this GPU as the current one."""
    cupy = import_cupy()
    return cupy.cuda.Device() if device is None else usable(Device(device))


def memory_stats(device: Index = None) -> dict[str, int]:
    """Bytes: "used" by arrays, "reserved" by CuPy's pool, the pool's "limit" (0 for none), and
    "free" and "total" of the whole GPU, all processes together.

    Raises DeviceError without a GPU.
    """
    with _on(device):
        cupy = import_cupy()
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        return {
            "used": int(pool.used_bytes()),
            "reserved": int(pool.total_bytes()),
            "limit": int(pool.get_limit()),
            "free": int(free),
            "total": int(total),
        }


def memory_allocated(device: Index = None) -> int:
    """Bytes in use by arrays on a GPU."""
    return memory_stats(device)["used"]


def memory_reserved(device: Index = None) -> int:
    """Bytes that CuPy's pool holds on a GPU, in use or kept for the next array."""
    return memory_stats(device)["reserved"]


def mem_get_info(device: Index = None) -> tuple[int, int]:
    """(free, total) bytes of a GPU, of all processes together."""
    stats = memory_stats(device)
    return stats["free"], stats["total"]


def empty_cache() -> None:
    """Give what CuPy's pool keeps unused back to the GPU; nothing to do without a GPU.

    >>> empty_cache()
    """
    if cuda_is_available():
        import_cupy().get_default_memory_pool().free_all_blocks()


def set_memory_limit(
    size: int | None = None, *, fraction: float | None = None, device: Index = None
) -> None:
    """Let CuPy's pool hold at most `size` bytes, or a fraction of the GPU; None for no limit."""
    with _on(device):
        pool = import_cupy().get_default_memory_pool()
        if fraction is None:
            pool.set_limit(size=size or 0)
        else:
            pool.set_limit(fraction=fraction)
