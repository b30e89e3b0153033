"""Attention: weights from queries and keys, and what they make of the values.

`attention_weights` keeps its result, so its adjoint is cheap; `attention` keeps only its inputs
and computes the weights again, block by block, so its memory does not grow with the product of
the two lengths. Any order of derivative is right: the adjoints are products and `softmax_pullback`.

Letters: `q` queries (..., L, E), `k` keys (..., S, E), `v` values (..., S, D), `w` weights
(..., L, S), `y` output (..., L, D), `g` cotangent; leading axes broadcast. A boolean mask says who
takes part, any other is added to the scores.

Floor 3: stands on op.py, tape.py and the ops files before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..device import gpu, is_host, namespace, quiet
from ..op import case, primitive
from ..tape import Traced, constant, grad_enabled, sum_to
from .linalg import matmul
from .normalisation import softmax_pullback
from .reductions import widened
from .shape import broadcast_shapes, matrix_transpose

Index = tuple[slice, ...]
ALL = slice(None)

BLOCK = 1 << 18
"""Scores that are computed at a time where the weights are not kept: about a second-level cache."""
DEVICE_BLOCK = 1 << 27
"""The same on a GPU, which wants few and large steps."""

_CASES = [
    case((3, 4), (5, 4), scale=0.5),
    case((2, 3, 4), (2, 3, 4), scale=0.5, causal=True),
    case((2, 3, 4), (1, 5, 4), scale=-2.0, causal=True, first=1),
    case((2, 3, 4), (5, 4), (3, 5)),
    case((2, 1, 3, 4), (1, 2, 3, 4), (1, 3)),
    case((0, 3, 4), (0, 2, 4)),
    case((2, 0, 4), (2, 3, 4)),
    case((3, 4), (0, 4)),
]


# --- weights ---


@primitive(arity=3, wide=True, cases=_CASES)
def attention_weights(
    xp: Any,
    q: Any,
    k: Any,
    mask: Any = None,
    scale: float = 1.0,
    causal: bool = False,
    first: int = 0,
) -> Any:
    """w = softmax(scale q k' + mask) over the keys; a row without any key that takes part is 0.

    `causal`: query i, at the position first + i, sees the keys up to its own position.
    With dw the cotangent, ds = w*(dw - sum(dw*w)), dq = scale ds k, dk = scale ds' q.
    Source: arXiv:1706.03762, equation 1.
    """
    with quiet():
        w = xp.matmul(q * scale, k.swapaxes(-1, -2))
        if causal and w.size:
            hidden = ~xp.tri(w.shape[-2], w.shape[-1], first, dtype=bool)
            xp.copyto(w, -math.inf, where=hidden)
        if mask is not None:
            w = _masked(xp, w, mask)
        if not w.size:
            return w
        peak = w.max(axis=-1, keepdims=True)
        if causal or mask is not None:
            xp.copyto(peak, 0, where=peak == -math.inf)  # a row of nothing: exp(-inf - 0) = 0
        w -= peak
        xp.exp(w, out=w)
        total = w.sum(axis=-1, keepdims=True)
        if causal or mask is not None:
            xp.copyto(total, 1, where=total == 0)
        w /= total
    return w


def _masked(xp: Any, w: Any, mask: Any) -> Any:
    """The scores with -inf where a boolean mask is False, or with a mask of numbers added."""
    if mask.ndim > w.ndim or any(
        m > n for m, n in zip(mask.shape[::-1], w.shape[::-1], strict=False)
    ):
        w = xp.broadcast_to(w, broadcast_shapes(w.shape, mask.shape)).copy()
    if mask.dtype.kind == "b":
        xp.copyto(w, -math.inf, where=~mask)
    else:
        w += mask
    return w


@attention_weights.adjoint
def _(
    g: Any, w: Any, q: Any, k: Any, mask_like: Any, scale: float, causal: bool, first: int
) -> Any:
    return _weights_pullback(g, w, q, k, mask_like, scale)


def _weights_pullback(g: Any, w: Any, q: Any, k: Any, mask_like: Any, scale: float) -> Any:
    """Cotangents of q, k and the mask from that of the weights."""
    ds = softmax_pullback(g, w)
    dq = matmul(ds, k) * scale
    dk = matmul(matrix_transpose(ds), q) * scale
    return dq, dk, None if mask_like is None or mask_like.dtype.kind in "biu" else ds


# --- attention in one step ---


@primitive(
    arity=5,
    wide=True,
    cases=[
        case((3, 4), (5, 4), (5, 2), scale=0.5),
        case((2, 3, 4), (2, 3, 4), (2, 3, 4), scale=0.5, causal=True),
        case((2, 3, 4), (1, 5, 4), (2, 5, 1), causal=True, first=1),
        case((2, 3, 4), (5, 4), (5, 3), (3, 5)),
        case((2, 1, 3, 4), (1, 2, 3, 4), (3, 2), (2, 1, 1, 3)),
        case((0, 3, 4), (0, 2, 4), (0, 2, 4)),
        case((3, 4), (0, 4), (0, 2)),
    ],
)
def attention(
    xp: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    stats: Any = None,
    scale: float = 1.0,
    causal: bool = False,
    first: int = 0,
) -> Any:
    """y = softmax(scale q k' + mask) v, the weights neither kept nor ever all in memory at once.

    dv = w' g and dw = g v'; the rest is as for the weights alone, which are computed again.
    `stats` (..., L) is room for what a kernel keeps of each row (see `row_room`).
    Source: arXiv:1706.03762, equation 1; the recomputation, arXiv:2205.14135, section 3.1.
    """
    lead = _lead(q, k, v, mask)
    y = xp.empty((*lead, q.shape[-2], v.shape[-1]), xp.result_type(q, k, v))
    weights: Any = attention_weights
    for i in _blocks((*lead, q.shape[-2]), k.shape[-2], _limit(xp)):
        start = first + (i[-1].start or 0)
        parts = (_rows(q, i), _part(k, i), _scores(mask, i))
        w = weights(*parts, scale=scale, causal=causal, first=start)
        y[i] = xp.matmul(w, _part(v, i))
    return y


@attention.adjoint
def _(
    g: Any,
    y: Any,  # kernels read it
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    stats: Any,
    scale: float,
    causal: bool,
    first: int,
) -> Any:
    options: dict[str, Any] = {"scale": scale, "causal": causal}
    if any(isinstance(x, Traced) for x in (g, q, k, v, mask)):
        return *_pullback(g, q, k, v, mask, first=first, **options), None
    xp, lead = namespace(g), g.shape[:-2]
    g, q, k, v = widened(g), widened(q), widened(k), widened(v)
    dq, dk, dv = xp.zeros_like(q), xp.zeros_like(k), xp.zeros_like(v)
    dm = xp.zeros_like(mask) if mask is not None and mask.dtype.kind in "fV" else None
    for i in _blocks((*lead, q.shape[-2]), k.shape[-2], _limit(xp)):
        parts = (_rows(q, i), _part(k, i), _part(v, i), _scores(mask, i))
        start = first + (i[-1].start or 0)
        found = _pullback(g[i], *parts, first=start, **options)
        homes = (_rows(dq, i), _part(dk, i), _part(dv, i), _scores(dm, i))
        for home, c in zip(homes, found, strict=True):
            if home is not None:
                home += sum_to(c, home.shape)
    return dq, dk, dv, dm, None


def _pullback(
    g: Any, q: Any, k: Any, v: Any, mask: Any, *, scale: float, causal: bool, first: int
) -> Any:
    """Cotangents of q, k, v and the mask from that of the output, all scores at once."""
    w = attention_weights(q, k, mask, scale=scale, causal=causal, first=first)
    dv = matmul(matrix_transpose(w), g)
    dw = matmul(g, matrix_transpose(v))
    dq, dk, dm = _weights_pullback(dw, w, q, k, mask, scale)
    return dq, dk, dv, dm


# --- kernels that do it in one step ---


def fuses(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, first: int = 0) -> bool:
    """Whether the arrays are on a device that computes attention in one launch."""
    raws = [x.array if isinstance(x, Traced) else x for x in (q, k, v, mask)]
    if is_host(namespace(raws[0])):
        return False
    cls: Any = raws[0].__class__
    attention.op.direct[cls]  # from now on the class is known
    return gpu[cls].attends(*raws, causal, first)


def row_room(q: Any) -> Any:
    """Room for one number a row of scores, which the launch fills for its way back.

    None where nothing is recorded. It holds bits, so that nobody takes it for an operand and casts
    it: the launch sees float32.
    """
    raw = q.array if isinstance(q, Traced) else q
    if not grad_enabled():
        return None
    return constant(Traced.plain, namespace(raw).empty(raw.shape[:-1], "uint32"))


# --- blocks ---


def _lead(q: Any, k: Any, v: Any, mask: Any) -> tuple[int, ...]:
    """The leading axes of the output: all arguments' broadcast together."""
    shapes = [tuple(x.shape[:-2]) for x in (q, k, v) if x is not None]
    return broadcast_shapes(*shapes, *([] if mask is None else [tuple(mask.shape[:-2])]))


def _limit(xp: Any) -> int:
    return BLOCK if is_host(xp) else DEVICE_BLOCK


def _blocks(shape: Sequence[int], columns: int, limit: int) -> Iterator[Index]:
    """Slices that cut an array of `shape` into blocks of at most `limit` scores (or one row).

    At each place of the array stands a row of `columns` scores.
    """
    count, below = shape[0], shape[1:]
    scores = math.prod(below) * columns
    step = max(1, limit // max(scores, 1))
    for start in range(0, count, step):
        own = slice(start, min(start + step, count))
        if scores > limit and below:
            yield from ((own, *rest) for rest in _blocks(below, columns, limit))
        else:
            yield (own, *[ALL] * len(below))


def _part(x: Any, index: Index) -> Any:
    """The matrices of x (keys, values) that belong to a block; axes of size 1 belong to all."""
    return x[_broadcast(x.shape[:-2], index[:-1])]


def _rows(x: Any, index: Index) -> Any:
    """The queries of a block."""
    return x[(*_broadcast(x.shape[:-2], index[:-1]), index[-1])]


def _scores(mask: Any, index: Index) -> Any:
    """The block's part of a mask, whose axis of queries may be of size 1 too, or missing."""
    return mask if mask is None else mask[_broadcast(mask.shape[:-1], index)]


def _broadcast(shape: tuple[int, ...], index: Index) -> Index:
    if not shape:
        return ()
    pairs = zip(shape, index[-len(shape) :], strict=True)
    return tuple(ALL if n == 1 else own for n, own in pairs)


# --- rotary positions ---


@primitive(
    arity=3,
    linear=(0,),
    wide=True,
    cases=[
        case((3, 4), (3, 2), (3, 2)),
        case((2, 3, 4), (3, 2), (3, 2), interleaved=True),
        case((2, 3, 2), (2, 1, 1), (2, 1, 1)),
        case((0, 4), (0, 2), (0, 2), interleaved=True),
    ],
)
def rotate_pairs(xp: Any, x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Any:
    """Each pair (a, b) of the last axis turned: (a cos - b sin, a sin + b cos).

    Pairs are (i, i + D/2), or neighbours (2i, 2i + 1) if `interleaved`. Source: arXiv:2104.09864.
    """
    first, second = _halves(x.shape[-1], interleaved)
    a, b = x[first], x[second]
    y = xp.empty(x.shape, xp.result_type(x, cos, sin))
    y[first] = a * cos - b * sin
    y[second] = a * sin + b * cos
    return y


@rotate_pairs.adjoint(0)
def _(g: Any, _y: Any, _x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    return rotate_pairs(g, cos, -sin, interleaved=interleaved)


@rotate_pairs.adjoint(1)
def _(g: Any, _y: Any, x: Any, _cos: Any, _sin: Any, interleaved: bool) -> Any:
    first, second = _halves(x.shape[-1], interleaved)
    g, x = widened(g), widened(x)
    return g[first] * x[first] + g[second] * x[second]


@rotate_pairs.adjoint(2)
def _(g: Any, _y: Any, x: Any, _cos: Any, _sin: Any, interleaved: bool) -> Any:
    first, second = _halves(x.shape[-1], interleaved)
    g, x = widened(g), widened(x)
    return g[second] * x[first] - g[first] * x[second]


def _halves(size: int, interleaved: bool) -> tuple[Any, Any]:
    """Indices of the first and the second features of the pairs."""
    if interleaved:
        return (..., slice(0, None, 2)), (..., slice(1, None, 2))
    return (..., slice(size // 2)), (..., slice(size // 2, None))
