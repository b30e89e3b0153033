"""The rules that have a CUDA kernel: the same call, one launch for all of it.

`lift.py` looks a rule up here when its arrays live on a device, so this module, which loads the
launch code, is imported on first use only. What a kernel does not do (amsgrad) is left to the rule,
which is legal code for device arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gradengine.cuda import steps

from . import rules

Array: TypeAlias = Any
Results: TypeAlias = "tuple[Array, ...]"


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
    """`rules.adam` in one launch, in place of `out`."""
    if amsgrad or out is None:
        return rules.adam(
            p, g, exp_avg, exp_avg_sq, max_exp_avg_sq, step=step, lr=lr, betas=betas, eps=eps,
            weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize, out=out,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
    place, m, v = _filled(out, (p, exp_avg, exp_avg_sq))
    steps.adam_step(
        place, -g if maximize else g, m, v, step=step, lr=lr, beta1=betas[0], beta2=betas[1],
        epsilon=eps, weight_decay=weight_decay, decoupled=decoupled_weight_decay,
    )  # fmt: skip
    return place, m, v, None


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
    """`rules.sgd` in one launch, in place of `out`."""
    first = momentum != 0 and momentum_buffer is None
    if out is None or (first and out[1] is None):
        return rules.sgd(
            p, g, momentum_buffer, lr=lr, momentum=momentum, dampening=dampening,
            weight_decay=weight_decay, nesterov=nesterov, maximize=maximize, out=out,
        )  # fmt: skip
    given = (p,) if not momentum or first else (p, momentum_buffer)
    place, *buffer = _filled(out, given)
    b = out[1] if momentum else None
    steps.sgd_step(
        place, -g if maximize else g, b if first else buffer[0] if buffer else None, lr=lr,
        momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
        first=first,
    )  # fmt: skip
    return place, b


def _filled(out: Sequence[Array], values: Sequence[Array]) -> list[Array]:
    """The places in `out`, holding `values`: kernels work in place."""
    for place, value in zip(out, values, strict=False):
        if place is not value:
            place[...] = value
    return list(out[: len(values)])


KERNELS: dict[Callable[..., Any], Callable[..., Any]] = {rules.adam: adam, rules.sgd: sgd}
"""Rule -> what is called instead for arrays on a device: same arguments, results go into `out`."""
