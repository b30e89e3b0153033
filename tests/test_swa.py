"""Averages of parameters: against PyTorch and by hand, swapping, saving; SWALR."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import optim
from gradengine.optim import ExponentialMovingAverage, StochasticWeightAverage


def parameters(dtype=np.float64):
    return [
        ge.tensor(np.linspace(-1, 1, 6).reshape(2, 3).astype(dtype), requires_grad=True),
        ge.tensor(np.array([0.5], dtype), requires_grad=True),
    ]


def wander(ws, seed):
    rng = np.random.default_rng(seed)
    with ge.no_grad():
        for w in ws:
            w += ge.tensor(rng.normal(size=w.shape).astype(w.dtype))


def torch_average(function, ws, values):
    """PyTorch's AveragedModel over the same values."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    swa = torch.optim.swa_utils
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(w)) for w in ws])
    averaged = swa.AveragedModel(model, multi_avg_fn=function(swa))
    for row in values:
        with torch.no_grad():
            for p, value in zip(model, row, strict=True):
                p.copy_(torch.tensor(value))
        averaged.update_parameters(model)
    return [p.detach().numpy() for p in averaged.module.parameters()]


def test_the_mean_is_pytorchs():
    ws, values = parameters(), []
    mean = StochasticWeightAverage(ws)
    for seed in range(6):
        wander(ws, seed)
        values.append([w.numpy().copy() for w in ws])
        mean.update()
    expected = torch_average(lambda swa: swa.get_swa_multi_avg_fn(), values[0], values)
    for average, other, rows in zip(
        mean.averages, expected, zip(*values, strict=True), strict=True
    ):
        np.testing.assert_allclose(average, other, rtol=1e-6)  # its 1 / n is in float32
        np.testing.assert_allclose(average, np.mean(rows, axis=0), rtol=1e-12)


def test_the_moving_average_is_pytorchs():
    ws, values = parameters(), []
    start = [w.numpy().copy() for w in ws]
    ema = ExponentialMovingAverage(ws, decay=0.8)
    for seed in range(6):
        wander(ws, seed)
        values.append([w.numpy().copy() for w in ws])
        ema.update()
    # PyTorch's first update copies; ours begins with the values at construction
    expected = torch_average(lambda swa: swa.get_ema_multi_avg_fn(0.8), start, [start, *values])
    for average, other in zip(ema.averages, expected, strict=True):
        np.testing.assert_allclose(average, other, rtol=1e-12)


def test_warm_up_lets_the_first_values_in():
    w = ge.tensor([0.0], requires_grad=True)
    ema = ExponentialMovingAverage([w], decay=0.99, warm_up=True)
    with ge.no_grad():
        w += 1.0
    ema.update()
    assert ema.averages[0][0] == pytest.approx(1 - 2 / 11)
    for _ in range(2000):
        ema.update()
    assert ema.weight() == pytest.approx(0.01)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_averages_of_16_bit_parameters_are_kept_in_float32(dtype):
    w = ge.tensor(np.ones(3, dtype), requires_grad=True)
    ema = ExponentialMovingAverage([w], decay=0.9999)
    with ge.no_grad():
        w += 1.0
    ema.update()
    assert ema.averages[0].dtype == np.float32
    assert ema.averages[0][0] == pytest.approx(1.0001)  # lost in 16 bits
    ema.copy_to()
    assert w.dtype == dtype


def test_swapping_puts_everything_back_even_after_an_error():
    ws = parameters()
    ema = ExponentialMovingAverage(ws, decay=0.5)
    wander(ws, 0)
    ema.update()
    own = [w.array for w in ws]
    loss = (ws[0] * ws[0]).sum()

    def fail():
        with ema.average_parameters():
            np.testing.assert_array_equal(ws[0].numpy(), ema.averages[0])
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert all(w.array is array for w, array in zip(ws, own, strict=True))
    loss.backward()
    np.testing.assert_allclose(ws[0].grad.numpy(), 2 * own[0])


def test_copies_go_to_other_parameters_too():
    ws, others = parameters(), parameters(np.float32)
    mean = StochasticWeightAverage(ws)
    wander(ws, 1)
    mean.update()
    mean.copy_to(others)
    np.testing.assert_allclose(others[0].numpy(), ws[0].numpy(), rtol=1e-6)
    assert others[0].dtype == np.float32
    with pytest.raises(ge.errors.ShapeError, match="2 averages for 1 parameters"):
        mean.copy_to(others[:1])
    with pytest.raises(ge.errors.ShapeError, match=r"average 0 is \(2, 3\), the parameter \(1,\)"):
        mean.copy_to(others[::-1])


@pytest.mark.parametrize("kind", [ExponentialMovingAverage, StochasticWeightAverage])
def test_it_goes_on_from_a_state_dict(kind):
    ws = parameters()
    average = kind(ws)
    for seed in range(3):
        wander(ws, seed)
        average.update()
    saved = average.state_dict()
    again = kind(ws)
    again.load_state_dict(saved)
    wander(ws, 9)
    average.update()
    again.update()
    for a, b in zip(average.averages, again.averages, strict=True):
        np.testing.assert_array_equal(a, b)
    assert saved["averages"][0].tolist() != average.averages[0].tolist()  # a snapshot
    with pytest.raises(ge.errors.ShapeError, match="1 averages for 2 parameters"):
        again.load_state_dict({**saved, "averages": saved["averages"][:1]})


def test_a_decay_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="decay lies in"):
        ExponentialMovingAverage(parameters(), decay=1.5)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 7])
def test_swalr_has_pytorchs_rates(strategy, epochs):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    found = []
    for library, tensor, source in (
        (optim, ge.tensor, optim.SWALR),
        (torch.optim, torch.tensor, torch.optim.swa_utils.SWALR),
    ):
        ws = [tensor([1.0], requires_grad=True) for _ in "ab"]
        optimizer = library.SGD([{"params": [ws[0]]}, {"params": [ws[1]], "lr": 0.3}], lr=0.5)
        first = library.lr_scheduler.ExponentialLR(optimizer, 0.9)
        for _ in range(3):
            optimizer.step()
            first.step()
        schedule = source(optimizer, [0.05, 0.1], anneal_epochs=epochs, anneal_strategy=strategy)
        path = []
        for _ in range(12):
            optimizer.step()
            schedule.step()
            path.append(schedule.get_last_lr())
        found.append(path)
    np.testing.assert_allclose(*found, rtol=1e-9)
