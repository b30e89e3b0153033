"""functional_call: other tensors in a module's places, derivatives in them, and all put back."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import MemberError
from gradengine.testing import check_grads


class Mixed(nn.Module):
    """Tensors in attributes, a list, a tuple, a named tuple's kin, a dict, and shared ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, dtype="float64")
        self.plain = [nn.Parameter(np.ones(2)), nn.Linear(2, 2, dtype="float64")]
        self.fixed = {"pair": (nn.Parameter(np.full(2, 2.0)), nn.Parameter(np.full(2, 3.0)))}
        self.register_buffer("shift", ge.zeros(2, dtype="float64"))
        self.tied = self.first

    def forward(self, x, scale=1.0):
        x = ge.tanh(self.first(x)) * self.plain[0] + self.shift
        a, b = self.fixed["pair"]
        return self.tied(self.plain[1](x) * a + b) * scale


def given(module: nn.Module) -> dict[str, ge.Tensor]:
    random = np.random.default_rng(0)
    pairs = [*module.named_parameters(), *module.named_buffers()]
    return {name: ge.tensor(random.normal(size=t.shape)) for name, t in pairs}


def held(module: nn.Module) -> list[tuple[str, int]]:
    pairs = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    return [(name, id(tensor)) for name, tensor in pairs]


X = ge.tensor(np.random.default_rng(1).normal(size=(3, 2)))


def test_it_computes_with_the_tensors_given_and_puts_the_own_ones_back():
    module = Mixed()
    values, before, fixed = given(module), held(module), module.fixed["pair"]
    found = nn.functional_call(module, values, X, {"scale": 2.0})
    assert held(module) == before
    assert module.fixed["pair"] is fixed
    module.load_state_dict({**values, "tied.weight": values["first.weight"]}, strict=False)
    np.testing.assert_array_equal(found.numpy(), module(X, 2.0).numpy())


def test_derivatives_of_any_order_in_both_modes():
    module = Mixed()
    values = given(module)
    names = list(values)

    def run(*tensors):
        return nn.functional_call(module, dict(zip(names, tensors, strict=True)), (X,))

    check_grads(run, list(values.values()), order=2)
    assert all(p.grad is None for p in module.parameters())


def test_grad_of_a_dict():
    layer = nn.Linear(2, 1, bias=False, dtype="float64")

    def loss(weights):
        return nn.functional_call(layer, weights, X).sum()

    found = ge.grad(loss)({"weight": ge.ones((1, 2), dtype="float64")})
    np.testing.assert_allclose(found["weight"].numpy()[0], X.numpy().sum(0))
    assert layer.weight.grad is None


def test_some_may_be_left_out_and_dicts_may_be_several():
    layer = nn.Linear(2, 2)
    layer.load_state_dict({"weight": np.eye(2), "bias": np.zeros(2)})
    x = ge.tensor([1.0, 2.0])
    assert nn.functional_call(layer, {"bias": [1.0, 1.0]}, x).tolist() == [2.0, 3.0]
    parts = ({"bias": np.ones(2)}, {"weight": np.zeros((2, 2))})
    assert nn.functional_call(layer, parts, (x,)).tolist() == [1.0, 1.0]
    assert nn.functional_call(layer, {}, (), {"input": x}).tolist() == [1.0, 2.0]


def test_the_own_ones_come_back_after_an_error():
    module = Mixed()
    before = held(module)
    with pytest.raises(ge.ShapeError) as caught:
        nn.functional_call(module, given(module), ge.zeros((3, 5)))
    assert held(module) == before
    assert any("Mixed.first" in note for note in caught.value.__notes__)
    nn.functional_call(module, given(module), X)


def test_shared_tensors_go_together():
    module = Mixed()
    weight = ge.zeros((2, 2), dtype="float64")
    both = nn.functional_call(module, {"tied.weight": weight}, X)
    np.testing.assert_array_equal(
        both.numpy(), nn.functional_call(module, {"first.weight": weight}, X).numpy()
    )
    one = nn.ModuleList([nn.Linear(1, 1, bias=False)])
    one.append(nn.Linear(1, 1, bias=False))
    one[1].weight = one[0].weight
    one.load_state_dict({"0.weight": [[3.0]], "1.weight": [[3.0]]})
    one.forward = lambda x: one[1](one[0](x))
    x = ge.tensor([1.0])
    assert nn.functional_call(one, {"0.weight": [[2.0]]}, x).tolist() == [4.0]
    alone = nn.functional_call(one, {"0.weight": [[2.0]]}, x, tie_weights=False)
    assert alone.tolist() == [6.0]
    two = {"0.weight": ge.tensor([[2.0]]), "1.weight": ge.tensor([[5.0]])}
    assert nn.functional_call(one, two, x, tie_weights=False).tolist() == [10.0]
    with pytest.raises(MemberError, match="are one tensor, given two values"):
        nn.functional_call(one, two, x)


def test_buffers_that_forward_writes_into_are_the_given_ones():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", ge.tensor([0.0]))

        def forward(self):
            with ge.no_grad():
                self.count += 1.0
            return self.count

    module, count = Counting(), ge.tensor([5.0])
    nn.functional_call(module, {"count": count})
    assert count.tolist() == [6.0]
    assert module.count.tolist() == [0.0]


def test_calls_may_be_nested():
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": [[1.0]]})
    x = ge.tensor([1.0])
    found = []
    layer.register_forward_pre_hook(
        lambda *_: (
            found.append(nn.functional_call(layer, {"weight": [[7.0]]}, x).item())
            if not found and not found.append(None)
            else None
        )
    )
    assert nn.functional_call(layer, {"weight": [[2.0]]}, x).item() == 2.0
    assert found == [None, 7.0]
    assert layer.weight.tolist() == [[1.0]]


def test_forward_sees_the_given_ones_as_its_parameters():
    class Looking(Mixed):
        def forward(self, x):
            return [name for name, _ in self.named_parameters()], self.state_dict()

    module = Looking()
    own = [name for name, _ in module.named_parameters()]
    values = given(module)
    names, state = nn.functional_call(module, values, X)
    assert names == own
    assert state["fixed.pair.1"].tolist() == values["fixed.pair.1"].tolist()
    assert state["shift"].tolist() == values["shift"].tolist()
    assert state.keys() == module.state_dict().keys()


# --- what a user gets wrong ---


@pytest.mark.parametrize(
    ("tensors", "options", "error", "message"),
    [
        ({"wieght": [[1.0]]}, {}, MemberError, "no tensor named 'wieght'.*did you mean 'weight'"),
        ({"weight": [1.0]}, {}, ge.ShapeError, r"'weight' is \(1,\), Linear has \(1, 1\)"),
        ({"weight": [[1.0]]}, {"strict": True}, MemberError, "lacks 'bias'"),
        (({"bias": [1.0]}, {"bias": [1.0]}), {}, MemberError, "'bias' stands in two"),
        ([1.0], {}, ge.DTypeError, "got a list"),
    ],
)
def test_mistakes(tensors, options, error, message):
    layer = nn.Linear(1, 1)
    before = held(layer)
    with pytest.raises(error, match=f"(?s){message}.*"):
        nn.functional_call(layer, tensors, ge.ones(1), **options)
    assert held(layer) == before


def test_two_threads_cannot_share_a_module():
    inside, leave = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter([1.0])

        def forward(self):
            inside.set()
            assert leave.wait(10)
            return self.weight

    module = Slow()
    thread = threading.Thread(target=nn.functional_call, args=(module, {"weight": [2.0]}))
    thread.start()
    assert inside.wait(10)
    try:
        with pytest.raises(ge.GraphError, match=r"(?s)call of another thread.*hint: .*deepcopy"):
            nn.functional_call(module, {"weight": [3.0]})
    finally:
        leave.set()
        thread.join()
    assert nn.functional_call(module, {"weight": [3.0]}).tolist() == [3.0]
