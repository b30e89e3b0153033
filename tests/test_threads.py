"""Threads: separate graphs side by side, leaves that several of them share, and shared tables."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import GraphError
from gradengine.graph import FREED

WORKERS = 8


@pytest.fixture(autouse=True)
def switch_often():
    """Threads change places every few bytecodes, so that a race has its chance."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(function):
    """Run function(k) on all workers, started at one moment; their results, or the first error."""
    gate = threading.Barrier(WORKERS)

    def start(k):
        gate.wait()
        return function(k)

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(start, range(WORKERS)))


@pytest.mark.parametrize(("shape", "steps"), [((), 1500), ((3,), 1500), ((200_000,), 12)])
def test_a_shared_leaf_loses_no_gradient(shape, steps):
    """NumPy lets other threads run while it adds large arrays."""
    w = ge.tensor(np.ones(shape), requires_grad=True)

    def work(k):
        for _ in range(steps):
            (w * float(k + 1)).sum().backward()

    together(work)
    np.testing.assert_array_equal(w.grad.array, np.full(shape, steps * sum(range(1, WORKERS + 1))))


def test_the_first_gradients_of_a_leaf_do_not_overwrite_each_other():
    for _ in range(60):
        w = ge.tensor(np.ones(3), requires_grad=True)
        held = []

        def work(k, w=w, held=held):
            for _ in range(3):
                (w * 2.0).sum().backward()
                held.append(w.grad.numpy())  # the next sum needs memory of its own

        together(work)
        assert w.grad.tolist() == [6.0 * WORKERS] * 3


def test_several_shared_leaves_and_several_uses():
    a, b = (ge.tensor(np.ones(4), requires_grad=True) for _ in range(2))

    def work(k):
        for _ in range(100):
            y = a * b
            (y + y * a).sum().backward()

    together(work)
    total = 100 * WORKERS
    np.testing.assert_array_equal(a.grad.array, np.full(4, 3.0 * total))  # b + 2ab
    np.testing.assert_array_equal(b.grad.array, np.full(4, 2.0 * total))  # a + a^2


def test_separate_graphs_give_what_they_give_alone():
    def work(k):
        rng = np.random.default_rng(k)
        x = ge.tensor(rng.normal(size=(6, 6)), requires_grad=True)
        y = x
        for _ in range(30):
            y = ge.tanh(y @ x) * 0.5 + y
        y.sum().backward()
        return x.grad.array

    alone = [work(k) for k in range(WORKERS)]
    for one, other in zip(alone, together(work), strict=True):
        np.testing.assert_array_equal(one, other)


def test_transforms_nest_in_every_thread():
    def work(k):
        x = ge.tensor(float(k + 1), dtype="float64")
        results = []
        for _ in range(20):
            d = ge.grad(lambda x: x * ge.jvp(lambda y: x * y * y, (x,), (x * 0 + 1,))[1])
            results.append(d(x).item())  # d/dx x * 2x^2
        return results

    for k, results in enumerate(together(work)):
        assert set(results) == {6.0 * (k + 1) ** 2}


def test_one_graph_walked_by_all_threads_at_once():
    x = ge.tensor(np.ones(5), requires_grad=True)
    y = (ge.exp(x) * x).sum()
    grads = together(lambda k: ge.autograd.grad(y, x, retain_graph=True)[0].array)
    for g in grads:
        np.testing.assert_allclose(g, 2 * np.e)


def test_threads_that_free_one_graph_under_each_other_are_told():
    """Whoever comes too late gets the error and adds nothing; nobody adds a part."""
    for _ in range(40):
        x = ge.tensor(np.ones(5), requires_grad=True)
        y = (ge.exp(x) * x).sum()

        def work(k, y=y):
            try:
                y.backward()
            except GraphError as error:
                return str(error)
            return ""

        results = together(work)
        assert all("freed" in message for message in results if message)
        done = results.count("")
        expected = np.zeros(5) if x.grad is None else x.grad.array
        np.testing.assert_allclose(expected, done * 2 * np.e)


def test_first_calls_of_an_op_may_meet():
    """The tables that remember how an op treats a class of arrays fill while others read them."""
    op = ge.row.registry["multiply"] if hasattr(ge, "row") else None
    assert op is not None
    for _ in range(10):
        op.table.clear()
        op.raw.clear()
        op.codes.clear()
        x = ge.tensor([2.0], requires_grad=True)
        values = together(lambda k, x=x: (x * float(k) * x).item())
        assert values == [4.0 * k for k in range(WORKERS)]


def test_copy_on_write_between_threads():
    """Each thread writes to its own result of a shared tensor; nobody sees another's writes."""
    base = ge.tensor(np.zeros(16))

    def work(k):
        for _ in range(100):
            mine = base.detach()
            mine[k] = k + 1.0
            expected = np.zeros(16)
            expected[k] = k + 1.0
            np.testing.assert_array_equal(mine.array, expected)

    together(work)
    assert not base.array.any()


def test_exposed_arrays_come_and_go_in_all_threads():
    def work(k):
        for i in range(200):
            x = ge.tensor([1.0, 2.0], requires_grad=True)
            y = x * 2
            raw = y.data
            z = (y * y).sum()
            if i % 2:
                raw[0] = 9.0
                with pytest.raises(GraphError, match="changed"):
                    z.backward()
            else:
                z.backward()
                assert x.grad.tolist() == [8.0, 16.0]

    together(work)


@pytest.mark.parametrize("before", [False, True])
def test_a_step_that_another_pass_frees_meanwhile_loses_no_gradient(before):
    """The other pass frees the node before or after this one reads what the node saved."""
    a = ge.tensor(np.ones((2, 3)), requires_grad=True)
    b = ge.tensor(np.ones((3, 4)), requires_grad=True)
    node = (a @ b).grad_fn

    class Overtaken:
        op, inputs, meta, params = node.op, node.inputs, node.meta, node.params

        @property
        def saved(self):
            self.inputs = ()
            return FREED if before else node.saved

    with pytest.raises((TypeError, ValueError)):  # from which the pass makes its GraphError
        list(node.op.pull(Overtaken(), np.ones((2, 4)), False))


def test_passes_that_race_through_one_graph_give_all_or_raise():
    """Nobody keeps the graph: of several passes one arrives, the others say that it was freed."""
    x = ge.tensor(np.ones((2, 3)), requires_grad=True)
    w = ge.tensor(np.ones((4, 3)), requires_grad=True)

    def work(loss):
        try:
            loss.backward()
        except GraphError:  # freed by another
            return 0
        return 1

    for _ in range(100):
        x.grad = w.grad = None
        y = ge.linear(x, w).sum()
        arrived = sum(together(lambda _, y=y: work(y)))
        assert arrived
        np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 4.0 * arrived))
        np.testing.assert_array_equal(w.grad.numpy(), np.full((4, 3), 2.0 * arrived))
