"""How an op's formula reaches arrays: the namespace bound, 16-bit floats widened, kernels on a GPU.

Floor 2: stands on device.py; loads cuda/dispatch.py when device arrays are first met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial as bind
from typing import Any

from .device import is_array, is_host, namespace_of
from .errors import DTypeError, hinted

# --- one handler for each class of arrays ---


class Direct(dict[type, Callable[..., Any]]):
    """Class of an array -> the forward on arrays of that class: `direct[cls](*arrays, **params)`.

    On device arrays it is the op's kernel, where it has one and the arrays fit.
    """

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op = op

    def __missing__(self, cls: type) -> Callable[..., Any]:
        op, xp = self.op, formula_namespace(namespace_of(cls))
        if op.wide or isinstance(op.forward, str):
            formula = _wide_formula(op, xp)
        else:
            formula = bind(op.forward, xp)
        if not is_host(xp):
            formula = device_handler(op, cls, formula)
        self[cls] = formula
        return formula


def formula_namespace(xp: Any) -> Any:
    """What formulas get as their `xp`: NumPy itself, or CuPy with bfloat16 made good."""
    if is_host(xp):
        return xp
    from .cuda.namespace import namespace

    return namespace(xp)


def device_handler(op: Any, cls: type, formula: Callable[..., Any]) -> Callable[..., Any]:
    """What computes `op` on device arrays; the GPU's modules are loaded when one is first met."""
    from .cuda import dispatch

    return dispatch.handler(op, cls, formula)


SPECIAL = "eEFDG"  # dtype characters of the 16-bit floats and the complex numbers


def _wide_formula(op: Any, xp: Any) -> Callable[..., Any]:
    """A formula that computes 16-bit floats in float32; for one array the test is written out."""
    compute = op.compute
    if op.arity != 1 or isinstance(op.forward, str):
        return lambda *arrays, **params: compute(xp, arrays, params)
    formula = op.forward

    def one(x: Any, **params: Any) -> Any:
        return compute(xp, (x,), params) if x.dtype.char in SPECIAL else formula(xp, x, **params)

    return one


# --- 16-bit floats and complex numbers ---


def refuse_complex_inputs(name: str, arrays: Sequence[Any]) -> None:
    """Formulas are of real functions; of complex numbers they would compute something, silently."""
    for x in arrays:
        if is_array(x) and x.dtype.kind == "c":
            raise DTypeError(
                hinted(
                    f"{name}: defined for real numbers, this array is {x.dtype}",
                    "take ge.real(x) and ge.imag(x) apart",
                )
            )


def refuse_complex(name: str, dtype: Any, meta: Sequence[Any], nodes: Sequence[Any]) -> None:
    """Raise DTypeError where inputs that ask for gradients are real and the result is complex."""
    if dtype.kind == "c":
        kinds = [m[1].kind for m, n in zip(meta, nodes, strict=True) if m is not None and n]
        if "c" not in kinds:
            raise DTypeError(
                hinted(
                    f"{name}: a real tensor that is being differentiated would become complex",
                    "keep real and imaginary parts in two real tensors, or detach()",
                )
            )


def half_of(arrays: Sequence[Any]) -> Any:
    """The 16-bit float dtype of `arrays` if all their floats are of one, else None."""
    found = None
    for x in arrays:
        if is_array(x) and x.dtype.kind in "fV":
            if x.dtype.itemsize != 2 or (found is not None and x.dtype != found):
                return None
            found = x.dtype
    return found


def widen(x: Any) -> Any:
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.itemsize == 2 and dtype.kind in "fV":
        return x.astype("float32")
    return x


def promoted(saved: Sequence[Any], dtype: Any) -> Sequence[Any]:
    """Saved operands in the dtype the forward promoted them to: 1/b of a float32 b beside a
    float64 a must not be rounded to float32.
    """
    if dtype.kind != "f" or not any(_narrower(x, dtype) for x in saved):
        return saved
    return tuple([x.astype(dtype) if _narrower(x, dtype) else x for x in saved])


def _narrower(x: Any, dtype: Any) -> bool:
    own = x.dtype if hasattr(x, "astype") else dtype
    return own.kind in "fV" and own.itemsize < dtype.itemsize
