"""An optimiser's state as a plain dict in PyTorch's layout, and back.

{"state": {0: {"step": 7, "exp_avg": tensor, ...}, ...}, "param_groups": [{"lr": 0.1, ...,
"params": [0, 1, ...]}]}. Names are PyTorch's, so that a state of PyTorch's, its tensors as arrays,
can be taken over. Whatever does not fit is refused before anything has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from gradengine.device import as_array, device_of, is_array, move
from gradengine.errors import ShapeError, hinted
from gradengine.tape import constant
from gradengine.tensor import Tensor

from .lift import wide_dtype
from .options import check_options

State: TypeAlias = dict[str, Any]
Group: TypeAlias = dict[str, Any]

EXECUTION = {"foreach", "fused", "capturable", "differentiable"}
"""How PyTorch shall compute, which says nothing of the result: left out when its state is read."""


# --- out ---


def packed(groups: Sequence[Group], states: Any) -> dict[str, Any]:
    """State and groups with numbers instead of parameters; arrays as tensors of their own."""
    numbers: dict[int, int] = {}
    listed: list[Group] = []
    state: dict[int, State] = {}
    for group in groups:
        plain = {key: value for key, value in group.items() if key != "params"}
        plain["params"] = [numbers.setdefault(id(p), len(numbers)) for p in group["params"]]
        listed.append(plain)
        for parameter in group["params"]:
            if states.get(parameter):
                state[numbers[id(parameter)]] = {k: _out(v) for k, v in states[parameter].items()}
    return {"state": state, "param_groups": listed}


def _out(value: Any) -> Any:
    if isinstance(value, list):
        return [_out(x) for x in cast("list[Any]", value)]
    return constant(Tensor, value.copy()) if is_array(value) else value


# --- in ---


def unpack(
    name: str,
    loaded: dict[str, Any],
    groups: Sequence[Group],
    defaults: dict[str, Any],
    arrays: Sequence[str],
    numbers: Sequence[str],
) -> tuple[list[Group], dict[Tensor, State]]:
    """The options of each group and the state of each parameter, from a state dict."""
    if "state" not in loaded or "param_groups" not in loaded:
        found = f"a dict of {[*loaded][:4]}"
        hint = "give what optimizer.state_dict() returned"
        raise ValueError(hinted(f"{name}.load_state_dict: {found} is no state", hint))
    _check_sizes(name, groups, loaded["param_groups"])
    options = [_options(name, group, defaults) for group in loaded["param_groups"]]
    ours = {
        int(number): parameter
        for group, given in zip(groups, loaded["param_groups"], strict=True)
        for number, parameter in zip(given["params"], group["params"], strict=True)
    }
    states: dict[Tensor, State] = {}
    for number, values in loaded["state"].items():
        parameter = ours.get(int(number))
        if parameter is None:
            text = f"{name}.load_state_dict: state of parameter {number}, which no group holds"
            raise ValueError(hinted(text, "the file is damaged or was edited"))
        states[parameter] = _state(name, int(number), parameter, values, arrays, numbers)
    return options, states


def _check_sizes(name: str, groups: Sequence[Group], given: Sequence[Group]) -> None:
    sizes, theirs = ([len(g["params"]) for g in x] for x in (groups, given))
    if sizes != theirs:
        raise ShapeError(
            hinted(
                f"{name}.load_state_dict: groups of {theirs} parameters in the state, {sizes} here",
                "make the optimiser with the same groups as the one that was saved",
            )
        )


def _options(name: str, group: Group, defaults: dict[str, Any]) -> Group:
    found = {k: v for k, v in group.items() if k not in EXECUTION and k != "params"}
    for key, value in found.items():
        if isinstance(value, list) and isinstance(defaults.get(key), tuple):  # as JSON has it
            found[key] = tuple(cast("list[Any]", value))
        elif is_array(value) or isinstance(value, Tensor):
            found[key] = cast(Any, value).item()
    check_options(f"{name}.load_state_dict", {**defaults, **found}, defaults)
    return found


def _state(
    name: str,
    number: int,
    parameter: Tensor,
    values: State,
    arrays: Sequence[str],
    numbers: Sequence[str],
) -> State:
    """The state of one parameter: arrays on its device, wide enough; numbers as plain numbers."""
    state: State = {}
    for key, value in values.items():
        if key in numbers:
            state[key] = _plain(value)
        elif key not in arrays:
            text = f"{name}.load_state_dict: unknown state {key!r} of parameter {number}"
            raise ValueError(hinted(text, f"{name} keeps {[*numbers, *arrays]}"))
        elif value is not None:
            found = value.array if isinstance(value, Tensor) else as_array(value)
            if found.shape != parameter.shape:
                raise ShapeError(
                    hinted(
                        f"{name}.load_state_dict: {key} of parameter {number} has shape "
                        f"{tuple(found.shape)}, the parameter {parameter.shape}",
                        "the state belongs to another model",
                    )
                )
            copy = found.astype(wide_dtype(parameter.array), order="C")
            state[key] = move(copy, device_of(parameter.array))
    return state


def _plain(value: Any) -> Any:
    """A number from a tensor or array of one element; whole ones as integers."""
    number = value.item() if hasattr(value, "item") else value
    return int(number) if isinstance(number, float) and number.is_integer() else number
