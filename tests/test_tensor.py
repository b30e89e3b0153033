"""Tensor: every operator and method against NumPy, conversions, looks, and what is refused."""

from __future__ import annotations

import inspect
import operator
import re
import types

import numpy as np
import pytest

import gradengine as ge

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])
B = np.array([[1.5, 0.5, -2.0], [0.1, 3.0, 0.7]])
I = np.array([[5, -3, 2], [7, 0, -1]])  # noqa: E741
J = np.array([[2, 3, -1], [1, 2, 3]])


def leaf(x):
    return ge.tensor(x, requires_grad=True)


def same(found, expected):
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            same(f, e)
        return
    expected = np.asarray(expected)
    assert isinstance(found, ge.Tensor)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.allclose(found.detach().numpy(), expected, rtol=1e-12, atol=0)


# --- operators ---

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv]
ARITHMETIC += [operator.mod, operator.pow]
COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


def named(op):
    return op.__name__


@pytest.mark.parametrize("op", ARITHMETIC, ids=named)
def test_arithmetic_with_every_partner(op):
    a = np.abs(A)
    for x, y in [
        (leaf(a), leaf(B)),
        (leaf(a), B),
        (a, leaf(B)),
        (leaf(a), 2.0),
        (2.0, leaf(B)),
        (leaf(a), 2),
        (3, leaf(B)),
        (leaf(a), np.float64(2)),
        (np.float64(2), leaf(B)),
        (np.float32(2), leaf(B)),
        (leaf(a), B[0]),
        (a[:, :1], leaf(B)),
        (ge.tensor(a), leaf(B[0])),
        (leaf(a), np.array(2.0)),
    ]:
        raw = [v.detach().numpy() if isinstance(v, ge.Tensor) else v for v in (x, y)]
        found = op(x, y)
        same(found, op(*raw))
        assert found.requires_grad


@pytest.mark.parametrize("op", ARITHMETIC[:4], ids=named)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("scalar", [2, 2.0, True, np.float64(2), np.int64(2)])
def test_scalars_keep_the_dtype_of_value_and_gradient(op, dtype, scalar):
    for swap in (False, True):
        x = ge.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
        y = op(scalar, x) if swap else op(x, scalar)
        assert y.dtype == x.dtype
        y.sum().backward()
        assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("op", COMPARE, ids=named)
def test_comparisons(op):
    for x, y in [(leaf(A), leaf(B)), (leaf(A), B), (A, leaf(B)), (leaf(A), 0.5), (0.5, leaf(A))]:
        raw = [v.detach().numpy() if isinstance(v, ge.Tensor) else v for v in (x, y)]
        found = op(x, y)
        same(found, op(*raw))
        assert not found.requires_grad


@pytest.mark.parametrize("op", BITS, ids=named)
def test_bits(op):
    i, j = np.abs(I), np.abs(J)
    for x, y in [(ge.tensor(i), ge.tensor(j)), (ge.tensor(i), j), (i, ge.tensor(j))]:
        same(op(x, y), op(i, j))
    same(op(ge.tensor(i), 2), op(i, 2))
    same(op(3, ge.tensor(j)), op(3, j))
    if op.__name__ not in ("lshift", "rshift"):
        same(op(ge.tensor(i > 2), ge.tensor(j > 2)), op(i > 2, j > 2))
    with pytest.raises(ge.DTypeError, match="bitwise_"):
        op(ge.tensor(A), ge.tensor(B))


def test_matmul_on_either_side():
    for x, y in [(leaf(A), leaf(B.T)), (leaf(A), B.T), (A, leaf(B.T)), (A[0], leaf(B.T))]:
        raw = [v.detach().numpy() if isinstance(v, ge.Tensor) else v for v in (x, y)]
        found = x @ y
        same(found, raw[0] @ raw[1])
        assert found.requires_grad
    with pytest.raises(ge.ShapeError, match=r"matmul: .*\(2, 3\) @ \(2, 3\)"):
        leaf(A) @ leaf(B)


def test_unary_operators():
    x = leaf(A)
    same(-x, -A)
    same(+x, +A)
    same(abs(x), np.abs(A))
    same(~ge.tensor(I), ~I)
    same(~(x > 0), ~(A > 0))


INPLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow]
INPLACE += [operator.ifloordiv, operator.imod]


@pytest.mark.parametrize("op", INPLACE, ids=named)
def test_in_place(op):
    x, value = leaf(np.abs(A)), B
    t = x * 1
    kept = t
    t = op(t, value)
    assert t is kept
    expected = np.abs(A)
    expected = op(expected, value)
    same(t, expected)
    if op.__name__ in ("iadd", "isub", "imul", "itruediv"):
        t.sum().backward()
        assert x.grad is not None
    with pytest.raises(ge.GraphError, match="leaf"):
        op(leaf(np.abs(A)), value)


def test_in_place_bits_and_matmul():
    for op in (operator.iand, operator.ior, operator.ixor):
        t, expected = ge.tensor(I), I.copy()
        assert op(t, J) is t
        same(t, op(expected, J))
    m = ge.tensor(np.eye(2) * 3)
    kept = m
    m @= np.ones((2, 2))
    assert m is kept
    same(m, np.full((2, 2), 3.0))


def test_in_place_refuses_growth_and_loss():
    t = ge.zeros(3)
    with pytest.raises(ge.ShapeError, match=r"\+=.*\(2, 3\).*\(3,\)"):
        t += np.ones((2, 3), "f4")
    i = ge.tensor(I)
    with pytest.raises(ge.DTypeError, match="int64"):
        i += 0.5
    assert i.tolist() == I.tolist()
    h = ge.zeros(2, dtype="float16")
    h += np.ones(2)  # same kind: float64 into float16
    assert h.dtype == np.float16


# --- mistakes between operands ---


def test_messages_of_operands():
    with pytest.raises(ge.ShapeError, match=r"add: shapes \(32, 10\) and \(32, 9\)"):
        ge.zeros((32, 10)) + ge.zeros((32, 9))
    for other in ("text", None, object(), {"a": 1}):
        with pytest.raises(TypeError):
            _ = leaf(A) + other
        with pytest.raises(TypeError):
            _ = other + leaf(A)


# --- methods against NumPy's ---

METHODS = {
    "reshape": ((3, 2),),
    "transpose": (),
    "swapaxes": (0, 1),
    "ravel": (),
    "flatten": (),
    "copy": (),
    "diagonal": (1,),
    "repeat": (2,),
    "take": ([0, 2], 1),
    "sum": (1,),
    "prod": (0,),
    "mean": (),
    "var": (1,),
    "std": (0,),
    "max": (1,),
    "min": (),
    "argmax": (1,),
    "argmin": (0,),
    "all": (1,),
    "any": (),
    "cumsum": (1,),
    "cumprod": (0,),
    "clip": (-0.5, 0.6),
    "round": (1,),
    "astype": ("float32",),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_as_numpy(name):
    args = METHODS[name]
    x = leaf(A)
    found, expected = getattr(x, name)(*args), getattr(A, name)(*args)
    same(found.detach(), expected)
    assert found.requires_grad == (name not in ("argmax", "argmin", "all", "any"))


@pytest.mark.parametrize(
    "name", ["abs", "exp", "sin", "cos", "tanh", "square", "sqrt", "log"], ids=str
)
def test_elementwise_methods(name):
    x = np.abs(A)
    same(getattr(leaf(x), name)(), getattr(np, name)(x))


@pytest.mark.parametrize(
    "name", ["sum", "prod", "mean", "var", "std", "max", "min", "all", "any", "logsumexp", "norm"]
)
def test_reductions_take_axis_and_keepdims(name):
    x = ge.tensor(A)
    for axis in (None, 0, -1, (0, 1)):
        whole, kept = getattr(x, name)(axis=axis), getattr(x, name)(axis=axis, keepdims=True)
        assert kept.ndim == 2
        assert whole.numpy().tolist() == kept.numpy().reshape(whole.shape).tolist()


def test_methods_with_other_names():
    x = leaf(A)
    same(x.T, A.T)
    same(x.mT, A.T)
    same(x.view(3, 2), A.reshape(3, 2))
    same(x.reshape(3, -1), A.reshape(3, 2))
    same(x.reshape([6]), A.reshape(6))
    same(x.permute(1, 0), A.T)
    same(x.permute((1, 0)), A.T)
    same(x.transpose(1, 0), A.T)
    same(x.unsqueeze(1), A[:, None])
    same(x.expand_dims(0), A[None])
    same(x[:1].squeeze(0), A[0])
    same(x[:1, :1].squeeze(), A[0, 0])
    same(x.clamp(0, 1), np.clip(A, 0, 1))
    same(x.clone(), A)
    same(x.pow(2), A**2)
    same(x.norm(), np.linalg.norm(A))
    same(x.logsumexp(1), np.log(np.exp(A).sum(1)))
    soft = np.exp(A) / np.exp(A).sum(1, keepdims=True)
    same(x.softmax(), soft)
    same(x.log_softmax(1), np.log(soft))
    same(x.sigmoid(), 1 / (1 + np.exp(-A)))
    same(x.relu(), np.maximum(A, 0))
    same(x.sum(dtype="float32"), A.sum(dtype="float32"))
    same(x.var(correction=1), A.var(ddof=1))
    same(x.contiguous(), A)
    assert x.contiguous() is x
    turned = x.T.contiguous()
    assert turned.data.flags.c_contiguous
    same(turned, A.T)


def test_casts():
    x = leaf(A)
    for name, dtype in (("half", "f2"), ("float", "f4"), ("double", "f8"), ("long", "i8")):
        assert getattr(x, name)().dtype == dtype
    x.half().sum().backward()
    assert x.grad.dtype == np.float64


OWN = ("plain", "level")  # the engine's


def test_every_method_is_documented_and_has_a_test():
    source = inspect.getsource(inspect.getmodule(test_casts))
    for name, member in inspect.getmembers(ge.Tensor):
        if name.startswith("_") or isinstance(member, types.MemberDescriptorType) or name in OWN:
            continue
        assert inspect.getdoc(member), f"Tensor.{name} says nothing"
        assert re.search(rf"\b{name}\b", source), f"Tensor.{name} is not tested here"


# --- what it is ---


def test_properties():
    x = leaf(A)
    assert (x.shape, x.dtype, x.ndim, x.size) == ((2, 3), np.float64, 2, 6)
    assert (x.itemsize, x.nbytes, x.device) == (8, 48, "cpu")
    assert x.xp is np
    assert x.data is x.array
    assert x.is_leaf
    assert x.grad_fn is None
    y = x * 2
    assert not y.is_leaf
    assert y.grad_fn.name == "multiply"
    assert y.requires_grad
    assert not y.detach().requires_grad
    z = ge.zeros(2)
    z.data = np.ones(3)
    same(z, np.ones(3))


def test_lift():
    assert ge.Tensor.lift(1.5).dtype == np.float32
    assert ge.Tensor.lift(A).dtype == np.float64
    x = leaf(A)
    assert ge.Tensor.lift(x) is x


def test_requires_grad_on_and_off():
    x = ge.tensor(A)
    assert x.requires_grad_() is x
    assert x.requires_grad
    x.requires_grad = False
    assert not x.requires_grad
    with pytest.raises(ge.GraphError, match=r"x\.detach\(\)"):
        (leaf(A) * 2).requires_grad_(False)
    with pytest.raises(ge.DTypeError, match="int64"):
        ge.tensor(I).requires_grad_()


def test_grad_is_checked():
    x = leaf(A)
    x.grad = np.ones((2, 3))
    same(x.grad, np.ones((2, 3)))
    with pytest.raises(ge.ShapeError, match=r"grad: shape \(3,\)"):
        x.grad = np.ones(3)
    x.grad = None
    assert x.grad is None
    with pytest.raises(ge.GraphError, match="leaf"):
        ge.zeros(2).grad = ge.ones(2)


def test_backward_hooks_and_retain_grad():
    x = leaf(A)
    y = x * 2
    y.retain_grad()
    seen = []
    remove = y.register_hook(lambda g: seen.append(g) or g * 10)
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t))
    y.backward(gradient=np.ones((2, 3)), retain_graph=True)
    assert len(seen) == 2
    assert seen[1] is x
    same(y.grad, np.full((2, 3), 10.0))
    same(x.grad, np.full((2, 3), 20.0))
    remove()
    y.backward(np.ones((2, 3)))
    same(x.grad, np.full((2, 3), 22.0))
    for call in (
        lambda: ge.zeros(2).retain_grad(),
        lambda: ge.zeros(2).register_hook(print),
        lambda: y.register_post_accumulate_grad_hook(print),
    ):
        with pytest.raises(ge.GraphError):
            call()


# --- to Python and NumPy ---


def test_conversions():
    x = leaf(2.5)
    assert x.item() == 2.5
    assert type(x.item()) is float
    assert float(x) == 2.5
    assert int(x) == 2
    assert complex(x) == 2.5
    assert bool(x) is True
    assert x.tolist() == 2.5
    assert leaf(A).tolist() == A.tolist()
    assert ge.tensor([[7]]).item() == 7
    assert "abc"[ge.tensor(1)] == "b"
    assert range(10)[ge.tensor(3)] == 3
    assert f"{x:.2f}" == "2.50"
    assert f"{x}" == repr(x)
    y = leaf(A) * 2
    for values in (y.numpy(), y.get()):
        assert type(values) is np.ndarray
        assert np.array_equal(values, A * 2)


def test_conversions_that_cannot_be():
    with pytest.raises(ge.ShapeError, match=r"item: .*\(2, 3\)"):
        leaf(A).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf(A))
    with pytest.raises(TypeError):
        "abc"[leaf(1.0)]
    with pytest.raises(ValueError, match="item"):
        float(leaf(A))


def test_length_iteration_membership():
    x = leaf(A)
    assert len(x) == 2
    rows = list(x)
    assert len(rows) == 2
    same(rows[1], A[1])
    first, second = x
    (first * second).sum().backward()
    assert np.array_equal(x.grad.numpy(), A[::-1])
    assert 0.25 in x
    assert 0.3 not in x
    assert ge.tensor(2.0) in x
    for call in (lambda: len(leaf(1.0)), lambda: list(leaf(1.0))):
        with pytest.raises(TypeError, match=r"x\.item\(\)"):
            call()


def test_python_control_flow_sees_values():
    def f(x):
        y = x
        while y < 100:
            y = y * 2
        return y

    x = leaf(3.0)
    y = f(x)
    y.backward()
    assert y.item() == 192
    assert x.grad.item() == 64


def test_identity_hash():
    x, y = leaf(A), leaf(A)
    assert len({x, y, x}) == 2
    assert {x: 1}[x] == 1


def test_moves_on_the_cpu():
    x = leaf(A)
    assert x.cpu() is x
    assert x.to_device("cpu") is x
    assert x.to("cpu", "float32").dtype == np.float32
    if not ge.cuda_is_available():
        with pytest.raises(ge.DeviceError, match="gradengine doctor"):
            x.cuda()


# --- looks ---


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ge.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: ge.tensor(3), "tensor(3)"),
        (lambda: ge.tensor(True), "tensor(True)"),
        (lambda: ge.tensor([1.0], dtype="float64"), "tensor([1.], dtype=float64)"),
        (lambda: ge.tensor([1], dtype="int8"), "tensor([1], dtype=int8)"),
        (lambda: ge.zeros((0, 3)), "tensor([], shape=(0, 3))"),
        (lambda: leaf(1.0), "tensor(1., requires_grad=True)"),
        (lambda: leaf([1.0]) * 2, "tensor([2.], grad_fn=<multiply>)"),
        (lambda: ge.tensor([[1.0, 2.0], [3.0, 4.0]]), "tensor([[1., 2.],\n        [3., 4.]])"),
        (lambda: ge.tensor([1.5], dtype="bfloat16"), "tensor([1.5], dtype=bfloat16)"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == text
    assert str(make()) == text


def test_repr_of_much_is_short():
    assert len(repr(ge.zeros(10_000))) < 200


def test_html():
    html = ge.tensor([[1.0, 2.0]])._repr_html_()
    assert "<table>" in html
    assert "shape (1, 2)" in html
    assert "float32" in html
    assert "range 1 to 2" in html
    many = (leaf(np.ones((50, 50))) * 2)._repr_html_()
    assert "<pre>" in many
    assert "grad_fn=&lt;multiply&gt;" in many
    assert "<multiply>" not in many
    assert "<pre>" in ge.zeros((0, 2))._repr_html_()


# --- writes ---


def test_writes_by_name():
    x = leaf(A)
    y = x * 1
    assert y.fill_(3) is y
    same(y, np.full((2, 3), 3.0))
    assert y.zero_() is y
    same(y, np.zeros((2, 3)))
    y.copy_(x)
    same(y, A)
    y.add_(1).mul_(2).sub_(x).div_(4)
    same(y, ((A + 1) * 2 - A) / 4)
    y.sum().backward()
    same(x.grad, np.full((2, 3), 0.25))


def test_item_assignment():
    x, v = leaf(A), leaf(2.0)
    y = x * 1
    y[0, ::2] = v
    expected = A.copy()
    expected[0, ::2] = 2.0
    same(y, expected)
    (y * B).sum().backward()
    assert v.grad.item() == pytest.approx(B[0, ::2].sum())
    mask = np.ones((2, 3))
    mask[0, ::2] = 0
    same(x.grad, B * mask)


def test_indexing():
    x = leaf(A)
    for index in (0, (0, 1), slice(None, None, -1), (..., 0), (None, 0), ([1, 0], [2, 2]), A > 0):
        same(x[index], A[index])
    same(x[ge.tensor([1, 0])], A[[1, 0]])
    same(x[x > 0], A[A > 0])
    with pytest.raises(IndexError, match="5"):
        x[5]
    with pytest.raises(IndexError):
        x["a"]


# --- module and array protocol names ---


def test_dunders_that_other_files_test():
    x = ge.tensor(A)
    assert x.__array_namespace__() is ge
    assert x.__array_priority__ > 0
    assert x.__dlpack_device__() == (1, 0)
    assert np.array_equal(x.__array__(), A)
    assert operator.index(ge.tensor(3)) == 3


def test_shifts_in_place_reach_the_base_of_a_view():
    x = ge.tensor([1, 2, 4])
    part = x[1:]
    part <<= 2
    assert x.tolist() == [1, 8, 16]
    part >>= 1
    assert x.tolist() == [1, 4, 8]


def test_an_unknown_dtype_is_refused_with_a_remedy():
    with pytest.raises(ge.DTypeError, match="dtype: 'foo' is none\n  hint: "):
        ge.tensor([1.0], dtype="foo")
    with pytest.raises(ge.DTypeError, match="dtype: 'foo' is none"):
        ge.ones(2).astype("foo")


def test_subclasses_of_ndarray_count_as_plain_arrays():
    matrix = np.asarray([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)
    w = ge.ones((2, 2), dtype="float64", requires_grad=True)
    assert type(ge.tensor(matrix).data) is type(ge.asarray(matrix).data) is np.ndarray
    for y in (w * matrix, matrix * w, np.multiply(matrix, w)):
        assert type(y.data) is np.ndarray
        assert y.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    y = w * matrix
    matrix[0, 0] = 9.0
    with pytest.raises(ge.GraphError, match="changed since"):
        y.sum().backward()


def test_masked_arrays_are_refused_since_the_mask_would_be_lost():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for call in (ge.tensor, ge.asarray, lambda x: ge.ones(2) * x):
        with pytest.raises(ge.DTypeError, match=r"masked array (.|\n)*filled"):
            call(masked)
