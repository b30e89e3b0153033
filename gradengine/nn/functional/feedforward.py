"""The feed-forward block as a function.

Floor 6: stands on ops/feedforward.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops


def feed_forward(
    input: Any,
    weight1: Any,
    bias1: Any,
    weight2: Any,
    bias2: Any,
    activation: str = "relu",
) -> Any:
    """y = act(x W1^T + b1) W2^T + b2: x (..., in), W1 (hidden, in), W2 (out, hidden); y (..., out).

    Biases are (hidden,) and (out,), or None; `activation` is "relu" or "gelu_tanh". One op for the
    three of a feed-forward block: on a GPU two launches. Raises ShapeError where sizes differ,
    OutOfRangeError for another activation. Source: arXiv:1706.03762, equation 2.

    >>> import gradengine as ge
    >>> w1, w2 = ge.tensor([[1.0], [-1.0]]), ge.tensor([[1.0, 10.0]])
    >>> feed_forward(ge.tensor([-2.0]), w1, None, w2, ge.tensor([0.5]))
    tensor([20.5])
    """
    return ops.feed_forward(input, weight1, bias1, weight2, bias2, activation)
