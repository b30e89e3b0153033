"""Which kernels an op launches on device arrays, and that nothing else computes it.

Most tests run on a dry device: launch code and memory are real, kernels are noted and not run.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import instances, kernels, primitives
from gradengine.cuda.standin import StandinBackend, standin
from gradengine.op import registry

pytestmark = needs_emulator

FLOATS = ("float16", "bfloat16", "float32", "float64")
ROWS = [op for op in registry.values() if op.kernel and op.domain is not None]


class DryBackend(StandinBackend):
    """Kernels are noted, not run: results hold NaN."""

    def function(self, kernel, shared):
        assert kernel in PROVEN, f"{kernel} is not among the kernels that are proven to compile"
        return kernel

    def start(self, function, grid, block, packed, shared, stream):
        assert min(*grid, *block) >= 1
        assert grid[1] <= 65535
        assert grid[2] <= 65535
        assert block[0] * block[1] * block[2] <= 1024


PROVEN = frozenset(instances.every())


@pytest.fixture(name="dry")
def a_dry_device():
    with standin(backend=DryBackend()) as backend:
        yield backend


@pytest.fixture(name="device")
def a_device():
    with standin() as backend:
        yield backend


def leaf(x, dtype="float32", device="cuda"):
    return ge.tensor(np.asarray(x), dtype=dtype, device=device, requires_grad=True)


def launches(f):
    with kernels.launched() as trace:
        found = f()
    return found, trace


# --- elementwise rows ---


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_a_row_is_one_launch_each_way(dry, op):
    for dtype in FLOATS:
        kind = {"float16": "f16", "bfloat16": "bf16", "float32": "float", "float64": "double"}[
            dtype
        ]
        inputs = [leaf(np.ones((4, 8)), dtype) for _ in range(op.arity)]
        y, forward = launches(lambda inputs=inputs: op.function(*inputs))
        stem = "map_forward" if op.arity == 1 else "map2_forward"
        assert forward.kernels == [f"{stem}<{op.kernel},{kind}>"]
        assert not forward.formulas
        if not op.differentiable:
            continue
        g = ge.ones((4, 8), dtype=dtype, device="cuda")
        _, back = launches(lambda y=y, g=g: y.backward(g))
        rules = [rule for rule in op.partials if callable(rule)]
        minus = sum(1 for rule in op.partials if rule == -1)
        assert len(back.kernels) == (1 if rules else minus), (dtype, back.kernels)
        assert not back.formulas
        assert all(x.grad.dtype == dtype for x in inputs)


@pytest.mark.parametrize("name", ["multiply", "divide", "maximum", "pow", "hypot", "copysign"])
def test_one_side_alone_is_one_launch(dry, name):
    function = registry[name].function
    for first in (True, False):
        x = leaf(np.ones((4, 8)))
        c = ge.full((4, 8), 2.0, device="cuda")
        y = function(x, c) if first else function(c, x)
        _, back = launches(lambda y=y: y.backward(ge.ones((4, 8), device="cuda")))
        zero = registry[name].partials[0 if first else 1] == 0
        assert len(back.kernels) == (0 if zero else 1)
        assert not back.formulas


def test_scalars_travel_by_value(device):
    x = leaf([[0.5, -1.5, 2.0, 3.0, 1.0]])
    for f in (
        lambda v: v * 2,
        lambda v: 2.5 / v,
        lambda v: v**3,
        lambda v: ge.maximum(v, 0.25),
        lambda v: True - v,
        lambda v: v + 1e40,
    ):
        y, trace = launches(lambda f=f: f(x))
        assert trace.names() == ["map2_forward"]
        with np.errstate(all="ignore"):
            want = f(ge.tensor(x.detach().numpy()))
        assert np.allclose(y.detach().numpy(), want.numpy(), rtol=1e-6, equal_nan=True)
        assert y.dtype == want.dtype
    half = ge.tensor([1.0, 2.0], dtype="bfloat16", device="cuda")
    y, trace = launches(lambda: half * 0.3)
    assert trace.kernels == ["map2_forward<Multiply,bf16>"]
    assert y.dtype == ml_dtypes.bfloat16
    strided = leaf(np.arange(12.0).reshape(3, 4)).T
    assert (strided * 2.0).detach().numpy().tolist() == (strided.detach().numpy() * 2).tolist()


def test_broadcasting_is_a_kernel_and_a_column_sum(dry):
    x, b = leaf(np.ones((16, 8))), leaf(np.ones(8))
    y, forward = launches(lambda: x * b)
    assert forward.names() == ["map2_forward"]
    _, back = launches(lambda: y.backward(ge.ones((16, 8), device="cuda")))
    assert back.names() == ["map2_vjp", "column_sums"]
    assert b.grad.shape == (8,)
    y = x + b
    _, back = launches(lambda: y.backward(ge.ones((16, 8), device="cuda")))
    assert back.names() == ["column_sums"]
    column = leaf(np.ones((16, 1)))
    y = x + column
    _, back = launches(lambda: y.backward(ge.ones((16, 8), device="cuda")))
    assert back.names() == ["row_sums"]


def test_zero_wins_in_the_kernels_too(device):
    """A masked branch gives no NaN, and a slope of zero lets no infinity through."""
    x = leaf([0.0, 4.0, 1.0, 9.0, 0.0])
    ge.where(x > 0, ge.sqrt(x), 0.0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.25, 0.5, pytest.approx(1 / 6), 0.0]
    x = leaf([-1.0, 2.0])
    ge.relu(x).backward(ge.tensor([np.inf, np.inf], device="cuda"))
    assert x.grad.tolist() == [0.0, np.inf]


def test_sums_of_cotangents_are_kernels(dry):
    x = leaf(np.ones((4, 8)))
    y = ge.exp(x) * ge.tanh(x) + x
    _, back = launches(lambda: y.backward(ge.ones((4, 8), device="cuda")))
    assert back.names().count("map2_forward") == 2


def test_a_graph_is_made_of_ops_that_launch_too(device):
    x = leaf(np.linspace(-2, 2, 9))
    with kernels.launched() as trace:
        (d,) = ge.autograd.grad(ge.gelu(x).sum(), [x], create_graph=True)
        d.sum().backward()
    host = leaf(np.linspace(-2, 2, 9), device="cpu")
    (e,) = ge.autograd.grad(ge.gelu(host).sum(), [host], create_graph=True)
    e.sum().backward()
    assert np.allclose(x.grad.numpy(), host.grad.numpy(), atol=1e-6)
    assert {"map_forward<Gelu,float>", "map_forward<Exp,float>"} <= set(trace.kernels)


# --- what does not fit ---


def test_other_dtypes_take_the_formula_and_say_so(device):
    whole = ge.tensor([1, 2, 3], device="cuda")
    y, trace = launches(lambda: whole + whole)
    assert y.tolist() == [2, 4, 6]
    assert trace.kernels == []
    assert trace.formulas == ["add"]
    x = ge.tensor(np.array([1 + 2j, 3j]), device="cuda")
    y, trace = launches(lambda: x * x)
    assert y.tolist() == [-3 + 4j, -9 + 0j]
    assert trace.formulas == ["multiply"]
    mixed, trace = launches(lambda: leaf([1.0]) * leaf([2.0], "float64"))
    assert mixed.dtype == "float64"
    assert trace.formulas == ["multiply"]


def test_the_cpu_launches_nothing():
    with standin():
        x = leaf([1.0, 2.0], device="cpu")
        _, trace = launches(lambda: ge.gelu(x).sum().backward())
        assert trace.kernels == trace.formulas == []


# --- ops with parameters ---


def test_every_entry_is_an_op():
    assert set(primitives.FORWARD) <= set(registry)
    assert set(primitives.VJP) <= set(primitives.FORWARD)


def ones(shape, dtype="float32"):
    return ge.ones(shape, dtype=dtype, device="cuda", requires_grad=True)


CALLS = {
    "softmax": (lambda: ge.softmax(ones((4, 8))), ["softmax_forward"], ["softmax_vjp"]),
    "log_softmax": (lambda: ge.log_softmax(ones((4, 8))), ["softmax_forward"], ["softmax_vjp"]),
    "sum": (lambda: ones((4, 8)).sum(axis=0), ["column_sums"], []),
    "sum of rows": (lambda: ones((4, 8)).sum(axis=-1), ["row_sums"], []),
    "mean": (lambda: ones((4, 8)).mean(axis=(0, 1)), ["row_sums", "map2_forward"], None),
    "layer norm": (
        lambda: ge.nn.functional.layer_norm(ones((4, 8)), (8,), ones(8), ones(8)),
        ["norm_forward"],
        ["norm_vjp", "column_sums"],
    ),
    "dropout": (lambda: ge.dropout(ones((4, 8)), 0.5), ["dropout"], ["dropout"]),
    "leaky relu": (lambda: ge.leaky_relu(ones((4, 8))), ["map_forward"], ["map_vjp"]),
    "cast": (lambda: ones((4, 8)).astype("float16"), ["cast"], ["cast"]),
    "copy of a transpose": (lambda: ge.copy(ones((4, 8)).T), ["transpose"], []),
    "reshape of a transpose": (lambda: ones((4, 8)).T.reshape(32), ["transpose"], []),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_op_and_its_vjp(dry, name):
    call, forward, back = CALLS[name]
    y, trace = launches(call)
    assert trace.names() == forward
    assert not trace.formulas
    g = ge.ones(y.shape, dtype=y.dtype, device="cuda")
    _, trace = launches(lambda: y.backward(g))
    if back is not None:
        assert trace.names() == back
    assert not trace.formulas


def test_cross_entropy_is_two_reads_and_one_write(device):
    x = leaf(np.random.default_rng(0).standard_normal((6, 5)))
    t = ge.tensor([0, 4, -100, 2, 1, 3], device="cuda")
    loss, forward = launches(lambda: ge.cross_entropy(x, t))
    assert forward.names() == ["count_targets", "softmax_cross_entropy", "total_loss"]
    _, back = launches(loss.backward)
    assert back.names() == ["count_targets", "softmax_cross_entropy"]
    host = leaf(x.detach().numpy(), device="cpu")
    want = ge.cross_entropy(host, t.cpu())
    want.backward()
    assert loss.item() == pytest.approx(want.item(), rel=1e-6)
    assert np.allclose(x.grad.numpy(), host.grad.numpy(), atol=1e-7)
    with pytest.raises(ge.OutOfRangeError, match=r"target 5 at position 1"):
        ge.cross_entropy(x, ge.tensor([0, 5, 0, 0, 0, 0], device="cuda"))


def test_an_embedding_gathers_and_scatters(device):
    table = leaf(np.arange(12.0).reshape(4, 3))
    tokens = ge.tensor([[1, 3], [1, -1]], device="cuda")
    y, forward = launches(lambda: ge.take(table, tokens, axis=0))
    assert forward.names() == ["gather_rows"]
    _, back = launches(lambda: y.backward(ge.ones(y.shape, device="cuda")))
    assert back.names() == ["scatter_add_sorted"]
    assert table.grad[:, 0].tolist() == [0.0, 2.0, 0.0, 2.0]
    with pytest.raises(ge.OutOfRangeError, match="index 7 is out of bounds"):
        ge.take(table, ge.tensor([7], device="cuda"), axis=0)


def test_softmax_of_a_masked_row(device):
    """A row of nothing but -inf is NaN, and takes no gradient where none is given."""
    x = leaf([[0.0, 1.0, 2.0], [-np.inf] * 3])
    y = ge.softmax(x)
    assert bool(ge.isnan(y[1]).all())
    ge.where(ge.isnan(y), 0.0, y * y).sum().backward()
    assert x.grad[1].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(x.grad.numpy()).all()


# --- random numbers ---


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_random_numbers_on_both_devices(device, dtype):
    for draw in (
        lambda where: ge.random.rand(7, 5, dtype=dtype, device=where),
        lambda where: ge.dropout(ge.ones((7, 5), dtype=dtype, device=where), 0.4),
    ):
        ge.random.manual_seed(11)
        here = draw("cpu")
        ge.random.manual_seed(11)
        there, trace = launches(lambda draw=draw: draw("cuda"))
        assert trace.names() in (["random_uniform"], ["dropout"])
        assert there.numpy().tobytes() == here.numpy().tobytes()


def test_other_draws_agree_too(device):
    for draw in (
        lambda where: ge.random.randint(100, shape=(50,), device=where),
        lambda where: ge.random.randperm(40, device=where),
    ):
        ge.random.manual_seed(5)
        here = draw("cpu")
        ge.random.manual_seed(5)
        assert draw("cuda").tolist() == here.tolist()
    ge.random.manual_seed(5)
    here = ge.random.randn(64)
    ge.random.manual_seed(5)
    assert np.allclose(ge.random.randn(64, device="cuda").numpy(), here.numpy(), rtol=1e-5)


# --- optimiser kernels are callable ---


def test_steps_run_on_the_stand_ins_arrays(device):
    from gradengine.cuda import steps

    p, g = (ge.ones(10, device="cuda").data for _ in range(2))
    m, v = (ge.zeros(10, device="cuda").data for _ in range(2))
    steps.adam_step(p, g, m, v, lr=0.1, step=1)
    assert np.allclose(p.get(), 0.9)
    steps.sgd_step(p, g, lr=0.5)
    assert np.allclose(p.get(), 0.4)
    norm, factor = steps.clip_coefficient([g], 1.0).get()
    assert norm == pytest.approx(10**0.5)
    assert factor == pytest.approx(10**-0.5)
