"""Losses that rank classes: the right ones should score higher than the others, by a margin.

Targets are class numbers; which classes they name becomes a mask, and the rest is sums over masked
scores.

Letters: `x` scores (N, C), `t` class numbers, `z` how far a wrong class reaches into the margin.

Floor 3: stands on labels.py, losses.py and the ops files before them.
"""

from __future__ import annotations

from typing import Any

from ..errors import DTypeError, OutOfRangeError, ShapeError, hinted
from ..op import Draw, case, integers, primitive
from .activations import relu
from .arithmetic import select, square
from .gathering import as_operand, gather
from .labels import check_labels, class_count, class_weights, rows_of
from .logic import logical_and, logical_not
from .losses import check_reduction, reduced
from .reductions import sum as sum_
from .reductions import widened
from .shape import expand_dims, reshape

_LISTS = Draw((3, 4), integers(-1, 3))

# --- which classes a target names ---


@primitive(arity=1, differentiable=False, cases=[case(_LISTS, name="loss", classes=4)])
def listed_labels(xp: Any, t: Any, name: str, classes: int) -> Any:
    """Class numbers up to the first -1 of each row, as wide as the longest; -1 behind the end."""
    inside = xp.cumprod(t >= 0, axis=1).astype(bool)
    wrong = (inside & (t >= classes)) | (t < -1)
    if bool(wrong.any()):
        place = tuple(int(i[0]) for i in xp.nonzero(wrong))
        raise OutOfRangeError(
            hinted(
                f"{name}: target {int(t[place])} at position {place} lies outside "
                f"[0, {classes - 1}] and is not -1, the end of a list",
                f"the input has {classes} classes; number the labels from 0",
            )
        )
    width = int(inside.sum(axis=1).max()) if t.size else 0
    return xp.where(inside, t, -1)[:, :width]


@primitive(arity=1, differentiable=False, cases=[case(_LISTS, classes=4)])
def label_sets(xp: Any, t: Any, classes: int) -> Any:
    """(N, C): whether a class is among the class numbers of its row; -1 is none."""
    named = xp.zeros((t.shape[0], classes + 1), bool)
    named[xp.arange(t.shape[0])[:, None], xp.where(t < 0, classes, t)] = True
    return named[:, :classes]


# --- what people call ---


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Any:
    """sum over wrong classes j of max(0, margin - x[t] + x[j])**p / C: a hinge for many classes.

    `input` (N, C) or (C,), `target` class numbers (N,) or (); `weight` (C,) counts the right
    classes, p is 1 or 2. Crammer and Singer, JMLR 2 (2001) 265. Raises ShapeError, DTypeError, and
    OutOfRangeError for a class number outside [0, C - 1].

    >>> import gradengine as ge
    >>> multi_margin_loss(ge.tensor([[0.5, 0.0]]), ge.tensor([0])).item()  # (1 - 0.5 + 0) / 2
    0.25
    """
    name = "multi_margin_loss"
    check_reduction(name, reduction)
    if p not in (1, 2):
        raise ValueError(hinted(f"{name}: p={p}", "1 or 2"))
    x, t = _scores_and_labels(name, input, target)
    check_labels(name, x, t)
    classes = class_count(name, x)
    w = class_weights(name, x, weight, classes)
    rows = widened(rows_of(x))
    right = label_sets(_checked(name, t, classes), classes=classes)
    own = sum_(select(right, rows, 0.0), axis=1, keepdims=True)
    z = relu(margin - own + rows)
    z = select(right, 0.0, z if p == 1 else square(z))
    if w is not None:
        z = z * sum_(select(right, w, 0.0), axis=1, keepdims=True)
    return _per_row(sum_(z, axis=1) / classes, x, reduction)


def multilabel_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """sum over right classes i, wrong classes j of max(0, 1 - x[i] + x[j]) / C.

    `input` (N, C) or (C,); `target`, of the same shape, lists the right class numbers of each row
    up to the first -1. Raises ShapeError, DTypeError, and OutOfRangeError.

    >>> import gradengine as ge
    >>> x, t = ge.tensor([0.1, 0.2, 0.4, 0.8]), ge.tensor([3, 0, -1, 1])
    >>> round(multilabel_margin_loss(x, t).item(), 6)  # the right classes are 3 and 0
    0.85
    """
    name = "multilabel_margin_loss"
    check_reduction(name, reduction)
    x, t = _scores_and_labels(name, input, target)
    if tuple(x.shape) != tuple(t.shape):
        text = f"{name}: input {tuple(x.shape)} and target {tuple(t.shape)} differ in shape"
        hint = "list the right class numbers of each row, and fill it up with -1"
        raise ShapeError(hinted(text, hint))
    classes = class_count(name, x)
    rows = widened(rows_of(x))
    listed = listed_labels(reshape(t, (-1, classes)), name=name, classes=classes)
    wrong = expand_dims(logical_not(label_sets(listed, classes=classes)), axis=1)
    inside = listed >= 0
    own = expand_dims(gather(rows, select(inside, listed, 0), axis=1), axis=2)
    z = relu(1 - own + expand_dims(rows, axis=1))
    z = select(logical_and(expand_dims(inside, axis=2), wrong), z, 0.0)
    return _per_row(sum_(z, axis=(1, 2)) / classes, x, reduction)


def _scores_and_labels(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    x, t = as_operand(input), as_operand(target)
    if len(x.shape) not in (1, 2):
        text = f"{name}: input is {tuple(x.shape)}, target {tuple(t.shape)}"
        raise ShapeError(hinted(text, "give scores (N, C) or (C,)"))
    if t.dtype.kind not in "iu":
        raise DTypeError(hinted(f"{name}: target is {t.dtype}", "class numbers: integers"))
    return x, t


def _checked(name: str, t: Any, classes: int) -> Any:
    """One class number a row, (N, 1)."""
    found = listed_labels(reshape(t, (-1, 1)), name=name, classes=classes)
    if t.size and (found.shape[1] == 0 or bool((found < 0).any())):
        text = f"{name}: a target is negative"
        raise OutOfRangeError(hinted(text, f"number the labels from 0 to {classes - 1}"))
    return found


def _per_row(y: Any, x: Any, reduction: str) -> Any:
    y = reduced(y if len(x.shape) == 2 else reshape(y, ()), reduction)
    return y if y.dtype == x.dtype else y.astype(x.dtype)
