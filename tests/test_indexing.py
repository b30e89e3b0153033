"""Indexing, writing, gathering: NumPy's rules, PyTorch's scatter, gradients of repeated places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import AxisError, DTypeError, GraphError, OutOfRangeError, ShapeError
from gradengine.ops import diagonals, gathering, indexing
from gradengine.ops.indexing import overwrite, read_winners, write_into
from gradengine.testing import check_grads

rng = np.random.default_rng(11)
X = rng.normal(size=(4, 5, 3))
S = slice

INDICES: dict[str, Any] = {
    "integer": 1,
    "negative": (S(None), -1),
    "numpy integer": (np.int64(2), S(None)),
    "negative steps": (S(None, None, -2), S(4, 0, -1)),
    "empty slice": (S(3, 1), S(None)),
    "newaxis": (None, S(1, 3), None, 0),
    "ellipsis": (..., 1),
    "ellipsis between": (0, ..., S(None, None, 2)),
    "all of it": ...,
    "no axes": (),
    "list": [0, 2, 2, -1],
    "empty list": ([], 0),
    "pairs": ([0, 1, 1], [4, 2, 2]),
    "broadcast pairs": ([[0], [3]], [1, 1, 2]),
    "array apart from integer": (3, S(2, None), [1, 2, 1]),
    "array behind a slice": (S(None), [0, 0, 4]),
    "array and newaxis": (None, [1, 1], ..., [2]),
    "mask": X > 0.5,
    "mask of rows": X[:, 0, 0] > 0,
    "mask and array": (np.array([True, False, True, True]), [0], S(None)),
    "mask of nothing": np.zeros((4, 5), bool),
    "true": True,
    "uint8": np.array([3, 0, 3], np.uint8),
    "0-d array": np.array(2),
}


def leaf(x: Any) -> Any:
    return ge.tensor(np.array(x), requires_grad=True)


# --- reading ---


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_getitem_follows_numpy(index: Any) -> None:
    x = leaf(X)
    y = x[index]
    np.testing.assert_array_equal(y.detach().numpy(), X[index])
    assert y.shape == X[index].shape
    g = rng.normal(size=y.shape)
    y.backward(ge.tensor(g))
    expected = np.zeros_like(X)
    np.add.at(expected, index, g)  # the definition: each place gets the sum of what was read there
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_getitem_and_setitem_derivatives(index: Any) -> None:
    check_grads(lambda x: x[index] ** 3, (X,))
    v = rng.normal(size=X[index].shape)
    check_grads(lambda x, v: overwrite(x, v, index) ** 2, (X, v))


def test_advanced_index_apart_from_slice_keeps_numpys_axis_order() -> None:
    x = leaf(rng.normal(size=(4, 6, 5)))
    assert x[3, 2:, [1, 3]].shape == (2, 4)


def test_basic_index_is_a_view_and_array_index_a_copy() -> None:
    x = ge.tensor(X.copy())
    assert np.shares_memory(x[1:, ::-1].array, x.array)
    assert not np.shares_memory(x[[1, 2]].array, x.array)


def test_tensor_index() -> None:
    x, i = leaf(X[0, :, 0]), ge.tensor([4, 0, 4])
    np.testing.assert_array_equal(x[i].detach().numpy(), X[0, :, 0][[4, 0, 4]])
    np.testing.assert_array_equal(x[x > 0].detach().numpy(), X[0, :, 0][X[0, :, 0] > 0])
    y = leaf(X)
    np.testing.assert_array_equal(y[0, i, [0, 1, 2]].detach().numpy(), X[0, [4, 0, 4], [0, 1, 2]])
    np.testing.assert_array_equal(y[ge.tensor(1)].detach().numpy(), X[1])


def test_changing_the_index_array_later_does_not_change_the_gradient() -> None:
    i = np.array([0, 1])
    x = leaf([1.0, 2.0, 3.0])
    y = x[i]
    i[:] = 2
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]
    x, t = leaf([1.0, 2.0, 3.0]), ge.tensor([0, 1])
    y = x[t]
    t[:] = 2
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_repeated_positions_accumulate_in_float32(dtype: str) -> None:
    x = ge.tensor(np.zeros(2, dtype), requires_grad=True)
    x[np.zeros(5000, int)].sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad.tolist() == [5000.0, 0.0]  # in float16 the count would stop at 2048


@pytest.mark.parametrize(
    ("index", "error", "match"),
    [
        (7, OutOfRangeError, "index 7 is out of bounds for axis 0 with size 4"),
        ((S(None), [0, -6]), OutOfRangeError, "index -6 is out of bounds for axis 1 with size 5"),
        ((0, 0, 0, 0), OutOfRangeError, "too many indices"),
        (np.zeros(3, bool), OutOfRangeError, "boolean index did not match"),
        (1.0, DTypeError, "not the number 1.0"),
        (np.array([0.0]), DTypeError, "not an array of float64"),
        ([0.5], DTypeError, "not an array of float64"),
        ("a", OutOfRangeError, "getitem"),
        (([0, 1], [0, 1, 2]), OutOfRangeError, "broadcast"),
    ],
)
def test_getitem_errors(index: Any, error: type[Exception], match: str) -> None:
    x = leaf(X)
    with pytest.raises(error, match=match):
        x[index]
    with pytest.raises(error, match=match.replace("getitem", "setitem")):
        x.detach()[index] = 0.0


def test_float_tensor_is_no_index() -> None:
    with pytest.raises(DTypeError, match="not an array of float64"):
        leaf(X)[ge.tensor(np.array([0.0]))]


def test_bounds_are_checked_where_the_library_would_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (indexing, gathering):  # as on a GPU, whose library wraps or clips silently
        monkeypatch.setattr(module, "is_host", lambda xp: False)
    with pytest.raises(OutOfRangeError, match="getitem: index 9 is out of bounds for axis 1"):
        indexing.getitem(X, (0, [0, 9]))
    with pytest.raises(OutOfRangeError, match="getitem: index -4 is out of bounds for axis 2"):
        indexing.getitem(X, (None, ..., [-4]))
    with pytest.raises(OutOfRangeError, match="axis 2 with size 3"):
        indexing.getitem(X, (X[..., 0] > 0, [3]))
    with pytest.raises(OutOfRangeError, match="take: index 5"):
        ge.take(X, [5], 1)
    with pytest.raises(OutOfRangeError, match="gather: index 5"):
        ge.gather(X, np.full((1, 1, 1), 5), 1)
    with pytest.raises(OutOfRangeError, match="setitem: index 4"):
        overwrite(X, 0.0, [4])


# --- writing ---


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_overwrite_follows_numpy(index: Any) -> None:
    v = rng.normal(size=X[index].shape)
    expected = X.copy()
    expected[index] = v
    x = ge.tensor(X.copy())
    np.testing.assert_array_equal(overwrite(x, v, index).numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(overwrite(X, 0.5, index)[index], np.full(v.shape, 0.5))
    x[index] = v
    np.testing.assert_array_equal(x.numpy(), expected)


def test_last_of_repeated_writes_wins_and_takes_the_gradient() -> None:
    v = leaf([1.0, 2.0, 3.0])
    y = overwrite(ge.tensor(np.zeros(3)), v, [1, 1, 0])
    assert y.tolist() == [3.0, 2.0, 0.0]
    (y * ge.tensor(np.array([10.0, 20.0, 30.0]))).sum().backward()
    assert v.grad.tolist() == [0.0, 20.0, 10.0]


def test_repeated_writes_on_a_device_without_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    index = (S(None), [2, 0, 2, 2], S(None, None, -1))
    v = rng.normal(size=(4, 1, 3))
    expected = overwrite(X, v, index)
    monkeypatch.setattr(indexing, "is_host", lambda xp: False)
    np.testing.assert_array_equal(overwrite(X, v, index), expected)
    np.testing.assert_array_equal(overwrite(X, 7.0, [1, 1])[1], np.full((5, 3), 7.0))
    np.testing.assert_array_equal(overwrite(X, np.ones((1, 1, 1, 3)), ([1], 0))[1, 0], np.ones(3))
    np.testing.assert_array_equal(overwrite(X, 7.0, np.zeros(0, int)), X)
    with pytest.raises(ShapeError):
        overwrite(X, np.ones(4), [1, 2])


def test_write_broadcasts_and_gradient_is_summed() -> None:
    x, v = leaf(X), leaf(rng.normal(size=(1, 1, 3)))
    y = overwrite(x, v, (S(None, None, 2), 0))  # more leading ones than the place has
    y.sum().backward()
    assert v.grad.shape == (1, 1, 3)
    assert v.grad.tolist() == [[[2.0, 2.0, 2.0]]]
    assert float(x.grad.sum()) == X.size - 6


def test_write_through_a_view_is_one_op() -> None:
    steps = (
        (ge.permute_dims.op, {"axes": (1, 0, 2)}),
        (indexing.getitem_op, {"index": S(None, None, -1)}),
        (ge.reshape.op, {"shape": (5, 12), "copy": None}),
    )
    expected = X.copy(order="F")
    view = expected.transpose(1, 0, 2)[::-1]
    for i, row in enumerate(view.reshape(5, 12)[:, :3]):
        view[i, 0] = row * 0 + 7  # positions 0, 1, 2 of each flattened row are view[i, 0, :]
    got = overwrite(X, 7.0, (S(None), S(0, 3)), steps)
    np.testing.assert_array_equal(got, expected)  # reshape copies here: written by position
    check_grads(lambda x, v: overwrite(x, v, ([1, 1], [0, 2]), steps) ** 2, (X, np.ones(2)))
    np.testing.assert_array_equal(
        read_winners(X, index=(0, 0), steps=steps), X.transpose(1, 0, 2)[::-1].reshape(5, 12)[0, 0]
    )


def test_write_keeps_the_layout_its_views_were_taken_of() -> None:
    base = ge.asarray(np.asfortranarray(rng.normal(size=(3, 4)))) * 1.0
    flat = base.T.reshape(-1)
    assert np.shares_memory(flat.array, base.array)
    held = base.array  # somebody holds the array: the write must copy
    before = held.copy()
    flat[1] = 5.0
    assert float(base[1, 0]) == 5.0
    np.testing.assert_array_equal(held, before)


def test_write_into_is_in_place_and_all_or_nothing() -> None:
    x = X.copy()
    write_into(np, x, 1.0, (0, S(None)))
    assert (x[0] == 1).all()
    before = x.copy()
    with pytest.raises(ValueError, match="broadcast"):
        write_into(np, x, np.ones(2), 0)
    np.testing.assert_array_equal(x, before)


def test_views_and_writes_against_a_functional_replay() -> None:
    """Random views and writes give the values NumPy gives, and gradients of the written values."""
    for seed in range(20):
        r = np.random.default_rng(seed)
        start, values = r.normal(size=(4, 3)), r.normal(size=6)

        def run(x: Any, vs: Any, seed: int = seed) -> Any:
            r = np.random.default_rng(seed + 100)
            base = x * 1.0
            views = [base]
            for k in range(6):
                source = views[int(r.integers(len(views)))]
                if source.ndim == 2:
                    view = source[:: int(r.choice([-1, 1, 2]))] if r.random() < 0.5 else source.T
                else:
                    view = source[::-1]
                views.append(view[0] if view.ndim == 2 and r.random() < 0.4 else view)
                target = views[int(r.integers(len(views)))]
                target[int(r.integers(target.shape[0]))] = vs[k]
            return base * 1.0

        expected = run(start, values)
        got = run(ge.tensor(start), ge.tensor(values))
        np.testing.assert_array_equal(got.numpy(), expected)
        check_grads(run, (start, values), order=1)


def test_setitem_errors() -> None:
    x = ge.tensor(X.copy())
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        x[0] = np.ones(2)
    np.testing.assert_array_equal(x.numpy(), X)
    with pytest.raises(GraphError, match="leaf"):
        leaf(X)[0] = 1.0


# --- along an axis ---


def test_take() -> None:
    for i, axis in (([0, 3, -1], 0), ([[1, 1], [4, 0]], 1), (2, -1), ([], 2)):
        index = np.array(i, int)
        np.testing.assert_array_equal(ge.take(X, i, axis), np.take(X, index, axis))
        check_grads(lambda x, i=i, axis=axis: ge.take(x, i, axis) ** 2, (X,))
    assert ge.take(X, [59, 0]).tolist() == [X[3, 4, 2], X[0, 0, 0]]
    table, tokens = leaf(X[0]), ge.tensor([[1, 1], [0, 1]])
    ge.take(table, tokens, 0).sum().backward()
    assert table.grad[:, 0].tolist() == [1.0, 3.0, 0.0, 0.0, 0.0]
    with pytest.raises(OutOfRangeError, match="take: index 5 is out of bounds for axis 0"):
        ge.take(table, ge.tensor([5]), 0)
    with pytest.raises(DTypeError, match="float64"):
        ge.take(table, np.array([1.0]), 0)
    with pytest.raises(AxisError):
        ge.take(table, [0], 3)


def test_gather_and_scatter_add_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    v = rng.normal(size=(6, 6, 6))
    for axis, shape in ((0, (7, 2, 3)), (1, (4, 6, 1)), (2, (3, 5, 4)), (-1, (1, 1, 0))):
        i = rng.integers(0, X.shape[axis], shape)
        tx, ti = torch.tensor(X, requires_grad=True), torch.tensor(i)
        x = leaf(X)
        y, ty = ge.gather(x, i, axis), torch.gather(tx, axis, ti)
        np.testing.assert_array_equal(y.detach().numpy(), ty.detach().numpy())
        (y**2).sum().backward()
        (ty**2).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy())
        if max(shape) > 6:
            continue
        same = ge.scatter_add(X, i, v, axis)  # values beyond the indices are not used
        np.testing.assert_allclose(
            same, torch.scatter_add(torch.tensor(X), axis, ti, torch.tensor(v))
        )
        part = v[tuple(map(slice, shape))]  # PyTorch's own backward refuses larger values
        tv, value = torch.tensor(part, requires_grad=True), leaf(part)
        y, ty = ge.scatter_add(x, i, value, axis), torch.scatter_add(tx, axis, ti, tv)
        np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy())
        (y**2).sum().backward()
        (ty**2).sum().backward()
        np.testing.assert_allclose(value.grad.numpy(), tv.grad.numpy())
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy())


def test_take_and_put_along_axis_are_numpys() -> None:
    for axis, shape in ((0, (2, 5, 3)), (1, (4, 2, 1)), (-1, (1, 5, 6))):
        i = rng.integers(-X.shape[axis], X.shape[axis], shape)
        expected = np.take_along_axis(X, i, axis)
        np.testing.assert_array_equal(ge.take_along_axis(X, i, axis), expected)
        check_grads(lambda x, i=i, axis=axis: ge.take_along_axis(x, i, axis) ** 2, (X,))
        v = rng.normal(size=expected.shape)
        put = X.copy()
        np.put_along_axis(put, i, v, axis)
        np.testing.assert_array_equal(ge.put_along_axis(X, i, v, axis), put)
        check_grads(lambda x, v, i=i, a=axis: ge.put_along_axis(x, i, v, a) ** 2, (X, v))


def test_scatter_add_accumulates_float16_in_float32() -> None:
    x = ge.tensor(np.zeros(2, "float16"))
    y = ge.scatter_add(x, np.zeros(5000, int), np.ones(5000, "float16"), 0)
    assert y.dtype == "float16"
    assert y.tolist() == [5000.0, 0.0]


def test_errors_along_an_axis() -> None:
    x = leaf(X[0])
    with pytest.raises(ShapeError, match=r"gather: indices \(1,\) do not fit x \(5, 3\)"):
        ge.gather(x, [1], 0)
    with pytest.raises(ShapeError, match=r"indices \(6, 1\) exceed values \(5, 1\)"):
        ge.scatter_add(x, np.zeros((6, 1), int), np.ones((5, 1)), 0)
    with pytest.raises(OutOfRangeError, match="scatter_add: index 5 is out of bounds for axis 0"):
        ge.scatter_add(x, [[5]], [[1.0]], 0)
    with pytest.raises(ShapeError, match="take_along_axis"):
        ge.take_along_axis(x, np.zeros((2, 2), int), 0)
    with pytest.raises(DTypeError, match="bool"):
        ge.gather(x, X[0] > 0, 0)


def test_a_changed_index_array_is_noticed() -> None:
    i = np.array([[0], [1]])
    x = leaf(X[0])
    y = ge.gather(x, i, 1)
    i[0, 0] = 2
    with pytest.raises(GraphError, match="changed since"):
        y.sum().backward()


# --- constants made of positions ---


def test_one_hot_and_nonzero_are_constants() -> None:
    y = ge.one_hot(ge.tensor([[2], [0]]), 3)
    assert y.tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    assert y.dtype == "float32"
    assert not y.requires_grad
    assert ge.one_hot([1, 3]).shape == (2, 4)
    assert ge.one_hot(ge.tensor(1), 2, dtype="int64").tolist() == [0, 1]
    with pytest.raises(OutOfRangeError, match=r"class 3 lies outside \[0, 2\]"):
        ge.one_hot([0, 3], 3)
    with pytest.raises(OutOfRangeError, match="class -1"):
        ge.one_hot([-1], 3)
    found = ge.nonzero(leaf(X) > 0)
    assert all(not i.requires_grad for i in found)
    for i, expected in zip(found, np.nonzero(X > 0), strict=True):
        np.testing.assert_array_equal(i.numpy(), expected)
    with pytest.raises(ShapeError, match="0-d"):
        ge.nonzero(ge.tensor(1.0))


# --- triangles, diagonals, order ---


def test_triangles_and_diagonals_are_numpys() -> None:
    for k in (-3, -1, 0, 1, 4):
        np.testing.assert_array_equal(ge.tril(X, k=k), np.tril(X, k))
        np.testing.assert_array_equal(ge.triu(X, k=k), np.triu(X, k))
        np.testing.assert_array_equal(ge.diagonal(X, k), np.diagonal(X, k))
        np.testing.assert_array_equal(ge.diagonal(X, k, 2, -2), np.diagonal(X, k, 2, -2))
        np.testing.assert_array_equal(ge.diag(X[0], k), np.diag(X[0], k))
        np.testing.assert_array_equal(ge.diag(X[0, 0], k), np.diag(X[0, 0], k))
        np.testing.assert_allclose(ge.trace(X, k), np.trace(X, k))
    check_grads(lambda x: ge.diag(ge.diag(x, 1), -1) ** 2, (X[0],))
    for function in (ge.tril, ge.triu, ge.diagonal):
        with pytest.raises(ShapeError, match="needs matrices"):
            function(ge.tensor([1.0]))
    with pytest.raises(ShapeError):
        diagonals.diag(X)


def test_diagonal_can_be_written_to() -> None:
    x = leaf(X[0, :3])
    y = x * 1.0
    y.diagonal()[:] = 0.0
    assert np.diagonal(y.detach().numpy()).tolist() == [0.0, 0.0, 0.0]
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 1 - np.eye(3))


@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable_and_puts_nan_last(descending: bool) -> None:
    x = np.array([[2.0, np.nan, 1.0, 2.0], [0.0, 0.0, -1.0, np.inf]])
    expected = -np.sort(-x) if descending else np.sort(x)
    if descending:  # NaN counts as the largest
        expected = np.sort(x)[:, ::-1]
    np.testing.assert_array_equal(ge.sort(x, descending=descending), expected)
    order = ge.argsort(np.zeros(5), descending=descending)
    assert order.tolist() == [0, 1, 2, 3, 4]
    check_grads(lambda x: ge.sort(x, 1, descending) ** 2, (X,))
    assert not ge.argsort(leaf(X)).requires_grad
    assert ge.sort(ge.tensor(np.zeros((0, 3)))).shape == (0, 3)
