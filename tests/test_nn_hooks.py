"""Hooks of modules: PyTorch's order, what they see and replace, forward and back."""

from __future__ import annotations

import gc
import weakref
from collections import namedtuple

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.testing import check_grads

Pair = namedtuple("Pair", "value text")


def linear(weight: float = 2.0) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": [[weight]]})
    return layer


def one(value: float = 3.0) -> ge.Tensor:
    return ge.tensor([[value]], requires_grad=True)


class Both(nn.Module):
    """Two inputs, two outputs, a keyword."""

    def forward(self, a, b, scale=1.0):
        return a * b * scale, a + b


# --- forward ---


def test_forward_hooks_run_in_order_and_replace():
    layer, seen = linear(), []
    layer.register_forward_pre_hook(lambda m, args: seen.append(("pre", m is layer, len(args))))
    layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 10,))
    layer.register_forward_hook(lambda m, args, out: seen.append(("post", args[0].item())))
    layer.register_forward_hook(lambda m, args, out: out + 5)
    layer.register_forward_hook(lambda m, args, out: seen.append(("last", out.item())))
    assert layer(one()).item() == 85.0
    assert seen == [("pre", True, 1), ("post", 40.0), ("last", 85.0)]


def test_prepended_hooks_come_first():
    layer, seen = linear(), []
    for name, prepend in (("a", False), ("b", True), ("c", False), ("d", True)):
        layer.register_forward_hook(lambda *_, name=name: seen.append(name), prepend=prepend)
        layer.register_forward_pre_hook(
            lambda *_, name=name: seen.append(name.upper()), prepend=prepend
        )
    layer(one())
    assert "".join(seen) == "DBACdbac"


def test_keywords_are_seen_on_request():
    module, seen = Both(), []
    module.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"scale": kwargs["scale"] * 2}), with_kwargs=True
    )
    module.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(dict(kwargs)), with_kwargs=True
    )
    module.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(kwargs["scale"]), with_kwargs=True
    )
    product, _ = module(ge.tensor(2.0), ge.tensor(3.0), scale=5.0)
    assert product.item() == 60.0
    assert seen == [{"scale": 10.0}, 10.0]
    module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(ge.DTypeError, match=r"(?s)pre-hook returned.*hint: .*\(args, kwargs\)"):
        module(ge.tensor(2.0), scale=1.0)


def test_handles_remove_once_and_end_with_a_block():
    layer, seen = linear(), []
    first = layer.register_forward_hook(lambda *_: seen.append(1))
    with layer.register_forward_hook(lambda *_: seen.append(2)) as second:
        layer(one())
    first.remove()
    first.remove()
    layer(one())
    assert seen == [1, 2]
    assert isinstance(second, nn.hooks.RemovableHandle)


def test_a_hook_may_remove_itself_while_it_runs():
    layer, seen = linear(), []
    handle = layer.register_forward_hook(lambda *_: (seen.append(1), handle.remove())[1])
    layer.register_forward_hook(lambda *_: seen.append(2))
    layer(one())
    layer(one())
    assert seen == [1, 2, 2]


def test_always_called_hooks_see_failures():
    layer, seen = nn.Linear(7, 1), []
    layer.register_forward_hook(lambda m, args, out: seen.append("never"))
    layer.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ge.ShapeError):
        layer(one())
    assert seen == [None]

    def fail(*_):
        raise ZeroDivisionError("in the hook")

    layer.register_forward_hook(fail, always_call=True)
    with pytest.raises(ge.ShapeError) as caught:
        layer(one())
    assert any("ZeroDivisionError: in the hook" in note for note in caught.value.__notes__)


def test_an_always_called_hook_is_called_once_where_a_later_one_fails():
    layer, seen = linear(), []
    layer.register_forward_hook(lambda m, a, out: seen.append(out.item()), always_call=True)

    def fail(*_):
        raise ZeroDivisionError

    layer.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        layer(one())
    assert seen == [6.0]


def test_no_hook_no_bookkeeping():
    layer = linear()
    assert layer._hooks is None
    with pytest.raises(ge.DTypeError, match=r"(?s)a hook is a int.*hint: "):
        layer.register_forward_hook(3)
    assert layer._hooks is None


# --- backward ---


def shown(grads):
    return tuple(None if g is None else g.tolist() for g in grads)


def test_backward_hooks_see_gradients_of_inputs_and_outputs():
    module, seen = Both(), []
    module.register_full_backward_pre_hook(lambda m, out: seen.append(("pre", shown(out))))
    module.register_full_backward_hook(
        lambda m, inp, out: seen.append((m is module, shown(inp), shown(out)))
    )
    a, b = ge.tensor(2.0, requires_grad=True), ge.tensor(3.0, requires_grad=True)
    product, total = module(a, b)
    (product * 10 + total).backward()
    assert seen == [("pre", (10.0, 1.0)), (True, (31.0, 21.0), (10.0, 1.0))]
    assert (a.grad.item(), b.grad.item()) == (31.0, 21.0)


def test_what_asks_for_nothing_and_what_is_unused_is_none():
    module, seen = Both(), []
    module.register_full_backward_hook(lambda m, inp, out: seen.append((shown(inp), shown(out))))
    a = ge.tensor(2.0, requires_grad=True)
    product, _ = module(a, 3.0)
    product.backward()
    assert seen == [((3.0, None), (1.0, None))]


def test_backward_hooks_replace_in_order():
    layer = linear()
    layer.register_full_backward_pre_hook(lambda m, out: (out[0] * 10,))
    layer.register_full_backward_hook(lambda m, inp, out: (inp[0] + out[0],))
    layer.register_full_backward_hook(lambda m, inp, out: inp[0] * 2, prepend=True)
    x = one()
    layer(x).backward()
    assert layer.weight.grad.item() == 30.0
    assert x.grad.item() == 2.0 * 10 * 2 + 10


def test_without_a_gradient_for_inputs_the_hook_is_called_at_the_outputs():
    layer, seen = linear(), []
    layer.register_full_backward_hook(lambda m, inp, out: seen.append((shown(inp), shown(out))))
    layer(ge.tensor([[3.0]])).backward()
    assert seen == [((None,), ([[1.0]],))]
    layer.register_full_backward_hook(lambda m, inp, out: out)
    with pytest.raises(ge.GraphError, match=r"(?s)no input asks for one.*"):
        layer(ge.tensor([[3.0]])).backward()


def test_the_number_of_gradients_is_checked():
    layer = linear()
    layer.register_full_backward_hook(lambda m, inp, out: (*inp, *out))
    with pytest.raises(ge.GraphError, match=r"(?s)2 gradients instead of 1.*hint: "):
        layer(one()).backward()


def test_no_backward_hook_under_no_grad():
    layer, seen = linear(), []
    layer.register_full_backward_hook(lambda *_: seen.append(1))
    with ge.no_grad():
        y = layer(one())
    assert not y.requires_grad
    assert seen == []


def test_hooks_in_a_recorded_pass_take_part_in_the_second_derivative():
    square = nn.Module()
    square.forward = lambda x: x**3
    square.register_full_backward_hook(lambda m, inp, out: (inp[0] * 2,))
    x = ge.tensor(2.0, requires_grad=True)
    (first,) = ge.autograd.grad(square(x), x, create_graph=True)
    assert first.item() == 24.0  # 2 * 3 x^2
    assert first.requires_grad
    (second,) = ge.autograd.grad(first, x)
    assert second.item() == 24.0  # 2 * 6 x: the second pass does not come from the outputs


def test_hooks_that_only_look_change_no_derivative():
    model = nn.Sequential(nn.Linear(3, 2, dtype="float64"), nn.Tanh())
    calls = []
    for module in model.modules():
        module.register_full_backward_hook(lambda *_: calls.append(1))
        module.register_full_backward_pre_hook(lambda *_: None)
        module.register_forward_hook(lambda *_: None)
    x = ge.tensor(np.random.default_rng(0).normal(size=(4, 3)))

    def run(x, weight):
        return nn.functional_call(model, {"0.weight": weight}, x)

    check_grads(run, [x, ge.tensor(model[0].weight.numpy().copy())], order=2)
    assert calls
    calls.clear()
    ge.jvp(lambda x: model(x), (x,), (x,))
    assert calls == []


def test_named_tuples_and_other_values_pass():
    module, seen = nn.Module(), []
    module.forward = lambda x, text: Pair(x * 2, text)
    module.register_full_backward_hook(lambda m, inp, out: seen.append((shown(inp), shown(out))))
    out = module(one(), "kept")
    assert isinstance(out, Pair)
    assert out.text == "kept"
    out.value.backward()
    assert seen == [(([[2.0]], None), ([[1.0]], None))]


def test_a_graph_with_hooks_is_freed_without_the_collector():
    layer = linear()
    layer.register_full_backward_hook(lambda *_: None)
    gc.collect()
    gc.disable()
    try:
        y = layer(one())
        ref = weakref.ref(y.grad_fn)
        y.backward()
        del y
        assert ref() is None
    finally:
        gc.enable()


# --- the same script in PyTorch ---


@pytest.mark.parametrize("graph", [False, True])
def test_the_order_is_pytorchs(graph):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    def script(nn, tensor, grad):
        log: list[object] = []
        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Sequential(nn.Linear(2, 1)))
        start = {"0.weight": [[1.0, -0.5], [0.25, 2.0]], "0.bias": [0.5, -0.5]}
        start |= {"2.0.weight": [[1.5, -1.0]], "2.0.bias": [0.25]}
        model.load_state_dict({name: tensor(value) for name, value in start.items()})
        for name, module in model.named_modules():

            def note(kind, *grads, name=name):
                rounded = [
                    [None if g is None else [round(v, 5) for v in g.reshape(-1).tolist()]
                     for g in group] for group in grads
                ]  # fmt: skip
                log.append((kind, name, rounded))

            module.register_forward_pre_hook(lambda m, a, note=note: note("in"))
            module.register_forward_hook(lambda m, a, o, note=note: note("out"))
            module.register_full_backward_pre_hook(lambda m, o, note=note: note("pre", o))
            module.register_full_backward_hook(lambda m, i, o, note=note: note("full", i, o))
            if name == "1":
                module.register_full_backward_hook(lambda m, i, o: (i[0] * 2,), prepend=True)
        x = tensor([[0.5, -1.0]])
        x.requires_grad_()
        y = model(x).sum()
        if not graph:
            y.backward()
            return log, x.grad.tolist()
        (first,) = grad(y, x, create_graph=True)
        (first * first).sum().backward()
        return log, [round(v, 4) for v in x.grad.reshape(-1).tolist()]

    ours = script(nn, ge.tensor, ge.autograd.grad)
    theirs = script(torch.nn, torch.tensor, torch.autograd.grad)
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
