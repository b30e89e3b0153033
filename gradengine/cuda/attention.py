"""Attention through cuDNN, forward and back: what the op `attention` launches in 16-bit floats.

The forward keeps the logarithm of each row's sum (`stats`, room that its caller gives), from which
the backward computes the weights again. An entry gives None where cuDNN has no plan for sizes,
dtypes or a mask: the formula computes its blocks then.

cuDNN adds a bias to the scores. A boolean mask becomes one, and -inf the lowest number, so that no
row of a softmax is all -inf; rows that no key takes part in are set to 0 afterwards, as the op
promises.

Letters: `q` queries (..., L, E), `k` keys (..., S, E), `v` values (..., S, D), `y` output
(..., L, D), `g` its cotangent; inside (B, H, length, features), with as many heads H of keys and
values as of queries, or fewer that share.

Floor 1: stands on cudnn.py, launch.py, moves.py and primitives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..device import namespace as module_of
from . import cudnn, launch, moves
from .kernels import backend
from .namespace import namespace
from .primitives import FORWARD, VJP
from .shapes import Array

__all__ = ["attends", "attention", "attention_vjp"]

HALVES = ("float16", "bfloat16")
LOWEST = {"float16": -65504.0, "bfloat16": -1e38}
"""What stands for -inf in a bias: far below any score, and still a number once a score is added."""


# --- what fits -----------------------------------------------------------------------------------


class Heads(NamedTuple):
    """The leading axes of queries and of keys as (batch, heads)."""

    queries: tuple[int, int]
    keys: tuple[int, int]


def _heads(q: Array, k: Array, v: Array) -> Heads | None:
    """How the leading axes are batch and heads; None where they do not fit."""
    lead, shared = q.shape[:-2], k.shape[:-2]
    if v.shape[:-2] != shared or len(lead) != len(shared):
        return None
    if lead == shared:
        both = (prod(lead[:-1]), lead[-1] if lead else 1)
        return Heads(both, both)
    if len(lead) > 1 and lead[:-1] == shared[:-1] and shared[-1] == 1:  # grouped heads
        batch, groups = prod(lead[:-2]), lead[-2]
        return Heads((batch, groups * lead[-1]), (batch, groups))
    return None


def attends(q: Any, k: Any, v: Any, mask: Any, causal: bool, first: int) -> bool:
    """Whether cuDNN may be asked: 16-bit floats, features in eights, a mask or a causal corner."""
    given = (q, k, v)
    if not all(hasattr(x, "data") and x.ndim > 1 and x.size for x in given):
        return False
    if q.dtype.name not in HALVES or k.dtype != q.dtype or v.dtype != q.dtype:
        return False
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        return False
    if q.shape[-1] % 8 or v.shape[-1] % 8 or _heads(q, k, v) is None:
        return False
    if causal and _corner(q, k, first) is None:
        return False
    return _mask_fits(mask, q, k) and cudnn.installed()


def _corner(q: Array, k: Array, first: int) -> str | None:
    """Which end the causal diagonal is aligned to, None for neither."""
    if first == 0:
        return "first"
    return "last" if first == k.shape[-2] - q.shape[-2] > 0 else None


def _mask_fits(mask: Any, q: Array, k: Array) -> bool:
    if mask is None:
        return True
    if not hasattr(mask, "data") or not 2 <= mask.ndim <= q.ndim:
        return False
    if mask.dtype.kind != "b" and mask.dtype != q.dtype:
        return False
    scores = (*q.shape[:-1], k.shape[-2])
    pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
    return all(m in (1, n) for m, n in pairs)


# --- arrays --------------------------------------------------------------------------------------


def _joined(x: Array, heads: tuple[int, int]) -> Array:
    """x with its leading axes as (batch, heads), in memory as cuDNN reads it."""
    if x.ndim != 4 or x.shape[:2] != heads:
        x = x.reshape((*heads, *x.shape[-2:]))
    size = x.dtype.itemsize
    steps = [s for s, n in zip(x.strides[:-1], x.shape[:-1], strict=True) if n > 1]
    plain = all(s > 0 and s % 16 == 0 for s in steps) and (x.strides[-1] == size)
    return x if plain and x.data.ptr % 16 == 0 else moves.solid(x)


def _room_like(x: Array, features: int) -> Array:
    """Room of x's (batch, heads, length), stored in the order in which x is."""
    b, h, n, _ = x.shape
    if h > 1 and n > 1 and x.strides[1] < x.strides[2]:
        return backend().empty((b, n, h, features), x.dtype).transpose((0, 2, 1, 3))
    return backend().empty((b, h, n, features), x.dtype)


def _bias(mask: Array, q: Array, k: Array, heads: tuple[int, int]) -> tuple[Array, Array]:
    """What is added to the scores (B or 1, H or 1, L, S), and which rows some key takes part in."""
    xp = module_of(mask)
    wide = np.dtype(np.float32)
    low = LOWEST[q.dtype.name]
    if mask.dtype.kind == "b":
        takes_part, bias = mask, xp.where(mask, np.float32(0), np.float32(low))
    else:
        bias = mask if mask.dtype == wide else moves.cast(mask, wide)
        takes_part = bias > -np.inf
        bias = launch.forward2("Maximum", bias, low)
    alive = takes_part.any(axis=-1, keepdims=True)
    lead = (1,) * (q.ndim - mask.ndim) + tuple(mask.shape[:-2])
    if prod(lead) == 1:
        few: tuple[int, ...] = (1, 1)
    elif len(lead) == 2:
        few = lead  # cuDNN broadcasts a bias along either
    else:
        lead, few = q.shape[:-2], heads
    bias = xp.broadcast_to(bias, (*lead, q.shape[-2], k.shape[-2]))
    bias = bias.reshape((*few, *bias.shape[-2:]))
    return moves.contiguous(moves.cast(moves.contiguous(bias), q.dtype)), alive


def _only(alive: Array, x: Array) -> Array:
    """x, its rows 0 where no key takes part."""
    xp = namespace(module_of(x))
    zero = backend().zeros((1,), x.dtype)
    return xp.where(xp.broadcast_to(alive, x.shape), x, xp.broadcast_to(zero, x.shape))


# --- the op --------------------------------------------------------------------------------------


class Call(NamedTuple):
    """One call in cuDNN's terms: arrays by role, and which rows are to be 0."""

    given: dict[str, Array]
    options: dict[str, Any]
    alive: Array | None


def _call(q: Array, k: Array, v: Array, mask: Any, scale: float, causal: bool, first: int) -> Call:
    heads = _heads(q, k, v)
    assert heads is not None, "attends() says no where they do not fit"
    given = {"q": _joined(q, heads.queries)}
    given |= {"k": _joined(k, heads.keys), "v": _joined(v, heads.keys)}
    alive = None
    if mask is not None:
        given["bias"], alive = _bias(mask, q, k, heads.queries)
    corner = _corner(q, k, first) if causal else None
    return Call(given, {"scale": float(scale), "causal": corner}, alive)


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Any = None,
    stats: Any = None,
    scale: float = 1.0,
    causal: bool = False,
    first: int = 0,
) -> Array | None:
    """y, and in `stats` (..., L), where given, the logarithms of the rows' sums."""
    if not attends(q, k, v, mask, causal, first):
        return None
    call = _call(q, k, v, mask, scale, causal, first)
    y = _room_like(call.given["q"], v.shape[-1])
    made = {"y": y} if stats is None else {"y": y, "stats": _column(stats, y)}
    if not cudnn.run("attention", call.given, made, **call.options, stats=stats is not None):
        return None
    y = y.reshape((*q.shape[:-1], v.shape[-1]))
    return y if call.alive is None else _only(call.alive, y)


def _column(stats: Array, y: Array) -> Array:
    """The room for bits (..., L) as float32 (B, H, L, 1)."""
    return stats.view(np.float32).reshape((*y.shape[:-1], 1))


def attention_vjp(
    g: Array, y: Any, xs: Sequence[Any], params: dict[str, Any], needed: Sequence[bool]
) -> list[Any] | None:
    """The cotangents of q, k and v in one call, from what the forward kept; a mask's is not made.

    Only where cuDNN was the forward too: `stats` holds nothing otherwise.
    """
    q, k, v, mask, stats = xs
    if stats is None or y is None or needed[3] or g.dtype != q.dtype or not g.size:
        return None
    if not attends(q, k, v, mask, params["causal"], params["first"]):
        return None
    call = _call(q, k, v, mask, **params)
    given, heads = call.given, call.given["q"].shape[:2]
    value = _joined(y, heads)
    forward = {"y": _room_like(given["q"], v.shape[-1]), "stats": _column(stats, value)}
    if not cudnn.has_run("attention", given, forward, **call.options, stats=True):
        return None
    g = g if call.alive is None else _only(call.alive, g)
    kept = {"y": value, "g": _joined(g, heads), "stats": forward["stats"]}
    made = {f"d{name}": _room_like(given[name], given[name].shape[-1]) for name in ("q", "k", "v")}
    if not cudnn.run("attention_back", given | kept, made, **call.options):
        return None
    shapes = {"dq": q.shape, "dk": k.shape, "dv": v.shape}
    found = [made[name].reshape(shape) for name, shape in shapes.items()]
    return [*(c if n else None for c, n in zip(found, needed, strict=False)), None, None]


FORWARD["attention"] = attention
VJP["attention"] = attention_vjp
