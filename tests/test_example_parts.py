"""The parts of the examples that make claims, checked against something that knows the answer.

test_examples.py runs each example as a whole; here their functions are imported and compared with
scikit-learn, with exact solutions, with data made for the purpose.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradengine as ge

FOLDER = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module", autouse=True)
def examples_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def example(name: str) -> Any:
    pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
    return importlib.import_module(name)


# --- newton.py -----------------------------------------------------------------------------------


def test_newton_finds_scikit_learns_optimum():
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    newton = example("newton")
    problem, _ = newton.problems()
    run = newton.Run(problem.loss)
    newton.newton(run, ge.zeros(31, dtype=ge.float64), 30)
    x, s = problem.x.numpy(), problem.s.numpy()
    theirs = linear.LogisticRegression(C=1 / (newton.DECAY * len(s)), tol=1e-10, max_iter=1000)
    theirs.fit(x[:, :-1], s)
    expected = np.append(theirs.coef_[0], theirs.intercept_)
    np.testing.assert_allclose(run.w.numpy(), expected, atol=2e-4)
    assert run.norms[-1] < 1e-9


def test_newton_converges_superlinearly():
    newton = example("newton")
    matrix = ge.tensor(np.random.default_rng(0).normal(size=(50, 5)))
    problem = newton.Problem(matrix, ge.tensor(np.where(matrix.numpy()[:, 0] > 0.3, 1.0, -1.0)))
    run = newton.Run(problem.loss)
    newton.newton(run, ge.zeros(5, dtype=ge.float64), 30)
    ratios = np.array(run.norms[1:]) / np.array(run.norms[:-1])
    assert ratios[-1] < 1e-2 * ratios[0]
    hessian = ge.hessian(problem.loss)(ge.zeros(5, dtype=ge.float64)).numpy()
    largest = newton.largest_curvature(problem.loss, ge.zeros(5, dtype=ge.float64))
    np.testing.assert_allclose(largest, np.linalg.eigvalsh(hessian)[-1], rtol=1e-3)
