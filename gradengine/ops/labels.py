"""Class numbers as targets of a loss: whether they fit, how much each counts, weights of classes.

Floor 3: stands on device.py, errors.py and shape.py; classification.py stands on it.
"""

from __future__ import annotations

from typing import Any

from ..device import HOST, Array, as_array, common_namespace, is_host, ndarray
from ..errors import DTypeError, GraphError, OutOfRangeError, ShapeError, hinted
from ..tape import Traced
from .reductions import is_half
from .shape import moveaxis, reshape

_UNSIGNED = {size: HOST.dtype(f"u{size}") for size in (1, 2, 4, 8)}

# --- how much each row counts ---


class RowCounts:
    """Flat targets `t`, the ignored ones 0; `c`, how much each counts (None: 1); the `total`.

    Every target is looked at, which on a GPU waits for the answer; `again`, in the backward pass,
    there is no need to, nor where `ignored_class` has found that all of them count (`ignore` None).
    """

    __slots__ = ("c", "t", "total")

    def __init__(
        self,
        xp: Any,
        name: str,
        t: Array,
        w: Any,
        classes: int,
        ignore: int | None,
        dtype: Any,
        again: bool,
    ) -> None:
        unsure = ignore is not None and (0 <= ignore < classes or (again and not is_host(xp)))
        if ignore is None or (not unsure and _all_inside(t, classes)):
            self.t = t if t.ndim == 1 else t.reshape(-1)
            self.c = None if w is None else w[self.t]
            self.total = t.size if self.c is None else self.c.sum()
            return
        ignored = t == ignore
        if not again:
            wrong = ((t < 0) | (t >= classes)) & ~ignored
            if bool(wrong.any()):
                raise _wrong_target(xp, name, t, wrong, classes, ignore)
        ignored = ignored.reshape(-1)
        self.t = xp.where(ignored, 0, t.reshape(-1))
        c = xp.ones(t.size, dtype) if w is None else w[self.t]
        self.c = xp.where(ignored, 0, c).astype(dtype, copy=False)
        self.total = self.c.sum()

    def reduced(self, xp: Any, y: Array, reduction: str) -> Any:
        """The losses of the rows, reduced; a row that does not count is 0 even where y is inf."""
        if self.c is not None:
            y = xp.where(self.c == 0, 0, self.c * y)
        if reduction == "none":
            return y
        y = y.sum()
        return y / self.total if reduction == "mean" else y

    def scale(self, xp: Any, g: Any, reduction: str) -> Any:
        """g times what each row counts; 0 for rows that do not."""
        if reduction == "mean":
            g = g / self.total
        return g if self.c is None else xp.where(self.c == 0, 0, g * self.c)


def ignored_class(t: Any, classes: int, ignore: int) -> int | None:
    """`ignore`, or None where that can be known at once: every target is a class, and counts.

    The tape keeps targets as they are, so nobody needs to look at them again.
    """
    array = raw(t)
    if array.__class__ is not ndarray or 0 <= ignore < classes:
        return ignore
    return None if _all_inside(array, classes) else ignore


def _all_inside(t: Array, classes: int) -> bool:
    """Whether 0 <= t < classes: as unsigned numbers, negative ones are larger than any class."""
    if not t.size:
        return True
    numbers = t.view(_UNSIGNED[t.itemsize])
    if t.__class__ is ndarray:
        return numbers.item(numbers.argmax()) < classes  # a shorter call than max
    return int(numbers.max()) < classes


def _wrong_target(
    xp: Any, name: str, t: Array, wrong: Array, classes: int, ignore: int
) -> OutOfRangeError:
    place = tuple(int(i[0]) for i in xp.nonzero(wrong)) if t.ndim else ()
    where = f" at position {place[0] if len(place) == 1 else place}" if place else ""
    return OutOfRangeError(
        hinted(
            f"{name}: target {int(t[place])}{where} lies outside [0, {classes - 1}] "
            f"and is not ignore_index={ignore}",
            f"the input has {classes} classes; number the labels from 0",
        )
    )


# --- shapes and types ---


def raw(x: Any) -> Any:
    """The array of a tensor; an array as it is."""
    return x.array if isinstance(x, Traced) else x


def rows_of(x: Any) -> Any:
    """Input as (rows, classes)."""
    if len(x.shape) == 2:
        return x
    if len(x.shape) > 2:
        x = moveaxis(x, 1, -1)
    return reshape(x, (-1, x.shape[-1])) if x.shape[-1] else reshape(x, (0, 0))


def class_count(name: str, x: Any) -> int:
    """The number of classes of an input."""
    shape = x.shape
    if not shape or x.dtype.kind not in "fV":
        raise (DTypeError if shape else ShapeError)(
            hinted(f"{name}: input is {tuple(shape)} {x.dtype}", "floats, (N, C) or (C,)")
        )
    return shape[1] if len(shape) > 1 else shape[0]


def check_labels(name: str, x: Any, t: Any) -> None:
    """Raise ShapeError unless there is a class number for each row of x."""
    if t.shape != _label_shape(x.shape):
        raise wrong_label_shape(name, x, t)


def _label_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:]) if len(shape) > 1 else ()


def wrong_label_shape(name: str, x: Any, t: Any) -> ShapeError:
    """The error for targets that do not fit the input."""
    shape = tuple(x.shape)
    both = f" or probabilities {shape}" if name == "cross_entropy" else ""
    hint = "the class axis of the input is 1 (0 if it has one axis); reshape the target"
    if both and tuple(t.shape) == shape:
        axis = 1 if len(shape) > 1 else 0
        hint = f"class numbers: target.argmax({axis}); probabilities: target.astype(input.dtype)"
    return ShapeError(
        hinted(
            f"{name}: input {shape} needs class numbers {_label_shape(shape)}{both}, "
            f"target is {tuple(t.shape)} {t.dtype}",
            hint,
        )
    )


def class_weights(name: str, x: Any, weight: Any, classes: int) -> Any:
    """The weights as a raw array of the input's type, copied, since the tape keeps them."""
    if weight is None:
        return None
    if isinstance(weight, Traced) and weight.node is not None:
        raise GraphError(hinted(f"{name}: weight has no derivative", "pass weight.detach()"))
    logits: Any = x
    w = weight.array if isinstance(weight, Traced) else as_array(weight)
    if tuple(w.shape) != (classes,):
        raise ShapeError(
            hinted(f"{name}: weight {tuple(w.shape)} for {classes} classes", "one for each class")
        )
    common_namespace((x.array if isinstance(x, Traced) else x, w), name)
    return w.astype("float32" if is_half(logits.dtype) else logits.dtype, copy=True)
