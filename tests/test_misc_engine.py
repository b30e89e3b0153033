"""The engine beside other things: fork, tensors inside jvp, families of many views, containers."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest

import gradengine as ge
from gradengine import errstate, reverse, trees, views
from gradengine.errors import GraphError, ShapeError
from gradengine.errstate import quiet


def leaf(*values):
    return ge.tensor(values, dtype="float64", requires_grad=True)


# --- fork ---

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def in_child(check, seconds=20):
    """Run `check` in a forked child; whether it returned without an error in time."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of BLAS exist
        pid = os.fork()
    if not pid:
        signal.alarm(seconds)  # a deadlocked child ends itself
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def one_step():
    x = leaf(1.0, 2.0)
    (x * ge.exp(x)).sum().backward()
    np.testing.assert_allclose(x.grad.array, (1 + x.array) * np.exp(x.array))


@needs_fork
def test_a_forked_child_can_train_before_and_after_its_parent_has():
    assert in_child(one_step)
    one_step()
    assert in_child(one_step)


@needs_fork
def test_a_graph_made_before_the_fork_goes_back_in_both():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()

    def finish():
        y.backward()
        assert x.grad.tolist() == [2.0, 4.0]

    assert in_child(finish)
    assert x.grad is None
    finish()


@needs_fork
def test_a_fork_while_another_thread_accumulates_does_not_hang_the_child():
    with reverse._accumulating:
        assert in_child(one_step)


@needs_fork
def test_modes_and_the_generator_are_inherited():
    ge.random.manual_seed(3)
    expected = ge.random.rand(4).tolist()
    ge.random.manual_seed(3)

    def check():
        assert not (leaf(1.0) * 2).requires_grad
        assert ge.random.rand(4).tolist() == expected

    with ge.no_grad():
        assert in_child(check)


def test_import_starts_no_thread_and_no_gpu():
    program = """
        import sys, threading
        import gradengine
        assert threading.active_count() == 1
        assert "cupy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


# --- copies ---


def test_a_copied_leaf_has_a_tape_of_its_own():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    x.register_hook(lambda g: g * 100)
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert other.requires_grad
        assert other.is_leaf
        assert other.node is not x.node
        assert not np.shares_memory(other.array, x.array)
        other.grad = None
        (other * 3).sum().backward()
        assert other.grad.tolist() == [3.0, 3.0]
        assert x.grad.tolist() == [2.0, 2.0]


def test_a_shared_tensor_stays_shared_in_a_deep_copy():
    x = leaf(1.0)
    a, b = copy.deepcopy([x, x])
    assert a is b


def test_copy_is_a_step_of_the_tape():
    x = leaf(1.0, 2.0)
    y = copy.copy(x)
    y *= 3
    y.sum().backward()
    assert x.tolist() == [1.0, 2.0]
    assert x.grad.tolist() == [3.0, 3.0]


def test_tensors_are_hashed_by_identity():
    a, b = leaf(1.0), leaf(1.0)
    assert len({a, b, a}) == 2
    assert {a: "a", b: "b"}[b] == "b"


# --- tensors inside jvp ---


def inside(check):
    """Run `check` on a tensor that carries a tangent."""

    def f(x):
        check(x)
        return x * 1

    return ge.jvp(f, (ge.tensor([1.0, 2.0]),), (ge.tensor([1.0, 1.0]),))


def test_a_tensor_inside_jvp_answers_for_its_value():
    def check(x):
        y = x * 2
        assert isinstance(y, ge.Tensor)
        assert repr(y) == "tensor([2., 4.])"
        assert y.tolist() == [2.0, 4.0]
        assert y.numpy().tolist() == [2.0, 4.0]
        assert y.is_leaf
        assert not y.requires_grad
        assert y.grad is None
        assert y.grad_fn is None
        assert bool((y > 3).any())
        assert float(y[1]) == 4.0
        assert (y > 3).level == 0
        assert y.argmax().item() == 1
        assert y.detach().level == 0
        assert y.astype("float64").level

    inside(check)


def test_reverse_mode_inside_forward_mode_as_one_writes_it():
    """requires_grad_ and autograd.grad inside a function that jvp differentiates."""

    def f(x):
        y = (x * 1).requires_grad_()
        assert y.requires_grad
        (g,) = ge.autograd.grad((y**3).sum(), y)
        return g

    x, v = ge.tensor([1.0, 2.0]), ge.tensor([1.0, 10.0])
    value, tangent = ge.jvp(f, (x,), (v,))
    assert value.tolist() == [3.0, 12.0]
    assert tangent.tolist() == [6.0, 120.0]
    assert not x.requires_grad


def test_asking_for_gradients_inside_leaves_the_callers_tensor_alone():
    x = ge.tensor([1.0, 2.0])
    ge.jvp(lambda x: x.requires_grad_() * 2, (x,), (x,))
    assert not x.requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.register_hook(print),
        lambda x: x.retain_grad(),
        lambda x: x.register_post_accumulate_grad_hook(print),
        lambda x: x.requires_grad_().sum().backward(),
        lambda x: copy.deepcopy(x),
        lambda x: np.asarray(x),
    ],
)
def test_what_would_lose_a_tangent_is_refused(call):
    with pytest.raises(GraphError, match="hint: "):
        inside(call)


# --- views ---


def test_many_views_of_one_base_do_not_pile_up():
    base = ge.zeros((1000, 2))
    for k in range(5000):
        base[k % 1000].sum()
    assert len(base.family.members) < 100
    rows = [base[k] for k in range(50)]
    base += 1
    assert all(row.tolist() == [1.0, 1.0] for row in rows)
    assert len(views.views_of(base)) == 50


def test_views_do_not_keep_each_other_alive():
    import weakref

    gc.disable()
    try:
        base = ge.zeros(4)
        first, second = base[:2], base[2:]
        refs = [weakref.ref(t) for t in (base, first, second)]
        del first
        assert refs[1]() is None
        del base  # a view needs its base
        assert refs[0]() is not None
        del second
        assert [ref() for ref in refs] == [None] * 3
    finally:
        gc.enable()


def test_iterating_over_rows_reads_them():
    x = ge.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    total = sum((row * k).sum() for k, row in enumerate(x))
    total.backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]


# --- trees ---


def test_trees_are_rebuilt_and_matched():
    tree = {"a": [1, (2, None)], "b": 3}
    leaves, rebuild = trees.flatten(tree)
    assert leaves == [1, 2, 3]
    assert rebuild([10, 20, 30]) == {"a": [10, (20, None)], "b": 30}
    with pytest.raises(ValueError, match="3 leaves are needed, got 2"):
        rebuild([1, 2])
    assert trees.flatten_like({"b": 6, "a": ((4, [5, None]))}, tree, "f", "x") == [4, 5, 6]
    assert trees.tree_map(lambda a, b: a + b, tree, {"b": 1, "a": [1, (1, None)]}) == {
        "a": [2, (3, None)],
        "b": 4,
    }


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": 1}, r"a dict with keys \['a'\] where a dict with keys \['a', 'b'\]"),
        ({"a": 1, "b": [1]}, "a list of 1 where one int is needed"),
        (3, "one int where a dict"),
        (None, "None where a dict"),
    ],
)
def test_trees_that_do_not_match_are_shown(other, message):
    with pytest.raises(ShapeError, match=f"f: tangents hold {message}"):
        trees.flatten_like(other, {"a": 1, "b": 2}, "f", "tangents")


# --- the engine keeps out of the way ---


def test_an_interrupt_leaves_the_engine_usable():
    """Ctrl-C in the middle of a pass, as in a notebook."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    x = leaf(1.0, 2.0)
    y = x
    for _ in range(20_000):
        y = y + 1e-3
    timer = threading.Timer(0.005, lambda: signal.raise_signal(signal.SIGINT))
    interrupted = False
    y = y.sum()
    try:
        timer.start()
        while timer.is_alive():
            y.backward(retain_graph=True)
            x.grad = None
        y.backward(retain_graph=True)
    except KeyboardInterrupt:
        interrupted = True
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert interrupted
    assert ge.tape.grad_enabled()
    assert x.grad is None or x.grad.tolist() == [1.0, 1.0]
    x.grad = None
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]
    one_step()


def test_floating_point_settings_are_the_callers_again_after_a_pass():
    x = leaf(0.0, 4.0)
    with np.errstate(all="raise"):
        y = ge.sqrt(x)[1:].sum()
        y.backward()  # 1/sqrt(0) inside is no news
        assert np.geterr()["divide"] == "raise"
    assert x.grad.tolist() == [0.0, 0.25]


def test_silence_ends_with_its_block_and_stays_in_its_thread():
    before, heard = np.geterr(), []
    with quiet():
        with pytest.raises(ZeroDivisionError), quiet():
            print(1 / 0)
        assert set(np.geterr().values()) == {"ignore"}
        thread = threading.Thread(target=lambda: heard.append(np.geterr()))
        thread.start()
        thread.join()
    assert np.geterr() == before
    assert heard == [before]
    with np.errstate(all="raise"), quiet():
        assert np.isinf(np.ones(1) / np.zeros(1)).all()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        np.ones(1) / np.zeros(1)


def test_silence_without_numpys_context_variable(monkeypatch):
    monkeypatch.setattr(errstate._Quiet, "state", None)
    with quiet():
        assert np.isinf(np.ones(1) / np.zeros(1)).all()
