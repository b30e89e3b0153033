"""Dropout layers: what is dropped, what is kept, and that the backward finds the same mask."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn import functional as F
from gradengine.random import Generator
from gradengine.testing import check_grads

SHAPES = {
    "Dropout": (40, 30),
    "Dropout1d": (40, 30, 2),
    "Dropout2d": (40, 30, 2, 2),
    "Dropout3d": (40, 30, 2, 1, 2),
    "AlphaDropout": (40, 30, 5),
    "FeatureAlphaDropout": (40, 30, 5),
}
PLAIN = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")
BY_CHANNEL = ("Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout")
NAMES = {
    "Dropout": "dropout",
    "Dropout1d": "dropout1d",
    "Dropout2d": "dropout2d",
    "Dropout3d": "dropout3d",
    "AlphaDropout": "alpha_dropout",
    "FeatureAlphaDropout": "feature_alpha_dropout",
}


def made(name: str, p: float = 0.3, seed: int = 0) -> nn.Module:
    return getattr(nn, name)(p, generator=Generator(seed))


# --- what is dropped ---


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_share_p_is_dropped_and_the_rest_scaled(name, p):
    y = made(name, p)(ge.ones(SHAPES[name])).numpy()
    places = y.reshape(1200, -1)[:, 0]
    assert (places == 0).mean() == pytest.approx(p, abs=0.05)
    assert set(np.unique(y)) <= {0.0, np.float32(1 / (1 - p)) if p < 1 else 0.0}
    assert y.mean() == pytest.approx(float(p < 1), abs=0.08)


@pytest.mark.parametrize("name", BY_CHANNEL)
def test_channels_are_dropped_whole(name):
    y = made(name)(ge.ones(SHAPES[name])).numpy().reshape(40, 30, -1)
    assert (y == y[:, :, :1]).all()
    assert len(np.unique(y)) == 2


def test_elements_are_dropped_one_by_one():
    for name in ("Dropout", "AlphaDropout"):
        y = made(name)(ge.ones((40, 30, 5))).numpy()
        assert (y != y[:, :, :1]).any()


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(name, p):
    x = ge.random.randn(200, 300, 2, generator=Generator(1))
    y = made(name, p)(x).numpy()
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.var() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_takes_the_values_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="values are compared with PyTorch's")
    torch.manual_seed(0)
    ours = np.unique(made(name, 0.4)(ge.ones((40, 30, 2), dtype="float64")).numpy())
    theirs = np.unique(getattr(torch.nn, name)(0.4)(torch.ones(40, 30, 2).double()).numpy())
    assert np.allclose(ours, theirs, rtol=1e-12)
    assert not made(name, 1.0)(ge.ones((4, 3, 2))).numpy().any()


# --- evaluation, generators, arguments ---


@pytest.mark.parametrize("name", SHAPES)
def test_evaluation_is_the_identity(name):
    x = ge.random.randn(*SHAPES[name])
    assert made(name).eval()(x) is x
    assert getattr(F, NAMES[name])(x, 0.5, training=False) is x


@pytest.mark.parametrize("name", SHAPES)
def test_a_generator_says_the_mask(name):
    x = ge.ones(SHAPES[name])
    one, two = made(name)(x).numpy(), made(name)(x).numpy()
    assert np.array_equal(one, two)
    layer = made(name)
    assert np.array_equal(layer(x).numpy(), one)
    assert not np.array_equal(layer(x).numpy(), one)
    function = getattr(F, NAMES[name])
    assert np.array_equal(function(x, 0.3, training=True, generator=Generator(0)).numpy(), one)
    ge.random.manual_seed(5)
    a = function(x, 0.3, training=True).numpy()
    ge.random.manual_seed(5)
    assert np.array_equal(function(x, 0.3, training=True, inplace=True).numpy(), a)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout3d"])
def test_without_a_batch(name):
    shape = SHAPES[name][1:]
    y = made(name)(ge.ones(shape)).numpy().reshape(30, -1)
    assert (y == y[:, :1]).all()
    assert len(np.unique(y)) == 2


@pytest.mark.parametrize("name", SHAPES)
def test_the_repr_is_pytorchs(name):
    torch = pytest.importorskip("torch", reason="values are compared with PyTorch's")
    for args in ((), (0.25, True)):
        assert repr(getattr(nn, name)(*args)) == repr(getattr(torch.nn, name)(*args))


# --- derivatives ---


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_derivative_is_right_to_second_order(name, p):
    shape = (2, 3, *(2,) * (len(SHAPES[name]) - 2))
    x = np.random.default_rng(0).normal(size=shape)
    check_grads(lambda x: made(name, p)(x * x), [x])


@pytest.mark.parametrize("name", SHAPES)
def test_the_gradient_has_the_mask_of_its_forward(name):
    x = ge.ones(SHAPES[name], requires_grad=True)
    layer = made(name)
    y = layer(x)
    layer(x)
    y.sum().backward()
    lowest = y.detach().numpy().min()
    dropped = y.detach().numpy() == lowest
    assert np.array_equal(x.grad.numpy() == 0, dropped)
    assert dropped.any()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept(name, dtype):
    x = ge.ones(SHAPES[name], dtype=dtype).requires_grad_()
    y = made(name)(x)
    y.sum().backward()
    assert str(y.dtype) == str(x.grad.dtype) == dtype


# --- mistakes ---


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_p_must_be_a_probability(name, p):
    with pytest.raises(OutOfRangeError, match=f"{name}: p={p} is no probability"):
        getattr(nn, name)(p)
    with pytest.raises(OutOfRangeError, match="is no probability"):
        getattr(F, NAMES[name])(ge.ones(SHAPES[name]), p)


@pytest.mark.parametrize(
    ("name", "axes"),
    [("Dropout1d", 1), ("Dropout2d", 2), ("Dropout3d", 3), ("FeatureAlphaDropout", 1)],
)
def test_channels_need_their_axes(name, axes):
    with pytest.raises(ShapeError, match="input"):
        getattr(nn, name)()(ge.ones((2,) * axes))
