"""What the rules share: the gradient they see, running means, and where results are put.

Letters: `p` parameter, `g` gradient, `m` and `v` the running means of g and of g squared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from gradengine.device import namespace

Array: TypeAlias = Any
Results: TypeAlias = Any
"""(new parameter, new state arrays ...), in the order of the arguments; None for unused state."""


def gradient(p: Array, g: Array, weight_decay: float = 0.0, maximize: bool = False) -> Array:
    """The direction of ascent a rule works with: +-g + weight_decay p."""
    if maximize:
        g = -g
    return g + weight_decay * p if weight_decay else g


def results(out: Sequence[Array] | None, *arrays: Array) -> Results:
    """`arrays`, written into those of `out` if there are any."""
    if out is None:
        return arrays
    for place, array in zip(out, arrays, strict=True):
        if array is not None and place is not array:
            place[...] = array
    return tuple(out)


def moments(
    g: Array, m: Array, v: Array, betas: tuple[float, float], out: Sequence[Array] | None
) -> tuple[Array, Array, Array]:
    """Both running means one step on, in `out[1:3]` or fresh arrays; the third is scratch."""
    xp = namespace(g)
    mean, square = (m.copy(), v.copy()) if out is None else out[1:3]
    if mean is not m:
        mean[...] = m
    if square is not v:
        square[...] = v
    spare = xp.empty_like(mean)
    xp.subtract(g, mean, spare)  # m + (1 - beta) (g - m), which keeps a mean that g agrees with
    spare *= 1 - betas[0]
    mean += spare
    xp.multiply(g, g, spare, dtype=spare.dtype)
    spare -= square
    spare *= 1 - betas[1]
    square += spare
    return mean, square, spare


def stepped(p: Array, change: Array, out: Sequence[Array] | None) -> Array:
    """p - change in p's dtype, in `out[0]` or a fresh array."""
    xp = namespace(p)
    return xp.subtract(p, change, out=xp.empty_like(p) if out is None else out[0])
