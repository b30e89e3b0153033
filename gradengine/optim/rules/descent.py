"""Rules that follow the gradient itself, or its sign: SGD, averaged SGD, Rprop, Lion."""

from __future__ import annotations

from collections.abc import Sequence

from gradengine.device import namespace

from .common import Array, Results, gradient, results, stepped


def sgd(
    p: Array,
    g: Array,
    momentum_buffer: Array = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Gradient descent with momentum: b <- momentum b + (1 - dampening) g, p <- p - lr b.

    With `nesterov` the step is g + momentum b. The buffer is None before the first step, which
    starts it at g, undamped. Source: Sutskever et al., ICML 2013, in PyTorch's form.

    >>> import numpy as np
    >>> sgd(np.array([1.0]), np.array([0.5]), lr=0.1)
    (array([0.95]), None)
    """
    xp = namespace(p)
    g = gradient(p, g, weight_decay, maximize)
    b = momentum_buffer
    if momentum:
        if b is None:
            b = g.copy()
        else:
            b = xp.multiply(b, momentum, out=None if out is None else out[1])
            b += (1 - dampening) * g if dampening else g
        g = g + momentum * b if nesterov else b
    return results(out, stepped(p, lr * g, out), b)


def asgd(
    p: Array,
    g: Array,
    ax: Array,
    *,
    eta: float,
    mu: float,
    lambd: float = 1e-4,
    weight_decay: float = 0.0,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Averaged SGD: p <- (1 - lambd eta) p - eta g, and its mean a <- a + mu (p - a).

    `eta` and `mu` are this step's, from `asgd_rates`; the mean starts anew while mu is 1.
    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992).

    >>> import numpy as np
    >>> asgd(np.array([1.0]), np.array([0.5]), np.array([0.0]), eta=0.1, mu=1.0, lambd=0.0)
    (array([0.95]), array([0.95]))
    """
    g = gradient(p, g, weight_decay, maximize)
    p = p * (1 - lambd * eta) - eta * g
    return results(out, p, p.copy() if mu == 1 else ax + mu * (p - ax))


def asgd_rates(
    step: int, *, lr: float, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6
) -> tuple[float, float]:
    """eta = lr / (1 + lambd lr step)**alpha and mu = 1 / max(1, step - t0), after `step` steps.

    >>> asgd_rates(4, lr=1.0, lambd=0.0, t0=2)
    (1.0, 0.5)
    """
    return lr / (1 + lambd * lr * step) ** alpha, 1 / max(1, step - t0)


def rprop(
    p: Array,
    g: Array,
    prev: Array,
    step_size: Array,
    *,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Resilient propagation: only the gradient's sign counts, each element has a step of its own.

    The step grows by etas[1] while the sign stays and shrinks by etas[0] where it changes, within
    `step_sizes`; where it changes, the element waits for one step. `prev` starts at 0, `step_size`
    at lr. Source: Riedmiller and Braun, ICNN 1993.

    >>> import numpy as np
    >>> rprop(np.array([1.0]), np.array([3.0]), np.array([2.0]), np.array([0.1]))[0]
    array([0.88])
    """
    xp = namespace(p)
    g = gradient(p, g, 0.0, maximize)
    turn = xp.sign(g * prev)
    kept = xp.where(turn < 0, step_size * etas[0], step_size)
    size = xp.clip(xp.where(turn > 0, step_size * etas[1], kept), *step_sizes)
    g = xp.where(turn < 0, xp.zeros_like(g), g)
    return results(out, stepped(p, xp.sign(g) * size, out), g, size)


def lion(
    p: Array,
    g: Array,
    exp_avg: Array,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
) -> Results:
    """Lion: p <- (1 - lr weight_decay) p - lr sign(b1 m + (1 - b1) g), m <- b2 m + (1 - b2) g.

    Source: arXiv:2302.06675, program 1.

    >>> import numpy as np
    >>> lion(np.array([1.0]), np.array([0.5]), np.array([0.0]), lr=0.25)[0]
    array([0.75])
    """
    xp = namespace(p)
    g = gradient(p, g, 0.0, maximize)
    change = lr * xp.sign(betas[0] * exp_avg + (1 - betas[0]) * g)
    if weight_decay:
        change += lr * weight_decay * p
    mean = betas[1] * exp_avg + (1 - betas[1]) * g
    return results(out, stepped(p, change, out), mean)
