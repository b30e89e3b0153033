"""Saving and loading the state of optimisers, PyTorch's too, and what they refuse."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from identical import identical

import gradengine as ge
from gradengine import optim


def bowl(w):
    """A loss with a different curvature along every axis."""
    return (w * w * w * w).sum() + (w * w).sum()


# --- saving --------------------------------------------------------------------------------------

SETTINGS = [
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("Adagrad", {"lr": 0.1}),
    ("Adadelta", {"lr": 0.5}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("AdamW", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05}),
    ("ASGD", {"lr": 0.05, "t0": 3.0}),
    ("Rprop", {"lr": 0.05}),
    ("Lion", {"lr": 0.05}),
    ("LAMB", {"lr": 0.05}),
    ("LBFGS", {"lr": 0.1, "max_iter": 3}),
]


def closure_for(optimizer, *ws):
    def closure():
        optimizer.zero_grad()
        loss = sum(bowl(w) for w in ws)
        loss.backward()
        return loss

    return closure


def step(optimizer, *ws):
    optimizer.step(closure_for(optimizer, *ws))


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_training_goes_on_bit_for_bit_from_a_state_dict(name, options):
    starts = [np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(0.5, 1, 3)]
    ws = [ge.tensor(x, requires_grad=True) for x in starts]
    optimizer = getattr(optim, name)(ws, **options)
    for _ in range(5):
        step(optimizer, *ws)
    saved = optimizer.state_dict()
    values = [w.numpy().copy() for w in ws]
    for _ in range(5):
        step(optimizer, *ws)
    again = [ge.tensor(x, requires_grad=True) for x in values]
    other = getattr(optim, name)(again, **{**options, "lr": 9.0})
    other.load_state_dict(json_like(saved))
    assert other.param_groups[0]["lr"] == options["lr"]
    for _ in range(5):
        step(other, *again)
    for x, y in zip(ws, again, strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def json_like(state):
    """A state dict as it comes back from a file: arrays apart, keys as text, tuples as lists."""
    groups = json.loads(json.dumps(state["param_groups"]))
    return {"state": {str(k): v for k, v in state["state"].items()}, "param_groups": groups}


@pytest.mark.parametrize(("name", "options"), [s for s in SETTINGS if s[0] not in ("Lion", "LAMB")])
def test_a_state_of_pytorchs_goes_on_here(name, options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    start = np.linspace(-1, 1, 6).reshape(2, 3)
    theirs = torch.tensor(start, requires_grad=True)
    other = getattr(torch.optim, name)([theirs], **options)
    for _ in range(4):
        step(other, theirs)
    ours = ge.tensor(theirs.detach().numpy().copy(), requires_grad=True)
    mine = getattr(optim, name)([ours], **{**options, "lr": 7.0})
    mine.load_state_dict(converted(other.state_dict()))
    tolerance = 1e-6 if name in ("ASGD", "NAdam") else 1e-11  # numbers PyTorch has in float32
    for _ in range(30):
        step(other, theirs)
        step(mine, ours)
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), atol=tolerance)


def converted(x):
    """PyTorch's tensors as arrays, all else as it is."""
    if isinstance(x, dict):
        return {k: converted(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(map(converted, x))
    return x.numpy().copy() if hasattr(x, "numpy") else x


def test_a_state_dict_is_a_snapshot():
    w = ge.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1)
    step(optimizer, w)
    saved = optimizer.state_dict()
    before = saved["state"][0]["exp_avg"].tolist()
    step(optimizer, w)
    assert saved["state"][0]["exp_avg"].tolist() == before
    assert saved["state"][0]["step"] == 1
    assert saved["param_groups"][0]["params"] == [0]
    optimizer.load_state_dict(saved)
    step(optimizer, w)
    assert saved["state"][0]["exp_avg"].tolist() == before


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    w = ge.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1)
    step(optimizer, w)
    good = optimizer.state_dict()

    def altered(**entries):
        return {"state": {0: {**good["state"][0], **entries}}, "param_groups": [*groups]}

    groups = good["param_groups"]
    for text, bad in [
        ("is no state", {"param_groups": []}),
        (
            r"groups of \[2\] parameters in the state, \[1\] here",
            {**good, "param_groups": [{**groups[0], "params": [0, 1]}]},
        ),
        (r"groups of \[1, 1\]", {**good, "param_groups": groups * 2}),
        (
            r"exp_avg of parameter 0 has shape \(3,\), the parameter \(2,\)",
            altered(exp_avg=np.ones(3)),
        ),
        ("unknown state 'velocity'", altered(velocity=np.ones(2))),
        ("state of parameter 5", {**good, "state": {5: {}}}),
        ("unknown option 'rho'", {**good, "param_groups": [{**groups[0], "rho": 1.0}]}),
        ("lr must be a finite number", {**good, "param_groups": [{**groups[0], "lr": -1.0}]}),
    ]:
        with pytest.raises(ValueError, match=text):
            optimizer.load_state_dict(bad)
        assert optimizer.state_dict()["state"][0]["step"] == 1
        assert optimizer.lr == 0.1


def test_an_lbfgs_state_of_another_size_is_refused():
    w, u = (ge.tensor(np.linspace(-1, 1, n), requires_grad=True) for n in (3, 4))
    optimizer = optim.LBFGS([w])
    step(optimizer, w)
    other = optim.LBFGS([u])
    step(other, u)
    before = other.state_dict()
    saved = optimizer.state_dict()
    saved["param_groups"][0]["lr"] = 0.25
    with pytest.raises(ValueError, match=r"has shape \(3,\), the parameters \(4,\)"):
        other.load_state_dict(saved)
    assert other.lr == 1.0
    identical(other.state_dict(), before)


# --- what is refused -----------------------------------------------------------------------------


def test_bad_parameters():
    w = ge.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(TypeError, match="parameter 1 is a list"):
        optim.SGD([w, [1.0]])
    with pytest.raises(TypeError, match="params is a Tensor"):
        optim.SGD(w)
    with pytest.raises(TypeError, match=r"params is a Linear(.|\n)*model.parameters\(\)"):
        optim.SGD(ge.nn.Linear(2, 2))
    with pytest.raises(ge.GraphError, match="result of an op"):
        optim.SGD([w * 2])
    with pytest.raises(ValueError, match=r"parameter 1, shape .* appears twice"):
        optim.Adam([w, w])
    optimizer = optim.SGD([w])
    with pytest.raises(ValueError, match="appears twice"):
        optimizer.add_param_group({"params": [w]})
    with pytest.raises(ValueError, match="no 'params'"):
        optimizer.add_param_group({"lr": 1.0})
    with pytest.raises(
        ValueError, match=r"unknown option 'momentun'(.|\n)*did you mean 'momentum'"
    ):
        optimizer.add_param_group({"params": [ge.tensor([1.0])], "momentun": 0.9})


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("Adam", {"lr": -1.0}, "Adam: lr must be a finite number of at least 0, got -1.0"),
        ("Adam", {"lr": float("nan")}, "got nan"),
        ("SGD", {"lr": float("inf")}, "got inf"),
        ("SGD", {"lr": "0.1"}, "got '0.1'"),
        ("Adam", {"betas": (0.9, 1.0)}, "betas are two numbers"),
        ("Adam", {"betas": 0.9}, "betas are two numbers"),
        ("Adam", {"eps": -1e-8}, "eps must be"),
        ("Adam", {"amsgrad": 1}, "amsgrad is True or False"),
        ("SGD", {"nesterov": True}, "nesterov needs a momentum above 0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
        ("SGD", {"weight_decay": -0.1}, "weight_decay must be"),
        ("Adadelta", {"rho": 1.5}, "rho lies in"),
        ("Rprop", {"etas": (1.5, 0.5)}, "etas are"),
        ("Rprop", {"step_sizes": (1.0, 0.5)}, "step_sizes are"),
        ("LBFGS", {"line_search_fn": "armijo"}, "'armijo' is unknown"),
        ("LBFGS", {"history_size": 0}, "history_size must be an integer of at least 1"),
        ("LBFGS", {"max_iter": -3}, r"max_iter(.|\n)*such as max_iter=20"),
        ("LBFGS", {"tolerance_grad": "x"}, "tolerance_grad must be"),
    ],
)
def test_bad_options(name, options, text):
    with pytest.raises(ValueError, match=text):
        getattr(optim, name)([ge.tensor([1.0], requires_grad=True)], **options)


def test_options_that_say_how_pytorch_computes_are_not_taken():
    with pytest.raises(TypeError, match="fused"):
        optim.Adam([ge.tensor([1.0], requires_grad=True)], fused=True)


def test_a_rate_that_became_nan_is_refused_before_it_spoils_the_parameters():
    w = ge.tensor([1.0], requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1)
    w.grad = ge.tensor([1.0])
    optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match="got nan"):
        optimizer.step()
    assert w.item() == 1.0


def test_lbfgs_wants_one_group_and_a_closure():
    a, b = (ge.tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="2 parameter groups"):
        optim.LBFGS([{"params": [a]}, {"params": [b]}])
    with pytest.raises(ValueError, match="needs a closure"):
        optim.LBFGS([a]).step()


def test_lbfgs_solves_rosenbrock():
    x = ge.tensor(np.linspace(-1.2, 1.0, 6), requires_grad=True)
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe", history_size=5)

    def closure():
        optimizer.zero_grad()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    np.testing.assert_allclose(x.numpy(), 1.0, atol=1e-4)


@pytest.mark.parametrize("size", [3, 20_000])
def test_a_copy_of_an_optimiser_that_has_stepped_goes_on_by_itself(size):
    rng = np.random.default_rng(0)
    ws = [ge.tensor(rng.normal(size=size), requires_grad=True) for _ in range(2)]
    optimizer = ge.optim.Adam(ws, lr=0.1)
    step(optimizer, *ws)
    copied = [copy.deepcopy((ws, optimizer)), pickle.loads(pickle.dumps((ws, optimizer)))]
    for others, other in copied:
        step(other, *others)
    step(optimizer, *ws)
    for others, other in copied:
        for w, v in zip(ws, others, strict=True):
            assert np.array_equal(w.array, v.array)
            for name, value in optimizer.state[w].items():
                assert np.array_equal(value, other.state[v][name])
