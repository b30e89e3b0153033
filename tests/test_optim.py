"""Optimisers: rules by hand and against PyTorch, the lift over parameters, groups."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import gradengine as ge
from gradengine import optim
from gradengine.optim import kernels, lift, rules

ALL = [
    "SGD", "ASGD", "Rprop", "Lion", "Adagrad", "Adadelta", "RMSprop",
    "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "LAMB", "LBFGS",
]  # fmt: skip
RATES = {"SGD": 0.02, "ASGD": 0.02, "Adadelta": 20.0, "Adagrad": 0.5, "LAMB": 0.05, "LBFGS": 0.1}


def bowl(w):
    """A loss with a different curvature along every axis."""
    return (w * w * w * w).sum() + (w * w).sum()


def closure_for(optimizer, *ws):
    def closure():
        optimizer.zero_grad()
        loss = sum(bowl(w) for w in ws)
        loss.backward()
        return loss

    return closure


def step(optimizer, *ws):
    optimizer.step(closure_for(optimizer, *ws))


def test_adam_by_hand():
    p, g = np.array([1.0]), np.array([0.5])
    m = v = np.zeros(1)
    for step in (1, 2):
        p, m, v, _ = rules.adam(p, g, m, v, step=step, lr=0.1, betas=(0.9, 0.99), eps=0.0)
        assert m[0] / (1 - 0.9**step) == pytest.approx(0.5)
        assert v[0] / (1 - 0.99**step) == pytest.approx(0.25)
        assert p[0] == pytest.approx(1 - 0.1 * step)


@pytest.mark.parametrize("name", ALL)
def test_it_goes_downhill(name):
    w = ge.tensor(np.linspace(-2, 2, 5), requires_grad=True)
    optimizer = getattr(optim, name)([w], lr=RATES.get(name, 0.05))

    def closure():
        optimizer.zero_grad()
        loss = bowl(w)
        loss.backward()
        return loss

    before = bowl(w).item()
    losses = [optimizer.step(closure).item() for _ in range(200)]
    assert losses[0] == before
    assert bowl(w).item() < 0.05 * before


def test_lion_by_hand():
    p, g, m = np.array([1.0, 1.0]), np.array([0.2, -0.4]), np.array([0.3, 0.01])
    moved, mean = rules.lion(p, g, m, lr=0.1, betas=(0.5, 0.8), weight_decay=0.5)
    np.testing.assert_allclose(moved, [1 - 0.05 - 0.1, 1 - 0.05 + 0.1])
    np.testing.assert_allclose(mean, [0.8 * 0.3 + 0.2 * 0.2, 0.8 * 0.01 - 0.2 * 0.4])


def test_lamb_by_hand():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(4, 2, 3))
    w = ge.tensor(start, requires_grad=True)
    optimizer = optim.LAMB([w], lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    p, m, v = start, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        w.grad = ge.tensor(g)
        optimizer.step()
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        u = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-3) + 0.2 * p
        p = p - 0.1 * np.linalg.norm(p) / np.linalg.norm(u) * u
        np.testing.assert_allclose(w.numpy(), p, rtol=1e-12)


def test_lamb_moves_a_parameter_of_zeros_by_the_plain_step():
    w = ge.tensor(np.zeros(2), requires_grad=True)
    w.grad = ge.tensor(np.array([1.0, -1.0]))
    optim.LAMB([w], lr=0.1, weight_decay=0.0).step()
    np.testing.assert_allclose(w.numpy(), [-0.1, 0.1], rtol=1e-4)


def test_asgd_and_nadam_are_pytorchs_with_its_numbers_in_float64():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # PyTorch's eta and mu_product have the default dtype
    try:
        for name, options in [
            ("ASGD", {"lr": 0.05, "lambd": 0.1, "alpha": 0.5, "t0": 5, "weight_decay": 0.1}),
            ("NAdam", {"lr": 0.05, "momentum_decay": 0.1}),
        ]:
            start = np.linspace(-1, 1, 6).reshape(2, 3)
            ours = ge.tensor(start, requires_grad=True)
            theirs = torch.tensor(start, requires_grad=True)
            mine = getattr(optim, name)([ours], **options)
            other = getattr(torch.optim, name)([theirs], **options)
            for _ in range(30):
                step(mine, ours)
                step(other, theirs)
                np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12)
            if name == "ASGD":
                mean = other.state[theirs]["ax"].numpy()
                np.testing.assert_allclose(mine.state[ours]["ax"], mean, rtol=1e-12)
    finally:
        torch.set_default_dtype(before)


# --- purity --------------------------------------------------------------------------------------

CALLS = {
    "sgd": (1, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "asgd": (1, {"eta": 0.1, "mu": 0.5, "weight_decay": 0.1}),
    "rprop": (2, {}),
    "lion": (1, {"weight_decay": 0.1}),
    "adagrad": (1, {"step": 3, "weight_decay": 0.1}),
    "adadelta": (2, {"weight_decay": 0.1}),
    "rmsprop": (3, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    "adam": (3, {"step": 3, "amsgrad": True, "weight_decay": 0.1}),
    "adamax": (2, {"step": 3, "weight_decay": 0.1}),
    "nadam": (2, {"step": 3, "mu_product": 0.4, "weight_decay": 0.1}),
    "radam": (2, {"step": 9, "weight_decay": 0.1}),
    "lamb": (2, {"step": 3}),
}
DECOUPLED = {"adam", "nadam", "radam"}


def variants():
    for name, (count, options) in CALLS.items():
        rate = {} if name in ("asgd", "rprop") else {"lr": 0.1}
        yield pytest.param(name, count, options | rate, id=name)
        yield pytest.param(name, count, options | rate | {"maximize": True}, id=f"{name}-maximize")
        if name in DECOUPLED:
            own = options | rate | {"decoupled_weight_decay": True}
            yield pytest.param(name, count, own, id=f"{name}-decoupled")
    yield pytest.param("sgd", 1, {"lr": 0.1, "momentum": 0.9}, id="sgd-plain-momentum")
    yield pytest.param("rmsprop", 1, {"lr": 0.1}, id="rmsprop-plain")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "count", "options"), [*variants()])
def test_rules_write_only_into_out(name, count, options, dtype):
    rng = np.random.default_rng(0)
    arrays = [(rng.random(5) + 0.5).astype(dtype) for _ in range(2 + count)]
    kept = [array.copy() for array in arrays]
    found = getattr(rules, name)(*arrays, **options)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    filled = [x for x in found if x is not None]
    assert len(filled) == 1 + count
    assert all(x.dtype == dtype for x in filled)
    assert not any(np.shares_memory(x, array) for x in filled for array in arrays)
    out = [None if x is None else np.full(5, np.nan, dtype) for x in found]
    written = getattr(rules, name)(*arrays, **options, out=out)
    for x, y, place in zip(found, written, out, strict=True):
        assert y is place
        if x is not None:
            np.testing.assert_array_equal(x, y)
    in_place = [arrays[0], *arrays[2:], *[None] * (len(found) - 1 - count)]
    getattr(rules, name)(*arrays, **options, out=in_place)
    for x, y in zip(filled, in_place, strict=False):
        np.testing.assert_array_equal(x, y)


def test_the_first_velocity_is_not_the_gradient_itself_once_changed():
    w = ge.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
    bowl(w).backward()
    gradient = w.grad.numpy().copy()
    optimizer.step()
    bowl(w).backward()  # adds to the same gradient
    optimizer.step()
    velocity = optimizer.state[w]["momentum_buffer"]
    np.testing.assert_allclose(velocity, 0.5 * gradient + w.grad.numpy())


def test_a_graph_recorded_before_a_step_still_gives_its_own_gradient():
    w = ge.tensor([3.0], requires_grad=True)
    loss = (w * w).sum()
    w.grad = ge.tensor([1.0])
    optim.SGD([w], lr=1.0).step()
    assert w.item() == 2.0
    w.grad = None
    loss.backward()
    assert w.grad.item() == 6.0  # of the loss as it was computed, at w = 3


def test_a_view_of_a_parameter_sees_the_step():
    w = ge.tensor([3.0, 4.0], requires_grad=True)
    view = w[1:]
    w.grad = ge.tensor([1.0, 1.0])
    optim.SGD([w], lr=1.0).step()
    assert view.tolist() == [3.0]


# --- the lift: small parameters together, large ones in blocks -----------------------------------

SHAPES = [(), (3,), (2, 3), (0,), (300, 300), (1,)]
ELEMENTWISE = [n for n in ALL if n not in ("LBFGS", "LAMB")]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_together_or_alone_a_parameter_goes_the_same_way(name):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape) for shape in SHAPES]
    gradients = [[rng.normal(size=shape) for shape in SHAPES] for _ in range(4)]
    together = [ge.tensor(x, requires_grad=True) for x in starts]
    alone = [ge.tensor(x, requires_grad=True) for x in starts]
    joint = getattr(optim, name)(together, lr=0.1)
    single = [getattr(optim, name)([x], lr=0.1) for x in alone]
    for row in gradients:
        for x, y, g in zip(together, alone, row, strict=True):
            x.grad, y.grad = ge.tensor(g), ge.tensor(g)
        joint.step()
        for optimizer in single:
            optimizer.step()
        for x, y in zip(together, alone, strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())
    for x, y, optimizer in zip(together, alone, single, strict=True):
        assert joint.state[x].keys() == optimizer.state[y].keys()
        for key, value in joint.state[x].items():
            np.testing.assert_array_equal(value, optimizer.state[y][key])


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_gradients_that_come_and_go(name):
    options = {"momentum": 0.9} if name != "Adam" else {"amsgrad": True}
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=4) for _ in range(3)]
    joint_w = [ge.tensor(x, requires_grad=True) for x in starts]
    single_w = [ge.tensor(x, requires_grad=True) for x in starts]
    joint = getattr(optim, name)(joint_w, lr=0.1, **options)
    single = [getattr(optim, name)([x], lr=0.1, **options) for x in single_w]
    for present in [(0, 1), (0, 1, 2), (2,), (0, 1, 2), (), (1, 2), (0, 1, 2), (0, 1, 2)]:
        for i in range(3):
            g = rng.normal(size=4) if i in present else None
            for w in (joint_w, single_w):
                w[i].grad = None if g is None else ge.tensor(g)
        joint.step()
        for optimizer in single:
            optimizer.step()
        for x, y in zip(joint_w, single_w, strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_parameters_share_no_memory_after_a_step():
    ws = [ge.tensor(np.ones(3), requires_grad=True) for _ in range(3)]
    optimizer = optim.Adam(ws, lr=0.1)
    for w in ws:
        w.grad = ge.tensor(np.ones(3))
    optimizer.step()
    assert all(w.array.base is None for w in ws)
    with ge.no_grad():
        ws[0][0] = 100.0
    assert ws[1].tolist() == ws[2].tolist() == pytest.approx([0.9] * 3)


def test_a_state_entry_replaced_by_hand_is_used():
    ws = [ge.tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    optimizer = optim.SGD(ws, lr=1.0, momentum=1.0)
    for _ in range(2):
        for w in ws:
            w.grad = ge.tensor(np.zeros(2))
        optimizer.step()
    optimizer.state[ws[1]]["momentum_buffer"] = np.array([5.0, 6.0])
    optimizer.step()
    assert ws[0].tolist() == [1.0, 1.0]
    assert ws[1].tolist() == [-4.0, -5.0]
    optimizer.state[ws[1]]["momentum_buffer"] = np.ones(3)
    with pytest.raises(ge.errors.ShapeError, match=r"'momentum_buffer' has shape \(3,\)"):
        optimizer.step()


def test_a_step_count_changed_by_hand_is_used():
    ws = [ge.tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    optimizer = optim.Adam(ws, lr=0.1)
    for _ in range(2):
        for w in ws:
            w.grad = ge.tensor(np.ones(2))
        optimizer.step()
    optimizer.state[ws[1]]["step"] = 100
    optimizer.step()
    assert [optimizer.state[w]["step"] for w in ws] == [3, 101]
    assert ws[0].tolist() == pytest.approx([0.7, 0.7])
    assert ws[1].tolist() != pytest.approx([0.7, 0.7], rel=1e-3)


def test_momentum_may_be_switched_on_later():
    w = ge.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    w.grad = ge.tensor([1.0])
    optimizer.step()
    assert not optimizer.state[w]
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    optimizer.step()
    assert optimizer.state[w]["momentum_buffer"].tolist() == [1.5]
    assert w.item() == pytest.approx(1 - 0.1 - 0.1 - 0.15)


@pytest.mark.parametrize("shape", [(3, 4), (300, 300)], ids=["one block", "several blocks"])
def test_adam_does_not_depend_on_the_layout_or_on_blocks(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), rng.normal(size=(3, *shape))
    plain = ge.tensor(start.copy(), requires_grad=True)
    turned = ge.tensor(start.copy(), requires_grad=True)
    turned.data = np.asfortranarray(start)
    for x in (plain, turned):
        optimizer = optim.Adam([x], lr=0.1)
        for g in gradients:
            x.grad = ge.tensor(np.asfortranarray(g) if x is turned else g)
            optimizer.step()
    assert np.array_equal(plain.numpy(), turned.numpy())
    p, m, v = start, np.zeros(shape), np.zeros(shape)
    for t, g in enumerate(gradients, 1):
        p, m, v, _ = rules.adam(p, g, m, v, step=t, lr=0.1)
    assert np.allclose(plain.numpy(), p, rtol=1e-14)


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_step_is_in_place_only_where_nobody_else_holds_the_array(size):
    w = ge.tensor(np.ones(size), requires_grad=True)
    (w * w).sum().backward()
    address = w.array.ctypes.data
    optimizer = optim.SGD([w], lr=0.5)
    optimizer.step()
    assert w.array.ctypes.data == address
    held = w.array
    w.grad = ge.ones(size, dtype="float64")
    optimizer.step()
    assert held.tolist() == [0.0] * size
    assert w.tolist() == [-0.5] * size
    kept = (w * w).sum()  # the tape holds the values it has saved
    w.grad = ge.ones(size, dtype="float64")
    optimizer.step()
    kept.backward()
    assert w.grad.tolist() == [1.0 - 1.0] * size


def test_a_kernel_takes_the_rules_place_on_a_device(monkeypatch):
    """The seam: on arrays that are not the host's, KERNELS decides what is called."""
    calls = []

    def kernel(p, g, *state, out, **options):
        calls.append((p.size, sorted(options)))
        return rules.sgd(p, g, *state, out=out, **options)

    monkeypatch.setitem(kernels.KERNELS, rules.sgd, kernel)
    ws = [ge.tensor(np.ones(n), requires_grad=True) for n in (2, 3, 100_000)]
    for w in ws:
        w.grad = ge.tensor(np.ones(w.size))
    optimizer = optim.SGD(ws, lr=0.5, momentum=0.9)
    optimizer.step()
    assert not calls
    monkeypatch.setattr(lift, "is_host", lambda xp: False)
    optim.SGD(ws, lr=0.5, momentum=0.9).step()
    assert sorted(size for size, _ in calls) == [2, 3, 100_000]  # one call each, no blocks
    assert all("lr" in options for _, options in calls)
    assert ws[0].tolist() == [0.0, 0.0]


# --- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("name", [*ELEMENTWISE, "LAMB"])
def test_the_dtype_is_kept_and_small_gradients_do_not_divide_by_zero(name, dtype, size):
    ws = [ge.tensor(np.resize([1.0, -1.0], size).astype(dtype), requires_grad=True) for _ in "ab"]
    optimizer = getattr(optim, name)(ws, lr=0.01)
    for value in (1e-6, 0.0):  # in float16, 1e-6 squared and eps are both zero
        for w in ws:
            w.grad = ge.tensor(np.resize([value, -value], size).astype(dtype))
        optimizer.step()
        assert all(w.dtype == dtype for w in ws)
        assert all(np.isfinite(w.numpy().astype(np.float64)).all() for w in ws)
    wide = np.float64 if dtype == np.float64 else np.float32
    arrays = [x for x in optimizer.state[ws[0]].values() if isinstance(x, np.ndarray)]
    assert len(arrays) == {"SGD": 0, "RMSprop": 1}.get(name, len(arrays))
    assert all(x.dtype == wide for x in arrays)


# --- groups --------------------------------------------------------------------------------------


def test_groups_have_options_of_their_own():
    a, b, c = (ge.tensor([1.0], requires_grad=True) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b_iter(b), "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "maximize": True})
    for x in (a, b, c):
        x.grad = ge.tensor([1.0])
    optimizer.step()
    assert [round(x.item(), 6) for x in (a, b, c)] == [0.9, 0.5, 1.1]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.1]
    optimizer.lr = 0.0
    optimizer.step()
    assert [round(x.item(), 6) for x in (a, b, c)] == [0.9, 0.5, 1.1]
    assert "lr: 0.0" in repr(optimizer)


def b_iter(b):
    yield b


def test_named_parameters_are_taken():
    a, b = (ge.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([("first", a), ("second", b)])
    assert optimizer.param_groups[0]["param_names"] == ["first", "second"]
    assert optimizer.param_groups[0]["params"][1] is b


def test_a_parameter_without_a_gradient_stays():
    a, b = (ge.tensor([1.0], requires_grad=True) for _ in range(2))
    (a * 2).sum().backward()
    optimizer = optim.Adam([a, b], lr=0.1)
    optimizer.step()
    assert a.item() != 1.0
    assert b.item() == 1.0
    assert b not in optimizer.state
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0.0]
    assert b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_the_closure_records_and_its_loss_is_returned():
    w = ge.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with ge.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert w.item() == pytest.approx(0.8)
