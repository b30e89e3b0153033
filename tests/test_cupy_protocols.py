"""CuPy on tensors: its ufuncs, kernels and functions stay on the tape, in both directions."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from comparisons import same

import gradengine as ge
from gradengine.interop import protocols

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])
B = np.array([[1.5, 0.5, -2.0], [0.1, 3.0, 0.7]])


def leaf(x):
    return ge.tensor(x, requires_grad=True)


# --- CuPy ---


@pytest.fixture(name="cupy")
def import_cupy():
    """CuPy, with or without a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns at import about set-ups that do not matter
        return pytest.importorskip("cupy", reason="CuPy is not installed")


def array_of(cupy):
    """A CuPy array without a GPU: its memory is on the host, nothing may compute on it."""
    host = np.ones(4, "f4")
    memory = cupy.cuda.UnownedMemory(host.ctypes.data, 16, host, device_id=0)
    return cupy.ndarray((4,), "f4", memptr=cupy.cuda.MemoryPointer(memory, 0))


@pytest.mark.parametrize("name", ["exp", "tanh", "absolute", "arctan", "deg2rad", "square"])
def test_cupy_unary_functions_reach_our_ops(cupy, name):
    x = leaf(A)
    y = getattr(cupy, name)(x)
    same(y.detach(), getattr(np, name)(A))
    assert y.requires_grad


@pytest.mark.parametrize("name", ["add", "true_divide", "maximum", "power", "arctan2", "logaddexp"])
def test_cupy_binary_functions_reach_our_ops(cupy, name):
    x = leaf(np.abs(A))
    for args in ((x, 2.0), (2.0, x), (x, x)):
        y = getattr(cupy, name)(*args)
        raw = [v.detach().numpy() if isinstance(v, ge.Tensor) else v for v in args]
        same(y.detach(), getattr(np, name)(*raw))
        assert y.requires_grad


def test_cupy_special_functions_and_out(cupy):
    special = pytest.importorskip("cupyx.scipy.special")
    x = leaf(A)
    assert special.erf(x).requires_grad
    assert np.allclose(special.expit(x).detach().numpy(), 1 / (1 + np.exp(-A)))
    out = ge.zeros((2, 3), dtype="float64")
    assert cupy.exp(x, out) is out
    assert cupy.exp(x, out=out) is out
    same(out.detach(), np.exp(A))
    assert out.requires_grad
    with pytest.raises(TypeError, match="dtype"):
        cupy.add(x, 1, dtype="f4")


def test_cupy_kernels_without_a_derivative_are_refused(cupy):
    own = cupy.ElementwiseKernel("T x", "T y", "y = x", "own_kernel")
    with pytest.raises(ge.GraphError, match="own_kernel"):
        own(leaf(A))
    with pytest.raises(ge.GraphError, match="cupy_frexp"):
        cupy.frexp(leaf(A))


def test_methods_that_cupy_calls_by_name(cupy):
    x = leaf(A)
    same(cupy.transpose(x).detach(), A.T)


@pytest.mark.parametrize(
    ("expression", "op"),
    [
        (lambda a, t: a + t, "add"),
        (lambda a, t: a * t, "multiply"),
        (lambda a, t: a - t, "subtract"),
        (lambda a, t: a / t, "divide"),
        (lambda a, t: a**t, "pow"),
        (lambda a, t: a @ t, "matmul"),
        (lambda a, t: np.add(a, t), "add"),
        (lambda a, t: sys.modules["cupy"].add(a, t), "add"),
        (lambda a, t: t + a, "add"),
        (lambda a, t: t @ a, "matmul"),
    ],
)
def test_cupy_array_and_tensor_end_in_our_op(cupy, expression, op):
    """A host tensor and a CuPy array cannot meet; the point is that our op says so."""
    with pytest.raises(ge.DeviceError, match=rf"(?s){op}: arrays on different devices.*x\.to"):
        expression(array_of(cupy), ge.ones(4, requires_grad=True))


def test_no_bare_memory_for_cupy():
    for t in (leaf(A), leaf(A) * 2, ge.tensor(A)):
        assert not hasattr(t, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match=r"t\.detach\(\)"):
        _ = leaf(A).__cuda_array_interface__
    with pytest.raises(AttributeError, match="host memory"):
        _ = ge.tensor(A).__cuda_array_interface__


class Kernel:
    """A stand-in for a CuPy kernel, as its hook hands it over."""

    def __init__(self, name, nin, result=None):
        self.name, self.nin, self.result = name, nin, result

    def __call__(self, *args):
        return self.result


def test_hook_without_cupy():
    x = leaf(A)
    same(protocols.cupy_kernel(Kernel("cupy_exp", 1), (x,), {}).detach(), np.exp(A))
    found = protocols.cupy_kernel(Kernel("cupyx_scipy_special_erf", 1), (x,), {})
    same(found.detach(), ge.erf(x).detach().numpy())
    with pytest.raises(ge.GraphError, match="cupyx_scipy_special_j0"):
        protocols.cupy_kernel(Kernel("cupyx_scipy_special_j0", 1), (x,), {})
    constant = protocols.cupy_kernel(Kernel("user", 1, np.ones(3)), (ge.tensor(A),), {})
    same(constant, np.ones(3))


@pytest.mark.gpu
def test_cupy_on_the_gpu_both_directions(cupy):
    a = cupy.asarray(A)
    for expression in (
        lambda x: cupy.exp(x),
        lambda x: a * x,
        lambda x: x * a,
        lambda x: a.T @ x,
        lambda x: np.exp(x),
        lambda x: cupy.maximum(a, x),
        lambda x: np.concatenate([x, x]),
    ):
        x = ge.tensor(B, device="cuda", requires_grad=True)
        y = expression(x)
        assert isinstance(y, ge.Tensor)
        assert y.device == "cuda:0"
        y.sum().backward()
        assert x.grad.device == "cuda:0"
    t = ge.tensor(A, device="cuda")
    assert cupy.asarray(t).data.ptr == t.data.data.ptr
    with pytest.raises(ge.DeviceError, match=r"t\.numpy\(\)"):
        np.asarray(t)
    shared = cupy.from_dlpack(t)
    assert shared.data.ptr == t.data.data.ptr
