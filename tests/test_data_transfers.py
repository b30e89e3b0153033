"""The way to the GPU, against a stand-in driver that runs copies as late as streams allow.

No GPU is needed: every copy and event is queued on its stream, and streams run only as far as
something waits for them. What must not happen shows as wrong numbers: a batch read before its copy
is done, memory overwritten while queued kernels still read it, a staging buffer filled too soon.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gradengine.cuda import transfers
from gradengine.cuda.transfers import KEPT, Uploader
from gradengine.data import DataLoader

# --- a driver whose streams are lazy ---


class Stream:
    def __init__(self, non_blocking: bool = False) -> None:
        self.queue: list[Callable[[], None]] = []
        self.outer: list[Stream] = []

    def run(self, count: int | None = None) -> None:
        """Do what was queued, in order: all of it, or the first `count`."""
        while self.queue and count != 0:
            self.queue.pop(0)()
            count = None if count is None else count - 1

    def wait_event(self, event: Event) -> None:
        assert event.recorded, "an event that was never recorded lets everything pass"
        self.queue.append(event.synchronize)

    def synchronize(self) -> None:
        self.run()

    def __enter__(self) -> Stream:
        self.outer.append(Driver.current)
        Driver.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Driver.current = self.outer.pop()


class Event:
    def __init__(self, disable_timing: bool = False) -> None:
        self.recorded = self.done = False
        self.stream: Stream | None = None

    def record(self, stream: Stream) -> None:
        self.recorded, self.stream = True, stream
        stream.queue.append(self._reached)

    def _reached(self) -> None:
        self.done = True

    def synchronize(self) -> None:
        assert self.stream is not None
        while not self.done:
            self.stream.run(1)


class Memory:
    """Bytes of the host or the device, found by their address."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(size, 0xAA, np.uint8)
        self.ptr = self.bytes.ctypes.data
        Driver.memory[self.ptr] = self.bytes

    def __buffer__(self, flags: int) -> memoryview:  # Python 3.12; see frombuffer below
        return memoryview(self.bytes)

    def copy_from_host_async(self, source: int, size: int, stream: Stream) -> None:
        into, out_of = self.bytes, Driver.memory[source]

        def copy() -> None:
            into[:size] = out_of[:size]

        stream.queue.append(copy)


class Array:
    """A device array: a kernel that reads it is queued on the current stream."""

    def __init__(self, shape: Any, dtype: Any, place: Any) -> None:
        self.shape, self.dtype, self.place = shape, np.dtype(dtype), place

    def read(self, results: list[Any]) -> None:
        flat = Driver.memory[self.place.ptr]
        shape, dtype = self.shape, self.dtype  # a queued kernel does not keep its array alive
        size = dtype.itemsize * int(np.prod(shape))

        def kernel() -> None:
            results.append(flat[:size].view(dtype).reshape(shape).copy())

        Driver.current.queue.append(kernel)


class Driver:
    memory: dict[int, np.ndarray] = {}  # noqa: RUF012
    current = Stream()
    allocated = pinned = 0


class Place:
    def __init__(self, memory: Any, offset: int) -> None:
        self.memory, self.ptr = memory, memory.ptr + offset


def cupy() -> Any:
    Driver.memory, Driver.current, Driver.allocated, Driver.pinned = {}, Stream(), 0, 0

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 1

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def alloc(size: int) -> Memory:
        Driver.allocated += 1
        return Memory(size)

    def alloc_pinned_memory(size: int) -> Any:
        Driver.pinned += 1
        memory = Memory(size)

        class Pinned(np.ndarray):  # has a buffer and, as CuPy's, an address
            ptr = memory.ptr

        return memory.bytes.view(Pinned)

    def unowned(ptr: int, size: int, owner: Any, device: int) -> Any:
        return types.SimpleNamespace(ptr=ptr, size=size, owner=owner)

    cuda = types.SimpleNamespace(
        Device=Device, Stream=Stream, Event=Event, alloc=alloc, UnownedMemory=unowned,
        alloc_pinned_memory=alloc_pinned_memory, MemoryPointer=Place,
        get_current_stream=lambda: Driver.current,
    )  # fmt: skip
    empty = lambda shape, dtype: Array(shape, dtype, None)  # noqa: E731
    return types.SimpleNamespace(cuda=cuda, ndarray=Array, empty=empty)


@pytest.fixture
def uploader(monkeypatch: pytest.MonkeyPatch) -> Uploader:
    driver = cupy()
    monkeypatch.setattr(transfers, "import_cupy", lambda: driver)
    return Uploader("cuda:1")


# --- what must hold ---


@pytest.mark.parametrize("dtype", ["float32", "bool", "bfloat16", ">i4"])
@pytest.mark.parametrize("layout", ["C", "transposed", "strided", "0-d"])
def test_values_arrive(uploader: Uploader, dtype: str, layout: str):
    array = np.arange(24).reshape(4, 6).astype(getattr(ml_dtypes, dtype, dtype))
    array = {"C": array, "transposed": array.T, "strided": array[::2, ::-1], "0-d": array[3, 3]}[
        layout
    ]
    array = np.asarray(array)
    seen: list[Any] = []
    uploader.send(array).wait().read(seen)
    Driver.current.run()
    np.testing.assert_array_equal(seen[0], array)
    assert seen[0].shape == array.shape
    assert seen[0].dtype.isnative


def test_the_host_does_not_wait_and_may_write_on(uploader: Uploader):
    array = np.arange(1000)
    arrival = uploader.send(array)
    array[:] = -1
    assert any(uploader._side.queue), "nothing has been copied yet"
    seen: list[Any] = []
    arrival.wait().read(seen)
    Driver.current.run()
    np.testing.assert_array_equal(seen[0], np.arange(1000))


def test_memory_is_not_overwritten_while_kernels_may_read_it(uploader: Uploader):
    """The main stream is far behind: its kernels run after everything has been sent."""
    seen: list[Any] = []
    ahead = [uploader.send(np.full(300, 0)), uploader.send(np.full(300, 1))]
    for n in range(2, 40):
        array = ahead.pop(0).wait()
        array.read(seen)
        del array  # its block goes back while its kernel is still queued
        ahead.append(uploader.send(np.full(300, n)))
        uploader._side.run(2)  # copies run as early as they are allowed to
    Driver.current.run()
    assert [int(x[0]) for x in seen] == list(range(38))
    assert all((x == x[0]).all() for x in seen)
    assert Driver.allocated <= 3, "blocks are used again"


def test_batches_that_are_kept_keep_their_memory(uploader: Uploader):
    kept = [uploader.send(np.full(300, n)).wait() for n in range(6)]
    seen: list[Any] = []
    for array in kept:
        array.read(seen)
    Driver.current.run()
    assert [int(x[0]) for x in seen] == list(range(6))
    assert Driver.allocated == 6


def test_pinned_memory_is_bounded(uploader: Uploader):
    for n in range(100):
        uploader.send(np.full(300, n))
    assert Driver.pinned <= KEPT + 1


def test_batches_nobody_asked_for(uploader: Uploader):
    """An epoch left early: what was prefetched is dropped, and its block may be used again."""
    for n in range(5):
        uploader.send(np.full(300, n))
    seen: list[Any] = []
    uploader.send(np.full(300, 9)).wait().read(seen)
    Driver.current.run()
    assert (seen[0] == 9).all()


def test_an_uploader_that_ends_waits_for_its_copies(monkeypatch: pytest.MonkeyPatch):
    driver = cupy()
    monkeypatch.setattr(transfers, "import_cupy", lambda: driver)
    uploader = Uploader("cuda:1")
    side, array = uploader._side, uploader.send(np.arange(10)).wait()
    del uploader
    assert side.queue, "the array still needs the block, so the uploader lives"
    del array
    assert not side.queue


def test_empty_arrays(uploader: Uploader):
    array = uploader.send(np.zeros((0, 3), np.int8)).wait()
    assert (array.shape, array.dtype) == ((0, 3), np.int8)


def test_a_shorter_last_batch_uses_blocks_of_its_own_size(uploader: Uploader):
    seen: list[Any] = []
    for size in (1000, 1000, 400, 1000):
        uploader.send(np.full(size, size)).wait().read(seen)
    Driver.current.run()
    assert [x.shape for x in seen] == [(1000,), (1000,), (400,), (1000,)]
    assert all((x == x.size).all() for x in seen)


def test_pinned_copies(monkeypatch: pytest.MonkeyPatch):
    driver = cupy()
    monkeypatch.setattr(transfers, "import_cupy", lambda: driver)
    for array in (np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2)), np.array(3)):
        copy = transfers.pinned(array)
        np.testing.assert_array_equal(copy, array)
        assert copy.shape == array.shape
        assert copy.dtype == array.dtype
    assert Driver.pinned == 3


# --- the loader on this way ---


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_sends_what_lies_on_the_host(monkeypatch: pytest.MonkeyPatch, workers: int):
    sent: list[Any] = []
    waited: list[str] = []

    class Recorder:
        def __init__(self, device: Any) -> None:
            assert device == "cuda:1"

        def send(self, array: Any) -> Any:
            sent.append(array)

            def wait() -> Any:
                waited.append(threading.current_thread().name)
                return array

            return types.SimpleNamespace(wait=wait)

    monkeypatch.setattr(transfers, "Uploader", Recorder)
    samples = [{"x": np.full(3, i), "n": (i, f"s{i}")} for i in range(6)]
    loader = DataLoader(samples, 2, device="cuda:1", num_workers=workers)
    batches = list(loader)
    assert [b["x"].tolist()[0] for b in batches] == [[i] * 3 for i in (0, 2, 4)]
    assert [b["n"][0].tolist() for b in batches] == [[0, 1], [2, 3], [4, 5]]
    assert batches[1]["n"][1] == ["s2", "s3"]
    assert len(sent) == len(waited) == 6
    assert set(waited) == {"MainThread"}, "the caller's stream waits, not a worker's"
