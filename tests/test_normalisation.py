"""Softmax, logsumexp and norms: SciPy's values, masked rows, and gradients at zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special

import gradengine as ge
from gradengine.ops import normalisation
from gradengine.testing import check_grads

rng = np.random.default_rng(5)
X = rng.normal(size=(2, 3, 4))
INF, NAN = math.inf, math.nan


def t(x: Any, dtype: Any = "float64") -> Any:
    return ge.tensor(np.array(x), dtype=dtype)


def gradient(f: Any, x: Any) -> Any:
    """The gradient of the sum of f(x), as a NumPy array."""
    return ge.grad(lambda x: f(x).sum())(t(x)).numpy()


def hessian(f: Any, x: Any) -> Any:
    return ge.hessian(lambda x: f(x).sum())(t(x)).numpy()


# --- values ---


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)], ids=str)
def test_softmax_family_is_scipys(axis: Any):
    for x in (X, 50 * X, 1e4 * X):
        for name in ("softmax", "log_softmax", "logsumexp"):
            expected = getattr(scipy.special, name)(x, axis=axis)
            y = getattr(ge, name)(t(x), axis=axis)
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(ge.softmin(t(X)).numpy(), scipy.special.softmax(-X, axis=-1))


def test_softmax_of_complex_numbers_and_of_one_number():
    z = np.array([[1 + 1j, 2, -1j], [0, 0.5j, 3]])
    np.testing.assert_allclose(ge.softmax(ge.tensor(z)).numpy(), scipy.special.softmax(z, axis=-1))
    for axis in (-1, None):
        assert ge.softmax(ge.tensor(3.0), axis=axis).item() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_a_row_depends_on_that_row_alone(dtype: str):
    rows = np.stack([X[0, 0], X[0, 0] - 70, X[0, 0] + 90, 1e4 * X[0, 0], [-80, -3, 0, 59.9]])
    rows = rows.astype(dtype)
    together = ge.softmax(ge.tensor(rows)).numpy()
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_array_equal(ge.softmax(ge.tensor(row)).numpy(), found)
        expected = scipy.special.softmax(row.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=10 * np.finfo(dtype).eps, atol=1e-45)


@pytest.mark.parametrize("order", [1, 1.5, 2, 3, INF, -INF, 0])
@pytest.mark.parametrize("axis", [0, -1])
def test_norms_are_numpys(order: float, axis: int):
    expected = np.linalg.norm(X[0], ord=order, axis=axis, keepdims=True)
    y = ge.vector_norm(t(X[0]), ord=order, axis=axis, keepdims=True)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)
    flat = ge.norm(t(X), ord=order)
    np.testing.assert_allclose(flat.numpy(), np.linalg.norm(X.ravel(), ord=order), rtol=1e-14)


@pytest.mark.parametrize("p", [1, 2, 3, INF])
def test_normalize(p: float):
    y = ge.normalize(t(X), p=p, axis=1).numpy()
    np.testing.assert_allclose(np.linalg.norm(y, ord=p, axis=1), np.ones((2, 4)), rtol=1e-14)
    check_grads(lambda x: ge.normalize(x, p=p, axis=1), (X,), order=2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_normalize_keeps_zero_and_dtype(dtype: str):
    y = ge.normalize(t([[3.0, 4.0], [0.0, 0.0], [3e4, 4e4]], dtype))
    assert y.dtype.name == dtype
    np.testing.assert_allclose(y.numpy().astype(float), [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=4e-3)


# --- masked rows ---

ROWS = np.array([[0.0, 1.0, 2.0], [-INF, -INF, -INF], [-INF, 1.0, 1.0]])


def test_logsumexp_of_nothing_but_minus_infinity():
    y = ge.logsumexp(t(ROWS), axis=1).numpy()
    np.testing.assert_allclose(y[[0, 2]], scipy.special.logsumexp(ROWS[[0, 2]], axis=1))
    assert y[1] == -INF
    g = gradient(lambda x: ge.logsumexp(x, axis=1), ROWS)
    np.testing.assert_allclose(g[0], scipy.special.softmax(ROWS[0]))
    assert g[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(g[2], [0, 0.5, 0.5], rtol=1e-15)
    for order in (hessian(lambda x: ge.logsumexp(x, axis=1), ROWS), hessian(ge.logsumexp, ROWS)):
        assert np.all(np.isfinite(order))
    assert float(ge.logsumexp(t(np.ones(0)))) == -INF
    assert gradient(ge.logsumexp, -INF) == 0


def test_a_masked_row_stays_masked_through_where():
    """Scores masked with -inf, a whole row dead, the row cut off afterwards: no NaN, any order."""
    mask = np.isfinite(ROWS)
    alive = t(mask.any(axis=1, keepdims=True), "bool")
    w = t(rng.normal(size=(3, 3)))

    def f(x: Any) -> Any:
        scores = ge.where(t(mask, "bool"), x * x, -INF)
        return ge.where(alive, ge.softmax(scores), 0.0) * w

    x = rng.normal(size=(3, 3))
    first = gradient(f, x)
    assert np.all(np.isfinite(first))
    assert not np.any(first[~mask])
    assert np.any(first[mask])
    assert np.all(np.isfinite(hessian(f, x)))
    _, tangent = ge.jvp(f, (t(x),), (w,))
    assert np.all(np.isfinite(tangent.numpy()))


def test_logsumexp_extremes():
    assert float(ge.logsumexp(t([INF, 1.0]))) == INF
    assert np.isnan(float(ge.logsumexp(t([NAN, 1.0]))))
    assert float(ge.logsumexp(t([-1e300, -1e300]))) == -1e300
    assert float(ge.logsumexp(t([1e4, 1e4], "float16"))) == 1e4


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_dead_rows_are_nan_and_poison_nobody(
    name: str, host: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(normalisation, "is_host", lambda _: host)  # the GPU's way, on NumPy
    f = getattr(ge, name)
    y = f(t(ROWS)).numpy()
    assert np.all(np.isnan(y[1]))
    assert not np.any(np.isnan(y[[0, 2]]))
    w = rng.normal(size=(3, 3))

    def g(x: Any) -> Any:  # rows 0 and 2 only
        return ge.concat([f(x)[:1, 1:], f(x)[2:, 1:]]) * t(w[:2, :2])

    first = gradient(g, ROWS)
    assert np.all(np.isfinite(first))
    assert not np.any(first[1])
    np.testing.assert_allclose(
        first[0], gradient(lambda x: f(x)[1:] * t(w[0, :2]), ROWS[0]), rtol=1e-14
    )
    assert np.all(np.isfinite(hessian(g, ROWS)))
    _, tangent = ge.jvp(g, (t(ROWS),), (t(w),))
    assert np.all(np.isfinite(tangent.numpy()))


def test_dead_rows_give_nan_to_those_who_ask():
    assert np.all(np.isnan(gradient(lambda x: ge.softmax(x) * t([1.0, 2.0, 3.0]), ROWS)[1]))


def test_softmax_at_large_inputs_is_silent():
    with np.errstate(all="raise"):
        for x in ([-1e4, 1e4, 0.0], [1e308, -1e308, 0.0]):
            y = ge.log_softmax(t(x))
            assert np.all(np.isfinite(gradient(ge.log_softmax, x)))
            assert np.all(np.isfinite(gradient(lambda x: ge.softmax(x) ** 2, x)))
            if x[0] == -1e4:
                assert y.tolist() == [-2e4, 0, -1e4]
    assert ge.softmax(t(np.ones((3, 0)))).shape == (3, 0)
    assert ge.log_softmax(t(np.ones((0, 3))), axis=0).shape == (0, 3)


# --- norms at zero ---


@pytest.mark.parametrize("order", [1, 1.5, 2, 3, 4, INF, -INF, 0.5])
def test_norm_at_zero_has_gradient_zero(order: float):
    f = lambda x: ge.norm(x, ord=order)  # noqa: E731
    assert not np.any(gradient(f, np.zeros(3)))
    assert not np.any(hessian(f, np.zeros(3)))
    g = gradient(lambda x: ge.norm(x, ord=order, axis=1), [[0.0, 0.0], [3.0, -3.0]])
    assert not np.any(g[0])
    assert np.all(np.isfinite(g[1]))
    assert np.all(g[1] * [1, -1] > 0)


@pytest.mark.parametrize("order", [1.5, 2, 3, 4.0])
def test_norm_gradients_with_some_zeros(order: float):
    x = np.array([[0.0, 2.0, -1.0], [0.5, 0.0, 0.0]])
    check_grads(lambda x: ge.norm(x, ord=order, axis=1), (x,), order=1)


def test_norm_of_the_smallest_numbers():
    x = np.array([3e-160, 4e-160])
    np.testing.assert_allclose(gradient(ge.norm, x), [0.6, 0.8], rtol=1e-2)


# --- against PyTorch ---


def test_norms_of_order_p_are_pytorchs():
    torch = pytest.importorskip("torch")
    for order in (1, 1.5, 2, 3, INF):
        theirs = torch.tensor(X, requires_grad=True)
        torch.linalg.vector_norm(theirs, ord=order, dim=1).sum().backward()
        g = gradient(lambda x, p=order: ge.vector_norm(x, axis=1, ord=p), X)
        np.testing.assert_allclose(g, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_normalize_is_pytorchs(p: float):
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    x = np.concatenate([X[0], np.zeros((1, 4))])
    theirs = torch.tensor(x, requires_grad=True)
    functional.normalize(theirs, p=p).pow(2).sum().backward()
    g = gradient(lambda x: ge.normalize(x, p=p) ** 2, x)
    np.testing.assert_allclose(g, theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
