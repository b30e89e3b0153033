"""Optimizer: parameter groups, their options and state, and the loop all optimisers share.

A subclass names a rule of rules/, the state arrays it takes and the options it reads; lift.py calls
it. Optimisers see tensors only as arrays with gradients, and nothing of modules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, TypeAlias, cast

from gradengine.device import guard, quiet, zeros_beside
from gradengine.errors import DTypeError, GraphError, hinted
from gradengine.tape import constant, enable_grad
from gradengine.tensor import Tensor

from .lift import Plan, Rule, rule_for, wide_dtype
from .options import check_options, check_rate
from .state import State, packed, unpack

Array: TypeAlias = Any
Group: TypeAlias = dict[str, Any]
Params: TypeAlias = Iterable[Tensor] | Iterable[Group] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """Parameters in groups, each with its own options, and what the optimiser keeps for each.

    `params` are tensors, (name, tensor) pairs, or dicts with "params" and options that differ from
    the `defaults`. `param_groups` is the list of groups (options may be assigned at any time),
    `state[parameter]` a dict of arrays and numbers. A parameter without a gradient is left alone.
    """

    rule: ClassVar[Rule]
    names: ClassVar[tuple[str, ...]] = ()
    """State arrays, in the order in which the rule takes them."""
    options: ClassVar[tuple[str, ...]] = ()
    """Options of a group that the rule reads."""
    numbers: ClassVar[tuple[str, ...]] = ("step",)
    """Plain numbers in a parameter's state."""
    whole: ClassVar[bool] = False
    """Whether the rule needs a parameter in one piece."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.has_stepped = False
        self._plans: dict[int, Plan] = {}
        for group in _as_groups(type(self).__name__, params):
            self.add_param_group(group)

    # --- groups ---

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own, such as layers that are thawed later."""
        name = type(self).__name__
        group = dict(param_group)
        if "params" not in group:
            raise ValueError(hinted(f"{name}: a group has no 'params'", 'give {"params": [...]}'))
        group["params"] = _listed(name, group["params"])
        if any(isinstance(p, tuple) for p in group["params"]):
            group["param_names"] = [str(pair[0]) for pair in group["params"]]
            group["params"] = [pair[1] for pair in group["params"]]
        taken = [p for other in self.param_groups for p in other["params"]]
        _check_parameters(name, group["params"], taken)
        for key, value in self.defaults.items():
            group.setdefault(key, value)
        check_options(name, group, self.defaults)
        self.param_groups.append(group)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; assigning sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        check_rate(type(self).__name__, value)
        for group in self.param_groups:
            group["lr"] = value

    # --- what a subclass may refine ---

    def kept(self, group: Group) -> tuple[str, ...]:
        """Which of the state arrays the group's options call for."""
        return self.names

    def begin(self, name: str, p: Array, group: Group) -> Array:
        """The first value of the state array `name`; None where the rule itself starts it."""
        return zeros_beside(p, dtype=wide_dtype(p))

    def advance(self, state: State, group: Group) -> dict[str, Any]:
        """Step the numbers of a parameter's state; what the rule is told of them."""
        step = state["step"] = state.get("step", 0) + 1
        return {"step": step}

    # --- one step ---

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, by one step of the rule.

        `closure`, if given, is called first, recorded, to compute the loss and its gradients; its
        result is returned. A graph recorded before keeps the old values; views of a parameter see
        the new ones. A thread that reads parameters during a step may find some values old and some
        new, since a parameter that nobody else holds is written in place. Raises ValueError where a
        group's lr is not a finite number of at least 0.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with quiet():
            for index, group in enumerate(self.param_groups):
                check_rate(type(self).__name__, group["lr"])
                live = [p for p in group["params"] if p.grad is not None]
                if live:
                    self._step_group(index, group, live)
        self.has_stepped = True
        return loss

    def _step_group(self, index: int, group: Group, live: list[Tensor]) -> None:
        kept, plan = self.kept(group), self._plans.get(index)
        if plan is None or not plan.fits(live, kept):
            for parameter in live:
                with guard(parameter.array):
                    self._begin(parameter, group, kept)
            counted = "step" in self.numbers
            plan = Plan(live, self.state, self.names, kept, self.whole, counted)
            self._plans[index] = plan
        options = {name: group[name] for name in self.options}
        advance = self.advance
        for unit in plan.units:
            told: dict[str, Any] = {}
            for member in unit.members:
                told = advance(member.state, group)
            if unit.here:
                unit.step(partial(self.rule, **options, **told))
                continue
            array = unit.members[0].parameter.array
            with guard(array):
                unit.step(partial(rule_for(self.rule, array), **options, **told))

    def _begin(self, parameter: Tensor, group: Group, kept: tuple[str, ...]) -> None:
        state = self.state[parameter]
        for name in kept:
            if name not in state:
                state[name] = self.begin(name, parameter.array, group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros, so that the next pass starts afresh."""
        for group in self.param_groups:
            for parameter in group["params"]:
                g = parameter.grad
                if g is not None:
                    zeros = None if set_to_none else zeros_beside(g.array)
                    parameter.grad = None if zeros is None else constant(Tensor, zeros)

    # --- saving ---

    def state_dict(self) -> dict[str, Any]:
        """A copy of state and options, in PyTorch's layout.

        {"state": {number: {name: tensor or number}}, "param_groups": [{options, "params":
        [numbers]}]}; parameters are numbered through all groups, from 0.
        """
        return packed(self.param_groups, self.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and options from `state_dict` (of this class, or of PyTorch's).

        Arrays are copied to the parameters' devices. Raises ValueError where the number of groups
        or parameters, a shape or an option does not fit; nothing is changed then.
        """
        groups, states = unpack(
            type(self).__name__, state_dict, self.param_groups, self.defaults, self.names,
            self.numbers,
        )  # fmt: skip
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(loaded)
        self.state.clear()
        self.state.update(states)
        self._plans.clear()
        self.has_stepped = True  # in the run that was saved; a schedule that goes on must not warn

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without plans, which tie this optimiser's own arrays together."""
        return {**vars(self), "_plans": {}}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            shown = sorted(group.keys() - {"params", "param_names"})
            lines += [f"    {key}: {group[key]}" for key in shown]
        return "\n".join([*lines, ")"])


# --- what may be optimised ---


def _as_groups(name: str, params: Any) -> list[Group]:
    found = _listed(name, params)
    if not found:
        hint = "pass model.parameters(); has the model any layers?"
        raise ValueError(hinted(f"{name}: got no parameters", hint))
    return found if all(isinstance(x, dict) for x in found) else [{"params": found}]


def _listed(name: str, params: Any) -> list[Any]:
    """`params` as a list; a lone tensor is refused, since iterating it would cut it up."""
    if isinstance(params, (Tensor, set)):
        kind = type(cast(Any, params)).__name__
        raise DTypeError(hinted(f"{name}: params is a {kind}", "pass a list of tensors"))
    if not isinstance(params, Iterable):
        kind = type(params).__name__
        hint = "pass model.parameters()" if hasattr(params, "parameters") else "pass tensors"
        raise DTypeError(hinted(f"{name}: params is a {kind}", hint))
    return list(cast("Iterable[Any]", params))


def _check_parameters(name: str, found: list[Any], taken: list[Tensor]) -> None:
    for index, parameter in enumerate(found):
        if not isinstance(parameter, Tensor):
            kind = type(parameter).__name__
            hint = "pass tensors: model.parameters(), or a list of them"
            raise DTypeError(hinted(f"{name}: parameter {index} is a {kind}, no tensor", hint))
        if not parameter.is_leaf:
            hint = "optimise the tensor it was computed from, or x.detach().requires_grad_()"
            text = f"{name}: parameter {index}, shape {parameter.shape}, is the result of an op"
            raise GraphError(hinted(text, hint))
    seen = {id(parameter) for parameter in taken}
    for index, parameter in enumerate(found):
        if id(parameter) in seen:
            text = f"{name}: parameter {index}, shape {parameter.shape}, appears twice"
            raise ValueError(hinted(text, "pass every parameter once, in one group"))
        seen.add(id(parameter))
