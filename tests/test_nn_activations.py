"""Activations as modules: PyTorch's repr, in-place manners, random ones, softmaxes, mistakes."""

from __future__ import annotations

import inspect

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn import functional as F
from gradengine.testing import check_grads

NAMES = (
    "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax "
    "Mish PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink "
    "Softsign Tanh Tanhshrink Threshold"
)
NEEDS = {"Threshold": {"threshold": 0.5, "value": 2.0}} | {
    name: {"dim": -1} for name in ("Softmax", "Softmin", "LogSoftmax")
}
ALL = NAMES.split(" ")
INPLACE = [n for n in ALL if "inplace" in inspect.signature(getattr(nn, n)).parameters]


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


def made(name: str, **options: object) -> nn.Module:
    return getattr(nn, name)(**NEEDS.get(name, {}), **options)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")


# --- PyTorch's manners ---


def test_every_activation_of_pytorch_is_here(torch):
    theirs = set(torch.nn.modules.activation.__all__) - {"MultiheadAttention"}
    assert theirs == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_arguments_and_repr_are_pytorchs(torch, name):
    other = getattr(torch.nn, name)
    deprecated = {"min_value", "max_value", "args", "kwargs", "_args", "_kwargs"}
    theirs = [p for p in inspect.signature(other).parameters if p not in deprecated]
    ours = list(inspect.signature(getattr(nn, name)).parameters)
    assert [p for p in ours if p not in deprecated | {"generator"}] == theirs
    assert repr(made(name)) == repr(other(**NEEDS.get(name, {})))
    if "inplace" in theirs:
        assert repr(made(name, inplace=True)) == repr(other(**NEEDS.get(name, {}), inplace=True))


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_gives_the_same_values_and_leaves_the_input(name):
    x = ge.tensor(np.linspace(-4, 8, 13), requires_grad=True)
    before = x.tolist()
    plain, inplace = made(name).eval()(x), made(name, inplace=True).eval()(x)
    assert inplace.tolist() == plain.tolist()
    assert x.tolist() == before
    inplace.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_dtypes_are_kept(name, dtype):
    x = ge.tensor(np.linspace(-3, 3, 24).reshape(2, 4, 3, 1).astype(dtype), requires_grad=True)
    layer = made(name, dim=1) if name == "GLU" else made(name)
    y = layer.to(x.dtype)(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


# --- random ones ---


def test_rrelu_draws_a_slope_for_each_element():
    x = ge.tensor(-np.ones(10_000), requires_grad=True)
    y = F.rrelu(x, 0.2, 0.6, training=True, generator=seeded())
    slopes = -y.detach().numpy()
    assert 0.2 <= slopes.min() < 0.205
    assert 0.595 < slopes.max() <= 0.6
    assert slopes.mean() == pytest.approx(0.4, abs=0.01)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), slopes)
    layer = nn.RReLU(0.2, 0.6, generator=seeded())
    np.testing.assert_array_equal(layer(x).detach().numpy(), -slopes)
    assert (layer(x).detach().numpy() != -slopes).any()  # new ones each time
    np.testing.assert_allclose(layer.eval()(x).detach().numpy(), -0.4)
    assert F.rrelu(ge.ones(3), training=True).tolist() == [1.0] * 3


def test_rrelu_is_right_to_second_order():
    check_grads(
        lambda x: F.rrelu(x, training=True, generator=seeded()) ** 2, (np.linspace(-2, 2.1, 6),)
    )


def test_gumbel_softmax_draws_from_the_softmax():
    p = np.array([0.1, 0.2, 0.7])
    logits = ge.tensor(np.tile(np.log(p), (20_000, 1)))
    hard = F.gumbel_softmax(logits, hard=True, generator=seeded()).numpy()
    assert set(np.unique(hard.round(12))) == {0.0, 1.0}
    np.testing.assert_allclose(hard.mean(axis=0), p, atol=0.01)
    soft = F.gumbel_softmax(logits, tau=0.5, generator=seeded()).numpy()
    np.testing.assert_allclose(soft.sum(axis=1), 1)
    assert (soft.argmax(axis=1) == hard.argmax(axis=1)).all()
    flat = F.gumbel_softmax(logits, tau=50.0, generator=seeded()).numpy()
    assert flat.max() < 0.6


def test_hard_gumbel_softmax_has_the_gradient_of_the_soft_one():
    raw, weight = np.random.default_rng(0).normal(size=(2, 3, 4)), np.arange(4.0).reshape(4)
    gradients = []
    for hard in (False, True):
        x = ge.tensor(raw, requires_grad=True)
        y = F.gumbel_softmax(x, 0.7, hard, dim=1, generator=seeded())
        np.testing.assert_allclose(y.detach().numpy().sum(axis=1), 1)
        (y * ge.tensor(weight)).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_array_equal(*gradients)
    assert gradients[0].any()
    check_grads(lambda x: F.gumbel_softmax(x, 0.7, generator=seeded()), (raw,))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gumbel_noise_is_finite(dtype):
    x = ge.zeros((1000, 50), dtype=dtype)
    y = F.gumbel_softmax(x, tau=0.1, generator=seeded())
    assert y.dtype == dtype
    assert np.isfinite(y.numpy()).all()


# --- along one dimension ---


def test_softmax_in_another_dtype():
    x = ge.tensor(np.array([0.0, 1e4], np.float16))
    for function in (F.softmax, F.softmin, F.log_softmax):
        assert function(x, dim=0, dtype="float64").dtype == np.float64


def test_prelu_weights_learn():
    layer = nn.PReLU(2, init=0.1)
    assert layer.weight.tolist() == [pytest.approx(0.1)] * 2
    layer(ge.tensor([[-1.0, 2.0], [-3.0, -1.0]])).sum().backward()
    assert layer.weight.grad.tolist() == [-4.0, -1.0]


# --- mistakes ---


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (nn.Softmax, ge.AxisError, "Softmax: dim is not given"),
        (nn.LogSoftmax, ge.AxisError, "LogSoftmax: dim is not given"),
        (nn.Softmin, ge.AxisError, "Softmin: dim is not given"),
        (lambda: F.softmax(ge.ones(3)), ge.AxisError, "softmax: dim is not given"),
        (lambda: F.log_softmax(ge.ones(3)), ge.AxisError, "log_softmax: dim is not given"),
        (lambda: F.softmin(ge.ones(3)), ge.AxisError, "softmin: dim is not given"),
        (lambda: nn.Softmax(dim=2)(ge.ones((2, 3))), ge.AxisError, "2"),
        (lambda: nn.GLU()(ge.ones((2, 3))), ge.ShapeError, r"\(2, 3\) has odd size 3"),
        (lambda: nn.GLU(dim=2)(ge.ones((2, 3))), ge.AxisError, r"dim=2 lies outside \(2, 3\)"),
        (lambda: nn.PReLU(3)(ge.ones((2, 4, 5))), ge.ShapeError,
         r"weight \(3,\) for input \(2, 4, 5\)"),
        (lambda: nn.PReLU(3)(ge.ones(3)), ge.ShapeError, r"weight \(3,\) for input \(3,\)"),
        (lambda: nn.PReLU(0), ge.ShapeError, "num_parameters=0"),
        (lambda: nn.Softmax2d()(ge.ones((2, 3))), ge.ShapeError, r"input \(2, 3\) has 2"),
        (lambda: nn.Hardtanh(1.0, 1.0), IndexError, "min_val=1.0 is not below max_val=1.0"),
        (lambda: F.hardtanh(ge.ones(1), 2.0, 1.0), IndexError, "min_val=2.0 is above"),
        (lambda: F.celu(ge.ones(1), 0.0), IndexError, "alpha=0"),
        (lambda: F.softplus(ge.ones(1), 0.0), IndexError, "beta=0"),
        (lambda: F.softshrink(ge.ones(1), -1.0), IndexError, "lambd=-1.0 is negative"),
        (lambda: F.rrelu(ge.ones(1), 0.5, 0.1), IndexError, "lower=0.5 is above upper=0.1"),
        (lambda: F.gumbel_softmax(ge.ones(2), tau=0.0), IndexError, "tau=0.0"),
        (lambda: nn.GELU("erf")(ge.ones(1)), ValueError, "approximate='erf'"),
    ],
)  # fmt: skip
def test_mistakes_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)
