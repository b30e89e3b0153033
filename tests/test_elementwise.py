"""The elementwise ops as people meet them: names, parameters, dtypes beside scalars, CUDA functors.

Derivatives are the business of test_ops.py (generated), at singular points of
test_special_values.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import gradengine as ge
from gradengine import ops
from gradengine.op import Op, registry
from gradengine.ops import activations, arithmetic, elementary, gates

Function = Callable[..., Any]


def gradient(f: Function, *args: Any) -> list[Any]:
    ts = [ge.tensor(np.asarray(a, np.float64), requires_grad=True) for a in args]
    f(*ts).sum().backward()
    return [t.grad.numpy() for t in ts if t.grad is not None]


# --- parameters and composites ---


def test_softplus_needs_no_threshold():
    x = np.array([19.9, 20.1, 25.0, 36.0])
    y = ge.softplus(ge.tensor(x), threshold=20.0).numpy()
    np.testing.assert_allclose(y, np.logaddexp(x, 0), rtol=2e-16)
    y = ge.softplus(ge.tensor(x), 2.0).numpy()
    np.testing.assert_allclose(y, np.logaddexp(2 * x, 0) / 2, rtol=2e-16)


def test_gelu_has_two_forms():
    x = ge.tensor([-1.0, 2.0], dtype="float64")
    np.testing.assert_allclose(ge.gelu(x).numpy(), x.numpy() * special.ndtr(x.numpy()), rtol=1e-14)
    assert np.abs((ge.gelu(x, approximate="tanh") - ge.gelu(x)).numpy()).max() > 1e-5
    with pytest.raises(ValueError, match=r"gelu: approximate='erf'\n  hint: use \"none\" or"):
        ge.gelu(x, approximate="erf")


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_glu_gates_halves(axis: int):
    x = np.random.default_rng(0).standard_normal((4, 6))
    a, b = np.split(x, 2, axis)
    np.testing.assert_allclose(ge.glu(ge.tensor(x), axis).numpy(), a * special.expit(b))
    ge.testing.check_grads(lambda t: ge.glu(t, axis), (x,))


def test_glu_says_what_is_wrong():
    with pytest.raises(ge.errors.ShapeError, match=r"glu: axis 1 of \(2, 3\) has odd size 3"):
        ge.glu(ge.ones((2, 3)), axis=1)


def test_prelu_weight_per_channel():
    x = np.array([[-1.0, 2.0], [-3.0, -4.0]])
    dx, dw = gradient(ge.prelu, x, [0.1, 0.2])
    np.testing.assert_array_equal(dx, [[0.1, 1], [0.1, 0.2]])
    np.testing.assert_array_equal(dw, [-4, -4])


# --- scalars are weak ---

BINARY = [
    op
    for op in registry.values()
    if op.arity == 2
    and op.differentiable
    and any(op.function in vars(m).values() for m in (arithmetic, elementary, activations, gates))
]


@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2), True, 0], ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("op", BINARY, ids=[op.name for op in BINARY])
def test_a_scalar_leaves_the_dtype_alone(op: Op, dtype: str, scalar: Any):
    x = ge.tensor([0.5, 1.5], dtype=dtype, requires_grad=True)
    for f in (lambda t: op.function(t, scalar), lambda t: op.function(scalar, t)):
        with np.errstate(all="ignore"):
            y = f(x)
            assert y.dtype == x.dtype
            x.grad = None
            y.sum().backward()
            assert x.grad is not None
            assert x.grad.dtype == x.dtype
            y, t = ge.jvp(f, (x.detach(),), (ge.ones_like(x.detach()),))
            assert (y.dtype, t.dtype) == (x.dtype, x.dtype)


@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2), True], ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_scalar_leaves_the_dtype_of_choices_alone(dtype: str, scalar: Any):
    x = ge.tensor([0.5, 2.5], dtype=dtype, requires_grad=True)
    choices = [
        ge.where(x > 1, x, scalar),
        ge.where(x > 1, scalar, x),
        ge.clip(x, scalar),
        ge.clip(x, 0.0, scalar),
    ]
    for y in choices:
        assert y.dtype == x.dtype
        x.grad = None
        y.sum().backward()
        assert x.grad is not None
        assert (x.grad.dtype, float(x.grad.sum())) == (x.dtype, 1.0)


# --- the standard is there ---

STANDARD = (
    "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift "
    "bitwise_invert bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos "
    "cosh divide equal exp expm1 floor floor_divide greater greater_equal hypot imag "
    "isfinite isinf isnan less less_equal log log1p log2 log10 logaddexp logical_and "
    "logical_not logical_or logical_xor maximum minimum multiply negative nextafter "
    "not_equal positive pow real reciprocal remainder round sign signbit sin sinh square "
    "sqrt subtract tan tanh trunc where"
)
ALIASES = {
    "absolute": "abs", "power": "pow", "mod": "remainder", "true_divide": "divide",
    "conjugate": "conj", "invert": "bitwise_invert", "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift", "bitwise_not": "bitwise_invert", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip


@pytest.mark.parametrize("name", STANDARD.split())
def test_elementwise_functions_of_the_standard_are_numpys(name: str):
    ours, numpys = getattr(ge, name), getattr(np, name)
    whole = name.startswith("bitwise")
    x = np.array([1, 2, 3]) if whole else np.array([0.25, 0.5, 0.75])
    y = np.array([3, 1, 2]) if whole else np.array([0.5, 0.5, -0.25])
    args = (x, y)
    if name in ("acosh",):
        args = (x + 1,)
    elif name == "where":
        args = (x > 0.3, x, y)
    elif name == "clip":
        args = (x, 0.3, 0.6)
    elif name not in ("logaddexp",) and (op := registry[name]).arity == 1:
        args = (x,)
        assert op.function is ours
    found = ours(*(ge.tensor(a) if isinstance(a, np.ndarray) else a for a in args)).numpy()
    expected = numpys(*args)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("name", ALIASES)
def test_numpys_names_are_the_same_functions(name: str):
    assert getattr(ge, name) is getattr(ge, ALIASES[name]) is getattr(ops, name)


def test_special_functions_are_scipys():
    x = np.linspace(-3, 3, 25)
    for ours, theirs in ((ge.erf, special.erf), (ge.erfc, special.erfc), (ge.cbrt, np.cbrt)):
        np.testing.assert_allclose(ours(ge.tensor(x)).numpy(), theirs(x), rtol=1e-15)
    np.testing.assert_allclose(ge.exp2(ge.tensor(x)).numpy(), 2**x, rtol=1e-15)
    np.testing.assert_allclose(ge.ndtr(ge.tensor(x)).numpy(), special.ndtr(x), rtol=5e-14)
    p = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(ge.rsqrt(ge.tensor(p[1:])).numpy(), p[1:] ** -0.5, rtol=1e-15)
    np.testing.assert_allclose(ge.xlogy(ge.tensor(p), p).numpy(), special.xlogy(p, p), rtol=1e-15)


def test_parts_of_real_and_complex_numbers():
    x = ge.tensor([1.0, -2.0], requires_grad=True)
    (ge.real(x) + 3 * ge.imag(x) + 5 * ge.conj(x)).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [6, 6])
    y = ge.real(x)
    assert not np.shares_memory(y.numpy(), x.numpy())
    z = np.array([1 + 2j])
    assert ge.real(ge.tensor(z)).item() == 1
    assert ge.imag(ge.tensor(z)).item() == 2


# --- rows and CUDA functors ---


def test_rows_and_functors_have_the_same_names_in_the_same_order():
    source = pytest.importorskip("gradengine.cuda.source")
    functors = list(source.functors())
    kernels = [op.kernel for op in registry.values() if op.kernel is not None]
    assert set(kernels) <= set(functors)
    assert len(set(kernels)) == len(kernels)
    rows = [k for k in kernels if registry_file(k) is activations]
    assert rows == [f for f in functors if f in rows]


def registry_file(kernel: str) -> Any:
    """The module that states the row of a kernel."""
    (function,) = [op.function for op in registry.values() if op.kernel == kernel]
    files = (arithmetic, elementary, activations, gates)
    return next(m for m in files if function in vars(m).values())


@pytest.mark.parametrize("name", ["divide", "multiply", "power", "atan2", "hypot", "logaddexp"])
def test_a_derivative_is_as_precise_as_the_promoted_dtype(name):
    """Of a float64 operand beside a float32 one: nothing on the way is rounded to float32."""
    a, b = np.linspace(0.5, 2, 5), np.linspace(0.7, 1.9, 5).astype(np.float32)
    mixed, wide = (ge.tensor(a, requires_grad=True) for _ in range(2))
    getattr(ge, name)(mixed, ge.tensor(b)).sum().backward()
    getattr(ge, name)(wide, ge.tensor(b.astype(np.float64))).sum().backward()
    np.testing.assert_allclose(mixed.grad.numpy(), wide.grad.numpy(), rtol=1e-15)
