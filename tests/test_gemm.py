"""Products on the device: what gemm.py describes to cuBLASLt, computed to the letter in NumPy.

The stand-in device's library reads raw memory by leading dimensions, flags and strides alone, so a
wrong description gives wrong numbers here. Descriptors are also built with the real library, which
needs no driver for that, where it is installed.
"""

from __future__ import annotations

import ctypes
import itertools
import warnings

import ml_dtypes
import numpy as np
import pytest

from gradengine.cuda import cublaslt, gemm
from gradengine.cuda.gemm_host import HostGemm
from gradengine.cuda.standin import standin, wrap
from gradengine.errors import OutOfRangeError, ShapeError

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
random = np.random.default_rng(0)


@pytest.fixture
def library():
    chosen = HostGemm()
    with standin(), gemm.using(chosen):
        yield chosen


def device(array):
    import cupy

    return cupy.array(array)


def numbers(*shape, dtype=np.float64):
    return random.normal(size=shape).astype(dtype)


def agree(found, expected, dtype=np.float64):
    tolerance = TOLERANCE[np.dtype(dtype).name]
    found = found.get()
    assert found.dtype == dtype
    assert found.shape == expected.shape
    wide = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance * 4)


# --- products ---


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((1, 4), (4, 1)),
        ((3, 1), (1, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 3, 4), (6, 4, 2)),
        ((0, 4), (4, 2)),
        ((3, 0), (0, 2)),
        ((2, 3, 0), (0, 4)),
        ((2, 3, 4), (4, 0)),
    ],
    ids=str,
)
def test_matmul(library, a, b, dtype):
    x, y = numbers(*a, dtype=dtype), numbers(*b, dtype=dtype)
    expected = np.matmul(x.astype(np.float64), y.astype(np.float64))
    agree(gemm.matmul(device(x), device(y)), np.asarray(expected), dtype)


VIEWS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.copy().T.copy().T if x.ndim == 2 else x,
    "rows of a wider array": lambda x: np.concatenate([x, x], -1)[..., : x.shape[-1]],
    "every second row": lambda x: np.repeat(x, 2, -2)[..., ::2, :],
    "every second column": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "backwards": lambda x: x[..., ::-1, :].copy()[..., ::-1, :],
    "one element in": lambda x: np.concatenate([x.ravel()[:1], x.ravel()])[1:].reshape(x.shape),
}


def on_device(view, x):
    """The view of a device array that `view` makes of a host array."""
    return wrap(view(x))


@pytest.mark.parametrize(("left", "right"), list(itertools.product(VIEWS, VIEWS)))
def test_strides_and_transposes(library, left, right):
    a, b = numbers(4, 6), numbers(6, 5)
    x, y = on_device(VIEWS[left], a), on_device(VIEWS[right], b)
    agree(gemm.matmul(x, y), a @ b)


def test_transposes_are_flags_and_copy_nothing(library):
    a, b = device(numbers(4, 6)), device(numbers(5, 4))
    gemm.matmul(a.T, b.T)
    (product,) = library.products
    assert product.a.transposed
    assert product.b.transposed


@pytest.mark.parametrize("heads", [1, 3])
def test_batches_of_heads_transposed(library, heads):
    q, k = numbers(2, 7, heads, 4), numbers(2, 5, heads, 4)
    x, y = (device(v).transpose(0, 2, 1, 3) for v in (q, k))
    scores = gemm.matmul(x, y.swapaxes(-1, -2))
    agree(scores, np.einsum("bqhd,bkhd->bhqk", q, k))


def test_a_stack_times_one_matrix_is_one_tall_product(library):
    a, b = numbers(3, 4, 6), numbers(6, 5)
    agree(gemm.matmul(device(a), device(b)), a @ b)
    (product,) = library.products
    assert (product.batch, product.b.cols) == (1, 12)


def test_accumulation_has_beta_one(library):
    a, b, c = numbers(4, 6), numbers(6, 5), numbers(4, 5)
    out = device(c)
    found = gemm.matmul(device(a), device(b), out=out, accumulate=True)
    assert found is out
    agree(out, c + a @ b)
    empty = gemm.matmul(device(a[:, :0]), device(b[:0]), out=out, accumulate=True)
    agree(empty, c + a @ b)


# --- layers ---


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def slope(f, z, h=1e-6):
    return (f(z + h) - f(z - h)) / (2 * h)


ACTIVATIONS = {"none": lambda z: z, "relu": lambda z: np.maximum(z, 0), "gelu": gelu}


@pytest.mark.parametrize("features", [3, 8, 130])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_and_its_backward_through_the_activation(library, activation, features):
    x, w, b = numbers(5, 4), numbers(features, 4), numbers(features)
    g, w2 = numbers(5, 2), numbers(2, features)
    f = ACTIVATIONS[activation]
    z = x @ w.T + b
    y, aux = gemm.linear(device(x), device(w), device(b), activation, keep=True)
    agree(y, f(z))
    dx, sums = gemm.linear_backward(device(g), device(w2), aux, activation)
    expected = (g @ w2) * slope(f, z)
    np.testing.assert_allclose(dx.get(), expected, atol=1e-8)
    if activation != "none":
        np.testing.assert_allclose(sums.get(), expected.sum(0), atol=1e-8)
    assert len(library.products) == 2


def test_linear_without_bias_or_keeping(library):
    x, w, b = numbers(5, 4), numbers(3, 4), numbers(3)
    agree(gemm.linear(device(x), device(w))[0], x @ w.T)
    y, aux = gemm.linear(device(x), device(w), device(b), "gelu")
    assert aux is None
    agree(y, gelu(x @ w.T + b))


def test_the_gradients_of_weight_and_bias_are_one_launch(library):
    x, g = numbers(5, 4), numbers(5, 3)
    dw, db = gemm.weight_backward(device(g), device(x))
    agree(dw, g.T @ x)
    agree(db, g.sum(0))
    assert len(library.products) == 1
    before = numbers(3, 4)
    dw, db = gemm.weight_backward(device(g), device(x), out=device(before))
    agree(dw, before + g.T @ x)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0)])
def test_empty_layers(library, shape):
    x, g = device(np.ones(shape)), device(np.ones((shape[0], 3)))
    dw, db = gemm.weight_backward(g, x)
    assert dw.get().tolist() == np.zeros((3, shape[1])).tolist()
    assert db.shape == (3,)


# --- precision and mistakes ---


def test_precision_of_float32(library):
    x = device(numbers(2, 2, dtype=np.float32))
    for name, compute in (("highest", "float32"), ("high", "tf32"), ("medium", "bf16")):
        with gemm.float32_matmul_precision(name):
            gemm.matmul(x, x)
        assert library.products[-1].compute == compute
    assert gemm.get_float32_matmul_precision() == "highest"
    gemm.matmul(device(numbers(2, 2)), device(numbers(2, 2)))
    assert library.products[-1].compute == "float64"
    with pytest.raises(OutOfRangeError, match='"high"'):
        gemm.set_float32_matmul_precision("tf32")


def test_mistakes(library):
    a, b = device(numbers(3, 4)), device(numbers(3, 4))
    with pytest.raises(ShapeError, match=r"\(3, 4\) @ \(3, 4\)"):
        gemm.matmul(a, b)
    with pytest.raises(ShapeError, match="C-contiguous"):
        gemm.matmul(a, b.T, out=device(numbers(4, 3)))
    with pytest.raises(ShapeError, match="broadcast"):
        gemm.matmul(device(numbers(2, 3, 4)), device(numbers(3, 4, 5)))


def test_what_fits(library):
    x = device(numbers(2, 2))
    assert gemm.fits(x, x)
    assert not gemm.fits(x, x.astype(np.float32))
    assert not gemm.fits(x.astype(np.int64))


def test_a_missing_library_is_said_once(monkeypatch):
    def missing():
        raise cublaslt.GemmError("gemm: cuBLASLt was not found")

    with gemm.using(HostGemm()):  # restores what the test changes
        monkeypatch.setattr(gemm, "_chosen", None)
        monkeypatch.setattr(gemm, "CublasLt", missing)
        x = np.zeros((2, 2))
        with pytest.warns(RuntimeWarning, match="not found"):
            assert not gemm.fits(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not gemm.fits(x)


# --- the real library, without a driver ---


@pytest.fixture(scope="module")
def real():
    try:
        return cublaslt.load()
    except cublaslt.GemmError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("epilogue", cublaslt.EPILOGUES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_descriptors(real, dtype, epilogue):
    a, b = cublaslt.Matrix(64, 32, 64, 2048), cublaslt.Matrix(16, 32, 16, 512, transposed=True)
    compute = "float64" if dtype == "float64" else "float32"
    product = cublaslt.Product(
        a, b, cublaslt.Matrix(64, 16, 64, 1024), 4, dtype, compute, epilogue, aux_leading=128
    )
    plan = cublaslt.Plan(product)
    plan.set(cublaslt.BIAS, ctypes.c_void_p(4096))
    read = [plan.get(name, kind) for name, kind in ATTRIBUTES.items()]
    assert read == [0, 1, cublaslt.EPILOGUES[epilogue], 128, 4096]


ATTRIBUTES = {
    cublaslt.TRANSPOSE_A: ctypes.c_int32,
    cublaslt.TRANSPOSE_B: ctypes.c_int32,
    cublaslt.EPILOGUE: ctypes.c_uint32,
    cublaslt.AUX_LEADING: ctypes.c_int64,
    cublaslt.BIAS: ctypes.c_uint64,
}


def test_without_a_driver_the_error_names_the_status(real):
    from gradengine.device import cuda_is_available

    if cuda_is_available():
        pytest.skip("a GPU is here: cuBLASLt works")
    with pytest.raises(cublaslt.GemmError, match=r"handle: status \d+"):
        cublaslt.CublasLt()._handle(0)
