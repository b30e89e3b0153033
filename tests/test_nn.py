"""Modules: the tree and its names, layers against their formulas and PyTorch, where errors are."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.testing import check_grads


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


class Branch(nn.Module):
    """Parameters and modules in attributes, lists, tuples and dicts."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(3))
        self.layers = [
            nn.Linear(3, 3, generator=seeded()),
            nn.Sequential(nn.Tanh(), nn.Linear(3, 2)),
        ]
        self.named = {"gate": nn.Linear(2, 1), "extra": (nn.Parameter(np.zeros(1)), "text", 3)}
        self.again = self.layers[0]
        self.constant = ge.tensor([1.0])
        self.nothing = None

    def forward(self, x):
        for layer in self.layers:
            x = layer(x * self.scale)
        return self.named["gate"](x)


# --- the tree ------------------------------------------------------------------------------------


def test_names_follow_the_attributes_and_each_is_listed_once():
    assert [name for name, _ in Branch().named_parameters()] == [
        "scale",
        "named.extra.0",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.1.weight",
        "layers.1.1.bias",
        "named.gate.weight",
        "named.gate.bias",
    ]
    assert [name for name, _ in Branch().named_modules()] == [
        "",
        "layers.0",
        "layers.1",
        "layers.1.0",
        "layers.1.1",
        "named.gate",
    ]


def test_a_parameter_is_a_leaf_that_asks_for_a_gradient():
    parameter = nn.Parameter(np.ones((2, 3), np.float32))
    assert isinstance(parameter, ge.Tensor)
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.dtype == np.float32
    assert type(parameter * 2) is ge.Tensor
    assert "Parameter" in repr(parameter)


def test_a_module_that_contains_itself_ends():
    branch = Branch()
    branch.parent = branch
    assert len(list(branch.named_modules())) == 6


def test_train_eval_zero_grad_and_freezing():
    branch = Branch()
    assert branch.eval() is branch
    assert not any(module.training for _, module in branch.named_modules())
    branch.train()
    assert all(module.training for _, module in branch.named_modules())
    x = ge.tensor(rng().normal(size=(4, 3)))
    branch(x).sum().backward()
    with_gradient = {name for name, p in branch.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in branch.named_parameters()} - {"named.extra.0"}
    branch.zero_grad()
    assert all(parameter.grad is None for parameter in branch.parameters())
    branch.requires_grad_(False)
    assert not branch(x).requires_grad
    assert branch.requires_grad_(True)(x).requires_grad


def test_to_moves_and_converts_in_place():
    layer = nn.Linear(3, 2, generator=seeded())
    weight = layer.weight
    assert layer.to("cpu") is layer
    assert layer.to(dtype=np.float64) is layer
    assert layer.weight is weight
    assert weight.dtype == np.float64
    assert layer(ge.zeros((1, 3), dtype=np.float64)).dtype == np.float64


def test_repr_is_a_tree():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2, bias=False)))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Linear(in_features=3, out_features=2, bias=False)\n"
        "  )\n"
        ")"
    )
    assert len(model) == 2
    assert isinstance(model[-1], nn.Sequential)


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


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Tanh(), np.tanh),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_activations(layer, formula):
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(layer(ge.tensor(x)).numpy(), formula(x), rtol=1e-15, atol=1e-16)


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


# --- where an error happened ---------------------------------------------------------------------


def notes(error: BaseException) -> list[str]:
    return [note for note in error.__notes__ if note.startswith("in ")]


def test_an_error_names_the_module_it_came_from():
    branch = Branch()
    branch.layers[1] = nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(7, 2)))
    with pytest.raises(ge.ShapeError) as caught:
        branch(ge.zeros((2, 3)))
    assert notes(caught.value) == [
        "in Branch.layers.1.1.0 (Linear in_features=7, out_features=2, bias=True)"
    ]


def test_the_path_is_that_of_the_thread_that_failed():
    found: list[str] = []

    def work(width: int) -> None:
        model = nn.Sequential(*[nn.Tanh() for _ in range(width)], nn.Linear(2, 1))
        for _ in range(20):
            with pytest.raises(ge.ShapeError) as caught:
                model(ge.zeros((1, 3)))
            found.extend(notes(caught.value))

    threads = [threading.Thread(target=work, args=(width,)) for width in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted({note.split()[1] for note in found}) == ["Sequential.1", "Sequential.3"]
    assert len(found) == 40


def test_a_caught_error_leaves_no_trace():
    class Fallback(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(7, 2), nn.Linear(3, 2)

        def forward(self, x):
            try:
                return self.first(x)
            except ge.ShapeError:
                return self.second(x)

    assert Fallback()(ge.zeros((1, 3))).shape == (1, 2)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(AttributeError, match="forward"):
        Empty()(1)
