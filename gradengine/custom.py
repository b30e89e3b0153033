"""A user's own derivatives: custom_vjp, custom_jvp and Function.

Each of them is a node on the tape whose pull runs the user's rule instead of a row's. Rules receive
and return tensors, so forward mode and higher orders follow as long as the rules are written with
engine operations.

Floor 6: stands on forward.py and reverse.py.
"""

# pyright: reportPrivateUsage=false
# A context's own attributes are private, since a user may set any other; UserOp reads them.

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .device import as_array, namespace, zeros_beside
from .dtypes import is_inexact
from .errors import GraphError, ShapeError, hinted
from .forward import dual, value_of
from .reverse import gradients, handle, zero_if_none
from .tape import (
    PICK,
    Leaf,
    Node,
    Traced,
    constant,
    enable_grad,
    fit,
    grad_enabled,
    no_grad,
    record,
)
from .tensor import Tensor
from .trees import flatten, listed

Rule = Callable[..., Any]


# --- one op made of a user's functions ---


class Context:
    """What a custom forward keeps for its backward: `save_for_backward(x, y)`, any attribute."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._materialize = True
        self._saved: tuple[Any, ...] = ()
        self._given: tuple[Any, ...] = ()
        self._constants: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (inputs, outputs or others, or None) for `saved_tensors`."""
        self._given, self._saved = tensors, tuple(map(handle, tensors))

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given."""
        return self._saved

    def _resolve(self, outputs: Sequence[Any], stand_ins: Sequence[Any]) -> None:
        """Once forward has returned: outputs among the saved tensors become their stand-ins."""
        places = {id(y): k for k, y in enumerate(outputs)}
        self._saved = tuple(
            stand_ins[places[id(x)]] if id(x) in places else kept
            for x, kept in zip(self._given, self._saved, strict=True)
        )
        self._given = self._constants = ()

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Say that these outputs have no gradient."""
        self._constants = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether outputs without a gradient give zeros (the default) or None to backward."""
        self._materialize = value


class UserOp:
    """An op whose rules are a user's functions of tensors.

    `forward(ctx, *args)` gives a tensor or a tuple of them, `backward(ctx, *cotangents)` one
    gradient for each argument, `push(args, tangents)` (optional) the tangents of the outputs.
    """

    def __init__(self, name: str, forward: Rule, backward: Rule, push: Rule | None = None) -> None:
        self.name, self.forward, self.backward, self.push_rule = name, forward, backward, push

    def __call__(self, *args: Any) -> Any:
        level = max((x.level for x in args if isinstance(x, Traced)), default=0)
        if level and grad_enabled() is False:
            args, level = tuple(map(value_of, args)), 0
        if level:
            return self._push(level, args)
        ctx = Context()
        ctx.needs_input_grad = tuple(isinstance(x, Traced) and x.node is not None for x in args)
        with no_grad():
            out = self.forward(ctx, *map(handle, args))
        single = not isinstance(out, (tuple, list))
        outputs = listed(out)
        for y in outputs:
            if not isinstance(y, Traced):
                raise GraphError(
                    hinted(f"{self.name}: forward returned {type(y).__name__}", "return Tensors")
                )
        if grad_enabled() and any(ctx.needs_input_grad):
            outputs = self._attach(ctx, args, outputs)
        else:
            outputs = [constant(Tensor, y.array) for y in outputs]
        return outputs[0] if single else tuple(outputs)

    def _attach(self, ctx: Context, args: Sequence[Any], outputs: list[Any]) -> list[Any]:
        """The outputs as results of one node, which keeps the context."""
        constants = {id(y) for y in ctx._constants}
        ctx._resolve(outputs, [_Output(k, y.array) for k, y in enumerate(outputs)])
        arrays = tuple(x.array for x in ctx._saved if isinstance(x, (Traced, _Output)))
        inputs = tuple(x.node if isinstance(x, Traced) else None for x in args)
        shapes = [(y.array.shape, y.array.dtype, namespace(y.array)) for y in outputs]
        meta = tuple(
            (x.array.shape, x.array.dtype) if isinstance(x, Traced) else None for x in args
        )
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
            _seed(c, shape, dtype, xp, ctx._materialize)
            for c, (shape, dtype, xp) in zip(g, node.params, strict=True)
        ]
        restored = _restored(ctx, node, graph)
        meta = node.meta or ()
        with enable_grad() if graph else no_grad():
            found = self._gradients(restored, seeds, len(meta))
        pairs: list[tuple[Node | None, Any]] = []
        for i, (parent, c, m) in enumerate(zip(node.inputs, found, meta, strict=True)):
            if parent is not None and c is not None:
                fitted = _fitted(self.name, i, c, m)
                pairs.append((parent, fitted if graph else fitted.array))
        return pairs

    def _gradients(self, ctx: Context, seeds: Sequence[Any], count: int) -> list[Any]:
        found = listed(self.backward(ctx, *seeds))
        if len(found) != count:
            raise GraphError(
                hinted(
                    f"{self.name}: backward returned {len(found)} gradients for {count} arguments",
                    "return one for each argument of forward, None where there is none",
                )
            )
        return found

    # --- forward mode ---

    def _push(self, level: int, args: Sequence[Any]) -> Any:
        mine = [isinstance(x, Traced) and x.level == level for x in args]
        primals = [x.primal if own else x for x, own in zip(args, mine, strict=True)]
        tangents = [x.tangent if own else None for x, own in zip(args, mine, strict=True)]
        out = self(*primals)
        single = not isinstance(out, tuple)
        outputs = listed(out)
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
        with no_grad():
            out = self.forward(ctx, *map(handle, primals))
        ctx._resolve(listed(out), outputs)
        with enable_grad():
            found = self._gradients(ctx, leaves, len(primals))
            pairs = [
                (_fitted(self.name, i, found[i], (x.shape, x.dtype)), tangents[i])
                for i, x in enumerate(primals)
                if tangents[i] is not None and isinstance(found[i], Traced)
            ]
            return gradients([v for v, _ in pairs], leaves, [t for _, t in pairs], name=self.name)


class _Output:
    """Stands for output `place` among the saved tensors: the node must not refer to itself."""

    def __init__(self, place: int, array: Any) -> None:
        self.place, self.array = place, array


def _restored(ctx: Context, node: Node, graph: bool) -> Context:
    """The context as backward sees it: saved outputs are on the tape again if a graph is wanted."""
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
    given, needed = c.array.shape[::-1], meta[0][::-1]
    if len(given) >= len(needed) and all(n in (1, m) for m, n in zip(given, needed, strict=False)):
        return fit(c, *meta)
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
    leaf = constant(Tensor, zeros_beside(y.array))
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
        if not _differentiated(lifted):  # the rule itself may call the function, as in JAX
            with no_grad():
                return self.f(*map(value_of, lifted))
        return self.op(*lifted)

    _remedy = ""


def _differentiated(args: Sequence[Any]) -> bool:
    live = any(isinstance(x, Traced) and (x.level or x.node is not None) for x in args)
    return live and grad_enabled() is not False


def _lift(x: Any) -> Any:
    return Tensor.lift(x) if isinstance(x, (float, list)) or hasattr(x, "dtype") else x


class custom_vjp(_Custom):
    """A function with its own reverse rule: `f.defvjp(forward, backward)`.

    `forward(*args)` returns (out, residuals), `backward(residuals, g)` a tuple of gradients, one
    for each argument (None where there is none). Forward mode follows by transposing the rule.

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
            return listed(rule(tuple(primals), tuple(full))[1])

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
    """Subclass it with static methods `forward(ctx, *args)`, `backward(ctx, *grads)`; call `apply`.

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
    """Mark a Function's backward as not differentiable itself: asking for more raises."""

    @functools.wraps(backward)
    def wrapper(ctx: Context, *grads: Any) -> Any:
        with no_grad():
            found = backward(ctx, *grads)
        if not grad_enabled():
            return found
        sources = [x for x in (*grads, *ctx.saved_tensors) if isinstance(x, Traced)]
        nodes = tuple(x.node for x in sources if x.node is not None)
        single = not isinstance(found, (tuple, list))
        results = [
            record(Tensor, once, x.array, nodes, ()) if nodes and isinstance(x, Traced) else x
            for x in listed(found)
        ]
        return results[0] if single else tuple(results)

    once = _Once(f"{backward.__qualname__}, marked once_differentiable,")
    return wrapper


class _Once:
    """The op of a gradient that has no derivative itself: it may be used, not differentiated."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pull(self, node: Node, g: Any, graph: bool) -> Any:
        raise GraphError(
            hinted(
                f"backward: {self.name} has no derivative",
                "write it with engine operations to differentiate it again",
            )
        )
