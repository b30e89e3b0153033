"""Bad input and bad machines, on the device path: every message names the remedy."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from kernel_run import needs_emulator
from test_diagnostics import GOOD, H200, with_packages

import gradengine as ge
from gradengine.cuda import kernels, launch, nvrtc, rows, shapes, standin_array
from gradengine.cuda.standin import StandinBackend, standin
from gradengine.ops.standardisation import layer_norm
from gradengine.program import diagnostics
from gradengine.program.diagnostics import Driver, Machine

pytestmark = needs_emulator


@pytest.fixture(name="device")
def a_device():
    with standin() as backend:
        yield backend


# --- arrays on different devices ---


def test_arrays_on_different_devices_are_named(device):
    a, b = ge.ones((2, 3), device="cuda:0"), ge.ones(3, device="cuda:1")
    cpu = ge.ones(3)
    where = r"argument 0 \(2, 3\) on 'cuda:0', argument 1 \(3,\) on 'cuda:1'\n  hint: move one"
    for f in (lambda: a + b, lambda: ge.maximum(a, b), lambda: a @ b):
        with pytest.raises(ge.DeviceError, match=where):
            f()
    for f in (lambda: a + cpu, lambda: cpu * a, lambda: ge.concat([a[0], cpu]), lambda: a @ cpu):
        with pytest.raises(ge.DeviceError, match=r"on 'cpu'.*\n?.*hint: move one: x\.to"):
            f()
    with pytest.raises(ge.DeviceError, match=r"where: arrays on different devices"):
        ge.where(a > 0, a, b)
    with pytest.raises(ge.DeviceError, match="different devices"):
        ge.concat([a[0], b])


def test_a_gradient_travels_back_between_devices(device):
    x = ge.ones(3, device="cuda:0", requires_grad=True)
    y = (x * 2).to("cuda:1") * 3
    assert y.device == "cuda:1"
    y.to("cpu").sum().backward()
    assert x.grad.device == "cuda:0"
    assert x.grad.tolist() == [6.0, 6.0, 6.0]


def test_a_device_that_is_not_there(device):
    for f in (
        lambda: ge.ones(2).to("cuda:7"),
        lambda: ge.default_device("cuda:7"),
        lambda: ge.cuda.set_device(7),
        lambda: ge.cuda.synchronize("cuda:2"),
    ):
        with pytest.raises(ge.DeviceError, match=r"no cuda:\d\n  hint: .*cuda:0, cuda:1"):
            f()


# --- dtypes ---


def test_dtypes_that_no_gpu_holds(device):
    for array in (np.ones(2, np.longdouble), np.ones(2, "clongdouble")):
        with pytest.raises(ge.DTypeError, match=r"no GPU holds.*\n  hint: convert first"):
            ge.device.move(array, "cuda")


def test_dtypes_that_no_kernel_takes(device):
    xp = sys.modules["cupy"]
    with pytest.raises(ge.DTypeError, match=r"int64\n  hint: use float16, bfloat16"):
        launch.forward("Exp", xp.arange(3))
    with pytest.raises(ge.DTypeError, match=r"float32 and float64\n  hint: cast one"):
        launch.forward2("Add", xp.ones(3, "float32"), xp.ones(3))


# --- layouts ---


LAYOUTS = {
    "misaligned": lambda x: x.reshape(-1)[1:],
    "transposed": lambda x: x.T,
    "every second": lambda x: x[:, ::2],
    "back to front": lambda x: x[::-1, ::-1],
    "a row": lambda x: x[3],
    "a column": lambda x: x[:, 3],
    "part of a row": lambda x: x[2, 1:4],
    "broadcast": lambda x: ge.broadcast_to(x[:1], (7, 9)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_are_not_dense(device, layout):
    values = np.random.default_rng(0).standard_normal((7, 9)).astype("float32")
    found = []
    for place in ("cpu", "cuda"):
        x = ge.tensor(values, device=place, requires_grad=True)
        v = LAYOUTS[layout](x)
        y = ge.gelu(v) * v + ge.leaky_relu(v, 0.2) / 3
        y = y + ge.softmax(v) + layer_norm(v) + v.sum(axis=0) + v.astype("float64").mean()
        weights = np.arange(y.size).reshape(y.shape) / y.size
        (y * ge.tensor(weights, device=place)).sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_empty_arrays_launch_nothing(device):
    x = ge.zeros((0, 4), device="cuda", requires_grad=True)
    w = ge.ones(4, device="cuda", requires_grad=True)
    with ge.cuda.launched() as trace:
        y = ge.softmax(ge.gelu(x * w + 1.0))
        z = ge.dropout(layer_norm(y), 0.5)
        z.backward(ge.ones((0, 4), device="cuda"))
        assert ge.exp(x).mean(axis=1).shape == (0,)
        assert x.sum().item() == 0
    assert trace.kernels == []
    assert x.grad.shape == (0, 4)
    assert w.grad.tolist() == [0.0] * 4


# --- sizes beyond 32 bits, by their strides alone ---


class Weightless(StandinBackend):
    """Arrays of any shape over one element, and kernels that are noted with their arguments."""

    def __init__(self):
        super().__init__()
        self.grids = []

    def empty(self, shape, dtype):
        return weightless(shape, dtype)

    def zeros(self, shape, dtype):
        return weightless(shape, dtype)

    def contiguous(self, array):
        return array.strides == _steps(array.shape, array.itemsize)

    def function(self, kernel, shared):
        return kernel

    def start(self, function, grid, block, packed, shared, stream):
        self.calls.append(function)
        self.grids.append(grid)


def _steps(shape, itemsize):
    steps = []
    for n in reversed(shape):
        steps.append(itemsize)
        itemsize *= n
    return tuple(reversed(steps))


def weightless(shape, dtype, strides=None):
    dtype = np.dtype(dtype)
    strides = _steps(shape, dtype.itemsize) if strides is None else strides
    made = np.lib.stride_tricks.as_strided(np.zeros(4, dtype), shape, strides)
    return standin_array.ndarray.of(made)


def test_more_than_two_to_the_31_elements():
    n = 2**31 + 8
    with standin(backend=Weightless()) as backend:
        big = weightless((n,), "float32")
        y = launch.forward("Gelu", big)
        assert y.shape == (n,)
        launch.vjp("Gelu", big, big)
        launch.forward2("Add", big, weightless((1,), "float32"))
        assert backend.calls == [
            "map_forward<Gelu,float>", "map_vjp<Gelu,float>", "map2_forward<Add,float>",
        ]  # fmt: skip
        assert all(g[0] <= 32 * 3 for g in backend.grids)
        backend.calls.clear()
        column = weightless((2**16, 2**16 + 8), "float32", (4, 2**18))  # transposed: no dense way
        launch.forward("Gelu", column)
        assert set(backend.calls) == {"map_forward_strided<Gelu,float>"}
        assert len(backend.calls) == 4  # cut below 2^31 elements each
        backend.calls.clear()
        rows.softmax_forward(weightless((2**22, 1024), "float32"))
        assert len(backend.calls) == 1
        wide = f"rows of {shapes.LIMIT}.*\n  hint: give it fewer"
        with pytest.raises(ge.ShapeError, match=wide):
            rows.softmax_forward(weightless((1, shapes.LIMIT), "float32"))


# --- out of memory ---


def test_out_of_memory_shows_the_pool_and_keeps_the_tape(device):
    pool = sys.modules["cupy"].get_default_memory_pool()
    x = ge.ones((64, 64), device="cuda", requires_grad=True)
    y = ge.exp(x)
    pool.set_limit(size=pool.used_bytes() + 1000)
    with pytest.raises(MemoryError, match="Out of memory allocating 16,384 bytes") as error:
        y * 2
    notes = "\n".join(error.value.__notes__)
    assert "multiply: out of memory; called with (64, 64) float32" in notes
    assert f"pool {pool.used_bytes():,} used of" in notes
    assert "hint: smaller batches, ge.checkpoint" in notes
    loss = y[0, 0]
    with pytest.raises(MemoryError):
        loss.backward()
    pool.set_limit(size=0)
    y.sum().backward()
    assert np.allclose(x.grad.numpy(), np.e)


# --- machines that cannot ---


def refused(machine, monkeypatch):
    """What a person reads who asks for a GPU on such a machine."""
    monkeypatch.setattr(diagnostics, "inspect_machine", lambda: machine)
    with standin(device_count=0):
        assert not ge.cuda.is_available()
        assert ge.cuda.device_count() == 0
        with pytest.raises(ge.DeviceError) as error:
            ge.ones(3).to("cuda")
    return str(error.value)


def test_no_driver(monkeypatch):
    text = refused(Machine(), monkeypatch)
    assert "no NVIDIA driver" in text
    assert 'hint: compute on the CPU: device="cpu"' in text


def test_a_container_without_its_gpus(monkeypatch):
    assert "hint: docker run --gpus all" in refused(Machine(kernel_module="580.1"), monkeypatch)


def test_too_old_a_driver(monkeypatch):
    text = refused(replace(GOOD, driver=Driver((11, 4), (H200,))), monkeypatch)
    assert "runs CUDA 11.4 at most; gradengine needs 12.0" in text
    assert "hint: install NVIDIA driver 525 or newer" in text
    text = refused(replace(GOOD, driver=Driver((12, 8), (H200,))), monkeypatch)
    assert "needs a driver for CUDA 13" in text
    assert "gradengine[cuda12]" in text


def test_two_cupys_at_once(monkeypatch, device):
    both = with_packages("cupy-cuda12x", "cupy-cuda13x").packages
    monkeypatch.setattr(diagnostics, "installed_packages", lambda: both)
    ge.device.checked.clear()
    with pytest.raises(
        ge.DeviceError, match=r"overwrite each other.*\n  hint: .*uninstall -y cupy"
    ):
        ge.ones(3).to("cuda")
    monkeypatch.undo()
    assert ge.ones(3).to("cuda").device == "cuda:0"


def test_no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what import does when it is not installed
    monkeypatch.setattr(diagnostics, "inspect_machine", lambda: Machine(driver=GOOD.driver))
    with pytest.raises(ge.DeviceError, match=r"CuPy is not installed.*\n  hint: .*\[cuda13\]"):
        ge.ones(3).to("cuda")


def test_missing_nvrtc(monkeypatch):
    """The first kernel of an op finds no compiler: the op's caller reads what to install."""

    class Uncompiled(StandinBackend):
        def function(self, kernel, shared):
            return kernels.compiled([kernel], "sm_90", cache=None)

    def nowhere(*_args):
        raise nvrtc.NvrtcMissing(
            nvrtc.hinted("kernels: the NVRTC library was not found", nvrtc.REMEDY)
        )

    monkeypatch.setattr(nvrtc, "_library", nowhere)
    monkeypatch.setenv("GRADENGINE_CACHE", "/nonexistent")
    with standin(backend=Uncompiled()):
        x = ge.ones(3, device="cuda")
        with pytest.raises(ge.MissingDependencyError, match=r"NVRTC.*\n  hint: pip install"):
            ge.gelu(x)
        assert ge.cos(ge.ones(3)).shape == (3,)
