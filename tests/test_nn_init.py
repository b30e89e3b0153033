"""nn.init: sizes, bounds and structure of what is drawn, seeds, what a write does, and mistakes."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn import init


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


# --- how large ---


@pytest.mark.parametrize("param", [None, 0.2, 1])
@pytest.mark.parametrize(
    "name",
    ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
     "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"],
)  # fmt: skip
def test_gains_are_pytorchs(name, param):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize(
    ("draw", "std", "bounded"),
    [
        (init.xavier_uniform_, math.sqrt(2 / 700), True),
        (lambda w, **kw: init.xavier_uniform_(w, 3.0, **kw), 3 * math.sqrt(2 / 700), True),
        (init.xavier_normal_, math.sqrt(2 / 700), False),
        (init.kaiming_uniform_, math.sqrt(2 / 400), True),
        (lambda w, **kw: init.kaiming_uniform_(w, 5**0.5, **kw), math.sqrt(1 / 1200), True),
        (lambda w, **kw: init.kaiming_uniform_(w, mode="fan_out", **kw), math.sqrt(2 / 300), True),
        (lambda w, **kw: init.kaiming_normal_(w, nonlinearity="tanh", **kw), 5 / 60, False),
        (init.kaiming_normal_, math.sqrt(2 / 400), False),
    ],
)
def test_weights_have_the_size_that_fans_ask_for(draw, std, bounded):
    weight = ge.zeros((300, 400))
    assert draw(weight, generator=seeded()) is weight
    drawn = weight.numpy()
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < std / 100
    assert drawn.std() == pytest.approx(std, rel=0.01)
    largest = abs(drawn).max() / std
    assert largest == pytest.approx(math.sqrt(3), rel=1e-3) if bounded else largest > 4


def test_windows_count_in_the_fans():
    assert init.fans((64, 3, 5, 5)) == (75, 1600)
    weight = init.kaiming_normal_(ge.zeros((64, 32, 3, 3)), generator=seeded())
    assert weight.numpy().std() == pytest.approx(math.sqrt(2 / 288), rel=0.02)


def test_uniform_and_normal():
    u = init.uniform_(ge.zeros(100_000, dtype="float64"), -1.0, 3.0, seeded()).numpy()
    assert -1 <= u.min() < -0.99
    assert 2.99 < u.max() <= 3
    assert u.mean() == pytest.approx(1, abs=0.02)
    z = init.normal_(ge.zeros(100_000), 2.0, 0.5, seeded()).numpy()
    assert z.mean() == pytest.approx(2, abs=0.01)
    assert z.std() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    "given", [(0, 1, -2, 2), (1, 0.5, 0, 1.2), (0, 1, 6, 7), (0, 1, -7, -6), (3, 2, -9, 30)]
)
def test_truncated_normal_has_the_moments_of_its_density(given):
    mean, std, a, b = given
    found = init.trunc_normal_(ge.zeros(50_000, dtype="float64"), *given, seeded()).numpy()
    assert a <= found.min()
    assert found.max() <= b
    x = np.linspace(a, b, 200_001)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2)
    density /= density.sum()
    centre = (x * density).sum()
    spread = math.sqrt(((x - centre) ** 2 * density).sum())
    assert found.mean() == pytest.approx(centre, abs=spread / 50)
    assert found.std() == pytest.approx(spread, rel=0.02)


# --- with structure ---


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (4, 2, 3), (6, 1, 2, 2), (1, 4)])
def test_orthogonal_rows_or_columns(shape):
    w = init.orthogonal_(ge.zeros(shape, dtype="float64"), 2.0, seeded()).numpy()
    w = w.reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_matrices_favour_no_sign():
    """Q of a QR decomposition alone has a biased diagonal; with R's signs it has not."""
    generator = seeded()
    drawn = [init.orthogonal_(ge.zeros((2, 2)), generator=generator).numpy() for _ in range(400)]
    assert abs(np.mean(drawn, axis=0)).max() < 0.15
    assert {round(float(np.linalg.det(w))) for w in drawn} == {-1, 1}


def test_sparse_columns():
    w = init.sparse_(ge.zeros((10, 200)), 0.33, std=2.0, generator=seeded()).numpy()
    assert ((w == 0).sum(axis=0) == 4).all()
    assert w[w != 0].std() == pytest.approx(2, rel=0.1)
    assert len({tuple(column) for column in (w == 0).T}) > 50  # not the same rows everywhere
    assert not init.sparse_(ge.ones((3, 2)), 1.0).numpy().any()


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 4, 3), 1), ((3, 2, 3, 3), 1), ((4, 2, 3, 3, 4), 2), ((6, 4, 1), 3)]
)
def test_eye_and_dirac_are_pytorchs(shape, groups):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    theirs = torch.nn.init.dirac_(torch.ones(shape), groups).numpy()
    np.testing.assert_array_equal(init.dirac_(ge.ones(shape), groups).numpy(), theirs)
    matrix = shape[:2]
    theirs = torch.nn.init.eye_(torch.ones(matrix)).numpy()
    np.testing.assert_array_equal(init.eye_(ge.ones(matrix)).numpy(), theirs)


def test_a_dirac_convolution_copies():
    weight = init.dirac_(ge.zeros((3, 3, 3)))
    x = ge.tensor(np.random.default_rng(0).normal(size=(2, 3, 7)))
    y = nn.functional.conv1d(x, weight.double(), padding=1)
    np.testing.assert_array_equal(y.numpy(), x.numpy())


# --- seeds, dtypes, writes ---

FILL = {
    "uniform_": (init.uniform_, {}),
    "normal_": (init.normal_, {}),
    "trunc_normal_": (init.trunc_normal_, {}),
    "xavier_uniform_": (init.xavier_uniform_, {}),
    "xavier_normal_": (init.xavier_normal_, {}),
    "kaiming_uniform_": (init.kaiming_uniform_, {}),
    "kaiming_normal_": (init.kaiming_normal_, {}),
    "orthogonal_": (init.orthogonal_, {}),
    "sparse_": (init.sparse_, {"sparsity": 0.25}),
}
CONSTANT = {
    "constant_": (init.constant_, {"val": 2.0}),
    "ones_": (init.ones_, {}),
    "zeros_": (init.zeros_, {}),
    "eye_": (init.eye_, {}),
}


def test_every_name_of_pytorchs_is_here():
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    names = {n for n in dir(torch.nn.init) if n.endswith("_") and not n.startswith("_")}
    assert names == {*FILL, *CONSTANT, "dirac_"}


@pytest.mark.parametrize("name", FILL)
def test_one_seed_gives_one_weight(name):
    fill, options = FILL[name]
    first, same, other = (
        fill(ge.zeros((4, 5)), generator=seeded(seed), **options).numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    ge.manual_seed(1)
    np.testing.assert_array_equal(fill(ge.zeros((4, 5)), **options).numpy(), first)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", [*FILL, *CONSTANT])
def test_dtype_and_leaf_are_kept(name, dtype):
    fill, options = (FILL | CONSTANT)[name]
    weight = nn.Parameter(np.full((4, 5), 7.0).astype(dtype))
    assert fill(weight, **options) is weight
    assert weight.dtype == dtype
    assert weight.is_leaf
    assert weight.requires_grad
    assert (weight.detach().numpy() != 7).all()


@pytest.mark.parametrize("name", [n for n in FILL if n not in ("sparse_",)])
def test_no_elements_are_no_mistake(name):
    fill, options = FILL[name]
    assert fill(ge.zeros((0, 3)), **options).shape == (0, 3)


def test_what_the_tape_has_saved_stays():
    weight = nn.Parameter(np.array([[2.0, 3.0]]))
    y = (weight * weight).sum()
    init.ones_(weight)
    assert weight.tolist() == [[1.0, 1.0]]
    (gradient,) = ge.autograd.grad(y, [weight])
    assert gradient.tolist() == [[4.0, 6.0]]


def test_a_part_of_a_weight_can_be_filled():
    weight = ge.zeros((3, 4))
    init.ones_(weight[1])
    assert weight.sum(axis=1).tolist() == [0.0, 4.0, 0.0]
    parameter = nn.Parameter(np.zeros((3, 4)))
    with ge.no_grad():
        init.constant_(parameter[2], 5.0)
    assert parameter.detach().sum(axis=1).tolist() == [0.0, 0.0, 20.0]


def test_a_seeded_model_trains_on_what_init_wrote():
    layer = nn.Linear(3, 2)
    init.zeros_(layer.bias)
    init.eye_(layer.weight)
    layer(ge.ones((1, 3))).sum().backward()
    assert layer.weight.grad.tolist() == [[1.0] * 3] * 2


# --- mistakes ---


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: init.kaiming_normal_(ge.zeros(3)), ge.ShapeError, r"two axes .* shape \(3,\)"),
        (lambda: init.orthogonal_(ge.zeros(3)), ge.ShapeError, r"\(3,\) has no matrix"),
        (lambda: init.eye_(ge.zeros((2, 2, 2))), ge.ShapeError, r"\(2, 2, 2\) has 3 axes, not 2"),
        (lambda: init.dirac_(ge.zeros((2, 2))), ge.ShapeError, "2 axes, not 3 or 4 or 5"),
        (lambda: init.dirac_(ge.zeros((3, 2, 2)), 2), ge.ShapeError, "3 output channels in 2"),
        (lambda: init.sparse_(ge.zeros(3), 0.5), ge.ShapeError, "1 axes, not 2"),
        (lambda: init.sparse_(ge.zeros((3, 3)), 1.5), IndexError, "sparsity=1.5"),
        (lambda: init.uniform_(ge.zeros(3), 2.0, 1.0), IndexError, r"a=2.0 is above b=1.0"),
        (lambda: init.trunc_normal_(ge.zeros(3), std=0.0), IndexError, "std=0.0"),
        (lambda: init.normal_(ge.zeros(3), std=-1.0), IndexError, "std=-1.0 is negative"),
        (lambda: init.uniform_(ge.zeros(3, dtype="int64")), ge.DTypeError, "int64"),
        (lambda: init.ones_(np.zeros(3)), ge.DTypeError, "ones_: ndarray is no Tensor"),
        (lambda: init.calculate_gain("swish"), ValueError, "nonlinearity='swish' is unknown"),
        (lambda: init.kaiming_normal_(ge.zeros((2, 2)), mode="in"), ValueError, "mode='in'"),
    ],
)
def test_mistakes_say_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "hint: " in str(caught.value)


# --- drawn anew ---

SIZES = {
    "Linear": (3, 4), "Bilinear": (3, 2, 4), "Conv2d": (2, 4, 3), "ConvTranspose1d": (4, 2, 3),
    "LSTM": (3, 4, 2), "GRU": (3, 4), "RNNCell": (3, 4), "LSTMCell": (3, 4), "Embedding": (5, 3),
    "EmbeddingBag": (5, 3), "AdaptiveLogSoftmaxWithLoss": (8, 6, [2]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SIZES))
def test_parameters_are_drawn_anew_as_the_constructor_drew_them(name):
    first, other = (getattr(nn, name)(*SIZES[name], generator=seeded(i)) for i in (3, 4))
    pairs = list(zip(first.parameters(), other.parameters(), strict=True))
    assert not any(np.array_equal(p.numpy(), q.numpy()) for p, q in pairs)
    other.reset_parameters(seeded(3))
    assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in pairs)


def test_prelu_goes_back_to_where_it_started():
    layer = nn.PReLU(3, init=0.5)
    with ge.no_grad():
        layer.weight.mul_(2.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.5, 0.5, 0.5]


def test_whatever_pytorch_resets_can_be_reset():
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    known = [
        name for name in nn.__all__ if hasattr(getattr(torch.nn, name, None), "reset_parameters")
    ]
    assert len(known) > 25
    assert [name for name in known if not hasattr(getattr(nn, name), "reset_parameters")] == []
