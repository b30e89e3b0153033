"""autocast: which op runs in what, gradients, caching, threads, no trace when off; GradScaler."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

import gradengine as ge
from gradengine import casting, nn, optim
from gradengine.amp import GradScaler, autocast, is_autocast_enabled
from gradengine.op import registry
from gradengine.row import Op

HALVES = ["float16", "bfloat16"]


def parameter(*shape, seed=0):
    random = np.random.default_rng(seed)
    return nn.Parameter(random.normal(size=shape).astype(np.float32))


# --- the lists -----------------------------------------------------------------------------------


def test_every_listed_op_exists_and_is_listed_once():
    names = [*casting.HALF, *casting.FULL]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name not in registry]


PRODUCTS = {
    "matmul": lambda a, b: a @ b,
    "linear": lambda a, b: ge.linear(a, b, ge.ones(3)),
    "einsum": lambda a, b: ge.einsum("ij,jk->ki", a, b),
    "tensordot": lambda a, b: ge.tensordot(a, b, 1),
    "convolution": lambda a, b: nn.functional.conv1d(a.reshape(1, 3, 3), b.reshape(3, 3, 1)),
    "transposed": lambda a, b: nn.functional.conv_transpose1d(
        a.reshape(1, 3, 3), b.reshape(3, 3, 1)
    ),
    "attention": lambda a, b: nn.functional.scaled_dot_product_attention(a, b, b),
}
WIDE = {
    "exp": ge.exp,
    "log": lambda x: ge.log(ge.abs(x)),
    "softmax": ge.softmax,
    "log_softmax": ge.log_softmax,
    "logsumexp": ge.logsumexp,
    "sum": ge.sum,
    "mean": lambda x: x.mean(axis=0),
    "var": ge.var,
    "cumulative_sum": lambda x: ge.cumulative_sum(x, axis=0),
    "norm": ge.norm,
    "power": lambda x: x**2,
    "layer_norm": lambda x: nn.functional.layer_norm(x, (3,)),
    "batch_norm": lambda x: nn.functional.batch_norm(x, None, None, training=True),
    "mse_loss": lambda x: ge.mse_loss(x, x * 2),
    "l1_loss": lambda x: ge.l1_loss(x, x * 2, reduction="none"),
    "huber_loss": lambda x: ge.huber_loss(x, x * 2),
    "bce": lambda x: ge.binary_cross_entropy_with_logits(x, ge.ones((3, 3))),
    "kl_div": lambda x: ge.kl_div(x, ge.abs(x)),
    "cross_entropy": lambda x: ge.cross_entropy(x, ge.tensor([0, 1, 2])),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_run_in_16_bits_and_gradients_come_back_in_float32(name, dtype):
    a, b = parameter(3, 3), parameter(3, 3, seed=1)
    with autocast(dtype):
        y = PRODUCTS[name](a, b)
    assert y.dtype.name == dtype
    plain = PRODUCTS[name](a, b)
    assert plain.dtype == np.float32
    slack = 0.01 if dtype == "float16" else 0.06
    np.testing.assert_allclose(y.numpy().astype("f4"), plain.numpy(), atol=slack, rtol=slack)
    y.sum().backward()
    halves = [x.grad.numpy() for x in (a, b)]
    a.grad = b.grad = None
    plain.sum().backward()
    for x, g in zip((a, b), halves, strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g, x.grad.numpy(), atol=4 * slack, rtol=4 * slack)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", WIDE)
def test_what_needs_the_range_runs_in_float32(name, dtype):
    x = ge.tensor(np.linspace(-2, 3, 9).reshape(3, 3)).astype(dtype).requires_grad_()
    with autocast(dtype):
        y = WIDE[name](x)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype.name == dtype


def test_what_is_not_listed_keeps_its_promotion():
    a, b = ge.ones(3), ge.ones(3).astype("float16")
    with autocast():
        assert (b + b).dtype == ge.relu(b).dtype == ge.float16
        assert (a + b).dtype == np.float32
        c = ge.ones((2, 2)).astype("float64")
        assert (c @ c).dtype == c.exp().dtype == np.float64
        assert (ge.ones((2, 2)).astype("int64") @ ge.ones((2, 2)).astype("int64")).dtype == "int64"


def test_it_saves_values_that_16_bits_cannot_hold():
    x = ge.tensor(np.array([300.0, 12.0], np.float16))
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf((x * x).numpy()[0])
    with autocast():
        assert (x**2).sum().item() == 300.0**2 + 144
        assert ge.exp(x[1:]).item() == pytest.approx(np.exp(12.0))
        assert ge.mse_loss(x, ge.zeros(2).astype("float16")).item() == (90000 + 144) / 2


def test_rules_of_a_pass_inside_the_context_see_no_casts():
    a = parameter(4, 4)
    with autocast():
        (a @ a).sum().backward()
        (g,) = ge.autograd.grad((a @ a).exp().mean(), [a], create_graph=True)
        (g * g).sum().backward()
    assert a.grad.dtype == np.float32
    assert np.isfinite(a.grad.numpy()).all()


def test_forward_mode_passes_through():
    a = parameter(3, 3)
    with autocast():
        y, t = ge.jvp(lambda x: (x @ x).sum(), (a.detach(),), (ge.ones((3, 3)),))
    assert y.dtype == t.dtype == np.float32
    expected = 2 * a.numpy().sum()
    total = (np.ones((3, 3)) @ a.numpy() + a.numpy() @ np.ones((3, 3))).sum()
    assert t.item() == pytest.approx(total, rel=0.02)
    assert np.isfinite(expected)


def test_raw_arrays_beside_tensors_are_cast_too():
    a = ge.ones((2, 2))
    with autocast():
        assert (a @ np.ones((2, 2), np.float32)).dtype == ge.float16
        raw = ge.matmul(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))
    assert raw.dtype == np.float32  # no Tensor: NumPy's business


def test_a_device_can_be_singled_out():
    a = ge.ones((2, 2))
    with autocast(device="cuda"):
        assert (a @ a).dtype == np.float32
    with autocast(device="cpu"):
        assert (a @ a).dtype == ge.float16


# --- contexts ------------------------------------------------------------------------------------


def test_contexts_nest():
    a = ge.ones((2, 2))
    assert not is_autocast_enabled()
    with autocast():
        with autocast("bfloat16"):
            assert (a @ a).dtype == ge.bfloat16
            with autocast(enabled=False):
                assert not is_autocast_enabled()
                assert (a @ a).dtype == np.float32
            assert (a @ a).dtype == ge.bfloat16
        assert (a @ a).dtype == ge.float16
    assert (a @ a).dtype == np.float32


def test_an_error_closes_the_context():
    with pytest.raises(ge.ShapeError), autocast():
        ge.ones((2, 2)) @ ge.ones((3, 3))
    assert not is_autocast_enabled()
    assert casting.open_contexts == 0


def test_decorated_functions():
    @autocast("bfloat16")
    def product(a):
        """Doc."""
        return a @ a

    @autocast()
    async def later(a):
        await asyncio.sleep(0)
        return a @ a

    a = ge.ones((2, 2))
    assert product(a).dtype == ge.bfloat16
    assert product.__doc__ == "Doc."
    assert asyncio.run(later(a)).dtype == ge.float16
    assert casting.open_contexts == 0
    with pytest.raises(TypeError, match="runs in pieces"):

        @autocast()
        def pieces():
            yield


def test_the_dtype_must_have_16_bits():
    with pytest.raises(TypeError, match=r"'cuda' is a device(.|\n)*device='cuda'"):
        autocast("cuda")
    with pytest.raises(TypeError, match=r"init_scale 'cuda' is no number(.|\n)*leave the"):
        GradScaler("cuda")
    with pytest.raises(TypeError, match="float32 has no 16 bits"):
        autocast("float32")


def test_it_belongs_to_one_thread():
    a = ge.ones((2, 2))
    inside, done = threading.Event(), threading.Event()
    found = {}

    def other():
        inside.wait(10)
        found["other"] = [(a @ a).dtype, a.astype("float16").exp().dtype]
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with autocast():
        found["own"] = [(a @ a).dtype, a.astype("float16").exp().dtype]
        inside.set()
        assert done.wait(10)
    thread.join()
    assert found["own"] == [ge.float16, np.float32]
    assert found["other"] == [np.float32, ge.float16]


def test_many_threads_open_and_close():
    a, wrong = ge.ones((2, 2)), []

    def work(dtype):
        for _ in range(100):
            with autocast(dtype):
                if (a @ a).dtype != ge.tensor(0.0).astype(dtype).dtype:
                    wrong.append(dtype)
            if (a @ a).dtype != np.float32:
                wrong.append("float32")

    threads = [threading.Thread(target=work, args=(HALVES[i % 2],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert casting.open_contexts == 0


def test_no_trace_is_left_when_off():
    before = {name: (type(op), type(op.table)) for name, op in registry.items()}
    with autocast():
        assert type(registry["matmul"]) is not Op
        ge.exp(ge.ones(2))
    after = {name: (type(op), type(op.table)) for name, op in registry.items()}
    assert before == after
    assert {kind for kind, _ in after.values()} == {Op}
    handler = registry["exp"].table[ge.Tensor]
    assert "casting" not in handler.__module__


# --- the cache of weights ------------------------------------------------------------------------


def casts(loss):
    """How many astype steps lie behind a loss."""
    seen, stack, count = set(), [loss.node], 0
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        count += node.name == "astype"
        stack.extend(node.inputs)
    return count


def test_a_weight_is_cast_once_a_context():
    w, x = parameter(3, 3), ge.ones((2, 3))
    with autocast():
        loss = ((x @ w) @ w).sum()
    assert casts(loss) == 2  # w once, and the sum's argument
    loss.backward()
    assert w.grad.dtype == np.float32


def test_the_weights_of_layers_are_kept():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with autocast():
        loss = sum(model(ge.ones((1, 3))).sum() for _ in range(5))
        assert len(casting.current.get().cache) == 4
    assert casts(loss) == 4 + 5  # each weight once, and the five sums


def test_a_changed_weight_is_cast_again():
    w, x = parameter(2, 2), ge.ones((1, 2))
    optimizer = optim.SGD([w], lr=1.0)
    with autocast():
        for _ in range(3):
            optimizer.zero_grad()
            y = x @ w
            np.testing.assert_allclose(y.numpy(), x.numpy() @ w.array, rtol=2e-3, atol=2e-3)
            y.sum().backward()
            optimizer.step()
        with ge.no_grad():
            w[0, 0] = 100.0
            assert (x @ w).numpy()[0, 0] > 90
            w.data[0, 0] = 500.0  # through the raw array, unseen
            assert (x @ w).numpy()[0, 0] > 450
            w.array[...] = 0


def test_accumulating_two_passes_inside_one_context():
    w, x = parameter(2, 2), ge.ones((1, 2))
    with autocast():
        (x @ w).sum().backward()
        once = w.grad.numpy().copy()
        (x @ w).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * once)


def test_a_cast_made_without_recording_is_not_used_with_it():
    w, x = parameter(2, 2), ge.ones((1, 2))
    with autocast():
        with ge.no_grad():
            (x @ w).sum()
        (x @ w).sum().backward()
        with ge.no_grad():
            assert (x @ w).node is None
    assert w.grad is not None


def test_the_casts_are_dropped_at_the_end():
    w = parameter(2, 2)
    context = autocast()
    with context:
        policy = casting.current.get()
        ge.ones((1, 2)) @ w
        assert len(policy.cache) == 1
    assert casting.current.get() is None
    with context:
        assert not casting.current.get().cache


# --- GradScaler ----------------------------------------------------------------------------------


def spiral(seed=0, count=60):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    radius = np.linspace(0.1, 1, count)
    angle = 2.1 * labels + 3 * radius + 0.1 * rng.normal(size=count)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return ge.tensor(points.astype(np.float32)), ge.tensor(labels)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_small_network_learns_in_16_bits(dtype):
    ge.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer, scaler = optim.Adam(model.parameters(), lr=0.02), GradScaler()
    x, labels = spiral()
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        with autocast(dtype):
            logits = model(x)
            loss = ge.cross_entropy(logits, labels)
        assert logits.dtype.name == dtype
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.dtype == np.float32 for p in model.parameters())


def test_scaling_saves_gradients_that_float16_would_lose():
    w = nn.Parameter(np.ones((1, 1), np.float32))
    x = ge.full((1, 1), 1.0)
    for scaler, expected in ((GradScaler(enabled=False), 0.0), (GradScaler(), 1e-8)):
        w.grad = None
        with autocast():
            y = x @ w
        scaler.scale(y.astype("float32").sum() * 1e-8).backward()
        scaler.unscale_(optim.SGD([w]))
        assert w.grad.item() == pytest.approx(expected, rel=1e-2)


def poisoned(value):
    """Two parameters and their optimiser, with one gradient element that is `value`."""
    a, b = parameter(3), parameter(2, 2)
    optimizer = optim.Adam([a, b], lr=0.1)
    for w in (a, b):
        w.grad = ge.ones(w.shape)
    optimizer.step()
    b.grad = ge.tensor(np.array([[1.0, value], [1.0, 1.0]], np.float32))
    return (a, b), optimizer


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_spoiled_gradient_changes_nothing_but_the_scale(value):
    ws, optimizer = poisoned(value)
    scaler = GradScaler(init_scale=8.0)
    before = [w.numpy().copy() for w in ws]
    state = optimizer.state_dict()
    assert scaler.step(optimizer) is None
    scaler.update()
    assert scaler.get_scale() == 4.0
    for w, values in zip(ws, before, strict=True):
        np.testing.assert_array_equal(w.numpy(), values)
    for number, entries in optimizer.state_dict()["state"].items():
        assert entries["step"] == state["state"][number]["step"] == 1
        old = state["state"][number]["exp_avg"]
        np.testing.assert_array_equal(entries["exp_avg"].numpy(), old.numpy())


def test_the_scale_grows_and_shrinks_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    settings = {
        "init_scale": 16.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 2,
    }  # fmt: skip
    mine, theirs = GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    w = nn.Parameter(np.ones(1, np.float32))
    v = torch.nn.Parameter(torch.ones(1))
    ours, other = optim.SGD([w], lr=0.1), torch.optim.SGD([v], lr=0.1)
    for bad in [0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0]:
        factor = np.inf if bad else 1.0
        ours.zero_grad()
        other.zero_grad()
        mine.scale((w * factor).sum()).backward()
        theirs.scale((v * factor).sum()).backward()
        mine.step(ours)
        theirs.step(other)
        mine.update()
        theirs.update()
        assert mine.get_scale() == theirs.get_scale()
        assert w.item() == v.item()
    assert mine.state_dict() == theirs.state_dict()


def test_the_scale_never_becomes_infinite():
    w = nn.Parameter(np.ones(1, np.float32))
    scaler, optimizer = GradScaler(init_scale=2.0**127, growth_interval=1), optim.SGD([w], lr=0.0)
    for _ in range(3):
        w.grad = ge.ones(1)
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0**127
    scaler.update(4.0)
    assert scaler.get_scale() == 4.0


def test_gradients_that_share_an_array_are_divided_once():
    a, b = parameter(2), parameter(2)
    scaler = GradScaler(init_scale=4.0)
    scaler.scale((a + b).sum()).backward()
    scaler.unscale_(optim.SGD([a, b]))
    assert a.grad.tolist() == b.grad.tolist() == [1.0, 1.0]


def test_several_losses_and_16_bit_ones():
    scaler = GradScaler(init_scale=2.0**16)
    narrow = ge.tensor(np.array(4.0, np.float16))
    one, two = scaler.scale([narrow, ge.tensor(2.0)])
    assert one.dtype == np.float32
    assert (one.item(), two.item()) == (2.0**18, 2.0**17)
    assert scaler.scale({"a": (narrow,)})["a"][0].item() == 2.0**18
    with pytest.raises(TypeError, match="got a float"):
        scaler.scale(3.0)


def test_state_goes_on():
    w = nn.Parameter(np.ones(1, np.float32))
    optimizer, scaler = optim.SGD([w], lr=0.0), GradScaler(growth_interval=3)
    for _ in range(2):
        w.grad = ge.ones(1)
        scaler.step(optimizer)
        scaler.update()
    again = GradScaler()
    again.load_state_dict(scaler.state_dict())
    w.grad = ge.ones(1)
    again.step(optimizer)
    again.update()
    assert again.get_scale() == 2.0**17
    assert GradScaler(enabled=False).state_dict() == {}
    with pytest.raises(ValueError, match="missing"):
        again.load_state_dict({})


def test_steps_in_the_wrong_order_are_refused():
    w = nn.Parameter(np.ones(1, np.float32))
    optimizer, scaler = optim.SGD([w], lr=0.0), GradScaler()
    with pytest.raises(ge.GraphError, match="no step was made"):
        scaler.update()
    with pytest.raises(ge.GraphError, match="has a gradient"):
        scaler.step(optimizer)
    scaler = GradScaler()
    w.grad = ge.ones(1)
    scaler.unscale_(optimizer)
    with pytest.raises(ge.GraphError, match="twice since the last update"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(ge.GraphError, match="twice since the last update"):
        scaler.step(optimizer)
    half = ge.tensor(np.ones(2, np.float16), requires_grad=True)
    half.grad = ge.tensor(np.ones(2, np.float16))
    with pytest.raises(TypeError, match="is float16"):
        GradScaler().unscale_(optim.SGD([half]))


@pytest.mark.parametrize(
    "options",
    [
        {"init_scale": 0.0},
        {"init_scale": float("nan")},
        {"growth_factor": 1.0},
        {"backoff_factor": 1.0},
        {"growth_interval": 0},
    ],
)
def test_bad_numbers(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        GradScaler(**options)
