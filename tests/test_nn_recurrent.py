"""Recurrent layers where one call with PyTorch's values is not enough: packed input, state, errors.

tests/agreement/recurrent.py compares the layers themselves.
"""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from gradengine.ops.gru import gru_states
from gradengine.ops.recurrence import lstm_states, rnn_states
from gradengine.ops.steps import room
from gradengine.testing import check_grads

torch = pytest.importorskip("torch", reason="values are compared with PyTorch's")

KINDS = ("RNN", "LSTM", "GRU")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def twins(kind: str, *args, **kwargs) -> tuple:
    """The same layer in both libraries, in float64 with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*args, **kwargs).double()
    mine = getattr(nn, kind)(*args, **kwargs).double()
    mine.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    return mine, theirs


def tensors(values) -> list:
    return [values] if hasattr(values, "shape") else [x for v in values for x in tensors(v)]


def agree(mine, theirs, rtol: float = 1e-9) -> None:
    for a, b in zip(tensors(mine), tensors(theirs), strict=True):
        assert np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=1e-11)


# --- packed input ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[4, 2, 1], [1, 4, 3], [3, 3, 3]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
def test_packed_sequences(kind, lengths, bidirectional, given):
    options = {"num_layers": 2, "bidirectional": bidirectional}
    mine, theirs = twins(kind, 2, 3, **options)
    x, count = draw(4, 3, 2), 2 * (1 + bidirectional)
    states = [draw(count, 3, 3, seed=i + 1) for i in range(2 if kind == "LSTM" else 1)]
    a = ge.tensor(x, requires_grad=True)
    b = torch.from_numpy(x.copy()).requires_grad_()
    hx = [ge.tensor(s, requires_grad=True) for s in states]
    hy = [torch.from_numpy(s.copy()).requires_grad_() for s in states]
    order = {"enforce_sorted": lengths == sorted(lengths, reverse=True)}
    p = pack_padded_sequence(a, lengths, **order)
    q = torch.nn.utils.rnn.pack_padded_sequence(b, torch.tensor(lengths), **order)
    one = (lambda s: tuple(s) if kind == "LSTM" else s[0]) if given else (lambda s: None)
    y, last = mine(p, one(hx))
    z, final = theirs(q, one(hy))
    out, _ = pad_packed_sequence(y)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(z)
    agree((out, last), (expected, final))
    sum((v**2).sum() for v in tensors((out, last))).backward()
    sum((v**2).sum() for v in tensors((expected, final))).backward()
    agree(a.grad, b.grad)
    if given:
        agree([s.grad for s in hx], [s.grad for s in hy])
    agree([w.grad for w in mine.parameters()], [w.grad for w in theirs.parameters()])


# --- states of the LSTM, which are a pair ---


@pytest.mark.parametrize("projected", [0, 2])
def test_lstm_starts_from_given_states(projected):
    mine, theirs = twins("LSTM", 2, 3, num_layers=2, proj_size=projected)
    x, h, c = draw(4, 2, 2), draw(2, 2, projected or 3, seed=1), draw(2, 2, 3, seed=2)
    found = mine(ge.tensor(x), (ge.tensor(h), ge.tensor(c)))
    expected = theirs(*map(torch.from_numpy, (x,)), (torch.from_numpy(h), torch.from_numpy(c)))
    agree(found, expected)
    found = mine(ge.tensor(x[:, 0]), (ge.tensor(h[:, 0]), ge.tensor(c[:, 0])))
    expected = theirs(
        torch.from_numpy(x[:, 0]), (torch.from_numpy(h[:, 0]), torch.from_numpy(c[:, 0]))
    )
    agree(found, expected)


def test_lstm_cell_starts_from_given_states():
    mine, theirs = twins("LSTMCell", 2, 3)
    x, h, c = draw(4, 2), draw(4, 3, seed=1), draw(4, 3, seed=2)
    found = mine(ge.tensor(x), (ge.tensor(h), ge.tensor(c)))
    agree(found, theirs(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c))))
    check_grads(lambda x, h, c: mine(x, (h, c)), [x[:2], h[:2], c[:2]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_cells_is_the_layer(kind):
    layer, cell = nn.__dict__[kind](2, 3), nn.__dict__[f"{kind}Cell"](2, 3)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, state, outputs = ge.random.randn(5, 4, 2), None, []
    for step in x:
        state = cell(step, state)
        outputs.append(state[0] if kind == "LSTM" else state)
    agree(ge.stack(outputs), layer(x)[0], rtol=1e-5)


# --- two ways back: in place, and as engine code ---


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 2, 1), (3,)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_the_plain_backward_is_the_recorded_one(sizes, reverse, projected):
    rows, p = sum(sizes), 1 if projected else 2
    args = [draw(rows, 8), draw(3, p), draw(3, 2), draw(8, p), draw(p, 2) if projected else None]
    compare_ways(lstm_states, args, (4, rows, 2), sizes, reverse, 5)
    args = [draw(rows, 6), draw(3, 2), draw(6, 2), draw(6)]
    compare_ways(gru_states, args, (rows, 8), sizes, reverse, 4)


def compare_ways(op, arrays, gates, sizes, reverse, count) -> None:
    """Gradients of an op with its gates kept: backward on raw arrays, recorded, and computed."""
    options = {"sizes": sizes, "reverse": reverse}
    found = []
    for kept, graph in ((True, False), (True, True), (False, False)):
        xs = [None if a is None else ge.tensor(a, requires_grad=True) for a in arrays]
        y = op(*xs, *([None] * (count - len(xs))), room(xs[0], *gates) if kept else None, **options)
        live = [x for x in xs if x is not None]
        weights = ge.tensor(draw(*y.shape, seed=9))
        found.append(ge.autograd.grad(y, live, weights, create_graph=graph))
    for other in found[1:]:
        agree(other, found[0])


def test_the_kept_gates_are_right_to_second_order():
    def f(x, h, c, w):
        return lstm_states(x, h, c, w, None, room(x, 4, 3, 2), sizes=(2, 1), reverse=False)

    check_grads(f, [draw(3, 8), draw(2, 2), draw(2, 2), draw(8, 2)])

    def g(x, h, w, b):
        return gru_states(x, h, w, b, room(x, 3, 8), sizes=(2, 1), reverse=True)

    check_grads(g, [draw(3, 6), draw(2, 2), draw(6, 2), draw(6)])


def test_a_second_backward_finds_the_gates_as_they_were():
    model = nn.LSTM(2, 3)
    x = ge.random.randn(4, 2, 2).requires_grad_()
    y = model(x)[0].sum()
    y.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.backward()
    assert np.allclose(x.grad.numpy(), 2 * first)


def test_a_gradient_penalty_through_an_lstm():
    model = nn.LSTM(2, 2).double()
    names = [name for name, _ in model.named_parameters()]

    def penalty(x, *weights):
        def total(x):
            own = dict(zip(names, weights, strict=True))
            return (nn.functional_call(model, own, (x,))[0] ** 2).sum()

        return (ge.grad(total)(x) ** 2).sum()

    weights = [w.detach().numpy() for w in model.parameters()]
    check_grads(penalty, [draw(2, 1, 2), *weights], order=1)


# --- truncated backpropagation through time ---


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stop_where_states_are_detached(kind):
    model = getattr(nn, kind)(2, 3)
    x = ge.random.randn(6, 1, 2).requires_grad_()
    _, state = model(x[:3])
    cut = tuple(s.detach() for s in state) if kind == "LSTM" else state.detach()
    y, _ = model(x[3:], cut)
    y.sum().backward()
    assert not x.grad[:3].numpy().any()
    assert x.grad[3:].numpy().all()
    x.grad = None
    y, _ = model(x[3:], model(x[:3])[1])
    y.sum().backward()
    assert x.grad[:3].numpy().all()
    whole, _ = model(x)
    assert np.allclose(whole[3:].detach().numpy(), y.detach().numpy(), atol=1e-6)


# --- dropout between layers, dtypes, repr ---


def test_dropout_acts_between_layers_in_training_only():
    model = nn.LSTM(2, 8, num_layers=2, dropout=0.5, generator=ge.random.Generator(0))
    x = ge.random.randn(3, 2, 2)
    one, two = (model(x)[0].detach().numpy() for _ in range(2))
    assert not np.array_equal(one, two)
    model.eval()
    one, two = (model(x)[0].detach().numpy() for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept(kind, dtype):
    model = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, dtype=dtype)
    x = ge.random.randn(4, 2, 3, dtype=dtype).requires_grad_()
    y, last = model(x)
    y.sum().backward()
    assert str(y.dtype) == str(x.grad.dtype) == dtype
    assert all(str(s.dtype) == dtype for s in tensors(last))
    wide = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True).double()
    wide.load_state_dict(model.state_dict())
    z = wide(x.detach().double())[0].detach().numpy()
    limit = {"float16": 5e-3, "bfloat16": 4e-2, "float32": 1e-6}[dtype]
    assert np.abs(y.detach().double().numpy() - z).max() < limit


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_are_uniform_and_seeded(kind):
    model = getattr(nn, kind)(40, 25, generator=ge.random.Generator(3))
    again = getattr(nn, kind)(40, 25, generator=ge.random.Generator(3))
    for (name, a), b in zip(model.named_parameters(), again.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())
        assert abs(a.detach().numpy()).max() <= 0.2, name
    weight = model.weight_ih_l0.detach().numpy()
    assert weight.std() == pytest.approx(0.2 / 3**0.5, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_repr_is_pytorchs(kind):
    for kwargs in (
        {},
        {"num_layers": 2, "batch_first": True, "dropout": 0.5, "bidirectional": True},
        {"bias": False},
    ):
        mine, theirs = (getattr(lib, kind)(2, 3, **kwargs) for lib in (nn, torch.nn))
        assert repr(mine) == repr(theirs)
        assert [len(w) for w in mine.all_weights] == [len(w) for w in theirs.all_weights]
    for kwargs in ({}, {"bias": False}):
        mine, theirs = (getattr(lib, f"{kind}Cell")(2, 3, **kwargs) for lib in (nn, torch.nn))
        assert repr(mine) == repr(theirs)


def test_the_repr_of_what_only_some_have():
    for kind, kwargs in (("LSTM", {"proj_size": 2}), ("RNNCell", {"nonlinearity": "relu"})):
        assert repr(getattr(nn, kind)(2, 3, **kwargs)) == repr(
            getattr(torch.nn, kind)(2, 3, **kwargs)
        )


def test_nothing_is_kept_without_recording():
    with ge.no_grad():
        assert room(ge.zeros((2, 8)), 2, 8) is None
    assert room(ge.zeros((2, 8), dtype="float16"), 2, 8) is None
    assert room(ge.zeros((2, 8)), 2, 8).shape == (2, 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [{}, {"bidirectional": True, "num_layers": 2}])
def test_a_batch_of_no_sequences(kind, way):
    """The last batch of a filtered set: zero gradients of full shape, to second order."""
    model = getattr(nn, kind)(4, 3, **way)
    x = ge.zeros((5, 0, 4), requires_grad=True)
    y, last = model(x)
    assert y.shape == (5, 0, 3 * model._directions)
    state = last[0] if kind == "LSTM" else last
    assert state.shape == (model.num_layers * model._directions, 0, 3)
    (slope,) = ge.autograd.grad(y.sum(), [x], create_graph=True)
    (slope.sum() + y.sum()).backward()
    assert x.grad.shape == (5, 0, 4)
    assert all(p.grad is not None and not p.grad.numpy().any() for p in model.parameters())


# --- mistakes ---


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_inputs_and_states(kind):
    model, cell = getattr(nn, kind)(3, 4, num_layers=2), getattr(nn, f"{kind}Cell")(3, 4)
    with pytest.raises(ShapeError, match=rf"{kind}: input \(5, 2, 2\), the layer expects 3"):
        model(ge.zeros((5, 2, 2)))
    with pytest.raises(ShapeError, match=r"input \(3,\)"):
        model(ge.zeros(3))
    with pytest.raises(ShapeError, match=r"input \(0, 2, 3\) has no steps"):
        model(ge.zeros((0, 2, 3)))
    wrong = ge.zeros((1, 2, 4))
    with pytest.raises(ShapeError, match=r"h_0 \(1, 2, 4\), expected \(2, 2, 4\)"):
        model(ge.zeros((5, 2, 3)), (wrong, wrong) if kind == "LSTM" else wrong)
    with pytest.raises(ShapeError, match=r"input \(2, 2\), the cell expects 3 features"):
        cell(ge.zeros((2, 2)))
    state = ge.zeros((1, 4))
    with pytest.raises(ShapeError, match=r"a state \(1, 4\) beside input \(2, 3\)"):
        cell(ge.zeros((2, 3)), (state, state) if kind == "LSTM" else state)


def test_wrong_options():
    with pytest.raises(ShapeError, match="hidden_size=0"):
        nn.GRU(3, 0)
    with pytest.raises(ShapeError, match="input_size=0"):
        nn.GRUCell(0, 3)
    with pytest.raises(ShapeError, match="proj_size=4 of hidden_size=4"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(OutOfRangeError, match=r"dropout=1\.5"):
        nn.LSTM(3, 4, dropout=1.5)
    with pytest.raises(OutOfRangeError, match="nonlinearity='gelu'"):
        nn.RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(ShapeError, match="the pair"):
        nn.LSTM(3, 4)(ge.zeros((2, 1, 3)), ge.zeros((1, 1, 4)))


def test_wrong_arguments_of_the_ops():
    with pytest.raises(ShapeError, match="2 steps of 5 rows"):
        rnn_states(ge.zeros((4, 3)), ge.zeros((3, 3)), ge.zeros((3, 3)), sizes=(3, 2))
    with pytest.raises(ShapeError, match=r"an initial state \(2, 3\) for 3 sequences"):
        rnn_states(ge.zeros((5, 3)), ge.zeros((2, 3)), ge.zeros((3, 3)), sizes=(3, 2))
    with pytest.raises(ShapeError, match=r"x \(5, 4\) for weights \(3, 3\)"):
        rnn_states(ge.zeros((5, 4)), ge.zeros((3, 3)), ge.zeros((3, 3)), sizes=(3, 2))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_under_autocast_the_gates_need_no_room(name, dtype, monkeypatch):
    """Room is uninitialised memory: cast to 16 bits it would overflow, with a warning."""
    from gradengine.ops import steps

    def filled(array, shape, dtype):
        return np.full(shape, 1e30, dtype)

    monkeypatch.setattr(steps, "empty_beside", filled)
    layer = getattr(ge.nn, name)(3, 4)
    x = ge.randn(5, 2, 3, requires_grad=True)
    with ge.autocast(dtype):
        y, _ = layer(x)
    y.astype("float32").sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    layer(x)[0].sum().backward()  # and in float32 the room is filled before it is read
    assert np.isfinite(x.grad.numpy()).all()
