"""Pooling and padding beyond agreement/pooling.py and padding.py: ties, NaN, dtypes, mistakes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn import functional as F
from gradengine.testing import check_grads

random = np.random.default_rng(6)


def torch_module() -> Any:
    return pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")


# --- maxima ---

WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (2, 3), "stride": (3, 1), "dilation": (1, 2)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_ties_go_to_the_first_as_in_pytorch(window: Any):
    torch = torch_module()
    values = random.integers(0, 2, size=(2, 3, 7, 8)).astype(np.float64)  # ties everywhere
    x = ge.tensor(values, requires_grad=True)
    other = torch.tensor(values, requires_grad=True)
    y, i = F.max_pool2d(x, **window, return_indices=True)
    expected, places = torch.nn.functional.max_pool2d(other, **window, return_indices=True)
    assert np.array_equal(i.numpy(), places.numpy())
    g = random.normal(size=tuple(expected.shape))
    y.backward(ge.tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), atol=1e-15)


def test_nan_is_the_largest():
    torch = torch_module()
    values = random.normal(size=(1, 1, 6, 6))
    values[0, 0, 1, 2] = values[0, 0, 4, 4] = values[0, 0, 5, 5] = np.nan
    y, i = F.max_pool2d(ge.tensor(values), 2, return_indices=True)
    expected, places = torch.nn.functional.max_pool2d(torch.tensor(values), 2, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert np.array_equal(i.numpy(), places.numpy())


def test_a_window_of_minus_infinity_sees_no_padding():
    x = ge.full((1, 4), -np.inf, dtype="float64").requires_grad_()
    y, i = F.max_pool1d(x, 3, 2, 1, return_indices=True)
    assert i.tolist() == [[0, 1]]
    assert (y == -np.inf).all()
    y.backward(ge.tensor([[1.0, 2.0]], dtype="float64"))
    assert x.grad.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_what_is_not_chosen_leaves_no_trace():
    x = ge.tensor([[1.0, 2.0, 3.0, 0.0]], requires_grad=True)
    F.max_pool1d(x, 2).backward(ge.tensor([[np.inf, np.nan]]))
    assert x.grad[0, :2].tolist() == [0.0, np.inf]
    assert np.isnan(x.grad[0, 2].item())
    assert x.grad[0, 3].item() == 0.0


def test_long_windows_count_beyond_a_byte():
    values = random.permutation(600).astype(np.float64)
    x = ge.tensor(values[None], requires_grad=True)
    y, i = F.max_pool1d(x, 600, return_indices=True)
    y.sum().backward()
    assert i.item() == values.argmax() == x.grad.numpy().argmax()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_16_bits(dtype: Any):
    x = ge.tensor(np.ones((1, 1, 64, 64), dtype), requires_grad=True)
    assert F.avg_pool2d(x, 64).dtype == dtype
    assert F.avg_pool2d(x, 64).item() == 1.0
    assert F.adaptive_avg_pool2d(x, 1).item() == 1.0
    largest = F.max_pool2d(x, 3, 1)
    assert largest.dtype == dtype
    largest.sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad[0, 0, 0, 0].item() == 1.0
    big = ge.tensor(np.full((1, 4), 60000, np.float16))
    assert F.avg_pool1d(big, 4).item() == 60000  # the sum is beyond float16


def test_integers_have_maxima():
    x = ge.tensor(np.array([[-5, -7, 3, 2]]))
    assert F.max_pool1d(x, 2, padding=1, stride=2).tolist() == [[-5, 3, 2]]


def test_unpooling_what_overlaps_writes_once():
    x = ge.tensor([[1.0, 5.0, 2.0, 3.0]])
    y, i = F.max_pool1d(x, 3, 1, return_indices=True)
    assert F.max_unpool1d(y, i, 3, 1).tolist() == [[0.0, 5.0, 0.0, 0.0]]


def test_max_pooling_to_second_order_with_ties_in_the_padding():
    x = random.permutation(48).reshape(1, 2, 4, 6) / 10.0
    check_grads(lambda a: F.max_pool2d(ge.sin(a), 3, 2, 1) ** 2, [x], order=2)


def test_empty_batches_keep_their_shape():
    x = ge.zeros((0, 2, 4, 4)).requires_grad_()
    for y in (F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.lp_pool2d(x, 2, 2)):
        assert y.shape == (0, 2, 2, 2)
    assert F.adaptive_avg_pool2d(x, 3).shape == F.adaptive_max_pool2d(x, 3).shape == (0, 2, 3, 3)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.shape == x.shape


def test_lp_pool_has_the_gradient_0_at_0():
    x = ge.zeros((1, 4)).requires_grad_()
    F.lp_pool1d(x, 2, 2).sum().backward()
    assert x.grad.tolist() == [[0.0] * 4]


def test_a_layer_of_each_kind_on_numbers():
    x = ge.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert nn.AdaptiveAvgPool1d(3)(x).tolist() == [[1.5, 3.0, 4.5]]
    assert nn.AvgPool1d(3, 2, 1)(x).tolist() == [[1.0, 3.0, 3.0]]
    assert nn.AvgPool1d(3, 2, 1, count_include_pad=False)(x).tolist() == [[1.5, 3.0, 4.5]]
    assert nn.LPPool1d(1, 2)(x).tolist() == [[3.0, 7.0]]


REPRS = {
    "MaxPool1d": ((2,), {"padding": 1}),
    "MaxPool2d": (((2, 3),), {"stride": 1, "dilation": 2, "ceil_mode": True}),
    "MaxPool3d": ((2,), {}),
    "MaxUnpool1d": ((2,), {}),
    "MaxUnpool2d": ((2, 1), {}),
    "MaxUnpool3d": ((2,), {"padding": 1}),
    "AvgPool1d": ((2,), {}),
    "AvgPool2d": ((2,), {"padding": 1}),
    "AvgPool3d": (((1, 2, 3),), {"stride": 2}),
    "LPPool1d": ((2, 3), {}),
    "LPPool2d": ((1.5, 3), {"stride": 2}),
    "LPPool3d": ((2, 3), {"ceil_mode": True}),
    "AdaptiveAvgPool1d": ((2,), {}),
    "AdaptiveAvgPool2d": (((2, None),), {}),
    "AdaptiveAvgPool3d": ((2,), {}),
    "AdaptiveMaxPool1d": ((2,), {}),
    "AdaptiveMaxPool2d": (((None, 3),), {}),
    "AdaptiveMaxPool3d": ((2,), {"return_indices": True}),
    "ConstantPad1d": ((1, 2.5), {}),
    "ConstantPad2d": (((1, 2, 3, 4), 0.0), {}),
    "ConstantPad3d": ((1, 2.5), {}),
    "ZeroPad1d": ((1,), {}),
    "ZeroPad2d": (((1, 2, 3, 4),), {}),
    "ZeroPad3d": ((1,), {}),
    "ReflectionPad1d": ((1,), {}),
    "ReflectionPad2d": ((2,), {}),
    "ReflectionPad3d": ((1,), {}),
    "ReplicationPad1d": (((1, 0),), {}),
    "ReplicationPad2d": ((2,), {}),
    "ReplicationPad3d": ((1,), {}),
    "CircularPad1d": ((1,), {}),
    "CircularPad2d": ((2,), {}),
    "CircularPad3d": ((1,), {}),
}


@pytest.mark.parametrize("name", REPRS)
def test_reprs_are_pytorchs(name: str):
    torch = torch_module()
    args, options = REPRS[name]
    mine = getattr(nn, name)(*args, **options)
    theirs = getattr(torch.nn, name)(*args, **options)
    assert repr(mine) == repr(theirs)
    own = {key: value for key, value in vars(theirs).items() if not key.startswith("_")}
    for key in own.keys() - {"training"}:
        assert getattr(mine, key) == own[key], key


# --- mistakes ---

image = ge.zeros((2, 3, 8, 8))

MISTAKES = {
    "rank": (lambda: F.max_pool2d(ge.zeros((8, 8)), 2), "has 2 axes"),
    "rank, mean": (lambda: F.avg_pool1d(image, 2), "has 4 axes"),
    "kernel": (lambda: F.max_pool2d(image, 9), "does not fit into .8, 8."),
    "kernel, mean": (lambda: F.avg_pool2d(image, 9), "does not fit into .8, 8."),
    "padding": (lambda: F.max_pool2d(image, 3, padding=2), "at most half a window"),
    "padding, mean": (lambda: F.avg_pool2d(image, 3, padding=2), "at most half a window"),
    "stride": (lambda: F.max_pool2d(image, 2, stride=0), "stride=0"),
    "sizes": (lambda: F.adaptive_avg_pool2d(image, (1, 2, 3)), "for 2 axes"),
    "empty": (lambda: F.adaptive_max_pool2d(image[:, :, :0], 1), "empty axis"),
    "indices": (
        lambda: F.max_unpool1d(ge.zeros((1, 2)), ge.zeros((1, 3), dtype="int64"), 2),
        "as max_pool returned them",
    ),
    "output_size": (
        lambda: F.max_unpool1d(ge.zeros((1, 2)), ge.zeros((1, 2), dtype="int64"), 2,
                               output_size=[9]),
        "less than a stride",
    ),
    "reflection": (lambda: F.pad(image, (8, 0), "reflect"), "at most 7"),
    "circular": (lambda: F.pad(image, (9, 0), "circular"), "at most 8"),
    "pad mode": (lambda: F.pad(image, (1, 0), "mirror"), "constant, reflect"),
    "odd widths": (lambda: F.pad(image, (1, 0, 1)), "two for each axis"),
    "value": (lambda: F.pad(image, (1, 0), "reflect", 2.0), "takes a value"),
    "cut": (lambda: F.pad(image, (-5, -4)), "cuts more"),
    "pad rank": (lambda: nn.ReflectionPad2d(1)(ge.zeros((8, 8))), "has 2 axes"),
    "pad widths": (lambda: nn.ZeroPad2d((1, 2)), "for 4 axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str):
    call, text = MISTAKES[name]
    with pytest.raises(ShapeError, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)


OUTSIDE = {
    "index": (
        lambda: F.max_unpool1d(ge.zeros((1, 2)), ge.tensor(np.array([[0, 9]])), 2),
        "indices up to 9",
    ),
    "norm": (lambda: F.lp_pool1d(ge.zeros((1, 2)), 0, 2), "norm_type=0"),
    "divisor": (lambda: F.avg_pool2d(image, 2, divisor_override=0), "divisor_override=0"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_out_of_range_are_named(name: str):
    call, text = OUTSIDE[name]
    with pytest.raises(OutOfRangeError, match=text):
        call()
