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


def mean_into(xp: Any, mean: Array, x: Array, beta: float, spare: Array) -> None:
    """mean <- beta mean + (1 - beta) x in place, by way of the array `spare` (which may be x)."""
    xp.subtract(x, mean, out=spare)
    spare *= 1 - beta
    mean += spare


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
    mean_into(xp, mean, g, betas[0], spare)
    xp.multiply(g, g, out=spare, dtype=spare.dtype)
    mean_into(xp, square, spare, betas[1], spare)
    return mean, square, spare


def stepped(p: Array, change: Array, out: Sequence[Array] | None) -> Array:
    """p - change in p's dtype, in `out[0]` or a fresh array."""
    xp = namespace(p)
    place = xp.empty_like(p) if out is None else out[0]
    return xp.subtract(p, change, out=place, casting="same_kind")
