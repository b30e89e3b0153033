"""AveragedModel and update_bn against PyTorch and by hand."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn import averaging

AVERAGES = {
    "mean": {},
    "mean one by one": {"avg_fn": lambda source: source.get_swa_avg_fn()},
    "moving": {"multi_avg_fn": lambda source: source.get_ema_multi_avg_fn(0.8)},
    "moving one by one": {"avg_fn": lambda source: source.get_ema_avg_fn(0.8)},
    "with buffers": {
        "multi_avg_fn": lambda source: source.get_ema_multi_avg_fn(0.8),
        "use_buffers": lambda source: True,
    },
}


def network(source):
    return source.Sequential(source.Linear(3, 4), source.BatchNorm1d(4), source.Linear(4, 1))


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs, ours = network(torch.nn).double(), network(nn).double()
    states = []
    for source, model in ((torch.optim.swa_utils, theirs), (averaging, ours)):
        options = {key: make(source) for key, make in AVERAGES[name].items()}
        averaged = source.AveragedModel(model, **options)
        rng = np.random.default_rng(0)
        for _ in range(5):
            with torch.no_grad(), ge.no_grad():
                for p in model.parameters():
                    value = rng.normal(size=tuple(p.shape))
                    if model is theirs:
                        p.copy_(torch.tensor(value))
                    else:
                        p.copy_(ge.tensor(value))
                x = rng.normal(size=(6, 3))
                model(torch.tensor(x) if model is theirs else ge.tensor(x))
            averaged.update_parameters(model)
        states.append({k: np.asarray(v) for k, v in averaged.state_dict().items()})
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        if "num_batches" in key and name == "with buffers":
            continue  # PyTorch averages the counter as an integer, here it is the newest
        np.testing.assert_allclose(states[1][key], value, rtol=1e-6, err_msg=key)


def test_the_copy_is_a_copy():
    model = nn.Linear(2, 1)
    averaged = nn.AveragedModel(model)
    before = averaged.module.weight.tolist()
    nn.init.constant_(model.weight, 9.0)
    assert averaged.module.weight.tolist() == before
    averaged.update_parameters(model)
    assert averaged.module.weight.tolist() == [[9.0, 9.0]]
    nn.init.constant_(model.weight, 1.0)
    assert averaged.module.weight.tolist() == [[9.0, 9.0]]
    x = ge.ones((1, 2))
    assert averaged(x).item() == pytest.approx(18.0 + averaged.module.bias.item())


def test_it_goes_on_from_its_state():
    model = nn.Linear(2, 1)
    averaged, again = nn.AveragedModel(model), nn.AveragedModel(model)
    for value in (1.0, 3.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    again.load_state_dict(averaged.state_dict())
    nn.init.constant_(model.weight, 8.0)
    again.update_parameters(model)
    assert again.module.weight.tolist() == [[4.0, 4.0]]
    assert again.n_averaged.item() == 3


def test_another_model_is_refused():
    averaged = nn.AveragedModel(nn.Linear(2, 1))
    with pytest.raises(
        ge.ShapeError, match=r"tensor 0 of shape \(1, 3\), the average has \(1, 2\)"
    ):
        averaged.update_parameters(nn.Linear(3, 1))
    with pytest.raises(ge.ShapeError, match="1 tensors, 2 are averaged"):
        averaged.update_parameters(nn.Linear(2, 1, bias=False))
    with pytest.raises(ValueError, match="give one of them"):
        nn.AveragedModel(
            nn.Linear(2, 1), avg_fn=nn.get_swa_avg_fn(), multi_avg_fn=nn.get_swa_multi_avg_fn()
        )
    with pytest.raises(ValueError, match=r"decay 1\.5"):
        nn.get_ema_multi_avg_fn(1.5)


def test_batch_statistics_are_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(5, 3)) for _ in range(3)]
    theirs, ours = network(torch.nn).double(), network(nn).double()
    ours.load_state_dict({k: ge.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    ours.eval()
    ours[0].train()
    torch.optim.swa_utils.update_bn([[torch.tensor(x), 0] for x in batches], theirs)
    nn.update_bn([[ge.tensor(x), 0] for x in batches], ours)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        expected = getattr(theirs[1], name).numpy()
        np.testing.assert_allclose(getattr(ours[1], name).numpy(), expected, rtol=1e-12)
    assert ours[1].momentum == 0.1
    assert [m.training for m in ours.modules()] == [False, True, False, False]


def test_a_model_without_batch_normalisation_is_left_alone():
    nn.update_bn(iter([object()]), nn.Linear(2, 1))
