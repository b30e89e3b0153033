"""The errors gradengine raises: its own classes below the built-in ones people already catch.

Every message has the same form, so that one glance tells which link of the chain is broken::

    op: what is wrong, with both full shapes, dtypes or devices
      hint: one remedy

Floor 0: this module imports nothing of gradengine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn


class GradengineError(Exception):
    """Base of all errors that gradengine raises itself."""


class ShapeError(GradengineError, ValueError):
    """Shapes, axes or sizes do not fit each other."""


class AxisError(ShapeError, IndexError):
    """An axis lies outside the array's dimensions, or appears twice."""


class OutOfRangeError(GradengineError, IndexError):
    """An index, class number or position lies outside its range."""


class DTypeError(GradengineError, TypeError):
    """A dtype cannot be used for what was asked."""


class DeviceError(GradengineError, RuntimeError):
    """Arrays live on different devices, or a device cannot be used."""


class GraphError(GradengineError, RuntimeError):
    """The recorded graph cannot give the gradient that was asked for."""


class StateError(GradengineError, RuntimeError):
    """A saved state does not fit what it is loaded into."""


class MemberError(GradengineError, AttributeError, KeyError):
    """A module has no part of that name, or cannot take one."""

    __str__ = Exception.__str__  # KeyError would show the message quoted, on one line


class MissingDependencyError(GradengineError, ImportError):
    """An optional package is needed; the message holds the line that installs it."""


class DataError(GradengineError, ValueError):
    """A data file is missing, truncated, corrupt or not what it claims to be."""


# --- how arguments are written in messages ---


def describe(x: Any) -> str:
    """One argument as a message shows it: shape and dtype for arrays, the value for scalars.

    >>> describe(2.5)
    '2.5'
    """
    shape = getattr(x, "shape", None)
    if shape is None:
        text = repr(x)
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"{tuple(shape)} {getattr(x, 'dtype', '')}".rstrip()


def hinted(message: str, hint: str) -> str:
    """`message` with its remedy on a line of its own."""
    return f"{message}\n  hint: {hint}"


# --- translating the array library's errors ---


def explain(
    name: str, error: Exception, arrays: Sequence[Any], params: dict[str, Any] | None
) -> Exception:
    """The gradengine error for what the array library raised inside op `name`.

    An error of ours passes unchanged; the library's own text is kept as the cause.
    """
    if isinstance(error, GradengineError):
        return error
    shown = ", ".join(describe(x) for x in arrays if x is not None)
    if params:
        shown += "".join(f", {key}={describe(value)}" for key, value in params.items())
    kind = type(error).__name__
    if kind == "AxisError":
        text, hint = f"{name}: {error}; called with {shown}", "axes count from 0, or from -1 back"
        return AxisError(hinted(text, hint))
    if isinstance(error, ValueError) and "duplicate value in 'axis'" in str(error):
        text = f"{name}: an axis is named twice; called with {shown}"
        return AxisError(hinted(text, "name each axis once; negative ones count from the last"))
    if isinstance(error, MemoryError):
        error.add_note(f"{name}: out of memory; called with {shown}")
        return error
    if isinstance(error, IndexError):
        return OutOfRangeError(
            hinted(f"{name}: {error}; called with {shown}", "indices must lie inside the array")
        )
    if isinstance(error, ValueError):
        return _shape_error(name, error, arrays, shown)
    if isinstance(error, TypeError):
        hint = "convert with x.astype(dtype), or with ge.asarray(x) what is no array yet"
        return DTypeError(hinted(f"{name}: {error}; called with {shown}", hint))
    return error


def _shape_error(
    name: str, error: ValueError, arrays: Sequence[Any], shown: str
) -> ShapeError | ValueError:
    shapes = [tuple(x.shape) for x in arrays if hasattr(x, "shape")]
    clash = broadcast_clash(shapes)
    if clash is not None and "broadcast" in str(error):
        axis, sizes = clash
        listed = " and ".join(str(shape) for shape in shapes)
        return ShapeError(
            hinted(
                f"{name}: shapes {listed} do not broadcast: axis {axis} has sizes {sizes}",
                "sizes must be equal or 1, counted from the last axis; reshape or expand_dims",
            )
        )
    return ShapeError(hinted(f"{name}: {error}; called with {shown}", "compare the shapes above"))


def broadcast_clash(shapes: Sequence[tuple[int, ...]]) -> tuple[int, str] | None:
    """The first axis (counted from the end, negative) whose sizes do not broadcast.

    >>> broadcast_clash([(32, 10), (32, 9)])
    (-1, '10 and 9')
    """
    for back in range(1, max((len(s) for s in shapes), default=0) + 1):
        sizes = [s[-back] for s in shapes if len(s) >= back]
        wide = [n for n in sizes if n != 1]
        if len(set(wide)) > 1:
            return -back, " and ".join(str(n) for n in sizes)
    return None


def raise_grad_dtype(dtype: Any) -> NoReturn:
    """Refuse a gradient for an array whose dtype has none."""
    raise DTypeError(
        hinted(
            f"requires_grad: only real floating-point tensors have gradients, this one is {dtype}",
            'convert first: x.astype("float32").requires_grad_()',
        )
    )
