"""No NaN from a masked branch, whatever stands in it: first and second order, and forward mode."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge

# name -> (the branch, points inside where it is regular, points masked out where it is not)
BRANCHES = {
    "x log x": (lambda x: x * ge.log(x), [0.5, 2.0], [0.0, -1.0]),
    "x sqrt x": (lambda x: x * ge.sqrt(x), [0.5, 2.0], [0.0, -1.0]),
    "x exp x": (lambda x: x * ge.exp(-x), [0.5, 2.0], [-1000.0]),
    "sin sqrt": (lambda x: ge.sin(ge.sqrt(x)), [0.5, 2.0], [0.0, -2.0]),
    "sigmoid of 1/x": (lambda x: ge.sigmoid(1 / x), [0.5, 2.0], [0.0]),
    "quotient": (lambda x: ge.sin(x) / x, [0.5, 2.0], [0.0]),
    "entropy": (lambda x: -(x * ge.log2(x)), [0.25, 0.5], [0.0]),
    "power": (lambda x: x**0.5 * ge.tanh(x), [0.5, 2.0], [0.0, -3.0]),
    "log of a difference": (lambda x: ge.log(x) - ge.log(x) * x, [0.5, 2.0], [0.0, -1.0]),
    "hypot": (lambda x: ge.acos(x) * ge.hypot(x, x), [0.25, 0.5], [-7.0]),
}


def masked(name: str):
    f, inside, outside = BRANCHES[name]
    x = np.array(inside + outside)
    keep = np.arange(len(x)) < len(inside)
    return (lambda x: ge.where(keep, f(x), 0.0).sum()), f, x, keep


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, of the values thrown away
@pytest.mark.parametrize("name", BRANCHES)
def test_what_a_mask_cuts_off_adds_nothing(name: str):
    f, branch, x, keep = masked(name)
    for transform in (ge.grad, lambda f: ge.grad(lambda x: ge.grad(f)(x).sum())):
        found = transform(f)(ge.tensor(x)).numpy()
        alone = transform(lambda x: branch(x).sum())(ge.tensor(x[keep])).numpy()
        assert np.array_equal(found[keep], alone)
        assert np.array_equal(found[~keep], np.zeros((~keep).sum()))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", BRANCHES)
def test_forward_mode_agrees(name: str):
    f, _, x, _ = masked(name)
    direction = np.linspace(0.5, 1.5, len(x))
    _, tangent = ge.jvp(f, (ge.tensor(x),), (ge.tensor(direction),))
    gradient = ge.grad(f)(ge.tensor(x)).numpy()
    assert np.isclose(tangent.item(), gradient @ direction, rtol=1e-13)


def test_genuine_infinities_still_surface():
    x = ge.tensor([0.0, 4.0], requires_grad=True)
    ge.sqrt(x).sum().backward()
    assert x.grad.tolist() == [np.inf, 0.25]
    x.grad = None
    (ge.tensor([np.inf, 1.0]) * (x + 1)).sum().backward()
    assert x.grad.tolist() == [np.inf, 1.0]


@pytest.mark.parametrize(
    "name", ["sigmoid", "relu", "gelu", "softplus", "silu", "leaky_relu", "erf"]
)
def test_real_functions_refuse_complex_numbers(name: str):
    for x in (np.array([1 + 2j]), ge.tensor([1 + 2j])):
        with pytest.raises(ge.DTypeError, match=r"complex(.|\n)*hint: "):
            getattr(ge, name)(x)
