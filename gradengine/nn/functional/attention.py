"""Attention as functions: scaled dot products with masks, and the rotation that tells positions.

Compositions of the ops in ops/attention.py; many heads with projections are in multihead.py.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import ops
from gradengine.dtypes import is_inexact
from gradengine.errors import DTypeError, ShapeError, hinted
from gradengine.ops.attention import fuses, row_room
from gradengine.ops.axes import broadcast_shapes
from gradengine.random import Generator

KEPT = 1 << 24
"""Up to so many weights are kept for the backward pass; more are computed again, in blocks."""


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Generator | None = None,
) -> Any:
    """softmax(query key' scale + attn_mask) value, `scale` = 1 / sqrt(E) if None.

    Shapes: query (..., H, L, E), key (..., H, S, E), value (..., H, S, D) give (..., H, L, D). A
    boolean `attn_mask` is True where a key takes part, one of floats is added to the scores; it
    broadcasts to (..., H, L, S). `is_causal` lets query i see the keys 0 to i. A row that no key
    takes part in is 0. `enable_gqa`: groups of query heads share a head of key and value.
    `dropout_p` always drops: give 0 in evaluation. 16-bit floats have their softmax in float32.

    Raises ShapeError, DTypeError, OutOfRangeError (dropout_p), ValueError (a mask and is_causal).
    Source: arXiv:1706.03762, equation 1; grouped heads, arXiv:2305.13245.

    >>> import gradengine as ge
    >>> q = k = v = ge.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> scaled_dot_product_attention(q, k, v, is_causal=True)[0].tolist()
    [1.0, 0.0]
    """
    _check_operands(query, key, value, enable_gqa)
    if attn_mask is not None:
        if is_causal:
            raise ValueError(
                hinted(
                    f"scaled_dot_product_attention: attn_mask {tuple(attn_mask.shape)} and "
                    "is_causal=True exclude each other",
                    "give one of them: a causal part of a mask is ge.tril of ones",
                )
            )
        scores = (*tuple(query.shape[:-1]), key.shape[-2])
        attn_mask = _checked_mask(attn_mask, scores, query.dtype)
    options: dict[str, Any] = {"dropout_p": dropout_p, "generator": generator}
    options["causal"] = is_causal
    scale = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    heads, shared = query.shape[-3:-2], key.shape[-3:-2]
    if not enable_gqa or heads == shared:
        return attend(query, key, value, attn_mask, scale=scale, **options)
    query = _grouped(query, shared[0])
    key, value = ops.expand_dims(key, axis=-3), ops.expand_dims(value, axis=-3)
    if attn_mask is not None and attn_mask.ndim > 2:
        few = attn_mask.shape[-3] == 1
        attn_mask = ops.expand_dims(attn_mask, axis=-3) if few else _grouped(attn_mask, shared[0])
    y = attend(query, key, value, attn_mask, scale=scale, **options)
    return y.reshape((*y.shape[:-4], heads[0], *y.shape[-2:]))


def attend(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    *,
    scale: float,
    causal: bool = False,
    first: int = 0,
    dropout_p: float = 0.0,
    generator: Generator | None = None,
) -> Any:
    """Attention of checked operands: weights that are kept if they are few or partly dropped.

    On a GPU whose library has attention as one launch, nothing is kept but a number a row.
    """
    if not dropout_p and fuses(q, k, v, mask, causal, first):
        room = row_room(q)
        return ops.attention(q, k, v, mask, room, scale=scale, causal=causal, first=first)
    count = math.prod(q.shape[:-1]) * k.shape[-2]
    if not dropout_p and count > KEPT:
        return ops.attention(q, k, v, mask, scale=scale, causal=causal, first=first)
    w = ops.attention_weights(q, k, mask, scale=scale, causal=causal, first=first)
    if dropout_p:
        w = ops.dropout(w, dropout_p, generator=generator)
    return ops.matmul(w, v)


# --- grouped heads ---


def _grouped(x: Any, groups: int) -> Any:
    """(..., H, L, E) as (..., groups, H / groups, L, E)."""
    return x.reshape((*x.shape[:-3], groups, x.shape[-3] // groups, *x.shape[-2:]))


# --- checks ---


def _check_operands(query: Any, key: Any, value: Any, grouped: bool) -> None:
    name = "scaled_dot_product_attention"
    shown = ", ".join(
        f"{n} {tuple(x.shape)}" for n, x in (("query", query), ("key", key), ("value", value))
    )
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(
            hinted(f"{name}: {shown}", "each needs (..., length, features): two axes or more")
        )
    for n, x in (("query", query), ("key", key), ("value", value)):
        if not is_inexact(x.dtype):
            raise DTypeError(hinted(f"{name}: {n} is {x.dtype}", "convert it to a float dtype"))
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            hinted(
                f"{name}: query has {query.shape[-1]} features, key {key.shape[-1]}: {shown}",
                "the last axes of query and key are multiplied and must agree",
            )
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            hinted(
                f"{name}: {key.shape[-2]} keys and {value.shape[-2]} values: {shown}",
                "key and value have the same length: (..., S, E) and (..., S, D)",
            )
        )
    if grouped:
        _check_groups(name, shown, query, key, value)
        return
    try:
        broadcast_shapes(*(tuple(x.shape[:-2]) for x in (query, key, value)))
    except ShapeError:
        hint = "batch and heads must be equal or 1"
        if query.ndim == key.ndim > 2 and not query.shape[-3] % (key.shape[-3] or 1):
            hint += "; enable_gqa=True lets groups of query heads share a key"
        raise ShapeError(hinted(f"{name}: leading axes differ: {shown}", hint)) from None


def _check_groups(name: str, shown: str, query: Any, key: Any, value: Any) -> None:
    shared = key.shape[-3:-2]
    if min(query.ndim, key.ndim, value.ndim) < 3 or shared != value.shape[-3:-2]:
        hint = "the third axis from the end counts heads, as many of value as of key"
    elif not shared[0] or query.shape[-3] % shared[0]:
        hint = "the number of query heads must be a multiple of that of key and value"
    else:
        return
    raise ShapeError(hinted(f"{name}: enable_gqa=True with {shown}", hint))


def _checked_mask(mask: Any, scores: tuple[int, ...], dtype: Any) -> Any:
    """The mask, of floats in the dtype of the scores; errors if it does not fit them."""
    name = "scaled_dot_product_attention"
    if mask.dtype.kind != "b" and not is_inexact(mask.dtype):
        raise DTypeError(
            hinted(
                f"{name}: attn_mask {tuple(mask.shape)} is {mask.dtype}",
                "boolean (True: takes part), or floats to be added: mask.astype(bool)",
            )
        )
    shape = tuple(mask.shape)
    pairs = list(zip(shape[::-1], scores[::-1], strict=False))
    if any(m not in (1, n) for m, n in pairs[:2]) or any(
        1 not in (m, n) and m != n for m, n in pairs[2:]
    ):
        raise ShapeError(
            hinted(
                f"{name}: attn_mask {shape} does not broadcast to the scores {scores}",
                "the last two axes are (queries, keys); the ones before, batch and heads",
            )
        )
    if not shape:
        mask = mask.reshape((1, 1))
    return mask if mask.dtype.kind == "b" or mask.dtype == dtype else mask.astype(dtype)


# --- rotary positions ---


def apply_rotary(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Any:
    """Rotate pairs of features by angles that grow with the position.

    Each pair (a, b) becomes (a cos - b sin, a sin + b cos). Shapes: x (..., T, D) with D even, cos
    and sin (T, D/2), or any that broadcasts to (..., T, D/2). A pair is (i, i + D/2), or
    (2i, 2i + 1) if `interleaved`. The result has x's dtype. Source: arXiv:2104.09864, equation 34.

    Raises ShapeError where D is odd or the angles do not fit.

    >>> import gradengine as ge
    >>> quarter = ge.tensor([[0.0]]), ge.tensor([[1.0]])  # cos and sin of 90 degrees
    >>> apply_rotary(ge.tensor([[2.0, 0.0]]), *quarter).tolist()
    [[0.0, 2.0]]
    """
    shape, angles = tuple(x.shape), tuple(cos.shape)
    if not shape or shape[-1] % 2:
        raise ShapeError(
            hinted(f"apply_rotary: x {shape} has no even last axis", "features turn in pairs")
        )
    pairs = (*shape[:-1], shape[-1] // 2)
    off = len(angles) > len(pairs) or any(
        n not in (1, m) for n, m in zip(angles[::-1], pairs[::-1], strict=False)
    )
    if off or tuple(sin.shape) != angles or not angles or angles[-1] != pairs[-1]:
        raise ShapeError(
            hinted(
                f"apply_rotary: cos {angles} and sin {tuple(sin.shape)} do not fit x {shape}",
                f"both broadcast to {pairs}: one angle for each pair at each position",
            )
        )
    y = ops.rotate_pairs(x, cos, sin, interleaved=bool(interleaved))
    return y if y.dtype == x.dtype else y.astype(x.dtype)
