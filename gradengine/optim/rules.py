"""Update rules: pure functions from arrays to arrays, one parameter at a time.

Each takes the parameter `p`, its gradient `g` and its state, and returns the new parameter and
state; nothing is written in place but arrays the rule made itself. They know no Tensor, so that a
whole step can be traced, fused and replayed. State is kept in at least float32.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from gradengine.device import namespace

Array: TypeAlias = Any


def sgd(
    p: Array,
    g: Array,
    velocity: Array,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, Array]:
    """Gradient descent with momentum: v <- momentum v + (1 - dampening) g, p <- p - lr v.

    With `nesterov` the step is g + momentum v. `velocity` is None before the first step, which
    starts it at g (undamped, as PyTorch does).

    >>> import numpy as np
    >>> sgd(np.array([1.0]), np.array([0.5]), None, lr=0.1)
    (array([0.95]), None)
    """
    if weight_decay:
        g = g + weight_decay * p
    if momentum:
        velocity = g.copy() if velocity is None else momentum * velocity + (1 - dampening) * g
        g = g + momentum * velocity if nesterov else velocity
    return _moved(p, -lr * g), velocity


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Adam: p <- p - lr m^ / (sqrt(v^) + eps), with bias-corrected running means m^ and v^.

    `m` and `v` are the means of g and g^2, zeros at first; `step` counts from 1. `weight_decay` is
    added to the gradient. `out` are arrays for the three results, which may be p, m and v
    themselves. Source: arXiv:1412.6980, algorithm 1, with the corrections moved to lr and eps.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> adam(p, g, zero, zero, 1, lr=0.1)[0].round(6)  # the first step is lr long
    array([0.9])
    """
    xp = namespace(p)
    if weight_decay:
        g = g + weight_decay * p
    moved, mean, square = (xp.empty_like(p), m.copy(), v.copy()) if out is None else out
    if mean is not m:
        mean[...] = m
    if square is not v:
        square[...] = v
    t = xp.subtract(g, mean, dtype=mean.dtype)
    t *= 1 - betas[0]
    mean += t
    xp.multiply(g, g, out=t, dtype=t.dtype)
    t -= square
    t *= 1 - betas[1]
    square += t
    correction = (1 - betas[1] ** step) ** 0.5
    xp.sqrt(square, out=t)
    t += eps * correction
    xp.divide(mean, t, out=t)
    t *= lr * correction / (1 - betas[0] ** step)
    xp.subtract(p, t, out=moved, casting="same_kind")
    return moved, mean, square


def _moved(p: Array, change: Array) -> Array:
    """p + change in p's dtype, the sum taken in the wider of both."""
    return (p + change).astype(p.dtype, copy=False)
