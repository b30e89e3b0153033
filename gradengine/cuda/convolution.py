"""Convolution and its two adjoints through cuDNN: what the ops of ops/convolution.py launch.

An entry gives None where sizes or dtypes do not fit, or cuDNN has no plan: the formula's sliding
windows compute it then. Arrays are described by the strides they have, channels first or last; a
convolution over one axis is one over two, the first of length 1. cuDNN pads both ends alike, so
where padding differs and windows reach the longer end, an image is padded first.

Letters as there: `x` input (N, C, *size), `w` weight (O, C/groups, *kernel), `y` output
(N, O, *counts), `g` its cotangent.

Floor 1: stands on cudnn.py, moves.py and primitives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import cudnn, moves
from .kernels import backend
from .primitives import FORWARD
from .shapes import Array

__all__ = ["convolution", "convolution_input", "convolution_weight"]

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


# --- windows -------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """How windows slide: cuDNN's padding, and the border that an image is given before."""

    padding: Sizes
    border: Padding

    @property
    def bordered(self) -> bool:
        return any(p != (0, 0) for p in self.border)


def _counts(
    size: Sequence[int], kernel: Sequence[int], stride: Sizes, padding: Padding, dilation: Sizes
) -> Sizes:
    """How many windows there are along each axis."""
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)


def _windows(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, counts: Sizes
) -> Windows | None:
    """The same windows in cuDNN's terms, None where it has none."""
    lengths = {len(size), len(kernel), len(stride), len(padding), len(dilation), len(counts)}
    if len(lengths) > 1 or min((*counts, *kernel, *stride, *dilation)) < 1:
        return None
    if _counts(size, kernel, stride, padding, dilation) != counts:
        return None
    before = tuple(p[0] for p in padding)
    none = ((0, 0),) * len(size)
    if min(before) < 0:
        return None
    if _counts(size, kernel, stride, tuple((b, b) for b in before), dilation) == counts:
        return Windows(before, none)  # no window reaches what is too much or too little
    border = tuple((b, max(a, 0)) for b, a in padding)
    if _counts(size, kernel, stride, border, dilation) != counts:
        return None
    return Windows((0,) * len(size), border)


def _bordered(x: Array, windows: Windows) -> Array:
    """x with the border of zeros that cuDNN does not make."""
    if not windows.bordered:
        return x
    y = backend().zeros((*x.shape[:2], *_grown(x.shape[2:], windows)), x.dtype)
    y[_inside(x.shape[2:], windows)] = x
    return y


def _grown(size: Sizes, windows: Windows) -> Sizes:
    return tuple(n + sum(p) for n, p in zip(size, windows.border, strict=True))


def _inside(size: Sizes, windows: Windows) -> tuple[Any, ...]:
    """Where an image lies within its border."""
    return (..., *(slice(p[0], p[0] + n) for n, p in zip(size, windows.border, strict=True)))


# --- arrays --------------------------------------------------------------------------------------


def _fits(a: Any, b: Any) -> bool:
    return (
        hasattr(a, "data")
        and hasattr(b, "data")
        and a.dtype == b.dtype
        and a.dtype.name in cudnn.DTYPES
        and 3 <= a.ndim == b.ndim <= 5
        and a.size > 0
        and b.size > 0
        and cudnn.installed()
    )


def _shown(x: Array) -> Array:
    """x as cuDNN takes it: dense, channels first or last, over two axes or three."""
    last = x.transpose((0, *range(2, x.ndim), 1))
    if not (x.flags.c_contiguous or last.flags.c_contiguous):
        x = moves.contiguous(x)
    return x[:, :, None] if x.ndim == 3 else x


def _options(stride: Sizes, windows: Windows, dilation: Sizes) -> dict[str, Sizes]:
    found = {"padding": windows.padding, "stride": stride, "dilation": dilation}
    if len(stride) == 1:
        found = {k: ((0 if k == "padding" else 1), *v) for k, v in found.items()}
    return found


# --- the three maps ------------------------------------------------------------------------------


def convolution(
    x: Array, w: Array, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array | None:
    """y from x and w."""
    if not _fits(x, w) or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        return None
    kernel = w.shape[2:]
    if len({len(kernel), len(stride), len(padding), len(dilation)}) > 1 or min(stride) < 1:
        return None
    counts = _counts(x.shape[2:], kernel, stride, padding, dilation)
    windows = _windows(x.shape[2:], kernel, stride, padding, dilation, counts)
    if windows is None:
        return None
    y = backend().empty((x.shape[0], w.shape[0], *counts), x.dtype)
    given = {"x": _shown(_bordered(x, windows)), "w": _shown(w)}
    options = _options(stride, windows, dilation)
    return y if cudnn.run("convolution", given, {"y": _shown(y)}, **options) else None


def convolution_input(
    g: Array, w: Array, size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array | None:
    """dx from g and w; with a border, of the bordered image, whose middle it is."""
    if not _fits(g, w) or g.shape[1] != w.shape[0] or w.shape[0] % groups:
        return None
    windows = _windows(tuple(size), w.shape[2:], stride, padding, dilation, g.shape[2:])
    if windows is None:
        return None
    shape = (g.shape[0], w.shape[1] * groups, *_grown(tuple(size), windows))
    dx = backend().empty(shape, g.dtype)
    options = _options(stride, windows, dilation)
    if not cudnn.run(
        "convolution_input", {"g": _shown(g), "w": _shown(w)}, {"dx": _shown(dx)}, **options
    ):
        return None
    return moves.contiguous(dx[_inside(tuple(size), windows)]) if windows.bordered else dx


def convolution_weight(
    x: Array,
    g: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array | None:
    """dw from x and g."""
    if not _fits(x, g) or x.shape[1] % groups or g.shape[1] % groups or len(x) != len(g):
        return None
    windows = _windows(x.shape[2:], tuple(kernel), stride, padding, dilation, g.shape[2:])
    if windows is None:
        return None
    dw = backend().empty((g.shape[1], x.shape[1] // groups, *kernel), x.dtype)
    given = {"x": _shown(_bordered(x, windows)), "g": _shown(g)}
    options = _options(stride, windows, dilation)
    return dw if cudnn.run("convolution_weight", given, {"dw": _shown(dw)}, **options) else None


FORWARD["convolution"] = convolution
FORWARD["convolution_input"] = convolution_input
FORWARD["convolution_weight"] = convolution_weight
