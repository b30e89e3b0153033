"""Linear algebra: products of matrices and vectors; einsum and tensordot are in einsum.py.

Letters: `a`, `b`, `x` inputs; `y` output; `g` cotangent. Everything here is linear in each input,
so the adjoint of a product is a product again, with one factor transposed (a view, never a copy).
16-bit floats are multiplied and summed in float32.

Floor 3: stands on op.py, device.py and the ops files before it.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import is_host, ndarray
from ..errors import AxisError, ShapeError, hinted
from ..op import case, primitive
from ..pulls import pull_layer
from .arithmetic import multiply
from .shape import expand_dims, matrix_transpose, reshape

# --- products of matrices ---


@primitive(
    linear=(0, 1),
    cases=[
        case((3, 4), (4, 2)),
        case((4,), (4,)),
        case((4,), (4, 2)),
        case((3, 4), (4,)),
        case((2, 3, 4), (4, 2)),
        case((2, 3, 4), (4,)),
        case((4,), (2, 4, 3)),
        case((2, 1, 3, 4), (5, 4, 2)),
        case((2, 3, 4), (1, 4, 2)),
        case((0, 4), (4, 2)),
        case((3, 0), (0, 2)),
        case((2, 3, 4), (4, 0)),
        case((2, 3, 0), (0, 4)),
        case((2, 3, 0), (0,)),
    ],
)
def matmul(xp: Any, a: Any, b: Any) -> Any:
    """Product of matrices, or of stacks of them: y[..., i, j] = sum_k a[..., i, k] b[..., k, j].

    A 1-D argument counts as a row (left) or a column (right) and its axis disappears; leading axes
    broadcast. 16-bit floats accumulate in float32. Raises ShapeError where the inner
    dimensions differ.

    >>> import gradengine as ge
    >>> ge.matmul(ge.tensor([[1.0, 2.0], [3.0, 4.0]]), ge.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    try:
        if b.ndim == 2 < a.ndim and a.size:  # one large product instead of many small ones
            return product(xp, a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
        return product(xp, a, b)
    except (ValueError, AttributeError):  # a Python scalar has no ndim
        raise _mismatch("matmul", a, b) from None


def times(a: Any, b: Any) -> Any:
    """matmul for rules: two plain matrices go straight to BLAS, which gives no warnings."""
    matrices = a.__class__ is b.__class__ is ndarray and a.ndim == b.ndim == 2
    if matrices and a.dtype.char in "fd" and b.dtype.char in "fd":
        return a.dot(b)
    return matmul(a, b)


@matmul.adjoint(0)
def _(g: Any, _y: Any, a_like: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g * b if a_like.ndim == 1 else expand_dims(g, axis=-1) * b
    if a_like.ndim == 1:
        return matmul(b, expand_dims(g, axis=-1)).reshape((*g.shape[:-1], b.shape[-2]))
    return times(g, b.T if b.ndim == 2 else matrix_transpose(b))


@matmul.adjoint(1)
def _(g: Any, _y: Any, a: Any, b_like: Any) -> Any:
    if a.ndim == 1:
        return a * g if b_like.ndim == 1 else expand_dims(a, axis=-1) * expand_dims(g, axis=-2)
    if b_like.ndim == 1:
        return matmul(g.reshape((-1,)), a.reshape((math.prod(a.shape[:-1]), a.shape[-1])))
    if a.ndim == 2 or b_like.ndim > 2:
        return times(a.T if a.ndim == 2 else matrix_transpose(a), g)
    # one matrix for the whole stack: its sum over the stack is one product of long matrices
    rows = math.prod(a.shape[:-1])  # not -1, which has no answer where an axis is empty
    return times(a.reshape((rows, a.shape[-1])).T, g.reshape((rows, g.shape[-1])))


def is_half(x: Any) -> bool:
    """Whether x is of a 16-bit float type."""
    return x.dtype.itemsize == 2 and x.dtype.kind in "fV"


def product(xp: Any, a: Any, b: Any) -> Any:
    """xp.matmul, with 16-bit floats accumulated in float32."""
    if a.itemsize != 2 or not (is_half(a) and is_half(b)):
        return xp.matmul(a, b)
    y = wide_product(xp, a, b)
    return y.astype(a.dtype, copy=False) if a.dtype == b.dtype else y


def wide_product(xp: Any, a: Any, b: Any) -> Any:
    """xp.matmul; of 16-bit floats the sums as they were accumulated, in float32 on the CPU."""
    if a.itemsize != 2 or not (is_half(a) and is_half(b)):
        return xp.matmul(a, b)
    if not is_host(xp) and a.ndim == b.ndim == 2:
        return xp.matmul(a, b)  # cuBLAS accumulates 16-bit products in float32 itself
    return xp.matmul(a.astype("float32"), b.astype("float32"))


def _mismatch(name: str, a: Any, b: Any) -> ShapeError:
    """The error for matrices that do not fit, with the two sizes that differ underlined."""
    left, right = (tuple(getattr(x, "shape", ())) for x in (a, b))
    if not (left and right):
        return ShapeError(
            hinted(f"{name}: needs at least 1-D arrays, got {left} @ {right}", "scale with a * b")
        )
    inner = -2 if len(right) > 1 else -1
    if left[-1] != right[inner]:
        head = f"{name}: inner dimensions differ: "
        text = f"{head}{left} @ {right}"
        spots = [_spot(left, -1, len(head)), _spot(right, inner, len(head) + len(f"{left} @ "))]
        return ShapeError(
            hinted(
                f"{text}\n{_carets(spots)}\n"
                f"  a.shape[-1] = {left[-1]}, b.shape[{inner}] = {right[inner]}",
                "the last axis of a and the second to last of b are summed over; "
                "transpose one (b.T) or check the layer's sizes",
            )
        )
    return ShapeError(
        hinted(
            f"{name}: leading axes do not broadcast: {left} @ {right}",
            "all axes but the last two must be equal or 1",
        )
    )


def _spot(shape: tuple[int, ...], axis: int, start: int) -> tuple[int, int]:
    """Column and width of one size within `str(shape)` printed at column `start`."""
    axis %= len(shape)
    before = "".join(f"{n}, " for n in shape[:axis])
    return start + 1 + len(before), len(str(shape[axis]))


def _carets(spots: list[tuple[int, int]]) -> str:
    line = ""
    for column, width in spots:
        line = line.ljust(column) + "^" * width
    return line


# --- a layer's product ---


@primitive(
    arity=3,
    cases=[
        case((5, 4), (3, 4), (3,)),
        case((2, 3, 4), (5, 4), (5,)),
        case((4,), (3, 4), (3,)),
        case((0, 4), (3, 4), (3,)),
        case((5, 4), (3, 4)),
        case((2, 3, 0), (4, 0), (4,)),
        case((2, 3, 4), (0, 4), (0,)),
    ],
)
def linear(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """A fully connected layer in one step: y = x @ weight.T + bias.

    x (..., in), weight (out, in), bias (out,) or None; y (..., out). 16-bit floats accumulate in
    float32, the bias included. Raises ShapeError where the sizes differ.

    >>> import gradengine as ge
    >>> ge.linear(ge.tensor([1.0, 2.0]), ge.tensor([[3.0, 4.0]]), ge.tensor([0.5]))
    tensor([11.5])
    """
    ndim = x.ndim
    if weight.ndim != 2 or not ndim or x.shape[-1] != weight.shape[1]:
        raise _layer_mismatch(x, weight)
    if x.__class__ is ndarray and ndim == 2 and x.dtype is weight.dtype and x.dtype.char in "fd":
        y = x.dot(weight.T)  # the same BLAS as matmul, in half the time to get there
        if bias is None or bias.dtype is not y.dtype:
            return y if bias is None else y + bias
        y += bias
        return y
    rows = x.reshape(-1, x.shape[-1]) if ndim > 2 and x.size else x
    half = x.itemsize == 2 and is_half(x)
    y = wide_product(xp, rows, weight.T) if half else xp.matmul(rows, weight.T)
    if bias is not None:
        if bias.dtype == y.dtype:
            y += bias
        else:
            y = y + bias
    if half:
        y = y.astype(xp.result_type(x, weight, *(() if bias is None else (bias,))), copy=False)
    return y.reshape(*x.shape[:-1], weight.shape[0]) if rows is not x else y


@linear.adjoint(0)
def _(g: Any, _y: Any, _x: Any, weight: Any, _bias: Any) -> Any:
    return times(g, weight)


@linear.adjoint(1)
def _(g: Any, _y: Any, x: Any, _weight: Any, _bias: Any) -> Any:
    if g.ndim != 2:
        rows = math.prod(g.shape[:-1])
        g, x = g.reshape((rows, g.shape[-1])), x.reshape((rows, x.shape[-1]))
    return times(g.T, x)


@linear.adjoint(2)
def _(g: Any, _y: Any, _x: Any, _weight: Any, _bias: Any) -> Any:
    return g  # summed over the rows by the engine


linear.op.pull = pull_layer(linear.op)


def _layer_mismatch(x: Any, weight: Any) -> ShapeError:
    left, right = tuple(x.shape), tuple(weight.shape)
    if not left or len(right) != 2:
        return ShapeError(
            hinted(
                f"linear: x {left} and weight {right} are no rows and no matrix",
                "x is (..., in), weight (out, in)",
            )
        )
    head = f"linear: x {left} @ weight {right}.T: "
    return ShapeError(
        hinted(
            f"{head}inner dimensions differ\n"
            f"{_carets([_spot(left, -1, 10), _spot(right, 1, len(f'linear: x {left} @ weight '))])}"
            f"\n  x.shape[-1] = {left[-1]}, weight.shape[1] = {right[1]}",
            f"the layer expects {right[1]} features; it received {left[-1]}",
        )
    )


# --- products of vectors ---


def inner(xp: Any, a: Any, b: Any) -> Any:
    """Sum of a*b over the last axis, the others broadcast; in float32 for 16-bit floats."""
    if is_half(a) and is_half(b):
        y = inner(xp, a.astype("float32"), b.astype("float32"))
        return y.astype(a.dtype) if a.dtype == b.dtype else y
    return xp.vecdot(a, b) if hasattr(xp, "vecdot") else (a * b).sum(axis=-1)


@primitive(
    linear=(0, 1),
    arity=2,
    cases=[
        case((4,), (4,)),
        case((3, 4), (4,)),
        case((4, 3), (2, 4, 1), axis=-2),
        case((0, 3), (3,)),
        case((3, 0), (3, 0)),
    ],
)
def vecdot(xp: Any, a: Any, b: Any, axis: int = -1) -> Any:
    """Products of vectors: y = sum_i a[..., i] b[..., i] along `axis`, the other axes broadcast.

    `axis` counts from the end, in either array. Raises ShapeError where the two differ in size.

    >>> import gradengine as ge
    >>> ge.vecdot(ge.tensor([1.0, 2.0]), ge.tensor([3.0, 4.0])).item()
    11.0
    """
    shortest = min(a.ndim, b.ndim)
    if not -shortest <= axis < 0 and not (a.ndim == b.ndim and 0 <= axis < shortest):
        raise AxisError(
            hinted(
                f"vecdot: axis {axis} of {tuple(a.shape)} and {tuple(b.shape)}",
                f"axes count from the end here: {-shortest} to -1",
            )
        )
    if a.shape[axis] != b.shape[axis]:
        raise ShapeError(
            hinted(
                f"vecdot: {tuple(a.shape)} and {tuple(b.shape)} differ along axis {axis}: "
                f"{a.shape[axis]} and {b.shape[axis]}",
                "that axis is summed over and is not broadcast",
            )
        )
    return inner(xp, xp.moveaxis(a, axis, -1), xp.moveaxis(b, axis, -1))


@vecdot.adjoint(0)
def _(g: Any, _y: Any, _a: Any, b: Any, axis: int) -> Any:
    return expand_dims(g, axis=axis) * b


@vecdot.adjoint(1)
def _(g: Any, _y: Any, a: Any, _b: Any, axis: int) -> Any:
    return expand_dims(g, axis=axis) * a


def outer(a: Any, b: Any) -> Any:
    """Outer product of two vectors: y[i, j] = a[i] b[j]; arrays of other ranks are flattened.

    >>> import gradengine as ge
    >>> ge.outer(ge.tensor([1.0, 2.0]), ge.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return multiply(reshape(a, (-1, 1)), reshape(b, (1, -1)))
