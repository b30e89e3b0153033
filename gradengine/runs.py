"""The forward half of an op: its formula applied to whatever a call brings, and recorded.

`run` takes anything; `run_one`, `run_two` and `run_three` are the same written out for so many
Tensors, because the time of a small op is spent here.

Floor 2: stands on tape.py, views.py, reads.py, formulas.py and device.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from . import guard, views
from .device import HOST, SCALARS, as_array, bare, common_namespace, gpu, is_array, ndarray
from .errors import explain
from .formulas import Direct, half_of, refuse_complex, refuse_complex_inputs, widen
from .reads import LIKE, VALUE, like_of
from .tape import Like, Node, Traced, constant, grad_enabled, record

_ONE = (True,)


class Runs:
    """How an op is applied; `Op` adds what it is and its way back."""

    __slots__ = ()

    name: str
    forward: Any
    codes: dict[tuple[bool, ...], tuple[int, ...]]
    differentiable: bool
    direct: Direct
    raw: Any
    view: bool
    wide: bool

    def codes_for(self, mask: tuple[bool, ...]) -> tuple[int, ...]:
        """For y and each input: what the rules of the inputs in `mask` read of it."""
        raise NotImplementedError

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

    def run_three(self, x: Any, z: Any, v: Any, params: dict[str, Any]) -> Any:
        """`run` for three Tensors of any class, the last of which may be None: layers pass here."""
        if not (isinstance(x, Traced) and isinstance(z, Traced)):
            return self.run((x, z, v), params)
        a, b, c = x.array, z.array, None
        m, n, q = x.node, z.node, None
        cls, odd = a.__class__, x.level or z.level
        if isinstance(v, Traced):
            c, q, odd = v.array, v.node, odd or v.level or v.array.__class__ is not cls
        if odd or b.__class__ is not cls or (c is None and v is not None):
            return self.run((x, z, v), params)
        try:
            y = self.direct[cls](a, b, c, **params)
        except Exception as error:
            raise explain(self.name, error, (a, b, c), params) from error
        if y.__class__ is not cls:
            y = as_array(y)
        mask = (m is not None, n is not None, q is not None)
        if y.dtype.kind not in "fV" or not (self.differentiable and any(mask) and grad_enabled()):
            return self._wrap(x.plain, y, (a, b, c), (m, n, q), params, (x, z, v), any(mask))
        code_y, code_a, code_b, code_c = self.codes.get(mask) or self.codes_for(mask)
        own, other = (a.shape, a.dtype), (b.shape, b.dtype)
        third = None if c is None else (c.shape, c.dtype)
        saved = (
            y if code_y == VALUE else like_of(y) if code_y else None,
            a if code_a == VALUE else Like._make(own) if code_a == LIKE else None,
            b if code_b == VALUE else Like._make(other) if code_b == LIKE else None,
            c if code_c == VALUE else Like._make(third) if third and code_c == LIKE else None,
        )
        return record(x.plain, self, y, (m, n, q), saved, params, (own, other, third))

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


def _expose_operands(arrays: Sequence[Any]) -> None:
    """Raw arrays among the operands belong to the caller, who may change them."""
    for x in arrays:
        if not isinstance(x, Traced) and is_array(x):
            guard.expose(x, saved_before=False)
