"""RNN, LSTM and GRU: layers of recurrences over padded, packed or unbatched sequences.

Each layer and direction is one product for the input and one op for all its steps. States can be
cut off between pieces of a long sequence with `detach()` (truncated backpropagation through time).

Floor 6: stands on nn/cells.py and nn/utils/rnn.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from gradengine import creation, ops
from gradengine.conversion import tensor
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.cells import check_nonlinearity, draw_recurrent, run_gru, run_lstm, run_rnn
from gradengine.nn.module import Module, Parameter
from gradengine.nn.utils.rnn import PackedSequence, last_rows
from gradengine.random import Generator
from gradengine.tensor import Tensor

States = Sequence[Any]


class _Recurrent(Module):
    """What the three share: weights by layer and direction, and the way through them."""

    gates: int = 1
    state_names: tuple[str, ...] = ("h_0",)
    run: ClassVar[Callable[..., tuple[Tensor, ...]]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._check_options()
        self._generator = generator
        width, real = self.gates * hidden_size, proj_size or hidden_size

        def make(name: str, *shape: int) -> None:
            setattr(self, name, Parameter(creation.empty(shape, device=device, dtype=dtype)))

        for layer in range(num_layers):
            size = input_size if layer == 0 else real * self._directions
            for suffix in self._suffixes(layer):
                make(f"weight_ih{suffix}", width, size)
                make(f"weight_hh{suffix}", width, real)
                if bias:
                    make(f"bias_ih{suffix}", width)
                    make(f"bias_hh{suffix}", width)
                if proj_size:
                    make(f"weight_hr{suffix}", proj_size, hidden_size)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw all parameters anew from U(-k, k), k = 1 / sqrt(hidden_size)."""
        draw_recurrent(self, self.hidden_size, generator)

    def _check_options(self) -> None:
        name = type(self).__name__
        for what in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, what) < 1:
                raise ShapeError(hinted(f"{name}: {what}={getattr(self, what)}", "give at least 1"))
        if not 0 <= self.dropout <= 1:
            text = f"{name}: dropout={self.dropout} is no probability"
            raise OutOfRangeError(hinted(text, "it is the share that is dropped: 0 to 1"))
        if not 0 <= self.proj_size < self.hidden_size:
            text = f"{name}: proj_size={self.proj_size} of hidden_size={self.hidden_size}"
            raise ShapeError(hinted(text, "give less than hidden_size, or 0 for no projection"))

    # --- weights ---

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _weights(self, suffix: str) -> list[Any]:
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, kind + suffix, None) for kind in kinds]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        suffixes = [s for layer in range(self.num_layers) for s in self._suffixes(layer)]
        return [[w for w in self._weights(suffix) if w is not None] for suffix in suffixes]

    def flatten_parameters(self) -> None:
        """Nothing to do: the weights are used where they are."""

    # --- the way through the layers ---

    def _walk(self, x: Tensor, sizes: tuple[int, ...], states: States) -> tuple[Tensor, States]:
        """Outputs of the last layer (rows, ...) and the last states (layers, batch, ...)."""
        finals: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = ops.dropout(x, self.dropout, generator=self._generator)
            outputs: list[Tensor] = []
            for suffix in self._suffixes(layer):
                reverse, place = suffix.endswith("reverse"), len(finals[0])
                initial = [state[place] for state in states]
                found = self._run(x, initial, self._weights(suffix), sizes, reverse)
                outputs.append(found[0])
                for final, rows in zip(finals, found, strict=True):
                    final.append(_last(rows, sizes, reverse))
            x = ops.concat(outputs, axis=1) if len(outputs) > 1 else outputs[0]
        return x, [ops.stack(final) for final in finals]

    def _run(self, *args: Any) -> tuple[Tensor, ...]:
        return type(self).run(*args)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """(output, last states): output like the input, of hidden features in each direction."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        shape = tuple(input.shape)
        self._check_input(shape)
        batched = len(shape) == 3
        x = input if batched else ops.expand_dims(input, 1)
        if batched and self.batch_first:
            x = ops.swapaxes(x, 0, 1)
        steps, batch = x.shape[:2]
        if not steps:
            text = f"{type(self).__name__}: input {shape} has no steps"
            raise ShapeError(hinted(text, "give at least one"))
        states = self._initial(x, batch, hx, batched)
        rows = ops.reshape(x, (steps * batch, self.input_size))
        y, finals = self._walk(rows, (batch,) * steps, states)
        y = ops.reshape(y, (steps, batch, y.shape[1]))
        if not batched:
            y, finals = y[:, 0], [final[:, 0] for final in finals]
        elif self.batch_first:
            y = ops.swapaxes(y, 0, 1)
        return y, self._shown(finals)

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[Any, Any]:
        x, sizes, order = packed.data, packed.sizes, packed.sorted_indices
        self._check_input((x.shape[0], 1, *x.shape[1:]))
        states = self._initial(x, sizes[0], hx, True)
        if hx is not None and order is not None:
            states = [ops.take(state, order, axis=1) for state in states]
        y, finals = self._walk(x, sizes, states)
        if packed.unsorted_indices is not None:
            finals = [ops.take(final, packed.unsorted_indices, axis=1) for final in finals]
        return packed._replace(data=y), self._shown(finals)

    # --- states ---

    def _listed(self, hx: Any) -> States:
        return [hx]

    def _shown(self, finals: States) -> Any:
        return finals[0]

    def _initial(self, x: Tensor, batch: int, hx: Any, batched: bool) -> States:
        """The states before the first step, (layers * directions, batch, features) each."""
        count = self.num_layers * self._directions
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: len(self.state_names)]
        if hx is None:
            return [
                creation.zeros((count, batch, width), dtype=x.dtype, device=x.device)
                for width in widths
            ]
        found = self._listed(hx)
        for what, state, width in zip(self.state_names, found, widths, strict=True):
            expected = (count, batch, width) if batched else (count, width)
            if tuple(state.shape) != expected:
                raise ShapeError(
                    hinted(
                        f"{type(self).__name__}: {what} {tuple(state.shape)}, expected {expected}",
                        "states are (layers * directions, batch, features)",
                    )
                )
        return found if batched else [ops.expand_dims(state, 1) for state in found]

    def _check_input(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            layout = "(batch, steps, features)" if self.batch_first else "(steps, batch, features)"
            raise ShapeError(
                hinted(
                    f"{type(self).__name__}: input {shape}, the layer expects {self.input_size} "
                    "features",
                    f"give {layout} or (steps, features); input_size={self.input_size}",
                )
            )

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        changed = {k: getattr(self, k) for k, v in defaults.items() if getattr(self, k) != v}
        return text + "".join(f", {key}={value}" for key, value in changed.items())


def _last(rows: Tensor, sizes: tuple[int, ...], reverse: bool) -> Tensor:
    """The rows of every sequence's last step; going backward, that is step 0."""
    if reverse:
        return rows[: sizes[0]]
    if sizes[0] == sizes[-1]:
        return rows[rows.shape[0] - sizes[0] :]
    return ops.take(rows, tensor(last_rows(sizes), device=rows.device), axis=0)


# --- the layers ---


class RNN(_Recurrent):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu of it, in one or more layers.

    input (steps, batch, input_size), or (batch, steps, input_size) with `batch_first`, or without
    batch, or a PackedSequence; h_0 (num_layers * directions, batch, hidden_size), zeros if not
    given. Returns (output, h_n); output has directions * hidden_size features. `dropout` acts
    between layers in training. Weights are drawn from U(-k, k), k = 1 / sqrt(hidden_size).

    >>> import gradengine as ge
    >>> output, h = RNN(3, 4)(ge.zeros((5, 2, 3)))
    >>> output.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    run = staticmethod(run_rnn)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype, generator=generator,
        )  # fmt: skip

    def _run(self, *args: Any) -> tuple[Tensor, ...]:
        return run_rnn(*args, nonlinearity=self.nonlinearity)


class LSTM(_Recurrent):
    """(h_t, c_t) = LSTMCell(x_t, (h_{t-1}, c_{t-1})) in one or more layers; see LSTMCell.

    Shapes as for RNN, with states (h_0, c_0); returns (output, (h_n, c_n)). With `proj_size` the
    output and h are projected to so many features by weight_hr (arXiv:1402.1128).

    >>> import gradengine as ge
    >>> output, (h, c) = LSTM(3, 4, num_layers=2)(ge.zeros((5, 2, 3)))
    >>> output.shape, h.shape, c.shape
    ((5, 2, 4), (2, 2, 4), (2, 2, 4))
    """

    gates = 4
    state_names = ("h_0", "c_0")
    run = staticmethod(run_lstm)

    def _listed(self, hx: Any) -> States:
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:  # pyright: ignore[reportUnknownArgumentType]
            text = f"LSTM: hx is {type(hx).__name__}"  # pyright: ignore[reportUnknownArgumentType]
            raise ShapeError(hinted(text, "give the pair (h_0, c_0)"))
        return list(hx)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

    def _shown(self, finals: States) -> Any:
        return tuple(finals)


class GRU(_Recurrent):
    """h_t = GRUCell(x_t, h_{t-1}) in one or more layers; see GRUCell. Shapes as for RNN.

    >>> import gradengine as ge
    >>> output, h = GRU(3, 4, bidirectional=True)(ge.zeros((5, 2, 3)))
    >>> output.shape, h.shape
    ((5, 2, 8), (2, 2, 4))
    """

    gates = 3
    run = staticmethod(run_gru)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype, generator=generator,
        )  # fmt: skip
