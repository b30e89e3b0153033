"""Losses: what training minimises, with PyTorch's names, meanings and reductions.

Regression losses and those of yes/no questions are elementwise rows, reduced to one number here;
those of classes are in classification.py. `reduction` is "mean", "sum" or "none".

Letters: `x` prediction, `t` target, `y` loss; derivatives are dy/dx and dy/dt of `(y, x, t)`.

Floor 3: stands on op.py and the ops files before it.
"""

from __future__ import annotations

from typing import Any

from .. import casting
from ..device import is_host, namespace, quiet
from ..errors import OutOfRangeError, ShapeError, hinted
from ..op import pointwise, real
from ..tape import Traced
from .activations import sigmoid, softplus
from .arithmetic import clip, maximum, multiply, sign
from .elementary import exp, log
from .gathering import as_operand
from .reductions import mean, quotient_or_zero
from .reductions import sum as sum_

# --- reduction ---


def reduced(y: Any, reduction: str) -> Any:
    """The loss of all elements as one number, or as it is."""
    if reduction == "mean":
        return mean(y)
    return sum_(y) if reduction == "sum" else y


def check_reduction(name: str, reduction: str, more: tuple[str, ...] = ()) -> None:
    """Raise ValueError unless `reduction` is one of the three (or one `more`)."""
    if reduction not in ("mean", "sum", "none") and reduction not in more:
        allowed = ("mean", "sum", "none", *more)
        raise ValueError(
            hinted(f"{name}: reduction={reduction!r} is unknown", f"one of {', '.join(allowed)}")
        )


def elementwise(row: Any, name: str, x: Any, t: Any, reduction: str, **params: Any) -> Any:
    """A loss row applied to a prediction and a target of the same shape, then reduced."""
    check_reduction(name, reduction)
    x, t = operands(name, x, t)
    return reduced(row(x, t, **params), reduction)


def weighted(
    row: Any, name: str, x: Any, t: Any, reduction: str, weight: Any, own_mean: bool, **params: Any
) -> Any:
    """`elementwise` with a weight for each element; its mean is by the weights if `own_mean`."""
    if weight is None:
        return elementwise(row, name, x, t, reduction, **params)
    y, w = elementwise(row, name, x, t, "none", **params), as_operand(weight)
    check_reduction(name, reduction)
    if tuple(w.shape) != tuple(y.shape):
        text = f"{name}: weight {tuple(w.shape)} for input {tuple(y.shape)}"
        raise ShapeError(
            hinted(text, "one weight for each element: broadcast_to where you mean it")
        )
    w = w if w.dtype == y.dtype else w.astype(y.dtype)
    if reduction == "mean" and own_mean:
        return sum_(multiply(y, w)) / sum_(w)
    return reduced(multiply(y, w), reduction)


def operands(name: str, x: Any, t: Any) -> tuple[Any, Any]:
    """Prediction and target, which must agree in shape: broadcasting here hides mistakes.

    Under autocast both are in float32: losses of two arrays are the one kind of op it cannot
    reach by their tables.
    """
    x = as_operand(x)
    if casting.open_contexts:
        x, t = casting.full(x), casting.full(t)
    if t.__class__ is float or t.__class__ is int:
        return x, t
    t = as_operand(t)
    if tuple(x.shape) != tuple(t.shape):
        raise ShapeError(
            hinted(
                f"{name}: input {tuple(x.shape)} and target {tuple(t.shape)} differ in shape",
                "target.reshape(input.shape), or broadcast_to where you mean it",
            )
        )
    return x, t


def _alike(xp: Any, x: Any, t: Any) -> tuple[Any, Any]:
    """Python numbers as arrays of the other's type: a function of one would make them float64."""
    if x.__class__ in (int, float) and getattr(t, "dtype", None) is not None:
        x = xp.asarray(x, t.dtype if t.dtype.kind in "fV" else None)
    elif t.__class__ in (int, float) and getattr(x, "dtype", None) is not None:
        t = xp.asarray(t, x.dtype if x.dtype.kind in "fV" else None)
    return x, t


def _typed(x: Any, y: Any) -> Any:
    """x, a Python number as a scalar of y's type: the same for derivatives."""
    return y.dtype.type(x) if x.__class__ in (int, float) else x


# --- distances ---

squared_error = pointwise(
    "squared_error",
    forward=lambda xp, x, t: xp.square(x - t),
    partials=(lambda _y, x, t: 2 * (x - t), lambda _y, x, t: 2 * (t - x)),
    doc="(x - t)**2.",
)

absolute_error = pointwise(
    "absolute_error",
    forward=lambda xp, x, t: xp.abs(x - t),
    partials=(lambda _y, x, t: sign(x - t), lambda _y, x, t: sign(t - x)),
    sample=(real(-2, 0), real(0.1, 2)),
    doc="|x - t|; the derivative at x = t is 0.",
)


def _huber(xp: Any, x: Any, t: Any, delta: float = 1.0) -> Any:
    d = xp.abs(x - t)
    return xp.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


huber_error = pointwise(
    "huber_error",
    forward=_huber,
    partials=(
        lambda _y, x, t, delta: clip(x - t, -delta, delta),
        lambda _y, x, t, delta: clip(t - x, -delta, delta),
    ),
    sample=(real(-2, 2, 0.5, 1.0), real(-0.01, 0.01)),
    doc="(x - t)**2 / 2 up to |x - t| = delta, from there on a straight line of slope delta.",
)


def mse_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """Squared error: mean((input - target)**2), or sum(w (input - target)**2) / sum(w).

    All of the same shape (a Python number as target counts for all); ShapeError otherwise.

    >>> import gradengine as ge
    >>> mse_loss(ge.tensor([1.0, 2.0]), ge.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return weighted(squared_error, "mse_loss", input, target, reduction, weight, True)


def l1_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """Absolute error: mean(|input - target|); its derivative where they are equal is 0.

    `weight` as in mse_loss.

    >>> import gradengine as ge
    >>> l1_loss(ge.tensor([1.0, 2.0]), ge.tensor([1.0, 4.0]))
    tensor(1.)
    """
    return weighted(absolute_error, "l1_loss", input, target, reduction, weight, True)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    """d**2 / 2 where d = |input - target| <= delta, else delta*(d - delta/2) (Huber, 1964).

    `weight` multiplies each element; the mean is over their number, as in PyTorch.

    >>> import gradengine as ge
    >>> huber_loss(ge.tensor([0.5, 3.0]), ge.tensor([0.0, 0.0]), "none").tolist()
    [0.125, 2.5]
    """
    if not delta > 0:
        raise ValueError(hinted(f"huber_loss: delta={delta}", "a positive number"))
    own: dict[str, Any] = {"weight": weight, "own_mean": False, "delta": delta}
    return weighted(huber_error, "huber_loss", input, target, reduction, **own)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """huber_loss with delta = beta, divided by beta; l1_loss for beta = 0 (Girshick, Fast R-CNN).

    >>> import gradengine as ge
    >>> smooth_l1_loss(ge.tensor([0.5, 3.0]), ge.tensor([0.0, 0.0]), "none").tolist()
    [0.125, 2.5]
    """
    if beta < 0:
        raise ValueError(hinted(f"smooth_l1_loss: beta={beta}", "0 or a positive number"))
    if beta == 0:
        return elementwise(absolute_error, "smooth_l1_loss", input, target, reduction)
    y = elementwise(huber_error, "smooth_l1_loss", input, target, reduction, delta=beta)
    return y / beta


# --- yes or no ---


def _clamped_log(xp: Any, x: Any) -> Any:
    none = x <= 0  # so that NaN stays NaN
    return xp.where(none, -100, xp.maximum(xp.log(xp.where(none, 1, x)), -100))


clamped_log = pointwise(
    "clamped_log",
    forward=_clamped_log,
    partial=lambda _y, x: quotient_or_zero(1, x),
    sample=real(0.1, 2),
    doc="log(x), no lower than -100.",
)


def _yes_no(xp: Any, x: Any, t: Any) -> Any:
    x, t = _alike(xp, x, t)
    sure = x >= 1
    other = xp.where(sure, -100, xp.maximum(xp.log1p(-xp.where(sure, 0, x)), -100))
    return (t - 1) * other - t * _clamped_log(xp, x)


def _in_target(y: Any, x: Any, _t: Any) -> Any:
    x = _typed(x, y)
    return clamped_log(1 - x) - clamped_log(x)


binary_entropy = pointwise(
    "binary_entropy",
    forward=_yes_no,
    partials=(
        lambda _y, x, t: (x - t) / maximum(x * (1 - x), 1e-12),
        _in_target,
    ),
    sample=(real(0.1, 0.9), real(0, 1)),
    doc="-(t*log(x) + (1 - t)*log(1 - x)), the logarithms no lower than -100.",
)


def _yes_no_of_logits(xp: Any, x: Any, t: Any) -> Any:
    x, t = _alike(xp, x, t)
    with quiet():  # exp may underflow to 0
        return xp.maximum(x, 0) - x * t + xp.log1p(xp.exp(-xp.abs(x)))


binary_entropy_with_logits = pointwise(
    "binary_entropy_with_logits",
    forward=_yes_no_of_logits,
    partials=(lambda _y, x, t: sigmoid(x) - t, lambda _y, x, _t: -x),
    sample=(real(-4, 4), real(0, 1)),
    doc="-(t*log(s) + (1 - t)*log(1 - s)) with s = sigmoid(x), without overflow.",
)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Any:
    """-(t*log(p) + (1 - t)*log(1 - p)) of probabilities p = `input` and targets in [0, 1].

    The logarithms are held at -100 or above, as in PyTorch, so a sure and wrong prediction costs
    100. `weight` broadcasts over the elements. Raises OutOfRangeError for an input outside [0, 1]
    (on a GPU the loss is NaN instead, which needs no waiting). Prefer the version with logits.

    >>> import gradengine as ge
    >>> binary_cross_entropy(ge.tensor([0.0, 1.0]), ge.tensor([1.0, 1.0]), reduction="sum").item()
    100.0
    """
    name = "binary_cross_entropy"
    check_reduction(name, reduction)
    x, t = operands(name, input, target)
    _check_probabilities(name, x)
    return reduced(_weighted(binary_entropy(x, t), weight), reduction)


def _check_probabilities(name: str, x: Any) -> None:
    raw = x.array if isinstance(x, Traced) else x
    if not is_host(namespace(raw)):
        return
    outside = (raw < 0) | (raw > 1)
    if outside.any():
        raise OutOfRangeError(
            hinted(
                f"{name}: input {raw[outside][0]} lies outside [0, 1]",
                "pass probabilities, or logits to binary_cross_entropy_with_logits",
            )
        )


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """Cross-entropy of targets t in [0, 1] and probabilities sigmoid(x), x = `input`, in one step.

    y = max(x, 0) - x*t + log(1 + exp(-|x|)); with `pos_weight` the term of t counts that many
    times: y = (1 - t)*x + (1 + (pos_weight - 1)*t)*log(1 + exp(-x)). Both weights broadcast.

    >>> import gradengine as ge
    >>> binary_cross_entropy_with_logits(ge.tensor([1000.0]), ge.tensor([0.0])).item()
    1000.0
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    x, t = operands(name, input, target)
    if pos_weight is None:
        y = binary_entropy_with_logits(x, t)
    else:
        y = (1 - t) * x + multiply(softplus(-x), (as_operand(pos_weight) - 1) * t + 1)
    return reduced(_weighted(y, weight), reduction)


def _weighted(y: Any, weight: Any) -> Any:
    return y if weight is None else multiply(y, as_operand(weight))


# --- divergence of distributions ---


def _divergence(xp: Any, x: Any, t: Any) -> Any:
    x, t = _alike(xp, x, t)
    with quiet():
        return xp.where(t == 0, 0, t * (xp.log(t) - x))


def _divergence_of_logs(xp: Any, x: Any, t: Any) -> Any:
    x, t = _alike(xp, x, t)
    with quiet():
        p = xp.exp(t)
        return xp.where(p == 0, 0, p * (t - x))


divergence = pointwise(
    "divergence",
    forward=_divergence,
    partials=(lambda _y, _x, t: -t, lambda _y, x, t: log(t) + 1 - x),
    sample=(real(-3, -0.1), real(0.1, 1)),
    doc="t*(log(t) - x), and 0 where t is 0: x is a log-probability, t a probability.",
)

divergence_of_logs = pointwise(
    "divergence_of_logs",
    forward=_divergence_of_logs,
    partials=(lambda y, _x, t: -exp(_typed(t, y)), lambda y, _x, t: y + exp(t)),
    sample=(real(-3, -0.1), real(-3, -0.1)),
    doc="exp(t)*(t - x), and 0 where exp(t) is 0: both are log-probabilities.",
)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """Kullback-Leibler divergence sum t*(log(t) - x) of log-probabilities x = `input` from t.

    With `log_target` the target is a log-probability as well. "batchmean" divides the sum by the
    size of the first axis, which is the divergence itself; "mean", PyTorch's default, divides by
    the number of elements. Where t is 0 the loss is 0, whatever x.

    >>> import gradengine as ge
    >>> p = ge.tensor([0.5, 0.5])
    >>> kl_div(ge.log(p), p, reduction="sum").item()
    0.0
    """
    check_reduction("kl_div", reduction, ("batchmean",))
    x, t = operands("kl_div", input, target)
    y = (divergence_of_logs if log_target else divergence)(x, t)
    if reduction == "batchmean":
        return sum_(y) / (x.shape[0] if x.ndim else 1)
    return reduced(y, reduction)


# --- densities ---

floored = pointwise(
    "floored",
    forward=lambda xp, x, low=0.0: xp.maximum(x, low),
    partial=1,
    sample=real(0.1, 2),
    doc="max(x, low) with derivative 1 below `low` too: a learned variance can leave it again.",
)
