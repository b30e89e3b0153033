"""nn.utils: clipping, vectors, parametrizations and sequences of different lengths."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import GraphError, MemberError, OutOfRangeError, ShapeError
from gradengine.nn import utils
from gradengine.nn.utils import parametrizations, parametrize
from gradengine.nn.utils import rnn as sequences
from gradengine.testing import check_grads

torch = pytest.importorskip("torch", reason="values are compared with PyTorch's")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def with_gradients(*values: np.ndarray) -> tuple[list, list]:
    """Parameters of both libraries whose gradients are `values`, and one without a gradient."""
    mine = [nn.Parameter(np.zeros_like(x)) for x in values] + [nn.Parameter([1.0])]
    theirs = [torch.nn.Parameter(torch.zeros(x.shape, dtype=torch.float64)) for x in values]
    for p, q, x in zip(mine, theirs, values, strict=False):
        p.grad, q.grad = ge.tensor(x), torch.from_numpy(x.copy())
    return mine, theirs


# --- clipping ---


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_gradients_are_clipped_by_their_common_norm(norm_type, max_norm):
    mine, theirs = with_gradients(draw(2, 3), draw(4, seed=1))
    found = utils.clip_grad_norm_(mine, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    for p, q in zip(mine, theirs, strict=False):
        assert np.allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12, atol=0)
    assert mine[-1].grad is None


def test_a_nonfinite_norm_raises_only_if_asked_and_changes_nothing():
    mine, _ = with_gradients(np.array([1.0, math.inf]))
    with pytest.raises(GraphError, match=r"norm of order 2\.0 is inf"):
        utils.clip_grad_norm_(mine, 1.0, error_if_nonfinite=True)
    assert mine[0].grad.tolist() == [1.0, math.inf]
    assert math.isinf(utils.clip_grad_norm_(mine, 1.0).item())


def test_half_gradients_are_summed_in_float32():
    p = nn.Parameter(ge.zeros(70_000, dtype="float16"))
    p.grad = ge.full((70_000,), 1.0, dtype="float16")
    assert utils.clip_grad_norm_(p, 1.0).item() == pytest.approx(70_000**0.5, rel=1e-5)
    assert p.grad.dtype == np.float16


def test_the_norm_type_must_be_positive():
    with pytest.raises(OutOfRangeError, match="norm_type=0"):
        utils.get_total_norm([ge.ones(2)], 0)
    assert utils.get_total_norm([]).item() == 0
    with pytest.raises(TypeError, match=r"tensors\[1\] is None(.|\n)*without a gradient"):
        utils.get_total_norm([ge.ones(2), None])


def test_clipping_with_a_norm_that_is_known():
    mine, theirs = with_gradients(draw(3))
    utils.clip_grads_with_norm_(mine, 0.5, ge.tensor(2.0))
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.5, torch.tensor(2.0))
    assert np.allclose(mine[0].grad.numpy(), theirs[0].grad.numpy(), rtol=1e-6)


def test_gradients_are_clipped_by_value():
    mine, theirs = with_gradients(draw(2, 3), draw(4, seed=1))
    utils.clip_grad_value_(mine, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for p, q in zip(mine, theirs, strict=False):
        assert np.array_equal(p.grad.numpy(), q.grad.numpy())


# --- vectors ---


def test_parameters_become_a_vector_and_come_back():
    model = nn.Linear(3, 2)
    vector = utils.parameters_to_vector(model.parameters())
    (vector**2).sum().backward()
    assert np.allclose(model.weight.grad.numpy(), 2 * model.weight.detach().numpy())
    weight = model.weight
    utils.vector_to_parameters(ge.arange(8.0), model.parameters())
    assert model.weight is weight
    assert model.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert model.bias.tolist() == [6, 7]


def test_a_vector_of_another_size_changes_nothing():
    model = nn.Linear(3, 2)
    before = model.weight.tolist()
    with pytest.raises(ShapeError, match=r"vector \(7,\) for 8 elements"):
        utils.vector_to_parameters(ge.zeros(7), model.parameters())
    assert model.weight.tolist() == before


# --- weight norm and spectral norm, against PyTorch ---

LAYERS = {"Linear": ((3, 2), (4, 3)), "Conv1d": ((2, 3, 2), (1, 2, 4))}
WAYS = {
    "weight_norm": ({}, {"dim": None}, {"dim": 1}),
    "spectral_norm": ({}, {"n_power_iterations": 3}, {"dim": 1}, {"eps": 0.1}),
}


def pairs() -> list:
    return [
        pytest.param(
            name, way, options, old, id=f"{name}-{way}-{options}-{'old' if old else 'new'}"
        )
        for name in LAYERS
        for way, all_options in WAYS.items()
        for options in all_options
        for old in (False, True)
    ]


def converted(library, name, way, options, old):
    layer = getattr(library, name)(*LAYERS[name][0]).double()
    home = library.utils if old else library.utils.parametrizations
    return getattr(home, way)(layer, **options)


@pytest.mark.parametrize(("name", "way", "options", "old"), pairs())
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_normed_weight_is_pytorchs(name, way, options, old):
    mine = converted(nn, name, way, options, old)
    theirs = converted(torch.nn, name, way, options, old)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    x = draw(*LAYERS[name][1])
    for training in (True, False, True):
        mine.train(training)
        theirs.train(training)
        y, z = mine(ge.tensor(x)), theirs(torch.from_numpy(x))
        assert np.allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-12)
    mine.zero_grad()
    theirs.zero_grad()
    (y**2).sum().backward()
    (z**2).sum().backward()
    for (k, p), (_, q) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert np.allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-10), k
    for p, q in zip(mine.buffers(), theirs.buffers(), strict=True):
        assert np.allclose(p.numpy(), q.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("old", [False, True])
def test_a_normed_weight_is_right_to_second_order(way, old):
    model = converted(nn, "Linear", way, {}, old).eval()
    names = [name for name, _ in model.named_parameters()]
    values = [p.detach().numpy() for p in model.parameters()]
    check_grads(
        lambda x, *given: nn.functional_call(model, dict(zip(names, given, strict=True)), (x,)),
        [draw(2, 3), *values],
    )


@pytest.mark.parametrize("way", list(WAYS))
def test_removing_a_norm_keeps_the_value(way):
    for old in (False, True):
        model = converted(nn, "Linear", way, {}, old).eval()
        before = model(ge.ones((1, 3), dtype="float64")).detach().numpy()
        if old:
            getattr(utils, f"remove_{way}")(model)
        else:
            parametrize.remove_parametrizations(model, "weight")
        assert sorted(model.state_dict()) == ["bias", "weight"]
        assert isinstance(model.weight, nn.Parameter)
        assert type(model) is nn.Linear
        after = model(ge.ones((1, 3), dtype="float64")).detach().numpy()
        assert np.allclose(after, before, rtol=1e-12)
        with pytest.raises(MemberError):
            getattr(utils, f"remove_{way}")(model)


def test_spectral_norm_gives_the_largest_singular_value_one():
    layer = parametrizations.spectral_norm(nn.Linear(5, 4), n_power_iterations=50)
    layer(ge.zeros((1, 5)))
    weight = layer.eval().weight.detach().numpy()
    assert np.linalg.norm(weight, 2) == pytest.approx(1, rel=1e-3)


def test_spectral_norm_of_a_vector_is_its_direction():
    module = nn.Module()
    module.weight = nn.Parameter([3.0, 4.0])
    parametrizations.spectral_norm(module)
    assert module.weight.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("home", [utils, parametrizations])
def test_a_norm_of_no_parameter_names_those_there_are(way, home):
    with pytest.raises(MemberError, match=r"Linear has no parameter 'weights'"):
        getattr(home, way)(nn.Linear(2, 2), "weights")


@pytest.mark.parametrize("home", [utils, parametrizations])
def test_spectral_norm_needs_a_power_iteration(home):
    with pytest.raises(OutOfRangeError, match="n_power_iterations=0"):
        home.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)


# --- parametrizations in general ---


class Symmetric(nn.Module):
    def forward(self, x):
        return (x + x.T) / 2


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def test_parametrizations_are_applied_one_after_the_other():
    layer = nn.Linear(3, 3)
    start = layer.weight.detach().numpy().copy()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    parametrize.register_parametrization(layer, "weight", Doubled())
    assert np.allclose(layer.weight.detach().numpy(), start + start.T)
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, nn.Linear)
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    layer(ge.ones((1, 3))).sum().backward()
    grad = layer.parametrizations["weight"].original.grad.numpy()
    assert np.allclose(grad, 2 * np.ones((3, 3)))
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert np.allclose(layer.weight.detach().numpy(), start)
    assert not parametrize.is_parametrized(layer)


def test_a_copy_keeps_its_parametrizations():
    layer = parametrizations.weight_norm(nn.Linear(2, 3))
    other = copy.deepcopy(layer)
    parametrize.register_parametrization(other, "bias", Doubled())
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert parametrize.is_parametrized(other, "weight")
    x = ge.ones((1, 2))
    assert np.allclose(other(x).numpy() - other.bias.numpy(), layer(x).numpy() - layer.bias.numpy())


def test_what_is_assigned_goes_back_to_the_originals():
    layer = parametrizations.weight_norm(nn.Linear(2, 3))
    wanted = ge.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]])
    layer.weight = wanted
    assert np.allclose(layer.weight.numpy(), wanted.numpy())
    assert layer.parametrizations.weight.original0.flatten().tolist() == [5.0, 1.0, 2.0]
    with pytest.raises(ShapeError, match=r"(?s)\(2, 2\) for a tensor \(3, 2\).*hint: "):
        layer.weight = ge.ones((2, 2))
    parametrize.register_parametrization(layer, "bias", Doubled())
    with pytest.raises(MemberError, match=r"(?s)Doubled has no right_inverse.*hint: "):
        layer.bias = ge.ones((3,))


def test_spectral_norm_knows_a_transposed_convolution_that_is_parametrized():
    layer = parametrizations.weight_norm(nn.ConvTranspose1d(3, 5, 2))
    parametrizations.spectral_norm(layer)
    assert layer.state_dict()["parametrizations.weight.1._u"].shape == (5,)


def test_two_tensors_of_one_module_are_parametrized_apart():
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    parametrize.register_parametrization(layer, "bias", Doubled())
    assert parametrize.is_parametrized(layer, "bias")
    parametrize.remove_parametrizations(layer, "weight")
    assert not parametrize.is_parametrized(layer, "weight")
    assert parametrize.is_parametrized(layer)
    other = nn.Linear(3, 3)
    assert not parametrize.is_parametrized(other)


def test_a_parametrization_that_changes_the_shape_is_refused():
    class Cut(nn.Module):
        def forward(self, x):
            return x[:1]

    layer = nn.Linear(3, 2)
    with pytest.raises(ShapeError, match=r"weight \(2, 3\) float32 becomes \(1, 3\)"):
        parametrize.register_parametrization(layer, "weight", Cut())
    assert list(layer.state_dict()) == ["weight", "bias"]
    parametrize.register_parametrization(layer, "weight", Cut(), unsafe=True)
    assert layer.weight.shape == (1, 3)
    with pytest.raises(ShapeError, match="becomes"):
        parametrize.register_parametrization(layer, "bias", Cut())


def test_removing_what_is_not_there_or_has_several_originals():
    layer = nn.Linear(2, 2)
    with pytest.raises(MemberError, match="plain tensor"):
        parametrize.remove_parametrizations(layer, "weight")
    parametrizations.weight_norm(layer)
    with pytest.raises(MemberError, match="several originals"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


# --- packed and padded sequences ---


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [[4, 2, 1], [1, 4, 3], [2, 2, 2]])
@pytest.mark.parametrize("total", [None, 5])
def test_packing_is_pytorchs_and_padding_its_inverse(batch_first, lengths, total):
    x = draw(3, 4, 2) if batch_first else draw(4, 3, 2)
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    mine = ge.tensor(x, requires_grad=True)
    options = {"batch_first": batch_first, "enforce_sorted": False}
    packed = sequences.pack_padded_sequence(mine, ge.tensor(lengths), **options)
    other = torch.nn.utils.rnn.pack_padded_sequence(theirs, torch.tensor(lengths), **options)
    assert packed.batch_sizes.tolist() == other.batch_sizes.tolist()
    if len(set(lengths)) == 3:  # ties may be sorted in any order
        assert np.array_equal(packed.data.detach().numpy(), other.data.detach().numpy())
        assert packed.sorted_indices.tolist() == other.sorted_indices.tolist()
        assert packed.unsorted_indices.tolist() == other.unsorted_indices.tolist()
    padded, found = sequences.pad_packed_sequence(packed, batch_first, -1.0, total)
    expected, counts = torch.nn.utils.rnn.pad_packed_sequence(other, batch_first, -1.0, total)
    assert np.array_equal(padded.detach().numpy(), expected.detach().numpy())
    assert found.tolist() == counts.tolist() == lengths
    (padded**2).sum().backward()
    (expected**2).sum().backward()
    assert np.allclose(mine.grad.numpy(), theirs.grad.numpy())


def test_lists_of_sequences():
    xs = [draw(2, 3), draw(4, 3, seed=1), draw(1, 3, seed=2)]
    mine, theirs = [ge.tensor(x) for x in xs], [torch.from_numpy(x) for x in xs]
    for options in ({}, {"batch_first": True, "padding_value": 7.0, "padding_side": "left"}):
        padded = sequences.pad_sequence(mine, **options)
        expected = torch.nn.utils.rnn.pad_sequence(theirs, **options)
        assert np.array_equal(padded.numpy(), expected.numpy())
    back = sequences.unpad_sequence(sequences.pad_sequence(mine), [2, 4, 1])
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(back, xs, strict=True))
    packed = sequences.pack_sequence(mine, enforce_sorted=False)
    other = torch.nn.utils.rnn.pack_sequence(theirs, enforce_sorted=False)
    assert np.array_equal(packed.data.numpy(), other.data.numpy())
    back = sequences.unpack_sequence(packed)
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(back, xs, strict=True))
    assert packed.to("float32").data.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "lengths", "error", "text"),
    [
        ((4, 2), [1, 2], OutOfRangeError, "not falling"),
        ((4, 2), [5, 2], OutOfRangeError, "sequences of 4 steps"),
        ((4, 2), [2, 0], OutOfRangeError, "from 1 to 4"),
        ((4, 2), [2], ShapeError, "batch of 2"),
        ((4, 2), [2.0, 1.0], ShapeError, "one integer for each"),
        ((4,), [2], ShapeError, "batch_first"),
    ],
)
def test_lengths_that_do_not_fit(shape, lengths, error, text):
    with pytest.raises(error, match=text):
        sequences.pack_padded_sequence(ge.zeros(shape), lengths)


def test_other_mistakes_with_sequences():
    packed = sequences.pack_padded_sequence(ge.zeros((3, 1)), [3])
    with pytest.raises(OutOfRangeError, match="total_length=2 for 3 steps"):
        sequences.pad_packed_sequence(packed, total_length=2)
    with pytest.raises(OutOfRangeError, match="padding_side='up'"):
        sequences.pad_sequence([ge.zeros(2)], padding_side="up")
    with pytest.raises(ShapeError, match="no sequences"):
        sequences.pad_sequence([])


# --- orthogonal weights ---


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (2, 4, 3)])
@pytest.mark.parametrize(
    ("kind", "trivial"), [("matrix_exp", True), ("householder", True), ("householder", False)]
)
def test_orthogonal_agrees_with_torch(shape, kind, trivial):
    """From one state: what is computed, its gradient, and to second order."""
    theirs, mine = torch.nn.Module(), nn.Module()
    theirs.weight = torch.nn.Parameter(torch.tensor(draw(*shape)))
    mine.weight = nn.Parameter(draw(*shape))
    options = {"orthogonal_map": kind, "use_trivialization": trivial}
    torch.nn.utils.parametrizations.orthogonal(theirs, **options)
    parametrizations.orthogonal(mine, **options)
    if shape[-2] == shape[-1] or not trivial:  # else the base is completed at random
        assert np.allclose(mine.weight.numpy(), theirs.weight.detach().numpy(), atol=1e-12)
    with torch.no_grad():
        theirs.parametrizations.weight.original += torch.tensor(np.tril(draw(*shape, seed=1), k=-1))
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    weigh = draw(*shape, seed=2)
    (mine.weight * weigh).sum().backward()
    (theirs.weight * torch.tensor(weigh)).sum().backward()
    assert np.allclose(mine.weight.numpy(), theirs.weight.detach().numpy(), atol=1e-12)
    grads = (m.parametrizations.weight.original.grad.numpy() for m in (mine, theirs))
    assert np.allclose(*grads, atol=1e-10)
    made = mine.parametrizations.weight
    check_grads(getattr(made, "0").forward, [ge.tensor(made.original.numpy())], order=2)


def test_an_orthogonal_weight_may_be_set():
    layer = parametrizations.orthogonal(nn.Linear(4, 4, dtype="float64"))
    rotation = np.linalg.qr(draw(4, 4))[0]
    layer.weight = ge.tensor(rotation)
    assert np.allclose(layer.weight.numpy(), rotation, atol=1e-12)
    assert list(layer.state_dict()) == [
        "bias",
        "parametrizations.weight.original",
        "parametrizations.weight.0.base",
    ]


def test_what_cannot_be_orthogonal_is_said():
    with pytest.raises(OutOfRangeError, match=r"(?s)'matrix_exp' has no inverse.*hint: "):
        parametrizations.orthogonal(nn.Linear(3, 3), use_trivialization=False)
    with pytest.raises(ShapeError, match=r"(?s)orthogonal: bias \(2,\).*hint: "):
        parametrizations.orthogonal(nn.Linear(3, 2), "bias")
    with pytest.raises(OutOfRangeError, match=r"(?s)'cayley' is not known.*hint: .*householder"):
        parametrizations.orthogonal(nn.Linear(3, 2), orthogonal_map="cayley")
