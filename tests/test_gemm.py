"""Products on the device: what gemm.py describes to cuBLASLt, computed to the letter in NumPy.

The stand-in device's library reads raw memory by leading dimensions, flags and strides alone, so a
wrong description gives wrong numbers here. Descriptors are also built with the real library, which
needs no driver for that, where it is installed. On a GPU the same products run through cuBLASLt.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import cublaslt, gemm, kernels
from gradengine.cuda.gemm_host import HostGemm
from gradengine.cuda.standin import standin, wrap
from gradengine.errors import OutOfRangeError, ShapeError
from gradengine.nn.functional import linear

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
random = np.random.default_rng(0)


class Recorded(cublaslt.CublasLt):
    """cuBLASLt, and the list of what was asked of it."""

    def __init__(self):
        super().__init__()
        self.products = []

    def run(self, product, pointers, **how):
        super().run(product, pointers, **how)
        self.products.append(product)


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def library(request):
    here = request.param == "stand-in"
    chosen = HostGemm() if here else Recorded()
    with standin() if here else nullcontext(), gemm.using(chosen):
        yield chosen


def device(array):
    import cupy

    return cupy.array(array)


def numbers(*shape, dtype=np.float64):
    return random.normal(size=shape).astype(dtype)


def agree(found, expected, dtype=np.float64, room=1):
    tolerance = TOLERANCE[np.dtype(dtype).name] * room
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


def on_device(library, view, x):
    """The view of a device array that `view` makes of a host array."""
    return wrap(view(x)) if library.name == "host" else view(device(x))


@pytest.mark.parametrize(("left", "right"), list(itertools.product(VIEWS, VIEWS)))
def test_strides_and_transposes(library, left, right):
    a, b = numbers(4, 6), numbers(6, 5)
    x, y = (on_device(library, VIEWS[v], n) for v, n in ((left, a), (right, b)))
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


ACTIVATIONS = {"none": lambda z: z, "relu": lambda z: np.maximum(z, 0), "gelu": gelu}
SLOPES = {
    "none": np.ones_like,
    "relu": lambda z: z > 0,
    "gelu": lambda z: gelu(z + 1e-30j).imag / 1e-30,  # no difference, so nothing cancels
}


LAYERS = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


@contextmanager
def where_it_exists(dtype):
    """Epilogues are for the dtypes of training; in float64 cuBLASLt need not have one."""
    try:
        yield
    except cublaslt.UnsupportedError as refusal:
        if dtype is not np.float64:
            raise
        pytest.skip(str(refusal).splitlines()[0])


def eighths(*shape):
    """Numbers that every dtype holds."""
    return np.round(8 * numbers(*shape)) / 8


def exact(dtype, *shape):
    """Eighths, and their device array."""
    x = eighths(*shape)
    return x, device(x.astype(dtype))


@LAYERS
@pytest.mark.parametrize("features", [8, 24, 130])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_and_its_backward_through_the_activation(library, activation, features, dtype):
    (x, x_), (w, w_), (b, b_) = (exact(dtype, *s) for s in ((5, 16), (features, 16), (features,)))
    (g, g_), (w2, w2_) = exact(dtype, 5, 8), exact(dtype, 8, features)
    z = x @ w.T + b
    with where_it_exists(dtype):
        y, aux = gemm.linear(x_, w_, b_, activation, keep=True)
        dx, sums = gemm.linear_backward(g_, w2_, aux, activation)
    agree(y, ACTIVATIONS[activation](z), dtype)
    expected = (g @ w2) * SLOPES[activation](z)
    agree(dx, expected, dtype, 8)
    if activation != "none":
        agree(sums, expected.sum(0), dtype, 32)
    assert len(library.products) == 2


@LAYERS
def test_linear_without_bias_or_keeping(library, dtype):
    (x, x_), (w, w_), (b, b_) = (exact(dtype, *s) for s in ((5, 16), (8, 16), (8,)))
    agree(gemm.linear(x_, w_)[0], x @ w.T, dtype)
    with where_it_exists(dtype):
        y, aux = gemm.linear(x_, w_, b_, "gelu")
    assert aux is None
    agree(y, gelu(x @ w.T + b), dtype)


@LAYERS
def test_the_gradients_of_weight_and_bias_are_one_launch(library, dtype):
    (x, x_), (g, g_), (before, out) = (exact(dtype, *s) for s in ((16, 8), (16, 24), (24, 8)))
    with where_it_exists(dtype):
        dw, db = gemm.weight_backward(g_, x_)
    agree(dw, g.T @ x, dtype)
    agree(db, g.sum(0), dtype)
    assert len(library.products) == 1
    dw, db = gemm.weight_backward(g_, x_, out=out)
    assert dw is out
    agree(dw, before + g.T @ x, dtype)


@LAYERS
def test_a_bias_between_two_words_is_moved_to_a_boundary(library, dtype):
    (x, x_), (w, w_), (b, b_) = (exact(dtype, *s) for s in ((5, 16), (8, 16), (9,)))
    with where_it_exists(dtype):
        agree(gemm.linear(x_, w_, b_[1:])[0], x @ w.T + b[1:], dtype)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0)])
def test_empty_layers(library, shape):
    x, g = device(np.ones(shape)), device(np.ones((shape[0], 3)))
    dw, db = gemm.weight_backward(g, x)
    assert dw.get().tolist() == np.zeros((3, shape[1])).tolist()
    assert db.shape == (3,)


# --- what the library refuses ---


class Refusing(HostGemm):
    """A library without an algorithm for the products whose epilogue holds a word."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def run(self, product, pointers, **how):
        if self.word in product.epilogue:
            raise cublaslt.UnsupportedError(f"gemm: no algorithm for {product}")
        super().run(product, pointers, **how)


REFUSED = {  # word -> products that run, and ops whose formula computes them
    "bias": (["none", "none", "bgradb"], []),
    "bgrad": (["bias", "none", "none"], []),
    "": ([], ["linear", "linear vjp", "matmul", "matmul"]),
}


@needs_emulator
@pytest.mark.parametrize("word", REFUSED)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_layer_whose_epilogue_is_refused_does_the_rest_itself(word, dtype):
    arrays = [eighths(*shape) for shape in ((6, 8), (4, 8), (4,))]
    found = []
    for place in ("cuda", "cpu"):
        library = Refusing(word)
        with standin(), gemm.using(library), kernels.launched() as trace:
            leaves = [ge.tensor(v, dtype=dtype, device=place, requires_grad=True) for v in arrays]
            y = linear(*leaves)
            y.backward(ge.ones_like(y))
            found.append([v.numpy().astype(float) for v in (y.detach(), *(x.grad for x in leaves))])
        if place == "cuda":
            assert [p.epilogue for p in library.products] == REFUSED[word][0]
            assert [name for name in trace.formulas if name in REFUSED[""][1]] == REFUSED[word][1]
    for mine, reference in zip(*found, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=2e-2 if dtype == "bfloat16" else 1e-12)


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


@pytest.mark.parametrize(("handle", "count"), [(0, 1), (7, 1), (2, 2)])
def test_a_stream_has_a_workspace_of_its_own(monkeypatch, handle, count):
    """Also where one handle, 2, stands for another stream in every thread."""
    with standin(), gemm.using(HostGemm()):
        x = device(eighths(2, 2))
        current = SimpleNamespace(ptr=handle)
        monkeypatch.setattr(sys.modules["cupy"].cuda, "get_current_stream", lambda: current)
        monkeypatch.setattr(gemm, "_workspaces", {})
        gemm.matmul(x, x)
        other = threading.Thread(target=gemm.matmul, args=(x, x))
        other.start()
        other.join()
        assert len(gemm._workspaces) == count


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


def test_a_missing_library_names_the_package_that_brings_it(monkeypatch):
    monkeypatch.setattr(cublaslt, "_candidates", lambda: ["libnowhere.so.13"])
    with pytest.raises(cublaslt.GemmError, match=r"not found; hint: pip install 'cupy-cuda13x"):
        cublaslt.load.__wrapped__()


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


def test_the_heuristics_know_where_bias_and_aux_are(real, monkeypatch):
    """They read alignments off the addresses, NULL passing for any: so these are set before."""
    seen = []
    monkeypatch.setattr(cublaslt.CublasLt, "_handle", lambda *_: None)
    monkeypatch.setattr(
        cublaslt.Plan,
        "choose",
        lambda plan, *_: seen.append(
            [plan.get(name, ctypes.c_uint64) for name in (cublaslt.BIAS, cublaslt.AUX)]
        ),
    )
    cublaslt.CublasLt()._plan(described("gelu_aux_bias"), None, 4096, 8192)
    assert seen == [[4096, 8192]]


def described(epilogue, dtype="float32"):
    a, b, d = cublaslt.Matrix(64, 32, 64), cublaslt.Matrix(32, 16, 32), cublaslt.Matrix(64, 16, 64)
    return cublaslt.Product(a, b, d, 1, dtype, dtype, epilogue, aux_leading=128)


def test_a_refusal_is_asked_for_once(real, monkeypatch):
    asked = []

    def refuse(plan, *_):
        asked.append(plan.product)
        raise cublaslt.UnsupportedError("gemm: no algorithm")

    monkeypatch.setattr(cublaslt.CublasLt, "_handle", lambda *_: None)
    monkeypatch.setattr(cublaslt.Plan, "choose", refuse)
    library = cublaslt.CublasLt()
    for _ in range(3):
        with pytest.raises(cublaslt.UnsupportedError):
            library.run(
                described("dgelu_bgrad", "float64"),
                (0, 0, 0),
                bias=4096,
                aux=8192,
                workspace=0,
                stream=0,
                device=0,
            )
    assert len(asked) == 1


def test_without_a_driver_the_error_names_the_status(real):
    from gradengine.device import cuda_is_available

    if cuda_is_available():
        pytest.skip("a GPU is here: cuBLASLt works")
    with pytest.raises(cublaslt.GemmError, match=r"handle: status \d+"):
        cublaslt.CublasLt()._handle(0)
