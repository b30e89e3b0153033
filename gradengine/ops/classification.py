"""Losses of class predictions: cross_entropy and nll_loss.

The softmax cross-entropy is one op. Its derivative is softmax(x) - target, weighted by
how much each row counts; of many logits the softmax is computed again in the backward pass, which
saves the memory to keep it. Rows: whatever the input's shape, the ops see (rows, classes).

Letters: `x` logits or log-probabilities, `t` targets, `w` weights of the classes, `g` cotangent,
`c` how much each row counts, `z` logits less their largest, `p` softmax.

Floor 3: stands on op.py, losses.py and the ops files before it.
"""

from __future__ import annotations

import math
from typing import Any

from ..device import HOST, Array, as_array, is_host, ndarray, quiet
from ..errors import DTypeError, explain, hinted
from ..hostloops import LARGE
from ..op import Draw, case, integers, primitive, real, strict_multiply
from ..tape import Traced, grad_enabled, record
from .arithmetic import multiply, select
from .gathering import as_operand
from .labels import (
    RowCounts,
    check_labels,
    class_count,
    class_weights,
    ignored_class,
    raw,
    rows_of,
    wrong_label_shape,
)
from .losses import check_reduction, reduced
from .normalisation import log_softmax, softmax
from .reductions import is_half, widened
from .reductions import sum as sum_
from .shape import expand_dims, reshape

# --- softmax cross-entropy with class numbers ---

_ROWS = (Draw((5, 3), real(-3, 3)), Draw((5,), integers(0, 2)))


@primitive(
    name="cross_entropy",
    arity=2,
    cases=[case(*_ROWS), case(*_ROWS, reduction="none"), case(*_ROWS, ignore_index=1)],
)
def cross_entropy_(
    xp: Any, x: Any, t: Any, w: Any = None, ignore_index: int | None = -100, reduction: str = "mean"
) -> Any:
    """log(sum(exp(x))) - x[t] of each row of x, reduced; t of any shape with as many elements."""
    with quiet():
        z, axis = _centred(xp, x)
        counts = RowCounts(xp, "cross_entropy", t, w, x.shape[1], ignore_index, z.dtype, False)
        rows = xp.arange(x.shape[0])
        picked = z[counts.t, rows] if axis == 0 else z[rows, counts.t]
        y = xp.log(_sums(xp, xp.exp(z, out=z), axis))
        y -= picked
        return counts.reduced(xp, y, reduction).astype(x.dtype, copy=False)


def _centred(xp: Any, x: Array) -> tuple[Array, int]:
    """x less the largest of each row, in float32 or finer, and the axis of the classes in it.

    On the CPU a few classes stand along the first axis: the sums then run over long rows.
    """
    if x.itemsize == 2 and is_half(x.dtype):
        x = x.astype("float32")
    if not x.size:
        return x.copy(), 1
    if is_host(xp) and x.shape[1] < 64:
        z = x.T.copy()
        z -= xp.maximum.reduce(z, axis=0)
        return z, 0
    return x - x.max(axis=1, keepdims=True), 1


def _sums(xp: Any, e: Array, axis: int) -> Array:
    """The sum of each row; the reduction itself where it is known, which is the shorter call."""
    return xp.add.reduce(e, axis=axis) if is_host(xp) else e.sum(axis=axis)


@cross_entropy_.adjoint(0)
def _(
    g: Any, _y: Any, x: Any, t: Any, d: Any = None, *, w: Any, ignore_index: Any, reduction: str
) -> Any:
    if d is not None:  # as _with_slope has left it
        scale = g.item() / d.shape[0] if reduction == "mean" else g.item()
        return d * scale if scale else HOST.zeros_like(d)
    params = {"w": w, "ignore_index": ignore_index, "reduction": reduction}
    return cross_entropy_grad.op.run((g, x, t), params)


def _recorded(x: Any, t: Any, params: dict[str, Any]) -> Any:
    """The op applied; where that is known to be small, with the slope computed along the way.

    A slope that is kept costs less than the softmax computed again, but the memory of the logits.
    """
    op = cross_entropy_.op
    if not x.__class__ is t.__class__ is Traced.plain:
        return op.run((x, t), params)
    a, reduction = x.array, params["reduction"]
    if (
        a.__class__ is not ndarray
        or params["ignore_index"] is not None
        or params["w"] is not None
        or reduction == "none"
        or x.node is None
        or not 0 < a.size < LARGE
        or a.dtype.char not in "fd"
        or not grad_enabled()
    ):
        return op.run_two(x, t, params)
    b = t.array
    try:
        y, d = _with_slope(HOST, a, b, reduction)
    except Exception as error:
        raise explain(op.name, error, (a, b), params) from error
    meta = ((a.shape, a.dtype), (b.shape, b.dtype))
    return record(x.plain, op, as_array(y), (x.node, None), (None, a, b, d), params, meta)


def _with_slope(xp: Any, x: Array, t: Array, reduction: str) -> tuple[Any, Array]:
    """The reduced loss where every target counts, and softmax(x) - onehot(t)."""
    with quiet():
        p, axis = _centred(xp, x)
        rows = xp.arange(x.shape[0])
        if t.ndim != 1:
            t = t.reshape(-1)
        places = (t, rows) if axis == 0 else (rows, t)
        gain = p[places]
        sums = _sums(xp, xp.exp(p, out=p), axis)
        gain -= xp.log(sums)  # minus the loss of each row
        p /= sums if axis == 0 else sums[:, None]
        p[places] = xp.expm1(gain)  # p - 1 at the target, whose p is exp(gain)
        y = 0 - xp.add.reduce(gain)  # not minus: no -0.0
        return y / t.size if reduction == "mean" else y, p.T if axis == 0 else p


@primitive(
    arity=3,
    linear=(0,),
    cases=[
        case((), *_ROWS),
        case((5,), *_ROWS, reduction="none"),
        case((), *_ROWS, ignore_index=1, reduction="sum"),
    ],
)
def cross_entropy_grad(
    xp: Any,
    g: Any,
    x: Any,
    t: Any,
    w: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """dx = g*c/total * (softmax(x) - onehot(t)): the cotangent of cross_entropy's logits."""
    p, axis = _centred(xp, x)
    counts = RowCounts(xp, "cross_entropy", t, w, x.shape[1], ignore_index, p.dtype, True)
    if g.__class__ is not float:
        known = reduction != "none" and is_host(xp) and x.size
        g = g.item() if known else g.astype(p.dtype)
    if g.__class__ is float and g == 0:  # cut off by a mask: not even a NaN lets anything through
        return xp.zeros_like(x)
    scale = counts.scale(xp, g, reduction)
    xp.exp(p, out=p)
    share = scale / _sums(xp, p, axis)
    rows = xp.arange(x.shape[0])
    if axis == 0:
        p *= share
        p[counts.t, rows] -= scale
        p = p.T
    else:
        p *= share[:, None]
        p[rows, counts.t] -= scale
    if counts.c is not None or reduction == "none":
        p[scale == 0] = 0  # rows that do not count may hold inf and NaN
    return p.astype(x.dtype, copy=False)


@cross_entropy_grad.adjoint(0)
def _(h: Any, _d: Any, _g: Any, x: Any, t: Any, w: Any, ignore_index: int, reduction: str) -> Any:
    unit = cross_entropy_grad(1.0, x, t, w=w, ignore_index=ignore_index, reduction=reduction)
    return sum_(h * unit, axis=1) if reduction == "none" else sum_(h * unit)


@cross_entropy_grad.adjoint(1)
def _(h: Any, _d: Any, g: Any, x: Any, t: Any, w: Any, ignore_index: int, reduction: str) -> Any:
    factors = row_factors(
        t, w=w, classes=x.shape[1], ignore_index=ignore_index, reduction=reduction, dtype=x.dtype
    )
    scale = expand_dims(g * factors, axis=1)
    p = softmax(x, axis=1)
    q = p * h
    return strict_multiply(scale, q - p * sum_(q, axis=1, keepdims=True))


@primitive(
    arity=1,
    differentiable=False,
    cases=[case(_ROWS[1], w=None, classes=3, ignore_index=1, reduction="mean", dtype="float64")],
)
def row_factors(
    xp: Any, t: Any, w: Any, classes: int, ignore_index: int, reduction: str, dtype: Any
) -> Any:
    """How much each row of targets counts in the reduced loss."""
    with quiet():
        counts = RowCounts(xp, "cross_entropy", t, w, classes, ignore_index, dtype, True)
        return counts.scale(xp, xp.ones(t.size, dtype), reduction).astype(dtype, copy=False)


# --- softmax cross-entropy with probabilities ---


@primitive(wide=True, cases=[case(Draw((5, 3), real(-3, 3)), Draw((5, 3), real(0.1, 1)))])
def soft_cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    """sum(t * (log(sum(exp(x))) - x)) of each row; where t is 0, x may be -inf."""
    with quiet():
        z = x - x.max(axis=1, keepdims=True) if x.size else x
        log_sums = xp.log(xp.exp(z).sum(axis=1, keepdims=True))
        return xp.where(t == 0, 0, t * (log_sums - z)).sum(axis=1)


@soft_cross_entropy.adjoint(0)
def _(g: Any, _y: Any, x: Any, t: Any) -> Any:
    return expand_dims(g, axis=1) * (softmax(x, axis=1) * sum_(t, axis=1, keepdims=True) - t)


@soft_cross_entropy.adjoint(1)
def _(g: Any, _y: Any, x: Any, _t: Any) -> Any:
    return -expand_dims(g, axis=1) * log_softmax(x, axis=1)


@primitive(
    arity=1,
    differentiable=False,
    cases=[
        case(
            _ROWS[1],
            w=None,
            classes=3,
            ignore_index=1,
            smoothing=0.1,
            reduction="mean",
            dtype="float64",
        )
    ],
)
def class_distribution(
    xp: Any,
    t: Any,
    w: Any,
    classes: int,
    ignore_index: int,
    smoothing: float,
    reduction: str,
    dtype: Any,
) -> Any:
    """Smoothed class numbers as rows of probabilities, times what each row and class counts."""
    with quiet():
        counts = RowCounts(xp, "cross_entropy", t, None, classes, ignore_index, dtype, False)
        p = xp.full((t.size, classes), smoothing / classes, dtype)
        p[xp.arange(t.size), counts.t] += 1 - smoothing
        if counts.c is not None:
            p *= counts.c[:, None]
        if w is not None:
            p *= w
            counts = RowCounts(xp, "cross_entropy", t, w, classes, ignore_index, dtype, True)
        return p / (counts.total + (counts.total == 0)) if reduction == "mean" else p


# --- negative log-likelihood ---


@primitive(
    arity=2,
    wide=True,
    linear=(0,),
    cases=[case(*_ROWS), case(*_ROWS, reduction="none"), case(*_ROWS, ignore_index=1)],
)
def nll_(
    xp: Any, x: Any, t: Any, w: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """-x[t] of each row of x, reduced."""
    with quiet():
        counts = RowCounts(xp, "nll_loss", t, w, x.shape[1], ignore_index, x.dtype, False)
        return counts.reduced(xp, -x[xp.arange(x.shape[0]), counts.t], reduction)


@nll_.adjoint(0)
def _(g: Any, _y: Any, x_like: Any, t: Any, w: Any, ignore_index: int, reduction: str) -> Any:
    return nll_back(
        g, t, w=w, classes=x_like.shape[1], ignore_index=ignore_index, reduction=reduction
    )


@primitive(
    arity=2,
    wide=True,
    linear=(0,),
    cases=[case((), _ROWS[1], classes=3), case((5,), _ROWS[1], classes=3, reduction="none")],
)
def nll_back(
    xp: Any,
    g: Any,
    t: Any,
    classes: int,
    w: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Rows of zeros with -g*c/total at each target: the adjoint of nll."""
    with quiet():
        counts = RowCounts(xp, "nll_loss", t, w, classes, ignore_index, g.dtype, True)
        d = xp.zeros((t.size, classes), g.dtype)
        d[xp.arange(t.size), counts.t] = -counts.scale(xp, g, reduction)
        return d


@nll_back.adjoint(0)
def _(
    h: Any, _d: Any, _g: Any, t: Any, classes: int, w: Any, ignore_index: int, reduction: str
) -> Any:
    return nll_(h, t, w=w, ignore_index=ignore_index, reduction=reduction)


# --- what people call ---


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax cross-entropy of logits: -log(softmax(input)[target]).

    `input` (N, C), (C,) or (N, C, d1, ...); `target` either class numbers, (N,), () or
    (N, d1, ...), or probabilities of the input's shape, to which gradients flow as well. `weight`
    (C,) counts the classes; rows whose class number is `ignore_index` count nothing. "mean" divides
    by the weights of the rows that count (with probabilities: by the number of rows); if none
    counts it is NaN and the gradient 0, as in PyTorch, smoothed or not. `label_smoothing` e mixes
    the targets with e/C. 16-bit logits are computed in float32. The gradient is softmax(input) -
    target.

    Raises OutOfRangeError for a class number outside [0, C - 1], with its position (on a GPU this
    waits for the answer); ShapeError; DTypeError.

    >>> import gradengine as ge
    >>> cross_entropy(ge.tensor([[0.0, 0.0], [100.0, 0.0]]), ge.tensor([1, 0]), reduction="none")
    tensor([0.6931472, 0.       ])
    """
    check_reduction("cross_entropy", reduction)
    x, t = as_operand(input), as_operand(target)
    a, b = raw(x), raw(t)  # shapes and dtypes are read many times
    classes = class_count("cross_entropy", a)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            hinted(f"cross_entropy: label_smoothing={label_smoothing}", "a number from 0 to 1")
        )
    w = class_weights("cross_entropy", a, weight, classes)
    if b.dtype.kind not in "iu":
        return _of_probabilities(x, t, w, reduction, label_smoothing)
    check_labels("cross_entropy", a, b)
    rows = rows_of(x)
    if not label_smoothing:
        ignored = ignored_class(b, classes, ignore_index)
        params = {"w": w, "ignore_index": ignored, "reduction": reduction}
        y = _recorded(rows, t, params)
    else:
        rows = widened(rows)
        p = class_distribution(
            t, w=w, classes=classes, ignore_index=ignore_index, smoothing=label_smoothing,
            reduction=reduction, dtype=rows.dtype,
        )  # fmt: skip
        y = soft_cross_entropy(rows, p)
        if reduction != "none":
            y = sum_(y)
        if reduction == "mean":
            counts = row_factors(
                t,
                w=w,
                classes=classes,
                ignore_index=ignore_index,
                reduction="sum",
                dtype=rows.dtype,
            )
            y = select(sum_(counts) == 0, math.nan, y)  # the mean of no rows, with gradient 0
        y = y.astype(x.dtype)
    return reshape(y, tuple(t.shape)) if reduction == "none" else y


def nll_loss(
    input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """Negative log-likelihood: -input[target], of log-probabilities such as log_softmax gives.

    Shapes, `weight`, `ignore_index`, reductions and errors as in `cross_entropy`.

    >>> import gradengine as ge
    >>> nll_loss(ge.tensor([[-1.0, -2.0], [-3.0, -4.0]]), ge.tensor([1, 0]))
    tensor(2.5)
    """
    check_reduction("nll_loss", reduction)
    x, t = as_operand(input), as_operand(target)
    if t.dtype.kind not in "iu":
        raise DTypeError(
            hinted(f"nll_loss: target is {t.dtype}", "class numbers: cross_entropy takes both")
        )
    classes = class_count("nll_loss", x)
    w = class_weights("nll_loss", x, weight, classes)
    check_labels("nll_loss", x, t)
    ignored = ignored_class(t, classes, ignore_index)
    y = nll_(rows_of(x), t, w=w, ignore_index=ignored, reduction=reduction)
    return reshape(y, tuple(t.shape)) if reduction == "none" else y


def _of_probabilities(x: Any, t: Any, w: Any, reduction: str, smoothing: float) -> Any:
    shape = tuple(x.shape)
    if t.dtype.kind not in "fV":
        raise DTypeError(
            hinted(f"cross_entropy: target is {t.dtype}", "class numbers, or probabilities")
        )
    if tuple(t.shape) != shape:
        raise wrong_label_shape("cross_entropy", x, t)
    logits, p = widened(rows_of(x)), widened(rows_of(t))
    if smoothing:
        p = p * (1 - smoothing) + smoothing / logits.shape[1]
    if w is not None:
        p = multiply(p, w)
    y = reduced(soft_cross_entropy(logits, p), reduction)
    y = y if y.dtype == x.dtype else y.astype(x.dtype)
    return (
        reshape(y, (*shape[:1], *shape[2:]) if len(shape) > 1 else ()) if reduction == "none" else y
    )
