"""Attention as a layer: PyTorch's MultiheadAttention, with its parameters' names."""

from __future__ import annotations

from typing import Any

from gradengine import creation
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn import init
from gradengine.nn.functional.multihead import Projections, multi_head_attention
from gradengine.nn.linear import Linear
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


class MultiheadAttention(Module):
    """concat(softmax(q_h k_h' / sqrt(d) + mask) v_h) W' + b over `num_heads` heads of d features.

    Shapes: query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), batch first if
    `batch_first`, or without N. The output has query's shape; weights are (N, L, S), averaged over
    the heads unless `average_attn_weights=False`. Masks are True where a key is *ignored*, or
    are added: `attn_mask` (L, S) or (N*heads, L, S), `key_padding_mask` (N, S). With `is_causal`
    query i sees no key after i, with or without `attn_mask`. A query all of whose keys are
    ignored gets the weights 0, not NaN. Source: arXiv:1706.03762, section 3.2.2; initial
    weights as PyTorch's: xavier_uniform, biases 0.

    >>> import gradengine as ge
    >>> x = ge.zeros((5, 2, 8))
    >>> y, weights = MultiheadAttention(8, num_heads=2)(x, x, x)
    >>> y.shape, weights.shape
    ((5, 2, 8), (2, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        _check(embed_dim, num_heads, dropout)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        place: dict[str, Any] = {"device": device, "dtype": dtype}

        def parameter(*shape: int) -> Parameter:
            return Parameter(creation.zeros(shape, **place))

        one = self.kdim == embed_dim == self.vdim
        self.in_proj_weight = parameter(3 * embed_dim, embed_dim) if one else None
        self.q_proj_weight = None if one else parameter(embed_dim, embed_dim)
        self.k_proj_weight = None if one else parameter(embed_dim, self.kdim)
        self.v_proj_weight = None if one else parameter(embed_dim, self.vdim)
        self.in_proj_bias = parameter(3 * embed_dim) if bias else None
        self.bias_k = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **place, generator=generator)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Projections xavier_uniform, the added key and value xavier_normal, biases 0.

        `out_proj.weight` stays as its Linear drew it, as in PyTorch.
        """
        for name, p in self.named_parameters(recurse=False):
            if name.startswith("bias_"):
                init.xavier_normal_(p, generator=generator)
            elif p.ndim == 2:
                init.xavier_uniform_(p, generator=generator)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(output, weights); the weights are None unless `need_weights`, which costs less."""
        sizes = (self.embed_dim, self.kdim, self.vdim)
        pairs = (("query", query, "embed_dim"), ("key", key, "kdim"), ("value", value, "vdim"))
        for (name, x, setting), size in zip(pairs, sizes, strict=True):
            if not x.ndim or x.shape[-1] != size:
                raise ShapeError(
                    hinted(
                        f"MultiheadAttention: {name} {tuple(x.shape)} for {setting}={size}",
                        f"the last axis of {name} holds {size} features",
                    )
                )
        return multi_head_attention(
            query,
            key,
            value,
            self.num_heads,
            self._projections(),
            batch_first=self.batch_first,
            add_zero_attn=self.add_zero_attn,
            dropout_p=self.dropout if self.training else 0.0,
            key_padding_mask=key_padding_mask,
            attn_mask=attn_mask,
            is_causal=is_causal,
            need_weights=need_weights,
            average_attn_weights=average_attn_weights,
        )

    def _projections(self) -> Projections:
        return Projections(
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.out_proj.weight,
            self.out_proj.bias,
        )


def _check(embed_dim: int, num_heads: int, dropout: float) -> None:
    if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
        raise ShapeError(
            hinted(
                f"MultiheadAttention: embed_dim={embed_dim} does not divide into "
                f"num_heads={num_heads}",
                "each head takes embed_dim / num_heads features: choose a divisor",
            )
        )
    if not 0 <= dropout <= 1:
        raise OutOfRangeError(
            hinted(f"MultiheadAttention: dropout={dropout} is no probability", "0 to 1")
        )
