"""On a GPU: convolution and attention through cuDNN, the feed-forward block, late index checks.

The calls and the comparisons are those of test_cudnn.py and test_feed_forward.py, which run them
on the stand-in; here the libraries are NVIDIA's.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_cudnn import CONVOLUTIONS, DTYPES, HALVES, QKV, compare, drawn, masks
from test_feed_forward import ACTIVATIONS, SHAPES, leaves, three_ops
from test_feed_forward import DTYPES as FLOATS
from test_feed_forward import agree as agree_all
from test_feed_forward import drawn as drawn_layers

import gradengine as ge
from gradengine.cuda import checks, cudnn, kernels
from gradengine.nn import functional as F

pytestmark = pytest.mark.gpu


@pytest.fixture(name="library")
def the_library():
    if not cudnn.installed():
        pytest.skip("nvidia-cudnn-frontend or cuDNN is not installed")
    return cudnn.in_use()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(library, name, dtype):
    x, w, options = CONVOLUTIONS[name]
    function = getattr(F, f"conv{len(x) - 2}d")
    compare(lambda a, b: function(a, b, **options), drawn(x, w, dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_ordinary_convolution_has_plans(library, dtype):
    """Sizes that cuDNN is made for: nothing falls back."""
    arrays = drawn((4, 16, 14, 14), (32, 16, 3, 3), dtype=dtype)
    trace = compare(lambda a, b: F.conv2d(a, b, padding=1), arrays, dtype)
    assert trace.formulas == [], library.refused


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": -0.7}], ids=str)
def test_attention(library, dtype, options):
    def function(*qkv):
        return F.scaled_dot_product_attention(*qkv, **options)

    shapes = ((2, 3, 70, 64), (2, 3, 90, 64), (2, 3, 90, 64))
    trace = compare(function, drawn(*shapes, dtype=dtype), dtype)
    assert trace.formulas == [], library.refused


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", masks("float16"))
def test_masks(library, dtype, name):
    """The row that no key takes part in is 0 here too."""
    mask = masks(dtype)[name]

    def function(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, ge.tensor(mask, device=q.device))

    compare(function, drawn(*QKV, dtype=dtype), dtype)


@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_share_keys(library, causal):
    arrays = drawn((2, 6, 33, 64), (2, 3, 33, 64), (2, 3, 33, 64), dtype="float16")

    def function(*qkv):
        return F.scaled_dot_product_attention(*qkv, is_causal=causal, enable_gqa=True)

    trace = compare(function, arrays, "float16")
    assert trace.formulas == [], library.refused


# --- the feed-forward block ----------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [SHAPES, ((64, 32), (128, 32), (128,), (32, 128), (32,))])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_feed_forward(dtype, activation, shapes):
    arrays = drawn_layers(dtype, shapes)
    found = []
    for device, function in (("cuda", F.feed_forward), ("cpu", three_ops)):
        given = leaves(arrays, device)
        with kernels.launched() as trace:
            y = function(*given, activation)
            y.backward(ge.ones_like(y))
        if device == "cuda" and dtype != "float64":
            assert not [n for n in trace.formulas if n.startswith("feed_forward")]
        found.append([y, *(v.grad for v in given)])
    agree_all(*found, dtype)


# --- late checks ---------------------------------------------------------------------------------


def test_an_index_out_of_range_is_raised_later():
    checks.forget()
    table = ge.tensor(np.ones((4, 3)), device="cuda", requires_grad=True)
    ge.take(table, ge.tensor([0, 3], device="cuda"), axis=0).sum().backward()
    ge.cuda.synchronize()

    def step():
        ge.take(table, ge.tensor([9], device="cuda"), axis=0)
        ge.cuda.synchronize()

    with pytest.raises(ge.OutOfRangeError, match="index 9 is out of bounds") as caught:
        step()
    assert "earlier launch of take" in caught.value.__notes__[0]
