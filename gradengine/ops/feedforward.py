"""Two linear layers with an activation between them, as one op: the feed-forward block.

The activation is applied to the first product while a block of its rows is in the processor's
cache, and on a GPU as the product is written. What the adjoint reads of the hidden layer is kept in
room that the forward fills, so that a first derivative computes nothing twice; for higher orders
the hidden layer is stated again as a function of its inputs.

Letters: `x` input (..., in), `z` = x w1' + b1, `h` = act(z) (..., hidden), `y` = h w2' + b2
(..., out), `g` cotangent of y, `dz` that of z. Inside, leading axes are joined into rows.

Floor 3: stands on op.py, casting.py, activations.py and linalg.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from .. import casting
from ..device import as_array, is_host, namespace
from ..errors import OutOfRangeError, ShapeError, hinted
from ..hostloops import for_blocks
from ..op import case, primitive
from ..tape import Traced, constant, grad_enabled
from .activations import relu
from .gates import gelu_tanh
from .linalg import is_half, linear, matmul, wide_product

ACTIVATIONS: dict[str, Any] = {"relu": relu, "gelu_tanh": gelu_tanh}


# --- the op ---


@primitive(
    arity=7,
    cases=[
        case((3, 4), (5, 4), (5,), (2, 5), (2,), activation="gelu_tanh"),
        case((2, 3, 4), (5, 4), (5,), (4, 5), (4,), activation="gelu_tanh"),
        case((3, 4), (5, 4), (5,), (2, 5), (2,)),
        case((4,), (5, 4), (5,), (2, 5)),
        case((0, 4), (5, 4), (5,), (2, 5), (2,), activation="gelu_tanh"),
        case((2, 3), (0, 3), (0,), (2, 0), (2,)),
    ],
)
def feed_forward_(
    xp: Any,
    x: Any,
    w1: Any,
    b1: Any,
    w2: Any,
    b2: Any = None,
    hidden: Any = None,
    kept: Any = None,
    activation: str = "relu",
) -> Any:
    """y = act(x w1' + b1) w2' + b2 with act "relu" or "gelu_tanh".

    x (..., in), w1 (hidden, in), b1 (hidden,) or None, w2 (out, hidden), b2 (out,) or None; y
    (..., out). `hidden` and `kept` are room of `_room` that the forward fills with h, and with z
    (gelu_tanh) or the signs of z as bits (relu, on a GPU): both are functions of the others, and
    derivatives count them as such. 16-bit floats accumulate in float32.
    """
    _check(x, w1, b1, w2, b2)
    x, w1, b1, w2, b2 = _alike(xp, x, w1, b1, w2, b2)
    rows, wide = _rows(x), w1.shape[0]
    host = is_host(xp)
    gelu = activation == "gelu_tanh"
    home = None if not host or hidden is None or is_half(x) else kept if gelu else hidden
    z = xp.matmul(rows, w1.T, out=home) if home is not None else wide_product(xp, rows, w1.T)
    h = z if hidden is None or is_half(x) or not gelu else hidden
    bend = ACTIVATIONS[activation]

    def work(part: slice) -> None:
        block = z[part]
        if b1 is not None:
            block += b1
        if gelu and kept is not None and kept is not z:
            kept[part, :wide] = block
        if host and not gelu:  # h is z, and no room beside it is needed
            xp.maximum(block, 0, out=block)
        else:
            h[part] = bend.op.forward(xp, block) if host else bend(block)

    _in_blocks(work, z, bend)
    if hidden is not None and hidden is not h:
        hidden[...] = h
    if kept is not None and not gelu:
        kept[...] = _signs(xp, h, kept.shape)
    y = wide_product(xp, h, w2.T)
    if b2 is not None:
        y += b2
    if is_half(x):
        y = y.astype(x.dtype, copy=False)
    return y.reshape(*x.shape[:-1], w2.shape[0])


@feed_forward_.adjoint
def _(
    g: Any, _y: Any, x: Any, w1: Any, b1: Any, w2: Any, _b2: Any, hidden: Any, kept: Any,
    activation: str, *, needed: Sequence[bool],
) -> list[Any]:  # fmt: skip
    """dz = (g w2) act'(z), from which dx = dz w1, dw1 = dz' x; dw2 = g' h; biases sum over rows."""
    bend = ACTIVATIONS[activation]
    dx = dw1 = dz = None
    if hidden is None or any(isinstance(v, Traced) for v in (x, w1, b1)):
        z = linear(_rows(x), w1, b1)
        h = bend(z)
    else:
        h, z = hidden, None if activation == "relu" else kept[:, : w1.shape[0]]
    below = _rows(g)
    if any(needed[:3]):
        dz = _through(matmul(below, w2), h, z, bend)
    if needed[0]:
        dx = matmul(dz, w1).reshape(x.shape)
    if needed[1]:
        dw1 = matmul(cast(Any, dz).T, _rows(x))
    dw2 = matmul(below.T, h) if needed[3] else None
    return [dx, dw1, dz, dw2, below, None, None]


def _through(g: Any, h: Any, z: Any, bend: Any) -> Any:
    """g act'(z): the activation's own rule, on the CPU in blocks, over the g it was given."""
    pull = bend.op.cotangents
    if isinstance(g, Traced) or not is_host(namespace(g)):
        return pull(g, h, (z,), {}, (True,))[0]

    def work(part: slice) -> None:
        inner = None if z is None else z[part]
        g[part] = pull(g[part], h[part], (inner,), {}, (True,))[0]

    _in_blocks(work, g, bend)
    return g


# --- parts ---


def _rows(x: Any) -> Any:
    """x with its leading axes joined into one."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def _alike(xp: Any, *arrays: Any) -> Sequence[Any]:
    """All in one dtype, as they mostly are."""
    given = [v for v in arrays if v is not None]
    if all(v.dtype == given[0].dtype for v in given):
        return arrays
    dtype = xp.result_type(*given)
    return [v if v is None else v.astype(dtype, copy=False) for v in arrays]


def _in_blocks(work: Callable[[slice], None], x: Any, bend: Any) -> None:
    """work(slice) for slices of rows that fit into the cache; on a GPU one of all."""
    if is_host(namespace(x)):
        for_blocks(work, len(x), x, (work.__code__, bend))
    else:
        work(slice(None))


def _signs(xp: Any, h: Any, shape: tuple[int, int]) -> Any:
    """h > 0 as bits, the lowest first, rows filled up to whole bytes: cuBLASLt's mask of a ReLU."""
    bits = xp.zeros((shape[0], shape[1] * 8), bool)
    bits[:, : h.shape[1]] = h > 0
    return xp.packbits(bits, bitorder="little").reshape(shape) if bits.size else 0


def _room(operands: Sequence[Any], activation: str) -> tuple[Any, Any]:
    """Room for h, and for z or its signs; none where nothing is recorded or dtypes differ."""
    live, raw, dtype = False, None, None
    for v in operands:
        if v is None:
            continue
        traced = isinstance(v, Traced)
        live = live or (traced and (v.level or v.node is not None))
        found = v.array if traced else as_array(v)
        if raw is None:
            raw, dtype = found, found.dtype
        elif found.dtype != dtype:
            return None, None
    if raw is None or not live or not grad_enabled() or raw.dtype.kind not in "fV" or not raw.ndim:
        return None, None
    xp, rows, n = namespace(raw), math.prod(raw.shape[:-1]), operands[1].shape[0]
    hidden, kept, plain = xp.empty((rows, n), dtype), None, Traced.plain
    if activation == "gelu_tanh":
        kept = xp.empty((rows, n if is_host(xp) else -(-n // 8) * 8), dtype)
    elif not is_host(xp):
        kept = xp.empty((rows, -(-n // 128) * 16), "uint8")
    return constant(plain, hidden), None if kept is None else constant(plain, kept)


# --- public ---


def feed_forward(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, /, activation: str = "relu") -> Any:
    """y = act(x w1' + b1) w2' + b2: two linear layers and the activation between them, in one step.

    x (..., in), w1 (hidden, in), b1 (hidden,) or None, w2 (out, hidden), b2 (out,) or None; y
    (..., out). `activation` is "relu" or "gelu_tanh". Raises ShapeError where sizes differ,
    OutOfRangeError for another activation. Source: arXiv:1706.03762, equation 2.

    >>> import gradengine as ge
    >>> one = ge.tensor([[1.0], [-1.0]])
    >>> feed_forward(ge.tensor([-2.0]), one, None, ge.tensor([[1.0, 10.0]]), None)
    tensor([20.])
    """
    if activation not in ACTIVATIONS:
        known = " or ".join(f'"{name}"' for name in ACTIVATIONS)
        raise OutOfRangeError(hinted(f"feed_forward: activation={activation!r}", f"give {known}"))
    policy = casting.current.get()
    operands = [x, w1, b1, w2, b2]
    if any(v.__class__ is list or v.__class__ is tuple for v in operands):
        lift = cast(Any, Traced.plain).lift
        operands = [lift(v) if isinstance(v, (list, tuple)) else v for v in operands]
    if policy is not None and any(isinstance(v, Traced) for v in operands):
        operands = [v if v is None else casting.half(v, policy) for v in operands]
    return feed_forward_(*operands, *_room(operands, activation), activation=activation)


def _check(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> None:
    first, last = w1.shape, w2.shape
    if (
        x.ndim
        and len(first) == len(last) == 2
        and x.shape[-1] == first[1]
        and first[0] == last[1]
        and (b1 is None or b1.shape == first[:1])
        and (b2 is None or b2.shape == last[:1])
    ):
        return
    given = {"x": x, "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    shown = ", ".join(f"{k} {tuple(v.shape)}" for k, v in given.items() if v is not None)
    raise ShapeError(
        hinted(
            f"feed_forward: {shown} do not fit",
            "x is (..., in), w1 (hidden, in), b1 (hidden,), w2 (out, hidden), b2 (out,)",
        )
    )
