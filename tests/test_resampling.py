"""Interpolation beyond agreement/resampling.py: what must hold, dtypes, mistakes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import ShapeError
from gradengine.nn import functional as F

random = np.random.default_rng(8)

MODES = ["nearest", "nearest-exact", "area", "bilinear", "bicubic"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(3, 2), (9, 7), (4, 5)], ids=str)
def test_a_constant_stays_constant(mode: str, size: Any):
    y = F.interpolate(ge.full((1, 2, 4, 5), 3.0, dtype="float64"), size, mode=mode)
    np.testing.assert_allclose(y.numpy(), 3.0, rtol=1e-14)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_ramp_stays_a_ramp_between_aligned_corners(mode: str):
    ramp = np.linspace(0, 1, 6).reshape(1, 1, 6, 1) * np.ones((1, 1, 1, 6))
    y = F.interpolate(ge.tensor(ramp), (11, 6), mode=mode, align_corners=True)
    inner = slice(2, -2)  # at the border the cubic sees its edge repeated
    expected = np.linspace(0, 1, 11)[inner]
    np.testing.assert_allclose(y.numpy()[0, 0, inner, 3], expected, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32], ids=str)
def test_dtypes_are_kept(mode: str, dtype: Any):
    x = ge.tensor(random.normal(size=(1, 2, 6, 5)).astype(dtype), requires_grad=True)
    y = F.interpolate(x, (3, 7), mode=mode)
    wide = F.interpolate(ge.tensor(x.detach().numpy().astype(np.float64)), (3, 7), mode=mode)
    assert y.dtype == dtype
    error = np.abs(y.detach().numpy().astype(np.float64) - wide.numpy()).max()
    assert error <= 8 * float(ml_dtypes.finfo(dtype).eps)
    y.sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad.shape == x.shape


def test_an_empty_batch():
    assert F.interpolate(ge.zeros((0, 2, 3, 4)), (6, 5), mode="bilinear").shape == (0, 2, 6, 5)
    assert F.interpolate(ge.zeros((0, 2, 3)), 5).shape == (0, 2, 5)


def test_upsample_is_interpolate():
    x = ge.tensor(random.normal(size=(1, 2, 3, 4)))
    a = F.upsample(x, None, 2, "bilinear", True)
    b = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    assert (a == b).all()


REPRS = {
    "Upsample": [((), {"scale_factor": 2}), (((3, 4),), {"mode": "bicubic"}),
                 ((), {"scale_factor": (1.5, 2)})],
    "UpsamplingNearest2d": [((), {"scale_factor": 2}), ((3,), {})],
    "UpsamplingBilinear2d": [((), {"scale_factor": 2}), ((3,), {})],
}  # fmt: skip


@pytest.mark.parametrize("name", REPRS)
def test_reprs_are_pytorchs(name: str):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    for args, options in REPRS[name]:
        assert repr(getattr(nn, name)(*args, **options)) == repr(
            getattr(torch.nn, name)(*args, **options)
        )


image = ge.zeros((1, 2, 4, 4))

MISTAKES = {
    "neither": (lambda: F.interpolate(image), "give one of the two"),
    "both": (lambda: F.interpolate(image, 3, 2.0), "give one of the two"),
    "mode": (lambda: F.interpolate(image, 3, mode="cubic"), "nearest, nearest-exact"),
    "axes": (lambda: F.interpolate(image, 3, mode="linear"), "1 axes of size"),
    "rank": (lambda: F.interpolate(ge.zeros((4, 4)), 3), "1 to 3 axes"),
    "sizes": (lambda: F.interpolate(image, (3, 3, 3)), "for 2 axes"),
    "factors": (lambda: F.interpolate(image, scale_factor=(1.0,) * 3), "for 2 axes"),
    "vanished": (lambda: F.interpolate(image, scale_factor=0.1), "larger scale_factor"),
    "corners": (lambda: F.interpolate(image, 3, align_corners=False), "align_corners"),
    "antialias": (lambda: F.interpolate(image, 3, antialias=True), "antialias"),
    "again": (lambda: F.interpolate(image, 3, recompute_scale_factor=True), "computed again"),
    "empty": (lambda: F.interpolate(image[:, :, :0], 3), "none of them empty"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str):
    call, text = MISTAKES[name]
    with pytest.raises(ShapeError, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)
