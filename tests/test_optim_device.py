"""Optimisers, averages, autocast and the scaler on device arrays, on the stand-in for CuPy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine import optim
from gradengine.amp import GradScaler, autocast
from gradengine.cuda.standin import standin

pytestmark = needs_emulator

OPTIONS = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "ASGD": {"t0": 2.0},
    "Rprop": {},
    "Lion": {"weight_decay": 0.1},
    "Adagrad": {"weight_decay": 0.1},
    "Adadelta": {"maximize": True},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"maximize": True},
    "Adamax": {},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {},
    "LAMB": {},
    "LBFGS": {"line_search_fn": "strong_wolfe", "max_iter": 3},
}
START = np.linspace(-1, 1, 6).reshape(2, 3).astype(np.float32)


@pytest.fixture(autouse=True)
def device():
    with standin():
        yield


def trained(name, place, dtype):
    ws = [
        ge.tensor(x.astype(dtype), device=place).requires_grad_() for x in (START, START[0], START)
    ]
    ws[2] = ge.tensor(np.resize(START, 20_000).astype(dtype), device=place).requires_grad_()
    optimizer = getattr(optim, name)(ws, lr=0.05, **OPTIONS[name])

    def closure():
        optimizer.zero_grad()
        loss = sum((w * w * w * w).sum() + (w * w).sum() for w in ws)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(closure)
    assert all(w.device.type == place for w in ws)
    return [w.to("cpu").numpy() for w in ws]


@pytest.mark.parametrize("name", OPTIONS)
def test_device_arrays_go_the_same_way(name):
    for ours, host in zip(*(trained(name, p, np.float32) for p in ("cuda", "cpu")), strict=True):
        slack = 1e-3 if name == "LBFGS" else 1e-6  # its line search follows the loss's last digits
        np.testing.assert_allclose(ours, host, rtol=1e-5, atol=slack)


@pytest.mark.parametrize("name", ["SGD", "Adam", "LAMB"])
def test_16_bit_parameters_on_a_device(name):
    for ours, host in zip(*(trained(name, p, np.float16) for p in ("cuda", "cpu")), strict=True):
        assert ours.dtype == np.float16
        np.testing.assert_allclose(ours.astype("f4"), host.astype("f4"), atol=5e-3)


def test_a_parameter_that_moves_takes_its_state_along():
    w = ge.tensor(START).requires_grad_()
    optimizer = optim.Adam([w], lr=0.1)
    for place in ("cpu", "cuda"):
        with ge.no_grad():
            w.data = w.detach().to(place)
        w.grad = ge.ones((2, 3), device=place)
        optimizer.step()
    assert ge.device.device_of(optimizer.state[w]["exp_avg"]).type == "cuda"
    assert optimizer.state[w]["step"] == 2
    np.testing.assert_allclose(w.to("cpu").numpy(), START - 0.2, atol=1e-6)


def test_the_history_of_lbfgs_moves_along():
    def run(places):
        w = ge.tensor(START).requires_grad_()
        optimizer = optim.LBFGS([w], lr=0.1, max_iter=2, history_size=3)
        for place in places:
            w.data = w.detach().to(place)

            def closure():
                optimizer.zero_grad()
                loss = (w * w * w * w).sum() + w.sum()
                loss.backward()
                return loss

            optimizer.step(closure)
            loaded = optim.LBFGS([ge.tensor(START)])
            loaded.load_state_dict(optimizer.state_dict())
            (kept,) = loaded.state.values()
            assert ge.device.device_of(kept["d"]).type == "cpu"
        return w.to("cpu").numpy()

    moved = run(("cpu", "cuda", "cuda", "cpu"))
    np.testing.assert_allclose(moved, run(("cpu",) * 4), rtol=1e-5)


def test_autocast_the_scaler_and_averages():
    w = ge.tensor(START, device="cuda").requires_grad_()
    optimizer, scaler = optim.SGD([w], lr=0.1), GradScaler(init_scale=64.0)
    ema = optim.ExponentialMovingAverage([w], decay=0.5)
    with autocast():
        y = w @ w.T
        loss = y.exp().sum()
    assert (y.dtype, loss.dtype) == (np.float16, np.float32)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert w.grad.dtype == np.float32
    moved = w.to("cpu").detach().numpy()
    assert not np.array_equal(moved, START)
    ema.update()
    ema.load_state_dict(ema.state_dict())
    with ema.average_parameters():
        inside = w.to("cpu").detach().numpy()
        np.testing.assert_allclose(inside, (START + moved) / 2, rtol=1e-6)
    w.grad = ge.full((2, 3), np.inf, device="cuda")
    scaler.step(optimizer)
    np.testing.assert_array_equal(w.to("cpu").detach().numpy(), moved)
