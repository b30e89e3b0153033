"""What one op knows: its forward, its derivatives, what the tape saves for them, both modes.

Letters: `x`, `a`, `b` inputs, `y` output, `g` cotangent, `t` tangent, `d` local derivative.
What a rule calls its arguments says what the tape must save: `x` its values, `x_like` only shape
and dtype, `_x` nothing.

Floor 2: stands on tape.py, views.py, reads.py, formulas.py and device.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from . import guard, views
from .device import (
    HOST,
    SCALARS,
    as_array,
    bare,
    common_namespace,
    gpu,
    is_array,
    ndarray,
)
from .errors import GraphError, explain, hinted
from .formulas import Direct, half_of, promoted, refuse_complex, refuse_complex_inputs, widen
from .reads import LIKE, VALUE, asks, like_of, reads
from .samples import Case
from .tape import Like, Node, Traced, constant, fit, grad_enabled, record

registry: dict[str, Op] = {}
"""Every op by name, in the order of definition."""
_ONE = (True,)


class Op:
    """A differentiable operation; `registry` lists them all."""

    __slots__ = (
        "adjoints",
        "arity",
        "both",
        "cases",
        "codes",
        "defaults",
        "differentiable",
        "direct",
        "doc",
        "domain",
        "forward",
        "function",
        "joint",
        "kernel",
        "linear",
        "name",
        "names",
        "partials",
        "pull",
        "raw",
        "single_pass",
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
        self.single_pass: bool = fields.get("single_pass", False)
        self.both: Callable[..., None] | None = fields.get("both")
        self.domain: Any = fields.get("domain")
        self.cases: Sequence[Case] = fields.get("cases", ())
        self.differentiable: bool = fields.get("differentiable", True)
        self.view: bool = fields.get("view", False)
        self.wide: bool = fields.get("wide", False)
        self.names: tuple[str, ...] = fields.get("names", ())
        self.defaults: dict[str, Any] = fields.get("defaults", {})
        self.doc: str = fields.get("doc", "")
        self.codes: dict[tuple[bool, ...], tuple[int, ...]] = {}
        self.direct = Direct(self)
        self.raw: Any = None
        self.pull: Callable[[Node, Any, bool], Any] = self.pull_general
        self.table: Any = None
        self.function: Any = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    # --- forward ---

    def compute(self, xp: Any, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """The forward formula on raw arrays; 16-bit floats are computed in float32 if `wide`."""
        if isinstance(self.forward, str):
            return getattr(xp, self.forward)(*arrays, **params)
        if self.wide and self.raw is not None:
            refuse_complex_inputs(self.name, arrays)
        if self.wide and (half := half_of(arrays)) is not None:
            y = self.forward(xp, *(widen(x) for x in arrays), **params)
            return y.astype(half) if y.dtype.kind == "f" else y
        return self.forward(xp, *arrays, **params)

    def run(self, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """Apply the op to raw, traced or dual arrays: the general path behind every call.

        Written out for arrays of one library, Tensors, raw or None; `_run_any` takes the rest.
        """
        raws: list[Any] = []
        nodes: list[Node | None] = []
        plain, cls, live, foreign = None, None, False, False
        for x in arrays:
            a, node = x, None
            if isinstance(x, Traced):
                plain, a, node = x.plain, x.array, x.node
                live = live or node is not None
                if x.level:
                    return self._run_any(arrays, params)
            elif x is not None:
                foreign = True
            if a is not None and a.__class__ is not cls:
                if cls is not None or (a.__class__ is not ndarray and a.__class__ not in gpu):
                    return self._run_any(arrays, params)
                cls = a.__class__
            raws.append(a)
            nodes.append(node)
        if cls is None:
            return self._run_any(arrays, params)
        try:
            y = self.direct[cls](*raws, **params)
        except Exception as error:
            raise explain(self.name, error, raws, params) from error
        if plain is None:
            return y
        if foreign and live:
            _expose_operands(arrays)
        return self._wrap(plain, y, raws, nodes, params, arrays, live)

    def _run_any(self, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """`run` for whatever else can be an operand: scalars, lists, dual numbers, subclasses."""
        raws: list[Any] = []
        nodes: list[Node | None] = []
        plain, dual, live, foreign = None, None, False, False
        for x in arrays:
            if isinstance(x, (list, tuple)):
                x = cast(Any, Traced.plain).lift(x)
            if isinstance(x, Traced):
                plain = x.plain
                if x.level and (dual is None or x.level > dual.level):
                    dual = x
                raws.append(x.array)
                nodes.append(x.node)
                live = live or x.node is not None
            else:
                if is_array(x):
                    foreign, x = True, bare(x)
                raws.append(x)
                nodes.append(None)
        if dual is not None:
            return cast(Any, dual).push(self, arrays, params)
        if plain is None and all(isinstance(x, SCALARS) for x in raws):  # no array says a dtype
            raws = [as_array(x) for x in raws]
        xp = common_namespace(raws, self.name)
        try:
            y = self.compute(xp, raws, params) if xp is HOST else self._on_device(raws, params)
        except Exception as error:
            raise explain(self.name, error, raws, params) from error
        if plain is None:
            return y
        if foreign and live:
            _expose_operands(arrays)
        return self._wrap(plain, y, raws, nodes, params, arrays, live)

    def _on_device(self, raws: Sequence[Any], params: dict[str, Any]) -> Any:
        cls = next(x.__class__ for x in raws if is_array(x))
        return self.direct[cls](*raws, **params)

    def run_one(self, x: Any, params: dict[str, Any]) -> Any:
        """`run` for one plain Tensor, written out: reductions, shapes and indexing pass here."""
        a = x.array
        try:
            y = self.direct[a.__class__](a, **params)
        except Exception as error:
            raise explain(self.name, error, (a,), params) from error
        if y.__class__ is not a.__class__:
            y = as_array(y)
        node = x.node
        if node is None or not self.differentiable or not grad_enabled():
            out = constant(x.plain, y)
        elif y.dtype.kind not in "fV":  # such as astype("int64"): no gradient passes
            refuse_complex(self.name, y.dtype, ((a.shape, a.dtype),), (node,))
            out = constant(x.plain, y)
        else:
            code_y, code_x = self.codes.get(_ONE) or self.codes_for(_ONE)
            own = (a.shape, a.dtype)
            kept = a if code_x == VALUE else Like._make(own) if code_x == LIKE else None
            saved = (y if code_y == VALUE else None, kept)
            out = record(x.plain, self, y, (node,), saved, params, (own,))
        if self.view and views.shares_memory(y, a):
            views.link(out, x, self, params)
        return out

    def run_two(self, x: Any, z: Any, params: dict[str, Any]) -> Any:
        """`run` for two plain Tensors, written out: products and losses pass here."""
        a, b = x.array, z.array
        cls = a.__class__
        if b.__class__ is not cls:
            return self.run((x, z), params)
        try:
            y = self.direct[cls](a, b, **params)
        except Exception as error:
            raise explain(self.name, error, (a, b), params) from error
        if y.__class__ is not cls:
            y = as_array(y)
        m, n = x.node, z.node
        if (m is None and n is None) or not self.differentiable or not grad_enabled():
            return constant(x.plain, y)
        if y.dtype.kind not in "fV":
            return self._wrap(x.plain, y, (a, b), (m, n), params, (x, z), True)
        mask = (m is not None, n is not None)
        code_y, code_a, code_b = self.codes.get(mask) or self.codes_for(mask)
        own, other = (a.shape, a.dtype), (b.shape, b.dtype)
        saved = (
            y if code_y == VALUE else None,
            a if code_a == VALUE else Like._make(own) if code_a == LIKE else None,
            b if code_b == VALUE else Like._make(other) if code_b == LIKE else None,
        )
        return record(x.plain, self, y, (m, n), saved, params, (own, other))

    def guarded(self, function: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        """`function(xp, *arrays, **params)`, its errors translated as this op's."""
        try:
            return function(common_namespace(arrays, self.name), *arrays, **params)
        except Exception as error:
            raise explain(self.name, error, arrays, params) from error

    def wrap(self, y: Any, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """A traced `y` that was computed from traced `arrays` outside, as this op would have."""
        raws, nodes = [x.array for x in arrays], [x.node for x in arrays]
        live = any(node is not None for node in nodes)
        return self._wrap(arrays[0].plain, y, raws, nodes, params, arrays, live)

    def _wrap(
        self,
        plain: Any,
        y: Any,
        raws: Sequence[Any],
        nodes: Sequence[Node | None],
        params: dict[str, Any],
        arrays: Sequence[Any],
        live: bool,
    ) -> Any:
        if y.__class__ is not ndarray:
            y = as_array(y)
        if live and self.differentiable and grad_enabled() and y.dtype.kind in "fcV":
            mask = tuple([node is not None for node in nodes])
            codes = self.codes.get(mask) or self.codes_for(mask)
            saved: list[Any] = [y if codes[0] == VALUE else like_of(y) if codes[0] else None]
            meta: list[Any] = []
            for x, code in zip(raws, codes[1:], strict=True):
                own = (x.shape, x.dtype) if x.__class__ is ndarray or is_array(x) else None
                meta.append(own)
                saved.append(x if code == VALUE else Like._make(own) if code and own else None)
            if y.dtype.kind == "c":
                refuse_complex(self.name, y.dtype, meta, nodes)
            out = record(plain, self, y, tuple(nodes), tuple(saved), params, tuple(meta))
        else:
            out = constant(plain, y)
        if self.view and isinstance(arrays[0], Traced) and views.shares_memory(y, raws[0]):
            views.link(out, arrays[0], self, params)
        return out

    # --- what the tape saves ---

    def codes_for(self, mask: tuple[bool, ...]) -> tuple[int, ...]:
        """For y and each input: what the rules of the inputs in `mask` read of it."""
        found = self.codes.get(mask)
        if found is None:
            rules = [self._rule(i) for i, needed in enumerate(mask) if needed]
            needs = [reads(rule, skip, len(mask)) for rule, skip in rules]
            found = tuple(max(column) for column in zip(*needs, strict=True))
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

    def pull_general(self, node: Node, g: Any, graph: bool) -> Any:
        """Cotangents of a recorded step's inputs, each with the node it goes to."""
        inputs, saved, meta, params = node.inputs, node.saved, node.meta, node.params
        found: Any = None
        if gpu and not graph and g.__class__ in gpu:
            launcher = gpu[g.__class__]
            there = launcher.elsewhere(g)
            if there is not None:
                with there:
                    return [*self.pull_general(node, g, graph)]
            found = launcher.pull(self, node, g)
        if graph:  # behind the inputs may stand a slope, for the pass over raw arrays
            saved = _retrace(saved[: 1 + len(inputs)], node, g.plain)
        rules = self.partials
        if rules is not None and meta is not None:
            saved = promoted(saved, g.dtype)
        if found is not None:
            pass
        elif rules is None or params or g.dtype.itemsize == 2:
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
                pairs = zip(inputs, found, saved[1:], strict=True)
                return [(parent, fit_saved(c, x, g)) for parent, c, x in pairs]
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
                half, g, y, xs = g.dtype, widen(g), widen(y), [widen(x) for x in xs]
                found = self._chained(g, y, xs, params, needed)
                return [c if c is None else c.astype(half) for c in found]
            return self._chained(g, y, xs, params, needed)
        if self.joint is not None and not self.adjoints:
            if asks(self.joint):
                params = {**params, "needed": needed}
            found: Any = self.joint(g, y, *xs, **params)
            if found.__class__ not in (tuple, list) or len(found) != len(xs):
                raise GraphError(
                    hinted(
                        f"{self.name}: its adjoint must return {len(xs)} cotangents in a tuple",
                        "return one for each input, None where there is none",
                    )
                )
            return list(found)
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
        """g*d, the chain rule for one elementwise step, where 0 times anything is 0.

        What a mask has cut off (g = 0) stays cut off, though d be infinite or NaN there; and a
        derivative of 0 lets nothing through, though g be infinite.
        """
        if (d.__class__ is int or d.__class__ is float) and d - d == 0:  # finite
            return g if d == 1 else -g if d == -1 else _zeros(g) if d == 0 else g * d
        return registry["strict_multiply"].function(g, d)

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
            t, y, xs = widen(t), widen(y), [widen(x) for x in xs]
        part = self.chain(t, _local(partials[i], y, xs, params))
        if part.shape != y.shape:
            part = part + _zeros(y)
        return part if part.dtype == dtype else part.astype(dtype)


def fit_saved(c: Any, x: Any, g: Any) -> Any:
    """A cotangent in the shape and dtype of its input: of `x` where that was saved, else of `g`."""
    if c is None:
        return c
    if x is None or x.__class__ is float or x.__class__ is int:
        return c if c.dtype is g.dtype else c.astype(g.dtype)
    return c if c.shape == x.shape and c.dtype is x.dtype else fit(c, x.shape, x.dtype)


def _local(rule: Any, y: Any, xs: Sequence[Any], params: dict[str, Any]) -> Any:
    return rule(y, *xs, **params) if callable(rule) else rule


def _retrace(saved: Sequence[Any], node: Node, plain: type[Any]) -> list[Any]:
    """Saved arrays as traced ones: y comes from this node, each x from its input's."""
    wrapped: list[Any] = []
    for x, origin in zip(saved, (node, *node.inputs), strict=True):
        if is_array(x):
            x = constant(plain, x)
            x.node = origin
        wrapped.append(x)
    return wrapped


def _expose_operands(arrays: Sequence[Any]) -> None:
    """Raw arrays among the operands belong to the caller, who may change them."""
    for x in arrays:
        if not isinstance(x, Traced) and is_array(x):
            guard.expose(x, saved_before=False)


def _zeros(x: Any) -> Any:
    return registry["zero_like"].function(x)
