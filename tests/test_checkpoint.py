"""checkpoint: gradients bit for bit those of the plain call, in every mode and order."""

import numpy as np
import pytest
from comparisons import close

import gradengine as ge
from gradengine.errors import GraphError

X = np.array([0.5, -1.5, 2.0])
V = np.array([1.0, 0.25, -2.0])


def t(x, **kwargs):
    return ge.tensor(x, dtype="float64", **kwargs)


def leaf(x=X):
    return t(x, requires_grad=True)


def plain(x):
    return x * ge.exp(x)


def block(x, w):
    y = ge.tanh(x @ w)
    y = y * (ge.random.rand(*y.shape) > 0.3)  # dropout written out
    return ge.exp(y) / (1 + y * y)


def bits(*tensors):
    return [x.array.tobytes() for x in tensors]


def gradients_of(call, nested=False):
    ge.random.manual_seed(7)
    rng = np.random.default_rng(0)
    x = ge.tensor(rng.normal(size=(5, 4)), requires_grad=True)
    ws = [ge.tensor(rng.normal(size=(4, 4)), requires_grad=True) for _ in range(3)]
    y = x
    if nested:
        y = call(lambda y: call(block, call(block, y, ws[0]), ws[1]), y)
        y = call(block, y, ws[2])
    else:
        for w in ws:
            y = call(block, y, w)
    after = ge.random.rand(3)  # the generator goes on as if nothing had been
    (y * y).sum().backward()
    return bits(y, after, x.grad, *[w.grad for w in ws])


@pytest.mark.parametrize("nested", [False, True])
def test_checkpoint_is_the_plain_call_bit_for_bit(nested):
    plain = gradients_of(lambda f, *args: f(*args), nested)
    assert gradients_of(ge.checkpoint, nested) == plain


def test_the_generator_is_where_it_was_after_the_backward_pass():
    ge.random.manual_seed(1)
    x = leaf()
    y = ge.checkpoint(lambda x: x * ge.random.rand(3), x)
    before = ge.random.get_state()
    y.sum().backward()
    assert ge.random.get_state() == before


def test_checkpoint_reaches_closures_keywords_and_trees():
    w, b = leaf(2.0), leaf(5.0)
    x = leaf()
    out = ge.checkpoint(lambda d, *, k: {"y": d["x"] * w * k + b, "n": 3}, {"x": x}, k=t(10.0))
    assert out["n"] == 3
    out["y"].sum().backward()
    close(w.grad, 10 * X.sum())
    close(b.grad, 3.0)
    close(x.grad, [20.0] * 3)


def test_checkpoint_saves_its_arguments_only_and_computes_twice():
    import weakref

    runs, inside = [], []

    def f(x):
        y = ge.exp(x)
        runs.append(1)
        inside.append(weakref.ref(y.array))
        return y * y

    x = leaf()
    out = ge.checkpoint(f, x)
    assert inside[0]() is None
    out.sum().backward()
    assert len(runs) == 2
    assert inside[1]() is None
    close(x.grad, 2 * np.exp(2 * X))


def test_checkpoint_in_partial_and_recorded_passes():
    x, w = leaf(), leaf(2.0)
    y = ge.checkpoint(lambda x: plain(x) * w, x).sum()
    (g,) = ge.autograd.grad(y, x, create_graph=True)
    close(g, 2 * (1 + X) * np.exp(X))
    (gw,) = ge.autograd.grad(g.sum(), w, retain_graph=True)
    close(gw, ((1 + X) * np.exp(X)).sum())
    (h,) = ge.autograd.grad(g.sum(), x)
    close(h, 2 * (2 + X) * np.exp(X))


def test_checkpoint_with_several_outputs_of_which_one_is_used():
    x = leaf()
    a, _b = ge.checkpoint(lambda x: (plain(x), x * 100), x)
    a.sum().backward()
    close(x.grad, (1 + X) * np.exp(X))


def test_checkpoint_of_constants_and_inside_jvp_is_the_plain_call():
    assert not ge.checkpoint(plain, t(X)).requires_grad
    x, v = t(X), t(V)
    close(
        ge.jvp(lambda x: ge.checkpoint(lambda: plain(x)), (x,), (v,))[1],
        ge.jvp(plain, (x,), (v,))[1].numpy(),
    )


def test_a_checkpoint_that_would_compute_something_else_is_refused():
    x = leaf()
    h = x * 1
    y = ge.checkpoint(lambda: plain(h))
    h *= 2  # h is another tensor now
    with pytest.raises(GraphError, match=r"checkpoint computed something else(.|\n)*hint: "):
        y.sum().backward()
    assert x.grad is None

    w = leaf()
    y = ge.checkpoint(lambda x: plain(x) * w, x)
    with ge.no_grad():
        w *= 2  # a step of an optimiser
    with pytest.raises(GraphError, match="something else"):
        y.sum().backward()

    rng = np.random.default_rng(0)
    y = ge.checkpoint(lambda x: plain(x) * rng.normal(), x)  # a foreign generator
    with pytest.raises(GraphError, match="something else"):
        y.sum().backward()

    shapes = iter([3, 2])
    y = ge.checkpoint(lambda x: plain(x)[: next(shapes)], x)
    with pytest.raises(GraphError, match="something else"):
        y.sum().backward()
    assert x.grad is None


def test_a_written_closure_is_noticed_by_its_history_alone(monkeypatch):
    """On a GPU, where values are not compared."""
    monkeypatch.setattr("gradengine.recompute.is_host", lambda xp: False)
    x = leaf()
    h = x * 1
    y = ge.checkpoint(lambda: plain(h))
    h *= 2
    with pytest.raises(GraphError, match="something else"):
        y.sum().backward()
    y = ge.checkpoint(plain, h)
    y.sum().backward()
    assert x.grad is not None


def test_an_error_in_the_second_run_leaves_the_generator_alone():
    runs = []

    def f(x):
        runs.append(1)
        if len(runs) == 2:
            ge.random.rand(100)
            raise KeyError("second run")
        return plain(x)

    x = leaf()
    y = ge.checkpoint(f, x)
    state = ge.random.get_state()
    with pytest.raises(KeyError):
        y.sum().backward()
    assert ge.random.get_state() == state
    assert x.grad is None


def test_a_custom_vjp_forward_may_call_the_function_itself():
    @ge.custom_vjp
    def product(x, y):
        return x * ge.sin(y)

    def backward(residuals, g):
        x, y = residuals
        return g * ge.sin(y), g * x * ge.cos(y)

    product.defvjp(lambda x, y: (product(x, y), (x, y)), backward)
    ge.testing.check_grads(product, (np.array([0.5, 1.0]), np.array([0.3, 0.2])), order=3)


def test_undifferentiated_custom_functions_give_constants():
    same = ge.custom_vjp(lambda x: x)
    same.defvjp(lambda x: (x, None), lambda _, g: (g,))
    x = ge.tensor([1.0, 2.0], requires_grad=True)
    with ge.no_grad():
        assert not same(x).requires_grad
    assert same(x).requires_grad
    assert same(2.0).item() == 2.0


# --- autocast ---


def test_inside_an_autocast_context_the_second_run_casts_as_the_first():
    from gradengine.amp import autocast

    model = ge.nn.Sequential(ge.nn.Linear(4, 8), ge.nn.Tanh(), ge.nn.Linear(8, 1))
    x = ge.randn(5, 4)
    found = []
    for wrap in (lambda f, x: f(x), ge.checkpoint):
        model.zero_grad()
        with autocast("bfloat16"):
            model(x)  # weights that are cast already
            loss = wrap(model, x).sum()
        loss.backward()  # the context is closed by now
        found.append([p.grad.numpy() for p in model.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    plain = ge.checkpoint(model, x)
    with autocast("bfloat16"):
        plain.sum().backward()  # opened later: not for what was computed without it
