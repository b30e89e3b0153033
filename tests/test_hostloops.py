"""Large arrays in blocks and threads: the same bits, the caller's context, errors that arrive."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import gradengine as ge
from gradengine import hostloops
from gradengine.op import pointwise, registry

SIZE = hostloops.LARGE + 12_345
NAMES = ["relu", "sigmoid", "tanh", "gelu", "silu", "mish", "elu", "softplus", "exp", "log", "ndtr"]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads even where a block takes no time; as before afterwards."""
    before = ge.get_num_threads()
    ge.set_num_threads(2)
    monkeypatch.setattr(hostloops, "WORTH", 0.0)
    yield
    ge.set_num_threads(before)


def random(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).uniform(0.01, 4, shape).astype(dtype)


def value_and_gradient(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = ge.tensor(x, requires_grad=True)
    y = registry[name].function(t)
    y.backward(ge.tensor(np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype)))
    assert t.grad is not None
    return y.numpy(), t.grad.numpy()


# --- the same bits ---


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_change_no_bit(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch):
    x = random((SIZE,), dtype) - (0 if name == "log" else 2)
    found = value_and_gradient(name, x)
    monkeypatch.setattr(hostloops, "LARGE", 10 * SIZE)
    for a, b in zip(found, value_and_gradient(name, x), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "silu"])
def test_a_value_is_the_same_whether_or_not_a_gradient_is_asked_for(name: str, dtype: str):
    x = np.linspace(-800, 800, 4001).astype(dtype)
    x[::1000] = np.nan
    op = registry[name].function
    with np.errstate(under="ignore"):
        plain = op(ge.tensor(x)).numpy()
        np.testing.assert_array_equal(op(ge.tensor(x, requires_grad=True)).numpy(), plain)


@pytest.mark.parametrize("size", [5, SIZE])
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "silu"])
def test_a_slope_that_was_used_up_is_computed_again(name: str, size: int):
    x = ge.tensor(random((size,)) - 2, requires_grad=True)
    y = registry[name].function(x)
    g = ge.tensor(np.linspace(-1, 1, size, dtype=np.float32))
    first, second = (ge.autograd.grad(y, [x], g, retain_graph=True)[0].numpy() for _ in range(2))
    (third,) = ge.autograd.grad(y, [x], g, create_graph=True)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third.numpy())


def test_threads_that_go_back_together_do_not_share_a_slope():
    x = ge.tensor(random((SIZE,)) - 2, requires_grad=True)
    g = ge.tensor(np.ones(SIZE, np.float32))
    for _ in range(5):
        y, found = ge.sigmoid(x), []
        passes = [
            threading.Thread(
                target=lambda y=y, found=found: found.append(
                    ge.autograd.grad(y, [x], g, retain_graph=True)[0].numpy()
                )
            )
            for _ in range(3)
        ]
        for one in passes:
            one.start()
        for one in passes:
            one.join(30)
        assert len(found) == 3
        for other in found[1:]:
            np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "silu"])
def test_what_a_mask_cut_off_stays_cut_off_where_slopes_are_kept(name: str):
    x = np.array([0, np.nan, np.inf, -np.inf, 900, -900, 1])
    g = np.array([np.inf, 0, 0, 0, np.inf, np.inf, 2])
    t = ge.tensor(x, requires_grad=True)
    with np.errstate(all="ignore"):
        registry[name].function(t).backward(ge.tensor(g))
    found = t.grad.numpy()
    assert found[0] == np.inf
    np.testing.assert_array_equal(found[[1, 2, 3, 5]], 0)
    assert found[4] == (0 if name == "sigmoid" else np.inf)


def test_sigmoid_s_tails_are_right_beside_anything():
    x = np.array([-103, -95, -88.5, -86.9, 0, 95, np.nan, np.inf, -np.inf], np.float32)
    t = ge.tensor(x, requires_grad=True)
    y = ge.sigmoid(t)
    y.backward(ge.tensor(np.ones_like(x)))
    wide = x.astype(np.float64)
    e = np.exp(-np.abs(wide))
    tiny = np.finfo(np.float32).smallest_subnormal
    np.testing.assert_allclose(y.numpy(), np.where(wide < 0, e, 1) / (1 + e), rtol=4e-7, atol=tiny)
    np.testing.assert_allclose(t.grad.numpy(), e / (1 + e) ** 2, rtol=8e-7, atol=tiny)


def test_a_slope_that_is_computed_with_the_value_can_be_computed_again():
    with pytest.raises(ValueError, match="its partial must not read y"):
        pointwise("twice", forward="exp", both=lambda xp, x, y, d: None, partial=lambda y, _x: y)


ROWWISE: dict[str, Callable[[ge.Tensor], ge.Tensor]] = {
    "softmax": lambda x: ge.softmax(x, axis=-1),
    "log_softmax": lambda x: ge.log_softmax(x, axis=-1),
    "layer_norm": lambda x: ge.nn.functional.layer_norm(x, (300,)),
}


@pytest.mark.parametrize("name", ROWWISE)
def test_blocks_of_rows_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch):
    x = random((hostloops.LARGE // 128, 300))
    found: list[np.ndarray] = []
    for large in (hostloops.LARGE, 10 * x.size):
        monkeypatch.setattr(hostloops, "LARGE", large)
        t = ge.tensor(x, requires_grad=True)
        y = ROWWISE[name](t)
        y.backward(ge.tensor(np.cos(x)))
        assert t.grad is not None
        found += [y.numpy(), t.grad.numpy()]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])


@pytest.mark.parametrize("layout", ["C", "F", "strided", "cross"])
def test_every_memory_order_comes_out_right(layout: str):
    x = random((500, 2 * (SIZE // 1000)))
    if layout == "F":
        x = np.asfortranarray(x)
    if layout == "strided":
        x = np.repeat(x, 2, axis=1)[:, ::2]
    t = ge.asarray(x).requires_grad_()
    y = ge.tanh(t)
    g = np.ones_like(x, order="C" if layout == "cross" else "K")
    if layout == "cross":
        g = np.asfortranarray(g)
    y.backward(ge.tensor(g))
    np.testing.assert_array_equal(y.numpy(), np.tanh(x))
    np.testing.assert_allclose(t.grad.numpy(), 1 - np.tanh(x) ** 2, rtol=1e-3, atol=1e-6)


def test_zero_wins_in_a_block_as_elsewhere():
    x = np.zeros(SIZE)
    x[7] = 4
    t = ge.tensor(x, requires_grad=True)
    g = np.zeros(SIZE)
    g[7] = g[8] = 1
    with np.errstate(divide="ignore"):
        ge.sqrt(t).backward(ge.tensor(g))
    found = t.grad.numpy()
    assert found[[7, 8]].tolist() == [0.25, np.inf]
    np.testing.assert_array_equal(np.delete(found, [7, 8]), 0)


def test_second_derivatives_of_large_arrays():
    x = ge.tensor(random((SIZE,), "float64") - 2, requires_grad=True)
    (d,) = ge.autograd.grad(ge.gelu(x).sum(), [x], create_graph=True)
    (dd,) = ge.autograd.grad(d.sum(), [x])
    v = x.numpy()
    expected = (2 - v * v) * np.exp(-v * v / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(dd.numpy(), expected, rtol=1e-12, atol=1e-15)


# --- threads ---


def test_all_parts_are_done_by_more_than_one_thread():
    ge.set_num_threads(3)
    meet = threading.Barrier(3, timeout=20)
    seen: set[int] = set()

    def work(part: int) -> None:
        seen.add(threading.get_ident())
        if part < 3:
            meet.wait()

    hostloops.in_threads(work, range(20))
    assert len(seen) == 3


def test_one_thread_is_the_callers():
    ge.set_num_threads(1)
    seen: set[int] = set()
    hostloops.in_threads(lambda _: seen.add(threading.get_ident()), range(5))
    assert seen == {threading.get_ident()}


def test_work_within_work_does_not_wait_for_itself():
    done: list[int] = []
    hostloops.in_threads(
        lambda i: hostloops.in_threads(lambda j: done.append(10 * i + j), range(4)), range(4)
    )
    assert sorted(done) == [10 * i + j for i in range(4) for j in range(4)]


@pytest.mark.parametrize("count", [1, 2])
def test_a_loop_within_a_block_is_not_cut_again(count: int):
    ge.set_num_threads(count)
    x, sizes = random((16 * SIZE,)), []

    def inner(out: np.ndarray, part: np.ndarray) -> None:
        sizes.append(part.size)
        out[...] = part

    def outer(out: np.ndarray, part: np.ndarray) -> None:
        before = len(sizes)
        hostloops.fill_blockwise(inner, (out,), part)
        if count == 1:
            assert len(sizes) == before + 1

    out = np.empty_like(x)
    hostloops.fill_blockwise(outer, (out,), x)
    np.testing.assert_array_equal(out, x)
    assert len(sizes) > 1
    assert sum(sizes) == x.size
    assert max(sizes) <= hostloops.BLOCK // 4
    assert len(sizes) <= 2 * count * -(-x.nbytes // (count * hostloops.BLOCK))
    seen: list[int] = []
    hostloops.fill_blockwise(lambda out, x: seen.append(x.size), (out,), x)  # and then as before
    assert len(seen) > 1


def test_the_first_error_arrives_and_ends_the_rest():
    meet = threading.Barrier(2, timeout=20)
    done: list[int] = []

    def work(part: int) -> None:
        if part < 2:
            meet.wait()
        if part == 1:
            raise KeyError("part 1")
        done.append(part)

    with pytest.raises(KeyError, match="part 1"):
        hostloops.in_threads(work, range(100_000))
    assert len(done) < 100_000


def test_threads_that_wait_hold_no_array():
    x = random((SIZE,))
    seen: list[int] = []

    def work(part: slice) -> None:
        seen.append(len(x[part]))

    before = sys.getrefcount(work)
    hostloops.for_blocks(work, SIZE, x, "a loop of this test")
    assert sum(seen) == SIZE
    assert sys.getrefcount(work) == before  # no job that is done, or was called off, knows it


def test_without_another_thread_the_caller_does_all(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    team = hostloops._Team()
    team.size = 3
    monkeypatch.setattr(hostloops, "_team", team)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen: list[int] = []
    hostloops.in_threads(seen.append, range(5))
    assert seen == [0, 1, 2, 3, 4]
    assert team.jobs.empty()


def test_errstate_holds_in_every_block():
    x = np.ones(SIZE, np.float32)
    x[-1] = -1  # in the last block
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="log"):
        ge.log(ge.tensor(x))
    with np.errstate(invalid="ignore"):
        assert np.isnan(ge.log(ge.tensor(x)).numpy()[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="log"):
            ge.log(ge.tensor(x))


def test_callers_in_several_threads_share_the_team():
    x = random((SIZE,))
    found: list[np.ndarray] = []
    callers = [
        threading.Thread(target=lambda: found.append(ge.sigmoid(ge.tensor(x)).numpy()))
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert len(found) == 4
    for y in found[1:]:
        np.testing.assert_array_equal(y, found[0])


FORKED = """
import os, sys
import numpy as np
import gradengine as ge
from gradengine import hostloops
hostloops.WORTH = 0.0
ge.set_num_threads(2)
x = ge.tensor(np.linspace(0, 1, 4 * hostloops.LARGE, dtype=np.float32))
expected = ge.sigmoid(x).numpy()
child = os.fork()
if not child:
    os._exit(0 if (ge.sigmoid(x).numpy() == expected).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_threads_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- settings ---


def test_threads_are_counted_from_one():
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match="give a positive integer"):
            ge.set_num_threads(wrong)  # type: ignore[arg-type]
    ge.set_num_threads(3)
    assert ge.get_num_threads() == 3


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OPENBLAS_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "3", "GRADENGINE_NUM_THREADS": "1"}, 1),
    ],
)
def test_the_environment_says_how_many(
    variables: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
):
    for name in ("GRADENGINE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert 1 <= hostloops.default_threads() <= hostloops.MOST
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hostloops.default_threads() == count


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("size", [3, 5000, SIZE, 3 * SIZE])
def test_limits_are_numpys(size: int, dtype: str):
    x = np.linspace(-50, 50, size).astype(dtype)
    if dtype != "int64":
        x[:3] = np.nan, -0.0, np.inf
    for limit, choose in ((hostloops.at_least, np.maximum), (hostloops.at_most, np.minimum)):
        for value in (0, 7.5):
            expected = choose(x, value)
            found = limit(np, x, value)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
            out = np.empty_like(expected)
            assert limit(np, x, value, out=out) is out
            np.testing.assert_array_equal(out, expected)


def test_limits_of_every_memory_order():
    x = random((300, SIZE // 100)) - 2
    for view in (np.asfortranarray(x), x[:, ::2], x.T, np.asfortranarray(x[:20, :300])):
        found = hostloops.at_least(np, view, 0)
        np.testing.assert_array_equal(found, np.maximum(view, 0))
        assert found.flags.f_contiguous == np.maximum(view, 0).flags.f_contiguous
