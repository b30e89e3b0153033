"""What layers with windows are told about their axes: one number for all, or one for each.

Floor 6: stands on errors.py and ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from gradengine import ops
from gradengine.errors import DTypeError, ShapeError, hinted
from gradengine.tensor import Tensor

Size: TypeAlias = int | Sequence[int]
"""A number for all axes, or one for each."""


def per_axis(name: str, what: str, value: Any, n: int, least: int = 0) -> tuple[int, ...]:
    """`value` as n integers, each at least `least`.

    >>> per_axis("conv2d", "stride", 2, 2)
    (2, 2)
    """
    given = tuple(cast(Any, value)) if isinstance(value, (tuple, list)) else (value,)
    if not all(hasattr(v, "__index__") for v in given):
        raise DTypeError(hinted(f"{name}: {what}={value!r}", "give integers"))
    full = tuple(int(v) for v in given)
    full = full * n if len(full) == 1 else full
    if len(full) != n:
        text = f"{name}: {what}={value!r} for {n} axes"
        raise ShapeError(hinted(text, f"give one integer, or a tuple of {n}"))
    if min(full) < least:
        raise ShapeError(hinted(f"{name}: {what}={value!r}", f"give at least {least}"))
    return full


def strides_of(name: str, stride: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """A pooling window's stride: its own size unless told otherwise."""
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        return kernel
    return per_axis(name, "stride", stride, len(kernel), 1)


def batched(name: str, x: Any, n: int) -> tuple[Tensor, bool]:
    """x (N, C, *size) over n axes, and whether a batch axis had to be added."""
    if not hasattr(x, "ndim"):
        x = Tensor.lift(x)
    if x.ndim == n + 2:
        return x, False
    if x.ndim == n + 1:
        return ops.expand_dims(x, 0), True
    raise ShapeError(
        hinted(
            f"{name}: input {tuple(x.shape)} has {x.ndim} axes",
            f"give (N, C, *size) or (C, *size) with {n} axes of size: {n + 2} or {n + 1} in all",
        )
    )


def check_rank(name: str, x: Any, n: int) -> None:
    """ShapeError unless x is (N, C, *size) or (C, *size) over n axes."""
    if x.ndim not in (n + 1, n + 2):
        batched(name, x, n)
