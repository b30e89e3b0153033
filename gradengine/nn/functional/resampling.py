"""Images made larger and smaller, with PyTorch's signature; ops/resampling.py has the weights.

Floor 6: stands on ops and functional/pooling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.nn.functional.sizes import Size, per_axis
from gradengine.ops.joining import repeat_each
from gradengine.ops.resampling import Rule
from gradengine.tensor import Tensor

AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
"""The modes that interpolate, and over how many axes."""
MODES = ("nearest", "nearest-exact", "area", *AXES)


def interpolate(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """x (N, C, *old) resampled to (N, C, *size), or to floor(old scale_factor).

    Elements are squares; the centre of the new i-th lies at (i + 1/2) scale - 1/2 among the old,
    scale = old/new (or 1/scale_factor, unless `recompute_scale_factor`). With `align_corners` they
    are points, and the outermost coincide: i (old - 1)/(new - 1). nearest takes the element at
    floor(i scale), nearest-exact at floor((i + 1/2) scale); linear, bilinear and trilinear weigh
    2 neighbours on each of 1, 2 or 3 axes, bicubic 4 on each of 2 (a = -3/4); area is the mean of
    `adaptive_avg_pool`. `antialias` widens the filter of bilinear and bicubic (a = -1/2) where the
    result is coarser. Raises ShapeError.

    >>> import gradengine as ge
    >>> interpolate(ge.tensor([[[0.0, 4.0]]]), 4, mode="linear").tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    n = input.ndim - 2
    _check(tuple(input.shape), mode, align_corners, antialias)
    old = tuple(input.shape[2:])
    new, scales = _sizes(old, size, scale_factor)
    if recompute_scale_factor or mode == "area":
        if recompute_scale_factor and size is not None:
            text = f"interpolate: size={size} with recompute_scale_factor"
            raise ShapeError(hinted(text, "only a scale_factor can be computed again"))
        scales = (None,) * n
    y: Any = input
    for i, (a, b, scale) in enumerate(zip(old, new, scales, strict=True)):
        if mode.startswith("nearest"):
            y = repeat_each(y, i + 2, _nearest(a, b, scale, mode == "nearest-exact"))
            continue
        kind = {"area": "mean", "bicubic": "cubic"}.get(mode, "linear")
        rule = Rule(kind, bool(align_corners), None if scale is None else 1 / scale, antialias)
        y = ops.resample(y, i + 2, b, rule)
    return y


def _sizes(
    old: tuple[int, ...], size: Any, scale_factor: Any
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The new size, and the scale factors that were given."""
    n = len(old)
    if (size is None) == (scale_factor is None):
        text = f"interpolate: size={size}, scale_factor={scale_factor}"
        raise ShapeError(hinted(text, "give one of the two"))
    if size is not None:
        return per_axis("interpolate", "size", size, n, 1), (None,) * n
    many = isinstance(scale_factor, (tuple, list))
    given = [float(f) for f in cast(Any, scale_factor)] if many else [float(scale_factor)] * n
    if len(given) != n:
        text = f"interpolate: scale_factor={scale_factor} for {n} axes"
        raise ShapeError(hinted(text, f"give one number, or {n}"))
    new = tuple(int(a * f) for a, f in zip(old, given, strict=True))
    if min(new) < 1:
        text = f"interpolate: {old} scaled by {scale_factor} has size {new}"
        raise ShapeError(hinted(text, "give a larger scale_factor"))
    return new, tuple(given)


def _nearest(old: int, new: int, factor: float | None, exact: bool) -> tuple[int, ...]:
    """How often each old element stands in the new row. Positions are rounded as in PyTorch."""
    scale = np.float32(old) / np.float32(new) if factor is None else np.float32(1 / factor)
    place = np.arange(new, dtype=np.float32)
    found = np.floor((place + np.float32(0.5)) * scale if exact else place * scale)
    inside = np.minimum(found.astype(np.int64), old - 1)
    return tuple(np.bincount(inside, minlength=old).tolist())


def _check(shape: tuple[int, ...], mode: str, align_corners: bool | None, antialias: bool) -> None:
    n = len(shape) - 2
    if mode not in MODES:
        text = f"interpolate: mode={mode!r} is not known"
        raise ShapeError(hinted(text, f"one of {', '.join(MODES)}"))
    if n not in (1, 2, 3) or AXES.get(mode, n) != n or 0 in shape[1:]:
        wanted = f"{AXES[mode]} axes of size" if mode in AXES else "1 to 3 axes of size"
        text = f"interpolate: input {shape} with mode={mode!r}"
        raise ShapeError(hinted(text, f"give (N, C, *size) with {wanted}, none of them empty"))
    if align_corners is not None and mode not in AXES:
        text = f"interpolate: align_corners with mode={mode!r}"
        raise ShapeError(hinted(text, f"only for {', '.join(AXES)}"))
    if antialias and mode not in ("bilinear", "bicubic"):
        text = f"interpolate: antialias with mode={mode!r}"
        raise ShapeError(hinted(text, "only for bilinear and bicubic"))


def upsample(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its old name.

    >>> import gradengine as ge
    >>> upsample(ge.ones((1, 1, 2)), scale_factor=2).shape
    (1, 1, 4)
    """
    return interpolate(input, size, scale_factor, mode, align_corners)
