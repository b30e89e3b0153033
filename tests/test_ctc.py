"""CTC: the sum over alignments, PyTorch's values and gradients, any order, edges, mistakes."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn.functional import ctc_loss, log_softmax
from gradengine.testing import check_grads

LABELS = np.array([[1, 2, 2], [4, 0, 0], [3, 1, 0], [0, 0, 0]])
COUNTS, TIMES = (3, 1, 2, 0), (7, 4, 6, 3)


def logits(steps: int = 7, batch: int = 4, classes: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(steps, batch, classes))


def log_probs(*shape: int) -> np.ndarray:
    x = np.random.default_rng(2).normal(size=shape)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


# --- what it is ---


def by_hand(x: np.ndarray, labels: list[int], blank: int) -> float:
    """-log of the summed probability of all paths that say `labels`."""
    total = 0.0
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        said = [c for c, _ in itertools.groupby(path) if c != blank]
        if said == labels:
            total += math.exp(sum(x[i, c] for i, c in enumerate(path)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 3], [3, 1, 3], [1, 1, 1], [3, 3, 1, 1]])
def test_it_sums_over_all_alignments(labels, blank):
    x = log_probs(5, 4)
    y = ctc_loss(ge.tensor(x), ge.tensor(labels, dtype="int64"), [5], [len(labels)], blank, "sum")
    assert y.shape == ()
    assert y.item() == pytest.approx(by_hand(x, labels, blank), rel=1e-12)


# --- PyTorch ---


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")


FLAT = np.concatenate([row[:n] for row, n in zip(LABELS, COUNTS, strict=True)])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("targets", [LABELS, FLAT, np.pad(LABELS, ((0, 0), (0, 2)))])
def test_value_and_gradient_of_logits_are_pytorchs(torch, targets, reduction):
    """PyTorch's derivative by log_probs includes that of log_softmax: the logits' is the same."""
    a = ge.tensor(logits(), requires_grad=True)
    b = torch.tensor(logits(), requires_grad=True)
    ours = nn.CTCLoss(reduction=reduction)(
        log_softmax(a, dim=-1), ge.tensor(targets), ge.tensor(TIMES), ge.tensor(COUNTS)
    )
    theirs = torch.nn.CTCLoss(reduction=reduction)(
        torch.log_softmax(b, -1), torch.tensor(targets), torch.tensor(TIMES), torch.tensor(COUNTS)
    )
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
    weight = np.random.default_rng(3).normal(size=ours.shape)
    (ours * ge.tensor(weight)).sum().backward()
    (theirs * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("blank", [0, 2, 4])
def test_other_blanks(torch, blank):
    labels = np.array([[1, 3], [3, 3]])
    x = logits(6, 2)
    a, b = ge.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = ctc_loss(log_softmax(a, dim=-1), ge.tensor(labels), (6, 5), (2, 2), blank)
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(b, -1), torch.tensor(labels), (6, 5), (2, 2), blank
    )
    ours.backward()
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


def test_a_long_sequence_neither_overflows_nor_vanishes(torch):
    steps, count = 400, 60
    x = 5 * np.random.default_rng(4).normal(size=(steps, 2, 30))
    labels = np.random.default_rng(5).integers(1, 30, (2, count))
    a, b = ge.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = ctc_loss(log_softmax(a, dim=-1), ge.tensor(labels), [steps] * 2, [count] * 2)
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(b, -1), torch.tensor(labels), (steps,) * 2, (count,) * 2
    )
    ours.backward()
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_impossible_alignments(torch, zero_infinity):
    """Two equal labels need a blank between them: three times at least. No time, no label."""
    x = logits(5, 4)
    labels, times, counts = np.array([[1, 2], [1, 1], [1, 2], [0, 0]]), (5, 2, 0, 0), (2, 2, 1, 0)
    a, b = ge.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    options = {"reduction": "none", "zero_infinity": zero_infinity}
    ours = ctc_loss(log_softmax(a, dim=-1), ge.tensor(labels), times, counts, **options)
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(b, -1), torch.tensor(labels), times, counts, **options
    )
    assert np.isinf(theirs[1:3].detach().numpy()).all() != zero_infinity
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
    ours.sum().backward()
    theirs.sum().backward()
    assert a.grad.numpy()[:, 0].any()
    assert not a.grad.numpy()[:, 1:].any()  # 0 with and without: PyTorch's is NaN without
    expected = b.grad.numpy() if zero_infinity else b.grad.numpy()[:, :1]
    np.testing.assert_allclose(a.grad.numpy()[:, : expected.shape[1]], expected, atol=1e-12)


# --- derivatives by log_probs themselves ---


def test_derivatives_to_second_order():
    def loss(x):
        return ctc_loss(x, ge.tensor(LABELS), TIMES, COUNTS, reduction="none")

    check_grads(loss, (log_probs(7, 4, 5),))


def test_derivatives_to_third_order():
    def loss(x):
        return ctc_loss(x, ge.tensor([[1, 2]]), [3], [2])

    check_grads(loss, (log_probs(3, 1, 3),), order=3)


def test_derivatives_of_one_sequence_and_of_none():
    for labels in ([1, 1], []):
        given = ge.tensor(labels, dtype="int64")
        check_grads(lambda x, t=given: ctc_loss(x, t, [4], [len(t)]), (log_probs(4, 3),))


def test_a_gradient_penalty_goes_through():
    x = ge.tensor(logits(), requires_grad=True)
    loss = ctc_loss(log_softmax(x, dim=-1), ge.tensor(LABELS), TIMES, COUNTS)
    (g,) = ge.autograd.grad(loss, [x], create_graph=True)
    (g * g).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert x.grad.numpy().any()


def test_forbidden_classes_give_no_nan():
    """A log-probability of -inf, in one class at one time, and NaN behind the ends."""
    raw = log_probs(6, 2, 4)
    raw[2, 0, 1] = -np.inf
    raw[4:, 1] = np.nan
    x = ge.tensor(raw, requires_grad=True)
    y = ctc_loss(x, ge.tensor([[1, 2], [3, 3]]), [6, 4], [2, 2], reduction="sum")
    (g,) = ge.autograd.grad(y, [x], create_graph=True)
    assert np.isfinite(y.item())
    assert np.isfinite(g.detach().numpy()).all()
    assert g[2, 0, 1].item() == 0
    assert not g[4:, 1].detach().numpy().any()
    (g * g).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("dtype", ["float32", np.float16, ml_dtypes.bfloat16])
def test_dtypes_are_kept(dtype):
    raw = log_probs(7, 4, 5).astype(dtype)
    x = ge.tensor(raw, requires_grad=True)
    y = ctc_loss(x, ge.tensor(LABELS), TIMES, COUNTS)
    y.backward()
    fine = ge.tensor(raw.astype("float64"), requires_grad=True)
    reference = ctc_loss(fine, ge.tensor(LABELS), TIMES, COUNTS)
    reference.backward()
    assert y.dtype == x.grad.dtype == x.dtype
    close = {"rtol": 1e-5 if dtype == "float32" else 1e-2, "atol": 1e-6}
    np.testing.assert_allclose(float(y), reference.item(), **close)
    np.testing.assert_allclose(x.grad.numpy().astype("float64"), fine.grad.numpy(), **close)


def test_a_model_learns_to_say_a_word():
    generator = ge.random.Generator(0)
    model = nn.Linear(6, 4, generator=generator)
    x = ge.random.randn(8, 1, 6, generator=generator)
    word = ge.tensor([[1, 2, 3]])
    losses = []
    for _ in range(60):
        loss = ctc_loss(log_softmax(model(x), dim=-1), word, [8], [3])
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            with ge.no_grad():
                p -= 0.5 * p.grad
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0]
    said = model(x).detach().numpy()[:, 0].argmax(axis=-1)
    assert [c for c, _ in itertools.groupby(said) if c] == [1, 2, 3]


# --- mistakes ---

X = ge.tensor(log_probs(5, 2, 4))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ctc_loss(X[0, 0], [1], [5], [1]), ge.ShapeError, r"log_probs is \(4,\) float64"),
        (lambda: ctc_loss(X, [[1], [2]], [5], [1, 1]), ge.ShapeError,
         r"input_lengths \(1,\) for a batch of 2"),
        (lambda: ctc_loss(X, [[1], [2]], [6, 5], [1, 1]), IndexError,
         r"input_lengths holds 6, outside \[0, 5\]"),
        (lambda: ctc_loss(X, [[1], [2]], [5, 5], [1, -1]), IndexError, "target_lengths holds -1"),
        (lambda: ctc_loss(X, [[1], [2]], [5, 5.5], [1, 1]), ge.DTypeError, "input_lengths is f"),
        (lambda: ctc_loss(X, [[1.0], [2.0]], [5, 5], [1, 1]), ge.DTypeError, "targets are float"),
        (lambda: ctc_loss(X, [[1], [2]], [5, 5], [2, 1]), ge.ShapeError,
         r"targets \(2, 1\) for 2 sequences of 2 labels at most, 3 in all"),
        (lambda: ctc_loss(X, [1, 2], [5, 5], [2, 1]), ge.ShapeError, r"targets \(2,\)"),
        (lambda: ctc_loss(X, [[1, 2], [3, 4]], [5, 5], [2, 2]), IndexError,
         r"label 4 at position 1 of sequence 1 lies outside \[0, 3\]"),
        (lambda: ctc_loss(X, [[1, 0], [3, 1]], [5, 5], [2, 2]), IndexError, "or is the blank, 0"),
        (lambda: ctc_loss(X, [[1], [2]], [5, 5], [1, 1], 4), IndexError,
         r"blank=4 lies outside \[0, 3\]"),
        (lambda: ctc_loss(X, [[1], [2]], [5, 5], [1, 1], 0, "avg"), ValueError, "reduction='avg'"),
    ],
)  # fmt: skip
def test_mistakes_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)


def test_what_lies_behind_a_target_is_not_looked_at():
    padded = ge.tensor([[1, 2], [3, -7]])
    concatenated = ge.tensor([1, 2, 3])
    first = ctc_loss(X, padded, [5, 5], [2, 1])
    assert first.item() == ctc_loss(X, concatenated, [5, 5], [2, 1]).item()
