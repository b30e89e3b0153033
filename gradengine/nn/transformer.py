"""Transformers: encoder and decoder layers, stacks of them, and both as one model.

Names, arguments and masks are PyTorch's: a boolean mask is True where a key is ignored. Source:
arXiv:1706.03762; normalisation first (`norm_first`), arXiv:2002.04745.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from gradengine import creation, ops
from gradengine.errors import ShapeError, hinted
from gradengine.nn import functional, init
from gradengine.nn.activation import ReLU
from gradengine.nn.activation_gates import GELU
from gradengine.nn.attention import MultiheadAttention
from gradengine.nn.containers import ModuleList
from gradengine.nn.dropout import Dropout
from gradengine.nn.functional.feedforward import feed_forward
from gradengine.nn.hooks import hooked
from gradengine.nn.linear import Linear
from gradengine.nn.module import Module
from gradengine.nn.normalisation import LayerNorm
from gradengine.random import Generator
from gradengine.tensor import Tensor

Activation = str | Callable[[Any], Any]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": ops.relu, "gelu": ops.gelu}


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear layers, each with a residual and a LayerNorm.

    x = norm1(x + attention(x)); x = norm2(x + linear2(activation(linear1(x)))), or with
    `norm_first` x + attention(norm1(x)) and so on. Shapes: src (L, N, d_model), (N, L, d_model) if
    `batch_first`, or (L, d_model). `activation` is "relu", "gelu" or a function. With ReLU or
    GELU's tanh form, and no dropout between them, the two linear layers are one op.

    >>> import gradengine as ge
    >>> layer = TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> layer(ge.zeros((3, 5, 8))).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        drawn: dict[str, Any] = {"bias": bias, "generator": generator, **place}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, batch_first=batch_first, **drawn
        )
        self.linear1 = Linear(d_model, dim_feedforward, **drawn)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **drawn)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """`src` with what its positions have learnt of each other; masks as MultiheadAttention."""

        def attention(x: Any) -> Any:
            y = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(y[0])

        x = _residual(src, attention, self.norm1, self.norm_first)
        return _residual(x, self._feed_forward, self.norm2, self.norm_first)

    def _feed_forward(self, x: Any) -> Any:
        return self.dropout2(_two_layers(self, x))


class TransformerDecoderLayer(Module):
    """Self-attention, attention to an encoder's output `memory`, two linear layers.

    Each has a residual and a LayerNorm, as in TransformerEncoderLayer. Shapes: tgt (T, N, d_model)
    and memory (S, N, d_model), batch first if `batch_first`, or both without N.

    >>> import gradengine as ge
    >>> layer = TransformerDecoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> layer(ge.zeros((3, 5, 8)), ge.zeros((3, 7, 8)), tgt_is_causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        drawn: dict[str, Any] = {"bias": bias, "generator": generator, **place}
        heads: dict[str, Any] = {"dropout": dropout, "batch_first": batch_first, **drawn}
        self.self_attn = MultiheadAttention(d_model, nhead, **heads)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **heads)
        self.linear1 = Linear(d_model, dim_feedforward, **drawn)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **drawn)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """`tgt` with what it has learnt of itself and of `memory`; masks as MultiheadAttention."""

        def of_itself(x: Any) -> Any:
            y = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )
            return self.dropout1(y[0])

        def of_memory(x: Any) -> Any:
            masks = (memory_key_padding_mask, False, memory_mask)
            y = self.multihead_attn(x, memory, memory, *masks, is_causal=memory_is_causal)
            return self.dropout2(y[0])

        x = _residual(tgt, of_itself, self.norm1, self.norm_first)
        x = _residual(x, of_memory, self.norm2, self.norm_first)
        return _residual(x, self._feed_forward, self.norm3, self.norm_first)

    def _feed_forward(self, x: Any) -> Any:
        return self.dropout3(_two_layers(self, x))


def _residual(x: Any, branch: Callable[[Any], Any], norm: Module, norm_first: bool) -> Any:
    """x + branch(norm(x)), or norm(x + branch(x))."""
    return x + branch(norm(x)) if norm_first else norm(x + branch(x))


def _two_layers(layer: Any, x: Any) -> Any:
    """linear2(dropout(activation(linear1(x)))): one op where these are what they were built as."""
    first, drop, last = layer.linear1, layer.dropout, layer.linear2
    name = _fused_name(layer.activation)
    kinds = ((first, Linear), (drop, Dropout), (last, Linear))
    if name is None or any(type(part) is not kind or hooked(part) for part, kind in kinds):
        return last(drop(layer.activation(first(x))))
    if drop.training and drop.p:
        return last(drop(layer.activation(first(x))))
    return feed_forward(x, first.weight, first.bias, last.weight, last.bias, name)


def _fused_name(activation: Any) -> str | None:
    """What `feed_forward` calls an activation, None for one it does not know.

    GELU's tanh form is known as `partial(gelu, approximate="tanh")` and as `nn.GELU("tanh")`.
    """
    if activation in (ops.relu, functional.relu):
        return "relu"
    if isinstance(activation, Module):
        if hooked(activation):
            return None
        tanh = type(activation) is GELU and activation.approximate == "tanh"
        return "gelu_tanh" if tanh else "relu" if type(activation) is ReLU else None
    if isinstance(activation, partial):
        given = cast("partial[Any]", activation)
        tanh = given.func in (ops.gelu, functional.gelu) and not given.args
        return "gelu_tanh" if tanh and given.keywords == {"approximate": "tanh"} else None
    return None


def _activation(activation: Activation) -> Callable[[Any], Any]:
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        known = " or ".join(repr(name) for name in ACTIVATIONS)
        raise ValueError(
            hinted(f"Transformer: activation={activation!r}", f"{known}, or a function")
        )
    return ACTIVATIONS[activation]


# --- stacks ---


class TransformerEncoder(Module):
    """`num_layers` deep copies of a layer one after the other, and a `norm` at the end if given.

    As in PyTorch the copies start with equal weights. `enable_nested_tensor` and `mask_check` are
    taken for PyTorch's sake and have no effect.

    >>> import gradengine as ge
    >>> layer = TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)
    >>> TransformerEncoder(layer, num_layers=2)(ge.zeros((5, 3, 8))).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """All layers with the same masks; `is_causal` None is False: `mask` says all there is."""
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` deep copies of a decoder layer, and a `norm` at the end if given.

    >>> import gradengine as ge
    >>> layer = TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> TransformerDecoder(layer, num_layers=2)(ge.zeros((5, 3, 8)), ge.zeros((7, 3, 8))).shape
    (5, 3, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """All layers with the same memory and masks; `tgt_is_causal` None is False."""
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                bool(tgt_is_causal),
                memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


def _copies(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


# --- the whole model ---


class Transformer(Module):
    """Encoder and decoder, each with a LayerNorm at the end; matrices start xavier_uniform.

    Shapes: src (S, N, d_model), tgt (T, N, d_model), batch first if `batch_first`, or without N;
    the result has tgt's. `custom_encoder` and `custom_decoder` take the place of the stacks.
    Source: arXiv:1706.03762, figure 1.

    >>> import gradengine as ge
    >>> model = Transformer(8, 2, 1, 1, dim_feedforward=16)
    >>> mask = Transformer.generate_square_subsequent_mask(5)
    >>> model(ge.zeros((7, 3, 8)), ge.zeros((5, 3, 8)), tgt_mask=mask).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        options: dict[str, Any] = {"norm_first": norm_first, "bias": bias, **place}
        options |= {"batch_first": batch_first, "generator": generator}

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)

        self.encoder: Any = custom_encoder
        if custom_encoder is None:
            layer = TransformerEncoderLayer(*sizes, **options)
            self.encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        self.decoder: Any = custom_decoder
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*sizes, **options)
            self.decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter, generator=generator)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's view of `tgt` given the encoder's of `src`."""
        self._check(src, tgt)
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    def _check(self, src: Tensor, tgt: Tensor) -> None:
        shown = f"Transformer: src {tuple(src.shape)} and tgt {tuple(tgt.shape)}"
        if src.shape[-1:] != tgt.shape[-1:] or src.shape[-1:] != (self.d_model,):
            hint = f"both have d_model={self.d_model} features in their last axis"
            raise ShapeError(hinted(shown, hint))
        axis = 0 if self.batch_first else 1
        if src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[axis] != tgt.shape[axis]):
            hint = f"both have the same batch on axis {axis} (batch_first={self.batch_first})"
            raise ShapeError(hinted(shown, hint))

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The additive causal mask (sz, sz): -inf above the diagonal, 0 elsewhere.

        >>> Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        full = creation.full((sz, sz), float("-inf"), device=device, dtype=dtype)
        return ops.triu(full, k=1)
