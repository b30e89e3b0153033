"""Reductions and running sums: NumPy's values, and the corners other engines miss."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.special

import gradengine as ge
from gradengine.errors import AxisError, ShapeError
from gradengine.testing import check_grads

rng = np.random.default_rng(3)
X = rng.normal(size=(2, 3, 4))
INF, NAN = math.inf, math.nan
AXES = [None, 0, -1, (0, 2), (1,), (-1, 0, 1), ()]


def t(x: Any, dtype: Any = "float64", requires_grad: bool = False) -> Any:
    return ge.tensor(np.array(x), dtype=dtype, requires_grad=requires_grad)


def gradient(f: Any, x: Any, dtype: Any = "float64") -> Any:
    """The gradient of the sum of f(x), as a NumPy array."""
    return ge.grad(lambda x: f(x).sum())(t(x, dtype)).numpy()


def hessian(f: Any, x: Any) -> Any:
    return ge.hessian(lambda x: f(x).sum())(t(x)).numpy()


# --- values ---

LIKE_NUMPY = ["sum", "prod", "mean", "max", "min", "all", "any", "count_nonzero"]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", LIKE_NUMPY)
def test_values_are_numpys(name: str, axis: Any, keepdims: bool):
    x = np.where(X > 1, 0, X)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    y = getattr(ge, name)(t(x), axis=axis, keepdims=keepdims)
    assert y.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("correction", [0, 1, 0.5])
@pytest.mark.parametrize("axis", AXES[:-1], ids=str)
@pytest.mark.parametrize("name", ["var", "std"])
def test_moments_are_numpys(name: str, axis: Any, correction: float):
    y = getattr(ge, name)(t(X), axis=axis, correction=correction, keepdims=True)
    expected = getattr(np, name)(X, axis=axis, ddof=correction, keepdims=True)
    if np.prod([X.shape[i] for i in range(3)]) and np.all(np.isfinite(expected)):
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-13)


def test_variance_far_from_zero_keeps_its_digits():
    x = np.array([1e8, 1e8 + 1, 1e8 + 2])
    assert float(ge.var(t(x))) == pytest.approx(2 / 3, rel=1e-12)


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg_extremes(name: str, axis: Any):
    y = getattr(ge, name)(t(X, requires_grad=True), axis=axis, keepdims=True)
    np.testing.assert_array_equal(y.numpy(), getattr(np, name)(X, axis=axis, keepdims=True))
    assert y.dtype == np.int64
    assert not y.requires_grad


@pytest.mark.parametrize("include_initial", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_running_values(name: str, axis: int, include_initial: bool):
    y = getattr(ge, name)(t(X), axis=axis, include_initial=include_initial)
    expected = getattr(np, {"cumulative_sum": "cumsum", "cumulative_prod": "cumprod"}[name])(
        X, axis
    )
    if include_initial:
        first = np.full_like(np.take(X, [0], axis), name == "cumulative_prod")
        expected = np.concatenate([first, expected], axis)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)


def test_running_sums_need_an_axis_or_one_dimension():
    assert ge.cumulative_sum(t([1, 2, 3])).tolist() == [1, 3, 6]
    assert ge.cumulative_prod(t(2.0)).tolist() == [2]
    with pytest.raises(ShapeError, match=r"cumulative_sum: .*several axes"):
        ge.cumulative_sum(t(X))
    np.testing.assert_allclose(ge.cumsum(t(X)).numpy(), np.cumsum(X), rtol=1e-14)
    np.testing.assert_allclose(ge.cumprod(t(X)).numpy(), np.cumprod(X), rtol=1e-14)


def test_integers():
    n = ge.tensor(np.array([[1, 2], [3, 5]]))
    assert ge.sum(n).dtype == np.int64
    assert ge.mean(n, axis=0).tolist() == [2.0, 3.5]
    assert float(ge.var(n)) == np.var([1, 2, 3, 5])
    assert ge.prod(n, dtype="float32").dtype == np.float32
    np.testing.assert_allclose(ge.softmax(n).numpy(), scipy.special.softmax([[1, 2], [3, 5]], 1))
    assert float(ge.logsumexp(n)) == pytest.approx(scipy.special.logsumexp([1, 2, 3, 5]))


def test_complex_moments_and_norms():
    z = np.array([1 + 2j, 3 - 1j, -2 + 0.5j])
    assert complex(ge.sum(t(z, None)).item()) == z.sum()
    assert float(ge.var(t(z, None)).numpy()) == pytest.approx(np.var(z))
    assert float(ge.norm(t(z, None)).numpy()) == pytest.approx(np.linalg.norm(z))


# --- 16-bit floats ---


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_sums_accumulate_in_float32(dtype: str):
    ones = ge.ones(100_000, dtype=dtype)
    assert float(ge.mean(ones)) == 1
    assert float(ge.var(ones)) == 0
    assert float(ge.sum(ones[:5000])) == pytest.approx(5000, rel=2**-8)
    assert float(ge.norm(ones[:10_000])) == pytest.approx(100, rel=2**-8)
    assert float(ge.cumulative_sum(ones[:5000])[-1]) == pytest.approx(5000, rel=2**-8)
    assert float(ge.sum(ones, dtype="float32")) == 100_000
    assert float(ge.sum(ge.ones(5000), dtype=dtype)) == pytest.approx(5000, rel=2**-8)
    for f in (ge.sum, ge.mean, ge.var, ge.norm, ge.cumulative_sum, ge.softmax, ge.logsumexp):
        assert f(ones[:3]).dtype.name == dtype


def test_float16_sum_overflows_only_at_the_end():
    x = np.concatenate([np.ones(70_000), -np.ones(10_000)])
    assert float(ge.sum(t(x, "float16"))) == 60_000
    with np.errstate(over="ignore"):
        assert float(ge.sum(ge.ones(70_000, dtype="float16"))) == INF


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name", ["softmax", "log_softmax", "prod", "std", "norm", "cumulative_prod"]
)
def test_16_bit_gradients_are_those_of_float64_rounded(name: str, dtype: str):
    f = getattr(ge, name)
    x = t(rng.uniform(0.5, 1.5, 6), dtype).numpy()
    g = gradient(lambda x: f(x) * f(x), x, dtype)
    expected = gradient(lambda x: f(x) * f(x), x.astype(float))
    assert g.dtype.name == dtype
    eps = 2.0**-10 if dtype == "float16" else 2.0**-7
    np.testing.assert_allclose(
        g.astype(float), expected, rtol=0, atol=4 * eps * np.abs(expected).max()
    )


# --- ties in max and min ---


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
def test_ties_share_the_gradient_evenly(name: str):
    f = getattr(ge, name)
    x = rng.integers(0, 3, size=(1000, 7)).astype(float)
    g = gradient(lambda x: f(x, axis=1), x)
    np.testing.assert_allclose(g.sum(axis=1), 1, rtol=1e-15)
    hits = x == getattr(np, name)(x, axis=1, keepdims=True)
    np.testing.assert_array_equal(g, hits / hits.sum(axis=1, keepdims=True))
    assert not np.any(hessian(lambda x: f(x) ** 2 - f(x) ** 2, x[0]))


def test_max_of_nan_is_nan_with_a_nan_gradient():
    x = [[1.0, NAN, 3.0], [1.0, 2.0, 2.0]]
    assert np.isnan(ge.max(t(x), axis=1).numpy()).tolist() == [True, False]
    g = gradient(lambda x: ge.max(x, axis=1), x)
    assert np.all(np.isnan(g[0]))
    assert g[1].tolist() == [0, 0.5, 0.5]
    assert int(ge.argmax(t(x[0]))) == 1


# --- variance and standard deviation ---


@pytest.mark.parametrize("x", [[2.0, 2.0, 2.0], [[5.0], [5.0]], 3.0])
@pytest.mark.parametrize("keepdims", [False, True])
def test_std_of_a_constant_is_flat(x: Any, keepdims: bool):
    f = lambda x: ge.std(x, keepdims=keepdims)  # noqa: E731
    assert not np.any(f(t(x)).numpy())
    assert not np.any(gradient(f, x))
    assert not np.any(hessian(f, x))


def test_std_of_one_constant_row_does_not_disturb_others():
    x = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]])
    g = gradient(lambda x: ge.std(x, axis=1), x)
    assert not np.any(g[0])
    np.testing.assert_allclose(g[1], (x[1] - x[1].mean()) / (3 * x[1].std()), rtol=1e-14)


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize(
    ("x", "axis", "correction"),
    [
        ([[3.0], [4.0]], 1, 1),
        ([1.0, 2.0], None, 2),
        ([1.0, 2.0], 0, 5),
        (3.0, None, 1),
        (np.ones((0, 3)), 0, 0),
    ],
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_no_degrees_of_freedom_is_nan_of_the_right_shape(
    name: str, x: Any, axis: Any, correction: float, keepdims: bool
):
    def f(x: Any) -> Any:
        return getattr(ge, name)(x, axis=axis, correction=correction, keepdims=keepdims)

    y = f(t(x))
    assert y.shape == np.sum(x, axis=axis, keepdims=keepdims).shape
    assert np.all(np.isnan(y.numpy()))
    g = gradient(f, x)
    assert g.shape == np.shape(x)
    assert np.all(np.isnan(g))


# --- products with zeros ---


def leave_one_out(x: Any) -> Any:
    return np.array([np.prod(np.delete(x, i)) for i in range(len(x))])


def leave_two_out(x: Any) -> Any:
    n = len(x)
    pairs = [[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(n)] for i in range(n)]
    return np.array(pairs)


ZEROS = [
    [2.0, 3.0, 5.0, 7.0, 0.5],
    [2.0, 0.0, 5.0, 7.0, 0.5],
    [2.0, 0.0, 5.0, 0.0, 0.5],
    [0.0, 0.0, 0.0],
    [1e150, 1e150, 1e-300, 0.0],
    [4.0],
    [0.0],
]


@pytest.mark.parametrize("x", ZEROS, ids=str)
def test_prod_is_exact_at_zeros_at_first_and_second_order(x: Any):
    np.testing.assert_allclose(gradient(ge.prod, x), leave_one_out(x), rtol=1e-14)
    np.testing.assert_allclose(hessian(ge.prod, x), leave_two_out(x), rtol=1e-14)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), (2, 1)], ids=str)
def test_prod_with_zeros_over_axes(axis: Any, keepdims: bool):
    x = X.copy()
    x[0, 1, 2] = x[1, 1, 1] = x[0, 2, 3] = 0
    check_grads(lambda x: ge.prod(x, axis=axis, keepdims=keepdims), (x,), order=2)


def test_prod_of_one_and_of_none():
    assert float(gradient(ge.prod, 0.0)) == 1
    assert float(ge.prod(t(np.ones(0)))) == 1
    assert gradient(ge.prod, np.ones((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("include_initial", [False, True])
@pytest.mark.parametrize("x", ZEROS[:4] + ZEROS[5:], ids=str)
def test_cumulative_prod_is_exact_at_zeros(x: Any, include_initial: bool):
    n = len(x)
    g = rng.normal(size=n + include_initial)
    f = lambda x: ge.cumulative_prod(x, include_initial=include_initial) * t(g)  # noqa: E731
    first, second = np.zeros(n), np.zeros((n, n))
    for k in range(n):
        weight = g[k + include_initial]
        first[: k + 1] += weight * leave_one_out(x[: k + 1])
        second[: k + 1, : k + 1] += weight * leave_two_out(x[: k + 1])
    np.testing.assert_allclose(gradient(f, x), first, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(hessian(f, x), second, rtol=1e-13, atol=1e-13)


# --- empty arrays, errors ---


def test_empty_reductions_are_numpys():
    for axis, name in itertools.product((0, 1), ("sum", "prod", "all", "any", "count_nonzero")):
        y = getattr(ge, name)(t(np.ones((0, 3))), axis=axis)
        np.testing.assert_array_equal(y.numpy(), getattr(np, name)(np.ones((0, 3)), axis=axis))
    assert ge.max(t(np.ones((0, 3))), axis=1).shape == (0,)
    assert gradient(lambda x: ge.max(x, axis=1), np.ones((0, 3))).shape == (0, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.all(np.isnan(ge.mean(t(np.ones((0, 3))), axis=0).numpy()))
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ShapeError, match=rf"{name}: \(0, 3\) has no element.*\n.*hint: "):
            getattr(ge, name)(t(np.ones((0, 3))), axis=0)


@pytest.mark.parametrize(
    "name",
    ["sum", "prod", "mean", "var", "max", "argmax", "softmax", "logsumexp", "norm"],
)
def test_axis_errors_name_the_op(name: str):
    with pytest.raises(AxisError, match=r"\w+: axis 3 .*\n.*hint: ") as caught:
        getattr(ge, name)(t(X, requires_grad=True), axis=3)
    assert name.replace("norm", "") in str(caught.value)


def test_gradients_do_not_share_memory():
    x = t(X, requires_grad=True)
    y = t(X, requires_grad=True)
    (x.sum() + y.sum()).backward()
    x.grad += 1
    assert np.all(y.grad.numpy() == 1)
    assert x.grad.numpy().flags.writeable


# --- against PyTorch ---

PEERS: dict[str, Any] = {
    "sum": lambda m, x: m.sum(x),
    "prod": lambda m, x: m.prod(x),
    "mean": lambda m, x: m.mean(x),
    "var": lambda m, x: m.var(x, correction=1),
    "std": lambda m, x: m.std(x, correction=1),
    "logsumexp": lambda m, x: m.logsumexp(x, 1),
    "softmax": lambda m, x: m.softmax(x, -1),
    "log_softmax": lambda m, x: m.log_softmax(x, -1),
    "amax": lambda m, x: m.amax(x, -1),
    "amin": lambda m, x: m.amin(x, (0, 1)),
    "cumsum": lambda m, x: m.cumsum(x, 1),
    "cumprod": lambda m, x: m.cumprod(x, 1),
    "norm": lambda m, x: m.norm(x),
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_are_pytorchs(name: str, dtype: str):
    torch = pytest.importorskip("torch")
    x = X.astype(dtype)
    x[0, 0, 0] = 0
    theirs = torch.tensor(x, requires_grad=True)
    expected = PEERS[name](torch, theirs)
    g = rng.normal(size=tuple(expected.shape)).astype(dtype)
    expected.backward(torch.tensor(g))
    ours = ge.tensor(x, requires_grad=True)
    y = PEERS[name](ge, ours)
    y.backward(ge.tensor(g))
    tol = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=tol, atol=tol)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=tol, atol=tol)
