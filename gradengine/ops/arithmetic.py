"""Arithmetic: + - * / and their kin, choices between two arrays, remainders and signs.

Letters: `a`, `b`, `x` inputs; `y` output; each derivative is dy/d(input) of `(y, *inputs)`.
An argument spelled with a leading underscore is not read, so the tape does not save it.
Inputs broadcast; Python and NumPy scalars are weak. What the docs call dy/da at a kink is a choice.

>>> import gradengine as ge
>>> x = ge.tensor([0.0, 1.0, 4.0], requires_grad=True)
>>> ge.where(x > 0, ge.sqrt(x), x).sum().backward()
>>> x.grad  # at 0 the branch not taken, sqrt with its infinite slope, adds nothing
tensor([1.  , 0.5 , 0.25])

Floor 3: stands on op.py.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import as_array, is_scalar_class
from ..op import Draw, case, distinct, integers, pointwise, primitive, real, zero_like
from ..tape import Traced

NUMBERS = (int, float)
AWAY_FROM_ZERO = real(-2, 2, 0, gap=0.3)
BOOLEAN = integers(0, 1)
INSIDE = real(-2, 2, -1, 1)


# --- sums and products ---

add = pointwise("add", forward="add", partials=(1, 1), kernel="Add", doc="a + b.")
subtract = pointwise(
    "subtract", forward="subtract", partials=(1, -1), kernel="Subtract", doc="a - b."
)
negative = pointwise("negative", forward="negative", partial=-1, kernel="Negative", doc="-x.")
positive = pointwise("positive", forward="positive", partial=1, kernel="Positive", doc="+x.")
multiply = pointwise(
    "multiply",
    forward="multiply",
    partials=(lambda _y, _a, b: b, lambda _y, a, _b: a),
    kernel="Multiply",
    doc="a * b.",
)
square = pointwise(
    "square",
    forward="square",
    partial=lambda _y, x: 2 * x,
    kernel="Square",
    doc="x * x.",
)

# --- quotients: singular where the divisor is zero ---


def _inverse(b: Any) -> Any:
    """1 / b; Python's numbers would raise at 0."""
    return math.copysign(math.inf, b) if isinstance(b, NUMBERS) and b == 0 else 1 / b


divide = pointwise(
    "divide",
    forward="divide",
    partials=(lambda _y, _a, b: _inverse(b), lambda y, _a, b: -y / b),
    sample=(real(), AWAY_FROM_ZERO),
    kernel="Divide",
    doc="a / b; dy/da = 1/b, dy/db = -y/b.",
)
reciprocal = pointwise(
    "reciprocal",
    forward="reciprocal",
    partial=lambda y, x: -y / x,  # not -y * y, whose own derivative would meet 0 * inf
    sample=AWAY_FROM_ZERO,
    kernel="Reciprocal",
    doc="1 / x; dy/dx = -y**2.",
)

# --- whole numbers of times ---

floor_divide = pointwise(
    "floor_divide",
    forward="floor_divide",
    partials=(0, 0),
    sample=(real(2.3, 2.9), real(1.0, 1.1)),
    kernel="FloorDivide",
    doc="floor(a / b); both derivatives are 0 (at the jumps too).",
)
remainder = pointwise(
    "remainder",
    forward="remainder",
    partials=(1, lambda _y, a, b: -floor_divide(a, b)),
    sample=(real(2.3, 2.9), real(1.0, 1.1)),
    kernel="Remainder",
    doc="a - b floor(a / b), with the sign of b; dy/da = 1, dy/db = -floor(a / b).",
)

# --- signs ---

sign = pointwise(
    "sign",
    forward="sign",
    partial=0,
    sample=real(-2, 2, 0),
    kernel="Sign",
    doc="-1, 0 or 1 with the sign of x, NaN of NaN; dy/dx = 0.",
)
abs = pointwise(
    "abs",
    forward="abs",
    partial=lambda _y, x: sign(x),
    sample=real(-2, 2, 0),
    kernel="Abs",
    doc="|x|; dy/dx = sign(x), which is 0 at 0.",
)
copysign = pointwise(
    "copysign",
    forward="copysign",
    partials=(lambda y, a, _b: sign(y) * sign(a), 0),
    sample=real(-2, 2, 0),
    kernel="Copysign",
    doc="|a| with the sign of b; dy/da = sign(a) sign(y), which is 0 at a = 0; dy/db = 0.",
)

# --- scalars are weak ---


def alike(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Both inputs of a formula as arrays, a scalar in the dtype of the array beside it."""
    dtype = xp.result_type(a, b)
    return xp.asarray(a, dtype=dtype), xp.asarray(b, dtype=dtype)


def filled(x: Any, like: Any) -> Any:
    """A Python number as an array of `like`'s shape and dtype, for rules; arrays as they are."""
    return zero_like(like) + x if isinstance(x, NUMBERS) else x


def weak(*args: Any) -> tuple[Any, ...]:
    """The arguments of one call; NumPy scalars beside a Tensor become Python's, which are weak."""
    if not any(isinstance(x, Traced) for x in args):
        return args
    return tuple(x.item() if is_scalar_class(x.__class__) else x for x in args)


def _beside(x: Any, other: Any) -> Any:
    """NumPy knows bfloat16 as a user's dtype, beside which Python's floats would not be weak."""
    dtype = getattr(other, "dtype", None)
    return x if dtype is None or dtype.kind != "V" or hasattr(x, "dtype") else as_array(x, dtype)


# --- the larger and the smaller ---

outranks = pointwise(
    "outranks",
    forward=lambda xp, a, b: 0.5 * xp.add(a > b, a >= b, dtype=xp.result_type(a, b)),
    partials=(0, 0),
    sample=distinct(),
    doc="1 where a > b, 1/2 where a == b, else 0: a's share in max(a, b).",
)
maximum = pointwise(
    "maximum",
    forward="maximum",
    partials=(lambda _y, a, b: outranks(a, b), lambda _y, a, b: outranks(b, a)),
    sample=distinct(),
    kernel="Maximum",
    doc="The larger of a and b, NaN if either is; equal ones share the derivative, 1/2 each.",
)
minimum = pointwise(
    "minimum",
    forward="minimum",
    partials=(lambda _y, a, b: outranks(b, a), lambda _y, a, b: outranks(a, b)),
    sample=distinct(),
    kernel="Minimum",
    doc="The smaller of a and b, NaN if either is; equal ones share the derivative, 1/2 each.",
)

# --- choices: the adjoint selects too, it never multiplies by a mask ---


@primitive(
    name="where",
    cases=[
        case(Draw((), BOOLEAN), (), ()),
        case(Draw((2, 3), BOOLEAN), (2, 3), (2, 3)),
        case(Draw((3,), BOOLEAN), (2, 1), ()),
        case(Draw((2, 1, 1), BOOLEAN), (3,), 0.5),
        case(Draw((2, 3), BOOLEAN), -1.0, (1, 1, 1)),
        case(Draw((0, 3), BOOLEAN), (0, 3), (3,)),
    ],
)
def select(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    """Elements of a where the condition holds, of b elsewhere."""
    return xp.where(xp.asarray(condition), _beside(a, b), _beside(b, a))


@select.adjoint(0)
def _(_g: Any, _y: Any, _condition: Any, _a: Any, _b: Any) -> None:
    return None


@select.adjoint(1)
def _(g: Any, _y: Any, condition: Any, _a: Any, _b: Any) -> Any:
    return select(condition, g, 0.0)


@select.adjoint(2)
def _(g: Any, _y: Any, condition: Any, _a: Any, _b: Any) -> Any:
    return select(condition, 0.0, g)


def where(condition: Any, a: Any, b: Any, /) -> Any:
    """Elements of `a` where `condition` (boolean) holds, of `b` elsewhere; the three broadcast.

    The derivative goes to the chosen input alone: inf or NaN in the other one does not reach it,
    nor does a singular derivative upstream of that.

    >>> import gradengine as ge
    >>> ge.where([True, False], ge.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    return select(condition, *weak(a, b))


@primitive(
    name="clip",
    arity=3,
    wide=True,
    cases=[
        case(Draw((), INSIDE), -1.0, 1.0),
        case(Draw((2, 3), INSIDE), -1.0, None),
        case(Draw((3,), INSIDE), None, 1.0),
        case((2, 3), None, None),
        case(Draw((2, 3), distinct()), Draw((3,), distinct()), Draw((2, 1), distinct())),
        case(Draw((0, 3), INSIDE), -1.0, 1.0),
    ],
)
def limit(xp: Any, x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max]; None for no limit."""
    return x.copy() if min is None and max is None else xp.clip(x, min, max)


@limit.adjoint(0)
def _(g: Any, _y: Any, x: Any, min: Any, max: Any) -> Any:
    if min is not None:
        g = select(x >= min, g, 0.0)
    return g if max is None else select(x <= max, g, 0.0)


@limit.adjoint(1)
def _(g: Any, _y: Any, x: Any, min: Any, max: Any) -> Any:
    g = select(x < min, g, 0.0)
    return g if max is None else select(min <= max, g, 0.0)


@limit.adjoint(2)
def _(g: Any, _y: Any, x: Any, min: Any, max: Any) -> Any:
    above = x > max
    return select(above if min is None else above | (min > max), g, 0.0)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """min(max(x, min), max): `x` limited to [min, max], arrays or scalars; None is no limit.

    dy/dx = 1 inside and at the limits, 0 outside, where the derivative is the limit's instead.

    >>> import gradengine as ge
    >>> ge.clip(ge.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    return limit(*weak(x, min, max))


# --- NumPy's names ---

absolute = abs
mod = remainder
true_divide = divide
