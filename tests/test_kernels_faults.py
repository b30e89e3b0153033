"""The emulator is itself tested: planted faults are caught, the sound kernels beside them pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_run import needs_emulator

from gradengine.cuda import emulator, kernels
from gradengine.errors import MissingDependencyError

pytestmark = needs_emulator

SOURCE = """
__global__ void shift(const float* x, float* y, int barrier) {
  __shared__ float kept[256];
  kept[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  y[threadIdx.x] = kept[(threadIdx.x + 1) % blockDim.x];
}
__global__ void overwrite(const float* x, float* y, int barrier) {  // write after read
  __shared__ float kept[256];
  for (int turn = 0; turn < 3; ++turn) {
    kept[threadIdx.x] = x[threadIdx.x] + turn;
    __syncthreads();
    y[turn * 256 + threadIdx.x] = kept[(threadIdx.x + 128) % 256];
    if (barrier) __syncthreads();
  }
}
__global__ void run_ahead(const float* x, float* y, int barrier) {  // the same behind a shuffle
  __shared__ float kept[2];
  for (int turn = 0; turn < 3; ++turn) {
    if (barrier) __syncthreads();
    if (threadIdx.x % 32 == 0) kept[threadIdx.x / 32] = x[threadIdx.x] + turn;
    __syncthreads();
    const float v = kept[threadIdx.x % 2];
    y[turn * 64 + threadIdx.x] = v + __shfl_xor_sync(0xffffffffu, v, 1);
  }
}
__global__ void some_meet(int all) { if (all || threadIdx.x < 16) __syncthreads(); }
__global__ void some_shuffle(float* y, int all) {
  float v = threadIdx.x;
  if (all || threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
  __syncthreads();
  y[threadIdx.x] = v;
}
__global__ void left_early(float* y, int all) {
  if (!all && threadIdx.x == 5) return;
  y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, float(threadIdx.x), 1);
}
__global__ void left_before_barrier(float* y, int all) {
  if (!all && threadIdx.x == 5) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}
__global__ void read_beyond(const float* x, float* y, int n, int by) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i + by];
}
__global__ void write_beyond(float* y, int n, int by) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i + by] = 1;
}
struct alignas(16) Four { float v[4]; };
__global__ void vector_at(const float* x, float* y, int from) {
  *reinterpret_cast<Four*>(y) = *reinterpret_cast<const Four*>(x + from);
}
__global__ void shared_index(float* y, int i) {
  __shared__ float kept[8];
  kept[i] = 1;
  y[0] = kept[i];
}
__global__ void unwritten(float* y, int n) { if (threadIdx.x < n) y[threadIdx.x] = 1; }
__global__ void race(float* y, int guard) { if (!guard || blockIdx.x == 0) y[0] = blockIdx.x; }
"""
KERNELS = (
    *(
        "shift",
        "overwrite",
        "run_ahead",
        "some_meet",
        "some_shuffle",
        "left_early",
        "left_before_barrier",
    ),
    *("read_beyond", "write_beyond", "vector_at", "shared_index", "unwritten", "race"),
)
ORDERS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def device() -> emulator.EmulatorBackend:
    chosen = emulator.EmulatorBackend()
    chosen.add(SOURCE, KERNELS)
    return chosen


def start(
    d: emulator.EmulatorBackend, name: str, grid: int, block: int, *args: Any, order: int = 0
) -> None:
    d.seed = order
    with kernels.using(d):
        values = [np.int32(a) if isinstance(a, int) else a for a in args]
        kernels.launch(name, (grid, 1, 1), (block, 1, 1), values)


# --- races ---------------------------------------------------------------------------------------


def test_missing_barrier(device: emulator.EmulatorBackend) -> None:
    """A value read before it is there is wrong under every order: shared memory starts as NaN."""
    x = np.arange(256, dtype=np.float32)
    for order in ORDERS:
        y = device.empty((256,), np.float32)
        start(device, "shift", 1, 256, x, y, 1, order=order)
        np.testing.assert_array_equal(y, np.roll(x, -1))
        y = device.empty((256,), np.float32)
        start(device, "shift", 1, 256, x, y, 0, order=order)
        assert not np.array_equal(y, np.roll(x, -1))


def test_missing_second_barrier(device: emulator.EmulatorBackend) -> None:
    """A value overwritten before it was read: some order gives another result."""
    x = np.arange(256, dtype=np.float32)
    want = np.concatenate([np.roll(x, -128) + turn for turn in range(3)])
    found = []
    for order in ORDERS:
        y = device.empty((768,), np.float32)
        start(device, "overwrite", 1, 256, x, y, 1, order=order)
        np.testing.assert_array_equal(y, want)
        start(device, "overwrite", 1, 256, x, y, 0, order=order)
        found.append(np.array_equal(y, want))
    assert not all(found)


def test_warp_that_runs_ahead(device: emulator.EmulatorBackend) -> None:
    """A value overwritten by a warp that left the others behind: an odd order lets it run."""
    x = np.arange(64, dtype=np.float32)
    want = np.repeat(32 + 2 * np.arange(3, dtype=np.float32), 64)
    found = []
    for order in (*ORDERS, 5):
        y = device.empty((192,), np.float32)
        start(device, "run_ahead", 1, 64, x, y, 1, order=order)
        np.testing.assert_array_equal(y, want)
        start(device, "run_ahead", 1, 64, x, y, 0, order=order)
        found.append(np.array_equal(y, want))
    assert not found[3]
    assert not found[4]


def test_race_between_blocks(device: emulator.EmulatorBackend) -> None:
    """The last block to write wins, and the orders disagree on who that is."""
    for guard, outcomes in ((1, 1), (0, 3)):
        seen = set()
        for order in ORDERS:
            y = device.empty((1,), np.float32)
            start(device, "race", 7, 1, y, guard, order=order)
            seen.add(float(y[0]))
        assert len(seen) >= outcomes
        assert guard == 0 or seen == {0.0}


# --- divergence ----------------------------------------------------------------------------------


def test_divergent_barrier(device: emulator.EmulatorBackend) -> None:
    start(device, "some_meet", 1, 64, 1)
    with pytest.raises(
        emulator.EmulatedFault, match=r"divergent barrier: 16 threads at __sync.*48 exited"
    ):
        start(device, "some_meet", 1, 64, 0)


def test_thread_that_left_before_the_barrier(device: emulator.EmulatorBackend) -> None:
    y = device.empty((64,), np.float32)
    start(device, "left_before_barrier", 1, 64, y, 1)
    with pytest.raises(emulator.EmulatedFault, match="divergent barrier"):
        start(device, "left_before_barrier", 1, 64, y, 0)


def test_divergent_shuffle(device: emulator.EmulatorBackend) -> None:
    y = device.empty((32,), np.float32)
    start(device, "some_shuffle", 1, 32, y, 1)
    assert y[0] == 1
    with pytest.raises(emulator.EmulatedFault, match="16 at a warp operation"):
        start(device, "some_shuffle", 1, 32, y, 0)


def test_shuffle_from_a_lane_that_left(device: emulator.EmulatorBackend) -> None:
    y = device.empty((32,), np.float32)
    start(device, "left_early", 1, 32, y, 1)
    with pytest.raises(emulator.EmulatedFault, match="lane 5 takes no part"):
        start(device, "left_early", 1, 32, y, 0)


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_out_of_bounds(device: emulator.EmulatorBackend, order: int) -> None:
    """Reading or writing one element past an array whose size is a multiple of 16 bytes."""
    x = device.array(np.arange(64, dtype=np.float32))
    y = device.empty((64,), np.float32)
    start(device, "read_beyond", 2, 32, x, y, 64, 0, order=order)
    np.testing.assert_array_equal(x, y)
    with pytest.raises(
        emulator.EmulatedFault, match=r"read_beyond: out-of-bounds .*block \(1, 0, 0\), thread \(31"
    ):
        start(device, "read_beyond", 2, 32, x, y, 64, 1, order=order)
    with pytest.raises(emulator.EmulatedFault, match="write_beyond: out-of-bounds"):
        start(device, "write_beyond", 2, 32, y, 64, 1, order=order)
    start(device, "write_beyond", 2, 32, y, 64, 0, order=order)  # and goes on working


def test_misaligned_vector(device: emulator.EmulatorBackend) -> None:
    x = device.array(np.arange(8, dtype=np.float32))
    y = device.empty((4,), np.float32)
    start(device, "vector_at", 1, 1, x, y, 4)
    assert y.tolist() == [4, 5, 6, 7]
    with pytest.raises(emulator.EmulatedFault, match=r"misaligned vector.*thread \(0, 0, 0\)"):
        start(device, "vector_at", 1, 1, x, y, 1)


def test_shared_index(device: emulator.EmulatorBackend) -> None:
    y = device.empty((1,), np.float32)
    start(device, "shared_index", 1, 1, y, 7)
    with pytest.raises(emulator.EmulatedFault, match="shared index"):
        start(device, "shared_index", 1, 1, y, 8)


def test_what_is_not_written_is_nan(device: emulator.EmulatorBackend) -> None:
    y = device.empty((32,), np.float32)
    start(device, "unwritten", 1, 32, y, 31)
    assert np.isnan(y).tolist() == [False] * 31 + [True]


# --- the launch itself ---------------------------------------------------------------------------


def test_impossible_launches(device: emulator.EmulatorBackend) -> None:
    for grid, block in (
        ((0, 1, 1), (1, 1, 1)),
        ((1, 1, 1), (2048, 1, 1)),
        ((1, 70000, 1), (1, 1, 1)),
    ):
        with kernels.using(device), pytest.raises(emulator.EmulatedFault, match="no GPU starts"):
            kernels.launch("some_meet", grid, block, [np.int32(1)])
    with kernels.using(device), pytest.raises(emulator.EmulatedFault, match="shared memory"):
        kernels.launch("some_meet", (1, 1, 1), (1, 1, 1), [np.int32(1)], shared=1 << 20)


def test_broken_source_is_shown() -> None:
    with pytest.raises(emulator.EmulatedFault, match="no_such_word"):
        emulator.EmulatorBackend().add("__global__ void f() { no_such_word(); }", ["f"])


def test_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator.shutil, "which", lambda name: None)
    assert emulator.missing() == "g++ is not installed"
    with pytest.raises(MissingDependencyError, match=r"g\+\+ is not installed"):
        emulator.EmulatorBackend()
