"""Convolutions beyond what agreement/convolution.py compares: blocks, dtypes, order, mistakes."""

from __future__ import annotations

import importlib
import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn, ops
from gradengine.errors import DTypeError, ShapeError
from gradengine.nn import functional as F
from gradengine.testing import check_grads

module = importlib.import_module("gradengine.ops.convolution")  # the op has its name
random = np.random.default_rng(5)


def direct(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The defining sum, place by place, in float64."""
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    kernel, size = w.shape[2:], x.shape[2:]
    axes = zip(size, kernel, stride, dilation, strict=True)
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes]
    y = np.zeros((x.shape[0], w.shape[0], *counts))
    own, out = w.shape[1], w.shape[0] // groups
    for o in range(w.shape[0]):
        channels = slice(o // out * own, (o // out + 1) * own)
        for p in itertools.product(*map(range, counts)):
            for t in itertools.product(*map(range, kernel)):
                place = tuple(a * s + b * d for a, b, s, d in zip(p, t, stride, dilation))  # noqa: B905
                y[(slice(None), o, *p)] += x[(slice(None), channels, *place)] @ w[(o, ..., *t)]
    return y


SHAPES = [
    ((3, 4, 6, 5), (6, 2, 3, 2), (1, 2), ((1, 0), (2, 1)), (1, 2), 2),
    ((2, 3, 9), (4, 3, 3), (2,), ((1, 1),), (2,), 1),
    ((2, 2, 4, 3, 4), (2, 1, 2, 2, 1), (1, 1, 2), ((0, 1),) * 3, (2, 1, 1), 2),
    ((2, 3, 4, 4), (5, 3, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1), 1),
    ((2, 3, 5, 5), (2, 3, 2, 2), (3, 3), ((0, 0),) * 2, (1, 1), 1),
]


@pytest.mark.parametrize("budget", [1 << 20, 2000, 200, 8])
@pytest.mark.parametrize("case", SHAPES, ids=lambda case: f"{case[0]}")
def test_blocks_of_any_size_give_the_sum(case: Any, budget: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CACHE_BYTES", budget)
    shape, kernel, *how = case
    x, w = random.normal(size=shape), random.normal(size=kernel)
    y = ops.convolution(x, w, *how)
    np.testing.assert_allclose(y, direct(x, w, *how), rtol=1e-12, atol=1e-12)
    g = random.normal(size=y.shape)
    dx = ops.convolution_input(g, w, shape[2:], *how)
    dw = ops.convolution_weight(x, g, kernel[2:], *how)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    expected = float((g * y).sum())  # the three maps are one trilinear form
    assert float((dx * x).sum()) == pytest.approx(expected, rel=1e-11)
    assert float((dw * w).sum()) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("stride", [(-1, 1), (2, -2)])
def test_inputs_may_have_any_strides(stride: Any):
    x = random.normal(size=(8, 9, 3, 2)).transpose(3, 2, 0, 1)[:, :, :: stride[0], :: stride[1]]
    w = random.normal(size=(3, 2, 2, 4)).transpose(2, 0, 3, 1)
    how = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    y = ops.convolution(x, w, *how)
    np.testing.assert_allclose(y, direct(x, w, *how), atol=1e-12)
    one = np.ones((2, 3, 1, 1))
    np.testing.assert_allclose(ops.convolution(x, one, *how), direct(x, one, *how), atol=1e-12)


def test_a_broadcast_cotangent():
    x = ge.tensor(random.normal(size=(2, 2, 5, 5)), requires_grad=True)
    w = ge.tensor(random.normal(size=(3, 2, 3, 3)), requires_grad=True)
    F.conv2d(x, w).sum().backward()
    flat = ge.tensor(np.ones((2, 3, 3, 3)))
    how = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    np.testing.assert_allclose(
        x.grad.numpy(), ops.convolution_input(flat, w.detach(), (5, 5), *how).numpy()
    )
    np.testing.assert_allclose(
        w.grad.numpy(), ops.convolution_weight(x.detach(), flat, (3, 3), *how).numpy()
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_16_bits_accumulate_in_32(dtype: Any):
    x = np.ones((1, 64, 40), dtype)
    w = np.ones((1, 64, 33), dtype)
    x[0, :, 1] = 1.0078125  # lost if sums above 256 (bfloat16) or 2048 (float16) were rounded
    y = ops.convolution(x, w, (1,), ((0, 0),), (1,), 1)
    exact = direct(x.astype(np.float64), w.astype(np.float64), (1,), ((0, 0),), (1,), 1)
    assert y.dtype == dtype
    assert np.array_equal(y, exact.astype(np.float32).astype(dtype))


def test_a_gradient_penalty_through_two_layers():
    first, second = nn.Conv2d(1, 2, 3, dtype="float64"), nn.Conv2d(2, 1, 2, dtype="float64")

    def penalty(x: Any, w: Any) -> Any:
        def critic(image: Any) -> Any:
            hidden = ge.tanh(F.conv2d(image, w, first.bias, padding=1))
            return (second(hidden) ** 2).sum()

        return (ge.grad(critic)(x) ** 2).sum()

    check_grads(penalty, [random.normal(size=(1, 1, 3, 3)), first.weight.detach()], order=1)


# --- layers ---


def test_same_padding_puts_the_odd_one_behind():
    x = ge.tensor([[[1.0, 2.0, 3.0]]])
    assert F.conv1d(x, ge.ones((1, 1, 2)), padding="same").flatten().tolist() == [3.0, 5.0, 3.0]


@pytest.mark.parametrize(
    ("layer", "bound"),
    [
        (nn.Conv2d(8, 32, 5, groups=2, generator=ge.random.Generator(0)), (4 * 25) ** -0.5),
        (nn.ConvTranspose2d(8, 32, 5, groups=2, generator=ge.random.Generator(0)), 400**-0.5),
    ],
    ids=["Conv2d", "ConvTranspose2d"],
)
def test_initial_weights_are_uniform_as_in_pytorch(layer: Any, bound: float):
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert 0.8 * bound < np.abs(values).max() <= bound
    weight = layer.weight.detach().numpy()
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert abs(weight.mean()) < 0.05 * bound


REPRS = {
    "Conv1d": ((3, 4, 5), {"padding": "same", "padding_mode": "reflect"}),
    "Conv2d": ((4, 4, (1, 3)), {"stride": 2, "padding": (0, 1), "dilation": 2, "groups": 2}),
    "Conv3d": ((3, 4, 5), {"bias": False}),
    "ConvTranspose1d": ((3, 4, 5), {"stride": 2, "output_padding": 1}),
    "ConvTranspose2d": ((4, 4, 5), {"groups": 4, "dilation": (1, 2)}),
    "ConvTranspose3d": ((3, 4, 5), {"bias": False, "padding": 1}),
    "Unfold": ((2,), {"stride": 3}),
    "Fold": (((4, 4), 2), {"padding": 1}),
    "PixelShuffle": ((2,), {}),
    "PixelUnshuffle": ((2,), {}),
    "ChannelShuffle": ((2,), {}),
}


@pytest.mark.parametrize("name", REPRS)
def test_reprs_are_pytorchs(name: str):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    args, options = REPRS[name]
    assert repr(getattr(nn, name)(*args, **options)) == repr(
        getattr(torch.nn, name)(*args, **options)
    )


def test_shuffles_undo_each_other():
    x = ge.tensor(random.normal(size=(2, 6, 8, 4)))
    assert (F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2) == x).all()
    mixed = F.channel_shuffle(x, 3)
    assert not (mixed == x).all()
    assert (F.channel_shuffle(mixed, 2) == x).all()


# --- mistakes ---

image, kernel = ge.zeros((2, 3, 8, 8)), ge.zeros((4, 3, 3, 3))

MISTAKES = {
    "channels": (lambda: F.conv2d(ge.zeros((2, 5, 8, 8)), kernel), "expects 3 channels.*has 5"),
    "channels last": (lambda: F.conv2d(ge.zeros((2, 8, 8, 3)), kernel), "channels first"),
    "groups": (lambda: F.conv2d(image, kernel, groups=2), "groups=2.*cannot be split"),
    "rank of x": (lambda: F.conv2d(ge.zeros((8, 8)), kernel), "input .8, 8. has 2 axes"),
    "rank of w": (lambda: F.conv2d(image, kernel[0]), "weight .3, 3, 3. has 3 axes"),
    "bias": (lambda: F.conv2d(image, kernel, ge.zeros(3)), "bias .3,. for 4 channels"),
    "too small": (lambda: F.conv2d(image[:, :, :2], kernel), "does not fit into"),
    "stride": (lambda: F.conv2d(image, kernel, stride=0), "stride=0"),
    "stride for 3": (lambda: F.conv2d(image, kernel, stride=(1, 1, 1)), "for 2 axes"),
    "padding": (lambda: F.conv2d(image, kernel, padding="full"), "padding='full'"),
    "same": (lambda: F.conv2d(image, kernel, stride=2, padding="same"), "only stride 1"),
    "transposed": (lambda: F.conv_transpose2d(image, kernel), "expects 4 channels"),
    "output_padding": (
        lambda: F.conv_transpose2d(image, ge.zeros((3, 1, 3, 3)), output_padding=1),
        "less than the stride",
    ),
    "padded away": (
        lambda: F.conv_transpose1d(ge.zeros((1, 1, 1)), ge.zeros((1, 1, 1)), padding=1),
        "of size",
    ),
    "output_size": (
        lambda: nn.ConvTranspose1d(1, 1, 3, stride=2)(ge.zeros((1, 4)), output_size=[20]),
        "give sizes from",
    ),
    "transposed channels": (
        lambda: nn.ConvTranspose2d(2, 4, 3)(image),
        r"conv_transpose2d: the weight expects 2 channels, the input has 3 on axis 1",
    ),
    "transposed groups": (
        lambda: F.conv_transpose1d(ge.zeros((1, 3, 4)), ge.zeros((3, 1, 2)), groups=2),
        "conv_transpose1d: .*groups=2",
    ),
    "layer groups": (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups must divide"),
    "padding_mode": (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "zeros, reflect"),
    "transposed mode": (
        lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "one of zeros"
    ),
    "columns": (lambda: F.fold(ge.zeros((4, 3)), (3, 3), 2), "axis -1 4"),
    "column rank": (lambda: F.fold(ge.zeros(4), (3, 3), 2), "has 1 axes"),
    "pixel_shuffle": (lambda: F.pixel_shuffle(image, 2), "a multiple of 4"),
    "pixel_unshuffle": (lambda: F.pixel_unshuffle(image, 3), "multiples of 3"),
    "channel_shuffle": (lambda: F.channel_shuffle(image, 2), "multiple of groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str):
    call, text = MISTAKES[name]
    with pytest.raises(ShapeError, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)


def test_sizes_are_integers():
    with pytest.raises(DTypeError, match=r"stride=1\.5"):
        F.conv2d(image, kernel, stride=1.5)  # type: ignore[arg-type]


def test_a_mistake_names_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3))
    with pytest.raises(ShapeError, match="expects 5 channels") as caught:
        model(image)
    assert any("Sequential.1" in note for note in caught.value.__notes__)
