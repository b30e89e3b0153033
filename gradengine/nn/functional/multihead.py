"""Attention with many heads: projections in, masks of PyTorch's layers, projection out.

Here a boolean mask is True where a key is *ignored*, as in PyTorch's layers, the opposite of
`scaled_dot_product_attention`. The arithmetic of nn.MultiheadAttention.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gradengine import ops
from gradengine.creation import ones
from gradengine.dtypes import is_inexact
from gradengine.errors import DTypeError, ShapeError, hinted
from gradengine.nn.functional.attention import attend
from gradengine.random import Generator

NAME = "MultiheadAttention"


class Projections(NamedTuple):
    """Parameters from features to heads and back, by PyTorch's names."""

    in_proj_weight: Any = None
    q_proj_weight: Any = None
    k_proj_weight: Any = None
    v_proj_weight: Any = None
    in_proj_bias: Any = None
    bias_k: Any = None
    bias_v: Any = None
    out_proj_weight: Any = None
    out_proj_bias: Any = None


def multi_head_attention(
    query: Any,
    key: Any,
    value: Any,
    num_heads: int,
    parameters: Projections,
    *,
    batch_first: bool = False,
    add_zero_attn: bool = False,
    dropout_p: float = 0.0,
    key_padding_mask: Any = None,
    attn_mask: Any = None,
    is_causal: bool = False,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    generator: Generator | None = None,
) -> tuple[Any, Any]:
    """Attention in `num_heads` subspaces: concat(softmax(q_h k_h' / sqrt(d)) v_h) W_out' + b_out.

    Shapes: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or batch first, or without N;
    masks as `merged_mask` says. Returns the output in query's shape and the weights (N, L, S), or
    (N, H, L, S) unless averaged, or None. Source: arXiv:1706.03762, section 3.2.2.
    """
    check_inputs(query, key, value, batch_first)
    batched = query.ndim == 3
    same, shared = query is key is value, key is value
    if not batched:
        batch_first = True
        query, key, value = (ops.expand_dims(x, axis=0) for x in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = ops.expand_dims(key_padding_mask, axis=0)
    q, k, v = _projected(query, key, value, parameters, same, shared, num_heads, batch_first)
    mask = merged_mask(attn_mask, key_padding_mask, q.shape, k.shape[-2], q.dtype)
    extra = 0
    if parameters.bias_k is not None:
        k, v = _appended(k, parameters.bias_k), _appended(v, parameters.bias_v)
        extra += 1
    if add_zero_attn:
        k, v = _appended(k, None), _appended(v, None)
        extra += 1
    if extra and is_causal:  # what is appended is seen by all, so the triangle becomes a mask
        mask, is_causal = _both(mask, triangle(q.shape[-2], k.shape[-2] - extra, q)), False
    if extra and mask is not None:
        mask = _widened(mask, extra)
    options: dict[str, Any] = {"scale": 1 / math.sqrt(q.shape[-1]), "causal": is_causal}
    if not need_weights:
        y = attend(q, k, v, mask, dropout_p=dropout_p, generator=generator, **options)
        w = None
    else:
        w = ops.attention_weights(q, k, mask, **options)
        if dropout_p:
            w = ops.dropout(w, dropout_p, generator=generator)
        y = ops.matmul(w, v)
        w = ops.mean(w, axis=1) if average_attn_weights else w
    y = ops.permute_dims(y, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3))
    y = ops.linear(
        y.reshape((*y.shape[:2], y.shape[2] * y.shape[3])),
        parameters.out_proj_weight,
        parameters.out_proj_bias,
    )
    if batched:
        return y, w
    return ops.squeeze(y, axis=0), None if w is None else ops.squeeze(w, axis=0)


# --- projections ---


def _projected(
    query: Any,
    key: Any,
    value: Any,
    p: Projections,
    same: bool,
    shared: bool,
    heads: int,
    first: bool,
) -> tuple[Any, Any, Any]:
    """Queries, keys and values of all heads, (N, H, length, d): one product where inputs agree."""
    if p.in_proj_weight is None:
        weights = (p.q_proj_weight, p.k_proj_weight, p.v_proj_weight)
    elif same:
        q, k, v = _heads(ops.linear(query, p.in_proj_weight, p.in_proj_bias), 3, heads, first)
        return q, k, v
    elif shared:
        size = p.in_proj_weight.shape[1]
        w_q, w_kv = ops.array_split(p.in_proj_weight, [size])
        b_q, b_kv = (
            (None, None) if p.in_proj_bias is None else ops.array_split(p.in_proj_bias, [size])
        )
        (q,) = _heads(ops.linear(query, w_q, b_q), 1, heads, first)
        k, v = _heads(ops.linear(key, w_kv, b_kv), 2, heads, first)
        return q, k, v
    else:
        weights = ops.split(p.in_proj_weight, 3)
    biases = (None,) * 3 if p.in_proj_bias is None else ops.split(p.in_proj_bias, 3)
    q, k, v = (
        _heads(ops.linear(x, w, b), 1, heads, first)[0]
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    return q, k, v


def _heads(x: Any, parts: int, heads: int, batch_first: bool) -> list[Any]:
    """(N, T, parts*H*d) or (T, N, ...) as `parts` arrays (N, H, T, d), all views.

    The parts are taken before their axes change places: their cotangents are then put together
    in one copy, in the order of the product they go to.
    """
    a, b, width = x.shape
    x = x.reshape((a, b, parts, heads, width // (parts * heads)))
    order = (0, 2, 1, 3) if batch_first else (1, 2, 0, 3)
    return [ops.permute_dims(part, order) for part in ops.unstack(x, axis=2)]


def _appended(x: Any, row: Any) -> Any:
    """Keys or values (N, H, S, d) with one more at the end: `row` (1, 1, H*d), or zeros if None."""
    n, heads, _, size = x.shape
    if row is None:
        return ops.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return ops.concat(
        [x, ops.broadcast_to(row.reshape((1, heads, 1, size)), (n, heads, 1, size))], axis=2
    )


# --- masks ---


def merged_mask(
    attn_mask: Any, key_padding_mask: Any, q_shape: tuple[int, ...], keys: int, dtype: Any
) -> Any:
    """One mask for (N, H, L, S) from both of a layer's: boolean (True: takes part) or added floats.

    `attn_mask` is (L, S) or (N*H, L, S), `key_padding_mask` (N, S); boolean ones are True where a
    key is ignored, others are added to the scores. Raises ShapeError and DTypeError.
    """
    n, heads, length, _ = q_shape
    if attn_mask is not None:
        _check_mask("attn_mask", attn_mask, [(length, keys), (n * heads, length, keys)])
        if attn_mask.ndim == 3:
            attn_mask = attn_mask.reshape((n, heads, length, keys))
    if key_padding_mask is not None:
        _check_mask("key_padding_mask", key_padding_mask, [(n, keys)])
        key_padding_mask = key_padding_mask.reshape((n, 1, 1, keys))
    masks = [m for m in (attn_mask, key_padding_mask) if m is not None]
    masks = [~m if m.dtype.kind == "b" else m.astype(dtype) for m in masks]
    return _both(*masks) if len(masks) == 2 else masks[0] if masks else None


def _both(a: Any, b: Any) -> Any:
    """Two masks as one: who takes part must do so in both; numbers add up."""
    if a is None or b is None:
        return b if a is None else a
    if a.dtype.kind == "b" and b.dtype.kind == "b":
        return ops.logical_and(a, b)
    if a.dtype.kind != "b" and b.dtype.kind != "b":
        return a + b
    allowed, added = (a, b) if a.dtype.kind == "b" else (b, a)
    return ops.where(allowed, added, -math.inf)


def _widened(mask: Any, count: int) -> Any:
    """The mask with `count` more keys, in which everybody takes part."""
    fill: Any = mask.dtype.kind == "b"
    return ops.pad(mask, ((0, 0),) * (mask.ndim - 1) + ((0, count),), constant_values=fill)


def triangle(length: int, keys: int, like: Any) -> Any:
    """A boolean (length, keys): query i sees the keys 0 to i. On the device of `like`."""
    return ops.tril(ones((length, keys), dtype="bool", device=like.device))


# --- checks ---


def check_inputs(query: Any, key: Any, value: Any, batch_first: bool) -> None:
    """Query, key and value agree in rank and batch, key and value in length."""
    shown = ", ".join(
        f"{n} {tuple(x.shape)}" for n, x in (("query", query), ("key", key), ("value", value))
    )
    axis = 0 if batch_first else 1
    if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
        hint = "all three are (L, N, E), or (N, L, E) if batch_first, or unbatched (L, E)"
    elif key.shape[:-1] != value.shape[:-1]:
        hint = "key and value have the same length and batch; only the last axis may differ"
    elif query.ndim == 3 and query.shape[axis] != key.shape[axis]:
        hint = f"the batch, axis {axis} with batch_first={batch_first}, must be the same"
    else:
        return
    raise ShapeError(hinted(f"{NAME}: {shown} do not fit", hint))


def _check_mask(name: str, mask: Any, allowed: list[tuple[int, ...]]) -> None:
    if mask.dtype.kind != "b" and not is_inexact(mask.dtype):
        raise DTypeError(
            hinted(
                f"{NAME}: {name} {tuple(mask.shape)} is {mask.dtype}",
                "boolean (True: ignored), or floats to be added: mask.astype(bool)",
            )
        )
    if tuple(mask.shape) not in allowed:
        wanted = " or ".join(str(shape) for shape in allowed)
        raise ShapeError(
            hinted(
                f"{NAME}: {name} has shape {tuple(mask.shape)}, the scores need {wanted}",
                "(queries, keys) or (batch * heads, queries, keys)"
                if name == "attn_mask"
                else "(batch, keys); unbatched (keys,)",
            )
        )
