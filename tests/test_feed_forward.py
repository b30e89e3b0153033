"""The feed-forward block as one op: against the three ops it replaces, and on the device.

Device tests run on the stand-in, whose library lists every product that it was asked for.
"""

from __future__ import annotations

from functools import partial

import ml_dtypes
import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine import nn
from gradengine.cuda import gemm, kernels
from gradengine.cuda.cublaslt import UnsupportedError
from gradengine.cuda.gemm_host import HostGemm
from gradengine.cuda.standin import standin
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn import functional as F
from gradengine.testing import check_grads

DTYPES = {
    "float64": np.dtype("float64"),
    "float32": np.dtype("float32"),
    "float16": np.dtype("float16"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 6e-3, "bfloat16": 5e-2}
ACTIVATIONS = ["relu", "gelu_tanh"]
BEND = {"relu": F.relu, "gelu_tanh": partial(F.gelu, approximate="tanh")}
SHAPES = ((2, 5, 6), (9, 6), (9,), (4, 9), (4,))


def drawn(dtype="float64", shapes=SHAPES, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=s).astype(DTYPES[dtype]) for s in shapes]


def leaves(arrays, device="cpu"):
    return [None if x is None else ge.tensor(x, device=device, requires_grad=True) for x in arrays]


def three_ops(x, w1, b1, w2, b2, activation):
    return F.linear(BEND[activation](F.linear(x, w1, b1)), w2, b2)


def agree(found, expected, dtype):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype == DTYPES[dtype]
        assert a.shape == b.shape
        a, b = (np.asarray(v.detach().cpu().numpy()).astype("float64") for v in (a, b))
        scale = max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def both_ways(function, arrays, device="cpu"):
    """[y, and the gradients of sum(y * y) for all that are given]."""
    given = leaves(arrays, device)
    y = function(*given)
    (y * y).sum().backward()
    return [y, *(v.grad for v in given if v is not None)]


# --- on the CPU ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_the_three_ops(dtype, activation):
    arrays = drawn(dtype)
    found = both_ways(lambda *v: F.feed_forward(*v, activation), arrays)
    agree(found, both_ways(lambda *v: three_ops(*v, activation), arrays), dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("missing", [(2,), (4,), (2, 4)])
def test_without_biases(activation, missing):
    arrays = [None if i in missing else x for i, x in enumerate(drawn())]
    found = both_ways(lambda *v: F.feed_forward(*v, activation), arrays)
    agree(found, both_ways(lambda *v: three_ops(*v, activation), arrays), "float64")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_two_orders_both_modes(activation):
    check_grads(lambda *v: F.feed_forward(*v, activation), leaves(drawn()), order=2)


def test_third_order():
    x, *weights = leaves(drawn())
    for function in (F.feed_forward, three_ops):
        d = function(x, *weights, "gelu_tanh").sum()
        for _ in range(3):
            (d,) = ge.autograd.grad(d, [x], ge.ones_like(d), create_graph=True)
        if function is F.feed_forward:
            first = d
    agree([first], [d], "float64")
    assert np.abs(first.detach().numpy()).max() > 0.1


def test_rows_that_do_not_fill_blocks():
    arrays = drawn("float32", ((70, 6), (1000, 6), (1000,), (3, 1000), (3,)))
    for activation in ACTIVATIONS:
        found = both_ways(lambda *v, a=activation: F.feed_forward(*v, a), arrays)
        expected = both_ways(lambda *v, a=activation: three_ops(*v, a), arrays)
        agree(found, expected, "float32")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_only_what_is_asked_for(activation):
    arrays = drawn()
    full = leaves(arrays)
    every = ge.autograd.grad(F.feed_forward(*full, activation).sum(), full)
    for i in range(5):
        given = [ge.tensor(x, requires_grad=i == j) for j, x in enumerate(arrays)]
        (own,) = ge.autograd.grad(F.feed_forward(*given, activation).sum(), [given[i]])
        agree([own], [every[i]], "float64")


def test_a_rule_computes_nothing_that_is_not_needed(monkeypatch):
    from gradengine.ops import feedforward

    count = []
    product = feedforward.matmul
    monkeypatch.setattr(feedforward, "matmul", lambda a, b: count.append(1) or product(a, b))
    arrays = drawn()
    for needed, products in (({4}, 0), ({3}, 1), ({2}, 1), ({0}, 2), ({0, 1, 2, 3, 4}, 4)):
        count.clear()
        given = [ge.tensor(x, requires_grad=j in needed) for j, x in enumerate(arrays)]
        F.feed_forward(*given).sum().backward()
        assert len(count) == products, needed


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_hidden_layer_is_not_computed_twice(activation, monkeypatch):
    from gradengine.ops import feedforward

    def again(*_):
        raise AssertionError("the hidden layer was computed again")

    y = F.feed_forward(*leaves(drawn()), activation).sum()
    monkeypatch.setattr(feedforward, "linear", again)
    y.backward(retain_graph=True)
    y.backward()  # and what was kept is still there


def test_nothing_is_kept_where_nothing_is_recorded():
    from gradengine.ops.feedforward import _room

    arrays = [ge.tensor(x) for x in drawn()]
    assert _room(arrays, "gelu_tanh") == (None, None)
    given = leaves(drawn())
    with ge.no_grad():
        assert _room(given, "gelu_tanh") == (None, None)
    assert _room(given, "gelu_tanh")[0].shape == (10, 9)


def test_nan_and_the_kink():
    x = ge.tensor([[0.0, np.nan]], requires_grad=True)
    one = ge.tensor(np.eye(2))
    y = F.feed_forward(x[:, :1], one[:, :1], None, one, None)
    assert y.tolist() == [[0.0, 0.0]]
    y.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0]]
    y = F.feed_forward(x, one, None, one, None)
    assert np.isnan(y.detach().numpy()).all()  # 0 NaN in the second product


def test_mixed_dtypes_promote():
    arrays = drawn("float32")
    arrays[2] = arrays[2].astype("float64")
    given = leaves(arrays)
    y = F.feed_forward(*given)
    assert y.dtype == "float64"
    y.sum().backward()
    assert [v.grad.dtype for v in given] == ["float32", "float32", "float64", "float32", "float32"]


def test_autocast_computes_in_half_and_returns_full_gradients():
    given = leaves(drawn("float32"))
    with ge.amp.autocast("bfloat16", device="cpu"):
        y = F.feed_forward(*given, "gelu_tanh")
        expected = three_ops(*given, "gelu_tanh")
    assert y.dtype == expected.dtype == DTYPES["bfloat16"]
    agree([y], [expected], "bfloat16")
    y.sum().backward()
    assert all(v.grad.dtype == "float32" for v in given)


@pytest.mark.parametrize(
    ("changed", "shape"), [(0, (2, 5)), (1, (9, 5)), (2, (8,)), (3, (4, 8)), (4, (1,)), (0, ())]
)
def test_sizes_that_differ_are_named(changed, shape):
    arrays = drawn()
    arrays[changed] = np.zeros(shape)
    with pytest.raises(ShapeError, match=r"feed_forward: x .*w1 .*w2 .*do not fit\n.*hint: x is"):
        F.feed_forward(*leaves(arrays))


def test_another_activation_is_refused():
    with pytest.raises(OutOfRangeError, match=r"'tanh'\n.*give \"relu\" or \"gelu_tanh\""):
        F.feed_forward(*leaves(drawn()), "tanh")


# --- on the device -------------------------------------------------------------------------------


@pytest.fixture(name="library")
def the_library():
    chosen = HostGemm()
    with standin(), gemm.using(chosen):
        yield chosen


@needs_emulator
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_six_products_and_nothing_else(library, dtype, activation):
    arrays = drawn(dtype)
    given = leaves(arrays, "cuda")
    seed = ge.ones((2, 5, 4), dtype=DTYPES[dtype], device="cuda")
    with kernels.launched() as trace:
        y = F.feed_forward(*given, activation)
        assert [p.epilogue for p in library.products] == [
            f"{'gelu' if 'gelu' in activation else 'relu'}_aux_bias",
            "bias",
        ]
        library.products.clear()
        y.backward(seed)
    name = "gelu" if "gelu" in activation else "relu"
    assert sorted(p.epilogue for p in library.products) == sorted(
        [f"d{name}_bgrad", "none", "none", "bgradb"]
    )
    assert trace.kernels == []
    assert trace.formulas == []
    host = leaves(arrays)
    expected = F.feed_forward(*host, activation)
    expected.backward(ge.ones((2, 5, 4), dtype=DTYPES[dtype]))
    agree([y, *(v.grad for v in given)], [expected, *(v.grad for v in host)], dtype)


@needs_emulator
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_inference_keeps_nothing_on_the_device(library, activation):
    with ge.no_grad():
        y = F.feed_forward(*leaves(drawn(), "cuda"), activation)
    name = "gelu" if "gelu" in activation else "relu"
    assert [p.epilogue for p in library.products] == [f"{name}_bias", "bias"]
    agree([y], [F.feed_forward(*leaves(drawn()), activation)], "float64")


@needs_emulator
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fewer_products_where_less_is_needed(library, activation):
    for needed, count in (({4}, 0), ({3}, 1), ({3, 4}, 1), ({2}, 1), ({0}, 2), ({1, 2}, 2)):
        given = [
            ge.tensor(x, device="cuda", requires_grad=j in needed) for j, x in enumerate(drawn())
        ]
        y = F.feed_forward(*given, activation)
        library.products.clear()
        y.backward(ge.ones((2, 5, 4), dtype="float64", device="cuda"))
        assert len(library.products) == count, needed
        host = [ge.tensor(x, requires_grad=j in needed) for j, x in enumerate(drawn())]
        F.feed_forward(*host, activation).sum().backward()
        chosen = sorted(needed)
        agree([given[i].grad for i in chosen], [host[i].grad for i in chosen], "float64")


@needs_emulator
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_derivatives_on_the_device(library, activation):
    found = []
    for device in ("cuda", "cpu"):
        given = leaves(drawn(), device)
        y = F.feed_forward(*given, activation)
        grads = ge.autograd.grad((y * y).sum(), given, create_graph=True)
        total = sum(((g * g).sum() for g in grads[1:]), (grads[0] ** 2).sum())
        found.append(ge.autograd.grad(total, given, allow_unused=True))
    agree(*found, "float64")


class Refusing(HostGemm):
    """A library without an algorithm for products whose epilogue holds a word."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def run(self, product, pointers, **how):
        if self.word in product.epilogue:
            raise UnsupportedError(f"has no algorithm for {product}")
        super().run(product, pointers, **how)


@needs_emulator
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("word", ["aux", "bgrad", None], ids=["forward", "back", "no library"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_formula_takes_the_place_of_what_is_refused(activation, word, dtype):
    """Whichever side is refused, the other reads from the room what it would have kept itself."""
    arrays = drawn(dtype, ((3, 6), (9, 6), (9,), (4, 9), (4,)))
    chosen = None if word is None else Refusing(word)
    with standin(), gemm.using(chosen), kernels.launched() as trace:
        found = both_ways(lambda *v: F.feed_forward(*v, activation), arrays, "cuda")
        agree(found, both_ways(lambda *v: F.feed_forward(*v, activation), arrays), dtype)
    fell = [name for name in trace.formulas if name.startswith("feed_forward")]
    expected = {"aux": ["feed_forward"], "bgrad": ["feed_forward vjp"]}
    assert fell == expected.get(word, ["feed_forward", "feed_forward vjp"])


# --- in a transformer ----------------------------------------------------------------------------


def layer_of(activation, dropout=0.0, kind=nn.TransformerEncoderLayer):
    ge.manual_seed(0)
    return kind(8, 2, 16, dropout, activation, batch_first=True, dtype="float64")


def calls_in(function, monkeypatch):
    from gradengine.nn import transformer

    count = []
    inner = transformer.feed_forward
    with monkeypatch.context() as patch:
        patch.setattr(transformer, "feed_forward", lambda *v: count.append(v[-1]) or inner(*v))
        y = function()
    return count, y


FUSED = [
    ("relu", "relu"),
    (F.relu, "relu"),
    (nn.ReLU(), "relu"),
    (partial(F.gelu, approximate="tanh"), "gelu_tanh"),
    (nn.GELU("tanh"), "gelu_tanh"),
]


@pytest.mark.parametrize(("activation", "name"), FUSED, ids=lambda v: str(v)[:20])
def test_a_transformer_layer_uses_it(activation, name, monkeypatch):
    x = ge.tensor(np.random.default_rng(0).normal(size=(2, 3, 8)))
    layer = layer_of(activation)
    count, y = calls_in(lambda: layer(x), monkeypatch)
    assert count == [name]
    layer.linear1.register_forward_hook(lambda *_: None)
    count, plain = calls_in(lambda: layer(x), monkeypatch)
    assert count == []
    agree([y], [plain], "float64")
    decoder = layer_of(activation, kind=nn.TransformerDecoderLayer)
    assert calls_in(lambda: decoder(x, x), monkeypatch)[0] == [name]


@pytest.mark.parametrize(
    "activation", ["gelu", F.silu, nn.GELU(), partial(F.gelu), partial(F.relu, inplace=True)]
)
def test_other_activations_are_three_calls(activation, monkeypatch):
    x = ge.tensor(np.random.default_rng(0).normal(size=(2, 3, 8)))
    assert calls_in(lambda: layer_of(activation)(x), monkeypatch)[0] == []


def test_dropout_between_the_layers_keeps_them_apart(monkeypatch):
    x = ge.tensor(np.random.default_rng(0).normal(size=(2, 3, 8)))
    layer = layer_of("relu", 0.5)
    assert calls_in(lambda: layer(x), monkeypatch)[0] == []
    assert calls_in(lambda: layer.eval()(x), monkeypatch)[0] == ["relu"]


def test_layers_that_were_exchanged_are_called(monkeypatch):
    class Own(nn.Linear):
        def forward(self, input):
            return super().forward(input) * 2

    x = ge.tensor(np.random.default_rng(0).normal(size=(2, 3, 8)))
    layer = layer_of("relu")
    layer.linear2 = Own(16, 8, dtype="float64")
    assert calls_in(lambda: layer(x), monkeypatch)[0] == []
    layer = layer_of("relu")
    layer.linear1.forward = lambda x: F.linear(x, layer.linear1.weight)
    assert calls_in(lambda: layer(x), monkeypatch)[0] == []
    layer = layer_of("relu")
    nn.utils.parametrizations.weight_norm(layer.linear1)
    assert calls_in(lambda: layer(x), monkeypatch)[0] == []
