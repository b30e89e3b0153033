"""Losses as modules: PyTorch's names and buffers, dtypes, edges of margins, sums, mistakes."""

from __future__ import annotations

import inspect
import itertools

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn import functional as F
from gradengine.testing import check_grads

LEFT_OUT = {"size_average", "reduce", "options"}  # deprecated; ways to save memory
rng = np.random.default_rng(0)
X, T = rng.normal(size=(4, 3)), rng.uniform(0.1, 0.9, (4, 3))
SIGNS = np.array([[1, -1, 1]] * 4)
LABELS = np.array([0, 2, 1, 1])
LISTS = np.array([[2, -1, 0], [0, 1, -1], [-1, 0, 0], [1, 2, 0]])
W = np.array([0.5, 1.0, 2.0])

CALLS: dict[str, tuple[np.ndarray, ...]] = {
    "L1Loss": (X, T),
    "MSELoss": (X, T),
    "CrossEntropyLoss": (X, LABELS),
    "NLLLoss": (X, LABELS),
    "PoissonNLLLoss": (X, T),
    "GaussianNLLLoss": (X, T, T),
    "KLDivLoss": (X, T),
    "BCELoss": (T, T),
    "BCEWithLogitsLoss": (X, T),
    "MarginRankingLoss": (X, T, SIGNS),
    "HingeEmbeddingLoss": (X, SIGNS),
    "MultiLabelMarginLoss": (X, LISTS),
    "HuberLoss": (X, T),
    "SmoothL1Loss": (X, T),
    "SoftMarginLoss": (X, SIGNS),
    "MultiLabelSoftMarginLoss": (X, T),
    "CosineEmbeddingLoss": (X, T, np.array([1, -1, -1, 1])),
    "MultiMarginLoss": (X, LABELS),
    "TripletMarginLoss": (X, T, -X),
    "TripletMarginWithDistanceLoss": (X, T, -X),
}
OTHERS = ("CTCLoss", "AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss")
WEIGHTED = ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss", "MultiLabelSoftMarginLoss", "BCELoss")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")


def tensors(arrays, dtype="float64", requires_grad=False):
    return [
        ge.tensor(x.astype(dtype), requires_grad=requires_grad) if x.dtype.kind == "f" else
        ge.tensor(x) for x in arrays
    ]  # fmt: skip


# --- PyTorch's manners ---


def test_every_loss_of_pytorch_is_here(torch):
    theirs = {n for n in torch.nn.modules.loss.__all__ if n != "NLLLoss2d"}
    theirs.add("AdaptiveLogSoftmaxWithLoss")
    assert theirs == {*CALLS, *OTHERS}


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_arguments_are_pytorchs(torch, name):
    theirs = inspect.signature(getattr(torch.nn, name)).parameters
    ours = inspect.signature(getattr(nn, name)).parameters
    expected = {k: v.default for k, v in theirs.items() if k not in LEFT_OUT}
    assert {k: v.default for k, v in ours.items() if k != "generator"} == expected
    assert [k for k in ours if k != "generator"] == list(expected)
    forward = inspect.signature(getattr(torch.nn, name).forward).parameters
    renamed = {"input_": "input", "target_": "target"}
    given = inspect.signature(getattr(nn, name).forward).parameters
    assert list(given) == [renamed.get(k, k) for k in forward]


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_are_buffers(torch, name):
    loss = getattr(nn, name)(weight=ge.tensor(W))
    assert list(loss.state_dict()) == ["weight"]
    assert list(torch.nn.__dict__[name](weight=torch.ones(3)).state_dict()) == ["weight"]
    assert loss.to(dtype="float32").weight.dtype == np.float32
    assert not list(getattr(nn, name)().state_dict())


def test_pos_weight_is_a_buffer():
    loss = nn.BCEWithLogitsLoss(pos_weight=ge.tensor(W))
    assert list(loss.state_dict()) == ["pos_weight"]
    loss.load_state_dict({"pos_weight": 2 * W})
    assert loss.pos_weight.tolist() == (2 * W).tolist()


# --- reductions and dtypes ---


@pytest.mark.parametrize("name", CALLS)
def test_mean_and_sum_are_those_of_the_elements(name):
    inputs = tensors(CALLS[name])
    each = getattr(nn, name)(reduction="none")(*inputs).numpy()
    total = getattr(nn, name)(reduction="sum")(*inputs)
    assert total.shape == ()
    assert total.item() == pytest.approx(each.sum(), rel=1e-12)
    average = getattr(nn, name)(reduction="mean")(*inputs)
    assert average.item() == pytest.approx(each.mean(), rel=1e-12)
    with pytest.raises(ValueError, match=f"{name}: reduction='avg' is unknown"):
        getattr(nn, name)(reduction="avg")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_dtypes_are_kept_whatever_the_targets_are(name, dtype):
    for reduction in ("none", "mean"):
        loss = getattr(nn, name)(reduction=reduction)
        fine = [ge.tensor(x.numpy().astype("float64"), requires_grad=True) if x.dtype.kind in "fV"
                else x for x in tensors(CALLS[name], dtype)]  # fmt: skip
        inputs = tensors(CALLS[name], dtype, requires_grad=True)
        y, reference = loss(*inputs), loss(*fine)
        y.sum().backward()
        reference.sum().backward()
        assert y.dtype == inputs[0].grad.dtype == dtype
        close = 1e-5 if dtype == np.float32 else 3e-2
        np.testing.assert_allclose(
            y.detach().numpy().astype("float64"), reference.detach().numpy(), rtol=close, atol=close
        )
        np.testing.assert_allclose(
            inputs[0].grad.numpy().astype("float64"), fine[0].grad.numpy(), rtol=close, atol=close
        )


@pytest.mark.parametrize("name", CALLS)
def test_raw_arrays_beside_a_tensor(name):
    """Targets may be NumPy arrays."""
    x = ge.tensor(CALLS[name][0])
    whole = getattr(nn, name)()(*tensors(CALLS[name]))
    assert getattr(nn, name)()(x, *CALLS[name][1:]).item() == whole.item()


# --- edges ---


def test_equal_scores_are_pulled_apart(torch):
    """At the edge of the margin the derivative is 1, as PyTorch has it."""
    a, b = ge.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    F.margin_ranking_loss(a, ge.zeros(3), ge.ones(3)).backward()
    torch.nn.functional.margin_ranking_loss(b, torch.zeros(3), torch.ones(3)).backward()
    assert a.grad.tolist() == b.grad.tolist()
    assert a.grad.tolist() == [pytest.approx(-1 / 3)] * 3


def test_equal_vectors_have_finite_gradients():
    x = ge.tensor(np.ones((2, 3)), requires_grad=True)
    for y in (
        F.pairwise_distance(x, x.detach(), eps=0.0),
        F.cosine_similarity(x, ge.zeros((2, 3))),
        F.cosine_embedding_loss(x, ge.zeros((2, 3)), ge.ones(2)),
        F.pdist(x),
    ):
        (g,) = ge.autograd.grad(y.sum(), [x], create_graph=True)
        assert np.isfinite(g.detach().numpy()).all()
        if g.requires_grad:
            (h,) = ge.autograd.grad((g * g).sum(), [x], allow_unused=True)
            assert h is None or np.isfinite(h.numpy()).all()


def test_a_variance_below_eps_can_leave_it():
    """Its derivative is that of eps, as PyTorch's, where that of max(var, eps) would be 0."""
    var = ge.tensor([1e-9], requires_grad=True)
    F.gaussian_nll_loss(ge.tensor([1.0]), ge.tensor([0.0]), var, eps=0.01).backward()
    assert var.grad.item() == pytest.approx(0.5 * (100 - 1e4), rel=1e-5)


def test_log_rates_of_no_counts():
    x = ge.tensor([0.0], requires_grad=True)
    y = F.poisson_nll_loss(x, ge.tensor([0.0]), log_input=False, full=True)
    y.backward()
    assert y.item() == 0
    assert x.grad.item() == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, W])
def test_where_no_target_counts_the_mean_is_nan_and_the_gradient_0(torch, smoothing, weight):
    a, b = ge.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    ignored, options = np.full(4, -100), {"label_smoothing": smoothing}
    ours = nn.CrossEntropyLoss(weight, **options)(a, ge.tensor(ignored))
    given = None if weight is None else torch.tensor(weight)
    theirs = torch.nn.CrossEntropyLoss(given, **options)(b, torch.tensor(ignored))
    ours.backward()
    theirs.backward()
    assert np.isnan(ours.item())
    assert np.isnan(theirs.item())
    assert a.grad.tolist() == b.grad.tolist() == np.zeros((4, 3)).tolist()


def test_label_lists_end_at_the_first_minus_one(torch):
    for listed in itertools.product((-1, 0, 1, 2), repeat=3):
        x, t = rng.normal(size=3), np.array(listed)
        theirs = torch.nn.functional.multilabel_margin_loss(torch.tensor(x), torch.tensor(t))
        ours = F.multilabel_margin_loss(ge.tensor(x), ge.tensor(t))
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)


# --- the adaptive softmax ---


def adaptive(**options):
    options = {"in_features": 8, "n_classes": 12, "cutoffs": [4, 7], "div_value": 2.0} | options
    return nn.AdaptiveLogSoftmaxWithLoss(**options, generator=ge.random.Generator(0))


def test_adaptive_probabilities_sum_to_one(torch):
    layer = adaptive(dtype="float64", head_bias=True)
    x = ge.tensor(rng.normal(size=(6, 8)))
    full = layer.log_prob(x)
    np.testing.assert_allclose(np.exp(full.detach().numpy()).sum(axis=1), 1, rtol=1e-12)
    for label in range(12):
        output = layer(x, ge.tensor(np.full(6, label))).output
        np.testing.assert_allclose(output.detach().numpy(), full.detach().numpy()[:, label])
    np.testing.assert_array_equal(layer.predict(x).numpy(), full.detach().numpy().argmax(axis=1))
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 7], 2.0, head_bias=True).double()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in layer.state_dict().items()})
    given = torch.tensor(x.numpy())
    np.testing.assert_allclose(
        full.detach().numpy(), theirs.log_prob(given).detach().numpy(), atol=1e-12
    )
    np.testing.assert_array_equal(layer.predict(x).numpy(), theirs.predict(given).numpy())
    assert layer.predict(x[0]).item() == layer.predict(x)[0].item()
    assert layer.log_prob(x[0]).shape == (12,)


def test_adaptive_derivatives_where_clusters_are_empty():
    layer = adaptive(dtype="float64")
    target = ge.tensor([0, 11, 3, 9])  # none in the first cluster
    layer(ge.tensor(rng.normal(size=(4, 8))), target).loss.backward()
    assert layer.tail[0][0].weight.grad is None
    assert layer.tail[1][0].weight.grad is not None
    check_grads(lambda x: layer(x, target).output, (rng.normal(size=(4, 8)),))


# --- mistakes ---

Y = ge.tensor(X)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.MSELoss()(Y, Y[0]), ge.ShapeError, r"input \(4, 3\) and target \(3,\)"),
        (lambda: F.mse_loss(Y, Y, weight=W), ge.ShapeError, r"weight \(3,\) for input \(4, 3\)"),
        (lambda: nn.CrossEntropyLoss()(Y, np.eye(3, dtype=int)[LABELS]), ge.ShapeError,
         r"(?s)target is \(4, 3\) int64.*hint: class numbers: target\.argmax\(1\); prob"),
        (lambda: nn.SoftMarginLoss()(Y, Y[0]), ge.ShapeError, r"soft_margin_loss: input \(4, 3\)"),
        (lambda: nn.PoissonNLLLoss()(Y, Y[0]), ge.ShapeError, r"poisson_nll_loss: input \(4, 3\)"),
        (lambda: nn.HingeEmbeddingLoss()(Y, Y[0]), ge.ShapeError, r"target \(3,\) differ"),
        (lambda: nn.CrossEntropyLoss()(Y, LABELS + 1), IndexError, r"target 3 .* outside \[0, 2\]"),
        (lambda: nn.NLLLoss()(Y, LABELS[:3]), ge.ShapeError,
         r"input \(4, 3\) needs class numbers \(4,\), target is \(3,\)"),
        (lambda: nn.NLLLoss()(Y, Y), ge.DTypeError, "target is float64"),
        (lambda: nn.NLLLoss(W[:2])(Y, LABELS), ge.ShapeError, r"weight \(2,\) for 3 classes"),
        (lambda: nn.BCELoss()(Y, T), IndexError, r"lies outside \[0, 1\]"),
        (lambda: nn.GaussianNLLLoss()(Y, T, T[0]), ge.ShapeError, r"var \(3,\) for input \(4, 3\)"),
        (lambda: nn.GaussianNLLLoss()(Y, T, -T), IndexError, "var -0.* is negative"),
        (lambda: nn.GaussianNLLLoss()(Y, T, -1.0), IndexError, "var=-1.0 is negative"),
        (lambda: nn.MultiLabelSoftMarginLoss()(Y[0, 0], 1.0), ge.ShapeError, "no classes"),
        (lambda: nn.MultiMarginLoss()(Y, LABELS + 1), IndexError, r"target 3 at .*\[0, 2\]"),
        (lambda: nn.MultiMarginLoss()(Y, LABELS - 1), IndexError, "a target is negative"),
        (lambda: nn.MultiMarginLoss()(Y, LABELS[:2]), ge.ShapeError, r"target is \(2,\)"),
        (lambda: nn.MultiMarginLoss()(Y, T), ge.DTypeError, "target is float64"),
        (lambda: nn.MultiMarginLoss(p=3)(Y, LABELS), ValueError, "p=3"),
        (lambda: nn.MultiMarginLoss()(ge.zeros((2, 3, 4)), LABELS), ge.ShapeError,
         r"input is \(2, 3, 4\)"),
        (lambda: nn.MultiLabelMarginLoss()(Y, LISTS + 1), IndexError, r"target 3 at .*\(0, 0"),
        (lambda: nn.MultiLabelMarginLoss()(Y, LISTS[:2]), ge.ShapeError,
         r"input \(4, 3\) and target \(2, 3\)"),
        (lambda: nn.MarginRankingLoss()(Y, Y, SIGNS[0]), ge.ShapeError, r"input1 \(4, 3\).*\(3,\)"),
        (lambda: nn.MarginRankingLoss()(Y, Y[:2], SIGNS), ge.ShapeError, "do not broadcast"),
        (lambda: nn.CosineEmbeddingLoss()(Y, Y, SIGNS), ge.ShapeError,
         r"input1 \(4, 3\), input2 \(4, 3\), target \(4, 3\)"),
        (lambda: nn.TripletMarginLoss()(Y, Y, Y[0]), ge.ShapeError, r"negative \(3,\)"),
        (lambda: nn.TripletMarginLoss(margin=0.0), IndexError, "margin=0.0 is not positive"),
        (lambda: F.triplet_margin_with_distance_loss(Y, Y, Y, margin=-1.0), IndexError, "-1.0"),
        (lambda: nn.PairwiseDistance()(Y, Y[:2]), ge.ShapeError, r"\(4, 3\) and \(2, 3\)"),
        (lambda: nn.CosineSimilarity()(Y, ge.zeros(2)), ge.ShapeError, r"\(4, 3\) and \(2,\)"),
        (lambda: nn.LinearCrossEntropyLoss(4, 3)(Y, LABELS), ge.ShapeError,
         r"input \(4, 3\), linear_weight \(3, 4\)"),
        (lambda: adaptive(cutoffs=[7, 4]), IndexError, r"cutoffs=\[7, 4\] for 12 classes"),
        (lambda: adaptive(cutoffs=[4, 12]), IndexError, r"cutoffs=\[4, 12\]"),
        (lambda: adaptive(div_value=9.0), ge.ShapeError, r"cluster 0 has 8 // 9.0\*\*1 = 0"),
        (lambda: adaptive()(ge.zeros((2, 7)), LABELS[:2]), ge.ShapeError,
         r"input \(2, 7\) for in_features=8"),
        (lambda: adaptive()(ge.zeros((2, 8)), LABELS), ge.ShapeError, r"target is \(4,\)"),
        (lambda: adaptive()(ge.zeros((1, 8)), np.array([12])), IndexError, "target 12 lies"),
        (lambda: adaptive()(ge.zeros((1, 8)), np.array([0.0])), ge.DTypeError, "target is float64"),
    ],
)  # fmt: skip
def test_mistakes_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)
