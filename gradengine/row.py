"""What one op knows: its derivatives, what the tape saves for them, both modes; runs.py applies it.

Letters: `x`, `a`, `b` inputs, `y` output, `g` cotangent, `t` tangent, `d` local derivative.
What a rule calls its arguments says what the tape must save: `x` its values, `x_like` only shape
and dtype, `_x` nothing.

Floor 2: stands on runs.py, reads.py, formulas.py and tape.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .device import gpu, is_array
from .errors import GraphError, hinted
from .formulas import Direct, promoted, widen
from .reads import asks, reads
from .runs import Runs
from .samples import Case
from .tape import Node, constant, fit

registry: dict[str, Op] = {}
"""Every op by name, in the order of definition."""


class Op(Runs):
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


def _zeros(x: Any) -> Any:
    return registry["zero_like"].function(x)
