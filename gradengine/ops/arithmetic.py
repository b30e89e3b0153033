"""Arithmetic: + - * / ** and their kin, minimum, maximum and clip.

Letters: `a`, `b`, `x` inputs; `y` output; each derivative is dy/d(input) of `(y, *inputs)`.
An argument spelled with a leading underscore is not read, so the tape does not save it.

Floor 3: stands on op.py.
"""

from ..op import pointwise, real

# --- linear in each input ---

add = pointwise("add", forward="add", partials=(1, 1), kernel="Add", doc="a + b.")
subtract = pointwise(
    "subtract", forward="subtract", partials=(1, -1), kernel="Subtract", doc="a - b."
)
negative = pointwise("negative", forward="negative", partial=-1, kernel="Negative", doc="-x.")
positive = pointwise("positive", forward="positive", partial=1, doc="+x.")
multiply = pointwise(
    "multiply",
    forward="multiply",
    partials=(lambda _y, _a, b: b, lambda _y, a, _b: a),
    kernel="Multiply",
    doc="a * b.",
)

# --- division: singular where the divisor is zero ---

divide = pointwise(
    "divide",
    forward="divide",
    partials=(lambda _y, _a, b: 1 / b, lambda y, _a, b: -y / b),
    strict=True,
    sample=real(-2, 2, 0, gap=0.3),
    kernel="Divide",
    doc="a / b.",
)
pow = pointwise(
    "pow", forward="power",
    partials=(lambda _y, a, b: b * a ** (b - 1), lambda y, a, _b: y * log_of(a)),
    strict=True, sample=real(0.5, 2), doc="a ** b.",
)
remainder = pointwise("remainder", forward="remainder", arity=2, differentiable=False)
floor_divide = pointwise("floor_divide", forward="floor_divide", arity=2, differentiable=False)
maximum = pointwise("maximum", forward="maximum", partials=(lambda _y, a, b: (a > b) + 0.5 * (a == b), lambda _y, a, b: (b > a) + 0.5 * (a == b)), strict=True)
minimum = pointwise("minimum", forward="minimum", partials=(lambda _y, a, b: (a < b) + 0.5 * (a == b), lambda _y, a, b: (b < a) + 0.5 * (a == b)), strict=True)
abs = pointwise("abs", forward="abs", partial=lambda _y, x: (x > 0) * 1.0 - (x < 0) * 1.0)
square = pointwise("square", forward="square", partial=lambda _y, x: 2 * x)


def log_of(a):
    from .elementary import log

    return log(a)
