"""Rules with running means of the gradient and of its size: Adam and its kin, LAMB.

Bias correction: a mean that started at 0 is divided by 1 - beta**step, `step` counting from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradengine.device import namespace

from .common import Array, Results, gradient, moments, results, stepped


def adam(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array = None,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Adam: p <- p - lr m^ / (sqrt(v^) + eps), with bias-corrected running means m^ and v^.

    `weight_decay` is added to the gradient, or, if decoupled (AdamW, arXiv:1711.05101), shrinks p
    by 1 - lr weight_decay first. With `amsgrad` (arXiv:1904.09237) the largest v so far stands in
    for v. Source: arXiv:1412.6980, algorithm 1, with the corrections moved to lr and eps.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> adam(p, g, zero, zero, step=1, lr=0.1)[0].round(6)  # the first step is lr long
    array([0.9])
    """
    xp = namespace(p)
    if weight_decay or maximize:
        g = gradient(p, g, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    mean, square, t = moments(g, exp_avg, exp_avg_sq, betas, out)
    largest = None
    if amsgrad:
        largest = xp.maximum(max_exp_avg_sq, square, out=None if out is None else out[3])
    correction = (1 - betas[1] ** step) ** 0.5
    xp.sqrt(largest if amsgrad else square, t)
    t += eps * correction
    xp.divide(mean, t, t)
    t *= lr * correction / (1 - betas[0] ** step)
    if decoupled_weight_decay and weight_decay:
        t += lr * weight_decay * p
    p = stepped(p, t, out)
    return (p, mean, square, largest) if out is None else out  # which holds all of them


def adamax(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_inf: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Adamax: u <- max(beta2 u, abs(g) + eps), p <- p - lr / (1 - beta1**step) m / u.

    Source: arXiv:1412.6980, algorithm 2.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> adamax(p, g, zero, zero, step=1, lr=0.1)[0].round(6)
    array([0.9])
    """
    xp = namespace(p)
    g = gradient(p, g, weight_decay, maximize)
    mean = betas[0] * exp_avg + (1 - betas[0]) * g
    size = xp.abs(g)
    size += eps
    size = xp.maximum(betas[1] * exp_inf, size)
    change = mean / size
    change *= lr / (1 - betas[0] ** step)
    return results(out, stepped(p, change, out), mean, size)


def nadam(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    mu_product: float,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """NAdam: Adam with Nesterov's step, mu g and mu' m each corrected by its own product.

    `mu_product` is the product of `nadam_mu` over all steps up to this one. Source: Dozat,
    Incorporating Nesterov Momentum into Adam (ICLR 2016 workshop), algorithm 2.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> mu = nadam_mu(1, 0.9)
    >>> nadam(p, g, zero, zero, step=1, mu_product=mu, lr=0.1)[0].round(2)
    array([0.89])
    """
    xp = namespace(p)
    g = gradient(p, g, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    mean, square, t = moments(g, exp_avg, exp_avg_sq, betas, out)
    mu, following = (nadam_mu(n, betas[0], momentum_decay) for n in (step, step + 1))
    t[...] = square
    t /= 1 - betas[1] ** step
    xp.sqrt(t, out=t)
    t += eps
    change = (lr * (1 - mu) / (1 - mu_product)) * g
    change += (lr * following / (1 - mu_product * following)) * mean
    change /= t
    if decoupled_weight_decay and weight_decay:
        change += lr * weight_decay * p
    return results(out, stepped(p, change, out), mean, square)


def nadam_mu(step: int, beta1: float, momentum_decay: float = 4e-3) -> float:
    """The momentum of one step: beta1 (1 - 0.96**(step momentum_decay) / 2).

    >>> nadam_mu(0, 0.5)
    0.25
    """
    return beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))


def radam(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Rectified Adam: Adam's step times a factor, plain momentum while v knows too few steps.

    Source: arXiv:1908.03265, algorithm 2.

    >>> import numpy as np
    >>> p, g, zero = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> radam(p, g, zero, zero, step=1, lr=0.1)[0].round(6)  # momentum: lr times g
    array([0.95])
    """
    xp = namespace(p)
    g = gradient(p, g, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    mean, square, t = moments(g, exp_avg, exp_avg_sq, betas, out)
    rate, rest = lr / (1 - betas[0] ** step), 1 - betas[1] ** step
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * step * betas[1] ** step / rest
    if length > 5:
        rate *= (rest * (length - 4) * (length - 2) * longest) ** 0.5
        rate /= ((longest - 4) * (longest - 2) * length) ** 0.5
        xp.sqrt(square, out=t)
        t += eps
        xp.divide(mean, t, out=t)
        t *= rate
    else:
        xp.multiply(mean, rate, out=t)
    if decoupled_weight_decay and weight_decay:
        t += lr * weight_decay * p
    return results(out, stepped(p, t, out), mean, square)


def lamb(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """LAMB: u = m^ / (sqrt(v^) + eps) + weight_decay p, p <- p - lr norm(p) / norm(u) u.

    The norms are of the whole parameter; where either is 0 their ratio counts as 1. Source:
    arXiv:1904.00962, algorithm 2.

    >>> import numpy as np
    >>> p, g, zero = np.array([3.0, 4.0]), np.array([0.5, 0.5]), np.zeros(2)
    >>> change = p - lamb(p, g, zero, zero, step=1, lr=0.1)[0]
    >>> round(float(np.linalg.norm(change)), 6)  # lr norm(p)
    0.5
    """
    xp = namespace(p)
    g = gradient(p, g, 0.0, maximize)
    mean, square, t = moments(g, exp_avg, exp_avg_sq, betas, out)
    correction = (1 - betas[1] ** step) ** 0.5
    xp.sqrt(square, out=t)
    t += eps * correction
    xp.divide(mean, t, out=t)
    t *= correction / (1 - betas[0] ** step)
    if weight_decay:
        t += weight_decay * p
    length, move = xp.sqrt((p * p).sum()), xp.sqrt((t * t).sum())
    known = (length > 0) & (move > 0)  # on the device: nothing here waits for a GPU
    t *= lr * xp.where(known, length / xp.where(known, move, 1), 1)
    return results(out, stepped(p, t, out), mean, square)
