"""Writes, views and aliases: any program of them against NumPy, whose arrays are the specification.

A program is a list of steps that make tensors, take views, write through them and forget them. It
runs twice: on tensors, and on pairs of plain NumPy arrays, a value and its derivative with respect
to every leaf element (the leading axis), where views and writes are NumPy's own. Values must agree
after every step, gradients in the end: by the backward pass, by forward mode, through a checkpoint.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradengine as ge
from gradengine.errors import DTypeError, GraphError, OutOfRangeError, ShapeError

X, W = (3, 4), (4,)
LEAVES = 16
settings.register_profile("writes", deadline=None, database=None, derandomize=True)


# --- the reference: values and their derivatives, with NumPy's views and writes ---


class Pair:
    """A value and its derivative with respect to every leaf element, `d[k] = d(v)/d(leaf k)`."""

    def __init__(self, v, d):
        self.v, self.d = v, d

    @property
    def shape(self):
        return self.v.shape


class Reference:
    @staticmethod
    def leaves(x, w):
        eye = np.eye(LEAVES)
        return Pair(x.copy(), eye[:, :12].reshape(LEAVES, *X)), Pair(
            w.copy(), eye[:, 12:].reshape(LEAVES, *W)
        )

    @staticmethod
    def mul(a, b):
        v = np.asarray(a.v * b.v)
        return Pair(v, lead(a.d, v.ndim) * b.v + a.v * lead(b.d, v.ndim))

    @staticmethod
    def add(a, b):
        v = np.asarray(a.v + b.v)
        return Pair(v, lead(a.d, v.ndim) + lead(b.d, v.ndim))

    @staticmethod
    def sin(a):
        return Pair(np.asarray(np.sin(a.v)), a.d * np.cos(a.v))

    @staticmethod
    def scale(a, c):
        return Pair(np.asarray(a.v * c), a.d * c)

    @staticmethod
    def clone(a):
        return Pair(a.v.copy(), a.d.copy())

    @staticmethod
    def detach(a):
        return Pair(a.v.copy(), np.zeros(a.d.shape))

    @staticmethod
    def get(a, index):
        v, d = a.v[index], a.d[(slice(None), *index)]
        if not isinstance(v, np.ndarray):  # one element by integers alone is a copy in NumPy
            v, d = np.asarray(v), d.copy()
        return Pair(v, d)

    @staticmethod
    def transpose(a):
        n = a.v.ndim
        return Pair(a.v.T, a.d.transpose(0, *range(n, 0, -1)))

    @staticmethod
    def flat(a):
        return Pair(a.v.reshape(-1), a.d.reshape(LEAVES, -1))

    @staticmethod
    def rows(a):
        return [Reference.get(a, (i, Ellipsis)) for i in range(a.shape[0])]

    @staticmethod
    def set(a, index, b):
        v, d = b.v.copy(), b.d.copy()
        a.v[index] = v
        a.d[(slice(None), *index)] = lead(d, a.v[index].ndim)

    @staticmethod
    def set_number(a, index, c):
        a.v[index] = c
        a.d[(slice(None), *index)] = 0

    @staticmethod
    def set_quietly(a, index, c):
        a.v[index] = c

    @staticmethod
    def imul(a, b):
        v = a.v * b.v
        a.d[...] = a.d * b.v + a.v * lead(b.d, a.v.ndim)
        a.v[...] = v
        return a

    @staticmethod
    def iadd(a, b):
        v = a.v + b.v
        a.d[...] = a.d + lead(b.d, a.v.ndim)
        a.v[...] = v
        return a


def lead(d, ndim):
    """A derivative with ones after its leading axis, to broadcast like its value does."""
    return d.reshape(d.shape[0], *(1,) * (ndim - (d.ndim - 1)), *d.shape[1:])


class Engine:
    @staticmethod
    def mul(a, b):
        return a * b

    @staticmethod
    def add(a, b):
        return a + b

    sin, scale = staticmethod(ge.sin), mul
    clone = staticmethod(ge.Tensor.clone)

    @staticmethod
    def detach(a):
        """Shares memory, so it has the gaps of a view; the reference's copy has none."""
        return a.detach() if a.array.flags.c_contiguous else a.clone().detach()

    @staticmethod
    def get(a, index):
        return a[index]

    @staticmethod
    def transpose(a):
        return a.T

    @staticmethod
    def flat(a):
        return a.reshape(-1)

    @staticmethod
    def rows(a):
        return list(a)

    @staticmethod
    def set(a, index, b):
        a[index] = b

    set_number = set

    @staticmethod
    def set_quietly(a, index, c):
        with ge.no_grad():
            a[index] = c

    @staticmethod
    def imul(a, b):
        a *= b
        return a

    @staticmethod
    def iadd(a, b):
        a += b
        return a


# --- programs ---

VIEWS = [
    (slice(None, None, 2),),
    (slice(1, None),),
    (slice(None, None, -1),),
    (Ellipsis, slice(0, 3)),
    (Ellipsis, slice(None, None, -2)),
    (0,),
    (-1,),
    (Ellipsis, 1),
    (None,),
    (slice(1, 1),),
    (),
]
PLACES = [*VIEWS, (Ellipsis,), ([0, -1, 0],), (slice(None), [1, 0])]


def legal(shape, index):
    try:
        return np.empty(shape)[index].shape
    except IndexError:
        return None


def fits(value, place):
    try:
        return np.broadcast_shapes(value, place) == place
    except ValueError:
        return False


def run(ops, program, x, w, watch=None):
    """The tensors a program leaves. Choices depend on shapes alone, so both runs take the same."""
    pool = [ops.scale(x, 1.0)]
    for kind, i, j, k in program:
        a = pool[i % len(pool)]
        b = [*pool, w][j % (len(pool) + 1)]
        same = a.shape == b.shape
        view, place = VIEWS[k % len(VIEWS)], PLACES[k % len(PLACES)]
        target = legal(a.shape, place)
        if kind == "sin":
            pool.append(ops.sin(a))
        elif kind == "mul" and fits(b.shape, a.shape):
            pool.append(ops.scale(ops.mul(a, b), 0.5))
        elif kind == "view" and legal(a.shape, view) is not None:
            pool.append(ops.get(a, view))
        elif kind == "rows" and a.shape and a.shape[0]:
            pool += ops.rows(a)[:: 1 + k % 2]
        elif kind == "transpose":
            pool.append(ops.transpose(a))
        elif kind == "flat":
            pool.append(ops.flat(a))
        elif kind == "clone":
            pool.append(ops.clone(a))
        elif kind == "detach":
            pool.append(ops.detach(a))
        elif kind == "set" and target is not None and fits(b.shape, target):
            ops.set(a, place, b)
        elif kind == "number" and target is not None:
            ops.set_number(a, place, 0.5)
        elif kind == "quiet" and target is not None:
            ops.set_quietly(a, place, -0.25)
        elif kind == "imul" and (same or fits(b.shape, a.shape)):
            ops.imul(a, ops.sin(b) if j % 2 else b)
        elif kind == "iadd" and fits(b.shape, a.shape):
            ops.iadd(a, ops.scale(b, 0.5))
        elif kind == "forget" and len(pool) > 1:
            del pool[i % len(pool)]
        del a, b  # a name here would be a second holder, and hide the writes in place
        if watch is not None:
            watch([kind, i, j, k], pool)
    return pool


MAKE = ["sin", "mul", "view", "view", "transpose", "flat", "clone", "detach", "forget"]
KINDS = [*MAKE, "rows", "set", "set", "number", "quiet", "imul", "iadd"]
STEPS = st.tuples(st.sampled_from(KINDS), *[st.integers(0, 30)] * 3)
PROGRAMS = st.lists(STEPS, max_size=12)


def start():
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, X), rng.uniform(-1, 1, W)


def weights(t, k):
    return np.cos(np.arange(t.size).reshape(t.shape) + k)


def reference(program):
    """Values after each step, d(loss)/d(leaves), and the final tensors."""
    history = []
    x, w = Reference.leaves(*start())
    pool = run(Reference, program, x, w, lambda _, p: history.append([t.v.copy() for t in p]))
    axes = tuple(range(1, 99))
    grad = np.zeros(LEAVES)
    for k, t in enumerate(pool):
        grad += (t.d * weights(t.v, k)).sum(axis=axes[: t.v.ndim])
    return history, grad, [t.v for t in pool]


def loss_of(pool):
    total = ge.tensor(0.0, dtype="float64")
    for k, t in enumerate(pool):
        total = total + (t * weights(t, k)).sum()
    return total


@settings(settings.get_profile("writes"), max_examples=400)
@given(PROGRAMS)
def test_backward_through_any_program_of_views_and_writes(program):
    history, grad, _ = reference(program)
    x, w = (ge.tensor(a, requires_grad=True) for a in start())
    steps = iter(history)

    def compare(step, pool):
        for t, v in zip(pool, next(steps), strict=True):
            np.testing.assert_allclose(t.array, v, rtol=1e-12, atol=1e-12, err_msg=str(step))

    pool = run(Engine, program, x, w, compare)
    (loss_of(pool) + 0 * x.sum()).backward()
    found = [np.zeros(t.shape) if t.grad is None else t.grad.array for t in (x, w)]
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in found]), grad, atol=1e-9)
    np.testing.assert_array_equal(x.array, start()[0])
    np.testing.assert_array_equal(w.array, start()[1])


@settings(settings.get_profile("writes"), max_examples=150)
@given(PROGRAMS, st.booleans())
def test_forward_mode_through_any_program_of_views_and_writes(program, recording):
    _, grad, values = reference(program)
    rng = np.random.default_rng(2)
    tangents = rng.normal(size=X), rng.normal(size=W)

    def f(x, w):
        return loss_of(run(Engine, program, x, w))

    if recording:
        x, w = (ge.tensor(a, requires_grad=True) for a in start())
    else:
        x, w = map(ge.tensor, start())
    value, tangent = ge.jvp(f, (x, w), tuple(map(ge.tensor, tangents)))
    expected = grad @ np.concatenate([t.ravel() for t in tangents])
    np.testing.assert_allclose(tangent.item(), expected, atol=1e-8)
    total = sum((v * weights(v, k)).sum() for k, v in enumerate(values))
    np.testing.assert_allclose(value.item(), total, atol=1e-8)
    np.testing.assert_array_equal(x.array, start()[0])


@settings(settings.get_profile("writes"), max_examples=80)
@given(PROGRAMS)
def test_transforms_and_checkpoints_of_programs_that_write(program):
    _, grad, _ = reference(program)

    def f(x, w):
        return loss_of(run(Engine, program, x, w)) + 0 * x.sum()

    x, w = (ge.tensor(a, requires_grad=True) for a in start())
    for gx, gw in (
        ge.grad(f, (0, 1))(x, w),
        ge.grad(f, (0, 1))(*map(ge.tensor, start())),
        ge.grad(lambda x, w: ge.checkpoint(f, x, w), (0, 1))(x, w),
    ):
        found = np.concatenate([gx.array.ravel(), gw.array.ravel()])
        np.testing.assert_allclose(found, grad, atol=1e-9)


# --- writes one by one ---


def leaf(*values):
    return ge.tensor(values, dtype="float64", requires_grad=True)


def test_a_write_is_a_step_of_the_tape():
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 2
    y[1] = v[0] * 3
    assert y.tolist() == [2.0, 30.0, 6.0]
    assert y.grad_fn.name == "setitem"
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 2.0]
    assert v.grad.tolist() == [3.0]


def test_a_write_into_a_constant_makes_it_depend_on_the_value():
    v = leaf(5.0)
    y = ge.zeros(3, dtype="float64")
    y[::2] = v * 2
    assert y.requires_grad
    y.sum().backward()
    assert v.grad.tolist() == [4.0]


def test_what_was_computed_before_a_write_keeps_its_gradient():
    """The saved array is copied, not spoilt: PyTorch refuses this backward pass."""
    x = leaf(1.0, 2.0)
    y = x * 1
    square = y * y
    exponential = ge.exp(y)
    y[0] = 100.0
    exponential *= 0
    square.sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_a_sole_owner_is_written_in_place_and_a_shared_array_is_copied():
    y = ge.zeros(3)
    address = y.array.ctypes.data
    y[0] = 1.0
    assert y.array.ctypes.data == address
    held = y.array
    y[1] = 2.0
    assert y.array is not held
    assert held.tolist() == [1.0, 0.0, 0.0]
    x = leaf(1.0, 2.0)
    z = x + 1  # add saves nothing
    address = z.array.ctypes.data
    z[0] = 5.0
    assert z.array.ctypes.data == address


def test_filling_an_array_step_by_step_is_linear_and_differentiable():
    """A recurrence written as one writes it in NumPy."""
    x = leaf(0.5)
    y = ge.zeros(6, dtype="float64")
    y[0] = x[0]
    for k in range(1, 6):
        y[k] = y[k - 1] * x[0]
    y[-1].backward()
    np.testing.assert_allclose(x.grad.array, [6 * 0.5**5])


def test_detached_tensors_part_at_the_first_write():
    x = leaf(1.0, 2.0)
    y = x * 2
    d = y.detach()
    assert np.shares_memory(d.array, y.array)
    d[0] = 9.0
    assert y.tolist() == [2.0, 4.0]
    y[1] = 7.0
    assert d.tolist() == [9.0, 4.0]


def test_a_write_to_a_view_reaches_its_base_and_all_other_views():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    base = x * 1
    square, tail, back = base.reshape(2, 2), base[1:], base[::-1]
    column = square[:, 1]
    tail[0] = 20.0
    assert base.tolist() == [1.0, 20.0, 3.0, 4.0]
    assert square.tolist() == [[1.0, 20.0], [3.0, 4.0]]
    assert column.tolist() == [20.0, 4.0]
    assert back.tolist() == [4.0, 3.0, 20.0, 1.0]
    column *= base[0] * 10
    assert base.tolist() == [1.0, 200.0, 3.0, 40.0]
    (back.sum() + tail.sum()).backward()
    assert x.grad.tolist() == [200.0 * 2 + 40.0 * 2 + 1, 0.0, 2.0, 20.0]


def test_views_live_on_when_their_base_name_is_gone():
    x = leaf(1.0, 2.0, 3.0)
    view = (x * 2)[1:]
    view += 1
    view.sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0]


def test_a_write_to_itself_reads_the_old_values():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    y[1:] = y[:-1]
    assert y.tolist() == [1.0, 1.0, 2.0]
    y[::-1] = y
    assert y.tolist() == [2.0, 1.0, 1.0]
    (y * ge.tensor([1.0, 10.0, 100.0], dtype="float64")).sum().backward()
    assert x.grad.tolist() == [110.0, 1.0, 0.0]


def test_where_positions_repeat_the_last_value_wins_and_has_the_gradient():
    x, v = leaf(1.0, 2.0), leaf(5.0, 6.0, 7.0)
    y = x * 1
    y[[0, 0, 0]] = v
    assert y.tolist() == [7.0, 2.0]
    y.sum().backward()
    assert v.grad.tolist() == [0.0, 0.0, 1.0]
    assert x.grad.tolist() == [0.0, 1.0]


def test_masks_and_index_tensors_may_change_after_the_write():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    mask, index = ge.tensor([True, False, False]), np.array([2])
    y[mask] = 0.0
    y[index] = 0.0
    mask[1], index[0] = True, 0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_methods_that_write():
    x = leaf(1.0, 2.0)
    y = x * 1
    assert y.add_(1).mul_(2).sub_(1).div_(3) is y
    np.testing.assert_allclose(y.array, [1.0, 5 / 3])
    y.sum().backward()
    np.testing.assert_allclose(x.grad.array, [2 / 3, 2 / 3])
    z = x * 1
    z.copy_(x * 3)
    z[0] += 1
    z.sum().backward()
    np.testing.assert_allclose(x.grad.array, [2 / 3 + 3, 2 / 3 + 3])
    assert z.zero_().tolist() == [0.0, 0.0]
    assert z.fill_(4).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**", "//", "%"])
def test_every_augmented_assignment_is_its_operator(op):
    x = leaf(1.5, 2.5)
    y, names = x * 2, {"v": ge.tensor([2.0, 3.0], dtype="float64")}
    expected = eval(f"y {op} v", {"y": y, **names})
    names["y"] = y
    exec(f"y {op}= v", names)
    assert names["y"] is y
    np.testing.assert_array_equal(y.array, expected.array)


def test_a_leaf_is_changed_under_no_grad_only():
    w = leaf(1.0, 2.0)
    for write in (lambda: w.__setitem__(0, 5.0), lambda: w.__iadd__(1.0), w.zero_):
        with pytest.raises(GraphError, match=r"leaf(.|\n)*no_grad"):
            write()
    view = w[1:]
    with pytest.raises(GraphError, match="leaf"):
        view[0] = 3.0
    assert w.tolist() == [1.0, 2.0]
    with ge.no_grad():
        w -= ge.tensor([0.5, 0.5])
        w[1] = 7.0
    assert w.tolist() == [0.5, 7.0]
    assert w.is_leaf
    assert w.requires_grad
    (w * w).sum().backward()
    assert w.grad.tolist() == [1.0, 14.0]


def test_a_step_of_the_optimiser_does_not_spoil_a_pass_that_waits():
    w = leaf(2.0)
    loss = (w * w).sum()
    with ge.no_grad():
        w -= 100.0
    loss.backward()
    assert w.grad.tolist() == [4.0]


def test_failed_writes_change_nothing():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    view = y[1:]
    node = y.node
    cases = [
        (ShapeError, lambda: y.__setitem__(slice(None), ge.zeros(2))),
        (OutOfRangeError, lambda: y.__setitem__(7, 1.0)),
        (OutOfRangeError, lambda: y.__setitem__([0, 9], 1.0)),
        (DTypeError, lambda: y.__setitem__(0.5, 1.0)),
        (ShapeError, lambda: y.__iadd__(ge.zeros((2, 3)))),
        (ShapeError, lambda: view.__imul__(ge.zeros((4, 2)))),
        (DTypeError, lambda: ge.tensor([1, 2]).__itruediv__(2)),
    ]
    for error, write in cases:
        with pytest.raises(error, match="hint: "):
            write()
        assert y.tolist() == [1.0, 2.0, 3.0]
        assert view.tolist() == [2.0, 3.0]
        assert y.node is node
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


# --- transforms of functions that write ---


def overwriting(x):
    """Writes to its own argument: the caller's tensor and its gradient must not notice."""
    x[0] = x[1] * 3
    x *= 2
    return (x * x).sum()


@pytest.mark.parametrize("tracked", [False, True])
def test_a_function_may_write_to_its_argument(tracked):
    expected = [0.0, 8 * 2.0 * 10]  # 4(3x1)^2 + 4 x1^2
    x = ge.tensor([1.0, 2.0], dtype="float64", requires_grad=tracked)

    def safe(x):
        return overwriting(x * 1)

    for f in (overwriting, safe):
        if f is overwriting and not tracked:
            with pytest.raises(GraphError, match=r"leaf(.|\n)*clone"):
                ge.grad(f)(x)
            continue
        assert ge.grad(f)(x).tolist() == expected
        assert ge.jvp(f, (x,), (ge.tensor([0.0, 1.0]),))[1].item() == expected[1]
        assert x.tolist() == [1.0, 2.0]
