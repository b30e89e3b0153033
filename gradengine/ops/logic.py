"""What has no derivative: comparisons, logic, bits, and questions about single numbers.

All return new arrays without a history, bool but for the bitwise functions and `nextafter`.

>>> import gradengine as ge
>>> ge.less(ge.tensor([1.0, 2.0], requires_grad=True), 1.5)
tensor([ True, False])

Floor 3: stands on op.py.
"""

from __future__ import annotations

from typing import Any

from ..op import integers, pointwise

BITS = integers(0, 7)


def _stated(name: str, doc: str, *, arity: int = 2, sample: Any = None) -> Any:
    """A row without a derivative: the array module's function of that name."""
    return pointwise(name, forward=name, arity=arity, differentiable=False, sample=sample, doc=doc)


# --- comparisons ---

equal = _stated("equal", "a == b.")
not_equal = _stated("not_equal", "a != b.")
less = _stated("less", "a < b.")
less_equal = _stated("less_equal", "a <= b.")
greater = _stated("greater", "a > b.")
greater_equal = _stated("greater_equal", "a >= b.")

# --- logic: zero is false ---

logical_not = _stated("logical_not", "not x.", arity=1)
logical_and = _stated("logical_and", "a and b.")
logical_or = _stated("logical_or", "a or b.")
logical_xor = _stated("logical_xor", "Whether exactly one of a and b holds.")

# --- bits of integers and booleans ---

bitwise_invert = _stated("bitwise_invert", "~x.", arity=1, sample=BITS)
bitwise_and = _stated("bitwise_and", "a & b.", sample=BITS)
bitwise_or = _stated("bitwise_or", "a | b.", sample=BITS)
bitwise_xor = _stated("bitwise_xor", "a ^ b.", sample=BITS)
bitwise_left_shift = _stated("bitwise_left_shift", "a << b.", sample=BITS)
bitwise_right_shift = _stated("bitwise_right_shift", "a >> b, arithmetic.", sample=BITS)

# --- single numbers ---

isfinite = _stated("isfinite", "Whether x is neither infinite nor NaN.", arity=1)
isinf = _stated("isinf", "Whether x is inf or -inf.", arity=1)
isnan = _stated("isnan", "Whether x is NaN.", arity=1)
signbit = _stated("signbit", "Whether the sign bit is set: of -0.0 it is.", arity=1)
nextafter = _stated("nextafter", "The next number after a in the direction of b.")

# --- NumPy's names ---

invert = bitwise_not = bitwise_invert
left_shift = bitwise_left_shift
right_shift = bitwise_right_shift
