"""Hooks: in the order of registration, once a pass, on the summed gradient; how they change it."""

import gc
import weakref

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import GraphError


def leaf(*values):
    return ge.tensor(values, dtype="float64", requires_grad=True)


def diamond(x):
    """x -> a -> b, c -> d: two paths meet in a."""
    a = x * 2
    b, c = a * 3, ge.exp(a * 0) * a
    return a, b, c, b + c


# --- tensor hooks ---


def test_a_hook_is_called_once_with_the_sum_of_all_paths():
    x = leaf(1.0, 2.0)
    a, b, c, d = diamond(x)
    seen = []
    for name, tensor in {"a": a, "b": b, "c": c, "d": d, "x": x}.items():
        tensor.register_hook(lambda g, name=name: seen.append((name, g.tolist())))
    d.sum().backward()
    names = [name for name, _ in seen]
    assert names.index("d") < names.index("c") < names.index("a") < names.index("x")
    assert sorted(names) == ["a", "b", "c", "d", "x"]
    assert dict(seen)["a"] == [4.0, 4.0]
    assert dict(seen)["x"] == [8.0, 8.0]


def test_hooks_run_in_the_order_of_registration_each_on_the_result_of_the_last():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: (seen.append(("first", g.item())), g * 10)[1])
    y.register_hook(lambda g: seen.append(("second", g.item())))
    y.register_hook(lambda g: (seen.append(("third", g.item())), g + 1)[1])
    y.sum().backward()
    assert seen == [("first", 1.0), ("second", 10.0), ("third", 10.0)]
    assert x.grad.tolist() == [22.0]


def test_retain_grad_sees_what_the_hooks_made_of_it_whatever_came_first():
    for order in (0, 1):
        x = leaf(1.0)
        y = x * 2
        if order:
            y.retain_grad()
        y.register_hook(lambda g: g * 10)
        if not order:
            y.retain_grad()
        y.sum().backward()
        assert y.grad.tolist() == [10.0]
        assert x.grad.tolist() == [20.0]


def test_a_hook_on_a_leaf_changes_what_arrives_and_what_is_returned():
    x = leaf(1.0)
    x.register_hook(lambda g: g * 5)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [10.0]
    assert ge.autograd.grad((x * 2).sum(), x)[0].tolist() == [10.0]


def test_the_removed_hook_is_silent_and_removing_twice_is_harmless():
    x = leaf(1.0)
    seen = []

    def hook(g):
        seen.append(1)

    first, second = x.register_hook(hook), x.register_hook(hook)
    first()
    first()
    (x * 2).sum().backward()
    assert seen == [1]
    second()
    (x * 2).sum().backward()
    assert seen == [1]


def test_a_hook_may_remove_itself_and_add_others_while_it_runs():
    x = leaf(1.0)
    y = x * 2
    seen = []

    def once(g):
        seen.append("once")
        remove()
        y.register_hook(lambda g: seen.append("added"))

    remove = y.register_hook(once)
    y.register_hook(lambda g: seen.append("other"))
    y.sum().backward(retain_graph=True)
    assert seen == ["once", "other"]
    y.sum().backward()
    assert seen == ["once", "other", "other", "added"]


def test_a_hook_sees_a_tensor_that_it_can_use_like_any_other():
    x = leaf(1.0, 2.0)
    kinds = []

    def look(g):
        kinds.append((type(g), g.requires_grad, g.dtype.name, g.numpy().shape, repr(g)))

    loss = (x * 2).sum() * 3
    loss.register_hook(look)
    x.register_hook(look)
    inner = (x * 2).sum()
    inner.register_hook(look)
    (loss + inner).backward()
    assert [k[:3] for k in kinds] == [(ge.Tensor, False, "float64")] * 3
    assert [k[3] for k in kinds] == [(), (), (2,)]


def test_hooks_in_a_recorded_pass_see_and_return_recorded_tensors():
    x = leaf(2.0)
    seen = []
    y = x**3
    y.register_hook(lambda g: (seen.append(g), g * x)[1])
    (g,) = ge.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [24.0]  # 3x^2 * x
    assert ge.autograd.grad(g.sum(), x)[0].tolist() == [36.0]  # 9x^2
    assert len(seen) == 1


def test_a_hook_cannot_change_the_gradient_in_place_behind_the_engine():
    """`a + b` hands one array to both: a write in a hook must not reach the other path."""
    a, b = leaf(1.0), leaf(2.0)

    def scribble(g):
        g *= 100

    a.register_hook(scribble)
    (a + b).sum().backward()
    assert b.grad.tolist() == [1.0]


def test_numpy_arrays_may_be_returned():
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: np.array([5.0, 6.0]))
    (x * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 6.0]


def test_a_gradient_of_another_dtype_is_cast_and_of_another_shape_refused():
    x = ge.tensor([1.0, 2.0], requires_grad=True)
    remove = x.register_hook(lambda g: g.astype("float64"))
    (x * 2).sum().backward()
    assert x.grad.dtype == "float32"
    remove()
    x.register_hook(lambda g: g.sum())
    with pytest.raises(GraphError, match=r"hook: returned shape \(\)(.|\n)*\(2,\)(.|\n)*hint: "):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_hooks_stay_with_the_history_when_a_tensor_is_written_to():
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y[0] = 0.0
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * 3).sum().backward()
    assert seen == [[3.0, 3.0], [0.0, 3.0]]  # the written tensor first, then what it was before


def test_constants_take_no_hooks():
    for call in (
        lambda: ge.tensor(1.0).register_hook(print),
        lambda: ge.tensor(1.0).retain_grad(),
        lambda: ge.tensor(1.0).register_post_accumulate_grad_hook(print),
        lambda: (leaf(1.0) * 2).register_post_accumulate_grad_hook(print),
    ):
        with pytest.raises(GraphError, match="hint: "):
            call()


# --- retained gradients ---


def test_retained_gradients_accumulate_and_belong_to_themselves():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y + 0
    y.retain_grad()
    z.retain_grad()
    z.sum().backward(retain_graph=True)
    assert y.grad.tolist() == z.grad.tolist() == [1.0, 1.0]
    assert not np.shares_memory(y.grad.array, z.grad.array)
    z.sum().backward()
    assert y.grad.tolist() == [2.0, 2.0]
    assert x.grad.tolist() == [4.0, 4.0]


def test_retain_grad_is_undone_by_nothing_and_not_touched_by_autograd_grad():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    ge.autograd.grad(y.sum(), x, retain_graph=True)
    assert y.grad is None
    y.sum().backward()
    assert y.grad.tolist() == [1.0]
    x.retain_grad()  # a leaf keeps its gradient anyway
    assert x.grad.tolist() == [2.0]


def test_without_retain_grad_an_intermediate_has_none():
    x = leaf(1.0)
    y = x * 2
    y.sum().backward()
    assert y.grad is None


# --- after accumulation ---


def test_post_accumulate_hooks_run_when_every_leaf_has_its_gradient():
    a, b = leaf(1.0), leaf(2.0)
    seen = []

    def look(leaf):
        seen.append((leaf is a, a.grad.tolist(), b.grad.tolist()))

    remove = a.register_post_accumulate_grad_hook(look)
    b.register_post_accumulate_grad_hook(look)
    (a * b).sum().backward()
    assert sorted(seen) == [(False, [2.0], [1.0]), (True, [2.0], [1.0])]
    remove()
    (a * b).sum().backward()
    assert len(seen) == 3


def test_a_post_accumulate_hook_may_step_and_clear_and_go_backward():
    w = leaf(4.0)

    def step(w):
        with ge.no_grad():
            w -= 0.5 * w.grad
        w.grad = None
        other = leaf(1.0)
        (other * 2).sum().backward()  # no lock is held here

    w.register_post_accumulate_grad_hook(step)
    (w * w).sum().backward()
    assert w.tolist() == [0.0]
    assert w.grad is None


def test_the_hook_does_not_keep_its_tensor_alive():
    w = leaf(1.0)
    w.register_post_accumulate_grad_hook(lambda w: None)
    ref = weakref.ref(w)
    gc.disable()
    try:
        del w
        assert ref() is None
    finally:
        gc.enable()


# --- node hooks ---


def test_a_node_hook_sees_the_gradients_of_inputs_and_output():
    x, z = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * z
    seen = []
    y.grad_fn.register_hook(
        lambda inputs, output: seen.append(([g.tolist() for g in inputs], output.tolist()))
    )
    (y * 10).sum().backward()
    assert seen == [([[30.0, 40.0], [10.0, 20.0]], [10.0, 10.0])]


def test_a_node_hook_may_replace_the_gradients_and_is_removed():
    x = leaf(1.0)
    y = x * 2
    remove = y.grad_fn.register_hook(
        lambda inputs, output: tuple(None if g is None else g * 7 for g in inputs)
    )
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [14.0]
    remove()
    y.sum().backward()
    assert x.grad.tolist() == [16.0]


def test_a_node_prehook_may_replace_the_output_gradient():
    x = leaf(1.0)
    y = x * 2
    remove = y.grad_fn.register_prehook(lambda g: g * 3)
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [6.0]
    remove()
    y.sum().backward()
    assert x.grad.tolist() == [8.0]


def test_node_hooks_in_a_recorded_pass():
    x = leaf(2.0)
    y = x**3
    y.grad_fn.register_hook(lambda inputs, output: tuple(g if g is None else g * 2 for g in inputs))
    (g,) = ge.autograd.grad(y.sum(), x, create_graph=True)
    assert ge.autograd.grad(g.sum(), x)[0].tolist() == [24.0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((1, 2, 3), "hook: returned 3 gradients for 2 inputs"),
        ((ge.ones(5), None), r"hook: returned shape \(5,\) for a gradient of \(2,\)"),
        ((3.0, None), r"hook: returned float for a gradient of \(2,\)"),
    ],
)
def test_what_a_node_hook_returns_is_checked(result, message):
    x = leaf(1.0, 2.0)
    y = x * 2
    y.grad_fn.register_hook(lambda inputs, output: result)
    with pytest.raises(GraphError, match=message):
        y.sum().backward()
    assert x.grad is None


def test_a_number_is_no_gradient():
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: 3.0)
    with pytest.raises(GraphError, match=r"hook: returned float(.|\n)*hint: "):
        (x * 2).sum().backward()


@pytest.mark.parametrize("graph", [False, True])
def test_node_hooks_of_an_op_with_several_outputs(graph):
    class Two(ge.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            return 2 * g + 3 * h

    x = leaf(1.0)
    a, b = Two.apply(x)
    seen = []
    a.grad_fn.register_hook(
        lambda inputs, outputs: seen.append((inputs[0].item(), [o.item() for o in outputs]))
    )
    b.register_hook(lambda g: g * 10)
    (a + b).sum().backward(create_graph=graph)
    assert seen == [(32.0, [1.0, 10.0])]
    x.grad = None
