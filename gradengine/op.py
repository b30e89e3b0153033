"""How ops are stated: one row each, from which everything else is derived.

Two spellings of one `Op`. `pointwise()` states an elementwise op as a row: forward and dy/dx, from
which vjp, jvp and every higher order follow. `@primitive` with `@op.adjoint` states an op with
parameters as a real function with its adjoint right below it. Rules are ordinary engine code: the
backward pass runs them on raw arrays, and on traced arrays when a graph is asked for.

Floor 2: stands on row.py, calls.py and samples.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial as bind
from typing import Any, TypeAlias, cast

from .calls import Binary, Raw, Unary, binary, general, unary, variadic
from .device import may_hold_nan
from .pulls import pull_binary, pull_each, pull_joint, pull_one, pull_unary
from .row import Op as Op
from .row import registry as registry
from .samples import Case as Case
from .samples import Domain as Domain
from .samples import Draw as Draw
from .samples import case as case
from .samples import distinct as distinct
from .samples import integers as integers
from .samples import real as real

# --- rows: elementwise ops ---

_Short: TypeAlias = Callable[[Any], Any] | Callable[[Any, Any], Any]
Formula: TypeAlias = _Short | Callable[[Any, Any, Any], Any] | Callable[[Any, Any, Any, Any], Any]
"""A lambda of a row: spelled out by length, so that type checkers know its arguments are Any."""


def pointwise(
    name: str,
    *,
    forward: str | Formula,
    partial: Formula | float | None = None,
    partials: Sequence[Formula | float | None] | None = None,
    sample: Any = None,
    kernel: str | None = None,
    both: Callable[[Any, Any, Any, Any], None] | None = None,
    single_pass: bool = False,
    differentiable: bool = True,
    arity: int | None = None,
    wide: bool | None = None,
    doc: str = "",
) -> Any:
    """State an elementwise op; the result is its public function.

    `forward` is a formula of `(xp, x, ...)` or the name of the array module's own function.
    `partial(y, x)` is dy/dx (a number where it is constant); ops of several inputs give
    `partials`, one for each, None for an input that has no derivative. Keyword parameters of
    the formula are parameters of the op. `wide` (default: for formulas) computes 16-bit floats in
    float32. `both(xp, x, y, d)` fills y and d with value and slope where they share their costly
    steps: on the CPU it is what a call takes that will be differentiated. A formula that is a
    `single_pass` over a large array gains nothing by being taken in blocks.
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
        both=both,
        single_pass=single_pass,
        differentiable=differentiable,
        wide=callable(forward) if wide is None else wide,
        names=tuple(names[count:]),
        defaults=defaults,
        doc=doc,
    )
    if both is not None and op.codes_for((True,))[0]:
        raise ValueError(f"op {name!r}: beside `both`, its partial must not read y")
    op.raw = Raw(op)
    if differentiable and count in (1, 2) and not op.names:
        op.pull = pull_unary(op) if count == 1 else pull_binary(op)
    if op.names:
        function = general(op)
    else:
        op.table = Unary(op) if count == 1 else Binary(op) if count == 2 else None
        function = (unary if count == 1 else binary if count == 2 else general)(op)
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

    The first `arity` arguments (default: those without a default value; all of `*arrays` if the
    formula takes those) are arrays, the rest are parameters. `linear` lists the inputs the op is
    linear in when the others are held: there the jvp is the op itself. `view`: the result may
    show its input's memory. `@op.adjoint` states the cotangents `(g, y, x, **params)` of all
    inputs (one value if there is one input), `@op.adjoint(i)` that of input `i` alone. A rule for
    all inputs may have a keyword `needed`: which of the cotangents will be used, the rest be None.
    """
    if forward is None:
        return bind(
            primitive, name=name, arity=arity, linear=linear, view=view, wide=wide,
            differentiable=differentiable, kernel=kernel, cases=cases,
        )  # fmt: skip
    names, defaults = _signature(forward)
    code = cast(Any, forward).__code__
    starred = bool(code.co_flags & inspect.CO_VARARGS)
    count = None if starred else arity if arity is not None else len(names) - len(defaults)
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
    function = variadic(op) if count is None else general(op, tuple(inputs), optional)
    _publish(op, function, inputs)
    cast(Any, function).adjoint = bind(_adjoint, op)
    return function


def _adjoint(op: Op, rule: Any) -> Any:
    """Register a rule: for all inputs at once, or `adjoint(i)` as a decorator for input `i`."""
    if isinstance(rule, int):

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            op.adjoints[rule] = function
            op.pull = pull_each(op) if op.joint is None else op.pull_general
            return function

        return register
    if op.arity == 1:
        op.adjoints[0] = rule
        op.pull = pull_one(op)
    else:
        op.joint = rule
        op.pull = op.pull_general if op.adjoints else pull_joint(op)
    return rule


# --- two ops the engine itself needs ---


def _strict_product(xp: Any, g: Any, d: Any) -> Any:
    y = g * d
    return xp.where((g == 0) | (d == 0), 0, y) if may_hold_nan(y) else y


strict_multiply = pointwise(
    "strict_multiply",
    forward=_strict_product,
    wide=False,
    partials=(lambda _y, _g, d: d, lambda _y, g, _d: g),
    doc="g*d where 0 times anything, inf and nan included, is 0.",
)

zero_like = pointwise(
    "zero_like",
    forward=lambda xp, x: xp.zeros_like(x),
    partial=0,
    wide=False,
    doc="Zeros of x's shape and dtype; constant, so its derivative is zero.",
)
