"""Optimisers: rules against hand computation and PyTorch, what a step touches, what is refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import optim
from gradengine.optim import rules

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
]


def bowl(w):
    """A loss with a different curvature along every axis."""
    return (w * w * w * w).sum() + (w * w).sum()


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_steps_are_pytorchs(name, options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    start = np.linspace(-1, 1, 6).reshape(2, 3)
    ours = ge.tensor(start, requires_grad=True)
    theirs = torch.tensor(start, requires_grad=True)
    mine, other = (
        getattr(optim, name)([ours], **options),
        getattr(torch.optim, name)([theirs], **options),
    )
    for _ in range(7):
        for optimizer, w in ((mine, ours), (other, theirs)):
            optimizer.zero_grad()
            bowl(w).backward()
            optimizer.step()
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12)


def test_adam_by_hand():
    p, g = np.array([1.0]), np.array([0.5])
    m = v = np.zeros(1)
    for step in (1, 2):
        p, m, v = rules.adam(p, g, m, v, step, lr=0.1, betas=(0.9, 0.99), eps=0.0)
        assert m[0] / (1 - 0.9**step) == pytest.approx(0.5)
        assert v[0] / (1 - 0.99**step) == pytest.approx(0.25)
        assert p[0] == pytest.approx(1 - 0.1 * step)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_it_goes_downhill(name):
    w = ge.tensor(np.linspace(-2, 2, 5), requires_grad=True)
    optimizer = getattr(optim, name)([w], lr=0.05)
    before = bowl(w).item()
    for _ in range(300):
        optimizer.zero_grad()
        bowl(w).backward()
        optimizer.step()
    assert bowl(w).item() < 1e-3 * before


# --- purity --------------------------------------------------------------------------------------


def test_rules_write_into_nothing_they_are_given():
    rng = np.random.default_rng(0)
    arrays = [rng.random(5) for _ in range(4)]
    kept = [array.copy() for array in arrays]
    rules.adam(*arrays, 3, lr=0.1, weight_decay=0.1)
    rules.sgd(*arrays[:3], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    rules.sgd(arrays[0], arrays[1], None, lr=0.1, momentum=0.9)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_first_velocity_is_not_the_gradient_itself_once_changed():
    w = ge.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
    bowl(w).backward()
    gradient = w.grad.numpy().copy()
    optimizer.step()
    bowl(w).backward()  # adds to the same gradient
    optimizer.step()
    velocity = optimizer.state[0]["velocity"]
    np.testing.assert_allclose(velocity, 0.5 * gradient + w.grad.numpy())


def test_a_graph_recorded_before_a_step_still_gives_its_own_gradient():
    w = ge.tensor([3.0], requires_grad=True)
    loss = (w * w).sum()
    w.grad = ge.tensor([1.0])
    optim.SGD([w], lr=1.0).step()
    assert w.item() == 2.0
    w.grad = None
    loss.backward()
    assert w.grad.item() == 6.0  # of the loss as it was computed, at w = 3


def test_a_view_of_a_parameter_sees_the_step():
    w = ge.tensor([3.0, 4.0], requires_grad=True)
    view = w[1:]
    w.grad = ge.tensor([1.0, 1.0])
    optim.SGD([w], lr=1.0).step()
    assert view.tolist() == [3.0]


# --- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_the_dtype_is_kept_and_small_gradients_do_not_divide_by_zero(name, dtype):
    w = ge.tensor(np.array([1.0, -1.0], dtype), requires_grad=True)
    optimizer = getattr(optim, name)([w], lr=0.01)
    for size in (1e-6, 0.0):  # in float16, 1e-6 squared and eps are both zero
        w.grad = ge.tensor(np.array([size, -size], dtype))
        optimizer.step()
        assert w.dtype == dtype
        assert np.isfinite(w.numpy().astype(np.float64)).all()
    if name == "Adam":
        assert optimizer.state[0]["m"].dtype == max(
            np.dtype(np.float32), np.dtype(dtype), key=lambda d: d.itemsize
        )


# --- what a step touches, and what is refused ----------------------------------------------------


def test_a_parameter_without_a_gradient_stays():
    a, b = (ge.tensor([1.0], requires_grad=True) for _ in range(2))
    (a * 2).sum().backward()
    optimizer = optim.Adam([a, b], lr=0.1)
    optimizer.step()
    assert a.item() != 1.0
    assert b.item() == 1.0
    optimizer.zero_grad()
    assert a.grad is None


def test_bad_arguments():
    w = ge.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(TypeError, match="parameter 1 is a list"):
        optim.SGD([w, [1.0]])
    with pytest.raises(ge.GraphError, match="result of an op"):
        optim.SGD([w * 2])
    with pytest.raises(ValueError, match="appears twice"):
        optim.Adam([w, w])
    with pytest.raises(ValueError, match="lr must not be negative"):
        optim.Adam([w], lr=-1.0)
    with pytest.raises(ValueError, match="lr must not be negative, got nan"):
        optim.Adam([w], lr=float("nan"))
    with pytest.raises(ValueError, match="betas"):
        optim.Adam([w], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="nesterov"):
        optim.SGD([w], nesterov=True)


@pytest.mark.parametrize("shape", [(3, 4), (300, 300)], ids=["one block", "several blocks"])
def test_adam_does_not_depend_on_the_layout_or_on_blocks(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), rng.normal(size=(3, *shape))
    plain = ge.tensor(start.copy(), requires_grad=True)
    turned = ge.tensor(start.copy(), requires_grad=True)
    turned.data = np.asfortranarray(start)
    for x in (plain, turned):
        optimizer = optim.Adam([x], lr=0.1)
        for g in gradients:
            x.grad = ge.tensor(np.asfortranarray(g) if x is turned else g)
            optimizer.step()
    assert np.array_equal(plain.numpy(), turned.numpy())
    p, m, v = start, np.zeros(shape), np.zeros(shape)
    for step, g in enumerate(gradients, 1):
        p, m, v = optim.rules.adam(p, g, m, v, step, lr=0.1)
    assert np.allclose(plain.numpy(), p, rtol=1e-14)
