"""The transforms, alone and nested: grad, vjp, jvp, and any expression in all modes.

The references are derivatives worked out by hand, central differences in float64, and each other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from comparisons import central, close
from hypothesis import given, settings
from hypothesis import strategies as st

import gradengine as ge
from gradengine.errors import DTypeError, GraphError, ShapeError

RNG = np.random.default_rng(3)


def t(*values, **kwargs):
    kwargs.setdefault("dtype", "float64")
    return ge.tensor(values if len(values) != 1 else values[0], **kwargs)


# --- grad and value_and_grad ---


def test_a_numpy_scalar_keeps_its_precision():
    assert ge.grad(lambda x: x * x)(np.float64(3)).dtype == np.float64
    y, t = ge.jvp(lambda x: x * x, (np.float64(3),), (np.float64(1),))
    assert (y.dtype, t.dtype) == (np.float64, np.float64)
    assert ge.grad(lambda x: x * x)(3.0).dtype == np.float32


def test_grad_of_scalars_arrays_and_python_numbers():
    assert ge.grad(lambda x: x**3)(2.0).item() == 12.0
    assert ge.grad(lambda x: x**3)(2.0).dtype == "float32"
    g = ge.grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    assert g.dtype == "float64"
    assert g.tolist() == [2.0, 4.0]
    a, b = ge.grad(lambda x: x[0] * x[1])([2.0, 3.0])  # a list is a container, not an array
    assert (a.item(), b.item()) == (3.0, 2.0)


def test_value_and_grad_gives_both():
    value, g = ge.value_and_grad(lambda x: (x * x).sum())(t(1.0, 2.0))
    assert value.item() == 5.0
    assert not value.requires_grad
    assert not g.requires_grad
    assert g.tolist() == [2.0, 4.0]


def test_argnums_choose_and_order_the_gradients():
    def f(a, b, c):
        return a * b**2 * c**3

    a, b, c = 2.0, 3.0, 5.0
    assert ge.grad(f, 1)(a, b, c).item() == 2 * a * b * c**3
    gc, ga = ge.grad(f, (2, 0))(a, b, c)
    assert (gc.item(), ga.item()) == (3 * a * b**2 * c**2, b**2 * c**3)
    assert ge.grad(f, -1)(a, b, c).item() == gc.item()
    (only,) = ge.grad(f, (0,))(a, b, c)
    assert only.item() == ga.item()


def test_keyword_arguments_and_other_positions_pass_through():
    def f(x, power, *, scale=1.0, name=""):
        assert name == "kept"
        return scale * x**power

    assert ge.grad(f)(3.0, 2, scale=10.0, name="kept").item() == 60.0


def test_has_aux_hands_out_what_the_function_says_beside():
    def f(x):
        return (x * x).sum(), {"double": x * 2, "note": "text", "n": 3}

    (value, aux), g = ge.value_and_grad(f, has_aux=True)(t(1.0, 2.0))
    assert value.item() == 5.0
    assert g.tolist() == [2.0, 4.0]
    assert aux["double"].tolist() == [2.0, 4.0]
    assert not aux["double"].requires_grad
    assert (aux["note"], aux["n"]) == ("text", 3)
    g, aux = ge.grad(f, has_aux=True)(t(1.0, 2.0))
    assert g.tolist() == [2.0, 4.0]


def test_aux_is_differentiable_from_outside():
    def outer(x):
        _, aux = ge.grad(lambda z: ((z * z).sum(), z * z), has_aux=True)(x)
        return aux.sum()

    assert ge.grad(outer)(t(1.0, 2.0)).tolist() == [2.0, 4.0]
    x = t(1.0, 2.0)
    assert ge.jvp(outer, (x,), (t(1.0, 1.0),))[1].item() == 6.0


@dataclass(frozen=True)
class Layer:
    w: Any
    b: Any


class Point(NamedTuple):
    x: Any
    y: Any


def test_gradients_have_the_structure_of_the_argument():
    tree = {
        "layers": [Layer(t(2.0), t(3.0)), Layer(t(5.0), None)],
        "point": Point(t(1.0), (t(4.0),)),
        "none": None,
    }

    def f(tree, k):
        a, b = tree["layers"]
        return k * a.w * a.b * b.w + tree["point"].x ** 2 * tree["point"].y[0]

    g = ge.grad(f)(tree, 10.0)
    assert list(g) == ["layers", "point", "none"]
    assert isinstance(g["layers"][0], Layer)
    assert isinstance(g["point"], Point)
    assert g["none"] is None
    assert g["layers"][1].b is None
    assert g["layers"][0].w.item() == 150.0
    assert g["layers"][0].b.item() == 100.0
    assert g["layers"][1].w.item() == 60.0
    assert g["point"].x.item() == 8.0
    assert g["point"].y[0].item() == 1.0


def test_what_the_output_does_not_depend_on_has_gradient_zero():
    g = ge.grad(lambda tree: tree["a"] ** 2)({"a": t(3.0), "b": t(1.0, 2.0)})
    assert g["b"].tolist() == [0.0, 0.0]
    assert g["b"].dtype == "float64"
    assert ge.grad(lambda x: t(3.0))(2.0).item() == 0.0


def test_a_caller_tensor_is_left_alone():
    x = t(1.0, 2.0, requires_grad=True)
    node = x.node
    g = ge.grad(lambda x: (x**3).sum())(x)
    assert x.grad is None
    assert x.node is node
    assert g.tolist() == [3.0, 12.0]


def test_grad_works_where_recording_is_off_and_records_nothing_then():
    x = t(2.0, requires_grad=True)
    with ge.no_grad():
        g = ge.grad(lambda x: x**3)(x)
        h = ge.grad(ge.grad(lambda x: x**3))(x)
    assert g.item() == h.item() == 12.0
    assert not g.requires_grad


def test_no_grad_inside_makes_a_constant_in_every_mode():
    """Forward and reverse mode agree on what a target network or a stopped branch is."""

    def f(x):
        with ge.no_grad():
            target = x**2
        return (x * target).sum()

    x, v = t(2.0, 3.0), t(1.0, 10.0)
    assert ge.grad(f)(x).tolist() == [4.0, 9.0]
    assert ge.jvp(f, (x,), (v,))[1].item() == 4.0 + 90.0
    with ge.no_grad():
        assert ge.jvp(f, (x,), (v,))[1].item() == 4.0 + 90.0
    close(ge.hvp(f, (x,), (v,)), ge.vhp(f, (x,), (v,)).numpy())
    close(ge.hessian(f)(x), np.zeros((2, 2)))
    assert ge.jvp(lambda x: x.detach() * x, (x,), (v,))[1].tolist() == [2.0, 30.0]


def test_names_and_documentation_survive():
    def loss(x):
        """How far off."""
        return x

    assert ge.grad(loss).__name__ == "grad(loss)"
    assert ge.grad(loss).__doc__ == "How far off."


# --- closures ---


def test_a_network_inside_a_differential_equation():
    """u_x = grad(u)(x); its loss reaches the parameters u closes over."""
    a, b = t(2.0, requires_grad=True), t(0.5, requires_grad=True)

    def u(x):
        return a * ge.sin(b * x)

    x = t(1.5)
    u_x = ge.grad(u)(x)
    u_xx = ge.grad(ge.grad(u))(x)
    loss = (u_x**2) + u_xx
    loss.backward()
    # u_x = a b cos(bx), u_xx = -a b^2 sin(bx)
    A, B, X = 2.0, 0.5, 1.5
    s, c = np.sin(B * X), np.cos(B * X)
    close(u_x, A * B * c)
    close(u_xx, -A * B * B * s)
    close(a.grad, 2 * A * B * B * c * c - B * B * s)
    close(b.grad, 2 * A * B * c * (A * c - A * B * X * s) - 2 * A * B * s - A * B * B * X * c)


def test_the_value_of_a_function_with_parameters_stays_on_their_tape():
    w = t(3.0, requires_grad=True)
    value, g = ge.value_and_grad(lambda x: w * x**2)(t(2.0))
    assert value.requires_grad
    assert g.requires_grad
    (value + g).backward()
    assert w.grad.item() == 4.0 + 4.0


def test_vjp_and_jvp_reach_closures():
    w = t(3.0, requires_grad=True)
    y, pullback = ge.vjp(lambda x: w * x**2, t(2.0))
    (pullback(t(1.0))[0] + y).backward()
    assert w.grad.item() == 4.0 + 4.0
    w.grad = None
    y, dy = ge.jvp(lambda x: w * x**2, (t(2.0),), (t(1.0),))
    (y + dy).backward()
    assert w.grad.item() == 8.0


def test_an_argument_that_asks_for_a_gradient_gets_it_through_the_transform():
    x = t(2.0, requires_grad=True)
    ge.grad(lambda x: x**3)(x).backward()
    assert x.grad.item() == 12.0


def test_loss_of_a_derivative_over_a_batch():
    w = ge.tensor(RNG.normal(size=(1, 8)), requires_grad=True)
    x = ge.tensor(RNG.normal(size=(5, 1)))

    def u(x):
        return ge.tanh(x @ w).sum(axis=1)

    u_x = ge.grad(lambda x: u(x).sum())(x)
    (u_x**2).mean().backward()

    def loss(w):
        s = 1 - ge.tanh(x @ w) ** 2
        return (((s * w).sum(axis=1)) ** 2).mean()

    close(w.grad, central(loss, w.numpy()), 1e-7)


# --- vjp ---


def test_the_pullback_can_be_called_again():
    y, pullback = ge.vjp(lambda x: x * x, t(1.0, 3.0))
    for k in (1.0, 10.0):
        assert pullback(t(k, 0.0))[0].tolist() == [2.0 * k, 0.0]
    assert y.tolist() == [1.0, 9.0]


def test_vjp_of_trees():
    def f(a, tree):
        return {"sum": a + tree["b"], "parts": (a * tree["b"], 7.0)}

    out, pullback = ge.vjp(f, t(2.0), {"b": t(3.0)})
    assert out["sum"].item() == 5.0
    ga, gtree = pullback({"parts": (t(1.0), 0.0), "sum": t(10.0)})
    assert (ga.item(), gtree["b"].item()) == (13.0, 12.0)


def test_vjp_has_aux():
    out, pullback, aux = ge.vjp(lambda x: (x * x, x + 1), t(3.0), has_aux=True)
    assert (out.item(), aux.item(), pullback(t(1.0))[0].item()) == (9.0, 4.0, 6.0)


def test_the_pullback_is_differentiable_in_its_cotangent_and_through_its_primals():
    def product(x, g):
        return ge.vjp(lambda z: z**3, x)[1](g)[0].sum()  # 3 x^2 g

    gx, gg = ge.grad(product, (0, 1))(t(2.0, 3.0), t(5.0, 7.0))
    assert gx.tolist() == [60.0, 126.0]
    assert gg.tolist() == [12.0, 27.0]
    x = t(2.0, requires_grad=True)
    _, pullback = ge.vjp(lambda z: z**3, x)
    (g,) = pullback(t(1.0, requires_grad=True))
    g.backward()
    assert x.grad.item() == 12.0


def test_a_raw_cotangent_takes_the_dtype_of_its_output():
    y, pullback = ge.vjp(lambda x: x * x, ge.tensor([1.0, 3.0]))
    (g,) = pullback(np.array([1.0, 1.0]))
    assert y.dtype == g.dtype == "float32"
    assert g.tolist() == [2.0, 6.0]


# --- jvp ---


def test_jvp_is_the_directional_derivative():
    y, dy = ge.jvp(lambda x: ge.sin(x) * x, (t(1.0, 2.0),), (t(1.0, -1.0),))
    x = np.array([1.0, 2.0])
    close(y, np.sin(x) * x)
    close(dy, (np.cos(x) * x + np.sin(x)) * [1.0, -1.0])
    assert not y.requires_grad
    assert not dy.requires_grad


def test_jvp_of_trees_matches_by_key_not_by_order():
    primals = ({"a": t(2.0), "b": t(3.0)}, [t(5.0)])
    tangents = ({"b": t(1.0), "a": t(0.0)}, (t(10.0),))
    y, dy = ge.jvp(lambda d, c: {"y": d["a"] * d["b"] * c[0], "k": t(1.0)}, primals, tangents)
    assert y["y"].item() == 30.0
    assert dy["y"].item() == 2 * 5 * 1.0 + 6 * 10.0
    assert dy["k"].item() == 0.0


def test_jvp_has_aux():
    y, dy, aux = ge.jvp(lambda x: (x * x, x + 1), (t(3.0),), (t(1.0),), has_aux=True)
    assert (y.item(), dy.item(), aux.item()) == (9.0, 6.0, 4.0)
    assert type(aux) is ge.Tensor


def test_jvp_keeps_no_tape():
    x = t(np.ones(100))

    def f(x):
        assert x.requires_grad is False
        y = ge.exp(x)
        assert y.grad_fn is None
        return y

    ge.jvp(f, (x,), (x,))


def test_jvp_of_python_numbers_and_a_result_that_does_not_depend():
    y, dy = ge.jvp(lambda x, z: x * z, (2.0, 3.0), (1.0, 0.0))
    assert (y.item(), dy.item()) == (6.0, 3.0)
    y, dy = ge.jvp(lambda x: 5.0, (2.0,), (1.0,))
    assert (y.item(), dy.item()) == (5.0, 0.0)


def test_the_dtype_of_a_tangent_is_its_primals():
    y, dy = ge.jvp(lambda x: x * 2.0, (ge.tensor(1.0),), (np.float64(1.0),))
    assert y.dtype == dy.dtype == "float32"


# --- nesting ---


def test_perturbations_are_not_confused():
    """d/dx x * d/dy (x + y) is 1, not 2, in every mixture of modes."""

    def forward(f):
        return lambda x: ge.jvp(f, (x,), (ge.ones_like(ge.asarray(x)),))[1]

    def reverse(f):
        return lambda x: ge.vjp(f, x)[1](t(1.0))[0]

    for outer in (ge.grad, forward, reverse):
        for inner in (ge.grad, forward, reverse):
            d = outer(lambda x, inner=inner: x * inner(lambda y: x + y)(t(1.0)))
            assert d(t(1.0)).item() == 1.0, (outer, inner)
            d = outer(lambda x, inner=inner: x * inner(lambda y: x * y * y)(x))  # x * 2x^2
            assert d(t(3.0)).item() == 54.0, (outer, inner)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_nth_derivative_in_every_mixture_of_modes(order):
    def forward(f):
        return lambda x: ge.jvp(f, (x,), (t(1.0),))[1]

    expected = [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin, np.cos][order - 1](0.7)
    for choice in range(2**order):
        f = ge.sin
        for bit in range(order):
            f = (ge.grad if choice >> bit & 1 else forward)(f)
        close(f(t(0.7)), expected)


def test_jvp_of_grad_of_jvp_through_every_kind_of_op():
    """Matrix products, reductions, indexing, masks and writes, three levels deep."""
    a = RNG.normal(size=(3, 3))
    v = RNG.normal(size=3)

    def f(x):
        y = ge.tanh(t(a) @ x)
        z = y * 1
        z[0] = y[1] * y[2]
        return (ge.exp(z) * ge.where(x > 0, x, 2 * x)).sum() + (x[[0, 0, 2]] ** 3).max()

    x = np.array([0.3, -0.4, 0.9])

    def directional(x):
        return ge.jvp(f, (x,), (t(v),))[1]

    g = ge.grad(directional)(t(x))
    close(g, ge.hvp(f, (t(x),), (t(v),)).numpy())
    close(g, central(lambda x: ge.grad(f)(x), x) @ v, 1e-6)
    third = ge.jvp(ge.grad(directional), (t(x),), (t(v),))[1]
    close(third, central(lambda x: ge.grad(directional)(x), x) @ v, 1e-6)


def test_autograd_grad_and_backward_inside_transforms():
    def f(x):
        (g,) = ge.autograd.grad((x**3).sum(), x, create_graph=True)
        return (g * g).sum()  # 9 x^4

    assert ge.grad(f)(t(1.0, 2.0)).tolist() == [36.0, 288.0]

    def inner(x):
        w = t(5.0, requires_grad=True)
        (w * x.detach()).sum().backward()
        return x.sum() * w.grad

    assert ge.grad(inner)(t(1.0, 2.0)).tolist() == [3.0, 3.0]


def test_grad_inside_jvp_with_autograd():
    def f(x):
        (g,) = ge.autograd.grad((x**3).sum(), x, create_graph=True)
        return g

    x = t(1.0, 2.0, requires_grad=True)
    with pytest.raises(GraphError):  # nothing in f asked for a gradient: as without jvp
        ge.jvp(f, (t(1.0, 2.0),), (t(1.0, 1.0),))
    assert ge.jvp(f, (x,), (t(1.0, 1.0),))[1].tolist() == [6.0, 12.0]


def test_backward_inside_jvp_is_refused_with_the_remedy():
    x = t(2.0, requires_grad=True)

    def f(x):
        (x * x).backward()
        return x

    with pytest.raises(GraphError, match=r"tangent(.|\n)*ge\.grad inside ge\.jvp"):
        ge.jvp(f, (x,), (t(1.0),))
    assert x.grad is None


# --- any expression: all modes against each other ---

UNARY = [ge.sin, ge.tanh, lambda x: x * x, ge.exp, lambda x: x.T, lambda x: x[::-1], lambda x: -x]
BINARY = [
    lambda a, b: a * b,
    lambda a, b: a - b,
    lambda a, b: a @ b,
    lambda a, b: a / (2 + b * b),
    lambda a, b: a * b.sum(axis=0),
    lambda a, b: ge.where(a > b, a, b),
]
EXPRESSIONS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)), max_size=6
)


@settings(deadline=None, database=None, derandomize=True, max_examples=60)
@given(EXPRESSIONS)
def test_all_modes_agree_on_any_expression(steps):
    def f(x):
        pool = [x]
        for kind, i, j in steps:
            a, b = pool[i % len(pool)], pool[j % len(pool)]
            k = kind % (len(UNARY) + len(BINARY))
            y = UNARY[k](a) if k < len(UNARY) else BINARY[k - len(UNARY)](a, b)
            pool.append(ge.tanh(y))
        return pool[-1] * x.sum()

    rng = np.random.default_rng(len(steps))
    x, u, v, w = (rng.normal(size=(3, 3)) for _ in range(4))

    def g(z):
        return (f(z) * t(w)).sum()

    _, dy = ge.jvp(f, (t(x),), (t(u),))
    _, pullback = ge.vjp(f, t(x))
    (back,) = pullback(t(v))
    close((dy * t(v)).sum(), (back * t(u)).sum().item(), 1e-9)
    close(ge.linearize(f, t(x))[1](t(u)), dy.numpy(), 1e-9)
    h = 1e-6
    close(dy, ((f(t(x + h * u)) - f(t(x - h * u))) / (2 * h)).numpy(), 1e-5)
    hv = ge.hvp(g, (t(x),), (t(u),))
    close(hv, ge.vhp(g, (t(x),), (t(u),)).numpy(), 1e-8)
    leaf = t(x, requires_grad=True)
    g(leaf).backward(create_graph=True)
    gradient, leaf.grad = leaf.grad, None
    close(gradient, ge.grad(g)(t(x)).numpy(), 1e-10)
    (gradient * t(u)).sum().backward()
    close(leaf.grad if leaf.grad is not None else 0 * leaf, hv.numpy(), 1e-8)


# --- bad input ---


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            GraphError,
            r"grad: .*shape \(2,\)(.|\n)*jacobian",
            lambda: ge.grad(lambda x: x * x)(t(1.0, 2.0)),
        ),
        (GraphError, "returned float, no Tensor", lambda: ge.grad(lambda x: 3.0)(1.0)),
        (GraphError, "returned tuple(.|\n)*has_aux", lambda: ge.grad(lambda x: (x, x))(1.0)),
        (DTypeError, "int64(.|\n)*hint: ", lambda: ge.grad(lambda x: x)(3)),
        (DTypeError, "bool", lambda: ge.grad(lambda x: x.sum())(np.array([True]))),
        (DTypeError, "int32", lambda: ge.grad(lambda d: d["a"])({"a": np.int32(1)})),
        (ShapeError, "argnums 2(.|\n)*1 positional", lambda: ge.grad(lambda x: x, 2)(1.0)),
        (ShapeError, "twice", lambda: ge.grad(lambda x: x, (0, -1))(1.0)),
        (ValueError, "mode 'both'", lambda: ge.jacobian(lambda x: x, mode="both")),
        (
            ShapeError,
            r"vjp: a cotangent has shape \(3,\), its output \(2,\)",
            lambda: ge.vjp(lambda x: x, t(1.0, 2.0))[1](t(1.0, 2.0, 3.0)),
        ),
        (
            ShapeError,
            r"vjp: a cotangent has shape \(3,\)",
            lambda: ge.vjp(lambda x: ge.zeros(2), t(1.0))[1](t(1.0, 2.0, 3.0)),
        ),
        (
            ShapeError,
            r"vjp: cotangents hold a tuple of 2 where one Tensor",
            lambda: ge.vjp(lambda x: x, t(1.0))[1]((t(1.0), t(1.0))),
        ),
        (
            ShapeError,
            r"vjp: cotangents hold a dict with keys \['b'\]",
            lambda: ge.vjp(lambda x: {"a": x}, t(1.0))[1]({"b": t(1.0)}),
        ),
        (
            ShapeError,
            r"jvp: an argument has shape \(2,\), its tangent \(\)",
            lambda: ge.jvp(lambda x: x, (t(1.0, 2.0),), (t(1.0),)),
        ),
        (ShapeError, "jvp: tangents hold a tuple of 2", lambda: ge.jvp(abs, (1.0,), (1.0, 1.0))),
        (
            DTypeError,
            r"jvp: primals is one Tensor(.|\n)*\(x,\)",
            lambda: ge.jvp(abs, t(1.0), t(1.0)),
        ),
        (DTypeError, "hvp: primals is one Tensor", lambda: ge.hvp(abs, t(1.0), t(1.0))),
        (DTypeError, "vhp: primals is one Tensor", lambda: ge.vhp(abs, t(1.0), t(1.0))),
        (DTypeError, "jvp: an argument .* is int64", lambda: ge.jvp(abs, (1,), (1,))),
        (DTypeError, "jvp: a tangent is complex", lambda: ge.jvp(abs, (1.0,), (1j,))),
        (DTypeError, "vjp: a cotangent is complex", lambda: ge.vjp(abs, t(1.0))[1](1j)),
        (
            ShapeError,
            "linearize: tangents hold",
            lambda: ge.linearize(lambda x: x, t(1.0))[1](t(1.0), t(2.0)),
        ),
        (
            ShapeError,
            r"linearize: gradient has shape \(2,\)",
            lambda: ge.linearize(lambda x: x, t(1.0))[1](t(1.0, 2.0)),
        ),
        (GraphError, "grad: no output requires", lambda: ge.autograd.grad(t(1.0), t(2.0))),
        (
            GraphError,
            r"inputs\[0\] \(\) does not require",
            lambda: ge.autograd.grad(t(1.0, requires_grad=True) * 2, t(2.0)),
        ),
    ],
)
def test_bad_input_is_refused_with_a_remedy(error, message, call):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "hint: " in str(caught.value)
