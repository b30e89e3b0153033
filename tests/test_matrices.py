"""linearize, jacobian, hessian and their products, against hand-made derivatives and each other."""

import numpy as np
import pytest
from comparisons import central, close

import gradengine as ge

RNG = np.random.default_rng(3)


def t(*values, **kwargs):
    kwargs.setdefault("dtype", "float64")
    return ge.tensor(values if len(values) != 1 else values[0], **kwargs)


# --- linearize ---


def test_linearize_is_jvp_without_running_the_function_again():
    calls = []

    def f(x, z):
        calls.append(1)
        return {"y": ge.sin(x) * z, "x": x}

    primals = (t(1.0, 2.0), t(3.0, 4.0))
    out, f_jvp = ge.linearize(f, *primals)
    count = len(calls)
    for tangents in ((t(1.0, 0.0), t(0.0, 0.0)), (t(1.0, 2.0), t(-1.0, 5.0))):
        expected = ge.jvp(f, primals, tangents)[1]
        got = f_jvp(*tangents)
        close(got["y"], expected["y"].numpy())
        close(got["x"], expected["x"].numpy())
        assert not got["y"].requires_grad
    assert len(calls) == count + 2
    close(out["y"], np.sin([1.0, 2.0]) * [3.0, 4.0])


def test_linearize_is_differentiable_where_something_outside_asks():
    w, x = t(3.0, requires_grad=True), t(2.0, requires_grad=True)
    out, f_jvp = ge.linearize(lambda x: w * x**3, x)
    (f_jvp(t(1.0)) + out).backward()  # w 3x^2 + w x^3
    assert w.grad.item() == 12.0 + 8.0
    assert x.grad.item() == 36.0 + 36.0
    d = ge.grad(lambda v: ge.linearize(lambda x: x**3, t(2.0))[1](v) ** 2)(t(1.0))
    assert d.item() == 2 * 144.0


def test_linearize_of_a_constant():
    assert ge.linearize(lambda x: t(1.0, 2.0), t(3.0))[1](t(1.0)).tolist() == [0.0, 0.0]


# --- whole matrices ---

MODES = ("reverse", "forward")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x,
        lambda x: (x * 2).T,  # the output's memory is in another order
        lambda x: x[::-1, ::2] * x.sum(),
        lambda x: x.sum(),
        lambda x: ge.broadcast_to(x[0], (2, 3)),
        lambda x: x[1, 1],
        lambda x: x[:, :0],
        lambda x: ge.zeros(4, dtype="float64"),
    ],
)
def test_jacobian_against_central_differences(f, mode):
    x = np.asarray(RNG.normal(size=(2, 3)))
    j = ge.jacobian(f, mode=mode)(t(x))
    expected = central(f, x)
    assert j.shape == expected.shape
    close(j, expected, 1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_of_nothing_with_respect_to_nothing(mode):
    j = ge.jacobian(lambda x: x * 2, mode=mode)(t(np.zeros((0, 2))))
    assert j.shape == (0, 2, 0, 2)
    j = ge.jacobian(lambda x: x.sum(axis=0), mode=mode)(t(np.zeros((0, 2))))
    assert j.shape == (2, 0, 2)
    assert j.dtype == "float64"


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_of_trees_and_argnums(mode):
    def f(a, tree):
        return {"p": a * tree["b"], "q": [a.sum()]}

    ja, jt = ge.jacobian(f, (0, 1), mode=mode)(t(1.0, 2.0), {"b": t(3.0)})["p"]
    assert ja.tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert jt["b"].tolist() == [1.0, 2.0]
    j = ge.jacobian(f, mode=mode)(t(1.0, 2.0), {"b": t(3.0)})
    assert j["q"][0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_is_differentiable(mode):
    def f(x):
        return (ge.jacobian(lambda z: z**3, mode=mode)(x) ** 2).sum()  # sum 9 x^4

    assert ge.grad(f)(t(1.0, 2.0)).tolist() == [36.0, 288.0]


@pytest.mark.parametrize("mode", MODES)
def test_a_jacobian_is_of_one_draw_of_random_numbers(mode):
    def f(x):
        return x * ge.random.rand(3, dtype="float64") + ge.random.rand(3, dtype="float64")

    ge.random.manual_seed(5)
    noise = ge.random.rand(3, dtype="float64").numpy()
    ge.random.rand(3, dtype="float64")
    after = ge.random.get_state()
    ge.random.manual_seed(5)
    close(ge.jacobian(f, mode=mode)(t(1.0, 2.0, 3.0)), np.diag(noise))
    assert ge.random.get_state() == after
    ge.random.manual_seed(5)
    close(ge.hessian(lambda x: (f(x) ** 2).sum())(t(1.0, 2.0, 3.0)), np.diag(2 * noise**2))


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_hessian_and_its_products_agree_with_scipys_formulas():
    from scipy.optimize import rosen_der, rosen_hess

    x, v = RNG.normal(size=5), RNG.normal(size=5)
    h = rosen_hess(x)
    close(ge.grad(rosenbrock)(t(x)), rosen_der(x), 1e-12)
    close(ge.hessian(rosenbrock)(t(x)), h, 1e-11)
    close(ge.jacobian(ge.grad(rosenbrock))(t(x)), h, 1e-11)
    close(ge.hvp(rosenbrock, (t(x),), (t(v),)), h @ v, 1e-11)
    close(ge.vhp(rosenbrock, (t(x),), (t(v),)), v @ h, 1e-11)


def test_hessian_blocks_of_several_arguments():
    def f(a, b):
        return (a**2 * b).sum()

    h = ge.hessian(f, (0, 1))(t(2.0, 3.0), t(5.0, 7.0))
    assert h[0][0].tolist() == [[10.0, 0.0], [0.0, 14.0]]
    assert h[0][1].tolist() == h[1][0].tolist() == [[4.0, 0.0], [0.0, 6.0]]
    assert h[1][1].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    pa, pb = ge.hvp(f, (t(2.0, 3.0), t(5.0, 7.0)), (t(1.0, 0.0), t(0.0, 1.0)))
    assert (pa.tolist(), pb.tolist()) == ([10.0, 6.0], [4.0, 0.0])
    qa, qb = ge.vhp(f, (t(2.0, 3.0), t(5.0, 7.0)), (t(1.0, 0.0), t(0.0, 1.0)))
    assert (qa.tolist(), qb.tolist()) == ([10.0, 6.0], [4.0, 0.0])


def test_hvp_of_a_linear_function_is_zero():
    assert ge.hvp(lambda x: x.sum(), (t(1.0, 2.0),), (t(1.0, 1.0),)).tolist() == [0.0, 0.0]
    assert ge.hessian(lambda x: x.sum())(t(1.0, 2.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
