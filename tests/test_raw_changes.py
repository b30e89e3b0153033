"""Arrays changed behind the tape's back, by people who hold them: harmless or refused."""

import contextlib

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import GraphError, ShapeError
from gradengine.op import registry
from gradengine.testing import cases


def leaf(*values):
    return ge.tensor(values, dtype="float64", requires_grad=True)


def weights(t, k):
    return np.cos(np.arange(t.size).reshape(t.shape) + k)


# --- behind the tape's back ---

MESSAGE = r"backward: {} saved its {} (.|\n)*changed(.|\n)*hint: "


@pytest.mark.parametrize("reach", ["data", "numpy", "asarray", "view", "base", "dlpack", "lifted"])
def test_a_saved_input_changed_through_the_raw_array_is_detected(reach):
    source = np.array([1.0, 2.0, 3.0, 4.0])
    x = leaf(1.0, 1.0, 1.0, 1.0)
    if reach == "asarray":
        c, raw = ge.asarray(source), source
    elif reach == "lifted":
        c, raw = source, source
    elif reach == "base":
        c, raw = ge.from_numpy(source[1:][::-1][:-1]), source
        x = leaf(1.0, 1.0)
    else:
        c = ge.tensor(source)
        raw = None
    y = x * c
    if reach == "data":
        raw = c.data
    elif reach == "numpy":
        raw = c.numpy()
    elif reach == "view":
        raw = c[1:].numpy()
    elif reach == "dlpack":
        raw = np.from_dlpack(c)
        if not raw.flags.writeable:
            raw = c.data
    raw[2] += 5
    with pytest.raises(GraphError, match=MESSAGE.format("multiply", "input 1")):
        y.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_saved_output_changed_through_the_raw_array_is_detected(when):
    x = leaf(1.0, 2.0)
    y = ge.exp(x)
    if when == "before":
        raw = y.data
        z = ge.exp(y)
    else:
        z = ge.exp(y)
        raw = y.numpy()
    raw[...] = 0
    with pytest.raises(GraphError, match=MESSAGE.format("exp", "output")):
        z.sum().backward()
    assert x.grad is None


def test_the_leaf_itself_changed_through_its_raw_array_is_detected():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.numpy()[0] = 9
    with pytest.raises(GraphError, match="multiply saved its input"):
        y.backward()


def test_changes_to_what_nobody_reads_are_fine():
    x = leaf(1.0, 2.0)
    y = x + 1  # reads no values
    y.data[0] = 100.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_change_before_the_use_is_no_change():
    source = np.ones(2)
    c = ge.asarray(source)
    source[0] = 5
    x = leaf(1.0, 1.0)
    y = x * c
    y.sum().backward()
    assert x.grad.tolist() == [5.0, 1.0]


def test_a_value_written_back_is_no_change():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    raw = x.data
    old = raw.copy()
    raw[...] = 0
    raw[...] = old
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_writes_through_the_tensor_are_no_changes_behind_its_back():
    x = leaf(1.0, 2.0)
    y = x * 2
    raw = y.data
    z = y * y
    y[0] = 50.0
    assert raw.tolist() == [2.0, 4.0]
    z.sum().backward()
    assert x.grad.tolist() == [8.0, 16.0]


def test_replaced_data_is_shared_with_its_giver_and_watched():
    x = leaf(1.0, 2.0)
    c = ge.zeros(2, dtype="float64")
    raw = np.array([3.0, 4.0])
    c.data = raw
    y = x * c
    raw[0] = 9.0
    with pytest.raises(GraphError, match="multiply saved its input 1"):
        y.sum().backward()


def test_a_custom_rule_and_a_checkpoint_are_watched_too():
    @ge.custom_vjp
    def cube(x):
        return x * x * x

    cube.defvjp(lambda x: (cube.f(x), x), lambda x, g: (3 * x * x * g,))
    for f in (cube, lambda x: ge.checkpoint(cube.f, x)):
        x = leaf(1.0, 2.0)
        y = f(x)
        x.data[0] = 9.0
        with pytest.raises(GraphError, match="changed"):
            y.sum().backward()
        assert x.grad is None


def test_the_second_of_two_passes_is_checked_as_well():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    x.data[0] = 9.0
    with pytest.raises(GraphError, match="changed"):
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    "op",
    ["exp", "log", "sqrt", "sin", "tanh", "sigmoid", "reciprocal", "square", "log1p", "atan"],
)
def test_every_op_that_saves_is_watched(op):
    x = leaf(0.5, 1.5)
    y = x * 1
    z = getattr(ge, op)(y)
    saved = [a for a in z.node.saved if a is not None]
    assert saved
    for raw in (y.data, z.data):
        raw[0] = 0.25
    with pytest.raises(GraphError, match=f"backward: {op} saved"):
        z.sum().backward()


# --- every op of the registry: a changed saved array is harmless or refused, never silent ---

DIFFERENTIABLE = [op for op in registry.values() if op.differentiable]


def calls_of(op):
    """A few calls with arrays that hold something."""
    found = []
    for args, params in cases(op):
        floats = [
            i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"
        ]
        if floats and all(args[i].size for i in floats):
            found.append((args, params, floats))
    return found[1:2] + found[-1:]


def recorded(op, args, params, floats):
    """Leaves, the tensors the op read, its result, and a loss that saves neither of them."""
    leaves = [ge.tensor(args[i], requires_grad=True) for i in floats]
    inputs = dict(zip(floats, (x + 0.0 for x in leaves), strict=True))
    y = op.function(*[inputs.get(i, a) for i, a in enumerate(args)], **params)
    return leaves, list(inputs.values()), y, (y * weights(y, 1)).sum()


def grads_of(leaves):
    return [None if x.grad is None else x.grad.array for x in leaves]


def refusal(loss):
    try:
        loss.backward(retain_graph=True)
    except GraphError as error:
        return str(error)
    return ""


def same(found, expected):
    return all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True))
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_no_op_is_spoilt_by_a_later_write(op):
    for args, params, floats in calls_of(op):
        leaves, _, y, loss = recorded(op, args, params, floats)
        if not y.requires_grad:
            continue
        loss.backward()
        clean = grads_of(leaves)

        leaves, inputs, y, loss = recorded(op, args, params, floats)
        for t in [*inputs, y]:
            view = t[..., None]
            with contextlib.suppress(ShapeError):  # a broadcast view cannot be written to
                t *= 0
                view += 7
        loss.backward()
        assert same(grads_of(leaves), clean)

        for target in range(len(inputs) + 1):
            for through_view in (False, True):
                leaves, inputs, y, loss = recorded(op, args, params, floats)
                t = [*inputs, y][target]
                raw = (t[..., None] if through_view else t).data
                if not raw.flags.writeable:
                    continue
                raw[...] = raw * 0.5 + 0.125
                message = refusal(loss)
                if message or any(a is t.array for a in y.node.saved or ()):
                    assert "changed since through its raw" in message
                    assert grads_of(leaves) == [None] * len(leaves)
                else:
                    assert same(grads_of(leaves), clean), (op.name, params, target)
