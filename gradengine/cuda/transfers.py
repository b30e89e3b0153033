"""Batches on their way to the GPU: staged in pinned memory, copied on a stream of their own.

A copy from pinned memory runs beside the kernels of the stream that computes. Two things must not
happen: that the computing stream reads a batch before its copy is done (it waits for an event), and
that the copying stream writes into memory which queued kernels still read. For the latter the
device memory of batches is kept here: when the last array on a block is dropped, an event is
recorded on the computing stream, and the next copy into the block waits for it.

Floor 1: stands on device.py. CuPy is imported when an Uploader is made.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from ..device import Array, Device, import_cupy

__all__ = ["Arrival", "Uploader", "pinned"]

KEPT = 8
"""Pinned buffers of one size before the next copy waits for an old one."""


def pinned(array: Array) -> Array:
    """A copy of a NumPy array in pinned host memory."""
    memory = import_cupy().cuda.alloc_pinned_memory(max(array.nbytes, 1))
    flat: Any = np.frombuffer(memory, np.uint8, array.nbytes)
    copy = flat.view(array.dtype).reshape(array.shape) if array.size else array.copy()
    copy[...] = array
    return copy


class Arrival:
    """An array that is being copied; `wait` makes the current stream wait for it."""

    __slots__ = ("_array", "_event", "_uploader")

    def __init__(self, uploader: Uploader, array: Array, event: Any) -> None:
        self._uploader, self._array, self._event = uploader, array, event

    def wait(self) -> Array:
        """The array on the GPU, fit for what is queued on the current stream from now on."""
        self._uploader.arrive(self._event)
        return self._array


class _Block:
    """Memory of one size and the event after which it may be written again (None: now)."""

    __slots__ = ("event", "memory", "size")

    def __init__(self, memory: Any, size: int, event: Any = None) -> None:
        self.memory, self.size, self.event = memory, size, event


class _Lease:
    """Owns a device block as long as an array shows it; then the block goes back, with an event."""

    __slots__ = ("_block", "_uploader")

    def __init__(self, uploader: Uploader, block: _Block) -> None:
        self._uploader, self._block = uploader, block

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._uploader.take_back(self._block)


class Uploader:
    """Copies host arrays to one GPU; used from any number of threads.

    `main` is the stream that computes, by default the one current when the uploader is made: the
    arrays handed out belong to it, as CuPy's own do to the stream they are allocated on.
    """

    def __init__(self, device: str | Device, main: Any = None) -> None:
        self._cupy = import_cupy()
        self._index = Device(device).index
        with self._cupy.cuda.Device(self._index):
            self._main = self._cupy.cuda.get_current_stream() if main is None else main
            self._side = self._cupy.cuda.Stream(non_blocking=True)
        self._lock = threading.RLock()  # a block may come back while this thread holds it
        self._free: dict[int, list[_Block]] = {}
        self._staging: dict[int, list[_Block]] = {}

    def __del__(self) -> None:
        """The blocks go back to CuPy's pool of the main stream: no copy may be under way."""
        if hasattr(self, "_side") and not sys.is_finalizing():
            self._side.synchronize()

    def send(self, array: Array) -> Arrival:
        """Begin to copy a NumPy array; returns at once. The array may be changed afterwards."""
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        source: Any = np.ascontiguousarray(native).reshape(array.shape)
        cuda = self._cupy.cuda
        with cuda.Device(self._index):
            if not source.size:
                return Arrival(self, self._cupy.empty(source.shape, source.dtype), None)
            size = _rounded(source.nbytes)
            staging, block = self._pinned_block(size), self._device_block(size)
            lease = _Lease(self, block)
            staged: Any = np.frombuffer(staging.memory, np.uint8, source.nbytes)
            staged[...] = source.reshape(-1).view(np.uint8)
            with self._lock:  # wait, copy and event belong together on the stream
                if block.event is not None:
                    self._side.wait_event(block.event)
                block.memory.copy_from_host_async(staging.memory.ptr, source.nbytes, self._side)
                event = cuda.Event(disable_timing=True)
                event.record(self._side)
                staging.event = event
                self._staging.setdefault(size, []).append(staging)
            memory = cuda.UnownedMemory(block.memory.ptr, size, lease, self._index)
            place = cuda.MemoryPointer(memory, 0)
            return Arrival(self, self._cupy.ndarray(source.shape, source.dtype, place), event)

    def arrive(self, event: Any) -> None:
        """Make the current stream wait for a copy, without making the host wait."""
        if event is not None:
            with self._cupy.cuda.Device(self._index):
                self._cupy.cuda.get_current_stream().wait_event(event)

    def take_back(self, block: _Block) -> None:
        """A device block that no array shows any more: free once the main stream has got here."""
        with self._cupy.cuda.Device(self._index):
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(self._main)
        with self._lock:
            block.event = event
            self._free.setdefault(block.size, []).append(block)

    def _device_block(self, size: int) -> _Block:
        with self._lock:
            kept = self._free.get(size)
            if kept:
                return kept.pop(0)  # the one that has been free for longest
        cuda = self._cupy.cuda
        with self._main:  # memory that its kernels may still be using: the event tells when not
            memory = cuda.alloc(size)
            event = cuda.Event(disable_timing=True)
            event.record(self._main)
        return _Block(memory, size, event)

    def _pinned_block(self, size: int) -> _Block:
        with self._lock:
            kept = self._staging.get(size, [])
            block = kept.pop(0) if kept and (kept[0].event.done or len(kept) >= KEPT) else None
        if block is None:
            return _Block(self._cupy.cuda.alloc_pinned_memory(size), size)
        block.event.synchronize()
        return block


def _rounded(size: int) -> int:
    """Sizes in steps of an eighth, so that a shorter last batch finds a block too."""
    step = 1 << max(size.bit_length() - 4, 9)
    return -(-size // step) * step
