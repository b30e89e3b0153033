"""NumPy's and CuPy's ufuncs on tensors: `np.exp(t)`, `cupy.exp(t)` stay on the tape.

A ufunc is looked up once, by its library and name, and is our op from then on. One we have no
op for is computed on the raw arrays where nothing asks for a gradient, and refused where
something does: no value leaves the tape in silence.

Floor 3: stands on ops/ and writes.py; below tensor.py.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .. import ops, writes
from ..device import SCALARS, as_array, is_array, is_scalar_class, namespace, quiet
from ..errors import GraphError, hinted
from ..tape import Traced, constant, grad_enabled

Function = Callable[..., Any]


# --- what leaves the tape ---


def tracked(t: Any) -> bool:
    """Whether `t` is a tensor whose gradient (or tangent) would be lost off the tape."""
    if not isinstance(t, Traced):
        return False
    return t.level > 0 or (t.node is not None and bool(grad_enabled()))


def leaves(tree: Any) -> list[Any]:
    """What the (nested) arguments of a call hold, in order."""
    if isinstance(tree, (list, tuple)):
        return [x for part in cast(Any, tree) for x in leaves(part)]
    if isinstance(tree, dict):
        return leaves(list(cast(Any, tree).values()))
    return [tree]


def unwrapped(tree: Any) -> Any:
    """`tree` with the raw arrays of its tensors."""
    if isinstance(tree, Traced):
        return tree.array
    if type(tree) in (list, tuple):
        parts = [unwrapped(x) for x in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    if type(tree) is dict:
        return {key: unwrapped(x) for key, x in cast(Any, tree).items()}
    return tree


def wrapped(result: Any) -> Any:
    """Arrays and NumPy's scalars in a result as constant tensors; the rest unchanged."""
    if is_array(result) or is_scalar_class(result.__class__):
        return constant(Traced.plain, as_array(result))
    if isinstance(result, (list, tuple)):
        parts = [wrapped(x) for x in cast(Any, result)]
        kind = cast(Any, result).__class__
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return result


def off_tape(name: str, function: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """`function` on the raw arrays; refused if a gradient would be lost."""
    for x in leaves([args, kwargs]):
        if tracked(x):
            raise GraphError(
                hinted(
                    f"{name}: gradengine has no derivative of it, and an argument "
                    f"{tuple(x.shape)} {x.dtype} requires a gradient",
                    "give x.detach() if no gradient is wanted, or state it with ge.custom_vjp",
                )
            )
    return wrapped(function(*unwrapped(args), **unwrapped(kwargs)))


def deliver(name: str, result: Any, out: Any, where: Any = True) -> Any:
    """Write `result` into `out`, a tensor or a raw array, and return that, as NumPy does."""
    if isinstance(out, (list, tuple)):
        if len(cast(Any, out)) != 1:
            raise TypeError(hinted(f"{name}: out= of several arrays", "assign the results"))
        (out,) = cast(Any, out)
    if out is None:
        if where is not True:
            hint = "write ge.where(condition, result, other)"
            raise TypeError(hinted(f"{name}: where= without out= leaves values undefined", hint))
        return result
    if where is not True:
        result = ops.where(where, result, out)
    if tuple(result.shape) != tuple(out.shape):
        result = ops.broadcast_to(result, tuple(out.shape))
    if isinstance(out, Traced):
        return writes.replace(out, result, f"{name}(out=)")
    if tracked(result):
        raise GraphError(
            hinted(
                f"{name}: the result requires a gradient, out= (or the left side of an in-place "
                "operator) is a raw array, which is not on the tape",
                "write a = a + t instead of a += t, or make the array a tensor: ge.tensor(a)",
            )
        )
    namespace(out).copyto(out, unwrapped(result), casting="same_kind")
    return out


# --- which op a ufunc is ---

RENAMED = {
    "absolute": "abs",
    "fabs": "abs",
    "true_divide": "divide",
    "power": "pow",
    "rint": "round",
    "conjugate": "conj",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    **{f"arc{f}": f"a{f}" for f in ("cos", "cosh", "sin", "sinh", "tan", "tanh", "tan2")},
    "expit": "sigmoid",
    "log_expit": "log_sigmoid",
}
SPECIAL = frozenset(
    {
        *("cbrt", "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln"),
        *("log1p", "log_expit", "logit", "ndtr", "psi", "softplus", "xlog1py", "xlogy"),
    }
)
"""The ufuncs of scipy.special that mean the same as our op of that name."""
CUPY_PREFIXES = ("cupyx_scipy_special_", "cupyx_scipy_", "cupy_")


def _scaled(factor: float) -> Function:
    def scaled(x: Any) -> Any:
        return x * factor

    return scaled


def _matvec(a: Any, b: Any) -> Any:
    return ops.squeeze(ops.matmul(a, ops.expand_dims(b, -1)), -1)


def _vecmat(a: Any, b: Any) -> Any:
    return ops.squeeze(ops.matmul(ops.expand_dims(a, -2), b), -2)


def _divmod(a: Any, b: Any) -> tuple[Any, Any]:
    return ops.floor_divide(a, b), ops.remainder(a, b)


COMPOSED: dict[str, Function] = {
    "deg2rad": _scaled(math.pi / 180),
    "radians": _scaled(math.pi / 180),
    "rad2deg": _scaled(180 / math.pi),
    "degrees": _scaled(180 / math.pi),
    "divmod": _divmod,
    "matvec": _matvec,
    "vecmat": _vecmat,
}


def op_named(name: str) -> Function | None:
    """Our function for a ufunc of NumPy or scipy.special called `name`."""
    composed = COMPOSED.get(name)
    return composed if composed is not None else getattr(ops, RENAMED.get(name, name), None)


_FOUND: dict[Any, Function | None] = {}


def _find(ufunc: Any) -> Function | None:
    """Our function for a ufunc object, None if it is not one of those we know."""
    if ufunc not in _FOUND:
        name, special = ufunc.__name__, sys.modules.get("scipy.special")
        known = getattr(np, name, None) is ufunc or (
            name in SPECIAL and special is not None and getattr(special, name, None) is ufunc
        )
        _FOUND[ufunc] = op_named(name) if known else None
    return _FOUND[ufunc]


# --- ufuncs and their methods ---

_DEFAULTS: dict[str, Any] = {
    "dtype": None,
    "casting": "same_kind",
    "order": "K",
    "subok": True,
    "signature": None,
    "sig": None,
}


def _options(name: str, kwargs: dict[str, Any], allowed: Sequence[str] = ()) -> dict[str, Any]:
    """The allowed options of a call; others may only be given at their defaults."""
    found: dict[str, Any] = {}
    for key, value in kwargs.items():
        if key in allowed:
            found[key] = value
        elif key not in _DEFAULTS or (value is not _DEFAULTS[key] and value != _DEFAULTS[key]):
            hint = "convert before or after: x.astype(dtype)" if key == "dtype" else "leave it out"
            raise TypeError(hinted(f"{name}: {key}={value!r} is not supported on tensors", hint))
    return found


def array_ufunc(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """A NumPy ufunc or one of its methods, met by a tensor."""
    function = _find(ufunc)
    if method == "__call__":
        if function is None or (kwargs and not ops_suffice(inputs)):
            return off_tape(ufunc.__name__, ufunc, inputs, kwargs)
        return called(ufunc.__name__, function, inputs, kwargs) if kwargs else function(*inputs)
    name = f"{ufunc.__name__}.{method}"
    if method == "at":
        raise TypeError(
            hinted(f"{name}: unbuffered writes are not recorded", "t[i] = v, or ge.scatter_add")
        )
    if method == "outer" and function is not None:
        a, b = (as_array(x) if isinstance(x, (list, *SCALARS)) else x for x in inputs)
        spread = ops.reshape(a, (*a.shape, *(1 for _ in b.shape)))
        return called(name, function, (spread, b), kwargs)
    found = METHODS.get((ufunc.__name__, method)) if function is not None else None
    if found is None:
        return off_tape(name, getattr(ufunc, method), inputs, kwargs)
    return found(name, ufunc, *inputs, **kwargs)


def ops_suffice(inputs: Any) -> bool:
    """Whether a tensor is among the inputs, not only in `out=`."""
    return any(isinstance(x, Traced) for x in inputs)


def called(name: str, function: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """Our function in place of a ufunc called with keywords."""
    options = _options(name, kwargs, ("out", "where", "axis"))
    out, where = options.pop("out", None), options.pop("where", True)
    if where is True:
        return deliver(name, function(*args, **options), out)
    with quiet():  # what `where` leaves out is computed too, and may be out of range
        return deliver(name, function(*args, **options), out, where)


def _reducing(op: str, *, dtype: bool = False) -> Function:
    """`ufunc.reduce` as our reduction; the axis is 0 by default, as NumPy has it."""

    def reduce(
        name: str,
        ufunc: Any,
        x: Any,
        axis: Any = 0,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
        **others: Any,
    ) -> Any:
        options = _options(name, others, ("dtype",) if dtype else ())
        if where is not True:
            neutral = ufunc.identity if initial is None else initial
            if neutral is None:
                raise TypeError(hinted(f"{name}: where= needs initial=", "give initial="))
            x = ops.where(where, x, neutral)
        y = getattr(ops, op)(x, axis=axis, keepdims=keepdims, **options)
        if initial is not None:
            combine = _find(ufunc)
            assert combine is not None
            y = combine(y, initial)
        return deliver(name, y, out)

    return reduce


def _accumulating(op: str) -> Function:
    def accumulate(name: str, _: Any, x: Any, axis: int = 0, out: Any = None, **k: Any) -> Any:
        return deliver(name, getattr(ops, op)(x, axis=axis, **_options(name, k, ("dtype",))), out)

    return accumulate


METHODS: dict[tuple[str, str], Function] = {
    ("add", "reduce"): _reducing("sum", dtype=True),
    ("multiply", "reduce"): _reducing("prod", dtype=True),
    ("maximum", "reduce"): _reducing("max"),
    ("minimum", "reduce"): _reducing("min"),
    ("logical_and", "reduce"): _reducing("all"),
    ("logical_or", "reduce"): _reducing("any"),
    ("logaddexp", "reduce"): _reducing("logsumexp"),
    ("add", "accumulate"): _accumulating("cumulative_sum"),
    ("multiply", "accumulate"): _accumulating("cumulative_prod"),
}


# --- CuPy's hook ---


def cupy_kernel(kernel: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A CuPy ufunc or elementwise kernel, met by a tensor.

    CuPy passes `out` by position or by keyword, after the inputs; a kernel of the user's own
    has no derivative that we know.
    """
    name: str = kernel.name
    function = None
    for prefix in CUPY_PREFIXES:
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            if prefix == "cupy_" or short in SPECIAL:
                function = op_named(short)
            break
    if function is None:
        return off_tape(name, kernel, tuple(args), kwargs)
    if len(args) > kernel.nin:
        kwargs = {**kwargs, "out": args[kernel.nin]}
        args = args[: kernel.nin]
    return called(name, function, tuple(args), kwargs)
