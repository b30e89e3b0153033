"""Bad input: each kind names the op, the argument and a remedy, and leaves nothing half-done."""

import builtins
import types

import numpy as np
import pytest

import gradengine as ge
from gradengine import errors
from gradengine.errors import (
    AxisError,
    DeviceError,
    DTypeError,
    GraphError,
    OutOfRangeError,
    ShapeError,
)


def leaf(*values):
    return ge.tensor(values, dtype="float64", requires_grad=True)


def zeros(*shape, **kwargs):
    return ge.zeros(shape, **kwargs)


# --- the classes ---

CLASSES = {
    "ShapeError": "ValueError",
    "AxisError": "IndexError",
    "OutOfRangeError": "IndexError",
    "DTypeError": "TypeError",
    "DeviceError": "RuntimeError",
    "GraphError": "RuntimeError",
    "StateError": "RuntimeError",
    "MemberError": "AttributeError",
    "MissingDependencyError": "ImportError",
    "DataError": "ValueError",
}


@pytest.mark.parametrize(("name", "parent"), CLASSES.items())
def test_our_classes_stand_below_the_built_in_ones_people_catch(name, parent):
    cls = getattr(errors, name)
    assert issubclass(cls, getattr(builtins, parent))
    assert issubclass(cls, errors.GradengineError)


def test_no_class_is_forgotten():
    defined = {
        name
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.GradengineError)
    }
    assert defined == {*CLASSES, "GradengineError"}


def test_an_axis_error_is_a_value_error_too():
    """NumPy's AxisError is both."""
    assert issubclass(AxisError, ValueError)


# --- what is wrong, which argument, what to do ---

BAD = {
    # shapes
    "broadcast": (
        ShapeError,
        r"add: shapes \(32, 10\) and \(32, 9\) do not broadcast: axis -1 has sizes 10 and 9",
        lambda: zeros(32, 10) + zeros(32, 9),
    ),
    "broadcast with an array": (
        ShapeError,
        r"multiply: shapes \(3,\) and \(2,\)",
        lambda: zeros(3) * np.ones(2),
    ),
    "broadcast of three": (
        ShapeError,
        r"where: shapes \(2,\) and \(3,\) and \(3,\)",
        lambda: ge.where(zeros(2) > 0, zeros(3), zeros(3)),
    ),
    "matmul": (
        ShapeError,
        r"matmul: inner dimensions differ: \(32, 784\) @ \(128, 10\)\n +\^\^\^ +\^\^\^\n"
        r"  a.shape\[-1\] = 784, b.shape\[-2\] = 128",
        lambda: zeros(32, 784) @ zeros(128, 10),
    ),
    "matmul of a scalar": (ShapeError, r"matmul: .*\(\) @ \(3,\)", lambda: zeros() @ zeros(3)),
    "reshape": (ShapeError, r"reshape: .*\(2, 3\)", lambda: zeros(2, 3).reshape(4, 2)),
    "concat": (ShapeError, "concat: ", lambda: ge.concat([zeros(2, 3), zeros(2, 4)], axis=0)),
    "stack": (ShapeError, "stack: ", lambda: ge.stack([zeros(2), zeros(3)])),
    "squeeze": (ShapeError, "squeeze: ", lambda: ge.squeeze(zeros(2, 3), 0)),
    "broadcast_to": (ShapeError, "broadcast_to: ", lambda: ge.broadcast_to(zeros(3), (2, 4))),
    "item": (ShapeError, r"item: .*\(3,\)", lambda: zeros(3).item()),
    "write": (ShapeError, r"setitem: ", lambda: zeros(3).__setitem__(slice(2), zeros(3))),
    "grow in place": (
        ShapeError,
        r"\+=: the result \(2, 3\)",
        lambda: zeros(3).__iadd__(zeros(2, 3)),
    ),
    "grad of another shape": (
        ShapeError,
        r"grad: shape \(2,\) for a tensor of shape \(1,\)",
        lambda: setattr(leaf(1.0), "grad", zeros(2)),
    ),
    "cotangent": (
        ShapeError,
        r"backward: gradient has shape \(3,\), its output \(2,\)",
        lambda: (leaf(1.0, 2.0) * 2).backward(np.ones(3)),
    ),
    "cotangent of a scalar": (
        ShapeError,
        r"backward: gradient has shape \(1,\), its output \(\)",
        lambda: leaf(1.0, 2.0).sum().backward(np.ones(1)),
    ),
    # axes and indices
    "axis": (AxisError, r"sum: (.|\n)*axis 2", lambda: zeros(2, 3).sum(axis=2)),
    "axis twice": (AxisError, r"sum: (.|\n)*twice", lambda: zeros(2, 3).sum(axis=(0, -2))),
    "axis of a 0-d": (AxisError, "max: ", lambda: zeros().max(axis=1)),
    "axes of a permutation": (ValueError, "permute_dims: ", lambda: zeros(2, 3).transpose(0, 0)),
    "softmax axis": (AxisError, "softmax: ", lambda: zeros(2).softmax(axis=1)),
    "flip axis": (AxisError, "flip: axis 3", lambda: ge.flip(zeros(2), axis=3)),
    "index": (OutOfRangeError, "getitem: (.|\n)*5", lambda: zeros(3)[5]),
    "index array": (OutOfRangeError, "getitem: (.|\n)*-4", lambda: zeros(3)[[0, -4]]),
    "too many indices": (OutOfRangeError, "getitem: too many", lambda: zeros(3)[0, 0]),
    "index write": (OutOfRangeError, "setitem: ", lambda: zeros(3).__setitem__(5, 1.0)),
    "float index": (DTypeError, "getitem: an index must be integers", lambda: zeros(3)[0.5]),
    "class out of range": (
        OutOfRangeError,
        "cross_entropy: (.|\n)*5",
        lambda: ge.cross_entropy(zeros(2, 3), ge.tensor([0, 5])),
    ),
    "empty maximum": (ShapeError, "max: ", lambda: zeros(0).max()),
    # dtypes
    "objects": (DTypeError, "add: ", lambda: zeros(3) + object()),
    "text": (DTypeError, "multiply: ", lambda: zeros(3) * "2"),
    "bits of floats": (DTypeError, "bitwise_and: ", lambda: zeros(3) & zeros(3)),
    "integer division in place": (DTypeError, "/=: ", lambda: ge.tensor([1, 2]).__itruediv__(2)),
    "complex": (
        DTypeError,
        "multiply: a real tensor that is being differentiated would become complex",
        lambda: leaf(1.0) * ge.tensor([1j]),
    ),
    "becomes complex": (DTypeError, "astype: a real tensor", lambda: leaf(1.0).astype("complex64")),
    "becomes complex inside jvp": (
        DTypeError,
        "multiply: a real tensor that is being differentiated would become complex",
        lambda: ge.jvp(lambda x: ge.abs(x * 1j), (1.0,), (1.0,)),
    ),
    "complex cotangent": (
        DTypeError,
        "backward: the gradient is complex128",
        lambda: leaf(1.0).backward(np.array([1j])),
    ),
    "integer cotangent": (
        DTypeError,
        "backward: the gradient is int64(.|\n)*float64",
        lambda: leaf(1.0).backward(np.array([1])),
    ),
    "grad of another dtype": (
        DTypeError,
        "grad: int64 on cpu for a tensor of float64",
        lambda: setattr(leaf(1.0), "grad", ge.tensor([1])),
    ),
    "len of a number": (DTypeError, "len: ", lambda: len(zeros())),
    "iteration over a number": (DTypeError, "iter: ", lambda: iter(zeros())),
    # devices
    "no such device": (DeviceError, "device: 'tpu' is no device", lambda: zeros(2, device="tpu")),
    "no such index": (DeviceError, "device: ", lambda: zeros(2).to("cuda:x")),
    # the graph
    "vector output": (
        GraphError,
        r"backward: the output has shape \(2,\); only scalars(.|\n)*gradient=",
        lambda: (leaf(1.0, 2.0) * 2).backward(),
    ),
    "empty output": (GraphError, r"backward: .*\(0,\)", lambda: leaf().backward()),
    "constant output": (
        GraphError,
        r"backward: the output \(\) does not require a gradient(.|\n)*requires_grad_",
        lambda: ge.tensor(1.0).backward(),
    ),
    "output made under no_grad": (GraphError, "no_grad", lambda: under_no_grad().backward()),
    "constant input": (
        GraphError,
        r"backward: inputs\[1\] \(\)",
        lambda: leaf(1.0).sum().backward(inputs=[leaf(1.0), ge.tensor(1.0)]),
    ),
    "input that is no tensor": (
        DTypeError,
        r"backward: inputs\[0\] is float, no Tensor",
        lambda: leaf(1.0).sum().backward(inputs=[1.0]),
    ),
    "outputs that are no tensors": (
        DTypeError,
        r"grad: outputs\[0\] is float, no Tensor",
        lambda: ge.autograd.grad(1.0, leaf(1.0)),
    ),
    "inputs that are no tensors": (
        DTypeError,
        r"grad: inputs\[0\] is float, no Tensor",
        lambda: ge.autograd.grad(leaf(1.0).sum(), 1.0),
    ),
    "too many cotangents": (
        ShapeError,
        "grad: 2 gradients for 1 outputs",
        lambda: ge.autograd.grad(leaf(1.0).sum(), leaf(1.0), [None, None]),
    ),
    "too few cotangents": (
        ShapeError,
        "backward: 1 gradients for 2 outputs",
        lambda: ge.autograd.backward([leaf(1.0).sum()] * 2, [None]),
    ),
    "a hook that is none": (
        DTypeError,
        "hook: int cannot be called",
        lambda: leaf(1.0).register_hook(3),
    ),
    "grad of a result": (
        GraphError,
        "grad: this tensor is no leaf",
        lambda: setattr(leaf(1.0) * 2, "grad", zeros(1, dtype="float64")),
    ),
    "write to a leaf": (GraphError, "leaf(.|\n)*no_grad", lambda: leaf(1.0).__setitem__(0, 1.0)),
    "history in a bare array": (
        GraphError,
        "numpy.asarray: (.|\n)*detach",
        lambda: np.asarray(leaf(1.0)),
    ),
    "history in DLPack": (GraphError, "__dlpack__: ", lambda: leaf(1.0).__dlpack__()),
    "pickle of a result": (GraphError, "pickle: ", lambda: (leaf(1.0) * 2).__reduce__()),
}


CONSTANTS_ONLY = ("bits of floats", "write", "grow in place", "index write", "no such device")
"""What fails in another way, or not at all, where a gradient is asked for."""


def under_no_grad():
    with ge.no_grad():
        return leaf(1.0).sum()


@pytest.mark.parametrize("kind", BAD)
def test_bad_input(kind):
    error, message, call = BAD[kind]
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, errors.GradengineError)
    assert "\n  hint: " in str(caught.value), str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind not in CONSTANTS_ONLY])
def test_bad_input_with_gradients_asked_for_is_the_same_error(kind, monkeypatch):
    """What is recorded does not change what is checked."""
    error, message, call = BAD[kind]
    made = ge.zeros

    def recorded(*args, **kwargs):
        return made(*args, **kwargs).requires_grad_() * 1

    monkeypatch.setattr(ge, "zeros", recorded)
    with pytest.raises(error, match=message):
        call()


def test_the_array_librarys_own_words_are_kept_as_the_cause():
    with pytest.raises(ShapeError) as caught:
        zeros(2) + zeros(3)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ge.sum(zeros(2), 0, False, None, 1, 2), "sum"),
        (lambda: ge.softmax(zeros(2), axe=0), "axe"),
        (lambda: ge.where(zeros(2)), "where|missing"),
    ],
)
def test_wrong_calls_are_type_errors(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# --- who may ask for a gradient ---

INTEGERS = ["bool", *[f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)]]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_and_bools_have_no_gradient(dtype):
    data = np.ones(2, dtype)
    for call in (
        lambda: ge.tensor(data, requires_grad=True),
        lambda: ge.asarray(data).requires_grad_(),
        lambda: setattr(ge.asarray(data), "requires_grad", True),
        lambda: ge.zeros(2, dtype=dtype, requires_grad=True),
        lambda: ge.grad(lambda x: x.sum())(data),
    ):
        with pytest.raises(DTypeError, match=rf"{dtype}(.|\n)*hint: "):
            call()
    t = ge.asarray(data)
    assert not t.requires_grad
    assert not t.requires_grad_(False).requires_grad


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_leaves_are_refused(dtype):
    with pytest.raises(DTypeError, match=dtype):
        ge.tensor(np.ones(2, dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_floats_have_one(dtype):
    x = ge.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.dtype == x.dtype
    assert x.grad.astype("float64").tolist() == [2.0, 4.0]


INDEX_OPS = {
    "argmax": lambda x: x.argmax(),
    "argmin": lambda x: x.argmin(axis=0),
    "argsort": ge.argsort,
    "nonzero": lambda x: ge.nonzero(x)[0],
    "count_nonzero": ge.count_nonzero,
    "comparison": lambda x: x > 0,
    "equality": lambda x: x == x,
    "isnan": ge.isnan,
    "logical_not": lambda x: ge.logical_not(x > 0),
    "signbit": ge.signbit,
    "all": lambda x: (x > 0).all(),
    "as integers": lambda x: x.astype("int32"),
    "long": lambda x: x.long(),
}


@pytest.mark.parametrize("name", INDEX_OPS)
def test_positions_and_truths_never_ask_for_a_gradient(name):
    y = INDEX_OPS[name](leaf(1.0, 2.0))
    assert not y.requires_grad
    assert y.node is None


# --- devices, on a machine that may have one only ---


class OtherArray(np.ndarray):
    """Stands for an array of another library on another device."""

    @property
    def device(self):
        return types.SimpleNamespace(id=1)


@pytest.fixture
def elsewhere(monkeypatch):
    """Makes arrays that the engine takes for another module's, on `cuda:1`."""
    module = types.ModuleType("other")
    for name in ("add", "matmul", "ones", "where", "sum"):
        setattr(module, name, getattr(np, name))
    monkeypatch.setitem(ge.device._NAMESPACES, OtherArray, module)
    return lambda *shape: np.ones(shape).view(OtherArray)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("op", ["add", "matmul", "divide", "concat", "where"])
def test_mixed_devices_name_both_arguments(op, swap, elsewhere):
    here, there = ge.tensor(np.ones((2, 2)), requires_grad=True), elsewhere(2, 2)
    args = (there, here) if swap else (here, there)
    call = {
        "concat": lambda a, b: ge.concat([a, b]),
        "where": lambda a, b: ge.where(ge.tensor([True, False]), a, b),
    }.get(op, getattr(ge, op, None))
    with pytest.raises(DeviceError) as caught:
        call(*args)
    text = str(caught.value)
    assert text.startswith(f"{op}: ")
    assert "(2, 2) on 'cuda:1'" in text
    assert "(2, 2) on 'cpu'" in text
    assert "hint: move one" in text


def test_a_cotangent_or_gradient_from_elsewhere_is_refused(elsewhere):
    x = ge.tensor(np.ones(2), requires_grad=True)
    with pytest.raises(DeviceError, match=r"backward(.|\n)*'cuda:1'"):
        (x * 2).backward(elsewhere(2))
    with pytest.raises(DeviceError, match="grad: float64 on cuda:1"):
        x.grad = elsewhere(2)
    assert x.grad is None


def test_cuda_without_cuda_says_what_is_missing():
    if ge.cuda_is_available():
        pytest.skip("this machine has a GPU")
    for call in (
        lambda: ge.zeros(2, device="cuda"),
        lambda: ge.tensor([1.0]).cuda(),
        lambda: ge.tensor([1.0]).to("cuda:3"),
        lambda: ge.default_device("cuda"),
    ):
        with pytest.raises(DeviceError, match=r"cuda: (.|\n)*hint: .*gradengine doctor"):
            call()
