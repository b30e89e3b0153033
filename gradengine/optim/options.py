"""What the options of optimisers may be: one table by name, read when a group is made or loaded."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from gradengine.errors import hinted

Group = dict[str, Any]
Rule = tuple[Callable[[Any], bool], str, Any]


def _number(x: Any) -> bool:
    return isinstance(x, Real) and math.isfinite(float(x))


def _at_least_0(x: Any) -> bool:
    return _number(x) and float(x) >= 0


def _pair(x: Any, inside: Callable[[float, float], bool]) -> bool:
    return isinstance(x, (tuple, list)) and len(x) == 2 and all(map(_number, x)) and inside(*x)  # type: ignore[arg-type]


def _fraction(a: float) -> bool:
    return 0 <= a < 1


def _count(x: Any) -> bool:
    return isinstance(x, Integral) and x is not True and int(x) >= 1


def _positive(example: float) -> Rule:
    return _at_least_0, "must be a finite number of at least 0", example


_FLAG: Rule = (lambda x: isinstance(x, bool), "is True or False", True)
_COUNT: Rule = (_count, "must be an integer of at least 1", 20)

RULES: dict[str, Rule] = {
    "lr": _positive(0.01),
    "momentum": _positive(0.9),
    "weight_decay": _positive(0.01),
    "eps": _positive(1e-8),
    "alpha": _positive(0.99),
    "lr_decay": _positive(0.01),
    "initial_accumulator_value": _positive(0.1),
    "momentum_decay": _positive(4e-3),
    "lambd": _positive(1e-4),
    "dampening": (_number, "must be a finite number", 0.1),
    "t0": (_number, "must be a finite number", 1e6),
    "rho": (lambda x: _number(x) and 0 <= x <= 1, "lies in [0, 1]", 0.9),
    "betas": (
        lambda x: _pair(x, lambda a, b: _fraction(a) and _fraction(b)),
        "are two numbers in [0, 1)",
        (0.9, 0.999),
    ),
    "etas": (
        lambda x: _pair(x, lambda a, b: 0 < a < 1 < b),
        "are two numbers, 0 < a < 1 < b",
        (0.5, 1.2),
    ),
    "step_sizes": (
        lambda x: _pair(x, lambda a, b: 0 <= a <= b),
        "are two numbers, 0 <= a <= b",
        (1e-6, 50.0),
    ),
    "nesterov": _FLAG,
    "maximize": _FLAG,
    "amsgrad": _FLAG,
    "centered": _FLAG,
    "decoupled_weight_decay": _FLAG,
    "max_iter": _COUNT,
    "max_eval": _COUNT,
    "history_size": _COUNT,
    "tolerance_grad": _positive(1e-7),
    "tolerance_change": _positive(1e-9),
}
"""Option -> what it must satisfy, how a message says so, and a value that does."""

FREE = {"params", "param_names", "name"}
SCHEDULED = {"initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum", "base_momentum"}
"""What schedulers note in a group."""


def check_options(name: str, group: Group, defaults: dict[str, Any]) -> None:
    """ValueError for an option that optimiser `name` does not have, or a value it cannot take."""
    known = defaults.keys() | FREE | SCHEDULED
    for key, value in group.items():
        if key not in known:
            close = difflib.get_close_matches(key, defaults, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"options are {[*defaults]}"
            raise ValueError(hinted(f"{name}: unknown option {key!r} in a parameter group", hint))
        holds, text, example = RULES.get(key, (None, "", None))
        if holds is not None and not holds(value):
            text = f"{name}: {key} {text}, got {value!r}"
            raise ValueError(hinted(text, f"such as {key}={example!r}"))
    if group.get("nesterov") and (group["momentum"] <= 0 or group["dampening"] != 0):
        text = f"{name}: nesterov needs a momentum above 0 and no dampening"
        got = f"got momentum={group['momentum']}, dampening={group['dampening']}"
        raise ValueError(hinted(f"{text}, {got}", "set momentum=0.9"))


def check_rate(name: str, lr: Any) -> None:
    """ValueError for a learning rate that would spoil every parameter: nan, inf or negative."""
    if lr.__class__ is float and 0 <= lr < math.inf:  # the common case, once a group and step
        return
    if not _at_least_0(lr):
        hint = "a scheduler or a division by zero may have made it; look at param_groups"
        raise ValueError(hinted(f"{name}: lr {RULES['lr'][1]}, got {lr!r}", hint))
