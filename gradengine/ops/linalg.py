"""Linear algebra: products of matrices and their kin, einsum.

Letters: `a`, `b`, `x` inputs; `y` output; `g` cotangent. Everything here is linear in each input,
so the adjoint of a product is a product again, with one factor transposed (a view, never a copy).
16-bit floats are multiplied and summed in float32.

Floor 3: stands on op.py, device.py and the ops files before it.
"""

from __future__ import annotations

from typing import Any

from ..device import is_host
from ..errors import ShapeError, hinted
from ..op import case, primitive
from .shape import expand_dims, matrix_transpose

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
    ],
)
def matmul(xp: Any, a: Any, b: Any) -> Any:
    """Product of matrices, or of stacks of them: y[..., i, j] = sum_k a[..., i, k] b[..., k, j].

    A 1-D argument counts as a row (left) or a column (right) and its axis disappears; leading axes
    broadcast. 16-bit floats accumulate in float32. Raises ShapeError where the inner
    dimensions differ.

    >>> import gradengine as ge
    >>> matmul(ge.tensor([[1.0, 2.0], [3.0, 4.0]]), ge.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    try:
        if b.ndim == 2 < a.ndim and a.size:  # one large product instead of many small ones
            return _product(xp, a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
        return _product(xp, a, b)
    except ValueError:
        raise _mismatch("matmul", a, b) from None


@matmul.adjoint(0)
def _(g: Any, _y: Any, a_like: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g * b if a_like.ndim == 1 else expand_dims(g, axis=-1) * b
    if a_like.ndim == 1:
        return matmul(b, expand_dims(g, axis=-1)).reshape((*g.shape[:-1], b.shape[-2]))
    return matmul(g, b.T if b.ndim == 2 else matrix_transpose(b))


@matmul.adjoint(1)
def _(g: Any, _y: Any, a: Any, b_like: Any) -> Any:
    if a.ndim == 1:
        return a * g if b_like.ndim == 1 else expand_dims(a, axis=-1) * expand_dims(g, axis=-2)
    if b_like.ndim == 1:
        return matmul(g.reshape((-1,)), a.reshape((-1, a.shape[-1])))
    if a.ndim == 2 or b_like.ndim > 2:
        return matmul(a.T if a.ndim == 2 else matrix_transpose(a), g)
    # one matrix for the whole stack: its sum over the stack is one product of long matrices
    return matmul(a.reshape((-1, a.shape[-1])).T, g.reshape((-1, g.shape[-1])))


def _product(xp: Any, a: Any, b: Any) -> Any:
    """xp.matmul, with 16-bit floats accumulated in float32."""
    if a.dtype.itemsize != 2 or a.dtype.kind not in "fV":
        return xp.matmul(a, b)
    if not is_host(xp) and a.ndim == b.ndim == 2:
        return xp.matmul(a, b)  # cuBLAS accumulates 16-bit products in float32 itself
    y = xp.matmul(a.astype("float32"), b.astype("float32"))
    return y.astype(a.dtype) if a.dtype == b.dtype else y


def _mismatch(name: str, a: Any, b: Any) -> ShapeError:
    """The error for matrices that do not fit, with the two sizes that differ underlined."""
    left, right = tuple(a.shape), tuple(b.shape)
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
