"""What the stand-in offers of CuPy: names of functions, ufuncs and methods, with their keywords.

A test holds every name, and every call that our formulas make, to the CuPy that is installed.

Floor 1: imports nothing.
"""

from __future__ import annotations

UFUNCS = (
    *("add", "subtract", "multiply", "divide", "true_divide", "floor_divide", "remainder", "power"),
    *("negative", "positive", "absolute", "sign", "square", "sqrt", "reciprocal", "cbrt"),
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "logaddexp2"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "hypot"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "rint", "floor", "ceil", "trunc"),
    *("maximum", "minimum", "fmax", "fmin", "fmod", "mod", "copysign", "nextafter", "ldexp"),
    *("isfinite", "isinf", "isnan", "signbit", "conjugate", "deg2rad", "rad2deg", "heaviside"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("logical_and", "logical_or", "logical_xor", "logical_not"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"),
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "pow", "conj"),
    *("bitwise_invert", "bitwise_left_shift", "bitwise_right_shift"),
)
"""Elementwise functions; NumPy's second names are the same objects here and in CuPy."""

WITHOUT_BFLOAT16 = (
    *("logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "invert"),
    *("left_shift", "right_shift", "bitwise_invert", "bitwise_left_shift", "bitwise_right_shift"),
)
"""Elementwise functions that CuPy does not compute in bfloat16; nor does it `where` and `clip`."""

FUNCTIONS = (
    *("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like"),
    *("arange", "linspace", "eye", "tri", "tril", "triu", "diag", "meshgrid", "copy", "copyto"),
    *(
        "concatenate",
        "stack",
        "copyto",
        "split",
        "array_split",
        "repeat",
        "tile",
        "flip",
        "roll",
        "pad",
    ),
    *("reshape", "ravel", "moveaxis", "swapaxes", "transpose", "squeeze", "expand_dims"),
    *("broadcast_to", "broadcast_arrays", "atleast_1d", "atleast_2d", "atleast_3d", "rollaxis"),
    *("ascontiguousarray", "take", "take_along_axis", "nonzero", "argwhere", "flatnonzero"),
    *("argsort", "sort", "argmax", "argmin", "searchsorted", "unique", "unravel_index", "choose"),
    *("sum", "prod", "mean", "var", "std", "max", "min", "amax", "amin", "all", "any"),
    *("cumsum", "cumprod", "count_nonzero", "clip", "round", "around", "real", "imag", "diagonal"),
    *("trace", "matmul", "dot", "inner", "outer", "tensordot", "einsum", "vdot", "kron"),
    *("logspace", "isclose", "allclose", "array_equal", "diff", "nan_to_num", "permute_dims"),
    *("packbits",),
)

AS_THEY_ARE = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "dtype", "newaxis"),
    *("pi", "inf", "nan", "e", "iinfo", "finfo", "promote_types", "can_cast", "broadcast_shapes"),
    *("integer", "floating", "inexact", "number", "generic", "issubdtype"),
)
"""Types, constants and functions of dtypes that CuPy takes from NumPy."""

SPECIAL = ("erf", "erfc", "ndtr", "cbrt", "exp2", "expm1", "log1p", "expit", "log_expit", "xlogy")

STRIDE_TRICKS = ("as_strided", "sliding_window_view")

LINALG = ("inv", "solve", "det", "slogdet", "cholesky", "eigh", "svd", "qr", "norm", "pinv")

METHODS: dict[str, tuple[str, ...]] = {
    "all": ("axis", "out", "keepdims"),
    "any": ("axis", "out", "keepdims"),
    "argmax": ("axis", "out", "dtype", "keepdims"),
    "argmin": ("axis", "out", "dtype", "keepdims"),
    "argpartition": ("kth", "axis"),
    "argsort": ("axis", "kind"),
    "astype": ("dtype", "order", "casting", "subok", "copy"),
    "clip": ("min", "max", "out"),
    "conj": (),
    "copy": ("order",),
    "cumprod": ("axis", "dtype", "out"),
    "cumsum": ("axis", "dtype", "out"),
    "diagonal": ("offset", "axis1", "axis2"),
    "dot": ("b", "out"),
    "fill": ("value",),
    "flatten": ("order",),
    "max": ("axis", "out", "keepdims"),
    "mean": ("axis", "dtype", "out", "keepdims"),
    "min": ("axis", "out", "keepdims"),
    "nonzero": (),
    "prod": ("axis", "dtype", "out", "keepdims"),
    "ravel": ("order",),
    "repeat": ("repeats", "axis"),
    "reshape": ("order", "copy"),
    "round": ("decimals", "out"),
    "sort": ("axis", "kind"),
    "squeeze": ("axis",),
    "std": ("axis", "dtype", "out", "ddof", "keepdims"),
    "sum": ("axis", "dtype", "out", "keepdims"),
    "swapaxes": ("axis1", "axis2"),
    "take": ("indices", "axis", "out"),
    "trace": ("offset", "axis1", "axis2", "dtype", "out"),
    "transpose": (),
    "var": ("axis", "dtype", "out", "ddof", "keepdims"),
}
"""Methods of arrays and the keywords that CuPy's take."""

COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
"""Python's operators and the functions they call."""
