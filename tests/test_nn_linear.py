"""Linear, Bilinear, Identity, Flatten, Unflatten: formulas, seeds, and what a user gets wrong."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.testing import check_grads


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_its_formula(shape, bias):
    layer = nn.Linear(3, 2, bias=bias, generator=seeded(), dtype=np.float64)
    x = rng().normal(size=shape)
    expected = x @ layer.weight.numpy().T + (layer.bias.numpy() if bias else 0)
    np.testing.assert_allclose(layer(ge.tensor(x)).numpy(), expected, rtol=1e-14)


def test_linear_has_the_right_gradients():
    layer = nn.Linear(3, 2, generator=seeded(), dtype=np.float64)

    def run(x, weight, bias):
        return ge.tanh(nn.functional_call(layer, {"weight": weight, "bias": bias}, x))

    arrays = [rng().normal(size=shape) for shape in ((4, 3), (2, 3), (2,))]
    check_grads(run, [ge.tensor(array) for array in arrays], order=2)


def test_a_network_agrees_with_pytorch():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 4),
        torch.nn.Tanh(),
        torch.nn.Linear(4, 3),
    )
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.shape == tuple(other.shape)
        other.data = torch.tensor(mine.numpy().copy())
    x, labels = rng().normal(size=(8, 6)).astype(np.float32), np.arange(8) % 3
    loss = ge.cross_entropy(ours(ge.tensor(x)), ge.tensor(labels))
    reference = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
    loss.backward()
    reference.backward()
    np.testing.assert_allclose(loss.item(), reference.item(), rtol=1e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=2e-5, atol=1e-7)


# --- initial weights -----------------------------------------------------------------------------


def test_one_seed_gives_one_network():
    first, second = nn.Linear(5, 4, generator=seeded()), nn.Linear(5, 4, generator=seeded())
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    np.testing.assert_array_equal(first.bias.numpy(), second.bias.numpy())
    other = nn.Linear(5, 4, generator=seeded(1))
    assert (other.weight.numpy() != first.weight.numpy()).all()
    assert abs(first.weight.numpy()).max() <= 5**-0.5


def test_the_default_generator_is_the_one_that_is_seeded_by_hand():
    ge.manual_seed(3)
    first = nn.Linear(5, 4).weight.numpy()
    ge.manual_seed(3)
    np.testing.assert_array_equal(nn.Linear(5, 4).weight.numpy(), first)


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ge.ShapeError, match="Linear: in_features=0"):
        nn.Linear(0, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    linear, bilinear = nn.Linear(3, 2, dtype=dtype), nn.Bilinear(3, 3, 2, dtype=dtype)
    x = ge.ones((4, 3), dtype=dtype)
    for y in (linear(x), bilinear(x, x)):
        assert y.dtype.name == dtype
        y.sum().backward()
    assert linear.weight.grad.dtype.name == bilinear.weight.grad.dtype.name == dtype


def test_the_bounds_of_bilinear_are_those_of_its_first_input():
    weight = nn.Bilinear(100, 20, 10, generator=seeded()).weight.numpy()
    assert 0.099 < abs(weight).max() <= 0.1


def test_parameters_may_be_drawn_again():
    layer = nn.Linear(3, 2, generator=seeded())
    weight, before = layer.weight, layer.weight.numpy().copy()
    layer.reset_parameters(seeded(1))
    assert layer.weight is weight
    assert (weight.numpy() != before).all()
    layer.reset_parameters(seeded())
    np.testing.assert_array_equal(weight.numpy(), before)


# --- what a user gets wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (nn.Linear(3, 2), [(4, 5)], r"linear: .*\(4, 5\).*\(2, 3\)"),
        (nn.Bilinear(3, 4, 2), [(5, 3), (5, 5)], r"\(5, 3\), input2 \(5, 5\), weight \(2, 3, 4\)"),
        (nn.Bilinear(3, 4, 2), [(5, 3), (6, 4)], r"\(5, 3\), input2 \(6, 4\)"),
        (nn.Flatten(2, 1), [(4, 5, 6)], r"Flatten: axis 2 comes after 1 in shape \(4, 5, 6\)"),
        (nn.Flatten(3), [(4, 5)], r"Flatten: axis 3 of shape \(4, 5\)"),
        (
            nn.Unflatten(1, (2, 2)),
            [(4, 6)],
            r"axis 1 of shape \(4, 6\) does not split into \(2, 2\)",
        ),
        (nn.Unflatten(1, (4, -1)), [(4, 6)], r"does not split into \(4, -1\)"),
        (nn.Unflatten(1, (0, -1)), [(4, 0)], r"does not split into \(0, -1\)"),
        (nn.Unflatten(2, (3, 2)), [(4, 6)], r"Unflatten: axis 2 of shape \(4, 6\)"),
    ],
)
def test_shapes_that_do_not_fit(layer, shapes, message):
    with pytest.raises(ge.ShapeError, match=f"(?s){message}.*hint: "):
        layer(*map(ge.zeros, shapes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 0),
        lambda: nn.Bilinear(3, 0, 2),
        lambda: nn.Unflatten(1, ()),
        lambda: nn.Unflatten(1, (-1, -1)),
        lambda: nn.Unflatten(1, (-2, 3)),
    ],
)
def test_sizes_that_cannot_be(make):
    with pytest.raises(ge.ShapeError, match="hint: "):
        make()
