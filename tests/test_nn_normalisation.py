"""Normalisation where agreement with PyTorch on one call is not enough: statistics, dtypes, errors.

tests/agreement/normalisation.py compares the layers themselves.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn import functional as F
from gradengine.ops import standardisation
from gradengine.testing import check_grads


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def torch():
    return pytest.importorskip("torch", reason="values are compared with PyTorch's")


# --- running statistics ---


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_running_statistics_over_several_batches(name, momentum):
    kwargs = {"momentum": momentum, "affine": True, "track_running_stats": True}
    if name == "InstanceNorm1d" and momentum is None:
        kwargs["momentum"] = 0.0
    mine, theirs = (getattr(lib, name)(3, **kwargs).double() for lib in (nn, torch().nn))
    for i in range(4):
        x = 2 * draw(5, 3, 4, seed=i) + i
        mine(ge.tensor(x)), theirs(torch().from_numpy(x))
    for (key, a), b in zip(mine.named_buffers(), theirs.buffers(), strict=True):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-12), key
    assert mine.num_batches_tracked.dtype == np.int64
    mine.eval(), theirs.eval()
    x = draw(2, 3, 4, seed=9)
    before = mine.running_mean.numpy().copy()
    y, z = mine(ge.tensor(x)), theirs(torch().from_numpy(x))
    assert np.allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-9)
    assert np.array_equal(mine.running_mean.numpy(), before)
    mine.reset_running_stats()
    assert mine.running_mean.tolist() == [0] * 3
    assert mine.running_var.tolist() == [1] * 3
    assert int(mine.num_batches_tracked) == 0


def test_running_statistics_do_not_reach_the_tape():
    layer = nn.BatchNorm1d(3)
    layer(ge.random.randn(4, 3).requires_grad_())
    assert not layer.running_mean.requires_grad
    assert not layer.running_var.requires_grad


def test_parameters_start_again():
    layer = nn.BatchNorm2d(2)
    layer(ge.random.randn(3, 2, 2, 2))
    layer.weight.data, layer.bias.data = ge.zeros(2), ge.ones(2)
    layer.reset_parameters()
    assert (layer.weight.tolist(), layer.bias.tolist()) == ([1, 1], [0, 0])
    assert int(layer.num_batches_tracked) == 0
    for other in (nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.RMSNorm(2)):
        other.weight.data = ge.zeros(2)
        other.reset_parameters()
        assert other.weight.tolist() == [1, 1]


# --- blocks, layouts, numbers that are hard ---


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_rows_in_several_blocks_are_the_formula(rows):
    x, g = draw(rows, 2000), draw(rows, 2000, seed=1)
    weight, bias = draw(2000, seed=2), draw(2000, seed=3)
    xs = [ge.tensor(v, requires_grad=True) for v in (x, weight, bias)]
    y = standardisation.layer_norm(*xs)
    u = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    assert np.allclose(y.detach().numpy(), u * weight + bias, rtol=1e-11, atol=1e-11)
    dx, dw, db = ge.autograd.grad(y, xs, ge.tensor(g))
    a = g * weight
    r = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    expected = r * (a - a.mean(1, keepdims=True) - u * (a * u).mean(1, keepdims=True))
    assert np.allclose(dx.numpy(), expected, rtol=1e-9, atol=1e-11)
    assert np.allclose(dw.numpy(), (g * u).sum(0), rtol=1e-9, atol=1e-9)
    assert np.allclose(db.numpy(), g.sum(0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mean", [0, 1, 15.5, 17, 1e3])
@pytest.mark.parametrize("rows", [5, 2000])
def test_means_near_and_far_cost_the_gradient_no_digits(mean: float, rows: int):
    draw = np.random.default_rng(3).normal
    wide, g = draw(mean, 1, (rows, 64)), draw(size=(rows, 64)).astype(np.float32)
    x = wide.astype(np.float32)
    wide = x.astype(np.float64)
    t = ge.tensor(x, requires_grad=True)
    F.layer_norm(t, (64,)).backward(ge.tensor(g))
    centre = wide - wide.mean(1, keepdims=True)
    r = 1 / np.sqrt((centre**2).mean(1, keepdims=True) + 1e-5)
    u = centre * r
    expected = r * (g - g.mean(1, keepdims=True) - u * (g * u).mean(1, keepdims=True))
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=0, atol=2e-6 + 1.2e-7 * mean)


def test_a_large_mean_costs_no_digits():
    x = (draw(4, 1000) + 1000).astype("float32")
    y = F.layer_norm(ge.tensor(x), (1000,)).numpy()
    wide = x.astype("float64")
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    assert np.abs(y - expected).max() < 5e-4
    y = F.batch_norm(ge.tensor(x.T.copy()), None, None, training=True).numpy()
    assert np.abs(y.T - expected).max() < 5e-4


def test_constant_rows_have_finite_derivatives():
    x = ge.full((2, 4), 3.0, dtype="float64", requires_grad=True)
    y = F.layer_norm(x, (4,))
    (dx,) = ge.autograd.grad((y**2).sum(), [x], create_graph=True)
    dx.sum().backward()
    assert not y.detach().numpy().any()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("over", ["row", "channel"])
def test_kept_moments_are_right_to_second_order(centered, over):
    def f(x, w, b):
        room = standardisation.scratch(x, over)
        return standardisation.standardise(x, w, b, room, over=over, centered=centered)

    check_grads(f, [draw(3, 2, 2), draw(2), draw(2)])


def test_a_second_backward_finds_the_moments_as_they_were():
    x = ge.tensor(draw(3, 4), requires_grad=True)
    y = (F.layer_norm(x, (4,)) ** 3).sum()
    y.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.backward()
    assert np.allclose(x.grad.numpy(), 2 * first)


def test_views_that_are_not_contiguous():
    x = draw(6, 8)[::2, ::-2]
    found = F.layer_norm(ge.tensor(np.zeros(1)) * 0 + ge.asarray(x), (4,)).numpy()
    assert np.allclose(found, F.layer_norm(ge.tensor(x.copy()), (4,)).numpy(), rtol=1e-12)


LAYERS = {
    "BatchNorm1d": ((3,), (8, 3, 4)),
    "LayerNorm": ((4,), (8, 3, 4)),
    "GroupNorm": ((1, 3), (8, 3, 4)),
    "InstanceNorm1d": ((3,), (8, 3, 4)),
    "RMSNorm": ((4,), (8, 3, 4)),
    "LocalResponseNorm": ((2,), (8, 3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept_and_sums_are_wide(name, dtype):
    args, shape = LAYERS[name]
    raw = (3 * draw(*shape) + 40).astype("float32")
    x = ge.tensor(raw).astype(dtype)
    options = {} if name == "LocalResponseNorm" else {"dtype": dtype}
    y = getattr(nn, name)(*args, **options)(x.requires_grad_())
    assert str(y.dtype) == dtype
    y.sum().backward()
    assert str(x.grad.dtype) == dtype
    wide = getattr(nn, name)(*args).double()(x.detach().double()).detach().numpy()
    limit = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-5}[dtype]
    assert np.abs(y.detach().double().numpy() - wide).max() < limit * max(1, abs(wide).max())


def test_float32_weights_with_a_half_input_keep_the_input_s_dtype():
    x = ge.random.randn(4, 3).astype("float16")
    for layer in (nn.LayerNorm(3), nn.RMSNorm(3), nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval()):
        assert layer(x).dtype == np.float16
    assert nn.GroupNorm(1, 3)(x).dtype == np.float16


@pytest.mark.parametrize("name", LAYERS)
def test_the_repr_is_pytorchs(name):
    args, _ = LAYERS[name]
    theirs = repr(getattr(torch().nn, name)(*args))
    mine = repr(getattr(nn, name)(*args))
    if "bias" not in theirs:  # earlier versions of PyTorch leave it out
        mine = re.sub(", bias=[A-Za-z]+", "", mine)
    assert mine == theirs


# --- mistakes ---


def test_one_value_per_channel_has_no_variance():
    with pytest.raises(ShapeError, match=r"one value per channel in training, input \(1, 3\)"):
        nn.BatchNorm1d(3)(ge.zeros((1, 3)))
    assert nn.BatchNorm1d(3).eval()(ge.zeros((1, 3))).shape == (1, 3)
    with pytest.raises(ShapeError, match="one value per channel"):
        nn.InstanceNorm1d(3)(ge.zeros((2, 3, 1)))


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("BatchNorm1d", (2, 4), r"input \(2, 4\) has 4 channels, the layer 3"),
        ("BatchNorm1d", (2, 3, 1, 1), r"has 4 axes"),
        ("BatchNorm2d", (2, 3, 4), r"give \(N, C, H, W\)"),
        ("BatchNorm3d", (2, 3, 4), r"give \(N, C, D, H, W\)"),
        ("InstanceNorm2d", (2, 3), r"give \(N, C, H, W\) or \(C, H, W\)"),
    ],
)
def test_wrong_channels_and_axes(name, shape, text):
    options = {"affine": True} if name.startswith("Instance") else {}
    with pytest.raises(ShapeError, match=text) as caught:
        nn.Sequential(getattr(nn, name)(3, **options))(ge.zeros(shape))
    assert any("Sequential.0" in note for note in caught.value.__notes__)


def test_wrong_sizes():
    x = ge.zeros((2, 4))
    with pytest.raises(
        ShapeError,
        match=r"(?s)input \(2, 4\) does not end in normalized_shape \(3,\).*\(\.\.\., 3\).*\(4,\)",
    ):
        nn.LayerNorm(3)(x)
    with pytest.raises(ShapeError, match=r"rms_norm: input \(2, 4\)"):
        nn.RMSNorm((3, 2, 4))(x)
    with pytest.raises(ShapeError, match=r"weight \(3,\) for normalized_shape \(4,\)"):
        F.layer_norm(x, (4,), ge.ones(3))
    with pytest.raises(ShapeError, match="num_channels=4 in num_groups=3"):
        nn.GroupNorm(3, 4)
    with pytest.raises(ShapeError, match=r"4 channels of input \(2, 4\) in 3 groups"):
        F.group_norm(x, 3)
    with pytest.raises(ShapeError, match=r"weight \(3,\) for input \(2, 4\) of 4 channels"):
        nn.GroupNorm(1, 3)(x)
    with pytest.raises(ShapeError, match="no channels"):
        F.batch_norm(ge.zeros(3), None, None, training=True)
    with pytest.raises(ShapeError, match="are None in evaluation"):
        F.batch_norm(x, None, None)
    with pytest.raises(ShapeError, match="at least 3 axes"):
        nn.LocalResponseNorm(2)(x)
    with pytest.raises(OutOfRangeError, match="size=0"):
        nn.LocalResponseNorm(0)(ge.zeros((1, 2, 3)))
    with pytest.raises(ShapeError, match=r"layer_norm: weight \(3,\) for x \(2, 4\)"):
        standardisation.layer_norm(x, ge.ones(3))
    with pytest.raises(ShapeError, match="has no axis 1"):
        standardisation.batch_norm(ge.zeros(3))
