"""Moments of rows and of channels: how they are laid out, blocked and summed.

Two layouts: "row", statistics over the last axis, and "channel", over all axes but axis 1. On the
CPU rows are worked on in blocks that stay in the second-level cache, and sums are products with
ones.

Letters: `x` input, `m` mean, `r` 1 / sqrt(var + eps).

Floor 3: stands on device.py, tape.py and linalg.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..device import as_array, empty_beside, is_host
from ..hostloops import BLOCK, ROWS, for_blocks
from ..tape import Traced, constant
from .linalg import inner, is_half

CHUNK = 64
"""Numbers summed one after the other along the first axis."""

MEAN, SCALE, VARIANCE = 0, 1, 2
"""The planes of `moments`: m, r and the (biased) variance of every group."""

# --- layout ---


def view(x: Any, over: str) -> Any:
    """x as (rows, columns), or as (batch, channels, places)."""
    if over == "row":
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return x.reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


def in_blocks(work: Callable[[slice], None], xp: Any, x: Any, over: str) -> None:
    """work(slice) for slices of the first axis that no statistic crosses, fit for the cache."""
    if over == "channel" or not is_host(xp):
        work(slice(0, x.shape[0]))
    else:
        for_blocks(work, x.shape[0], x, work.__code__, ROWS)


def pieces(xp: Any, x: Any) -> list[slice]:
    """The rows cut the same way each time, for sums over rows: their rounding must not vary."""
    rows = x.shape[0]
    step = max(1, BLOCK // max(1, x.shape[-1] * x.dtype.itemsize)) if is_host(xp) else max(1, rows)
    return [slice(i, i + step) for i in range(0, rows, step)]


def longest(x: Any) -> int:
    """Rows of a block at most."""
    return 1 + ROWS // max(1, x.shape[-1] * x.dtype.itemsize)


def solid(x: Any, over: str) -> Any:
    """The view of x, 16-bit floats in float32."""
    return view(x.astype("float32") if is_half(x) else x, over)


def column(xp: Any, v: Any, x: Any, over: str) -> Any:
    """A number for each column or channel, so that it broadcasts against the view; None stays.

    For rows on the CPU it is written out as a block: NumPy takes a row at a time where it
    broadcasts, which is half as fast.
    """
    if v is None:
        return None
    v = v.astype("float32") if is_half(v) else v
    if over == "channel":
        return v[:, None]
    rows = min(x.shape[0], longest(x)) if is_host(xp) else 1
    return xp.ascontiguousarray(xp.broadcast_to(v, (rows, v.shape[0])))


def part_of(v: Any, block: Any) -> Any:
    """As many rows of a column as the block has, or the one there is."""
    return v[: len(block)]


def totals(xp: Any, a: Any, over: str) -> Any:
    """Sums of a over the elements of every group, with its axis kept."""
    if over == "row":  # row by row, so that a sum does not depend on the block it is taken in
        return inner(xp, a, xp.ones(a.shape[-1], a.dtype))[:, None]
    return _down(xp.matmul(a, xp.ones((a.shape[-1], 1), a.dtype)) if a.shape[-1] > 1 else a)


def products(xp: Any, a: Any, b: Any, over: str) -> Any:
    """Sums of a * b over the elements of every group, with its axis kept."""
    if over == "row":
        return inner(xp, a, b)[:, None]
    return _down(inner(xp, a, b)[..., None] if a.shape[-1] > 1 else a * b)


def _down(a: Any) -> Any:
    """Sums along the first axis, in chunks: the rounding errors of a long one do not add up."""
    whole = a.shape[0] // CHUNK * CHUNK
    if whole <= CHUNK:
        return a.sum(axis=0)
    chunks = a[:whole].reshape(-1, CHUNK, *a.shape[1:]).sum(axis=1)
    return chunks.sum(axis=0) + a[whole:].sum(axis=0)


def group_size(x: Any, over: str) -> int:
    """Elements of one group in a view."""
    return max(1, x.shape[-1] if over == "row" else x.shape[0] * x.shape[-1])


# --- statistics ---


def groups(x: Any, over: str) -> int:
    return x.shape[0] if over == "row" else x.shape[1]


def settle(xp: Any, x: Any, centre: Any, moments: Any, eps: float, over: str) -> None:
    """Fill the moments (3, groups, 1) of a block x; `centre` receives x - m, or is None (m = 0)."""
    n = group_size(x, over)
    if centre is not None:
        moments[MEAN] = totals(xp, x, over)
        moments[MEAN] /= n
        xp.subtract(x, moments[MEAN], out=centre)
        x = centre
    else:
        moments[MEAN] = 0
    moments[VARIANCE] = products(xp, x, x, over)
    moments[VARIANCE] /= n
    moments[SCALE] = 1 / xp.sqrt(moments[VARIANCE] + eps)


def moments_of(xp: Any, x: Any, given: Any, eps: float, over: str, centered: bool) -> Any:
    """The moments as (3, groups, 1): those given, or computed from the view x."""
    if given is not None:
        return given[..., None]
    found = xp.empty((3, groups(x, over), 1), x.dtype)

    def work(part: slice) -> None:
        block = x[part]
        mine = found[:, part] if over == "row" else found
        settle(xp, block, xp.empty_like(block) if centered else None, mine, eps, over)

    in_blocks(work, xp, x, over)
    return found


def scratch(x: Any, over: str) -> Any:
    """Room for the moments of x, which `standardise` fills on its way for its adjoint to read."""
    raw = x.array if isinstance(x, Traced) else as_array(x)
    number = math.prod(raw.shape[:-1]) if over == "row" else raw.shape[1]
    dtype = "float32" if is_half(raw) else raw.dtype
    found = empty_beside(raw, (3, number), dtype)
    return constant(Traced.plain, found)
