"""NumPy, DLPack, pickle and copy on tensors: what stays on the tape, what is refused."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from comparisons import same

import gradengine as ge
from gradengine.interop import dispatch, protocols
from gradengine.interop.numpy_table import TABLE

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])
B = np.array([[1.5, 0.5, -2.0], [0.1, 3.0, 0.7]])


def leaf(x):
    return ge.tensor(x, requires_grad=True)


# --- ufuncs ---

UNARY = """
abs absolute arctan arcsinh cbrt ceil cos cosh deg2rad degrees exp exp2 expm1 fabs floor negative
positive rad2deg radians rint sign sin sinh square tan tanh trunc reciprocal conjugate
"""
POSITIVE = "sqrt log log1p log2 log10 arccosh".split()  # noqa: SIM905
UNIT = "arcsin arccos arctanh".split()  # noqa: SIM905
BINARY = """
add subtract multiply divide true_divide maximum minimum arctan2 hypot logaddexp copysign
floor_divide remainder mod power pow
"""


@pytest.mark.parametrize("name", [*UNARY.split(), *POSITIVE, *UNIT])
def test_unary_ufuncs(name):
    x = np.abs(A) / 2.5 + 0.01 if name in UNIT else np.abs(A) + 1.5 if name in POSITIVE else A
    ufunc = getattr(np, name)
    if not hasattr(ge, dispatch.RENAMED.get(name, name)) and name not in dispatch.COMPOSED:
        pytest.skip(f"gradengine has no {name} yet")
    y = ufunc(leaf(x))
    same(y.detach(), ufunc(x))
    assert y.requires_grad
    assert not ufunc(ge.tensor(x)).requires_grad


@pytest.mark.parametrize("name", BINARY.split())
def test_binary_ufuncs_on_either_side(name):
    ufunc = getattr(np, name, None)
    if ufunc is None:
        pytest.skip(f"NumPy {np.__version__} has no {name}")
    a = np.abs(A)
    for x, y in ((leaf(a), leaf(B)), (leaf(a), B), (a, leaf(B)), (leaf(a), 2.0), (2.0, leaf(B))):
        found = ufunc(x, y)
        raw = [v.detach().numpy() if isinstance(v, ge.Tensor) else v for v in (x, y)]
        same(found.detach(), ufunc(*raw))


@pytest.mark.parametrize(
    "name",
    [
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
    ],
)
def test_comparisons(name):
    found = getattr(np, name)(leaf(A), B)
    same(found, getattr(np, name)(A, B))
    assert not found.requires_grad


def test_gradients_through_numpy_code():
    def norm(x):
        return np.sqrt(np.sum(np.square(x)))

    x = leaf(A)
    norm(x).backward()
    assert np.allclose(x.grad.numpy(), A / np.linalg.norm(A))


def test_matmul_family():
    m, v = leaf(A), np.array([1.0, 2.0, 3.0])
    same(np.matmul(m, v).detach(), A @ v)
    same(np.matmul(B.T, m).detach(), B.T @ A)
    same((B.T @ m).detach(), B.T @ A)
    for name, args in (("vecdot", (A, B)), ("matvec", (A, v)), ("vecmat", (v[:2], A))):
        if (ufunc := getattr(np, name, None)) is not None:
            same(ufunc(leaf(args[0]), args[1]).detach(), ufunc(*args))
    if hasattr(np, "vecdot"):
        same(np.vecdot(m, B, axis=0).detach(), np.vecdot(A, B, axis=0))


def test_divmod_and_scipy_special():
    quotient, rest = np.divmod(leaf(A), 0.4)
    same((quotient, rest.detach()), np.divmod(A, 0.4))
    special = pytest.importorskip("scipy.special")
    for name, ours in (("erf", "erf"), ("expit", "sigmoid"), ("erfc", "erfc"), ("expm1", "expm1")):
        x = leaf(A)
        y = getattr(special, name)(x)
        same(y.detach(), getattr(special, name)(A))
        assert y.requires_grad
        y.sum().backward()
        z = leaf(A)
        getattr(ge, ours)(z).sum().backward()
        assert np.array_equal(x.grad.numpy(), z.grad.numpy())
    with pytest.raises(ge.GraphError, match="kl_div"):  # not the loss of that name
        special.kl_div(leaf(abs(A)), abs(B))


def test_a_ufunc_of_the_same_name_is_not_ours():
    mine = np.frompyfunc(lambda x: x + 1, 1, 1)
    mine.__doc__  # noqa: B018
    with pytest.raises(ge.GraphError, match="no derivative"):
        mine(leaf(A))


# --- methods of ufuncs ---


@pytest.mark.parametrize(
    "ufunc", [np.add, np.multiply, np.maximum, np.minimum, np.logaddexp], ids=lambda u: u.__name__
)
@pytest.mark.parametrize(
    "options", [{}, {"axis": 1}, {"axis": None}, {"axis": -1, "keepdims": True}]
)
def test_reduce(ufunc, options):
    if ufunc is np.logaddexp and options.get("axis", 0) is None:
        expected = np.log(np.exp(A).sum())
    else:
        expected = ufunc.reduce(A, **options)
    found = ufunc.reduce(leaf(A), **options)
    same(found.detach(), expected)
    assert found.requires_grad


def test_reduce_options():
    mask = A > 0
    same(np.add.reduce(leaf(A), where=mask).detach(), np.add.reduce(A, where=mask))
    same(np.add.reduce(leaf(A), initial=2.0).detach(), np.add.reduce(A, initial=2.0))
    same(
        np.maximum.reduce(leaf(A), where=mask, initial=-9.0).detach(),
        np.maximum.reduce(A, where=mask, initial=-9.0),
    )
    same(np.add.reduce(ge.tensor(A), dtype="float32"), np.add.reduce(A, dtype="float32"))
    same(np.logical_and.reduce(ge.tensor(A) > 0, axis=1), np.logical_and.reduce(A > 0, axis=1))
    same(np.logical_or.reduce(ge.tensor(A) > 0), np.logical_or.reduce(A > 0))
    with pytest.raises(TypeError, match="initial="):
        np.maximum.reduce(leaf(A), where=mask)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply], ids=lambda u: u.__name__)
def test_accumulate_and_outer(ufunc):
    same(ufunc.accumulate(leaf(A)).detach(), ufunc.accumulate(A))
    same(ufunc.accumulate(leaf(A), axis=1).detach(), ufunc.accumulate(A, axis=1))
    same(ufunc.outer(leaf(A), B).detach(), ufunc.outer(A, B))
    same(ufunc.outer(A, leaf(B[0])).detach(), ufunc.outer(A, B[0]))


def test_at_is_refused():
    for t in (ge.tensor(A), leaf(A)):
        with pytest.raises(TypeError, match=r"ge\.scatter_add"):
            np.add.at(t, 0, 1.0)


# --- out=, where=, and what is not supported ---


def test_out_tensor_takes_value_and_history():
    x, out = leaf(A), ge.zeros((2, 3), dtype="float64")
    assert np.exp(x, out=out) is out
    same(out.detach(), np.exp(A))
    out.sum().backward()
    assert np.allclose(x.grad.numpy(), np.exp(A))
    np.add(ge.ones(3), 1, out=(row := ge.zeros((2, 3))))
    assert row.tolist() == [[2] * 3] * 2
    total = ge.tensor(0.0, dtype="float64")
    np.add.reduce(ge.tensor(A), axis=None, out=total)
    assert total.item() == pytest.approx(A.sum())
    with pytest.raises(ge.ShapeError, match="broadcast"):
        np.exp(ge.tensor(A), out=ge.zeros(3, dtype="float64"))
    with pytest.raises(ge.DTypeError, match="int64"):
        np.exp(ge.tensor(A), out=ge.zeros((2, 3), dtype="int64"))


def test_out_array_is_for_constants_only():
    out = np.zeros((2, 3))
    assert np.exp(ge.tensor(A), out=out) is out
    assert np.allclose(out, np.exp(A))
    out += ge.tensor(A)
    assert np.allclose(out, np.exp(A) + A)
    before = out.copy()
    for write in (lambda: np.exp(leaf(A), out=out), lambda: out.__iadd__(leaf(A))):
        with pytest.raises(ge.GraphError, match=r"a = a \+ t"):
            write()
    assert np.array_equal(out, before)


def test_where_keeps_what_out_had():
    out = ge.full((2, 3), 9.0, dtype="float64")
    x = leaf(np.maximum(A, 0))  # the slope at 0 is infinite, and masked
    np.sqrt(x, out=out, where=A > 0)
    same(out.detach(), np.where(A > 0, np.sqrt(np.maximum(A, 0)), 9.0))
    out.sum().backward()
    assert np.array_equal(x.grad.numpy() != 0, A > 0)
    with pytest.raises(TypeError, match="out="):
        np.sqrt(leaf(np.abs(A)), where=A > 0)


@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, {"casting": "unsafe"}, {"order": "F"}, {"subok": False}]
)
def test_unsupported_options_are_named(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        np.add(leaf(A), B, **options)


def test_defaults_may_be_written_out():
    x = np.add(leaf(A), B, casting="same_kind", order="K", subok=True, dtype=None, where=True)
    same(x.detach(), A + B)


def test_an_unknown_ufunc_computes_on_constants_and_refuses_the_rest():
    mantissa, exponent = np.frexp(ge.tensor(A))
    same((mantissa, exponent), np.frexp(A))
    with pytest.raises(ge.GraphError, match=r"frexp.*\(2, 3\) float64 requires a gradient"):
        np.frexp(leaf(A))
    with pytest.raises(ge.GraphError, match=r"x\.detach\(\)"):
        np.heaviside(A, leaf(B))
    with ge.no_grad():
        same(np.frexp(leaf(A))[0], np.frexp(A)[0])
    with pytest.raises(ge.GraphError, match="frexp"):
        ge.jvp(lambda x: np.frexp(x)[0], (ge.tensor(A),), (ge.tensor(B),))


# --- functions ---

T, U = ge.tensor(A), ge.tensor(B)
VECTOR = np.array([3.0, -1.0, 2.0])
CALLS = {
    "concatenate": lambda a, b: np.concatenate([a, b], axis=1),
    "concatenate flat": lambda a, b: np.concatenate([a, b], axis=None),
    "stack": lambda a, b: np.stack([a, b], axis=-1),
    "vstack": lambda a, b: np.vstack([a, b[0]]),
    "hstack": lambda a, b: np.hstack([a, b]),
    "hstack flat": lambda a, b: np.hstack([a[0], b[0]]),
    "dstack": lambda a, b: np.dstack([a, b]),
    "column_stack": lambda a, b: np.column_stack([a[0], b[0]]),
    "append": lambda a, b: np.append(a, b, axis=0),
    "split": lambda a, b: np.split(a, 3, axis=1),
    "array_split": lambda a, b: np.array_split(a, 2, axis=1),
    "hsplit": lambda a, b: np.hsplit(a, [1]),
    "vsplit": lambda a, b: np.vsplit(a, 2),
    "where": lambda a, b: np.where(A > 0, a, b),
    "sum": lambda a, b: np.sum(a, axis=1),
    "sum where": lambda a, b: np.sum(a, where=A > 0, keepdims=True),
    "sum dtype": lambda a, b: np.sum(a, 0, "float32"),
    "prod": lambda a, b: np.prod(a, axis=(0, 1)),
    "mean": lambda a, b: np.mean(a, axis=0, keepdims=True),
    "var": lambda a, b: np.var(a, ddof=1),
    "std": lambda a, b: np.std(a, axis=1),
    "max": lambda a, b: np.max(a, axis=1),
    "amin": lambda a, b: np.amin(a, initial=-5.0),
    "ptp": lambda a, b: np.ptp(a, axis=0),
    "average": lambda a, b: np.average(a, axis=1, weights=VECTOR),
    "cumsum": lambda a, b: np.cumsum(a),
    "cumsum axis": lambda a, b: np.cumsum(a, axis=1),
    "cumprod": lambda a, b: np.cumprod(a, axis=0),
    "clip": lambda a, b: np.clip(a, -0.5, 0.6),
    "clip one side": lambda a, b: np.clip(a, None, 0.6),
    "round": lambda a, b: np.round(a, 1),
    "copy": lambda a, b: np.copy(a),
    "real": lambda a, b: np.real(a),
    "select": lambda a, b: np.select([A > 1, A > 0], [a, b], default=-1.0),
    "full_like": lambda a, b: np.full_like(a, b[0, 0]),
    "reshape": lambda a, b: np.reshape(a, (3, 2)),
    "reshape F": lambda a, b: np.reshape(a, (3, -1), order="F"),
    "ravel": lambda a, b: np.ravel(a),
    "ravel F": lambda a, b: np.ravel(a, order="F"),
    "transpose": lambda a, b: np.transpose(a),
    "transpose axes": lambda a, b: np.transpose(a, (1, 0)),
    "swapaxes": lambda a, b: np.swapaxes(a, 0, 1),
    "moveaxis": lambda a, b: np.moveaxis(a, 0, -1),
    "rollaxis": lambda a, b: np.rollaxis(a, 1),
    "expand_dims": lambda a, b: np.expand_dims(a, 1),
    "squeeze": lambda a, b: np.squeeze(a[:1], axis=0),
    "atleast_2d": lambda a, b: np.atleast_2d(a[0]),
    "broadcast_to": lambda a, b: np.broadcast_to(a[0], (4, 3)),
    "broadcast_arrays": lambda a, b: np.broadcast_arrays(a, b[0]),
    "flip": lambda a, b: np.flip(a),
    "flipud": lambda a, b: np.flipud(a),
    "fliplr": lambda a, b: np.fliplr(a),
    "roll": lambda a, b: np.roll(a, 2, axis=1),
    **{f"rot90 {k}": lambda a, b, k=k: np.rot90(a, k) for k in (0, 1, 2, 3, -1)},
    "tile": lambda a, b: np.tile(a, (2, 1)),
    "repeat": lambda a, b: np.repeat(a, 2, axis=0),
    "pad": lambda a, b: np.pad(a, ((1, 0), (0, 2))),
    "diff": lambda a, b: np.diff(a, n=2),
    "diff axis": lambda a, b: np.diff(a, axis=0),
    "trapezoid": lambda a, b: np.trapezoid(a, dx=0.5),
    "trapezoid x": lambda a, b: np.trapezoid(a, b),
    "take": lambda a, b: np.take(a, [2, 0], axis=1),
    "take_along_axis": lambda a, b: np.take_along_axis(a, np.array([[0], [2]]), axis=1),
    "diagonal": lambda a, b: np.diagonal(a, 1),
    "diag": lambda a, b: np.diag(a[0]),
    "tril": lambda a, b: np.tril(a),
    "triu": lambda a, b: np.triu(a, 1),
    "trace": lambda a, b: np.trace(a),
    "dot": lambda a, b: np.dot(a, b.T),
    "dot vector": lambda a, b: np.dot(a, VECTOR),
    "dot scalar": lambda a, b: np.dot(2.0, a),
    "dot 3d": lambda a, b: np.dot(a, np.ones((2, 3, 4))),
    "inner": lambda a, b: np.inner(a, b),
    "vdot": lambda a, b: np.vdot(a, b),
    "outer": lambda a, b: np.outer(a[0], b),
    "kron": lambda a, b: np.kron(a, b[0]),
    "tensordot": lambda a, b: np.tensordot(a, b, axes=((0, 1), (0, 1))),
    "einsum": lambda a, b: np.einsum("ij,kj->ik", a, b),
    "multi_dot": lambda a, b: np.linalg.multi_dot([a, b.T, a]),
    "norm": lambda a, b: np.linalg.norm(a),
    "norm axis": lambda a, b: np.linalg.norm(a, axis=1, keepdims=True),
    "norm 1": lambda a, b: np.linalg.norm(a, 1, axis=0),
    "norm fro": lambda a, b: np.linalg.norm(a, "fro", axis=(0, 1)),
    "nan_to_num": lambda a, b: np.nan_to_num(a / 1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_stay_on_the_tape(name):
    if name.startswith("trapezoid") and not hasattr(np, "trapezoid"):
        pytest.skip("NumPy has no trapezoid")
    a, b = leaf(A), leaf(B)
    found, expected = CALLS[name](a, b), CALLS[name](A, B)
    parts = found if isinstance(found, (list, tuple)) else [found]
    wanted = expected if isinstance(expected, (list, tuple)) else [expected]
    assert any(p.requires_grad for p in parts)
    same([p.detach() for p in parts], [np.asarray(w) for w in wanted])


@pytest.mark.parametrize(
    "call",
    [
        lambda a: np.argmax(a, axis=1),
        lambda a: np.argsort(a),
        lambda a: np.count_nonzero(a, axis=0),
        lambda a: np.nonzero(a > 0),
        lambda a: np.where(a > 0),
        lambda a: np.isclose(a, A),
        lambda a: np.all(a > 0),
        lambda a: np.any(a > 0, axis=0),
        lambda a: np.zeros_like(a),
        lambda a: np.ones_like(a, dtype="float32"),
        lambda a: np.argwhere(a > 0),
        lambda a: np.searchsorted(np.arange(3.0), a),
    ],
)
def test_functions_without_a_derivative(call):
    found, expected = call(leaf(A)), call(A)
    parts = found if isinstance(found, tuple) else (found,)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    same(parts, tuple(np.asarray(w) for w in wanted))
    assert not any(p.requires_grad for p in parts)


def test_plain_answers():
    x = leaf(A)
    assert np.shape(x) == (2, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 6
    assert np.allclose(x, A)
    assert np.array_equal(x, A)
    assert np.result_type(x, np.float32) == np.float64
    assert np.zeros(2, like=x).tolist() == [0, 0]
    assert isinstance(np.zeros(2, like=x), ge.Tensor)


def test_unknown_functions_compute_on_constants_and_refuse_the_rest():
    same(np.median(ge.tensor(A)), np.median(A))
    q, r = np.linalg.qr(ge.tensor(A))
    same((q, r), tuple(np.linalg.qr(A)))
    assert np.linalg.qr(ge.tensor(A)).R.shape == r.shape
    with pytest.raises(ge.GraphError, match=r"numpy\.median: gradengine has no derivative"):
        np.median(leaf(A))
    with pytest.raises(ge.GraphError, match=r"numpy\.norm|linalg\.norm"):
        np.linalg.norm(leaf(A), "nuc")
    out = ge.zeros((), dtype="float64")
    np.median(ge.tensor(A), out=out)
    assert out.item() == np.median(A)


def test_functions_that_write():
    t = ge.zeros((2, 3), dtype="float64")
    x = leaf(A)
    np.copyto(t, x, where=A > 0)
    t.sum().backward()
    assert np.array_equal(x.grad.numpy(), (A > 0) * 1.0)
    raw = np.zeros((2, 3))
    np.copyto(raw, ge.tensor(A))
    assert np.array_equal(raw, A)
    with pytest.raises(ge.GraphError, match=r"ge\.tensor"):
        np.copyto(raw, x)
    for write in (
        lambda: np.put(ge.tensor(A), [0], [1.0]),
        lambda: np.fill_diagonal(ge.tensor(A), 0),
        lambda: np.putmask(ge.tensor(A), A > 0, 0),
    ):
        with pytest.raises(TypeError, match=r"t\[index\] = value"):
            write()


def test_unsupported_options_of_functions_are_named():
    for call, word in (
        (lambda: np.take(leaf(A), [0], mode="wrap"), "mode"),
        (lambda: np.mean(leaf(A), where=A > 0), "where"),
        (lambda: np.average(leaf(A), returned=True), "returned"),
    ):
        with pytest.raises(TypeError, match=word):
            call()


def test_out_of_functions():
    out = np.zeros(3)
    assert np.sum(ge.tensor(A), axis=0, out=out) is out
    assert np.allclose(out, A.sum(0))
    o = ge.zeros((4, 3), dtype="float64")
    assert np.concatenate([T, U], out=o) is o
    same(o, np.concatenate([A, B]))


def test_the_table_holds_numpy_functions_only():
    assert len(TABLE) > 100
    assert all(callable(f) and callable(g) for f, g in TABLE.items())


# --- numpy.asarray ---


def test_asarray_of_constants_and_of_the_rest():
    t = ge.tensor(A)
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert np.asarray(t, dtype="f4").dtype == np.float32
    assert not np.shares_memory(np.array(t), t.numpy())
    with pytest.raises(ValueError, match="copy"):
        np.asarray(t, dtype="f4", copy=False)
    for value in (leaf(A), leaf(A) * 2):
        with pytest.raises(ge.GraphError, match=r"t\.numpy\(\) or t\.detach\(\)"):
            np.asarray(value)
        with pytest.raises(ge.GraphError, match=r"np\.exp"):
            np.array([value, value])
        with ge.no_grad():
            assert np.array_equal(np.asarray(value.detach()), value.detach().numpy())
    assert np.array_equal(leaf(A).numpy(), A)


def test_a_write_through_asarray_is_detected():
    t, x = ge.tensor(A), leaf(B)
    raw = np.asarray(t)
    y = (t * x).sum()
    raw[0, 0] = 100
    with pytest.raises(ge.GraphError, match="multiply saved its input 0"):
        y.backward()


# --- DLPack ---


def test_dlpack():
    t = ge.tensor(A)
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(ge.GraphError, match=r"t\.detach\(\)"):
        np.from_dlpack(leaf(A))


def test_a_write_through_dlpack_is_detected():
    t, x = ge.tensor(A), leaf(B)
    raw = ge.from_dlpack(t)
    y = (t * x).sum()
    raw.data[0, 0] = 100
    with pytest.raises(ge.GraphError, match="multiply saved"):
        y.backward()


# --- copies and pickles ---


def test_deepcopy_of_leaves_and_constants():
    x = leaf(A)
    (x * x).sum().backward()
    c = copy.deepcopy({"x": x, "again": x, "constant": ge.tensor(B)})
    assert c["x"] is c["again"]
    assert c["x"].requires_grad
    assert c["x"].is_leaf
    assert not c["constant"].requires_grad
    assert np.array_equal(c["x"].grad.numpy(), x.grad.numpy())
    assert not np.shares_memory(c["x"].numpy(), x.numpy())
    assert not np.shares_memory(c["x"].grad.numpy(), x.grad.numpy())
    c["x"].grad = None
    assert x.grad is not None


def test_deepcopy_remembers_nothing_that_dies():
    """An id left in the memo by a passing object would be the id of the next thing copied."""
    x, memo = leaf(A), {}
    (x * x).sum().backward()
    copy.deepcopy(x, memo)
    assert set(memo) - {id(memo)} == {id(x)}
    model = ge.nn.TransformerEncoder(ge.nn.TransformerEncoderLayer(4, 2, 8), 2)
    model(ge.ones((2, 1, 4))).sum().backward()
    for _ in range(3):
        assert list(copy.deepcopy(model).state_dict()) == list(model.state_dict())


def test_results_are_neither_copied_nor_pickled():
    y = leaf(A) * 2
    for act in (copy.deepcopy, pickle.dumps):
        with pytest.raises(ge.GraphError, match=r"x\.detach|t\.detach"):
            act(y)
    assert copy.copy(y).requires_grad


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
def test_pickle(dtype):
    x = ge.tensor([[1, 0, 1]], dtype=dtype, requires_grad=dtype.startswith(("f", "bf")))
    y = pickle.loads(pickle.dumps(x))
    assert y.tolist() == x.tolist()
    assert (y.dtype, y.device, y.requires_grad, y.is_leaf) == (
        x.dtype,
        "cpu",
        x.requires_grad,
        True,
    )


def test_subclasses_keep_their_class():
    p = ge.nn.Parameter([1.0, 2.0])
    assert type(copy.deepcopy(p)) is ge.nn.Parameter
    assert type(pickle.loads(pickle.dumps(p))) is ge.nn.Parameter


# --- .to(...) ---


@pytest.mark.parametrize(
    ("args", "kwargs", "device", "dtype"),
    [
        (("cpu",), {}, "cpu", None),
        (("float64",), {}, None, "float64"),
        (("bfloat16",), {}, None, "bfloat16"),
        ((np.float16,), {}, None, "float16"),
        ((float,), {}, None, "float64"),
        ((np.dtype("int8"),), {}, None, "int8"),
        (("cuda:1", "float16"), {}, "cuda:1", "float16"),
        (("gpu:2",), {}, "cuda:2", None),
        ((1,), {}, "cuda:1", None),
        ((None,), {"dtype": "float32"}, None, "float32"),
        ((ge.zeros(1, dtype="float64"),), {}, "cpu", "float64"),
        ((np.zeros(1, "f2"),), {}, "cpu", "float16"),
        ((), {}, None, None),
    ],
)
def test_what_to_understands(args, kwargs, device, dtype):
    found = protocols.parse_to(args, kwargs.get("device"), kwargs.get("dtype"))
    assert found[0] == device
    assert (None if found[1] is None else found[1].name) == dtype


def test_to_refuses_contradictions():
    x = ge.ones(2)
    for call in (
        lambda: x.to("cpu", "cpu"),
        lambda: x.to("float32", dtype="float64"),
        lambda: x.to(True),
        lambda: x.to("nonsense"),
    ):
        with pytest.raises(TypeError):
            call()


def test_to_is_differentiable_and_lazy():
    x = leaf(A)
    y = x.to("float32")
    y.sum().backward()
    assert x.grad.dtype == np.float64
    assert x.to("cpu") is x
    assert x.to(dtype="float64") is x
    assert x.to("cpu", copy=True) is not x


def test_moves_travel_back(monkeypatch):
    """Between two devices as far as a machine without a GPU can tell: each move is noted."""
    from gradengine.ops import transfer

    moves = []

    def move(array, device, copy=False):
        moves.append(str(device))
        return array.copy()

    monkeypatch.setattr(transfer, "move", move)
    x = leaf(A)
    (transfer.to_device(x, "cuda:0") * 3).sum().backward()
    assert moves == ["cuda:0", "cpu"]
    assert np.array_equal(x.grad.numpy(), np.full((2, 3), 3.0))


# --- hooks that hold no tensor ---


def test_weak_call():
    seen = []
    t = ge.ones(2)
    call = protocols.weak_call(t, seen.append)
    call()
    assert len(seen) == 1
    assert seen.pop() is t
    alive = weakref.ref(t)
    del t
    gc.collect()
    assert alive() is None
    assert call() is None
    assert not seen


@pytest.mark.parametrize("axis", [-1, 0, None])
def test_numpy_sort_stays_on_the_tape(axis):
    x = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    t = ge.tensor(x, requires_grad=True)
    y = np.sort(t, axis=axis)
    assert np.array_equal(y.detach().numpy(), np.sort(x, axis=axis))
    (y * y).sum().backward()
    assert np.array_equal(t.grad.numpy(), 2 * x)
