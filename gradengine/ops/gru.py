"""The GRU over a whole sequence, as one op with one adjoint; recurrence.py says how.

Floor 3: stands on op.py, activations.py, joining.py and steps.py.
"""

from __future__ import annotations

from typing import Any

from ..device import namespace
from ..op import case, primitive
from ..tape import Traced
from .activations import sigmoid, tanh
from .joining import concat, split
from .linalg import matmul
from .reductions import sum, widened
from .steps import (
    BACKWARD,
    PACKED,
    Sizes,
    Span,
    Steps,
    before_step,
    check_sizes,
    kept_back,
    merged,
    spans,
    turned,
)


@primitive(
    arity=5,
    wide=True,
    cases=[
        case((5, 6), (2, 2), (6, 2), (6,), **PACKED),
        case((5, 6), (2, 2), (6, 2), (6,), **BACKWARD),
        case((2, 3), (2, 1), (3, 1), sizes=(2,)),
    ],
)
def gru_states(
    xp: Any, x: Any, h0: Any, w: Any, bias: Any = None, gates: Any = None,
    sizes: Sizes = (), reverse: bool = False,
) -> Any:  # fmt: skip
    """The states h of a GRU for every step.

    (v_r, v_z, q) = w h_{t-1} + bias, r = s(x_r + v_r), z = s(x_z + v_z) with s the logistic
    function, u = tanh(x_u + r q), h_t = (1 - z) u + z h_{t-1}. x (rows, 3H), h0 (N, H), w (3H, H),
    bias (3H,) or None; y (rows, H). `gates` (rows, 4H) is room that the forward fills with r, z,
    q, u for its adjoint, which else computes them again. Source: Cho et al., arXiv:1406.1078.
    """
    check_sizes("gru_states", x, w, 3, sizes, h0)
    n = x.shape[-1] // 3
    y, h, w = xp.empty((x.shape[0], n), x.dtype), h0[:0], turned(xp, w, sizes)
    for start, stop in spans(sizes, reverse):
        own, before = x[start:stop], before_step(xp, h, h0, stop - start)
        h = y[start:stop]
        room = xp.empty((len(h), 4 * n), x.dtype) if gates is None else gates[start:stop]
        rz, q, u = room[:, : 2 * n], room[:, 2 * n : 3 * n], room[:, 3 * n :]
        v = xp.matmul(before, w, out=room[:, : 3 * n])
        if bias is not None:
            v += bias
        rz += own[:, : 2 * n]
        rz *= 0.5
        xp.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        xp.multiply(rz[:, :n], q, out=u)
        u += own[:, 2 * n :]
        xp.tanh(u, out=u)
        xp.subtract(before, u, out=h)
        h *= rz[:, n:]
        h += u
    return y


@gru_states.adjoint
def _(
    g: Any, y: Any, x: Any, h0: Any, w: Any, bias: Any, gates: Any, sizes: Sizes, reverse: bool
) -> Any:
    if gates is not None and not any(isinstance(v, Traced) for v in (g, y, x, h0, w, bias)):
        da, *rest = _gru_back(namespace(g), g, y, gates, h0, w, spans(sizes, reverse))
        return (*rest, None if bias is None else sum(da, axis=0), None)
    g, y, x, h0, w = (widened(v) for v in (g, y, x, h0, w))
    n, steps = w.shape[0] // 3, Steps(sizes, reverse)
    before = steps.previous(y, h0)
    v = matmul(before, w.T)
    v_r, v_z, q = split(v if bias is None else v + widened(bias), 3, axis=1)
    x_r, x_z, x_u = split(x, 3, axis=1)
    r, z = sigmoid(x_r + v_r), sigmoid(x_z + v_z)
    u = tanh(x_u + r * q)
    # the cotangents of (r, z, q) and of u: all but dh is known beforehand
    by_u = (1 - z) * (1 - u * u)
    by_a = [by_u * q * r * (1 - r), (before - u) * z * (1 - z), by_u * r]
    bys, zs, gs = steps.rows(concat(by_a, axis=1)), steps.rows(z), steps.rows(g)
    das: list[Any] = []
    dhs: list[Any] = []
    starts: list[Any] = []
    dh = None
    for k in reversed(range(len(zs))):
        dh = steps.ready(gs[k], dh)
        dhs.append(dh)
        das.append(concat([dh, dh, dh], axis=1) * bys[k])
        dh = steps.send(k, dh * zs[k] + matmul(das[-1], w), starts)
    da = steps.joined(das[::-1])
    dx = concat([da[:, : 2 * n], steps.joined(dhs[::-1]) * by_u], axis=1)
    db = None if bias is None else sum(da, axis=0)
    return dx, steps.initial(starts, h0), matmul(da.T, before), db, None


def _gru_back(
    xp: Any, g: Any, y: Any, gates: Any, h0: Any, w: Any, order: list[Span]
) -> tuple[Any, ...]:
    """(da, dx, dh0, dw) on raw arrays, step by step in place: the same formulas."""
    n = w.shape[0] // 3
    da, dx = xp.empty((len(y), 3 * n), y.dtype), xp.empty((len(y), 3 * n), y.dtype)
    h_before, dh0 = xp.empty_like(y), xp.zeros_like(h0)
    dh = dh0[:0]
    for k in reversed(range(len(order))):
        rows = slice(*order[k])
        a, d, before = gates[rows], da[rows], h_before[rows]
        rz, (r, z, q, u) = a[:, : 2 * n], (a[:, j * n : (j + 1) * n] for j in range(4))
        d_rz, (d_r, d_z, d_q) = d[:, : 2 * n], (d[:, j * n : (j + 1) * n] for j in range(3))
        last = y[slice(*order[k - 1])] if k else y[:0]
        before[...] = before_step(xp, last, h0, len(a))
        dh = merged(g[rows], dh)
        d_u = u * u
        xp.subtract(1, d_u, out=d_u)
        d_u *= dh
        xp.subtract(1, rz, out=d_rz)
        d_u *= d_z
        d_rz *= rz
        d_r *= q
        d_r *= d_u
        xp.subtract(before, u, out=d_q)
        d_q *= dh
        d_z *= d_q
        xp.multiply(d_u, r, out=d_q)
        dx[rows, : 2 * n] = d_rz
        dx[rows, 2 * n :] = d_u
        dh *= z
        dh += xp.matmul(d, w)
        dh = kept_back(dh, dh0, order, k)
    return da, dx, dh0, xp.matmul(da.T, h_before)
