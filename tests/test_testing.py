"""The checker is itself tested: check_grads must fail on every kind of wrong rule, planted here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine.errors import DTypeError
from gradengine.op import Op, case, pointwise, primitive, real, registry
from gradengine.pulls import pull_binary, pull_unary
from gradengine.testing import GradientError, cases, check_grads, op_cases
from gradengine.testing.cases import describe_call

BOTH = ("reverse", "forward")
X = np.array([[0.5, -1.25, 2.0], [0.75, 1.5, -0.5]])


@pytest.fixture
def own_ops() -> Iterator[None]:
    """Ops stated in a test leave the registry again."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def custom(backward: Any, forward: Any = lambda x: x**3) -> Any:
    """A function of one argument with a reverse rule `backward(x, g)` of our choice."""
    f = ge.custom_vjp(forward)
    f.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return f


def custom_forward(rule: Any, forward: Any = lambda x: x**3) -> Any:
    """A function of one argument with a tangent rule `rule(x, t)` of our choice."""
    f = ge.custom_jvp(forward)
    f.defjvp(lambda primals, tangents: (forward(*primals), rule(*primals, *tangents)))
    return f


# --- what is right passes ---


@pytest.mark.parametrize("modes", [("reverse",), ("forward",), BOTH])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_rules_pass(order: int, modes: tuple[str, ...]):
    check_grads(lambda x: ge.tanh(x) * x, (X,), order=order, modes=modes)
    check_grads(custom(lambda x, g: 3 * x * x * g), (X,), order=order, modes=modes)
    check_grads(custom_forward(lambda x, t: 3 * x * x * t), (X,), order=order, modes=modes)


@dataclass
class Layer:
    w: Any
    b: Any


def test_arguments_may_be_nested_and_integers_are_held_fixed():
    layer = Layer(w=ge.tensor(X), b=np.array([0.5, 1.0, 2.0]))
    index = np.array([0, 2])

    def f(tree: Any, picks: Any, power: int) -> Any:
        inner = tree["layer"]
        return {"a": inner.w**power + inner.b, "b": [inner.w[:, picks].sum()]}

    check_grads(f, ({"layer": layer}, index, 2))


def test_a_single_argument_needs_no_tuple():
    check_grads(ge.tanh, X)
    check_grads(lambda d: d["x"] * d["y"], {"x": X, "y": X + 1})


def test_arguments_are_left_as_they_were():
    x, t = X.copy(), ge.tensor(X, requires_grad=True)
    check_grads(lambda a, b: a * b, (x, t))
    assert (x == X).all()
    assert t.grad is None
    assert t.is_leaf


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_low_precision_gets_a_wider_tolerance(dtype: str):
    check_grads(lambda x: ge.tanh(x) * x, (X.astype(dtype),))
    with pytest.raises(GradientError):
        check_grads(custom(lambda x, g: 4 * x * x * g), (X.astype(dtype),))


def test_a_function_that_computes_in_float32_itself():
    check_grads(lambda x: ge.tanh(x.astype("float32")), (X,), rtol=1e-3, atol=1e-4)


def test_steep_functions_are_resolved_by_smaller_steps():
    check_grads(lambda x: ge.tanh(40 * x), (np.array([0.01, -0.03, 0.02]),))


def test_empty_and_scalar_arguments():
    check_grads(lambda x: x * x, (np.zeros((0, 3)),))
    check_grads(lambda x: x * x, (np.array(1.5),))


# --- what is wrong fails, and says where ---


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-6, 0.5, -1, 2])
def test_wrong_vjp(factor: float):
    wrong = custom(lambda x, g: factor * 3 * x * x * g)
    with pytest.raises(GradientError, match=r"order 1, reverse mode of f, args\[0\]"):
        check_grads(wrong, (X,), modes=("reverse",))


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-6, 0.5, -1, 2])
def test_wrong_jvp(factor: float):
    wrong = custom_forward(lambda x, t: factor * 3 * x * x * t)
    with pytest.raises(GradientError, match=r"order 1, forward mode of f, args\[0\], output 0 \["):
        check_grads(wrong, (X,), modes=("forward",))


@pytest.mark.parametrize(
    ("modes", "where"),
    [
        (("reverse",), r"order 2, reverse mode of vjp\(f\), args\[0\]"),
        (("forward",), r"order 2, forward mode of jvp\(f\), args\[0\]"),
    ],
)
def test_wrong_second_order_with_right_first_order(modes: tuple[str, ...], where: str):
    f = custom if modes == ("reverse",) else custom_forward
    wrong = f(lambda x, g: 3 * x.detach() ** 2 * g)
    check_grads(wrong, (X,), order=1, modes=modes)
    with pytest.raises(GradientError, match=where):
        check_grads(wrong, (X,), order=2, modes=modes)


def test_small_skew_of_the_second_order_alone():
    def backward(x: Any, g: Any) -> Any:
        return 3 * (x.detach() + (x - x.detach()) * (1 + 1e-6)) ** 2 * g

    check_grads(custom(backward), (X,), order=1)
    with pytest.raises(GradientError, match="order 2"):
        check_grads(custom(backward), (X,), order=2)


def test_one_wrong_element_of_many():
    mask = np.ones(1000)
    mask[617] += 1e-4
    x = np.linspace(0.5, 2, 1000)
    with pytest.raises(GradientError, match=r"forward mode of f, args\[0\], output 0 \[617\]"):
        check_grads(custom_forward(lambda x, t: 3 * x * x * t * mask), (x,), modes=("forward",))
    with pytest.raises(GradientError, match="reverse mode"):
        check_grads(custom(lambda x, g: 3 * x * x * g * mask), (x,), modes=("reverse",))


def test_wrong_rule_of_the_second_argument_only():
    f = ge.custom_vjp(lambda a, b: a * b)
    f.defvjp(lambda a, b: (a * b, (a, b)), lambda saved, g: (g * saved[1], -g * saved[0]))
    with pytest.raises(GradientError, match=r"reverse mode of f, args\[1\]"):
        check_grads(f, (X, X + 3), modes=("reverse",))


def test_error_that_depends_on_which_arguments_are_differentiated():
    def f(a: Any, b: Any) -> Any:
        both = a.requires_grad and b.requires_grad
        return a * b + (b.detach() * 0 if not both else b - b.detach())

    with pytest.raises(GradientError, match=r"args\[1\]"):
        check_grads(f, (X, X + 3), order=1, modes=("reverse",))


def test_forgotten_broadcast_in_a_vjp():
    f = ge.custom_vjp(lambda a, b: a * b)
    f.defvjp(
        lambda a, b: (a * b, (a, b)),
        lambda saved, g: (g * saved[1], (g * saved[0])[0]),  # the first row instead of the sum
    )
    check_grads(f, (X[:1], np.ones(3)), modes=("reverse",), order=1)
    with pytest.raises(GradientError, match=r"args\[1\]"):
        check_grads(f, (X, np.ones(3)), modes=("reverse",))


def test_forgotten_broadcast_in_a_jvp():
    f = ge.custom_jvp(lambda a, b: a + b)
    f.defjvp(lambda p, t: (p[0] + p[1], t[1]))
    with pytest.raises(GradientError, match=r"tangent of output 0 is \(3,\) float64, its output"):
        check_grads(f, (X, np.ones(3)), modes=("forward",))


def test_wrong_dtype_of_a_tangent():
    f = custom_forward(lambda x, t: (3 * x * x * t).astype("float32"))
    with pytest.raises(GradientError, match=r"tangent of output 0 is \(2, 3\) float32"):
        check_grads(f, (X,), modes=("forward",))


@pytest.mark.usefixtures("own_ops")
def test_wrong_dtype_and_shape_of_a_gradient(monkeypatch: pytest.MonkeyPatch):
    square = pointwise("own_square", forward=lambda xp, x: x * x, partial=lambda y, x: 2 * x)
    right = square.op.pull
    for change, shown in [
        (lambda c: c.astype("float32"), r"\(2, 3\) float32"),
        (lambda c: c.sum(axis=0), r"\(3,\) float64"),
    ]:

        def pull(node: Any, g: Any, graph: bool, change: Any = change) -> Any:
            return [(p, change(c)) for p, c in right(node, g, graph)]

        monkeypatch.setattr(square.op, "pull", pull)
        with pytest.raises(GradientError, match="the gradient is " + shown):
            check_grads(square, (X,), order=1, modes=("reverse",))


@pytest.mark.usefixtures("own_ops")
def test_modes_that_disagree_by_less_than_differences_can_show():
    @primitive(linear=True, cases=[case((2, 3))])
    def own_triple(xp: Any, x: Any) -> Any:
        return 3 * x

    @own_triple.adjoint
    def _(g: Any, _y: Any, _x: Any) -> Any:
        return 3 * (1 + 1e-8) * g

    for mode in BOTH:
        check_grads(own_triple, (X,), modes=(mode,))
    with pytest.raises(GradientError, match=r"<J'c, t> and <c, jvp>: .* \(allowed 1e-09\)"):
        check_grads(own_triple, (X,))


@pytest.mark.usefixtures("own_ops")
def test_none_where_a_gradient_should_be():
    @primitive(cases=[case((2, 3))])
    def own_double(xp: Any, x: Any) -> Any:
        return 2 * x

    @own_double.adjoint
    def _(g: Any, _y: Any, _x: Any) -> Any:
        return None

    with pytest.raises(GradientError, match=r"computed 0,.*\n  hint: no gradient arrived"):
        check_grads(own_double, (X,), modes=("reverse",))


def test_a_function_that_leaves_the_tape():
    with pytest.raises(GradientError, match="no gradient arrived"):
        check_grads(lambda x: x.detach() * 2, (X,), modes=("reverse",))
    with pytest.raises(GradientError, match="returned ndarray, no float Tensor"):
        check_grads(lambda x: np.ones(3), (X,))


def test_nan_never_passes():
    with pytest.raises(GradientError, match="computed nan"):
        check_grads(custom(lambda x, g: g * np.nan), (X,), modes=("reverse",))
    with pytest.raises(GradientError, match="f itself is NaN near the arguments"):
        check_grads(lambda x: x * np.nan, (X,))


def test_a_value_that_changes_is_found():
    random = np.random.default_rng(0)
    with pytest.raises(GradientError, match="must be deterministic"):
        check_grads(lambda x: x * random.uniform(), (X,))
    with pytest.raises(GradientError, match="order 1"):
        check_grads(lambda x: x * 2 if x.requires_grad else x * 3, (X,), modes=("reverse",))


def test_a_kink_is_reported_not_smoothed():
    with pytest.raises(GradientError):
        check_grads(lambda x: ge.maximum(x, 0.0), (np.array([0.0, 1.0]),))


def test_the_message_holds_everything():
    with pytest.raises(AssertionError) as caught:
        check_grads(custom(lambda x, g: 6 * x * x * g), (np.array([2.0]),), modes=("reverse",))
    assert re.fullmatch(
        r"check_grads: order 1, reverse mode of f, args\[0\], <c, J t>: "
        r"numerical (\S+), computed (\S+), relative error 0\.5 \(allowed 1e-07\)\n  hint: .+",
        str(caught.value),
    )
    found = re.search(r"numerical (\S+), computed (\S+), ", str(caught.value))
    assert found
    numerical, computed = map(float, found.groups())
    assert computed == pytest.approx(2 * numerical, rel=1e-9)


def test_bad_calls():
    with pytest.raises(ValueError, match="modes"):
        check_grads(ge.tanh, (X,), modes=("backward",))
    with pytest.raises(DTypeError, match="no argument is a float array"):
        check_grads(ge.tanh, (np.arange(3), 2.0))


def test_more_directions_and_other_seeds():
    for seed in range(5):
        check_grads(lambda x: ge.tanh(x) * x, (X,), seed=seed, directions=3)


# --- a skew of 1e-6 in each derivative of each op ---


SKEW = 1 + 1e-6


def _skewed(rule: Any, i: int | None = None) -> Any:
    """A rule whose result (or only its cotangent `i`) is too large by one part in a million."""
    if not callable(rule):
        return rule if rule is None else rule * SKEW

    @wraps(rule)  # what it asks for is read off its signature
    def wrong(*args: Any, **params: Any) -> Any:
        found = rule(*args, **params)
        if i is None:
            return None if found is None else found * SKEW
        return [c * SKEW if k == i and c is not None else c for k, c in enumerate(found)]

    return wrong


def _rules(op: Op) -> list[tuple[str, int]]:
    if op.partials is not None:
        return [("partials", i) for i, d in enumerate(op.partials) if d is not None and d != 0]
    if op.joint is not None and not op.adjoints:
        return [("joint", i) for i in range(op.arity or 2)]
    return [("adjoints", i) for i in op.adjoints]


def _plant(op: Op, kind: str, i: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "partials":
        rules = op.partials or ()
        wrong = tuple(_skewed(d) if k == i else d for k, d in enumerate(rules))
        monkeypatch.setattr(op, "partials", wrong)
        if op.pull != op.pull_general:  # the way back of such rows is made from the rules
            monkeypatch.setattr(op, "pull", {1: pull_unary, 2: pull_binary}[len(rules)](op))
    elif kind == "joint":
        monkeypatch.setattr(op, "joint", _skewed(op.joint, i))
    else:
        monkeypatch.setitem(op.adjoints, i, _skewed(op.adjoints[i]))


def _telling_call(op: Op, i: int) -> Any:
    """The first generated call whose result moves when float input `i` does."""
    for args, params in cases(op, broadcast=False):
        x = args[i] if i < len(args) else None
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or not x.size:
            continue

        def of_one(x: Any, args: Any = args, params: Any = params) -> Any:
            return op.function(*args[:i], x, *args[i + 1 :], **params)

        _, dys = ge.jvp(of_one, (x,), (np.linspace(0.5, 1, x.size).reshape(x.shape),))
        if any(np.any(dy.numpy()) for dy in (dys if isinstance(dys, (list, tuple)) else [dys])):
            return of_one, x
    return None


WITHOUT_DERIVATIVE = {("wanted_rows", 1)}
"""(op, input): inputs of which only a yes or no is read."""


def _takes_floats(op: Op, i: int) -> bool:
    return any(len(a) > i and getattr(a[i], "dtype", np.int8) == np.float64 for a, _ in cases(op))


DIFFERENTIABLE = [op for op in registry.values() if op.differentiable]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_a_skew_planted_in_any_op_is_caught(op: Op, monkeypatch: pytest.MonkeyPatch):
    for kind, i in _rules(op):
        call = _telling_call(op, i)
        if call is None:
            fixed = (op.name, i) in WITHOUT_DERIVATIVE or not _takes_floats(op, i)
            assert fixed, f"no call of cases() moves the result by input {i}"
            continue
        f, x = call
        check_grads(f, (x,), order=1)
        with monkeypatch.context() as patch:
            _plant(op, kind, i, patch)
            with pytest.raises(GradientError, match="order 1"):
                check_grads(f, (x,), order=1)


# --- cases ---


def test_cases_cover_shapes_and_layouts():
    found = [args for args, _ in cases("add")]
    shapes = {tuple(np.shape(x) for x in args) for args in found}
    for pair in [
        ((), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((0, 3), (0, 3)),
        ((3, 1), (1, 4)), ((2, 3), (3,)), ((), (2, 3)), ((1, 1, 1), (2,)),
    ]:  # fmt: skip
        assert pair in shapes
    arrays = [x for args in found for x in args if isinstance(x, np.ndarray)]
    assert any(x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous for x in arrays)
    assert any(min(x.strides, default=1) < 0 for x in arrays)
    assert any(0 in x.strides and x.size > 1 for x in arrays)
    assert any(x.size and x.strides[-1:] == (16,) for x in arrays)
    assert {type(args[k]) for args in found for k in (0, 1)} >= {np.ndarray, float}
    assert any(type(a) is float for a, _ in found)
    assert any(type(b) is float for _, b in found)


def test_cases_of_a_primitive_come_in_three_layouts():
    first, strided, backward = (args[0] for args, _ in islice(cases("sum"), 3))
    assert first.flags.c_contiguous
    assert not strided.flags.c_contiguous
    assert not strided.flags.f_contiguous
    assert all(s < 0 for s in backward.strides)


def test_cases_are_the_same_every_time_and_name_their_parameters():
    for op, args, params in op_cases():
        assert params.keys() <= {*op.names, *op.defaults}, describe_call(args, params)
    a, b = (list(cases("multiply")) for _ in range(2))
    for (x, _), (y, _) in zip(a, b, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(x, y, strict=True))


@pytest.mark.usefixtures("own_ops")
def test_cases_of_a_users_op():
    domain = real(0.5, 3.0, 1.0, gap=0.25)
    own = pointwise(
        "own_log", forward=lambda xp, x: xp.log(x), partial=lambda _y, x: 1 / x, sample=domain
    )
    for args, params in cases(own, dtype="float32"):
        (x,) = args
        assert x.dtype == np.float32
        assert ((x >= 0.5) & (x <= 3) & (abs(x - 1) >= 0.24)).all()
        check_grads(lambda x, params=params: own(x, **params), (x.astype("float64"),))
    with pytest.raises(TypeError, match="neither by pointwise"):
        next(cases(np.sin))
