"""`ge.linalg` and `ge.special` against NumPy's and SciPy's functions of the same names."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import gradengine as ge
from gradengine import ops

A = np.arange(24.0).reshape(2, 3, 4) - 11.5

# --- every op has its public name ---


def test_every_public_op_is_a_name_of_the_package():
    inner = {"getitem", "overwrite", "astype"}  # indexing and assignment; astype has a wrapper
    names = {n for n, f in vars(ops).items() if callable(f) and not n.startswith("_")} - inner
    assert len(names) > 150
    missing = {n for n in names if getattr(ge, n, None) is not getattr(ops, n)}
    assert missing <= for_layers()


LAYERS = {
    "attention",
    "feedforward",
    "windows",
    "convolution",
    "pooling",
    "resampling",
    "ranking",
    "alignment",
    "standardisation",
    "gru",
    "recurrence",
    "steps",
}
"""Files of ops/ that are called through nn and nn.functional."""


def for_layers():
    """The names that ops/__init__.py takes from them."""
    blocks = ast.parse(Path(ops.__file__).read_text(encoding="utf-8")).body
    taken = [b for b in blocks if isinstance(b, ast.ImportFrom)]
    chosen = [b for b in taken if b.module in LAYERS or b.module is None]
    return {alias.name for block in chosen for alias in block.names}


# --- linalg ---


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_norm(axis, keepdims):
    numpys = tuple(range(3)) if axis is None else axis
    expected = np.sqrt((A**2).sum(axis=numpys, keepdims=keepdims))
    found = ge.linalg.norm(ge.tensor(A), axis=axis, keepdims=keepdims)
    assert found.shape == expected.shape
    assert np.allclose(found.numpy(), expected)


@pytest.mark.parametrize("order", [1, 2, 3, np.inf])
def test_vector_norms(order):
    expected = np.linalg.norm(A, order, axis=1)
    for found in (
        ge.linalg.norm(ge.tensor(A), order, axis=1),
        ge.linalg.vector_norm(ge.tensor(A), ord=order, axis=1),
    ):
        assert np.allclose(found.numpy(), expected)


def test_matrix_norm_is_frobenius_and_others_are_refused():
    expected = np.linalg.norm(A, "fro", axis=(1, 2))
    assert np.allclose(ge.linalg.matrix_norm(ge.tensor(A)).numpy(), expected)
    assert ge.linalg.matrix_norm(ge.tensor(A), keepdims=True).shape == (2, 1, 1)
    for order in ("nuc", 2, -1, np.inf):
        with pytest.raises(ge.ShapeError, match='"fro"'):
            ge.linalg.matrix_norm(ge.tensor(A), ord=order)


def test_norm_of_zero_has_gradient_zero():
    x = ge.zeros(3, requires_grad=True)
    ge.linalg.norm(x).backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_diagonal_and_trace_of_the_last_two_axes():
    t = ge.tensor(A)
    for offset in (-1, 0, 2):
        diagonal = np.diagonal(A, offset, -2, -1)
        assert np.array_equal(ge.linalg.diagonal(t, offset=offset).numpy(), diagonal)
        assert np.allclose(ge.linalg.trace(t, offset=offset).numpy(), diagonal.sum(-1))
    assert ge.linalg.trace(t, dtype="float32").dtype == np.float32


def test_the_other_names_of_linalg_are_the_ops():
    for name in "matmul matrix_transpose outer tensordot vecdot vector_norm".split():  # noqa: SIM905
        assert getattr(ge.linalg, name) is getattr(ops, name)


# --- special ---


@pytest.mark.parametrize("name", ge.special.__all__)
def test_special(name):
    special = pytest.importorskip("scipy.special")
    if not hasattr(special, name):
        pytest.skip(f"this SciPy has no {name}")
    x = np.abs(A) / 8 + 0.1
    function = getattr(ge.special, name)
    inputs = [x] * getattr(getattr(function, "op", None), "arity", 1)
    found = function(*(ge.tensor(value, requires_grad=True) for value in inputs))
    assert found.requires_grad
    options = {"axis": -1} if name.endswith("softmax") else {}
    expected = getattr(special, name)(*inputs, **options)
    assert np.allclose(found.detach().numpy(), expected, rtol=1e-13)


def test_the_namespace_names_its_version_of_the_standard():
    assert ge.__array_api_version__ == "2024.12"
    assert ge.ones(1).__array_namespace__(api_version=ge.__array_api_version__) is ge
