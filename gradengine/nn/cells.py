"""One step of a recurrence: RNNCell, LSTMCell and GRUCell, and the functions of whole sequences.

A cell is a sequence of one step. ops/recurrence.py and ops/gru.py have the formulas.

Floor 6: stands on ops and nn/module.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradengine import creation, ops
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn import init
from gradengine.nn.module import Module, Parameter
from gradengine.ops.gru import gru_states
from gradengine.ops.recurrence import lstm_states, rnn_states
from gradengine.ops.steps import room
from gradengine.random import Generator
from gradengine.tensor import Tensor

# --- whole sequences of packed rows ---

Weights = Sequence[Any]
"""weight_ih, weight_hh, bias_ih, bias_hh (None without biases) and, for projections, weight_hr."""


def run_rnn(
    x: Tensor, states: Sequence[Tensor], weights: Weights, sizes: Sequence[int],
    reverse: bool = False, nonlinearity: str = "tanh",
) -> tuple[Tensor, ...]:  # fmt: skip
    """(h,) of every row of x (rows, in)."""
    w_ih, w_hh, b_ih, b_hh = weights[:4]
    share = ops.linear(x, w_ih, None if b_ih is None else b_ih + b_hh)
    kind = {"sizes": tuple(sizes), "reverse": reverse, "nonlinearity": nonlinearity}
    return (rnn_states(share, states[0], w_hh, **kind),)


def run_lstm(
    x: Tensor, states: Sequence[Tensor], weights: Weights, sizes: Sequence[int],
    reverse: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(h, c) of every row of x (rows, in)."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    share = ops.linear(x, w_ih, None if b_ih is None else b_ih + b_hh)
    n = w_hh.shape[0] // 4
    gates = room(share, 4, share.shape[0], n)
    kind = {"sizes": tuple(sizes), "reverse": reverse}
    found = lstm_states(share, states[0], states[1], w_hh, w_hr, gates, **kind)
    c, h = ops.split(found, [n], axis=1)
    return h, c


def run_gru(
    x: Tensor, states: Sequence[Tensor], weights: Weights, sizes: Sequence[int],
    reverse: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(h,) of every row of x (rows, in)."""
    w_ih, w_hh, b_ih, b_hh = weights[:4]
    share = ops.linear(x, w_ih, b_ih)
    kept = room(share, share.shape[0], 4 * states[0].shape[1])
    kind = {"sizes": tuple(sizes), "reverse": reverse}
    return (gru_states(share, states[0], w_hh, b_hh, kept, **kind),)


def check_nonlinearity(name: str, nonlinearity: str) -> None:
    """tanh or relu."""
    if nonlinearity not in ("tanh", "relu"):
        text = f"{name}: nonlinearity={nonlinearity!r}"
        raise OutOfRangeError(hinted(text, 'give "tanh" or "relu"'))


# --- cells ---


class _Cell(Module):
    """What the cells share: two weights, two biases, and how states are checked."""

    gates: int = 1
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        for what, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if size < 1:
                text = f"{type(self).__name__}: {what}={size}"
                raise ShapeError(hinted(text, "give at least 1"))
        width = self.gates * hidden_size

        def make(*shape: int) -> Parameter:
            return Parameter(creation.empty(shape, device=device, dtype=dtype))

        self.weight_ih, self.weight_hh = make(width, input_size), make(width, hidden_size)
        self.bias_ih = make(width) if bias else None
        self.bias_hh = make(width) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw all parameters anew from U(-k, k), k = 1 / sqrt(hidden_size)."""
        draw_recurrent(self, self.hidden_size, generator)

    def _weights(self) -> Weights:
        return (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None)

    def _rows(self, x: Tensor, states: Sequence[Tensor] | None, count: int) -> Any:
        """x and the states as rows (batch, features); zeros for states that are not given."""
        name, shape = type(self).__name__, tuple(x.shape)
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            text = f"{name}: input {shape}, the cell expects {self.input_size} features"
            raise ShapeError(hinted(text, f"give (batch, {self.input_size}) or a vector"))
        full = (*shape[:-1], self.hidden_size)
        if states is None:
            zero = creation.zeros(full, dtype=x.dtype, device=x.device)
            states = (zero,) * count
        for state in states:
            if tuple(state.shape) != full:
                text = f"{name}: a state {tuple(state.shape)} beside input {shape}"
                raise ShapeError(hinted(text, f"give states of shape {full}"))
        if len(shape) == 1:
            return x[None], [state[None] for state in states]
        return x, states

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias={self.bias}"


def draw_recurrent(module: Module, hidden_size: int, generator: Generator | None) -> None:
    """U(-k, k) with k = 1 / sqrt(hidden_size), the distribution of all recurrent parameters."""
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters(recurse=False):
        init.uniform_(parameter, -bound, bound, generator)


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it.

    x (batch, input_size), h (batch, hidden_size), zeros if not given, or both without batch.
    Weights are drawn from U(-k, k), k = 1 / sqrt(hidden_size).

    >>> import gradengine as ge
    >>> RNNCell(3, 4)(ge.zeros((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(
            input_size, hidden_size, bias, device=device, dtype=dtype, generator=generator
        )
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, states = self._rows(input, None if hx is None else [hx], 1)
        kind = self.nonlinearity
        (h,) = run_rnn(x, states, self._weights(), (x.shape[0],), nonlinearity=kind)
        return h if len(input.shape) == 2 else h[0]

    def extra_repr(self) -> str:
        text = super().extra_repr()
        plain = self.nonlinearity == "tanh"
        return text if plain else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """(h', c') = LSTM(x, (h, c)): c' = f c + i u, h' = o tanh(c'), the gates in the order i f u o.

    x (batch, input_size), h and c (batch, hidden_size), zeros if not given, or all without batch.
    Weights are drawn from U(-k, k), k = 1 / sqrt(hidden_size). Hochreiter, Schmidhuber, Neural
    Computation 9 (1997) 1735.

    >>> import gradengine as ge
    >>> h, c = LSTMCell(3, 4)(ge.zeros((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def forward(self, input: Tensor, hx: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x, states = self._rows(input, hx, 2)
        h, c = run_lstm(x, states, self._weights(), (x.shape[0],))
        return (h, c) if len(input.shape) == 2 else (h[0], c[0])


class GRUCell(_Cell):
    """h' = (1 - z) n + z h, n = tanh(x_n + r q), the gates in the order r z n.

    x (batch, input_size), h (batch, hidden_size), zeros if not given, or both without batch.
    Weights are drawn from U(-k, k), k = 1 / sqrt(hidden_size). Cho et al., arXiv:1406.1078.

    >>> import gradengine as ge
    >>> GRUCell(3, 4)(ge.zeros(3)).shape
    (4,)
    """

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, states = self._rows(input, None if hx is None else [hx], 1)
        (h,) = run_gru(x, states, self._weights(), (x.shape[0],))
        return h if len(input.shape) == 2 else h[0]
