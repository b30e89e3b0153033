"""Linear and bilinear maps as functions.

Floor 6: stands on ops/linalg.py and ops/einsum.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops
from gradengine.errors import ShapeError, hinted

_layer = ops.linear.op  # called with its arguments sorted


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """y = x W^T + b: x (..., in), W (out, in), b (out,) or None; y (..., out).

    W (in,) and a scalar b give y (...). Raises ShapeError where the sizes differ.

    >>> import gradengine as ge
    >>> linear(ge.tensor([1.0, 2.0]), ge.tensor([[3.0, 4.0]]))
    tensor([11.])
    """
    if len(weight.shape) == 1:
        y = ops.matmul(input, weight)
        return y if bias is None else y + bias
    return _layer.run_three(input, weight, bias, {})


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """y_k = x1^T A_k x2 + b_k: x1 (..., in1), x2 (..., in2), A (out, in1, in2); y (..., out).

    Raises ShapeError where the sizes differ.

    >>> import gradengine as ge
    >>> bilinear(ge.tensor([1.0, 2.0]), ge.tensor([3.0]), ge.tensor([[[4.0], [5.0]]]))
    tensor([42.])
    """
    given = tuple(input1.shape), tuple(input2.shape), tuple(weight.shape)
    fitting = (
        len(given[2]) == 3
        and given[0][:-1] == given[1][:-1]
        and (given[0][-1:], given[1][-1:]) == (given[2][1:2], given[2][2:])
    )
    if not fitting:
        text = f"bilinear: input1 {given[0]}, input2 {given[1]}, weight {given[2]} do not fit"
        hint = "shapes are (..., in1), (..., in2) with the same leading axes, and (out, in1, in2)"
        raise ShapeError(hinted(text, hint))
    y = ops.einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else y + bias
