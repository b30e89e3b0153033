"""What an op is: one row, from which everything else is derived.

Two spellings of one `Op`. `pointwise()` states an elementwise op as a row: forward and dy/dx, from
which vjp, jvp and every higher order follow. `@primitive` with `@op.adjoint` states an op with
parameters as a real function with its adjoint right below it. Rules are ordinary engine code: the
backward pass runs them on raw arrays, and on traced arrays when a graph is asked for.

Letters: `x`, `a`, `b` inputs, `y` output, `g` cotangent, `t` tangent, `d` local derivative.
What a rule calls its arguments says what the tape must save: `x` its values, `x_like` only shape
and dtype, `_x` nothing.

Floor 2: stands on tape.py, views.py and device.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from typing import Any, cast

from . import guard, views
from .device import (
    SCALARS,
    as_array,
    common_namespace,
    invalid_raises,
    is_array,
    is_scalar_class,
    namespace,
    namespace_of,
)
from .errors import DTypeError, explain, hinted
from .tape import Like, Node, Traced, constant, fit, grad_enabled, record

registry: dict[str, Op] = {}
"""Every op by name, in the order of definition."""


# --- where an op's tests draw their inputs ---


@dataclass(frozen=True)
class Domain:
    """Where an op is smooth: values are drawn from [low, high], `gap` away from each of `avoid`."""

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    gap: float = 0.05
    integer: bool = False
    distinct: bool = False  # no two values closer than `gap` (for max, sort, ...)


def real(low: float = -2.0, high: float = 2.0, *avoid: float, gap: float = 0.05) -> Domain:
    """Real numbers between `low` and `high`, at least `gap` from the kinks and poles in `avoid`."""
    return Domain(low, high, avoid, gap)


def integers(low: int, high: int) -> Domain:
    """Integers from `low` to `high` inclusive; not differentiated."""
    return Domain(low, high, integer=True)


def distinct(low: float = -2.0, high: float = 2.0) -> Domain:
    """Real numbers of which no two are close to each other."""
    return Domain(low, high, distinct=True)


@dataclass(frozen=True)
class Draw:
    """An input of a test case: an array of `shape` from `domain`."""

    shape: tuple[int, ...]
    domain: Domain = field(default_factory=Domain)


class Case:
    """One call that the generated tests make: array inputs (shapes, draws or arrays) and params."""

    def __init__(self, *inputs: Any, **params: Any) -> None:
        self.inputs, self.params = inputs, params

    def __repr__(self) -> str:
        shown = [str(getattr(x, "shape", x)) for x in self.inputs]
        return ", ".join(shown + [f"{k}={v}" for k, v in self.params.items()])


case = Case


# --- the op ---

NONE, LIKE, VALUE = 0, 1, 2  # what a rule needs of an argument


class Op:
    """A differentiable operation; `registry` lists them all."""

    __slots__ = (
        "adjoints",
        "arity",
        "cases",
        "codes",
        "defaults",
        "differentiable",
        "doc",
        "domain",
        "forward",
        "function",
        "joint",
        "kernel",
        "linear",
        "names",
        "name",
        "partials",
        "raw",
        "strict",
        "table",
        "view",
        "wide",
    )

    def __init__(self, name: str, forward: Any, arity: int | None, **fields: Any) -> None:
        self.name, self.forward, self.arity = name, forward, arity
        self.partials: tuple[Any, ...] | None = fields.get("partials")
        self.adjoints: dict[int, Callable[..., Any]] = {}
        self.joint: Callable[..., Any] | None = None
        self.linear: tuple[int, ...] = fields.get("linear", ())
        self.kernel: str | None = fields.get("kernel")
        self.domain: Any = fields.get("domain")
        self.cases: Sequence[Case] = fields.get("cases", ())
        self.differentiable: bool = fields.get("differentiable", True)
        self.strict: bool = fields.get("strict", False)
        self.view: bool = fields.get("view", False)
        self.wide: bool = fields.get("wide", False)
        self.names: tuple[str, ...] = fields.get("names", ())
        self.defaults: dict[str, Any] = fields.get("defaults", {})
        self.doc: str = fields.get("doc", "")
        self.codes: dict[tuple[bool, ...], tuple[int, ...]] = {}
        self.raw = _Raw(self)
        self.table: Any = None
        self.function: Any = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    # --- forward ---

    def compute(self, xp: Any, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """The forward formula on raw arrays; 16-bit floats are computed in float32 if `wide`."""
        if isinstance(self.forward, str):
            return getattr(xp, self.forward)(*arrays, **params)
        if self.wide and (half := _half_of(arrays)) is not None:
            y = self.forward(xp, *(_widen(x) for x in arrays), **params)
            return y.astype(half) if y.dtype.kind == "f" else y
        return self.forward(xp, *arrays, **params)

    def run(self, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """Apply the op to raw, traced or dual arrays: the general path behind every call."""
        raws: list[Any] = []
        nodes: list[Node | None] = []
        plain, dual, foreign = None, None, False
        for x in arrays:
            if isinstance(x, Traced):
                plain = x.plain
                if x.level and (dual is None or x.level > dual.level):
                    dual = x
                raws.append(x.array)
                nodes.append(x.node)
            else:
                foreign = foreign or is_array(x)
                raws.append(as_array(x) if isinstance(x, (list, tuple)) else x)
                nodes.append(None)
        if dual is not None:
            return cast(Any, dual).push(self, arrays, params)
        try:
            y = self.compute(common_namespace(raws, self.name), raws, params)
        except Exception as error:
            raise explain(self.name, error, raws, params) from error
        return y if plain is None else self._wrap(plain, y, raws, nodes, params, arrays, foreign)

    def guarded(self, function: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        """`function(xp, *arrays, **params)`, its errors translated as this op's."""
        try:
            return function(common_namespace(arrays, self.name), *arrays, **params)
        except Exception as error:
            raise explain(self.name, error, arrays, params) from error

    def wrap(self, y: Any, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """A traced `y` that was computed from traced `arrays` outside, as this op would have."""
        raws, nodes = [x.array for x in arrays], [x.node for x in arrays]
        return self._wrap(arrays[0].plain, y, raws, nodes, params, arrays, False)

    def _wrap(
        self,
        plain: Any,
        y: Any,
        raws: Sequence[Any],
        nodes: Sequence[Node | None],
        params: dict[str, Any],
        arrays: Sequence[Any],
        foreign: bool,
    ) -> Any:
        if not is_array(y):
            y = as_array(y)
        live = self.differentiable and any(n is not None for n in nodes) and grad_enabled()
        if live and y.dtype.kind in "fcV":
            if foreign:
                _expose_operands(arrays)
            codes = self._codes(tuple(n is not None for n in nodes))
            saved = (_keep(y, codes[0]), *map(_keep, raws, codes[1:]))
            meta = tuple((x.shape, x.dtype) if is_array(x) else None for x in raws)
            _refuse_complex(self.name, y.dtype, meta, nodes)
            out = record(plain, self, y, tuple(nodes), saved, params, meta)
        else:
            out = constant(plain, y)
        if self.view and views.shares_memory(y, raws[0]):
            views.link(out, arrays[0], self, params)
        return out

    # --- what the tape saves ---

    def _codes(self, mask: tuple[bool, ...]) -> tuple[int, ...]:
        """For y and each input: what the rules of the inputs in `mask` read of it."""
        found = self.codes.get(mask)
        if found is None:
            rules = [self._rule(i) for i, needed in enumerate(mask) if needed]
            reads = [_reads(rule, skip, len(mask)) for rule, skip in rules]
            found = tuple(max(column) for column in zip(*reads, strict=True))
            self.codes[mask] = found
        return found

    def _rule(self, i: int) -> tuple[Any, int]:
        """The rule for input `i`, and how many arguments stand before `y` in it."""
        if self.partials is not None:
            return self.partials[i], 0
        rule = self.adjoints.get(i, self.joint)
        if rule is None:
            raise NotImplementedError(f"{self.name}: input {i} has no derivative rule")
        return rule, 1

    # --- backward ---

    def pull(self, node: Node, g: Any, graph: bool) -> Any:
        """Cotangents of a recorded step's inputs, each with the node it goes to."""
        inputs, saved, meta, params = node.inputs, node.saved, node.meta, node.params
        if graph:
            saved = _retrace(saved, node, g.plain)
        rules = self.partials
        if rules is None or params or g.dtype.itemsize == 2:
            found = self.cotangents(
                g, saved[0], saved[1:], params or {}, [n is not None for n in inputs]
            )
        else:
            found = [
                None if parent is None else self.chain(g, rule(*saved) if callable(rule) else rule)
                for parent, rule in zip(inputs, rules, strict=True)
            ]
        if meta is None:
            if params is None:
                return [(p, _fit_saved(c, x)) for p, c, x in zip(inputs, found, saved[1:])]
            return zip(inputs, found, strict=True)
        return [
            (parent, None if parent is None or c is None else fit(c, *m))
            for parent, c, m in zip(inputs, found, meta, strict=True)
        ]

    def cotangents(
        self, g: Any, y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
    ) -> list[Any]:
        """The vjp: for each needed input its cotangent, before broadcasting is summed away."""
        if self.partials is not None:
            if g.dtype.itemsize == 2:  # local derivatives of 16-bit floats in float32
                half, g, y, xs = g.dtype, _widen(g), _widen(y), [_widen(x) for x in xs]
                found = self._chained(g, y, xs, params, needed)
                return [c if c is None else c.astype(half) for c in found]
            return self._chained(g, y, xs, params, needed)
        if self.joint is not None and not self.adjoints:
            return list(self.joint(g, y, *xs, **params))
        return [
            self._rule(i)[0](g, y, *xs, **params) if need else None for i, need in enumerate(needed)
        ]

    def _chained(
        self, g: Any, y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
    ) -> list[Any]:
        partials = self.partials or ()
        return [
            self.chain(g, _local(partials[i], y, xs, params)) if need else None
            for i, need in enumerate(needed)
        ]

    def chain(self, g: Any, d: Any) -> Any:
        """g*d: the chain rule for one elementwise step.

        For ops with singular points, 0 times anything is 0: what a mask has cut off stays cut off.
        """
        if d.__class__ is int or d.__class__ is float:
            return g if d == 1 else -g if d == -1 else zero_like(g) if d == 0 else g * d
        return strict_multiply(g, d) if self.strict else g * d

    # --- forward mode ---

    def tangent(
        self, y: Any, xs: Sequence[Any], ts: Sequence[Any], params: dict[str, Any]
    ) -> Any | None:
        """The jvp where the row states it: pointwise ops, and ops linear in each input.

        None stands for a tangent that is zero; NotImplemented for ops that state an adjoint only.
        """
        total = None
        for i, t in enumerate(ts):
            if t is None:
                continue
            if self.partials is not None:
                part = self._pointwise_tangent(i, t, y, xs, params)
            elif i in self.linear:
                part = self.run([*xs[:i], t, *xs[i + 1 :]], params)
            else:
                return NotImplemented
            total = part if total is None else total + part
        return total

    def _pointwise_tangent(
        self, i: int, t: Any, y: Any, xs: Sequence[Any], params: dict[str, Any]
    ) -> Any:
        partials = self.partials or ()
        dtype = y.dtype
        if dtype.itemsize == 2:
            t, y, xs = _widen(t), _widen(y), [_widen(x) for x in xs]
        part = self.chain(t, _local(partials[i], y, xs, params))
        if part.shape != y.shape:
            part = part + zero_like(y)
        return part if part.dtype == dtype else part.astype(dtype)


def _fit_saved(c: Any, x: Any) -> Any:
    """A cotangent in the shape and dtype of its input, where the input itself was saved."""
    if x is None or c is None or x.__class__ is float or x.__class__ is int:
        return c
    return c if c.shape == x.shape and c.dtype is x.dtype else fit(c, x.shape, x.dtype)


def _local(rule: Any, y: Any, xs: Sequence[Any], params: dict[str, Any]) -> Any:
    return rule(y, *xs, **params) if callable(rule) else rule


def _reads(rule: Any, skip: int, count: int) -> list[int]:
    """What a rule reads of y and of each of `count` inputs, from the names of its arguments."""
    if not callable(rule):
        return [NONE] * (count + 1)
    code = cast(Any, rule).__code__
    names = code.co_varnames[skip : code.co_argcount]
    if code.co_flags & inspect.CO_VARARGS:
        names += (code.co_varnames[code.co_argcount + code.co_kwonlyargcount],) * count
    return [
        NONE if n.startswith("_") else LIKE if n.endswith("_like") else VALUE
        for n in names[: count + 1]
    ]


def _keep(x: Any, code: int) -> Any:
    if code == VALUE:
        return x
    return Like(x.shape, x.dtype) if code == LIKE and is_array(x) else None


def _retrace(saved: Sequence[Any], node: Node, plain: type[Any]) -> list[Any]:
    """Saved arrays as traced ones, with the nodes they came from: y from this node, x from its input."""
    wrapped: list[Any] = []
    for x, origin in zip(saved, (node, *node.inputs), strict=True):
        if is_array(x):
            x = constant(plain, x)
            x.node = origin
        wrapped.append(x)
    return wrapped


def _half_of(arrays: Sequence[Any]) -> Any:
    """The 16-bit float dtype of `arrays` if all their floats are of one, else None."""
    found = None
    for x in arrays:
        if is_array(x) and x.dtype.kind in "fV":
            if x.dtype.itemsize != 2 or (found is not None and x.dtype != found):
                return None
            found = x.dtype
    return found


def _widen(x: Any) -> Any:
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.itemsize == 2 and dtype.kind in "fV":
        return x.astype("float32")
    return x


def _expose_operands(arrays: Sequence[Any]) -> None:
    """Raw arrays among the operands belong to the caller, who may change them."""
    for x in arrays:
        if not isinstance(x, Traced) and is_array(x):
            guard.expose(x, saved_before=False)


def _refuse_complex(name: str, dtype: Any, meta: Sequence[Any], nodes: Sequence[Any]) -> None:
    if dtype.kind == "c":
        kinds = [m[1].kind for m, n in zip(meta, nodes, strict=True) if m is not None and n]
        if "c" not in kinds:
            raise DTypeError(
                hinted(
                    f"{name}: a real tensor that requires a gradient met a complex one",
                    "keep real and imaginary parts in two real tensors, or detach()",
                )
            )


# --- rows: elementwise ops ---


def pointwise(
    name: str,
    *,
    forward: str | Callable[..., Any],
    partial: Any = None,
    partials: Sequence[Any] | None = None,
    sample: Any = None,
    kernel: str | None = None,
    strict: bool = False,
    differentiable: bool = True,
    arity: int | None = None,
    wide: bool | None = None,
    doc: str = "",
) -> Any:
    """State an elementwise op; the result is its public function.

    `forward` is a formula of `(xp, x, ...)` or the name of the array module's own function.
    `partial(y, x)` is dy/dx (a number where it is constant); ops of several inputs give
    `partials`, one for each, None for an input that has no derivative. Keyword parameters of
    the formula are parameters of the op. `strict` marks singular or masking derivatives: there
    0 * inf counts as 0. `wide` (default: for formulas) computes 16-bit floats in float32.
    """
    rules = (partial,) if partials is None else tuple(partials)
    names, defaults = ((), {}) if isinstance(forward, str) else _signature(forward)
    count = arity if arity is not None else len(rules)
    op = Op(
        name,
        forward,
        count,
        partials=rules if differentiable else None,
        domain=sample if sample is not None else Domain(),
        kernel=kernel,
        strict=strict,
        differentiable=differentiable,
        wide=callable(forward) if wide is None else wide,
        names=tuple(names[count:]),
        defaults=defaults,
        doc=doc,
    )
    if op.names:
        function = _general(op)
    else:
        op.table = (_Unary if count == 1 else _Binary if count == 2 else dict)(op)
        function = (_unary if count == 1 else _binary if count == 2 else _general)(op)
    return _publish(op, function, names[:count] or _letters(count))


def _letters(count: int) -> tuple[str, ...]:
    return ("x",) if count == 1 else ("a", "b", "c", "d")[:count]


def _signature(forward: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names after `xp`, and the defaults of the parameters."""
    code, given = cast(Any, forward).__code__, cast(Any, forward).__defaults__ or ()
    names = code.co_varnames[1 : code.co_argcount]
    defaults = dict(zip(names[len(names) - len(given) :], given, strict=True))
    keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return names + keyword, defaults | (cast(Any, forward).__kwdefaults__ or {})


def _publish(op: Op, function: Any, inputs: Sequence[str]) -> Any:
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc or f"Elementwise {op.name.replace('_', ' ')}."
    function.op = op
    kind, empty = inspect.Parameter, inspect.Parameter.empty
    listed = [kind(n, kind.POSITIONAL_ONLY) for n in inputs]
    listed += [
        kind(n, kind.POSITIONAL_OR_KEYWORD, default=op.defaults.get(n, empty)) for n in op.names
    ]
    function.__signature__ = inspect.Signature(listed)
    if op.name in registry:
        raise ValueError(f"op {op.name!r} is stated twice")
    op.function = function
    registry[op.name] = op
    return function


# --- calls: one look-up by class, then straight to the array library ---


class _Raw(dict[type, Callable[..., Any]]):
    """Class of an array -> the forward on such arrays, as directly as possible."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, cls: type) -> Callable[..., Any]:
        op, xp = self.op, _namespace_of_class(self.op.name, cls)
        if isinstance(op.forward, str):
            handler = getattr(xp, op.forward)
        elif op.wide:
            handler = lambda *xs: op.compute(xp, xs, {})  # noqa: E731
        else:
            handler = bind(op.forward, xp)
        self[cls] = handler
        return handler


class _Unary(dict[type, Callable[..., Any]]):
    """Class of the argument -> what to do with it; filled as classes appear."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, cls: type) -> Callable[..., Any]:
        if issubclass(cls, Traced):
            general = bool(cls.level) or not self.op.differentiable
            handler = self._general if general else _traced_unary(self.op)
        elif issubclass(cls, (list, tuple)):
            handler = self._lifted
        else:
            handler = self.op.raw[cls]
        self[cls] = handler
        return handler

    def _general(self, x: Any) -> Any:
        return self.op.run((x,), {})

    def _lifted(self, x: Any) -> Any:
        return self.op.function(cast(Any, Traced.plain).lift(x))


def _unary(op: Op) -> Callable[..., Any]:
    table = op.table

    def apply(x: Any, /) -> Any:
        return table[x.__class__](x)

    return apply


def _traced_unary(op: Op) -> Callable[..., Any]:
    raw, codes = op.raw, op._codes((True,))
    save_y, save_x = codes[0] == VALUE, codes[1] == VALUE

    def traced(x: Any) -> Any:
        a = x.array
        cls = a.__class__
        try:
            y = raw[cls](a)
        except Exception as error:
            raise explain(op.name, error, (a,), None) from error
        if y.__class__ is not cls:
            y = as_array(y)
        node = x.node
        if node is None or not grad_enabled():
            return constant(x.plain, y)
        return record(x.plain, op, y, (node,), (y if save_y else None, a if save_x else None))

    return traced


class _Binary(dict[tuple[type, type], Callable[..., Any]]):
    """Classes of both arguments -> what to do with them; filled as pairs appear."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, pair: tuple[type, type]) -> Callable[..., Any]:
        handler = self._handler(*pair)
        self[pair] = handler
        return handler

    def _handler(self, a: type, b: type) -> Callable[..., Any]:
        op = self.op
        is_a, is_b = issubclass(a, Traced), issubclass(b, Traced)
        if not (is_a or is_b):
            if issubclass(a, (list, tuple)) or issubclass(b, (list, tuple)):
                return self._lifted
            xps = [
                _namespace_of_class(op.name, c) for c in (a, b) if not issubclass(c, SCALARS)
            ]
            if len(set(xps)) > 1:
                return self._general
            return op.raw[a if not issubclass(a, SCALARS) else b]
        if not op.differentiable or getattr(a, "level", 0) or getattr(b, "level", 0):
            return self._scalar_or_general(a, b)
        if is_a and is_b:
            return self._general
        other = b if is_a else a
        if issubclass(other, SCALARS) or is_scalar_class(other):
            return _traced_scalar(op, first=is_a)
        return self._scalar_or_general(a, b)

    def _scalar_or_general(self, a: type, b: type) -> Callable[..., Any]:
        if issubclass(a, (list, tuple)) or issubclass(b, (list, tuple)):
            return self._lifted
        for cls in (a, b):
            if not issubclass(cls, (Traced, *SCALARS)):
                _namespace_of_class(self.op.name, cls)
        return self._general

    def _general(self, a: Any, b: Any) -> Any:
        return self.op.run((_weak(a, b), _weak(b, a)), {})

    def _lifted(self, a: Any, b: Any) -> Any:
        lift = cast(Any, Traced.plain).lift
        return self.op.function(
            *(lift(x) if isinstance(x, (list, tuple)) else x for x in (a, b))
        )


def _binary(op: Op) -> Callable[..., Any]:
    """The call of a binary row; two Tensors, the commonest pair, go straight through."""
    table, raw = op.table, op.raw
    plans = _plans(op) if op.differentiable else {}
    save_y, save_x, save_z = plans.get((True, True), (False, False, False))
    both = save_x and save_z

    def apply(a: Any, b: Any, /) -> Any:
        plain = _plain
        if a.__class__ is not plain or b.__class__ is not plain or not plans:
            return table[a.__class__, b.__class__](a, b)
        x, z = a.array, b.array
        cls = x.__class__
        if z.__class__ is not cls:
            return op.run((a, b), {})
        try:
            y = raw[cls](x, z)
        except Exception as error:
            raise explain(op.name, error, (x, z), None) from error
        if y.__class__ is not cls:
            y = as_array(y)
        m, n = a.node, b.node
        if m is None or n is None or not grad_enabled():
            return _half_traced(op, plans, a, b, y)
        meta = None
        if not both and (x.shape != z.shape or x.dtype is not z.dtype):
            meta = ((x.shape, x.dtype), (z.shape, z.dtype))
        saved = (y if save_y else None, x if save_x else None, z if save_z else None)
        return record(plain, op, y, (m, n), saved, None, meta)

    return apply


def _plans(op: Op) -> dict[tuple[bool, bool], tuple[bool, ...]]:
    """Which inputs have nodes -> whether y, a and b are saved."""
    masks = ((True, False), (False, True), (True, True))
    return {
        mask: tuple(code == VALUE for code in op._codes(mask))
        for mask in masks
        if not any(m and op.partials and op.partials[i] is None for i, m in enumerate(mask))
    }


def _half_traced(op: Op, plans: Any, a: Any, b: Any, y: Any) -> Any:
    """Two tensors of which at most one asks for a gradient."""
    m, n = a.node, b.node
    if (m is None and n is None) or not grad_enabled():
        return constant(a.plain, y)
    x, z = a.array, b.array
    meta = ((x.shape, x.dtype), (z.shape, z.dtype))
    _refuse_complex(op.name, y.dtype, meta, (m, n))
    save_y, save_x, save_z = plans[m is not None, n is not None]
    saved = (y if save_y else None, x if save_x else None, z if save_z else None)
    return record(a.plain, op, y, (m, n), saved, None, meta)


_plain: Any = None


def bind_tensor(cls: type[Any]) -> None:
    """Tell the ops which class to wrap results in; tensor.py calls this once."""
    global _plain
    _plain = Traced.plain = cls.plain = cls


def _traced_scalar(op: Op, *, first: bool) -> Callable[..., Any]:
    """A traced array with a scalar beside it: scalars are weak, the array's dtype rules."""
    raw, codes = op.raw, op._codes((first, not first))
    save_y = codes[0] == VALUE
    save_x, save_s = (c == VALUE for c in (codes[1:] if first else codes[:0:-1]))

    def traced(a: Any, b: Any) -> Any:
        t, s = (a, b) if first else (b, a)
        x = t.array
        cls = x.__class__
        dtype = x.dtype
        if (s.__class__ is not float and s.__class__ is not int) or dtype.kind == "V":
            s = _weak(s, t)
        try:
            y = raw[cls](x, s) if first else raw[cls](s, x)
        except Exception as error:
            raise explain(op.name, error, (x, s) if first else (s, x), None) from error
        if y.__class__ is not cls:
            y = as_array(y)
        node = t.node
        if node is None or not grad_enabled():
            return constant(t.plain, y)
        kept = x if save_x else None
        if not save_s:
            s = None
        meta = None
        if y.dtype is not dtype:
            meta = ((x.shape, dtype),) * 2
            _refuse_complex(op.name, y.dtype, meta, (node, node))
        if first:
            return record(
                t.plain, op, y, (node, None), (y if save_y else None, kept, s), None, meta
            )
        return record(t.plain, op, y, (None, node), (y if save_y else None, s, kept), None, meta)

    return traced


def _weak(x: Any, beside: Any) -> Any:
    """NumPy scalars beside a Tensor count as Python's; user dtypes such as bfloat16 take their own."""
    cls = x.__class__
    if cls is float or cls is int:
        if isinstance(beside, Traced) and beside.array.dtype.kind == "V":
            return as_array(x, beside.array.dtype)
        return x
    if is_scalar_class(cls) and isinstance(beside, Traced):
        return _weak(x.item(), beside) if x.dtype.kind in "fiub" else x
    return x


def _namespace_of_class(name: str, cls: type) -> Any:
    try:
        return namespace_of(cls)
    except TypeError as error:
        raise DTypeError(
            hinted(
                f"{name}: {error}", "give Tensors, NumPy or CuPy arrays, or Python scalars"
            )
        ) from None


# --- decorated pairs: ops with parameters ---


def primitive(
    forward: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    arity: int | None = None,
    linear: Sequence[int] | bool = (),
    view: bool = False,
    differentiable: bool = True,
    kernel: str | None = None,
    wide: bool = False,
    cases: Sequence[Case] = (),
) -> Any:
    """State an op with parameters: `forward(xp, *arrays, **params)`, its adjoint right below.

    The first `arity` arguments (default: those without a default value; all of `*arrays` if
    the formula takes those) are arrays, the rest are parameters. `linear` lists the inputs the op is
    linear in when the others are held: there the jvp is the op itself. `view`: the result may
    show its input's memory. `@op.adjoint` states the cotangents `(g, y, x, **params)` of all
    inputs (one value if there is one input), `@op.adjoint(i)` that of input `i` alone.
    """
    if forward is None:
        return bind(
            primitive, name=name, arity=arity, linear=linear, view=view, wide=wide,
            differentiable=differentiable, kernel=kernel, cases=cases,
        )  # fmt: skip
    names, defaults = _signature(forward)
    code = cast(Any, forward).__code__
    variadic = bool(code.co_flags & inspect.CO_VARARGS)
    count = None if variadic else arity if arity is not None else len(names) - len(defaults)
    if linear is True:
        linear = tuple(range(count or 0))
    op = Op(
        name or cast(Any, forward).__name__.rstrip("_"),
        forward,
        count,
        linear=tuple(linear) if linear else (),
        view=view,
        differentiable=differentiable,
        kernel=kernel,
        wide=wide,
        cases=cases,
        names=names if count is None else names[count:],
        defaults={k: v for k, v in defaults.items() if count is None or k in names[count:]},
        doc=inspect.cleandoc(forward.__doc__ or ""),
    )
    inputs = () if count is None else names[:count]
    optional = {n: defaults[n] for n in inputs if n in defaults}
    function = _variadic(op) if count is None else _general(op, tuple(inputs), optional)
    _publish(op, function, inputs)
    cast(Any, function).adjoint = bind(_adjoint, op)
    return function


def _adjoint(op: Op, rule: Any) -> Any:
    """Register a rule: for all inputs at once, or `adjoint(i)` as a decorator for input `i`."""
    if isinstance(rule, int):
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            op.adjoints[rule] = function
            return function

        return register
    if op.arity == 1:
        op.adjoints[0] = rule
    else:
        op.joint = rule
    return rule


def _general(
    op: Op, inputs: tuple[str, ...] = (), optional: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """A call that sorts its arguments into arrays and parameters."""
    count, names, defaults = op.arity or 0, op.names, op.defaults
    required = [n for n in names if n not in defaults]
    optional = optional or {}

    def apply(*args: Any, **params: Any) -> Any:
        if len(args) > count:
            if len(args) - count > len(names):
                raise _call_error(op, f"takes {count + len(names)} arguments, got {len(args)}")
            given = dict(zip(names, args[count:], strict=False))
            if given.keys() & params.keys():
                raise _call_error(op, f"{[*given.keys() & params.keys()]} given twice")
            params |= given
            args = args[:count]
        elif len(args) < count:
            rest = inputs[len(args) :]
            missing = [n for n in rest if n not in params and n not in optional]
            if missing or not inputs:
                raise _call_error(op, f"missing argument {missing or 'x'}")
            args += tuple(params.pop(n, optional.get(n)) for n in rest)
        if defaults:
            params = {**defaults, **params}
        if len(params) != len(names) or any(n not in params for n in required):
            unknown = [n for n in params if n not in names]
            what = f"unknown parameter {unknown}" if unknown else f"needs {required}"
            raise _call_error(op, what)
        return op.run(args, params)

    return apply


def _variadic(op: Op) -> Callable[..., Any]:
    def apply(*arrays: Any, **params: Any) -> Any:
        return op.run(arrays, {**op.defaults, **params})

    return apply


def _call_error(op: Op, what: str) -> TypeError:
    return TypeError(hinted(f"{op.name}: {what}", f"the call is {op.name}{op.function.__signature__}"))


# --- two ops the engine itself needs ---


def _strict_product(xp: Any, g: Any, d: Any) -> Any:
    checked = invalid_raises(xp)
    if checked is not None:
        try:
            with checked:
                return g * d
        except FloatingPointError:
            pass
    return xp.where((g == 0) | (d == 0), 0, g * d)


strict_multiply = pointwise(
    "strict_multiply",
    forward=_strict_product,
    partials=(lambda _y, _g, d: d, lambda _y, g, _d: g),
    strict=True,
    doc="g*d where 0 times anything, inf and nan included, is 0.",
)

zero_like = pointwise(
    "zero_like",
    forward=lambda xp, x: xp.zeros_like(x),
    partial=0,
    doc="Zeros of x's shape and dtype; constant, so its derivative is zero.",
)
