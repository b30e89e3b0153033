"""A user's own derivatives, and recomputation: custom_vjp, custom_jvp, Function and checkpoint.

Each of them is a node on the tape whose pull runs the user's rule (or the function again) instead of
a row's. Rules receive and return tensors, so forward mode and higher orders follow as long as the
rules are written with engine operations.

Floor 6: stands on forward.py, reverse.py and random.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .device import as_array, namespace
from .dtypes import is_inexact
from .errors import GraphError, ShapeError, hinted
from .forward import dual
from .random import get_state, set_state
from .reverse import gradients, zero_if_none
from .tape import (
    PICK,
    Leaf,
    Node,
    Traced,
    constant,
    enable_grad,
    fit,
    grad_enabled,
    next_tick,
    no_grad,
    record,
)
from .tensor import Tensor
from .trees import flatten

Rule = Callable[..., Any]


# --- one op made of a user's functions ---


class Context:
    """What a custom forward keeps for its backward: `ctx.save_for_backward(x, y)`, or any attribute."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize = True
        self._saved: tuple[Any, ...] = ()
        self._constants: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (inputs, outputs or others, or None) for `saved_tensors`."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given."""
        return self._saved

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Say that these outputs have no gradient."""
        self._constants = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether outputs without a gradient give zeros (the default) or None to backward."""
        self.materialize = value


class UserOp:
    """An op whose rules are a user's functions of tensors.

    `forward(ctx, *args)` gives a tensor or a tuple of them, `backward(ctx, *cotangents)` one gradient
    for each argument, `push(args, tangents)` (optional) the tangents of the outputs.
    """

    def __init__(self, name: str, forward: Rule, backward: Rule, push: Rule | None = None) -> None:
        self.name, self.forward, self.backward, self.push_rule = name, forward, backward, push

    def __call__(self, *args: Any) -> Any:
        level = max((x.level for x in args if isinstance(x, Traced)), default=0)
        if level:
            return self._push(level, args)
        ctx = Context()
        ctx.needs_input_grad = tuple(isinstance(x, Traced) and x.node is not None for x in args)
        with no_grad():
            out = self.forward(ctx, *args)
        single = not isinstance(out, (tuple, list))
        outputs = [out] if single else list(out)
        for y in outputs:
            if not isinstance(y, Traced):
                raise GraphError(
                    hinted(f"{self.name}: forward returned {type(y).__name__}", "return Tensors")
                )
        if grad_enabled() and any(ctx.needs_input_grad):
            outputs = self._attach(ctx, args, outputs)
        return outputs[0] if single else tuple(outputs)

    def _attach(self, ctx: Context, args: Sequence[Any], outputs: list[Any]) -> list[Any]:
        """The outputs as results of one node, which keeps the context."""
        constants = {id(y) for y in ctx._constants}
        places = {id(y): k for k, y in enumerate(outputs)}
        kept = ctx._saved
        ctx._saved = tuple(
            (_Output(places[id(x)], x.array) if id(x) in places else x) for x in kept
        )
        arrays = tuple(x.array for x in kept if isinstance(x, Traced))
        inputs = tuple(x.node if isinstance(x, Traced) else None for x in args)
        shapes = [(y.array.shape, y.array.dtype, namespace(y.array)) for y in outputs]
        meta = tuple((x.shape, x.dtype) if isinstance(x, Traced) else None for x in args)
        node = record(Tensor, self, None, inputs, (ctx, *arrays), shapes, meta).node
        return [
            constant(Tensor, y.array)
            if id(y) in constants or not is_inexact(y.dtype)
            else record(Tensor, PICK, y.array, (node,), (), (k, len(outputs)))
            for k, y in enumerate(outputs)
        ]

    # --- backward ---

    def pull(self, node: Node, g: list[Any], graph: bool) -> list[tuple[Node | None, Any]]:
        ctx: Context = node.saved[0]
        seeds = [
            _seed(c, shape, dtype, xp, ctx.materialize)
            for c, (shape, dtype, xp) in zip(g, node.params, strict=True)
        ]
        restored = _restored(ctx, node, graph)
        with enable_grad() if graph else no_grad():
            found = self.backward(restored, *seeds)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        meta = node.meta or ()
        if len(found) != len(meta):
            raise GraphError(
                hinted(
                    f"{self.name}: backward returned {len(found)} gradients for {len(meta)} arguments",
                    "return one for each argument of forward, None where there is none",
                )
            )
        pairs: list[tuple[Node | None, Any]] = []
        for i, (parent, c, m) in enumerate(zip(node.inputs, found, meta, strict=True)):
            if parent is not None and c is not None:
                fitted = _fitted(self.name, i, c, m)
                pairs.append((parent, fitted if graph else fitted.array))
        return pairs

    # --- forward mode ---

    def _push(self, level: int, args: Sequence[Any]) -> Any:
        mine = [isinstance(x, Traced) and x.level == level for x in args]
        primals = [x.primal if own else x for x, own in zip(args, mine, strict=True)]
        tangents = [x.tangent if own else None for x, own in zip(args, mine, strict=True)]
        out = self(*primals)
        single = not isinstance(out, tuple)
        outputs = [out] if single else list(out)
        push = self.push_rule or self._transposed
        found = push(primals, tangents, outputs)
        joined = [
            y if t is None else dual(y, t, level) for y, t in zip(outputs, found, strict=True)
        ]
        return joined[0] if single else tuple(joined)

    def _transposed(
        self, primals: Sequence[Any], tangents: Sequence[Any], outputs: Sequence[Any]
    ) -> list[Any]:
        """The jvp from the backward rule, which is linear in the cotangents: its transpose."""
        leaves = [_zero_leaf(y) for y in outputs]
        ctx = Context()
        ctx.needs_input_grad = tuple(t is not None for t in tangents)
        with enable_grad():
            self.forward(ctx, *primals)
            found = self.backward(ctx, *leaves)
            found = list(found) if isinstance(found, (tuple, list)) else [found]
            pairs = [
                (fit(v, x.shape, x.dtype), t)
                for v, x, t in zip(found, primals, tangents, strict=True)
                if t is not None and isinstance(v, Traced)
            ]
            return gradients([v for v, _ in pairs], leaves, [t for _, t in pairs], name=self.name)


class _Output:
    """Stands for output `place` among the saved tensors: the node must not refer to itself."""

    def __init__(self, place: int, array: Any) -> None:
        self.place, self.array = place, array


def _restored(ctx: Context, node: Node, graph: bool) -> Context:
    """The context as backward sees it: saved outputs are on the tape again where a graph is wanted."""
    if not any(isinstance(x, _Output) for x in ctx._saved):
        return ctx
    seen = Context()
    seen.__dict__.update(ctx.__dict__)
    count = len(node.params)
    seen._saved = tuple(
        (
            record(Tensor, PICK, x.array, (node,), (), (x.place, count))
            if graph
            else constant(Tensor, x.array)
        )
        if isinstance(x, _Output)
        else x
        for x in ctx._saved
    )
    return seen


def _seed(c: Any, shape: Any, dtype: Any, xp: Any, materialize: bool) -> Any:
    if c is None:
        return constant(Tensor, xp.zeros(shape, dtype)) if materialize else None
    return c if isinstance(c, Traced) else constant(Tensor, as_array(c))


def _fitted(name: str, i: int, c: Any, meta: Any) -> Any:
    c = c if isinstance(c, Traced) else constant(Tensor, as_array(c))
    if c.array.ndim >= len(meta[0]):
        try:
            return fit(c, *meta)
        except ValueError:
            pass
    raise ShapeError(
        hinted(
            f"{name}: backward gave argument {i} a gradient of shape {tuple(c.array.shape)}, "
            f"the argument has {meta[0]}",
            "a gradient has its argument's shape",
        )
    )


def _zero_leaf(y: Any) -> Any:
    while y.level:
        y = y.primal
    leaf = constant(Tensor, namespace(y.array).zeros_like(y.array))
    leaf.node = Leaf()
    return leaf


# --- JAX's way: functions with rules attached ---


class _Custom:
    """Common part of custom_vjp and custom_jvp: a function that waits for its rule."""

    def __init__(self, f: Rule) -> None:
        functools.update_wrapper(self, f)
        self.f = f
        self.op: UserOp | None = None

    def __call__(self, *args: Any) -> Any:
        if self.op is None:
            raise GraphError(
                hinted(f"{type(self).__name__}: {self.f.__name__} has no rule yet", self._remedy)
            )
        lifted = [x if isinstance(x, (int, str, bool, type(None))) else _lift(x) for x in args]
        return self.op(*lifted)

    _remedy = ""


def _lift(x: Any) -> Any:
    return Tensor.lift(x) if isinstance(x, (float, list)) or hasattr(x, "dtype") else x


class custom_vjp(_Custom):
    """A function with its own reverse rule: `f.defvjp(forward, backward)`.

    `forward(*args)` returns (out, residuals), `backward(residuals, g)` a tuple of gradients, one for each
    argument (None where there is none). Forward mode follows by transposing the rule.

    >>> import gradengine as ge
    >>> @ge.custom_vjp
    ... def cube(x):
    ...     return x * x * x
    >>> cube.defvjp(lambda x: (cube.f(x), x), lambda x, g: (3 * x * x * g,))
    >>> ge.grad(cube)(2.0), ge.grad(ge.grad(cube))(2.0)
    (tensor(12.), tensor(12.))
    """

    _remedy = "call .defvjp(forward, backward)"

    def defvjp(self, forward: Rule, backward: Rule) -> None:
        """State the rule; see the class."""

        def run(ctx: Context, *args: Any) -> Any:
            out, residuals = forward(*args)
            leaves, rebuild = flatten(residuals)
            ctx.save_for_backward(*leaves)
            ctx.rebuild = rebuild  # type: ignore[attr-defined]
            return out

        def back(ctx: Context, *g: Any) -> Any:
            residuals = ctx.rebuild(ctx.saved_tensors)  # type: ignore[attr-defined]
            return backward(residuals, g[0] if len(g) == 1 else g)

        self.op = UserOp(self.f.__name__, run, back)


class custom_jvp(_Custom):
    """A function with its own forward rule: `f.defjvp(rule)`.

    `rule(primals, tangents)` returns (out, tangent of out). Reverse mode follows by transposing it.

    >>> import gradengine as ge
    >>> @ge.custom_jvp
    ... def cube(x):
    ...     return x * x * x
    >>> cube.defjvp(lambda primals, tangents: (cube.f(*primals), 3 * primals[0] ** 2 * tangents[0]))
    >>> ge.grad(cube)(2.0)
    tensor(12.)
    """

    _remedy = "call .defjvp(rule)"

    def defjvp(self, rule: Rule) -> None:
        """State the rule; see the class."""

        def run(ctx: Context, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return self.f(*args)

        def push(primals: Sequence[Any], tangents: Sequence[Any], _outputs: Any) -> list[Any]:
            full = [
                zero_if_none(t, x) if isinstance(x, Traced) else t
                for x, t in zip(primals, tangents, strict=True)
            ]
            found = rule(tuple(primals), tuple(full))[1]
            return list(found) if isinstance(found, (tuple, list)) else [found]

        def back(ctx: Context, *g: Any) -> list[Any]:
            xs = ctx.saved_tensors
            tangents = [_zero_leaf(x) if isinstance(x, Traced) else None for x in xs]
            with enable_grad():
                outs = push(xs, tangents, None)
                leaves = [t for t in tangents if t is not None]
                live = [(y, c) for y, c in zip(outs, g, strict=True) if y.level or y.node]
                found = iter(gradients(*_columns(live, leaves), name=self.f.__name__))
            return [None if t is None else next(found) for t in tangents]

        self.op = UserOp(self.f.__name__, run, back, push)


def _columns(pairs: Sequence[tuple[Any, Any]], leaves: Sequence[Any]) -> tuple[Any, Any, Any]:
    return [y for y, _ in pairs], leaves, [c for _, c in pairs]


# --- PyTorch's way: a class with two static methods ---


class Function:
    """Subclass it with static methods `forward(ctx, *args)` and `backward(ctx, *grads)`; call `apply`.

    As in PyTorch: `ctx.save_for_backward`, `ctx.saved_tensors`, `ctx.needs_input_grad`; backward
    returns one gradient for each argument of forward. Written with engine operations it is
    differentiable to any order; `once_differentiable` says that it is not.

    >>> import gradengine as ge
    >>> class Cube(ge.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * g
    >>> x = ge.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """The value; runs without recording."""
        raise NotImplementedError("a Function states forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        """The gradients of forward's arguments, given those of its outputs."""
        raise NotImplementedError("a Function states backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the function and record it."""
        return UserOp(cls.__name__, cls.forward, cls.backward)(*args)


def once_differentiable(backward: Rule) -> Rule:
    """Mark a Function's backward as not differentiable itself: asking for more raises, never lies."""

    @functools.wraps(backward)
    def wrapper(ctx: Context, *grads: Any) -> Any:
        if grad_enabled():
            raise GraphError(
                hinted(
                    f"{backward.__qualname__} is marked once_differentiable",
                    "write it with engine operations to differentiate it again",
                )
            )
        return backward(ctx, *grads)

    return wrapper


# --- recomputation ---


class _Checkpoint:
    """The op of a checkpointed call: going back means running the function again, recorded.

    The new nodes are newer than everything pending, so the pass goes through them next and comes out at
    the nodes the function had used: the gradients are those of the plain call, bit for bit.
    """

    name = "checkpoint"

    @staticmethod
    def pull(node: Node, g: list[Any], _graph: bool) -> list[tuple[Node | None, Any]]:
        f, args, kwargs, state = node.params
        now = get_state()
        set_state(state)
        try:
            with enable_grad():
                leaves, _ = flatten(f(*args, **kwargs))
        finally:
            set_state(now)
        return [(y.node, c) for y, c in zip(leaves, g, strict=True) if c is not None]


_CHECKPOINT = _Checkpoint()


def checkpoint(f: Rule, *args: Any, **kwargs: Any) -> Any:
    """f(*args, **kwargs), storing only its inputs: the backward pass computes the inside again.

    Memory falls from all of f's intermediate values to its arguments, for one more forward of f.
    Gradients equal those of the plain call bit for bit, random numbers included; tensors that f
    closes over get theirs too. (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.)

    >>> import gradengine as ge
    >>> x = ge.tensor(3.0, requires_grad=True)
    >>> ge.checkpoint(lambda x: (x * x) * x, x).backward()
    >>> x.grad
    tensor(27.)
    """
    if not grad_enabled() or any(isinstance(x, Traced) and x.level for x in flatten(args)[0]):
        return f(*args, **kwargs)
    state, start = get_state(), next_tick()
    out = f(*args, **kwargs)
    leaves, rebuild = flatten(out)
    roots = [y.node for y in leaves if isinstance(y, Traced) and y.node is not None]
    if not roots:
        return out
    sources = tuple(_entries(roots, start))
    node = record(Tensor, _CHECKPOINT, None, sources, (), (f, args, kwargs, state)).node
    return rebuild(
        [
            record(Tensor, PICK, y.array, (node,), (), (k, len(leaves)))
            if isinstance(y, Traced) and y.node is not None
            else y
            for k, y in enumerate(leaves)
        ]
    )


def _entries(roots: Sequence[Node], start: int) -> list[Node]:
    """The nodes from before `start` that the roots were computed from: arguments and closures."""
    seen, stack, found = set(roots), list(roots), []
    while stack:
        node = stack.pop()
        if node.tick < start:
            found.append(node)
            continue
        for parent in node.inputs:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return found
