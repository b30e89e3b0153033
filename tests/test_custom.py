"""A user's own rules (custom_vjp, custom_jvp, Function) in every mode and order."""

import numpy as np
import pytest
from comparisons import close

import gradengine as ge
from gradengine.errors import GraphError, ShapeError

X = np.array([0.5, -1.5, 2.0])
V = np.array([1.0, 0.25, -2.0])


def t(x, **kwargs):
    return ge.tensor(x, dtype="float64", **kwargs)


def leaf(x=X):
    return t(x, requires_grad=True)


# --- one function, x * exp(x), with its rule stated in every way ---


def plain(x):
    return x * ge.exp(x)


@ge.custom_vjp
def by_vjp(x):
    return x * ge.exp(x)


by_vjp.defvjp(
    lambda x: (by_vjp.f(x), {"x": x, "e": ge.exp(x)}),
    lambda saved, g: (g * (1 + saved["x"]) * ge.exp(saved["x"]),),
)


@ge.custom_jvp
def by_jvp(x):
    return x * ge.exp(x)


by_jvp.defjvp(lambda xs, ts: (by_jvp.f(*xs), (1 + xs[0]) * ge.exp(xs[0]) * ts[0]))


class SavesInput(ge.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * ge.exp(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 + x) * ge.exp(x)


class SavesOutput(ge.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x * ge.exp(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * (y + ge.exp(x))


WAYS = {
    "custom_vjp": by_vjp,
    "custom_jvp": by_jvp,
    "Function": SavesInput.apply,
    "Function with its output": SavesOutput.apply,
    "checkpoint": lambda x: ge.checkpoint(plain, x),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_mode_and_order_is_that_of_the_plain_function(way):
    f = WAYS[way]
    y = f(leaf())
    close(y, plain(t(X)).numpy())
    assert y.requires_grad

    def scalar(x, f=f):
        return (f(x) * t(V)).sum()

    def expected(x):
        return scalar(x, plain)

    x, v = t(X), t(V)
    a = leaf()
    scalar(a).backward()
    close(a.grad, ge.grad(expected)(x).numpy())
    close(ge.grad(scalar)(x), ge.grad(expected)(x).numpy())
    close(ge.jvp(f, (x,), (v,))[1], ge.jvp(plain, (x,), (v,))[1].numpy())
    close(ge.hvp(scalar, (x,), (v,)), ge.hvp(expected, (x,), (v,)).numpy())
    close(ge.vhp(scalar, (x,), (v,)), ge.vhp(expected, (x,), (v,)).numpy())
    close(ge.linearize(f, x)[1](v), ge.jvp(plain, (x,), (v,))[1].numpy())

    def third(f):
        return ge.grad(lambda x: (ge.hvp(f, (x,), (v,)) * v).sum())(x)

    close(third(scalar), third(expected).numpy(), 1e-11)

    def twice(f):
        return ge.jvp(lambda x: ge.jvp(f, (x,), (v,))[1], (x,), (v,))[1]

    close(twice(f), twice(plain).numpy())


@pytest.mark.parametrize("way", WAYS)
def test_double_backward(way):
    x = leaf()
    (g,) = ge.autograd.grad(WAYS[way](x).sum(), x, create_graph=True)
    g.sum().backward()
    close(x.grad, (2 + X) * np.exp(X))


@pytest.mark.parametrize("way", WAYS)
def test_the_saved_values_are_those_of_the_call(way):
    """Writes to the argument or the result afterwards do not reach the rule."""
    x = leaf()
    h = x * 1
    y = WAYS[way](h)
    z = y * 1
    h *= 0
    y *= 0
    z.sum().backward()
    close(x.grad, (1 + X) * np.exp(X))


@pytest.mark.parametrize("way", WAYS)
def test_the_graph_keeps_its_manners(way):
    x = leaf()
    y = WAYS[way](x).sum()
    y.backward(retain_graph=True)
    y.backward()
    close(x.grad, 2 * (1 + X) * np.exp(X))
    with pytest.raises(GraphError, match="freed"):
        y.backward()
    with ge.no_grad():
        assert not WAYS[way](x).requires_grad
    assert not WAYS[way](t(X)).requires_grad


@pytest.mark.parametrize("way", WAYS)
def test_under_no_grad_the_result_is_a_constant_in_every_mode(way):
    def f(x):
        with ge.no_grad():
            c = WAYS[way](x)
        return (c * x).sum()

    expected = plain(t(X)).numpy()
    close(ge.grad(f)(t(X)), expected)
    close(ge.jvp(f, (t(X),), (t(V),))[1], expected @ V)
    with ge.no_grad():
        close(ge.jvp(f, (t(X),), (t(V),))[1], expected @ V)


def test_the_node_has_the_functions_name():
    assert SavesInput.apply(leaf()).grad_fn.name == "SavesInput"
    assert by_vjp(leaf()).grad_fn.name == "by_vjp"
    assert "grad_fn=<SavesOutput>" in repr(SavesOutput.apply(leaf()))
    assert by_vjp.__name__ == "by_vjp"


# --- the rule is used, not the function ---


@ge.custom_vjp
def clipped(x):
    """The identity, its gradient cut to [-1, 1]."""
    return x * 1


clipped.defvjp(lambda x: (x * 1, None), lambda _, g: (ge.clip(g, -1, 1),))


def test_a_rule_that_is_no_derivative_is_obeyed():
    x = leaf()
    (clipped(x) * t(V)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.25, -1.0]


class Straight(ge.autograd.Function):
    """round(x)**2 whose gradient pretends that round is the identity; saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = ge.round(x) * 1.0
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g + 0 * y * g


def test_the_straight_through_rule_holds_for_second_derivatives_and_tangents():
    """A saved output stands for the rule, not for the operations inside forward."""

    def f(x):
        return (Straight.apply(x) ** 2).sum()

    x = np.array([0.7, 1.2])
    close(ge.grad(f)(t(x)), 2 * np.round(x))
    close(ge.jvp(f, (t(x),), (t([1.0, 10.0]),))[1], 2 * np.round(x) @ [1.0, 10.0])
    close(ge.hessian(f)(t(x)), 2 * np.eye(2))
    close(ge.jacobian(ge.grad(f))(t(x)), 2 * np.eye(2))


# --- several inputs and outputs ---


class Polar(ge.autograd.Function):
    """(x, y, name) -> (r, phi, x as it is); phi's gradient reads a saved output."""

    @staticmethod
    def forward(ctx, x, y, name):
        ctx.name = name
        r, phi = ge.sqrt(x * x + y * y), ge.atan2(y, x)
        ctx.save_for_backward(x, y, r)
        return r, phi, x

    @staticmethod
    def backward(ctx, gr, gphi, gx):
        assert ctx.name == "polar"
        x, y, r = ctx.saved_tensors
        return gr * x / r - gphi * y / r**2 + gx, gr * y / r + gphi * x / r**2, None


def polar(x, y):
    return ge.sqrt(x * x + y * y), ge.atan2(y, x), x


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_several_outputs_of_which_some_are_used(used):
    a, b = np.array([1.0, -2.0]), np.array([0.5, 3.0])

    def f(x, y, way):
        outputs = way(x, y)
        return sum((k + 1.0) * (outputs[k] ** 2).sum() for k in used)

    def custom(x, y):
        return Polar.apply(x, y, "polar")

    for i in (0, 1):
        close(ge.grad(f, i)(t(a), t(b), custom), ge.grad(f, i)(t(a), t(b), polar).numpy())
    x, y = leaf(a), leaf(b)
    (gx, gy) = ge.autograd.grad(f(x, y, custom), [x, y], create_graph=True, materialize_grads=True)
    if gx.requires_grad:
        hessian = ge.hessian(lambda x, y: f(x, y, polar), (0, 1))(t(a), t(b))
        total = ge.autograd.grad(
            [gx.sum(), (gy * 1).sum()], [x, y], allow_unused=True, materialize_grads=True
        )
        for k in (0, 1):
            expected = sum(hessian[i][k].numpy().sum(axis=0) for i in (0, 1))
            close(total[k], expected, 1e-11)
    primals, tangents = (t(a), t(b)), (t([1.0, 2.0]), t([-1.0, 0.5]))
    for one, other in zip(
        ge.jvp(custom, primals, tangents)[1], ge.jvp(polar, primals, tangents)[1], strict=True
    ):
        close(one, other.numpy())


def test_needs_input_grad_and_unneeded_inputs():
    seen = []

    class Product(ge.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, k):
            ctx.save_for_backward(a, b)
            return a * b * k

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            a, b = ctx.saved_tensors
            return g * b, (g * a if ctx.needs_input_grad[1] else None), None

    a = leaf()
    Product.apply(a, t(V), 1.0).sum().backward()
    assert seen == [(True, False, False)]
    close(a.grad, V)


@pytest.mark.parametrize("materialize", [True, False])
def test_unused_outputs_are_zeros_or_none(materialize):
    seen = []

    class Pair(ge.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(materialize)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            seen.append(h)
            return 2 * g + (0 if h is None else 3 * h)

    x = leaf()
    Pair.apply(x)[0].sum().backward()
    close(x.grad, [2.0, 2.0, 2.0])
    if materialize:
        assert seen[0].tolist() == [0.0, 0.0, 0.0]
    else:
        assert seen == [None]


def test_outputs_marked_non_differentiable_and_integer_outputs_ask_for_nothing():
    class Sort(ge.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            order = ge.argsort(x)
            rank = x * 0
            ctx.save_for_backward(order)
            ctx.mark_non_differentiable(rank)
            return x[order], order, rank

        @staticmethod
        def backward(ctx, g, _order, _rank):
            (order,) = ctx.saved_tensors
            back = ge.zeros(3, dtype="float64")
            back[order] = g
            return back

    x = leaf()
    values, order, rank = Sort.apply(x)
    assert values.requires_grad
    assert not order.requires_grad
    assert not rank.requires_grad
    (values * t([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [10.0, 1.0, 100.0]


def test_gradients_are_fitted_to_broadcast_inputs_and_their_dtypes():
    class Scale(ge.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            ctx.save_for_backward(x, k)
            return x * k

        @staticmethod
        def backward(ctx, g):
            x, k = ctx.saved_tensors
            return g * k, g * x  # of the output's shape: the engine sums what was broadcast

    x, k = leaf(), ge.tensor(2.0, requires_grad=True)
    Scale.apply(x, k).sum().backward()
    assert k.grad.shape == ()
    assert k.grad.dtype == "float32"
    assert k.grad.item() == X.sum()


def test_functions_that_write_to_their_arguments_change_copies():
    class Shift(ge.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            x += 1
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * (x + 1) * g

    x = leaf()
    h = x * 1
    Shift.apply(h).sum().backward()
    close(h, X)
    close(x.grad, 2 * (X + 1))


# --- once_differentiable ---


class Once(ge.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @ge.autograd.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return ge.asarray(2 * x.numpy() * g.numpy())  # NumPy: nothing here could be recorded


def test_once_differentiable_gives_the_gradient_and_refuses_its_derivative():
    x = leaf()
    Once.apply(x).sum().backward()
    close(x.grad, 2 * X)
    y = Once.apply(x).sum()
    (g,) = ge.autograd.grad(y, x, create_graph=True)
    close(g, 2 * X)
    with pytest.raises(GraphError, match=r"Once\.backward.*once_differentiable(.|\n)*hint: "):
        g.sum().backward()
    with pytest.raises(GraphError, match="once_differentiable"):
        ge.hessian(lambda x: Once.apply(x).sum())(t(X))


def test_once_differentiable_beside_parameters_that_ask_for_gradients():
    """A recorded pass alone is no reason to refuse."""
    w = leaf(2.0)
    g = ge.grad(lambda x: (Once.apply(x) * w).sum())(t(X))
    close(g, 4 * X)


# --- rules that are wrong ---


class Base(ge.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return x * y.sum()


def with_backward(result):
    return type("Wrong", (Base,), {"backward": staticmethod(lambda ctx, g: result)}).apply


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda: t(X), GraphError, "Wrong: backward returned 1 gradients for 2 arguments"),
        (lambda: (t(X),) * 3, GraphError, "Wrong: backward returned 3 gradients for 2 arguments"),
        (
            lambda: (t(X[:2]), None),
            ShapeError,
            r"Wrong: backward gave argument 0 a gradient of shape \(2,\)(.|\n)*\(3,\)",
        ),
        (
            lambda: (None, t(np.ones((3, 2)))),
            ShapeError,
            r"argument 1 a gradient of shape \(3, 2\)(.|\n)*\(2, 3\)",
        ),
    ],
)
def test_a_wrong_backward_is_named(result, error, message):
    x, y = leaf(), leaf(np.ones((2, 3)))
    with pytest.raises(error, match=message) as caught:
        with_backward(result())(x, y).sum().backward()
    assert "hint: " in str(caught.value)
    assert x.grad is None
    assert y.grad is None


def test_a_missing_or_wrong_forward_is_named():
    @ge.custom_vjp
    def bare(x):
        return x

    with pytest.raises(GraphError, match=r"custom_vjp: bare has no rule yet(.|\n)*defvjp"):
        bare(t(X))
    with pytest.raises(GraphError, match=r"custom_jvp: (.|\n)*defjvp"):
        ge.custom_jvp(lambda x: x)(t(X))

    class Number(Base):
        @staticmethod
        def forward(ctx, x):
            return 3.0

    with pytest.raises(GraphError, match="Number: forward returned float"):
        Number.apply(leaf())
    with pytest.raises(NotImplementedError, match="forward"):
        ge.autograd.Function.apply(leaf())


def test_what_forward_closes_over_is_a_constant_in_every_mode():
    """The rule speaks of the arguments only, as in PyTorch."""

    def outer(x):
        class Closes(Base):
            @staticmethod
            def forward(ctx, y):
                ctx.save_for_backward(x.detach())
                return y * x

            @staticmethod
            def backward(ctx, g):
                return g * ctx.saved_tensors[0]

        return Closes.apply(x * 3)

    close(ge.jvp(outer, (t(X),), (t(V),))[1], 3 * X * V)
    close(ge.grad(lambda x: (outer(x) * t(V)).sum())(t(X)), 3 * X * V)
