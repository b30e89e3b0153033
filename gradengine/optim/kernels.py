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
    out: Sequence[Array] | None = None,
    **options: Any,
) -> Results:
    """`rules.adam` in one launch, in place of `out`."""
    if options.get("amsgrad") or out is None:
        return rules.adam(p, g, exp_avg, exp_avg_sq, max_exp_avg_sq, out=out, **options)
    place, m, v = _filled(out, (p, exp_avg, exp_avg_sq))
    beta1, beta2 = options.get("betas", (0.9, 0.999))
    steps.adam_step(
        place,
        -g if options.get("maximize") else g,
        m,
        v,
        step=options["step"],
        lr=options["lr"],
        beta1=beta1,
        beta2=beta2,
        epsilon=options.get("eps", 1e-8),
        weight_decay=options.get("weight_decay", 0.0),
        decoupled=options.get("decoupled_weight_decay", False),
    )
    return place, m, v, None


def sgd(
    p: Array,
    g: Array,
    momentum_buffer: Array = None,
    *,
    maximize: bool = False,
    out: Sequence[Array] | None = None,
    **options: Any,
) -> Results:
    """`rules.sgd` in one launch, in place of `out`."""
    momentum = options.get("momentum", 0.0)
    first = momentum != 0 and momentum_buffer is None
    if out is None or (first and out[1] is None):
        return rules.sgd(p, g, momentum_buffer, maximize=maximize, out=out, **options)
    _filled(out, (p,) if not momentum or first else (p, momentum_buffer))
    buffer = out[1] if momentum else None
    steps.sgd_step(out[0], -g if maximize else g, buffer, first=first, **options)
    return out[0], buffer


def _filled(out: Sequence[Array], values: Sequence[Array]) -> list[Array]:
    """The places in `out`, holding `values`: kernels work in place."""
    for place, value in zip(out, values, strict=False):
        if place is not value:
            place[...] = value
    return list(out[: len(values)])


KERNELS: dict[Callable[..., Any], Callable[..., Any]] = {rules.adam: adam, rules.sgd: sgd}
"""Rule -> what is called instead for arrays on a device: same arguments, results go into `out`."""
