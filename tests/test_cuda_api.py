"""`ge.cuda`: devices, streams, events, memory, on the stand-in device; and without any device."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine import DeviceError
from gradengine.cuda import standin as stand

NAMES = "memory_stats memory_allocated memory_reserved mem_get_info Stream Event current_stream"


@pytest.fixture
def device():
    with stand.standin(2) as chosen:
        yield chosen


# --- without a GPU ---


@pytest.mark.parametrize("name", NAMES.split())
def test_without_a_gpu_the_error_says_what_to_do(name):
    if ge.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(DeviceError, match="gradengine doctor"):
        getattr(ge.cuda, name)()


def test_without_a_gpu_there_is_nothing_to_empty():
    ge.cuda.empty_cache()
    assert ge.cuda.is_available() == (ge.cuda.device_count() > 0)


# --- devices ---


@needs_emulator
def test_devices(device):
    assert ge.cuda.is_available()
    assert ge.cuda.device_count() == 2
    assert ge.cuda.current_device() == "cuda:0"
    with ge.cuda.device("cuda:1"):
        assert ge.cuda.current_device() == "cuda:1"
        assert ge.ones(2, device="cuda").device == "cuda:1"
    assert ge.cuda.current_device() == "cuda:0"
    ge.cuda.set_device(1)
    assert ge.cuda.current_device() == "cuda:1"
    assert ge.cuda.get_device_capability(0) == (9, 0)
    assert ge.cuda.get_device_name() == "stand-in"
    with pytest.raises(DeviceError, match=r"no cuda:2(.|\n)*cuda:0, cuda:1"):
        ge.cuda.set_device(2)


@needs_emulator
def test_an_op_runs_where_its_arrays_are(device):
    layer = ge.nn.Sequential(ge.nn.Linear(3, 4), ge.nn.LayerNorm(4), ge.nn.Dropout(0.5)).to(
        "cuda:1"
    )
    x = ge.ones(2, 3, device="cuda:1", requires_grad=True)
    for _ in range(2):  # the second pass adds to what is there
        y = (layer(ge.tanh(x) * x[0]) * ge.ones(4, device="cuda:1")).astype("float64").mean()
        y.backward()
    optimizer = ge.optim.Adam(layer.parameters())
    optimizer.step()
    assert {t.device for t in (y, x.grad, *layer.parameters())} == {"cuda:1"}
    with pytest.raises(DeviceError, match=r"cuda:1(.|\n)*cuda:0"):
        x + ge.ones(3, device="cuda:0")


@needs_emulator
def test_cuda_and_cpu_methods_move(device):
    x = ge.tensor(np.arange(3.0), requires_grad=True)
    y = x.cuda()
    assert y.device == "cuda:0"
    assert x.cuda(1).device == "cuda:1"
    (y.cpu() * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert x.grad.device == "cpu"


# --- streams ---


@needs_emulator
def test_kernels_run_on_the_current_stream(device):
    side = ge.cuda.Stream()
    x = ge.ones(4, device="cuda")
    with ge.cuda.stream(side) as chosen:
        assert chosen is side
        assert ge.cuda.current_stream() is side
        ge.tanh(x)
    event = ge.cuda.Event()
    event.record(side)
    ge.cuda.current_stream().wait_event(event)
    event.synchronize()
    ge.cuda.synchronize()
    assert ge.cuda.current_stream() is not side


# --- memory ---


@needs_emulator
def test_memory_follows_the_arrays(device):
    ones = ge.ones(1000, device="cuda")
    before = ge.cuda.memory_allocated()
    x = ge.tanh(ones)
    assert ge.cuda.memory_allocated() - before == x.nbytes
    assert ge.cuda.memory_reserved() >= ge.cuda.memory_allocated()
    free, total = ge.cuda.mem_get_info()
    assert 0 < free < total
    del x
    assert ge.cuda.memory_allocated() == before
    assert set(ge.cuda.memory_stats("cuda:1")) == {"used", "reserved", "limit", "free", "total"}
    ge.cuda.empty_cache()


@needs_emulator
def test_beyond_the_limit_the_tape_stays_usable(device):
    x = ge.ones(1000, device="cuda", requires_grad=True)
    y = x * 2
    ge.cuda.set_memory_limit(ge.cuda.memory_allocated() + 100)  # less than another result
    try:
        assert ge.cuda.memory_stats()["limit"] > 0
        with pytest.raises(MemoryError) as caught:
            ge.tanh(y)
        assert "smaller batches" in "".join(caught.value.__notes__)
    finally:
        ge.cuda.set_memory_limit(None)
    y.sum().backward()
    assert x.grad.cpu().tolist() == [2.0] * 1000
