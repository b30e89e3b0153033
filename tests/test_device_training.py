"""Training on a device gives the losses of the CPU, step by step, through our own kernels."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine import nn, optim
from gradengine.cuda.standin import standin

STEPS = 50
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def mlp():
    return nn.Sequential(
        nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4)
    )


def normed():
    return nn.Sequential(
        nn.Linear(12, 16), nn.LayerNorm(16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, 4)
    )


def losses(make, optimizer, dtype, device):
    """The losses of 50 steps on 24 points in 4 classes."""
    random = np.random.default_rng(0)
    points = random.standard_normal((24, 12)).astype(dtype)
    classes = random.integers(0, 4, 24)
    ge.random.manual_seed(3)
    net = make().to(dtype).to(device)
    steps = getattr(optim, optimizer)(net.parameters(), lr=1e-2)
    x, t = ge.tensor(points, device=device), ge.tensor(classes, device=device)
    found = []
    for _ in range(STEPS):
        steps.zero_grad()
        loss = ge.cross_entropy(net(x), t)
        loss.backward()
        steps.step()
        found.append(loss.item())
    return found


def check(make, optimizer, dtype):
    want = losses(make, optimizer, dtype, "cpu")
    with ge.cuda.launched() as trace:
        got = losses(make, optimizer, dtype, "cuda")
    assert want[-1] < 0.7 * want[0] or optimizer == "SGD"
    assert np.abs(np.subtract(got, want)).max() <= TOLERANCE[dtype]
    return trace


COMMON = {"map_forward", "map_vjp", "softmax_cross_entropy", "total_loss"}


@needs_emulator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_an_mlp_on_the_stand_in(optimizer, dtype):
    with standin():
        trace = check(mlp, optimizer, dtype)
    assert set(trace.names()) >= COMMON
    assert trace.names().count("map_vjp") == 2 * STEPS
    assert not trace.formulas


@needs_emulator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_norm_network_on_the_stand_in(dtype):
    with standin():
        trace = check(normed, "Adam", dtype)
    assert set(trace.names()) >= COMMON | {"norm_forward", "norm_vjp", "dropout"}
    assert trace.names().count("norm_vjp") == STEPS
    assert not trace.formulas


@needs_emulator
def test_on_the_second_device():
    """The engine makes it the current one by itself: the stand-in would refuse its arrays else.

    Optimisers compute on the current device.
    """
    with standin() as backend, ge.cuda.device(0):
        net = mlp().to("cuda:1")
        x = ge.ones((8, 12), device="cuda:1")
        t = ge.zeros(8, dtype="int64", device="cuda:1")
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        before = ge.cross_entropy(net(x), t)
        before.backward()
        with ge.cuda.device(1):
            optimizer.step()
        after = ge.cross_entropy(net(x), t)
        assert after.device == "cuda:1"
        assert after.item() < before.item()
        assert all(p.grad.device == "cuda:1" for p in net.parameters())
        assert backend.calls
        assert ge.cuda.current_device() == "cuda:0"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [mlp, normed], ids=["mlp", "layer norm"])
def test_on_a_gpu(make, dtype):
    check(make, "Adam", dtype)
