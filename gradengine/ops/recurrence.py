"""Recurrent layers over a whole sequence: RNN and LSTM, each one op with one adjoint; GRU: gru.py.

The input's share of the gates comes in already multiplied, for all steps at once; rows are packed
as steps.py says. The adjoint walks the steps back once, and the weights' gradient is one product
over all of them. Where the gates were kept it is written twice: as engine code, for any order, and
in place for the plain backward of large layers.

Letters: `x` the input's share of the gates (rows, gates), `h`, `c` states, `h0`, `c0` those before
the first step, `w` recurrent weights (gates, hidden), `y` output, `g` cotangent.

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
from .logic import greater
from .reductions import widened
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

# --- RNN ---


@primitive(
    arity=3,
    wide=True,
    cases=[
        case((5, 3), (2, 3), (3, 3), **PACKED),
        case((5, 3), (2, 3), (3, 3), **BACKWARD),
        case((2, 3), (2, 3), (3, 3), sizes=(2,)),
    ],
)
def rnn_states(
    xp: Any,
    x: Any,
    h0: Any,
    w: Any,
    sizes: Sizes,
    reverse: bool = False,
    nonlinearity: str = "tanh",
) -> Any:
    """h_t = tanh(x_t + w h_{t-1}), or relu of it, for every step.

    x (rows, H), h0 (N, H), w (H, H); y (rows, H). Source: Elman, Cognitive Science 14 (1990) 179.
    """
    check_sizes("rnn_states", x, w, 1, sizes, h0)
    y, h, w = xp.empty(x.shape, x.dtype), h0[:0], turned(xp, w, sizes)
    for start, stop in spans(sizes, reverse):
        a = y[start:stop]
        xp.matmul(before_step(xp, h, h0, stop - start), w, out=a)
        a += x[start:stop]
        h = xp.tanh(a, out=a) if nonlinearity == "tanh" else xp.maximum(a, 0, out=a)
    return y


@rnn_states.adjoint
def _(
    g: Any, y: Any, _x: Any, h0: Any, w: Any, sizes: Sizes, reverse: bool, nonlinearity: str
) -> Any:
    g, y, h0, w = (widened(v) for v in (g, y, h0, w))
    steps = Steps(sizes, reverse)
    slope = 1 - y * y if nonlinearity == "tanh" else greater(y, 0).astype(y.dtype)
    gs, slopes = steps.rows(g), steps.rows(slope)
    das: list[Any] = []
    starts: list[Any] = []
    carry = None
    for k in reversed(range(len(gs))):
        das.append(steps.ready(gs[k], carry) * slopes[k])
        carry = steps.send(k, matmul(das[-1], w), starts)
    da = steps.joined(das[::-1])
    return da, steps.initial(starts, h0), matmul(da.T, steps.previous(y, h0))


# --- LSTM ---


@primitive(
    arity=6,
    wide=True,
    cases=[
        case((5, 8), (2, 2), (2, 2), (8, 2), **PACKED),
        case((5, 8), (2, 2), (2, 2), (8, 2), **BACKWARD),
        case((5, 8), (2, 1), (2, 2), (8, 1), (1, 2), **PACKED),
        case((2, 4), (2, 1), (2, 1), (4, 1), sizes=(2,)),
    ],
)
def lstm_states(
    xp: Any, x: Any, h0: Any, c0: Any, w: Any, w_hr: Any = None, gates: Any = None,
    sizes: Sizes = (), reverse: bool = False,
) -> Any:  # fmt: skip
    """The states c and h of an LSTM side by side, for every step.

    (i, f, u, o) = (s, s, tanh, s)(x_t + w h_{t-1}) with s the logistic function,
    c_t = f c_{t-1} + i u, h_t = o tanh(c_t), or w_hr times that. x (rows, 4H), h0 (N, P),
    c0 (N, H), w (4H, P), w_hr (P, H) or None (P = H); y (rows, H + P). `gates` (4, rows, H) is
    room that the forward fills with i, f, u, o for its adjoint, which else computes them again:
    gate by gate, so that what is done with one runs through its memory without gaps.
    Source: Hochreiter, Schmidhuber, Neural Computation 9 (1997) 1735; w_hr: arXiv:1402.1128.
    """
    check_sizes("lstm_states", x, w, 4, sizes, h0, c0)
    n = x.shape[-1] // 4
    y = xp.empty((x.shape[0], n + w.shape[1]), x.dtype)
    scale = xp.asarray([0.5, 0.5, 1, 0.5], x.dtype).reshape(4, 1, 1)
    shift = 1 - scale  # s(a) is tanh(a / 2) / 2 + 1/2
    h, c, w = h0[:0], c0[:0], _by_gate(turned(xp, w, sizes), n)
    for start, stop in spans(sizes, reverse):
        rows, size = y[start:stop], stop - start
        before = before_step(xp, c, c0, size)
        c, out = rows[:, :n], rows[:, n:]
        a = None if gates is None else gates[:, start:stop]
        a = xp.matmul(before_step(xp, h, h0, size), w, out=a)
        a += _by_gate(x[start:stop], n)
        a *= scale
        xp.tanh(a, out=a)
        a *= scale
        a += shift
        i, f, u, o = a
        xp.multiply(f, before, out=c)
        c += i * u
        h = xp.tanh(c)
        h *= o
        if w_hr is not None:
            h = xp.matmul(h, w_hr.T)
        out[...] = h
    return y


def _by_gate(x: Any, n: int) -> Any:
    """The view (4, rows, n) of x (rows, 4n)."""
    return x.reshape(x.shape[0], 4, n).swapaxes(0, 1)


@lstm_states.adjoint
def _(
    g: Any, y: Any, x: Any, h0: Any, c0: Any, w: Any, w_hr: Any, gates: Any,
    sizes: Sizes, reverse: bool,
) -> Any:  # fmt: skip
    if gates is not None and not any(isinstance(v, Traced) for v in (g, y, x, h0, c0, w, w_hr)):
        order = spans(sizes, reverse)
        found = _lstm_back(namespace(g), g, y, gates, h0, c0, w, w_hr, order)
        return (*found, None)
    g, y, x, h0, c0, w = (widened(v) for v in (g, y, x, h0, c0, w))
    n, steps = w.shape[0] // 4, Steps(sizes, reverse)
    c, h = split(y, [n], axis=1)
    g_c, g_h = split(g, [n], axis=1)
    h_before, c_before = steps.previous(h, h0), steps.previous(c, c0)
    i, f, u, o = split(x + matmul(h_before, w.T), 4, axis=1)
    i, f, u, o, t = sigmoid(i), sigmoid(f), tanh(u), sigmoid(o), tanh(c)
    # da = (through c) * dc + (through o) * dv: all but dc and dv is known beforehand
    through = [u * i * (1 - i), c_before * f * (1 - f), i * (1 - u * u), t * o * (1 - o)]
    by_c, slopes = steps.rows(concat(through, axis=1)), steps.rows(o * (1 - t * t))
    fs, gcs, ghs = steps.rows(f), steps.rows(g_c), steps.rows(g_h)
    das: list[Any] = []
    dhs: list[Any] = []
    h_starts: list[Any] = []
    c_starts: list[Any] = []
    dh = dc = None
    for k in reversed(range(len(fs))):
        dh = steps.ready(ghs[k], dh)
        dhs.append(dh)
        dv = dh if w_hr is None else matmul(dh, widened(w_hr))
        dc = steps.ready(gcs[k], dc) + dv * slopes[k]
        das.append(concat([dc, dc, dc, dv], axis=1) * by_c[k])
        dh = steps.send(k, matmul(das[-1], w), h_starts)
        dc = steps.send(k, dc * fs[k], c_starts)
    da = steps.joined(das[::-1])
    dw = matmul(da.T, h_before)
    dw_hr = None if w_hr is None else matmul(steps.joined(dhs[::-1]).T, o * t)
    return da, steps.initial(h_starts, h0), steps.initial(c_starts, c0), dw, dw_hr, None


def _lstm_back(
    xp: Any, g: Any, y: Any, gates: Any, h0: Any, c0: Any, w: Any, w_hr: Any, order: list[Span]
) -> tuple[Any, ...]:
    """The adjoint on raw arrays, step by step in place: the same formulas, nothing recomputed."""
    n = w.shape[0] // 4
    da, h_before = (
        xp.empty((y.shape[0], 4 * n), y.dtype),
        xp.empty((y.shape[0], w.shape[1]), y.dtype),
    )
    dw_hr = None if w_hr is None else xp.zeros_like(w_hr)
    dh0, dc0 = xp.zeros_like(h0), xp.zeros_like(c0)
    dh, dc = dh0[:0], dc0[:0]
    slopes = xp.empty((4, max(stop - start for start, stop in order), n), y.dtype)
    for k in reversed(range(len(order))):
        rows = slice(*order[k])
        a, t = gates[:, rows], xp.tanh(y[rows, :n])
        d = slopes[:, : len(t)]
        (i, f, u, o), (d_i, d_f, d_u, d_o) = a, d
        last = y[slice(*order[k - 1])] if k else y[:0]
        c_before = before_step(xp, last[:, :n], c0, len(t))
        h_before[rows] = before_step(xp, last[:, n:], h0, len(t))
        dv = dh = merged(g[rows, n:], dh)
        if w_hr is not None:
            dw_hr += xp.matmul(dh.T, o * t)
            dv = xp.matmul(dh, w_hr)
        xp.subtract(1, a, out=d)
        d *= a
        d_i *= u
        d_f *= c_before
        xp.multiply(u, u, out=d_u)
        xp.subtract(1, d_u, out=d_u)
        d_u *= i
        d_o *= t
        d_o *= dv
        t *= t
        xp.subtract(1, t, out=t)
        t *= o
        t *= dv
        dc = merged(g[rows, :n], dc)
        dc += t
        d[:3] *= dc
        _by_gate(da[rows], n)[...] = d
        dh = kept_back(xp.matmul(da[rows], w), dh0, order, k)
        dc *= f
        dc = kept_back(dc, dc0, order, k)
    return da, dh0, dc0, xp.matmul(da.T, h_before), dw_hr
