"""Rules with a step for each element from its squared gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from collections.abc import Sequence

from gradengine.device import namespace

from .common import Array, Results, gradient, results, stepped


def adagrad(
    p: Array,
    g: Array,
    total: Array,
    *,
    step: int,
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Adagrad: s <- s + g**2, p <- p - lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps).

    `step` counts from 1. Source: Duchi, Hazan and Singer, JMLR 12 (2011).

    >>> import numpy as np
    >>> adagrad(np.array([1.0]), np.array([4.0]), np.array([0.0]), step=1, lr=0.5, eps=0.0)
    (array([0.5]), array([16.]))
    """
    xp = namespace(p)
    g = gradient(p, g, weight_decay, maximize)
    total = total + g * g
    change = xp.sqrt(total)
    change += eps
    xp.divide(g, change, out=change)
    change *= lr / (1 + (step - 1) * lr_decay)
    return results(out, stepped(p, change, out), total)


def adadelta(
    p: Array,
    g: Array,
    square_avg: Array,
    acc_delta: Array,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Adadelta: d = g sqrt(u + eps) / sqrt(v + eps), p <- p - lr d; v, u means of g**2, d**2.

    Source: arXiv:1212.5701, algorithm 1.

    >>> import numpy as np
    >>> zero = np.array([0.0])
    >>> adadelta(np.array([1.0]), np.array([2.0]), zero, zero, rho=0.5, eps=2.0)[0]
    array([-0.41421356])
    """
    xp = namespace(p)
    g = gradient(p, g, weight_decay, maximize)
    square_avg = rho * square_avg + (1 - rho) * (g * g)
    change = xp.sqrt(acc_delta + eps)
    change /= xp.sqrt(square_avg + eps)
    change *= g
    acc_delta = rho * acc_delta + (1 - rho) * (change * change)
    change *= lr
    return results(out, stepped(p, change, out), square_avg, acc_delta)


def rmsprop(
    p: Array,
    g: Array,
    square_avg: Array,
    grad_avg: Array = None,
    momentum_buffer: Array = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """RMSprop: v <- alpha v + (1 - alpha) g**2, p <- p - lr g / (sqrt(v) + eps).

    If `centered`, v - mean(g)**2 stands under the root (Graves, arXiv:1308.0850, eq. 40); with
    `momentum`, b <- momentum b + g / (...) is what p moves along. Source: Tieleman and Hinton,
    Neural Networks for Machine Learning (2012), lecture 6.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([2.0]), np.array([0.0])
    >>> rmsprop(p, g, zero, lr=0.25, alpha=0.75, eps=0.0)[0]
    array([0.5])
    """
    xp = namespace(p)
    g = gradient(p, g, weight_decay, maximize)
    square_avg = alpha * square_avg + (1 - alpha) * (g * g)
    if centered:
        grad_avg = alpha * grad_avg + (1 - alpha) * g
        change = square_avg - grad_avg * grad_avg
        xp.maximum(change, 0, out=change)  # a variance, but for its last digits
        xp.sqrt(change, out=change)
    else:
        change = xp.sqrt(square_avg)
    change += eps
    xp.divide(g, change, out=change)
    if momentum:
        momentum_buffer = momentum * momentum_buffer + change
        change = momentum_buffer
    return results(out, stepped(p, lr * change, out), square_avg, grad_avg, momentum_buffer)
