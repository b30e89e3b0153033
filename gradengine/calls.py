"""How a call reaches its op: one look-up by class, then straight to the array library.

Elementwise rows have tables from the classes of their arguments to what must be done with them; the
commonest cases, Tensors among themselves and with a scalar, are written out, because the time of a
small op is spent here. Ops with parameters sort their arguments and take the general path.

Floor 2: stands on row.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial as bind
from typing import Any, cast

from .device import HOST, SCALARS, as_array, gpu, is_host, is_scalar_class, namespace_of, ndarray
from .errors import DTypeError, explain, hinted
from .formulas import SPECIAL, device_handler, formula_namespace, refuse_complex
from .hostloops import COSTLY, fill_blockwise, in_blocks
from .reads import VALUE
from .row import Op
from .tape import Traced, constant, grad_enabled, record

# --- elementwise rows ---


class Raw(dict[type, Callable[..., Any]]):
    """Class of an array -> the forward on such arrays, as directly as possible."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, cls: type) -> Callable[..., Any]:
        op, xp = self.op, formula_namespace(_namespace_of_class(self.op.name, cls))
        if isinstance(op.forward, str):
            handler = getattr(xp, op.forward)
            if is_host(xp) and op.forward in COSTLY:
                handler = in_blocks(handler)
        elif op.wide:
            handler = _wide(op, xp, op.arity == 1 and not issubclass(cls, SCALARS))
        else:
            handler = bind(op.forward, xp)
        if not is_host(xp):
            handler = device_handler(op, cls, handler)
        self[cls] = handler
        return handler


def _wide(op: Op, xp: Any, one_array: bool) -> Callable[..., Any]:
    """A formula that computes 16-bit floats in float32; for one array the test is written out.

    Such formulas are of real functions: complex arrays take the general way, which refuses them.
    """
    formula, compute = op.forward, op.compute
    if not one_array:
        return lambda *xs: compute(xp, xs, {})

    def one(x: Any) -> Any:
        return compute(xp, (x,), {}) if x.dtype.char in SPECIAL else formula(xp, x)

    return in_blocks(one) if is_host(xp) and not op.single_pass else one


class Unary(dict[type, Callable[..., Any]]):
    """Class of the argument -> what to do with it; filled as classes appear."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, cls: type) -> Callable[..., Any]:
        if issubclass(cls, Traced):
            general = bool(cls.level) or not self.op.differentiable
            traced = _traced_unary if self.op.both is None else _traced_both
            handler = self._general if general else traced(self.op)
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


def unary(op: Op) -> Callable[..., Any]:
    table = op.table

    def apply(x: Any, /) -> Any:
        return table[x.__class__](x)

    return apply


def _traced_unary(op: Op) -> Callable[..., Any]:
    raw, codes = op.raw, op.codes_for((True,))
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


def _traced_both(op: Op) -> Callable[..., Any]:
    """As above, for a row that computes its slope beside its value; the tape saves it too."""
    both, otherwise = cast(Any, op.both), _traced_unary(op)

    def fill(y: Any, slope: Any, x: Any) -> None:
        both(HOST, x, y, slope)

    def traced(x: Any) -> Any:
        a, node = x.array, x.node
        if a.__class__ is not ndarray or a.dtype.char not in "fd" or not a.ndim:
            return otherwise(x)
        if node is None or not grad_enabled():
            return otherwise(x)
        y, slope = HOST.empty_like(a), HOST.empty_like(a)
        try:
            fill_blockwise(fill, (y, slope), a)
        except Exception as error:
            raise explain(op.name, error, (a,), None) from error
        return record(x.plain, op, y, (node,), (None, a, [slope]))

    return traced


class Binary(dict[tuple[type, type], Callable[..., Any]]):
    """Classes of both arguments -> what to do with them; filled as pairs appear."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, pair: tuple[type, type]) -> Callable[..., Any]:
        handler = self._handler(*pair)
        self[pair] = handler
        return handler

    def _handler(self, a: type[Any], b: type[Any]) -> Callable[..., Any]:
        op = self.op
        is_a, is_b = issubclass(a, Traced), issubclass(b, Traced)
        if not (is_a or is_b):
            if issubclass(a, (list, tuple)) or issubclass(b, (list, tuple)):
                return self._lifted
            xps = [_namespace_of_class(op.name, c) for c in (a, b) if not issubclass(c, SCALARS)]
            if len(set(xps)) > 1:
                return self._general
            return op.raw[a if not issubclass(a, SCALARS) else b]
        if not op.differentiable or getattr(a, "level", 0) or getattr(b, "level", 0):
            return self._scalar_or_general(a, b)
        if is_a and is_b:
            return _subclass_pair(op)
        other = b if is_a else a
        if issubclass(other, SCALARS) or is_scalar_class(other):
            return _traced_scalar(op, first=is_a)
        return self._scalar_or_general(a, b)

    def _scalar_or_general(self, a: type[Any], b: type[Any]) -> Callable[..., Any]:
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
        return self.op.function(*(lift(x) if isinstance(x, (list, tuple)) else x for x in (a, b)))


def binary(op: Op) -> Callable[..., Any]:
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
        mask: tuple(code == VALUE for code in op.codes_for(mask))
        for mask in masks
        if not any(m and op.partials and op.partials[i] is None for i, m in enumerate(mask))
    }


def _subclass_pair(op: Op) -> Callable[..., Any]:
    """Two tensors one of which is of a subclass, such as a Parameter."""
    raw, plans = op.raw, _plans(op)

    def traced(a: Any, b: Any) -> Any:
        x, z = a.array, b.array
        if x.__class__ is not z.__class__:
            return op.run((a, b), {})
        try:
            y = raw[x.__class__](x, z)
        except Exception as error:
            raise explain(op.name, error, (x, z), None) from error
        return _half_traced(op, plans, a, b, y if y.__class__ is x.__class__ else as_array(y))

    return traced


def _half_traced(op: Op, plans: Any, a: Any, b: Any, y: Any) -> Any:
    """Two tensors of which perhaps only one asks for a gradient, or none."""
    m, n = a.node, b.node
    if (m is None and n is None) or not grad_enabled():
        return constant(a.plain, y)
    x, z = a.array, b.array
    meta = ((x.shape, x.dtype), (z.shape, z.dtype))
    refuse_complex(op.name, y.dtype, meta, (m, n))
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
    raw, codes = op.raw, op.codes_for((first, not first))
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
            refuse_complex(op.name, y.dtype, meta, (node, node))
        if first:
            return record(
                t.plain, op, y, (node, None), (y if save_y else None, kept, s), None, meta
            )
        return record(t.plain, op, y, (None, node), (y if save_y else None, s, kept), None, meta)

    return traced


def _weak(x: Any, beside: Any) -> Any:
    """NumPy scalars beside a Tensor count as Python's; those as bfloat16 beside NumPy's."""
    cls = x.__class__
    if cls is float or cls is int:
        if isinstance(beside, Traced) and beside.array.dtype.kind == "V":
            return x if beside.array.__class__ in gpu else as_array(x, beside.array.dtype)
        return x
    if is_scalar_class(cls) and isinstance(beside, Traced):
        return _weak(x.item(), beside) if x.dtype.kind in "fiub" else x
    return x


def _namespace_of_class(name: str, cls: type) -> Any:
    try:
        return namespace_of(cls)
    except TypeError as error:
        raise DTypeError(
            hinted(f"{name}: {error}", "give Tensors, NumPy or CuPy arrays, or Python scalars")
        ) from None


# --- ops with parameters ---


def general(
    op: Op, inputs: tuple[str, ...] = (), optional: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """A call that sorts its arguments into arrays and parameters."""
    count, names, defaults = op.arity or 0, op.names, op.defaults
    required = [n for n in names if n not in defaults]
    optional = optional or {}
    two, three = count == 2 and not op.view, count == 3 and not op.view

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
        if len(params) != len(names) or (params and any(n not in params for n in required)):
            unknown = [n for n in params if n not in names]
            what = f"unknown parameter {unknown}" if unknown else f"needs {required}"
            raise _call_error(op, what)
        if count == 1 and args[0].__class__ is _plain:
            return op.run_one(args[0], params)
        if two and args[0].__class__ is _plain and args[1].__class__ is _plain:
            return op.run_two(args[0], args[1], params)
        if three and args[0].__class__ is not ndarray:
            return op.run_three(args[0], args[1], args[2], params)
        return run(args, params)

    def run(args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Rules call ops on raw arrays, several in each step back: those need no sorting."""
        for x in args:
            if x.__class__ is not ndarray and x is not None:
                return op.run(args, params)
        if args[0] is None:
            return op.run(args, params)
        try:
            return op.direct[ndarray](*args, **params)
        except Exception as error:
            raise explain(op.name, error, args, params) from error

    def pair(a: Any, b: Any, /) -> Any:
        if a.__class__ is ndarray and b.__class__ is ndarray:
            try:
                return op.direct[ndarray](a, b)
            except Exception as error:
                raise explain(op.name, error, (a, b), {}) from error
        if a.__class__ is _plain and b.__class__ is _plain:
            return op.run_two(a, b, {})
        return run((a, b), {})

    return pair if two and inputs and not (names or optional) else apply


def variadic(op: Op) -> Callable[..., Any]:
    def apply(*arrays: Any, **params: Any) -> Any:
        return op.run(arrays, {**op.defaults, **params})

    return apply


def _call_error(op: Op, what: str) -> TypeError:
    return TypeError(
        hinted(f"{op.name}: {what}", f"the call is {op.name}{op.function.__signature__}")
    )
