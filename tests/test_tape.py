"""The tape: what is recorded, and the one pass back: order, sums, partial passes, a second pass.

Numbers here are small integers, so that gradients can be compared exactly.
"""

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import GraphError
from gradengine.tape import Leaf, leading_to, reachable, sum_to


def leaf(*values):
    return ge.tensor(values if len(values) > 1 else values[0], dtype="float64", requires_grad=True)


# --- what is recorded ---


def test_nothing_is_recorded_for_constants():
    y = ge.tensor([1.0, 2.0]) * ge.tensor([3.0, 4.0]) + 1
    assert y.node is None
    assert y.grad_fn is None
    assert not y.requires_grad
    assert y.is_leaf


def test_a_result_is_no_leaf_and_names_its_op():
    x = leaf(1.0, 2.0)
    y = x * 2
    assert x.is_leaf
    assert x.grad_fn is None
    assert not y.is_leaf
    assert y.grad_fn.name == "multiply"
    assert "grad_fn=<multiply>" in repr(y)
    assert repr(y.grad_fn).startswith("<multiply #")
    assert y.grad_fn.inputs[0] is x.node
    assert x.node.name == "leaf"


def test_ticks_count_up_in_the_order_of_execution():
    x = leaf(1.0)
    a = x * 2
    b = x * 3
    assert x.node.tick < a.node.tick < b.node.tick
    assert {n.tick for n in reachable([(a + b).node])} > {a.node.tick, b.node.tick}


def test_only_what_a_derivative_reads_is_saved():
    x, z = leaf(1.0, 2.0), leaf(3.0, 4.0)
    assert all(s is None for s in (x + z).node.saved)
    product = (x * z).node.saved
    assert product[1] is x.array
    assert product[2] is z.array
    assert product[0] is None
    root = ge.exp(x)
    assert root.node.saved[0] is root.array
    constant = x * ge.tensor([5.0, 6.0])  # d/dx reads the other factor only
    assert constant.node.saved[1] is None


def test_detach_cuts_and_clone_does_not():
    x = leaf(1.0, 2.0)
    assert x.detach().node is None
    y = (x.detach() * x).sum()
    y.backward()
    assert x.grad.tolist() == [1.0, 2.0]
    x.grad = None
    x.clone().sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_requires_grad_can_be_switched_off_on_a_leaf_only():
    x = leaf(1.0)
    y = x * 2
    x.requires_grad_(False)
    assert not x.requires_grad
    with pytest.raises(GraphError, match=r"result of multiply(.|\n)*hint: .*detach"):
        y.requires_grad_(False)
    x.requires_grad = True
    assert isinstance(x.node, Leaf)


# --- one pass ---


def test_repeated_inputs_add_up():
    x = leaf(3.0)
    (x * x * x).backward()
    assert x.grad.item() == 27.0
    x.grad = None
    (x + x + x).backward()
    assert x.grad.item() == 3.0


def test_a_diamond_is_walked_once_however_many_paths_lead_through_it():
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_unused_leaves_and_constant_branches_get_nothing():
    x, z = leaf(1.0), leaf(2.0)
    _ = z * 2
    (x * 3 + 1).backward()
    assert x.grad.item() == 3.0
    assert z.grad is None


def test_gradients_accumulate_over_passes():
    x = leaf(1.0, 2.0)
    for k in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * k, 4.0 * k]


def test_a_leaf_that_is_its_own_output():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1.0
    assert ge.autograd.grad(x, x)[0].item() == 1.0


def test_the_cotangent_of_a_vector_output_is_given():
    x = leaf(1.0, 2.0, 3.0)
    (x * x).backward(ge.tensor([1.0, 0.0, 10.0]))
    assert x.grad.tolist() == [2.0, 0.0, 60.0]
    x.grad = None
    (x * x).backward(np.array([1.0, 0.0, 10.0]))
    assert x.grad.tolist() == [2.0, 0.0, 60.0]


def test_a_one_element_output_needs_no_cotangent_whatever_its_shape():
    x = leaf([[2.0]])
    (x * x).backward()
    assert x.grad.tolist() == [[4.0]]


def test_several_outputs_share_one_pass():
    x = leaf(2.0)
    shared = x * x
    ge.autograd.backward([shared * 3, shared * 4, shared])
    assert x.grad.item() == 4.0 * 8
    x.grad = None
    y = x * 5
    ge.autograd.backward([y, y], [ge.tensor(1.0), ge.tensor(2.0)])
    assert x.grad.item() == 15.0


def test_gradients_have_the_dtype_of_their_inputs():
    a = ge.tensor([1.0, 2.0], dtype="float16", requires_grad=True)
    b = ge.tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    c = ge.tensor([5.0, 6.0], dtype="float32", requires_grad=True)
    ((a * b) * c).sum().backward()
    assert (a.grad.dtype, b.grad.dtype, c.grad.dtype) == ("float16", "float64", "float32")
    assert a.grad.tolist() == [15.0, 24.0]


def test_a_float64_cotangent_does_not_widen_a_float32_graph():
    x = ge.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).backward(np.array([1.0, 2.0]))
    assert x.grad.dtype == "float32"


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_empty_tensors_give_empty_gradients(shape):
    x = ge.tensor(np.zeros(shape), requires_grad=True)
    (x * x + x).sum().backward()
    assert x.grad.shape == shape


# --- the adjoint of broadcasting ---


@pytest.mark.parametrize(
    ("shape", "wide"),
    [
        *[((), (2, 3)), ((1,), (3,)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1, 1), (4, 2, 3))],
        *[((1, 3), (5, 2, 3)), ((), ()), ((0, 1), (0, 4)), ((1,), (0,)), ((2, 1, 1), (2, 3, 4))],
    ],
)
def test_sum_to_is_the_adjoint_of_broadcasting(shape, wide):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=shape), rng.normal(size=wide)
    back = sum_to(g, shape)
    assert back.shape == shape
    left, right = np.sum(np.broadcast_to(x, wide) * g), np.sum(x * back)
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def test_sixteen_bit_sums_accumulate_in_float32():
    x = ge.tensor(np.float16(1), requires_grad=True)
    y = x * ge.tensor(np.ones(4096, "float16"))
    y.backward(np.ones(4096, "float16"))
    assert x.grad.item() == 4096.0  # a float16 running sum stops at 2048
    assert x.grad.dtype == "float16"


# --- a pass for some of the inputs ---


def test_inputs_limits_the_pass_and_leaves_the_rest_alone():
    x, z = leaf(2.0), leaf(3.0)
    (x * z).backward(inputs=[x])
    assert x.grad.item() == 3.0
    assert z.grad is None


def test_inputs_may_be_intermediate():
    x = leaf(2.0)
    y = x * 3
    (y * y).backward(inputs=[y])
    assert y.grad.item() == 12.0
    assert x.grad is None


def test_inputs_may_be_one_tensor_but_not_none_at_all():
    x = ge.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward(inputs=x)
    assert x.grad.tolist() == [2.0, 4.0]
    with pytest.raises(ge.GraphError, match="inputs is empty\n  hint: name a tensor"):
        (x * x).sum().backward(inputs=[])


def test_autograd_grad_touches_no_grad_and_takes_intermediates():
    x = leaf(2.0)
    y = x * 3
    z = y * y
    gy, gx = ge.autograd.grad(z, [y, x])
    assert (gy.item(), gx.item()) == (12.0, 36.0)
    assert x.grad is None
    assert y.grad is None


def test_autograd_grad_of_unused_inputs():
    x, z = leaf(2.0), leaf(3.0, 4.0)
    with pytest.raises(GraphError, match=r"inputs\[1\] \(2,\)(.|\n)*hint: .*allow_unused"):
        ge.autograd.grad(x * x, [x, z])
    assert ge.autograd.grad(x * x, [x, z], allow_unused=True)[1] is None
    assert ge.autograd.grad(x * x, [x, z], materialize_grads=True)[1].tolist() == [0.0, 0.0]


def test_autograd_grad_weights_outputs():
    x = leaf(1.0, 2.0)
    (g,) = ge.autograd.grad([x * 2, x * 3], [x], [ge.tensor([1.0, 10.0]), ge.tensor([0.0, 1.0])])
    assert g.tolist() == [2.0, 23.0]


def test_leading_to_finds_exactly_the_steps_between():
    x, z = leaf(1.0), leaf(2.0)
    a = x * 2
    b = z * 3
    y = a + b
    found = leading_to([y.node], [x.node])
    assert set(found) == {x.node, a.node, y.node}
    assert found[x.node] is True
    assert found[a.node] is False


# --- again ---


def test_a_second_pass_over_a_freed_graph_is_refused():
    x = leaf(2.0)
    y = ge.exp(x) * x
    y.backward()
    before = x.grad.item()
    with pytest.raises(GraphError, match=r"saved by multiply were freed(.|\n)*retain_graph=True"):
        y.backward()
    assert x.grad.item() == before


def test_retain_graph_allows_another_pass():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 18.0
    with pytest.raises(GraphError, match="freed"):
        y.backward()


def test_a_shared_part_that_was_freed_is_named():
    x = leaf(2.0)
    shared = ge.exp(x)
    first, second = shared * 2, shared * 3
    first.backward()
    with pytest.raises(GraphError, match="saved by exp were freed"):
        second.backward()
    assert x.grad.item() == 2 * np.exp(2.0)


def test_a_freed_shared_part_is_never_left_out_in_silence():
    x = leaf(2.0)
    shared = x * x
    first, second = shared * 2, shared * 3 + x
    first.backward()
    before = x.grad.item()
    for kwargs in ({}, {"allow_unused": True}, {"materialize_grads": True}):
        with pytest.raises(GraphError, match="freed"):
            ge.autograd.grad(second, x, retain_graph=True, **kwargs)
    with pytest.raises(GraphError, match="freed"):
        second.backward(inputs=[x])
    assert x.grad.item() == before


def test_a_freed_part_older_than_the_inputs_is_none_of_their_business():
    x = leaf(2.0)
    features = x * x
    head = leaf(5.0)
    features.backward(retain_graph=False)
    (features * head).backward(inputs=[head])
    assert head.grad.item() == 4.0


# --- a pass that is recorded ---


def test_create_graph_gives_every_order():
    x = leaf(2.0)
    y = x**4
    orders = []
    for _ in range(5):
        (y,) = ge.autograd.grad(y, x, create_graph=True, materialize_grads=True)
        orders.append(y.item())
        if y.node is None:
            break
    assert orders[:4] == [32.0, 48.0, 48.0, 24.0]


def test_backward_with_create_graph_makes_a_grad_that_can_be_differentiated():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    g, x.grad = x.grad, None  # together they would keep each other alive
    assert g.item() == 27.0
    g.backward()
    assert x.grad.item() == 18.0


def test_create_graph_records_even_where_recording_is_off():
    x = leaf(3.0)
    y = x**3
    with ge.no_grad():
        (g,) = ge.autograd.grad(y, x, create_graph=True)
        assert g.requires_grad
        (h,) = ge.autograd.grad(g, x)
    assert h.item() == 18.0
    assert not h.requires_grad


def test_gradient_penalty():
    """d/dw of |dy/dx|^2, the classic use of a recorded backward pass."""
    w, x = leaf(2.0, 3.0), leaf(1.0, 5.0)
    (g,) = ge.autograd.grad((w * x * x).sum(), x, create_graph=True)  # 2wx
    (g * g).sum().backward()
    assert w.grad.tolist() == [8 * 2 * 1.0, 8 * 3 * 25.0]  # 8wx^2


# --- no two gradients share memory ---


def arrays_of(*tensors):
    return [t.array for t in tensors]


@pytest.mark.parametrize("graph", [False, True])
def test_gradients_of_two_leaves_never_share_memory(graph):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    given = ge.tensor([1.0, 1.0], dtype="float64")
    (a + b).backward(given, create_graph=graph)
    held = arrays_of(a, b, a.grad, b.grad, given)
    for i, p in enumerate(held):
        for q in held[i + 1 :]:
            assert not np.shares_memory(p, q)
    with ge.no_grad():
        a.grad += 1
    assert b.grad.tolist() == [1.0, 1.0]
    assert given.tolist() == [1.0, 1.0]
    a.grad = b.grad = None


def test_a_raw_cotangent_is_neither_kept_nor_changed():
    given = np.ones(2)
    x = leaf(1.0, 2.0)
    y = x + 0.0
    for _ in range(2):
        y.backward(given, retain_graph=True)
    x.backward(given)
    assert given.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [3.0, 3.0]
    given[0] = 7.0
    assert x.grad.tolist() == [3.0, 3.0]


def test_gradients_given_as_values_never_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    ga, gb = ge.autograd.grad((a + b).sum(), [a, b])
    assert not np.shares_memory(ga.array, gb.array)
    same = ge.autograd.grad((a + b).sum(), [a, a])
    assert not np.shares_memory(same[0].array, same[1].array)


def test_grad_and_data_stay_apart_through_views():
    x = leaf([1.0, 2.0], [3.0, 4.0])
    x.T.reshape(4).backward(np.arange(4.0))
    assert x.grad.tolist() == [[0.0, 2.0], [1.0, 3.0]]
    assert x.grad.array.base is None or x.grad.array.flags.owndata
    assert not np.shares_memory(x.grad.array, x.array)


def test_a_held_grad_array_is_not_changed_by_the_next_pass():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    held = x.grad.numpy()
    (x * 2).sum().backward()
    assert held.tolist() == [2.0, 2.0]
    assert x.grad.tolist() == [4.0, 4.0]
