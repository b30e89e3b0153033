"""no_grad, enable_grad, inference_mode: across exceptions, threads, generators and tasks."""

import asyncio
import contextvars
import inspect
import threading

import pytest

import gradengine as ge
from gradengine.tape import grad_enabled

MODES = [ge.no_grad, ge.enable_grad, ge.inference_mode]


@pytest.fixture
def x():
    return ge.tensor([1.0, 2.0], requires_grad=True)


# --- blocks and functions ---


def test_a_block_records_nothing_and_ends(x):
    with ge.no_grad():
        assert not (x * 2).requires_grad
        with ge.enable_grad():
            assert (x * 2).requires_grad
            with ge.inference_mode():
                assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_an_exception_restores_the_mode(mode):
    with pytest.raises(KeyError), mode():
        raise KeyError
    assert grad_enabled()
    with ge.no_grad():
        with pytest.raises(KeyError), mode():
            raise KeyError
        assert not grad_enabled()


def test_one_object_can_be_nested_and_used_again(x):
    off = ge.no_grad()
    with off:
        with off:
            assert not grad_enabled()
        assert not grad_enabled()
    assert grad_enabled()
    with off:
        assert not grad_enabled()
    assert grad_enabled()


def test_a_decorated_function(x):
    @ge.no_grad()
    def f(a, *, k):
        """Twice."""
        assert not grad_enabled()
        return g(a) * k

    @ge.enable_grad()
    def g(a):
        assert grad_enabled()
        return a * 1

    assert not f(x, k=2).requires_grad
    assert f.__name__ == "f"
    assert f.__doc__ == "Twice."
    assert grad_enabled()

    @ge.no_grad()
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert grad_enabled()


def test_methods_and_recursion(x):
    class Model:
        @ge.no_grad()
        def predict(self, a, depth=3):
            return a if not depth else self.predict(a * 1, depth - 1)

    assert not Model().predict(x).requires_grad
    assert grad_enabled()


def test_leaves_made_inside_still_ask_for_gradients():
    with ge.no_grad():
        w = ge.tensor(2.0, requires_grad=True)
    (w * w).backward()
    assert w.grad.item() == 4.0


# --- generators ---


@pytest.mark.parametrize("mode", MODES)
def test_a_decorated_generator_switches_only_while_it_runs(mode):
    inside = mode is ge.enable_grad

    @mode()
    def steps():
        """Documented."""
        for _ in range(3):
            yield grad_enabled()
        return "end"

    for outer in (True, False):
        with ge.enable_grad() if outer else ge.no_grad():
            generator = steps()
            assert grad_enabled() is outer
            for _ in range(3):
                assert next(generator) is inside
                assert grad_enabled() is outer
            with pytest.raises(StopIteration) as stop:
                next(generator)
            assert stop.value.value == "end"
            assert grad_enabled() is outer
    assert inspect.isgeneratorfunction(steps)
    assert steps.__doc__ == "Documented."


def test_a_generator_paused_inside_a_block_leaks_into_its_caller_only_undecorated():
    """The difference that decorating makes."""

    def bare():
        with ge.no_grad():
            yield grad_enabled()
        yield grad_enabled()

    generator = bare()
    assert next(generator) is False
    assert not grad_enabled()  # Python's contexts reach into generators: hence the decorator
    assert next(generator) is True
    assert grad_enabled()


def test_send_throw_and_close_reach_the_generator_in_its_mode():
    log = []

    @ge.no_grad()
    def worker():
        try:
            got = yield "ready"
            log.append(("sent", got, grad_enabled()))
            try:
                yield "waiting"
            except ValueError as error:
                log.append(("thrown", str(error), grad_enabled()))
                yield "recovered"
        finally:
            log.append(("closed", grad_enabled()))

    g = worker()
    assert next(g) == "ready"
    assert g.send(5) == "waiting"
    assert g.throw(ValueError("boo")) == "recovered"
    assert grad_enabled()
    g.close()
    assert grad_enabled()
    assert log == [("sent", 5, False), ("thrown", "boo", False), ("closed", False)]
    with pytest.raises(StopIteration):
        next(g)


def test_an_exception_out_of_a_generator_restores_the_mode():
    @ge.no_grad()
    def fails():
        yield 1
        raise KeyError("inside")

    g = fails()
    next(g)
    with pytest.raises(KeyError, match="inside"):
        next(g)
    assert grad_enabled()
    h = fails()
    next(h)
    with pytest.raises(IndexError):
        h.throw(IndexError("uncaught"))
    assert grad_enabled()


def test_a_generator_that_is_dropped_restores_nothing_twice():
    @ge.no_grad()
    def endless():
        while True:
            yield grad_enabled()

    g = endless()
    next(g)
    del g
    assert grad_enabled()


def test_two_generators_interleave():
    @ge.no_grad()
    def off():
        while True:
            yield grad_enabled()

    @ge.enable_grad()
    def on():
        while True:
            yield grad_enabled()

    for outer in (ge.no_grad, ge.enable_grad):
        with outer():
            before = grad_enabled()
            for a, b, _ in zip(off(), on(), range(3), strict=False):
                assert (a, b, grad_enabled()) == (False, True, before)


# --- threads ---


def in_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def test_a_new_thread_records_whatever_its_starter_does():
    with ge.no_grad():
        assert in_thread(grad_enabled) is True
        assert not grad_enabled()


def test_threads_switch_for_themselves():
    """8 threads toggle at random moments; each sees its own switch only."""
    wrong, gate = [], threading.Barrier(8)

    def toggle(seed):
        gate.wait()
        for k in range(400):
            off = (seed * 31 + k * 7) % 3 == 0
            with ge.no_grad() if off else ge.enable_grad():
                if grad_enabled() is off:
                    wrong.append((seed, k))
        if not grad_enabled():
            wrong.append((seed, "end"))

    threads = [threading.Thread(target=toggle, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert grad_enabled()


def test_a_block_left_in_another_context_keeps_both_right():
    """A generator that holds a block open and is resumed in a copied context."""

    def holder():
        with ge.no_grad():
            yield
        yield

    generator = holder()
    context = contextvars.copy_context()
    context.run(next, generator)
    assert grad_enabled()
    next(generator)  # leaves the block here, where it was never entered
    assert grad_enabled()
    generator.close()


# --- asyncio ---


def test_tasks_switch_for_themselves():
    async def work(mode, expected, seen):
        with mode():
            for _ in range(5):
                await asyncio.sleep(0)
                seen.append(grad_enabled() is expected)

    async def main():
        seen = []
        await asyncio.gather(
            *(work(ge.no_grad, False, seen) for _ in range(3)),
            *(work(ge.enable_grad, True, seen) for _ in range(3)),
        )
        assert grad_enabled()
        return seen

    assert all(asyncio.run(main()))


def test_a_decorated_coroutine():
    @ge.no_grad()
    async def predict(k):
        await asyncio.sleep(0)
        return k, grad_enabled()

    async def main():
        with ge.enable_grad():
            first = await predict(1)
            return [first, *(await asyncio.gather(predict(2), predict(3)))], grad_enabled()

    results, after = asyncio.run(main())
    assert results == [(1, False), (2, False), (3, False)]
    assert after
    assert inspect.iscoroutinefunction(predict)


def test_a_decorated_asynchronous_generator():
    log = []

    @ge.no_grad()
    async def stream():
        got = None
        try:
            while True:
                try:
                    got = yield (got, grad_enabled())
                    await asyncio.sleep(0)
                except ValueError:
                    log.append(("thrown", grad_enabled()))
        finally:
            log.append(("closed", grad_enabled()))

    async def main():
        g = stream()
        assert await anext(g) == (None, False)
        assert grad_enabled()
        assert await g.asend(5) == (5, False)
        assert await g.athrow(ValueError()) == (5, False)
        assert grad_enabled()
        await g.aclose()
        assert grad_enabled()
        return [value async for value in limited()]

    @ge.no_grad()
    async def limited():
        for _ in range(2):
            yield grad_enabled()

    assert asyncio.run(main()) == [False, False]
    assert log == [("thrown", False), ("closed", False)]


# --- what a backward pass does ---


def test_backward_works_where_recording_is_off(x):
    y = (x * x).sum()
    with ge.no_grad():
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]
    assert not x.grad.requires_grad


def test_a_hook_inherits_the_mode_of_its_pass(x):
    seen = []
    x.register_hook(lambda g: seen.append(grad_enabled()))
    y = (x * x).sum()
    with ge.no_grad():
        y.backward(retain_graph=True)
        (g,) = ge.autograd.grad(y, x, create_graph=True)
    assert seen == [False, True]
    assert g.requires_grad


def test_the_mode_survives_an_error_in_a_pass(x):
    def fail(g):
        raise KeyError

    x.register_hook(fail)
    for outer in (ge.no_grad, ge.enable_grad):
        y = (x * x).sum()
        with outer():
            before = grad_enabled()
            for create_graph in (False, True):
                with pytest.raises(KeyError):
                    ge.autograd.grad(y, x, create_graph=create_graph, retain_graph=True)
                assert grad_enabled() is before


# --- defaults of device and dtype, which follow the same rules ---


def test_default_device_is_restored_after_an_error_and_is_a_threads_own():
    with pytest.raises(KeyError), ge.default_device("cpu"):
        raise KeyError
    with ge.default_device("cpu"):
        assert in_thread(lambda: str(ge.zeros(1).device)) == "cpu"


def test_the_default_dtype_is_a_threads_own():
    ge.set_default_dtype("float64")
    try:
        assert ge.tensor(1.0).dtype == "float64"
        assert in_thread(lambda: ge.tensor(1.0).dtype.name) == "float32"
    finally:
        ge.set_default_dtype("float32")


def test_the_decorators_need_no_parentheses():
    x = ge.tensor(2.0, requires_grad=True)

    @ge.no_grad
    def constant(x):
        return x * x

    @ge.enable_grad
    def recorded(x):
        return x * x

    assert not constant(x).requires_grad
    with ge.no_grad():
        assert recorded(x).requires_grad
    assert (x * x).requires_grad
