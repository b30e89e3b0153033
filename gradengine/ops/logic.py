"""Provisional."""
from ..op import pointwise
def _c(name, fn=None, n=2): return pointwise(name, forward=fn or name, arity=n, differentiable=False)
equal = _c("equal"); not_equal = _c("not_equal"); less = _c("less"); less_equal = _c("less_equal")
greater = _c("greater"); greater_equal = _c("greater_equal")
isnan = _c("isnan", n=1); isfinite = _c("isfinite", n=1); isinf = _c("isinf", n=1)
logical_not = _c("logical_not", n=1); logical_and = _c("logical_and"); logical_or = _c("logical_or")
bitwise_and = _c("bitwise_and"); bitwise_or = _c("bitwise_or"); bitwise_xor = _c("bitwise_xor")
bitwise_invert = _c("bitwise_invert", "invert", 1)
bitwise_left_shift = _c("bitwise_left_shift", "left_shift"); bitwise_right_shift = _c("bitwise_right_shift", "right_shift")
