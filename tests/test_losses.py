"""Losses: PyTorch's values and gradients to second order, its options, and messages for targets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import DTypeError, GraphError, OutOfRangeError, ShapeError
from gradengine.graph import FREED
from gradengine.ops import classification, labels, losses
from gradengine.testing import check_grads

rng = np.random.default_rng(3)
REDUCTIONS = ["mean", "sum", "none"]


def leaf(x: Any) -> Any:
    return ge.tensor(np.array(x), requires_grad=True)


def agree(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any) -> None:
    """Same value, gradient and gradient of the gradient's square, for all float arrays."""
    torch = pytest.importorskip("torch")
    xs = [leaf(x) if x.dtype.kind == "f" else ge.tensor(x) for x in arrays]
    us = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    y, v = ours(*xs), theirs(*us)
    assert y.shape == tuple(v.shape)
    np.testing.assert_allclose(y.detach().numpy(), v.detach().numpy(), rtol=1e-11, atol=1e-12)
    xs = [x for x in xs if x.requires_grad]
    us = [u for u in us if u.requires_grad]
    g = rng.normal(size=y.shape)
    dx = ge.autograd.grad((y * ge.tensor(g)).sum(), xs, create_graph=True)
    du = torch.autograd.grad((v * torch.tensor(g)).sum(), us, create_graph=True)
    for a, b in zip(dx, du, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    total, theirs_total = sum((a**2).sum() for a in dx), sum((b**2).sum() for b in du)
    if theirs_total.requires_grad:
        live = total.requires_grad  # ours knows where a second derivative is zero everywhere
        dx2 = ge.autograd.grad(total, xs, allow_unused=True) if live else [None] * len(xs)
        du2 = torch.autograd.grad(theirs_total, us, allow_unused=True)
        for a, b in zip(dx2, du2, strict=True):
            first = 0.0 if a is None else a.numpy()
            np.testing.assert_allclose(
                first, 0.0 if b is None else b.numpy(force=True), rtol=1e-9, atol=1e-11
            )


# --- elementwise losses ---

X, T = rng.normal(size=(4, 3)) * 2, rng.normal(size=(4, 3))
P, Q = rng.uniform(0.05, 0.95, (4, 3)), rng.uniform(0.05, 0.95, (4, 3))
W = rng.uniform(0.5, 2, (4, 3))

ELEMENTWISE: dict[str, Any] = {
    "mse_loss": (X, T, [{}]),
    "l1_loss": (X, T, [{}]),
    "smooth_l1_loss": (X, T, [{}, {"beta": 0.5}, {"beta": 0.0}, {"beta": 3.0}]),
    "huber_loss": (X, T, [{}, {"delta": 0.5}, {"delta": 3.0}]),
    "binary_cross_entropy": (P, Q, [{}]),
    "binary_cross_entropy_with_logits": (X, Q, [{}]),
    "kl_div": (np.log(P), Q, [{}]),
}


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_are_pytorchs(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, t, options = ELEMENTWISE[name]
    for option in options:
        agree(
            lambda x, t, o=option: getattr(losses, name)(x, t, reduction=reduction, **o),
            lambda x, t, o=option: getattr(torch.nn.functional, name)(
                x, t, reduction=reduction, **o
            ),
            x,
            t,
        )
        check_grads(
            lambda x, t, o=option: getattr(losses, name)(x, t, reduction=reduction, **o), (x, t)
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_yes_no_losses(reduction: str) -> None:
    F = pytest.importorskip("torch").nn.functional
    agree(
        lambda p, q: ge.binary_cross_entropy(p, q, W, reduction),
        lambda p, q: F.binary_cross_entropy(p, q, p.new_tensor(W), reduction=reduction),
        P,
        Q,
    )
    pos = np.array([0.5, 1.0, 4.0])
    agree(
        lambda x, q: ge.binary_cross_entropy_with_logits(x, q, W, reduction, pos_weight=pos),
        lambda x, q: F.binary_cross_entropy_with_logits(
            x, q, x.new_tensor(W), reduction=reduction, pos_weight=x.new_tensor(pos)
        ),
        X,
        Q,
    )
    check_grads(  # PyTorch has no derivative for the weights
        lambda x, q, w, p: ge.binary_cross_entropy_with_logits(x, q, w, reduction, pos_weight=p),
        (X, Q, W, pos),
    )


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_kl_div_of_logs_and_batchmean() -> None:
    F = pytest.importorskip("torch").nn.functional
    for reduction in (*REDUCTIONS, "batchmean"):
        agree(
            lambda x, t, r=reduction: ge.kl_div(x, t, r, log_target=True),
            lambda x, t, r=reduction: F.kl_div(x, t, reduction=r, log_target=True),
            np.log(P),
            np.log(Q),
        )
    zero = np.array([0.0, 0.5])
    x = leaf(np.array([-np.inf, -1.0]))
    y = ge.kl_div(x, zero, "sum")
    y.backward()
    assert float(y) == pytest.approx(0.5 * (np.log(0.5) + 1))
    assert x.grad.tolist() == [0.0, -0.5]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_yes_no_losses_at_the_ends(dtype: str) -> None:
    big = 6e4 if dtype == "float16" else 1e30
    ones = np.ones(3, dtype)
    with np.errstate(all="raise"):
        x = ge.tensor(np.array([big, -big, 0.0], dtype), requires_grad=True)
        y = ge.binary_cross_entropy_with_logits(x, ones, reduction="none")
        assert y.dtype == dtype
        assert y.tolist() == np.array([0, big, np.log(2)], dtype).tolist()
        y.sum().backward()
        assert x.grad.tolist() == [0.0, -1.0, -0.5]
        p = ge.tensor(np.array([0.0, 1.0], dtype), requires_grad=True)
        y = ge.binary_cross_entropy(p, np.array([1, 0], dtype), reduction="none")
        assert y.tolist() == [100.0, 100.0]  # the logarithm is held at -100
        assert ge.binary_cross_entropy(p, np.array([0, 1], dtype)).item() == 0.0


def test_derivatives_at_kinks() -> None:
    x = leaf([1.0, 2.0])
    ge.l1_loss(x, np.array([1.0, 0.0]), "sum").backward()
    assert x.grad.tolist() == [0.0, 1.0]
    assert float(ge.mse_loss(leaf([1.0, 3.0]), 2.0)) == 1.0


def test_messages_of_elementwise_losses() -> None:
    x = leaf(X)
    with pytest.raises(ShapeError, match=r"mse_loss: input \(4, 3\) and target \(4,\) differ"):
        ge.mse_loss(x, np.zeros(4))
    with pytest.raises(ValueError, match="reduction='average' is unknown"):
        ge.l1_loss(x, T, "average")
    with pytest.raises(ValueError, match="delta=0"):
        ge.huber_loss(x, T, delta=0)
    with pytest.raises(ValueError, match="beta=-1"):
        ge.smooth_l1_loss(x, T, beta=-1)
    with pytest.raises(OutOfRangeError, match=re.escape("lies outside [0, 1]")):
        ge.binary_cross_entropy(ge.tensor([0.5, 1.5]), ge.tensor([0.0, 1.0]))


# --- cross-entropy ---


def labels_of(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Logits of a shape, and class numbers for them."""
    classes = shape[1] if len(shape) > 1 else shape[0]
    rest = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()
    return rng.normal(size=shape) * 3, rng.integers(0, classes, rest)


SHAPES = [(5, 3), (3,), (4, 3, 2), (2, 3, 2, 2), (6, 70), (1, 1), (5, 1)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_is_pytorchs(shape: tuple[int, ...], reduction: str) -> None:
    F = pytest.importorskip("torch").nn.functional
    x, t = labels_of(shape)
    classes = shape[1] if len(shape) > 1 else shape[0]
    w = rng.uniform(0.5, 2, classes)
    ignore = int(t.flat[0])
    masked = np.where(rng.random(t.shape) < 0.4, -100, t) if t.ndim else t
    if masked.ndim:
        masked.flat[-1] = 0
    for target, options in (
        (t, {}),
        (masked, {}),
        (t, {"label_smoothing": 0.1}),
        (masked, {"label_smoothing": 0.1}),
        *([(t, {"ignore_index": ignore})] if len(set(t.flat)) > 1 else []),
    ):
        for weight in (None, w):
            agree(
                lambda x, t, o=options, w=weight: ge.cross_entropy(
                    x, t, w, reduction=reduction, **o
                ),
                lambda x, t, o=options, w=weight: F.cross_entropy(
                    x, t, None if w is None else x.new_tensor(w), reduction=reduction, **o
                ),
                x,
                target,
            )
    check_grads(lambda x: ge.cross_entropy(x, masked, w, reduction=reduction), (x,))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 3), (3,), (4, 3, 2)])
def test_cross_entropy_of_probabilities_is_pytorchs(shape: Any, reduction: str) -> None:
    F = pytest.importorskip("torch").nn.functional
    x, t = rng.normal(size=shape), rng.uniform(0.1, 1, shape)
    w = rng.uniform(0.5, 2, 3)
    for options in ({}, {"label_smoothing": 0.2}):
        for weight in (None, w):
            agree(
                lambda x, t, o=options, w=weight: ge.cross_entropy(
                    x, t, w, reduction=reduction, **o
                ),
                lambda x, t, o=options, w=weight: F.cross_entropy(
                    x, t, None if w is None else x.new_tensor(w), reduction=reduction, **o
                ),
                x,
                t,
            )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nll_loss_is_pytorchs(shape: tuple[int, ...], reduction: str) -> None:
    F = pytest.importorskip("torch").nn.functional
    x, t = labels_of(shape)
    masked = np.where(rng.random(t.shape) < 0.4, -100, t) if t.ndim else t
    if masked.ndim:
        masked.flat[-1] = 0
    w = rng.uniform(0.5, 2, shape[1] if len(shape) > 1 else shape[0])
    for target in (t, masked):
        for weight in (None, w):
            agree(
                lambda x, t, w=weight: ge.nll_loss(x, t, w, reduction=reduction),
                lambda x, t, w=weight: F.nll_loss(
                    x, t, None if w is None else x.new_tensor(w), reduction=reduction
                ),
                x,
                target,
            )
    check_grads(lambda x: ge.nll_loss(x, masked, w, reduction=reduction), (x,))


def test_cross_entropy_is_one_op_with_gradient_softmax_minus_target() -> None:
    x, t = labels_of((8, 5))
    logits = leaf(x)
    loss = ge.cross_entropy(logits, t)
    assert loss.grad_fn.name == "cross_entropy"
    assert [n.name for n in loss.grad_fn.inputs if n is not None] == ["leaf"]
    loss.backward()
    expected = (np.exp(x) / np.exp(x).sum(1, keepdims=True) - np.eye(5)[t]) / 8
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 80), (2, 5, 4)])
def test_a_small_cross_entropy_keeps_its_slope_for_passes_over_raw_arrays(
    shape: tuple[int, ...], reduction: str
) -> None:
    x, t = labels_of(shape)
    again, kept = leaf(x), leaf(x)
    rules = ge.cross_entropy(again, t, reduction=reduction)  # raw labels: the softmax again
    loss = ge.cross_entropy(kept, ge.tensor(t), reduction=reduction)
    saved = [len(y.grad_fn.saved) for y in (rules, loss)]
    assert saved == [3, 4]
    assert loss.item() == pytest.approx(rules.item(), rel=1e-14)
    rules.backward()
    loss.backward(retain_graph=True)
    np.testing.assert_allclose(kept.grad.numpy(), again.grad.numpy(), rtol=1e-12, atol=1e-15)
    (3 * loss).backward()  # a second pass finds the slope as the first one left it
    np.testing.assert_allclose(kept.grad.numpy(), 4 * again.grad.numpy(), rtol=1e-12, atol=1e-15)
    assert loss.grad_fn.saved is FREED
    check_grads(lambda x: ge.cross_entropy(x, ge.tensor(t), reduction=reduction), (leaf(x),))


def test_cross_entropy_keeps_no_slope_that_is_large_or_not_asked_for() -> None:
    t = ge.tensor(np.zeros(300, int))
    large = ge.cross_entropy(leaf(np.zeros((300, 300))), t)
    assert len(large.grad_fn.saved) == 3
    with ge.no_grad():
        assert ge.cross_entropy(leaf(np.zeros((300, 2))), t).grad_fn is None
    assert ge.cross_entropy(ge.tensor(np.zeros((300, 2))), t).grad_fn is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_cross_entropy_keeps_the_dtype_and_computes_halves_in_float32(dtype: str) -> None:
    x = ge.tensor(np.full((2000, 2), 0.5, dtype), requires_grad=True)
    t = np.zeros(2000, int)
    for options in ({}, {"label_smoothing": 0.1}, {"weight": np.ones(2)}, {"ignore_index": 1}):
        x.grad = None
        loss = ge.cross_entropy(x, t, reduction="sum", **options)
        assert loss.dtype == dtype
        assert float(loss) == pytest.approx(2000 * np.log(2), rel=1e-3)  # 2048 + 0.7 is 2048 in f16
        loss.backward()
        assert x.grad.dtype == dtype
    half = ge.cross_entropy(ge.tensor(np.zeros((2, 4), dtype)), np.full((2, 4), 0.25, dtype))
    assert half.dtype == dtype
    assert ge.nll_loss(x, t).dtype == dtype


def test_cross_entropy_far_out_and_masked_logits() -> None:
    with np.errstate(all="raise"):
        x = leaf([[1e4, -1e4, 0.0], [-np.inf, 2.0, 2.0]])
        y = ge.cross_entropy(x, np.array([1, 1]), reduction="none")
        y.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), [2e4, np.log(2)])
    np.testing.assert_allclose(x.grad.numpy(), [[1, -1, 0], [0, -0.5, 0.5]])
    x = leaf([[np.inf, np.nan, 0.0], [0.0, 0.0, 0.0]])
    loss = ge.cross_entropy(x, np.array([-100, 0]))
    (g,) = ge.autograd.grad(loss, [x], create_graph=True)  # a row that does not count: no NaN
    np.testing.assert_allclose(g.detach().numpy(), [[0, 0, 0], [-2 / 3, 1 / 3, 1 / 3]])
    g[:, 0].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0, 0], [2 / 9, -1 / 9, -1 / 9]])


def test_no_row_counts() -> None:
    for f in (ge.cross_entropy, ge.nll_loss):
        x = leaf(np.zeros((2, 3)))
        loss = f(x, np.array([-100, -100]))
        assert np.isnan(float(loss))  # the mean of nothing, as in PyTorch
        loss.backward()
        assert x.grad.tolist() == [[0.0] * 3] * 2
        assert float(f(x, np.array([-100, -100]), reduction="sum")) == 0.0
        assert f(x, np.array([-100, -100]), reduction="none").tolist() == [0.0, 0.0]
        empty = leaf(np.zeros((0, 3)))
        loss = f(empty, np.zeros(0, int))
        assert np.isnan(float(loss))
        loss.backward()
        assert empty.grad.shape == (0, 3)
    assert np.isnan(
        float(ge.cross_entropy(leaf(np.zeros((0, 3))), np.zeros(0, int), label_smoothing=0.1))
    )


def test_targets_out_of_range() -> None:
    x = leaf(np.zeros((4, 10)))
    text = (
        "cross_entropy: target 10 at position 2 lies outside [0, 9] and is not ignore_index=-100\n"
        "  hint: the input has 10 classes"
    )
    with pytest.raises(OutOfRangeError, match=re.escape(text)):
        ge.cross_entropy(x, np.array([0, -100, 10, -1]))
    with pytest.raises(OutOfRangeError, match=r"nll_loss: target -1 at position \(1, 0\)"):
        ge.nll_loss(leaf(np.zeros((2, 3, 2))), np.array([[0, 1], [-1, 2]]))
    with pytest.raises(OutOfRangeError, match="target 3 lies outside"):
        ge.cross_entropy(leaf(np.zeros(3)), np.array(3))
    with pytest.raises(OutOfRangeError, match="target 10"):
        ge.cross_entropy(x, np.full(4, 10), label_smoothing=0.1)


def test_backward_does_not_look_at_targets_again_on_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, t = labels_of((6, 4))
    t[2] = -100
    logits = leaf(x)
    ge.cross_entropy(logits, t).backward()
    for module in (labels, classification):
        monkeypatch.setattr(module, "is_host", lambda xp: False)
    other = leaf(x)
    loss = ge.cross_entropy(other, t)
    loss.backward()
    np.testing.assert_allclose(other.grad.numpy(), logits.grad.numpy(), rtol=1e-12)


def test_messages_of_class_losses() -> None:
    x = leaf(np.zeros((4, 3)))
    text = (
        "cross_entropy: input (4, 3) needs class numbers (4,) or probabilities (4, 3), "
        "target is (4, 1) int64"
    )
    with pytest.raises(ShapeError, match=re.escape(text)):
        ge.cross_entropy(x, np.zeros((4, 1), int))
    with pytest.raises(ShapeError, match=r"target is \(4,\) float64"):
        ge.cross_entropy(x, np.zeros(4))
    with pytest.raises(ShapeError, match=re.escape("needs class numbers ()")):
        ge.cross_entropy(leaf(np.zeros(3)), np.zeros(3, int))
    with pytest.raises(DTypeError, match="target is bool"):
        ge.cross_entropy(x, np.zeros(4, bool))
    with pytest.raises(DTypeError, match=r"input is \(4, 3\) int64"):
        ge.cross_entropy(np.zeros((4, 3), int), np.zeros(4, int))
    with pytest.raises(DTypeError, match="nll_loss: target is float64"):
        ge.nll_loss(x, np.zeros(4))
    with pytest.raises(ShapeError, match=r"weight \(2,\) for 3 classes"):
        ge.cross_entropy(x, np.zeros(4, int), np.ones(2))
    with pytest.raises(GraphError, match="weight has no derivative"):
        ge.cross_entropy(x, np.zeros(4, int), leaf(np.ones(3)))
    with pytest.raises(ValueError, match=re.escape("label_smoothing=1.5")):
        ge.cross_entropy(x, np.zeros(4, int), label_smoothing=1.5)
    with pytest.raises(ValueError, match="reduction=None"):
        ge.cross_entropy(x, np.zeros(4, int), reduction=None)


def test_changed_targets_are_noticed() -> None:
    t = np.zeros(4, int)
    loss = ge.cross_entropy(leaf(rng.normal(size=(4, 3))), t)
    t[0] = 2
    with pytest.raises(GraphError, match="changed since"):
        loss.backward()


@pytest.mark.parametrize("classes", [3, 70_000])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_that_is_masked_out_sends_nothing_back(reduction: str, classes: int):
    x = np.zeros((2, classes), np.float32)
    x[1, 2] = np.nan
    t = ge.tensor(x, requires_grad=True)
    loss = ge.cross_entropy(t, ge.tensor([0, 1]), reduction=reduction)
    g = ge.tensor(np.array([1, 0] if reduction == "none" else 0, np.float32))
    loss.backward(g)
    assert t.grad is not None
    found = t.grad.numpy()
    assert np.isfinite(found).all()
    assert found[0].any() == (reduction == "none")
    assert not found[1].any()
