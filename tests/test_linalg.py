"""Products: matmul in all ranks, linear, vecdot, tensordot, einsum: values, gradients, messages."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import ops
from gradengine.errors import AxisError, DTypeError, ShapeError
from gradengine.ops.linalg import linear
from gradengine.testing import check_grads

rng = np.random.default_rng(5)
HALVES = ["float16", ml_dtypes.bfloat16]


def draw(*shape: int) -> Any:
    return rng.normal(size=shape)


def leaf(x: Any) -> Any:
    return ge.tensor(np.array(x), requires_grad=True)


# --- matmul ---

RANKS = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 2)),
    ((2, 5, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((2, 3, 4), (1, 4, 2)),
    ((1, 1), (1, 1)),
    ((0, 4), (4, 2)),
    ((3, 0), (0, 2)),
    ((0, 3, 4), (4, 2)),
    ((2, 3, 4), (0, 1, 4, 2)),
]


@pytest.mark.parametrize(("a", "b"), RANKS)
def test_matmul_in_all_ranks(a: Any, b: Any) -> None:
    torch = pytest.importorskip("torch")
    x, z = draw(*a), draw(*b)
    t, u = leaf(x), leaf(z)
    y = t @ u
    np.testing.assert_allclose(y.detach().numpy(), x @ z, rtol=1e-12)
    assert y.shape == np.matmul(x, z).shape
    tt, tu = (torch.tensor(v, requires_grad=True) for v in (x, z))
    g = rng.normal(size=y.shape)
    y.backward(ge.tensor(g))
    (tt @ tu).backward(torch.tensor(g))
    np.testing.assert_allclose(t.grad.numpy(), tt.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(u.grad.numpy(), tu.grad.numpy(), rtol=1e-12)
    check_grads(ge.matmul, (x, z))


def test_matmul_of_views() -> None:
    x, z = draw(6, 8), draw(5, 4)
    check_grads(lambda x, z: x[::-2, ::2] @ z.T[:, ::-1], (x, z))
    wide = np.broadcast_to(draw(4), (3, 4))
    check_grads(ge.matmul, (wide, draw(4, 2)))


def test_only_the_gradient_that_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z = ge.tensor(draw(3, 4)), leaf(draw(4, 2))
    y = x @ z
    assert not isinstance(y.grad_fn.saved[2], np.ndarray)  # z is not kept: x needs no gradient

    def never(*_: Any) -> Any:
        raise AssertionError("the gradient of an input without one was computed")

    monkeypatch.setitem(ops.matmul.op.adjoints, 0, never)
    y.sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), x.numpy().T @ np.ones((3, 2)))


@pytest.mark.parametrize("dtype", HALVES)
def test_16_bit_products_accumulate_in_float32(dtype: Any) -> None:
    ones = ge.tensor(np.ones((1, 5000), dtype), requires_grad=True)
    for y in (
        ones @ ones.T,
        linear(ones, ones),
        ge.vecdot(ones, ones)[None],
        ge.einsum("ij,kj", ones, ones),
    ):
        assert y.dtype == dtype
        assert float(y[0, 0]) == float(np.array(5000).astype(dtype))  # in float16 it stops at 2048
        assert float(ge.sum(y)) > 4900
    y = linear(ones, ones, ge.tensor(np.ones(1, dtype)))
    assert y.dtype == dtype
    y.sum().backward()
    assert ones.grad.dtype == dtype
    mixed = ge.matmul(np.ones((2, 3), dtype), np.ones((3, 2), "float32"))
    assert mixed.dtype == "float32"


def test_dtypes_of_products_and_gradients() -> None:
    a = ge.tensor(draw(3, 4).astype("float32"), requires_grad=True)
    b = ge.tensor(draw(4, 2), requires_grad=True)
    y = a @ b
    assert y.dtype == "float64"
    y.sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == ("float32", "float64")
    assert (ge.tensor([[1, 2]]) @ ge.tensor([[3], [4]])).tolist() == [[11]]


def test_matmul_messages() -> None:
    text = (
        "matmul: inner dimensions differ: (32, 784) @ (128, 10)\n"
        "                                      ^^^     ^^^\n"
        "  a.shape[-1] = 784, b.shape[-2] = 128\n"
        "  hint: "
    )
    with pytest.raises(ShapeError, match=re.escape(text)):
        leaf(np.zeros((32, 784))) @ leaf(np.zeros((128, 10)))
    with pytest.raises(ShapeError, match=re.escape("b.shape[-1] = 4")):
        leaf(np.zeros(3)) @ leaf(np.zeros(4))
    with pytest.raises(
        ShapeError, match=re.escape("leading axes do not broadcast: (2, 3, 4) @ (3, 4, 5)")
    ):
        leaf(np.zeros((2, 3, 4))) @ leaf(np.zeros((3, 4, 5)))
    with pytest.raises(ShapeError, match=re.escape("at least 1-D arrays, got () @ (3,)")):
        leaf(2.0) @ leaf(np.zeros(3))
    with pytest.raises(ShapeError, match="matmul"):
        leaf(np.zeros((2, 3))) @ 2.0


# --- linear, vecdot, outer ---


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4), (2, 0, 4)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_is_pytorchs(shape: tuple[int, ...], biased: bool) -> None:
    torch = pytest.importorskip("torch")
    arrays = [draw(*shape), draw(3, 4), draw(3)][: 2 + biased]
    ours, theirs = [leaf(x) for x in arrays], [torch.tensor(x, requires_grad=True) for x in arrays]
    y, expected = linear(*ours), torch.nn.functional.linear(*theirs)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    (y**2).sum().backward()
    (expected**2).sum().backward()
    for t, u in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy(), rtol=1e-12, atol=1e-14)
    check_grads(linear, arrays)


def test_linear_is_one_op_and_does_not_change_its_bias() -> None:
    x, w, b = draw(5, 4), draw(3, 4), draw(3)
    before = b.copy()
    y = linear(leaf(x), w, bias=b)
    assert y.grad_fn.name == "linear"
    assert all(parent is None or parent.name == "leaf" for parent in y.grad_fn.inputs)
    np.testing.assert_array_equal(b, before)
    assert linear(x.astype("float32"), w.astype("float32"), b).dtype == "float64"


def test_linear_messages() -> None:
    text = (
        "linear: x (32, 128) @ weight (10, 100).T: inner dimensions differ\n"
        "               ^^^                ^^^\n"
        "  x.shape[-1] = 128, weight.shape[1] = 100\n"
        "  hint: the layer expects 100 features; it received 128"
    )
    with pytest.raises(ShapeError, match=re.escape(text)):
        linear(np.zeros((32, 128)), np.zeros((10, 100)))
    with pytest.raises(ShapeError, match="no rows and no matrix"):
        linear(np.zeros(3), np.zeros(3))
    with pytest.raises(ShapeError):
        linear(np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(5))


def test_vecdot_and_outer() -> None:
    a, b = draw(2, 4, 3), draw(4, 1)
    expected = (a * b).sum(axis=-2)
    np.testing.assert_allclose(ge.vecdot(a[..., :], np.broadcast_to(b, (4, 1)), axis=-2), expected)
    check_grads(lambda a, b: ge.vecdot(a, b, axis=-2), (a, b))
    check_grads(ge.outer, (draw(3), draw(2)))
    np.testing.assert_array_equal(ge.outer(a[0], b), np.outer(a[0], b))
    with pytest.raises(ShapeError, match=re.escape("(3,) and (4,) differ along axis -1: 3 and 4")):
        ge.vecdot(draw(3), draw(4))
    with pytest.raises(ShapeError, match="3 and 1"):
        ge.vecdot(draw(3), draw(1))
    with pytest.raises(AxisError, match="vecdot: axis -2"):
        ge.vecdot(draw(2, 3), draw(3), axis=-2)


# --- einsum, tensordot ---

EINSUMS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ij,kj->ki", [(2, 3), (4, 3)]),
    ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iii->i", [(2, 2, 2)]),
    ("iji->j", [(2, 3, 2)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("i,j->ij", [(2,), (3,)]),
    ("i,i->i", [(3,), (3,)]),
    ("ijj,j", [(2, 3, 3), (3,)]),
    ("ij,kl->ik", [(2, 3), (4, 5)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("i,i,i->i", [(3,), (3,), (3,)]),
    ("i,j,k->kji", [(3,), (2,), (4,)]),
    ("iij,jkk->ik", [(2, 2, 3), (3, 4, 4)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("abcd,bd,ac->", [(2, 3, 2, 2), (3, 2), (2, 2)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]),
    ("...ij,...jk", [(5, 2, 3), (3, 4)]),
    ("b...i,b...i->b...", [(2, 5, 3), (2, 5, 3)]),
    ("...a,...a->...", [(4, 1, 3), (5, 3)]),
    ("i...->...", [(2, 3)]),
    ("...", [(2, 3)]),
    ("...,...", [(), (2,)]),
    (",->", [(), ()]),
    (" i j , j -> i ", [(2, 3), (3,)]),
    ("ij,ij->ij", [(1, 3), (2, 3)]),
    ("ij,ij->j", [(1, 3), (2, 1)]),
    ("ij,jk->ik", [(0, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
]


@pytest.mark.parametrize(("subscripts", "shapes"), EINSUMS)
def test_einsum(subscripts: str, shapes: Any) -> None:
    torch = pytest.importorskip("torch")
    arrays = [draw(*shape) for shape in shapes]
    y = ge.einsum(subscripts, *arrays)
    expected = torch.einsum(subscripts, *map(torch.tensor, arrays)).numpy()
    assert np.shape(y) == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)
    check_grads(lambda *xs: ge.einsum(subscripts, *xs), arrays)


def test_einsum_order_is_not_left_to_right() -> None:
    a, b, c = draw(50, 2), draw(2, 50), draw(50, 1)
    y = ge.einsum("ij,jk,kl->il", leaf(a), leaf(b), leaf(c))
    biggest, todo = 0, [y.grad_fn]
    while todo:
        node = todo.pop()
        biggest = max(biggest, *(x.size for x in node.saved if hasattr(x, "size")), 0)
        todo += [parent for parent in node.inputs if parent is not None and parent.op is not None]
    assert biggest <= 100  # b @ c first: nothing as large as a @ b, 2500, was made
    np.testing.assert_allclose(y.detach().numpy(), a @ b @ c, rtol=1e-10)


def test_einsum_messages() -> None:
    for subscripts, shapes, match in (
        ("ij,jk", [(2, 3), (4, 5)], r"subscript 'j' has sizes 3 and 4 in operands \(2, 3\) and"),
        ("ij->k", [(2, 3)], "names 'k', which no operand has"),
        ("ij->iij", [(2, 3)], "names a subscript twice"),
        ("ij", [(2,)], "term 'ij' for an array of 1 dimensions"),
        ("i", [(2, 3)], "term 'i' for an array of 2 dimensions"),
        ("ij,j", [(2, 2)], "2 terms for 1 operands"),
        ("...i->i", [(2, 2)], "missing after '->'"),
        ("i$", [(2, 2)], "no letter"),
        ("ii", [(2, 3)], "'i' has sizes 2 and 3"),
        ("ii", [(1, 3)], "repeated with different sizes"),
    ):
        with pytest.raises(ShapeError, match=match):
            ge.einsum(subscripts, *(draw(*shape) for shape in shapes))
    with pytest.raises(DTypeError, match="no string"):
        ge.einsum(draw(2, 2), "ij")


def test_tensordot_is_numpys() -> None:
    a, b = draw(3, 4, 2), draw(4, 3, 2)
    for axes in (0, ([1], [0]), ([0, 1], [1, 0]), (2, -1), ([-1], [2]), ((0, 1, 2), (1, 0, 2))):
        np.testing.assert_allclose(ge.tensordot(a, b, axes), np.tensordot(a, b, axes), rtol=1e-12)
        check_grads(lambda a, b, axes=axes: ge.tensordot(a, b, axes), (a, b), order=1)
    np.testing.assert_allclose(
        ge.tensordot(a, a.transpose(1, 2, 0)), np.tensordot(a, a.transpose(1, 2, 0))
    )
    with pytest.raises(ShapeError, match="differ"):
        ge.tensordot(a, b, 1)
    with pytest.raises(ShapeError, match="axes=4"):
        ge.tensordot(a, b, 4)
    with pytest.raises(AxisError):
        ge.tensordot(a, b, ([5], [0]))


# --- a layer's way back ---


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [
        (("f4", 5, 4), ("f4", 3, 4), ("f4", 3)),
        (("f8", 2000, 4), ("f8", 3, 4), ("f8", 3)),  # more rows than ones are kept
        (("f4", 5, 4), ("f4", 3, 4), None),
        (("f4", 5, 4), ("f8", 3, 4), ("f4", 3)),
        (("f4", 5, 4), ("f4", 3, 4), ("f8", 3)),
        (("f4", 5, 4), ("f4", 3, 4), ("f4", 1)),
        (("f4", 2, 5, 4), ("f4", 3, 4), ("f4", 3)),
        (("f4", 0, 4), ("f4", 3, 4), ("f4", 3)),
    ],
)
def test_pull_of_a_layer_agrees_with_the_general_one(x: Any, weight: Any, bias: Any) -> None:
    random = np.random.default_rng(0)
    made = [
        None if given is None else random.normal(size=given[1:]).astype(given[0])
        for given in (x, weight, bias)
    ]
    inputs = [None if a is None else ge.tensor(a, requires_grad=True) for a in made]
    y = ge.linear(*inputs)
    g = random.normal(size=y.shape).astype(str(y.dtype))
    op = ge.linear.op
    pairs = [list(pull(y.node, g, False)) for pull in (op.pull, op.pull_general)]
    for (parent, c), (other, d), given in zip(*pairs, made, strict=True):
        assert parent is other
        if given is None:
            assert c is None
        else:
            assert c.shape == given.shape
            assert c.dtype == given.dtype
            np.testing.assert_allclose(c, d, rtol=1e-4, atol=1e-5)
