"""Losses of predictions and probabilities with PyTorch's names; ranking losses are in ranking.py.

Those that ops state are the ops themselves. `reduction` is "mean", "sum" or "none"; PyTorch's
deprecated `size_average` and `reduce` are not taken. 16-bit floats are computed in float32.

Floor 6: stands on ops.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine.device import is_host, namespace
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.ops import binary_cross_entropy as binary_cross_entropy
from gradengine.ops import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from gradengine.ops import (
    clip,
    exp,
    expand_dims,
    linear,
    log,
    mean,
    multiply,
    reshape,
    softplus,
    square,
)
from gradengine.ops import cross_entropy as cross_entropy
from gradengine.ops import ctc_loss as ctc_loss
from gradengine.ops import huber_loss as huber_loss
from gradengine.ops import kl_div as kl_div
from gradengine.ops import l1_loss as l1_loss
from gradengine.ops import mse_loss as mse_loss
from gradengine.ops import nll_loss as nll_loss
from gradengine.ops import smooth_l1_loss as smooth_l1_loss
from gradengine.ops.arithmetic import select
from gradengine.ops.gathering import as_operand
from gradengine.ops.losses import (
    binary_entropy_with_logits,
    check_reduction,
    floored,
    operands,
    reduced,
)
from gradengine.ops.reductions import widened
from gradengine.tape import Traced
from gradengine.tensor import Tensor

# --- counts and measurements ---


def poisson_nll_loss(
    input: Tensor,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """-log of the Poisson probability of counts t, but for log(t!): e**x - t x, x = `input`.

    Without `log_input` the input is the rate itself: x - t log(x + eps). `full` adds Stirling's
    t log(t) - t + log(2 pi t) / 2 where t > 1. Both of the same shape; ShapeError otherwise.

    >>> import gradengine as ge
    >>> poisson_nll_loss(ge.tensor([0.0, 1.0]), ge.tensor([3.0, 1.0]), reduction="sum").item()
    2.7182819843292236
    """
    check_reduction("poisson_nll_loss", reduction)
    x, t, dtype = _pair("poisson_nll_loss", input, target)
    y = exp(x) - multiply(t, x) if log_input else x - multiply(t, log(x + eps))
    if full:
        many = t > 1
        t = select(many, t, 1.0)
        y = y + select(many, multiply(t, log(t)) - t + 0.5 * log(2 * math.pi * t), 0.0)
    return finished(y, reduction, dtype)


def gaussian_nll_loss(
    input: Tensor,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """-log of the normal density: (log(v) + (x - t)**2 / v) / 2, v = max(var, eps).

    `var`: a number, the input's shape, or one for each row, with the last axis of size 1 or left
    out. `full` adds log(2 pi) / 2. The derivative by `var` is that of v below eps too, as in
    PyTorch. Nix and Weigend, ICNN 1994. Raises ShapeError, and OutOfRangeError for a negative
    variance (on a GPU it counts as eps instead, which needs no waiting).

    >>> import gradengine as ge
    >>> gaussian_nll_loss(ge.tensor([1.0]), ge.tensor([3.0]), ge.tensor([1.0])).item()
    2.0
    """
    name = "gaussian_nll_loss"
    check_reduction(name, reduction)
    x, t, dtype = _pair(name, input, target)
    v = _variance(name, x, var, eps)
    y = 0.5 * ((math.log(v) if isinstance(v, float) else log(v)) + square(x - t) / v)
    if full:
        y = y + 0.5 * math.log(2 * math.pi)
    return finished(y, reduction, dtype)


def _variance(name: str, x: Any, var: Any, eps: float) -> Any:
    """The variances, eps or more: a number, or a tensor that broadcasts to x's shape."""
    hint = "give variances, as softplus or exp make them"
    if isinstance(var, (int, float)):
        if var < 0:
            raise OutOfRangeError(hinted(f"{name}: var={var} is negative", hint))
        return max(float(var), eps)
    v = as_operand(var)
    shape, own = tuple(x.shape), tuple(v.shape)
    if own not in (shape, (*shape[:-1], 1)):
        if own != shape[:-1]:
            text = f"{name}: var {own} for input {shape}"
            raise ShapeError(hinted(text, f"give {shape}, {(*shape[:-1], 1)} or a number"))
        v = expand_dims(v, axis=-1)
    raw = v.array if isinstance(v, Traced) else v
    if is_host(namespace(raw)) and (raw < 0).any():
        raise OutOfRangeError(hinted(f"{name}: var {raw[raw < 0][0]} is negative", hint))
    return floored(widened(v), low=eps)


# --- classes ---


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    *,
    linear_bias: Tensor | None = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """cross_entropy of the logits x W^T + b: `input` (N, D) or (D,), W (C, ..., D), b (C, ...).

    The logits are (N, C, ...), the targets as `cross_entropy` has them for those. PyTorch's
    `options`, which split the classes into chunks to save memory, are not taken.

    >>> import gradengine as ge
    >>> x, w = ge.tensor([[1.0, 0.0]]), ge.tensor([[100.0, 0.0], [0.0, 1.0]])
    >>> linear_cross_entropy(x, w, ge.tensor([1])).item()
    100.0
    """
    size = linear_weight.shape[-1]
    if input.ndim not in (1, 2) or input.shape[-1] != size or linear_weight.ndim < 2:
        shapes = f"input {tuple(input.shape)}, linear_weight {tuple(linear_weight.shape)}"
        hint = "give (N, D) or (D,), and (C, ..., D)"
        raise ShapeError(hinted(f"linear_cross_entropy: {shapes}", hint))
    outputs = tuple(linear_weight.shape[:-1])
    flat = None if linear_bias is None else reshape(linear_bias, (-1,))
    logits = linear(input, reshape(linear_weight, (-1, size)), flat)
    return cross_entropy(
        reshape(logits, (*input.shape[:-1], *outputs)),
        target,
        weight,
        -100 if ignore_index is None else ignore_index,
        reduction,
        label_smoothing,
    )


# --- yes or no ---


def soft_margin_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + e**(-t x)) of scores x = `input` and signs t = 1 or -1: logistic regression.

    Both of the same shape; ShapeError otherwise.

    >>> import gradengine as ge
    >>> soft_margin_loss(ge.tensor([1e3, 1e3]), ge.tensor([1, -1]), "none").tolist()
    [0.0, 1000.0]
    """
    check_reduction("soft_margin_loss", reduction)
    x, t, dtype = _pair("soft_margin_loss", input, target)
    return finished(softplus(-multiply(t, x)), reduction, dtype)


def multilabel_soft_margin_loss(
    input: Tensor, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy of logits x (..., C) and targets in [0, 1], the mean of the C classes.

    `weight` (C,) counts the classes. The reduction is that of the rows. ShapeError unless both
    have the same shape.

    >>> import gradengine as ge
    >>> multilabel_soft_margin_loss(ge.tensor([[100.0, -50.0]]), ge.tensor([[0.0, 1.0]])).item()
    75.0
    """
    name = "multilabel_soft_margin_loss"
    check_reduction(name, reduction)
    x, t, dtype = _pair(name, input, target)
    if not x.ndim:
        raise ShapeError(hinted(f"{name}: input is 0-d, there are no classes", "give (N, C)"))
    y = binary_entropy_with_logits(x, t)
    if weight is not None:
        y = multiply(y, widened(as_operand(weight)))
    return finished(mean(y, axis=-1), reduction, dtype)


# --- what they share ---


def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any, Any]:
    """Input and target of one shape, both in the type to compute in, and the type of the result."""
    x, t = operands(name, input, target)
    wide = widened(x)
    return wide, like_scores(wide, t), x.dtype


def like_scores(x: Any, t: Any) -> Any:
    """Signs and counts as floats of x's type: integers beside them would make float64."""
    if isinstance(t, (int, float)) or t.dtype == x.dtype:
        return t
    return t.astype(x.dtype) if t.dtype.kind in "iub" else widened(t)


def finished(y: Any, reduction: str, dtype: Any) -> Any:
    """The loss reduced, in the type of the input."""
    y = reduced(y, reduction)
    return y if y.dtype == dtype else y.astype(dtype)


def hinge(x: Any) -> Any:
    """max(x, 0) with derivative 1 at 0, as PyTorch's clamp: equal scores are still pulled apart."""
    return clip(x, min=0.0)
