"""Making tensors: from data, by shape, ranges and grids; dtypes and devices; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge

# --- ge.tensor ---


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, "int64"),
        (True, "bool"),
        (1.5, "float32"),
        (1 + 2j, "complex64"),
        ([1, 2], "int64"),
        ([True, False], "bool"),
        ([1, 2.5], "float32"),
        ([[1.0], [2.0]], "float32"),
        ((), "float32"),
        (range(3), "int64"),
        (np.float64(2), "float64"),
        ([np.float64(1), np.float64(2)], "float64"),
        (np.ones(2), "float64"),
        ([np.ones(2), np.zeros(2)], "float64"),
        (np.ones(2, "float16"), "float16"),
        (np.ones(2, "uint8"), "uint8"),
    ],
)
def test_dtype_of_data(data, dtype):
    t = ge.tensor(data)
    assert t.dtype == dtype
    assert t.shape == np.shape(data)
    assert np.array_equal(t.numpy(), np.asarray(data))
    assert ge.asarray(data).dtype == dtype


def test_default_dtype_rules_python_floats_only():
    ge.set_default_dtype("float64")
    try:
        assert ge.tensor(1.5).dtype == np.float64
        assert ge.tensor(1j).dtype == np.complex128
        assert ge.zeros(2).dtype == np.float64
        assert ge.tensor(np.ones(2, "f4")).dtype == np.float32
        assert ge.linspace(0, 1, 3).dtype == np.float64
    finally:
        ge.set_default_dtype("float32")
    with pytest.raises(ge.DTypeError, match="set_default_dtype"):
        ge.set_default_dtype("int32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "bool", "complex128"])
def test_dtype_argument(dtype):
    assert ge.tensor([1, 0, 1], dtype=dtype).dtype.name == dtype
    assert ge.tensor(np.array([1, 0, 1]), dtype=dtype).dtype.name == dtype
    assert ge.zeros(3, dtype=dtype).dtype.name == dtype
    assert getattr(ge, dtype).name == dtype


def test_tensor_copies_always():
    a = np.zeros(3, "f4")
    t = ge.tensor(a)
    u = ge.tensor(t)
    a[0] = 1
    t[1] = 2
    assert t.tolist() == [0, 2, 0]
    assert u.tolist() == [0, 0, 0]
    x = ge.ones(2, requires_grad=True) * 2
    copied = ge.tensor(x, requires_grad=True)
    assert copied.is_leaf
    assert not np.shares_memory(copied.numpy(), x.detach().numpy())


def test_requires_grad():
    x = ge.tensor([1.0], requires_grad=True)
    assert x.requires_grad
    assert x.is_leaf
    for make in (ge.zeros, ge.ones, ge.empty):
        assert make(2, requires_grad=True).requires_grad
    assert ge.full((2,), 1.0, requires_grad=True).requires_grad
    assert ge.arange(3.0, requires_grad=True).requires_grad
    assert ge.zeros_like(x, requires_grad=True).requires_grad
    assert not ge.zeros_like(x).requires_grad


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_have_no_gradient(dtype):
    with pytest.raises(ge.DTypeError, match=f"requires_grad: .*{dtype}"):
        ge.tensor([1, 0], dtype=dtype, requires_grad=True)
    with pytest.raises(TypeError, match="astype"):
        ge.ones(2, dtype=dtype, requires_grad=True)


def test_lists_of_tensors():
    a, b = ge.tensor(1.0), ge.tensor(2.0)
    assert ge.tensor([a, b]).tolist() == [1, 2]
    assert ge.tensor([[a, 3.0], [b, 4.0]]).dtype == np.float32
    assert ge.asarray([ge.ones(2), ge.zeros(2)]).shape == (2, 2)
    a.requires_grad_()
    with pytest.raises(ge.GraphError, match=r"ge\.stack"):
        ge.tensor([a, b])
    with pytest.raises(ge.GraphError, match=r"ge\.stack"):
        ge.asarray([[a], [b]])
    assert ge.stack([a, b]).requires_grad


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        ([[1, 2], [3]], ge.ShapeError, "same length"),
        (["a", "b"], ge.DTypeError, "numbers"),
        ("text", ge.DTypeError, "numbers"),
        (None, ge.DTypeError, "numbers"),
        ({"a": 1}, ge.DTypeError, "numbers"),
        ([1, None], ge.DTypeError, "numbers"),
        ([2**70], ge.DTypeError, "numbers"),
        (np.array(["2020-01-01"], dtype="M8[D]"), ge.DTypeError, "numbers"),
        (np.array([1, None]), ge.DTypeError, "numbers"),
    ],
)
def test_what_is_no_data(data, kind, text):
    with pytest.raises(kind, match=text):
        ge.tensor(data)
    with pytest.raises(kind, match=text):
        ge.asarray(data)


def test_complex_to_real_is_refused():
    with pytest.raises(ge.DTypeError, match=r"complex128.*float32"):
        ge.tensor(1j, dtype="float32")
    with pytest.raises(ge.DTypeError, match="complex128"):
        ge.tensor(np.ones(2, complex), dtype="float64")


# --- asarray, from_*, asnumpy ---


def test_asarray_shares_and_copies_on_request():
    a = np.arange(3.0)
    t = ge.asarray(a)
    a[0] = 9
    assert t.tolist() == [9, 1, 2]
    assert not np.shares_memory(ge.asarray(a, copy=True).numpy(), a)
    assert np.shares_memory(ge.asarray(a, copy=False).numpy(), a)
    assert ge.asarray(t) is t
    assert ge.asarray(t, copy=True) is not t
    assert ge.asarray(a, dtype="float32").dtype == np.float32
    for call in (
        lambda: ge.asarray(a, dtype="float32", copy=False),
        lambda: ge.asarray([1, 2], copy=False),
        lambda: ge.asarray(t, dtype="float32", copy=False),
    ):
        with pytest.raises(ValueError, match="copy"):
            call()


def test_asarray_of_a_traced_tensor_stays_on_the_tape():
    x = ge.tensor([1.0, 2.0], requires_grad=True)
    y = ge.asarray(x * 2, dtype="float64")
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]
    assert x.grad.dtype == np.float32


def test_a_change_behind_the_tape_is_detected():
    a = np.ones(3)
    x = ge.ones(3, dtype="float64", requires_grad=True)
    y = (x * ge.asarray(a)).sum()
    a[0] = 5
    with pytest.raises(ge.GraphError, match="multiply saved"):
        y.backward()


def test_from_numpy_and_dlpack():
    a = np.arange(3.0)
    for make in (ge.from_numpy, ge.from_dlpack):
        t = make(a)
        assert np.shares_memory(t.numpy(), a)
        assert t.dtype == np.float64
    assert not np.shares_memory(ge.from_dlpack(a, copy=True).numpy(), a)
    t = ge.ones(3)
    assert np.shares_memory(ge.from_dlpack(t).numpy(), t.numpy())
    with pytest.raises(ge.DTypeError, match="from_numpy"):
        ge.from_numpy([1, 2])


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is the other side of this exchange")
    source = torch.arange(3.0)
    t = ge.from_dlpack(source)
    source[0] = 7
    assert t.tolist() == [7, 1, 2]
    assert ge.asarray(source).tolist() == [7, 1, 2]
    back = torch.from_dlpack(ge.tensor([1.0, 2.0]))
    assert back.tolist() == [1, 2]


def test_asnumpy():
    x = ge.ones(2, requires_grad=True)
    for value in (x * 1, x, [1.0, 1.0], np.ones(2)):
        found = ge.asnumpy(value)
        assert type(found) is np.ndarray
        assert found.tolist() == [1, 1]


# --- filled ---


def test_shapes_in_three_spellings():
    assert ge.zeros(3).shape == (3,)
    assert ge.zeros((2, 3)).shape == ge.zeros([2, 3]).shape == ge.zeros(2, 3).shape == (2, 3)
    assert ge.zeros(()).shape == ()
    assert ge.zeros(np.int64(2)).shape == (2,)
    assert ge.ones(0).shape == (0,)
    with pytest.raises(ge.ShapeError, match="negative"):
        ge.zeros((2, -1))
    with pytest.raises(ge.DTypeError, match="no shape"):
        ge.ones(2.5)
    with pytest.raises(ge.DTypeError, match="no shape"):
        ge.empty("ab")


@pytest.mark.parametrize(
    ("value", "dtype"), [(True, "bool"), (3, "int64"), (1.5, "float32"), (1j, "complex64")]
)
def test_full_takes_the_dtype_of_its_value(value, dtype):
    t = ge.full((2, 3), value)
    assert t.dtype == dtype
    assert t.tolist() == [[value] * 3] * 2
    assert ge.full((2,), value, dtype="complex128").dtype == np.complex128


def test_full_of_a_tensor():
    x = ge.tensor(3.0, requires_grad=True)
    y = ge.full((4,), x)
    y.sum().backward()
    assert x.grad.item() == 4
    assert ge.full((2,), ge.tensor(3)).dtype == np.int64
    assert ge.full_like(ge.zeros(2, dtype="float16"), 2).dtype == np.float16


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_likes(name):
    x = ge.zeros((2, 3), dtype="float16")
    t = getattr(ge, name)(x)
    assert (t.shape, t.dtype, t.device) == ((2, 3), np.float16, "cpu")
    assert getattr(ge, name)(x, dtype="int32").dtype == np.int32
    assert getattr(ge, name)(np.zeros(2)).dtype == np.float64


# --- ranges ---


@pytest.mark.parametrize(
    "args", [(5,), (2, 5), (5, 2, -1), (0, 1, 0.25), (0.0,), (3.0,), (5, 2), (-1, 1, 1)]
)
def test_arange(args):
    found = ge.arange(*args)
    expected = np.arange(*args)
    assert found.dtype == ("int64" if expected.dtype.kind == "i" else "float32")
    assert np.allclose(found.numpy(), expected)


def test_arange_refuses_a_step_of_zero():
    with pytest.raises(ge.ShapeError, match="step"):
        ge.arange(1, 5, 0)
    assert ge.arange(3, dtype="float16").dtype == np.float16


def test_linspace():
    assert np.allclose(ge.linspace(0, 1, 7).numpy(), np.linspace(0, 1, 7))
    assert np.allclose(ge.linspace(0, 1, 4, endpoint=False).numpy(), [0, 0.25, 0.5, 0.75])
    assert ge.linspace(0, 1, 0).shape == (0,)
    assert ge.linspace(0, 1, 3, dtype="float64").dtype == np.float64
    x = ge.tensor(2.0, requires_grad=True)
    y = ge.linspace(0, x, 3)
    assert y.tolist() == [0, 1, 2]
    y.sum().backward()
    assert x.grad.item() == 1.5


def test_eye_and_meshgrid():
    assert np.array_equal(ge.eye(3).numpy(), np.eye(3))
    assert np.array_equal(ge.eye(2, 4, k=-1).numpy(), np.eye(2, 4, k=-1))
    a, b, c = np.arange(2.0), np.arange(3.0), np.arange(4.0)
    for indexing in ("xy", "ij"):
        for vectors in ((a,), (a, b), (a, b, c), ()):
            found = ge.meshgrid(*map(ge.asarray, vectors), indexing=indexing)
            expected = np.meshgrid(*vectors, indexing=indexing)
            assert len(found) == len(expected)
            for f, e in zip(found, expected, strict=True):
                assert np.array_equal(f.numpy(), e)
    x = ge.ones(3, requires_grad=True)
    sum(g.sum() for g in ge.meshgrid(x, ge.ones(2))).backward()
    assert x.grad.tolist() == [2, 2, 2]
    with pytest.raises(ge.ShapeError, match="indexing"):
        ge.meshgrid(x, indexing="yx")


# --- devices ---


def test_cpu_is_always_there():
    for name in ("cpu", "CPU", ge.Device("cpu")):
        assert ge.zeros(2, device=name).device == "cpu"
    with ge.default_device("cpu"):
        assert ge.tensor([1.0]).device == "cpu"


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:", ""])
def test_unknown_devices(name):
    with pytest.raises(ge.DeviceError, match='use "cpu", "cuda" or "cuda:1"'):
        ge.zeros(2, device=name)


def test_without_a_gpu_the_error_names_the_remedy():
    if ge.cuda_is_available():
        pytest.skip("there is a GPU")
    for call in (
        lambda: ge.tensor([1.0], device="cuda"),
        lambda: ge.zeros(2, device="cuda:0"),
        lambda: ge.rand(2, device="gpu"),
        lambda: ge.ones(2).cuda(),
        lambda: ge.ones(2).to("cuda"),
        lambda: ge.default_device("cuda"),
    ):
        with pytest.raises(ge.DeviceError, match=r"device=\"cpu\"(.|\n)*gradengine doctor"):
            call()
    assert ge.current_device() == "cpu"


def test_environment_names_the_default_device(monkeypatch):
    monkeypatch.setenv("GRADENGINE_DEVICE", "auto")
    assert ge.zeros(1).device in ("cpu", "cuda:0")
    monkeypatch.setenv("GRADENGINE_DEVICE", "nonsense")
    with pytest.raises(ge.DeviceError, match="nonsense"):
        ge.zeros(1)


# --- the array API's questions ---


def test_finfo_and_iinfo():
    info = ge.finfo("float32")
    assert (info.bits, info.dtype) == (32, np.float32)
    assert info.max == float(np.finfo("f4").max)
    assert all(type(x) is float for x in (info.eps, info.max, info.min, info.smallest_normal))
    assert ge.finfo(ge.ones(1, dtype="complex128")).dtype == np.float64
    assert ge.finfo(ge.bfloat16).bits == 16
    assert ge.iinfo(ge.ones(1, dtype="uint8")).max == 255
    with pytest.raises(ge.DTypeError, match="iinfo"):
        ge.finfo("int8")
    with pytest.raises(ge.DTypeError, match="finfo"):
        ge.iinfo("float32")


def test_isdtype():
    assert ge.isdtype(ge.bool, "bool")
    assert ge.isdtype(ge.int8, "signed integer")
    assert ge.isdtype(ge.uint8, ("bool", "integral"))
    assert ge.isdtype(ge.bfloat16, "real floating")
    assert ge.isdtype(ge.complex64, "numeric")
    assert ge.isdtype(ge.float32, ge.float32)
    assert not ge.isdtype(ge.bool, "numeric")
    assert not ge.isdtype(ge.float32, ge.float64)
    with pytest.raises(ValueError, match="no kind 'real'"):
        ge.isdtype(ge.float32, "real")


def test_can_cast_and_result_type():
    assert ge.can_cast(ge.int8, ge.int16)
    assert not ge.can_cast(ge.ones(1, dtype="float64"), ge.float32)
    assert ge.result_type(ge.ones(1, dtype="float16"), 2.0) == ge.float16
    assert ge.result_type(ge.float32, ge.float64) == ge.float64
    assert ge.result_type(ge.int8, True) == ge.int8
    with pytest.raises(ge.DTypeError, match="result_type"):
        ge.result_type(ge.bfloat16, ge.float16)


def test_namespace_info():
    info = ge.__array_namespace_info__()
    assert info.default_device() == "cpu"
    assert info.default_dtypes()["complex floating"] == ge.complex64
    assert set(info.dtypes(kind="bool")) == {"bool"}
    assert len(info.dtypes()) == 13
    assert info.dtypes(kind=("bool", "real floating")).keys() == {"bool", "float32", "float64"}
    assert "cpu" in info.devices()
    assert info.capabilities()["boolean indexing"] is True


def test_astype_function():
    x = ge.ones(2, requires_grad=True)
    y = ge.astype(x, ge.float64)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype) == (np.float64, np.float32)
    assert ge.astype(x, ge.float32, copy=False, device="cpu").dtype == np.float32


@pytest.mark.gpu
def test_on_the_gpu():
    for t in (
        ge.tensor([1.0, 2.0], device="cuda"),
        ge.zeros(2, device="cuda"),
        ge.arange(3, device="cuda"),
        ge.full((2,), 3.0, device="cuda"),
        ge.eye(2, device="cuda"),
        ge.rand(3, device="cuda"),
    ):
        assert t.device == "cuda:0"
        assert ge.tensor(t).device == "cuda:0"
        assert ge.zeros_like(t).device == "cuda:0"
        assert type(ge.asnumpy(t)) is np.ndarray
    with ge.default_device("cuda"):
        assert ge.ones(2).device == "cuda:0"
        assert ge.tensor(np.ones(2)).device == "cuda:0"
    x = ge.ones(3, requires_grad=True)
    (x.cuda() * 2).sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2, 2, 2]
