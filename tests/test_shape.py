"""Shape, padding, joining: NumPy's values, and gradients where generated tests do not look."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import AxisError, ShapeError
from gradengine.ops import joining, padding
from gradengine.ops.axes import as_axes
from gradengine.testing import check_grads

rng = np.random.default_rng(7)
X = rng.normal(size=(2, 3, 4))


def t(x: Any, requires_grad: bool = False) -> Any:
    return ge.tensor(np.array(x), requires_grad=requires_grad)


# --- values, and what is a view ---

VIEWS = {
    "reshape": (lambda m, x: m.reshape(x, (4, -1)), True),
    "permute": (lambda m, x: m.permute_dims(x, (2, 0, 1)), True),
    "permute negative": (lambda m, x: m.permute_dims(x, (-1, 0, 1)), True),
    "transpose": (lambda m, x: m.transpose(x), True),
    "moveaxis": (lambda m, x: m.moveaxis(x, 0, -1), True),
    "moveaxis pairs": (lambda m, x: m.moveaxis(x, (0, 1), (-1, 0)), True),
    "swapaxes": (lambda m, x: m.swapaxes(x, -1, 0), True),
    "matrix_transpose": (lambda m, x: m.matrix_transpose(x), True),
    "expand_dims": (lambda m, x: m.expand_dims(x, axis=(0, -1)), True),
    "squeeze": (lambda m, x: m.squeeze(x[:, :1], axis=1), True),
    "squeeze all": (lambda m, x: m.squeeze(x[:1, :1]), True),
    "flip": (lambda m, x: m.flip(x), True),
    "flip axes": (lambda m, x: m.flip(x, axis=(0, -1)), True),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (2, 2, 3, 4)), True),
    "ravel": (lambda m, x: m.ravel(x), True),
    "ravel copies": (lambda m, x: m.ravel(m.permute_dims(x, (2, 1, 0))), False),
    "split": (lambda m, x: m.split(x, 2, axis=2)[1], True),
    "unstack": (lambda m, x: m.unstack(x, axis=1)[-1], True),
    "roll flat": (lambda m, x: m.roll(x, 5), False),
    "roll axes": (lambda m, x: m.roll(x, (1, -2), axis=(0, 2)), False),
    "tile": (lambda m, x: m.tile(x, (2, 1, 3)), False),
    "tile more": (lambda m, x: m.tile(x, (2, 1, 1, 2)), False),
    "tile less": (lambda m, x: m.tile(x, 2), False),
    "tile none": (lambda m, x: m.tile(x, 0), False),
    "repeat": (lambda m, x: m.repeat(x, 3), False),
    "repeat axis": (lambda m, x: m.repeat(x, 2, axis=-2), False),
    "repeat each": (lambda m, x: m.repeat(x, [2, 0, 1], axis=1), False),
    "repeat none": (lambda m, x: m.repeat(x, 0, axis=0), False),
    "concat": (lambda m, x: m.concat([x, x[:1]], axis=0), False),
    "concat flat": (lambda m, x: m.concat([x, x[0], x[0, 0]], axis=None), False),
    "stack": (lambda m, x: m.stack([x, x], axis=-2), False),
    "hstack": (lambda m, x: m.hstack([x, x]), False),
    "hstack 1-d": (lambda m, x: m.hstack([x[0, 0], x[0, 1]]), False),
    "vstack": (lambda m, x: m.vstack([x[0], x[1, :1]]), False),
    "vstack 1-d": (lambda m, x: m.vstack([x[0, 0], x[0, 1]]), False),
}


@pytest.mark.parametrize("name", VIEWS)
def test_values_are_those_of_numpy_and_views_share_memory(name: str):
    f, is_view = VIEWS[name]
    x = t(X)
    y, expected = f(ge, x), f(np, X)
    np.testing.assert_array_equal(y.numpy(), expected)
    assert np.shares_memory(y.numpy(), x.numpy()) == is_view


@pytest.mark.parametrize("name", VIEWS)
def test_gradients(name: str):
    check_grads(lambda x: VIEWS[name][0](ge, x), (X,), order=2)


def test_writes_through_a_piece_reach_the_whole_and_back():
    x = t(np.arange(1.0, 5.0), requires_grad=True)
    y = x * 1
    a, b = ge.split(y, 2)
    a *= 3
    y[3] = 10.0
    assert b.tolist() == [3.0, 10.0]
    (y * y).sum().backward()
    assert y.tolist() == [3.0, 6.0, 3.0, 10.0]
    assert x.grad.tolist() == [2 * 9.0, 2 * 18.0, 6.0, 0.0]


@pytest.mark.parametrize("arrays", [((3, 1), (2, 1, 4)), ((), (2,)), ((1, 0), (3, 1))])
def test_broadcast_arrays(arrays: Any):
    values = [rng.normal(size=shape) for shape in arrays]
    for y, expected in zip(
        ge.broadcast_arrays(*map(t, values)), np.broadcast_arrays(*values), strict=True
    ):
        np.testing.assert_array_equal(y.numpy(), expected)
    assert ge.broadcast_shapes(*arrays) == np.broadcast_shapes(*arrays)


def test_reshape_copies_only_where_asked():
    x = t(X)
    assert not np.shares_memory(ge.reshape(x, (24,), copy=True).numpy(), x.numpy())
    assert np.shares_memory(ge.reshape(x, (24,), copy=False).numpy(), x.numpy())
    with pytest.raises(ShapeError, match=r"reshape: \(4, 3, 2\).*without a copy"):
        ge.reshape(ge.transpose(x), (24,), copy=False)


# --- conversion ---


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_astype_gives_the_gradient_in_the_dtype_of_its_input(dtype: str):
    x = t([1.0, 2.0], requires_grad=True)
    y = ge.astype(x, dtype)
    assert y.dtype.name == dtype
    (y * y).sum().backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_astype_to_integers_is_a_constant(dtype: Any):
    x = t([1.0, 0.0], requires_grad=True)
    y = ge.astype(x, dtype)
    assert y.dtype == dtype
    assert y.node is None
    primal, tangent = ge.jvp(lambda x: ge.astype(x, dtype), (t([1.0, 2.0]),), (t([1.0, 1.0]),))
    assert primal.dtype == dtype
    assert not np.any(tangent.numpy())


def test_astype_without_copy_is_the_same_memory():
    x = t([1.0, 2.0])
    assert np.shares_memory(ge.astype(x, np.float64, copy=False).numpy(), x.numpy())
    assert not np.shares_memory(ge.astype(x, np.float64).numpy(), x.numpy())


# --- pad ---

WIDTHS = list(itertools.product((0, 1, 2, 7), (0, 1, 5)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_pad_is_numpys_and_fold_is_its_exact_transpose(mode: str, n: int):
    x = rng.normal(size=(n, 3))
    for first, second in itertools.product(WIDTHS, [(0, 0), (1, 2), (4, 0)]):
        widths = (first, second)
        y = ge.pad(t(x), widths, mode=mode)
        np.testing.assert_array_equal(y.numpy(), np.pad(x, widths, mode=mode))
        if mode == "constant":
            continue
        # small whole numbers add up without rounding, so <pad(x), g> == <x, fold(g)> exactly
        a = rng.integers(-9, 9, x.shape).astype(float)
        g = rng.integers(-9, 9, y.shape).astype(float)
        assert (padding.extend(a, widths, mode) * g).sum() == (
            a * padding.fold(g, widths, mode)
        ).sum()


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_pad_gradients(mode: str):
    check_grads(lambda x: ge.pad(x, ((1, 2), (4, 0)), mode=mode), (X[0],), order=2)


@pytest.mark.parametrize("width", [2, (1, 2), ((1, 2),), ((1,), (2,)), ((1, 0), (0, 3))])
@pytest.mark.parametrize("value", [0, -1.5, (1, 2), ((1, 2), (3, 4)), ((1,), (3,)), -np.inf])
def test_pad_takes_widths_and_constants_as_numpy(width: Any, value: Any):
    y = ge.pad(t(X[0]), width, constant_values=value)
    np.testing.assert_array_equal(y.numpy(), np.pad(X[0], width, constant_values=value))
    x = t(X[0], requires_grad=True)
    ge.pad(x, width, constant_values=value).backward(t(np.ones(y.shape)))
    assert np.all(x.grad.numpy() == 1)


def test_pad_errors():
    with pytest.raises(ShapeError, match="no element to continue"):
        ge.pad(t(np.ones((0, 2))), 1, mode="edge")
    with pytest.raises(ShapeError, match="negative"):
        ge.pad(t(X), -1)
    with pytest.raises(ShapeError, match="3 axes"):
        ge.pad(t(X), ((1, 1), (2, 2)))
    with pytest.raises(ValueError, match="one of constant, edge"):
        ge.pad(t(X), 1, mode="mirror")


# --- split and join ---


@pytest.mark.parametrize(
    "where", [(2, 2), (3, 1), ([1], 0), ([3, 1], 1), ([-1], 2), ([0, 5], 0), ([1, 1, 2], 2)]
)
def test_split_is_numpys(where: Any):
    for y, expected in zip(ge.split(t(X), *where), np.split(X, *where), strict=True):
        np.testing.assert_array_equal(y.numpy(), expected)
    check_grads(lambda x: ge.split(x, *where), (X,), order=2)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_array_split_is_numpys(parts: int):
    for y, expected in zip(
        ge.array_split(t(X), parts, 2), np.array_split(X, parts, 2), strict=True
    ):
        np.testing.assert_array_equal(y.numpy(), expected)


def test_all_pieces_are_one_step_of_the_tape():
    x = t(np.ones((300, 2)), requires_grad=True)
    rows = ge.unstack(x)
    assert len({row.node.inputs[0] for row in rows}) == 1
    ge.stack(rows).sum().backward()
    assert np.all(x.grad.numpy() == 1)


def test_pieces_that_are_not_used_get_zeros():
    x = t(np.arange(6.0), requires_grad=True)
    _, b, _ = ge.split(x, 3)
    (b * b).sum().backward()
    assert x.grad.tolist() == [0, 0, 4, 6, 0, 0]


def test_pieces_at_higher_order_and_forward():
    def f(x: Any) -> Any:
        a, b, _ = ge.unstack(x * x)
        return (a * b).sum()

    check_grads(f, (rng.normal(size=(3, 2)),), order=3)


def test_retained_graph_serves_each_piece():
    x = t([1.0, 2.0], requires_grad=True)
    a, b = ge.unstack(x)
    a.backward(retain_graph=True)
    assert x.grad.tolist() == [1, 0]
    b.backward()
    assert x.grad.tolist() == [1, 1]


def test_no_grad_split_is_constant():
    x = t([1.0, 2.0], requires_grad=True)
    with ge.no_grad():
        assert all(part.node is None for part in ge.split(x, 2))


def test_the_same_array_joined_twice():
    x = t([1.0, 2.0], requires_grad=True)
    (ge.concat([x, x]) * t([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [4, 6]


def test_join_mixes_dtypes_constants_and_arrays():
    x = ge.tensor([1.0, 2.0], dtype="float32", requires_grad=True)
    y = ge.concat([x, np.array([3.0]), ge.tensor([1], dtype="int64")])
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [1, 1]


def test_gradients_of_joined_leaves_do_not_share_memory():
    a, b = t(np.ones(2), requires_grad=True), t(np.ones(3), requires_grad=True)
    ge.concat([a, b]).sum().backward()
    a.grad += 1
    assert b.grad.tolist() == [1, 1, 1]


# --- accumulation in 16 bits ---


@pytest.mark.parametrize(
    "f",
    [
        lambda x: ge.broadcast_to(x, (5000, 1)),
        lambda x: ge.tile(x, 5000),
        lambda x: ge.repeat(x, 5000),
        lambda x: ge.repeat(ge.concat([x, x]), [5000, 0])[:5000],
        lambda x: ge.pad(x, (0, 4999), mode="edge"),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_gradients_accumulate_in_float32(f: Any, dtype: str):
    x = ge.tensor([1.0], dtype=dtype, requires_grad=True)
    y = f(x)
    y.backward(ge.ones(y.shape, dtype=dtype))
    assert x.grad.dtype.name == dtype
    assert float(x.grad[0]) == pytest.approx(5000, rel=2**-8)  # added up in 16 bits: 2048 or 256


@pytest.mark.parametrize("host", [True, False])
def test_sum_runs_is_the_transpose_of_repeat_each(host: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(joining, "is_host", lambda _: host)  # the GPU's way, on NumPy
    counts = (2, 0, 3, 1)
    x, g = rng.integers(-9, 9, (4, 3)) * 1.0, rng.integers(-9, 9, (6, 3)) * 1.0
    repeated, summed = joining.repeat_each(x, 0, counts), joining.sum_runs(g, 0, counts)
    assert (repeated * g).sum() == (x * summed).sum()


# --- what is refused ---

REFUSED = [
    (lambda x: ge.reshape(x, (5, 5)), ShapeError, r"reshape: .*\(2, 3, 4\)"),
    (lambda x: ge.permute_dims(x, (0, 1)), ShapeError, "permute_dims"),
    (lambda x: ge.moveaxis(x, (0, 1), 2), AxisError, "2 axes to move and 1"),
    (lambda x: ge.moveaxis(x, 3, 0), AxisError, "axis 3 lies outside 3 dimensions"),
    (lambda x: ge.swapaxes(x, 0, -4), AxisError, "axis -4"),
    (lambda x: ge.flip(x, axis=(0, 0)), AxisError, "twice"),
    (lambda x: ge.squeeze(x, axis=0), ShapeError, r"squeeze: axes \[0\] of \(2, 3, 4\)"),
    (lambda x: ge.expand_dims(x, axis=5), AxisError, "expand_dims"),
    (lambda x: ge.matrix_transpose(x[0, 0]), ShapeError, "no matrix"),
    (lambda x: ge.broadcast_to(x, (2, 3)), ShapeError, r"\(2, 3, 4\) does not broadcast to"),
    (lambda x: ge.broadcast_arrays(x, x[0, :2]), ShapeError, "axis -2 has sizes 3 and 2"),
    (lambda x: ge.concat([]), ShapeError, "no arrays"),
    (lambda x: ge.concat([x, x[0]]), ShapeError, "concat"),
    (lambda x: ge.concat([x, x[:, :2]], axis=2), ShapeError, "concat"),
    (lambda x: ge.stack([x, x[0]]), ShapeError, "stack"),
    (lambda x: ge.split(x, 3, axis=2), ShapeError, "4 places, which do not divide into 3"),
    (lambda x: ge.array_split(x, 0), ShapeError, "0 parts"),
    (lambda x: ge.unstack(x, axis=3), AxisError, "unstack: axis 3"),
    (lambda x: ge.repeat(x, [1, 2], axis=1), ShapeError, "2 counts for the 3 places"),
    (lambda x: ge.repeat(x, -1), ShapeError, "repeat"),
    (lambda x: ge.tile(x, -1), ShapeError, "tile"),
    (lambda x: ge.roll(x, (1, 2, 3), axis=(0, 1)), ShapeError, "roll"),
]


@pytest.mark.parametrize("case", REFUSED, ids=[pattern for _, _, pattern in REFUSED])
def test_refused_with_op_and_hint(case: Any):
    f, error, pattern = case
    with pytest.raises(error, match=pattern) as caught:
        f(t(X, requires_grad=True))
    assert "hint: " in str(caught.value)


def test_as_axes():
    assert as_axes((0, -1), 3, "op") == (0, 2)
    assert as_axes(None, 2, "op") == (0, 1)
    assert as_axes(np.int64(-1), 2, "op") == (1,)
    with pytest.raises(AxisError, match="0-d array has none"):
        as_axes(0, 0, "op")


def test_pad_takes_a_dict_of_axes_as_numpy_does():
    x = np.arange(6.0).reshape(2, 3)
    for mode in ("constant", "reflect", "edge", "wrap"):
        y = ge.pad(ge.tensor(x), {0: (1, 0), -1: 1}, mode)
        assert np.array_equal(y.numpy(), np.pad(x, ((1, 0), (1, 1)), mode))


def test_pad_does_not_lose_the_gradient_of_what_it_pads_with():
    c = ge.tensor(2.0, requires_grad=True)
    with pytest.raises(ge.GraphError, match="pad: constant_values has no derivative"):
        ge.pad(ge.ones(2), 1, constant_values=c)
    assert ge.pad(ge.ones(1), 1, constant_values=c.detach()).tolist() == [2.0, 1.0, 2.0]
