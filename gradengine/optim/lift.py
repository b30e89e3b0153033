"""Lifting a rule of rules/ over parameters: which arrays it is called with, and how often.

A rule knows one parameter. Small parameters that step together are laid end to end, so that one
call serves all of them; large ones go by in blocks that stay in the processor's cache. Both are
remembered from step to step in a `Plan`, which is made anew as soon as anything it relied on is
another: who has a gradient, an array's shape, dtype or device, a state entry replaced by hand.

On a device a kernel may take a rule's place: `kernels.py` says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, TypeAlias

from gradengine.device import as_array, device_of, guard, is_host, move, namespace
from gradengine.errors import ShapeError, hinted
from gradengine.tape import constant, is_sole_owner, no_grad
from gradengine.tensor import Tensor
from gradengine.writes import replace

Array: TypeAlias = Any
State: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[..., Any]
Call: TypeAlias = Callable[..., Any]
"""A rule with its options of this step bound: `call(p, g, *arrays, out=...)`."""

SMALL = 1 << 14
"""Elements below which a call costs more than its arithmetic: such parameters are laid together."""
BLOCK = 1 << 16
"""Elements of a block: the parameter, its gradient, state and scratch stay in a 2 MB cache."""


def rule_for(rule: Rule, array: Array) -> Rule:
    """`rule` itself, or the kernel that takes its place where `array` lives."""
    if is_host(namespace(array)):
        return rule
    from .kernels import KERNELS  # loads the launch code

    return KERNELS.get(rule, rule)


def wide_dtype(array: Array) -> Any:
    """The dtype of a parameter's state: its own, but at least float32."""
    return namespace(array).promote_types(array.dtype, "float32")


def assign(parameter: Tensor, array: Array) -> None:
    """Give a parameter a new array; graphs keep the old one, views of it see the new one."""
    if getattr(parameter, "family", None) is None and not parameter.level:
        parameter.array = array
    else:
        with no_grad():
            replace(parameter, constant(Tensor, array), "step")


# --- one parameter and its state ---


class Member:
    """A parameter, its state, and what both were when the plan was made."""

    __slots__ = (
        "array", "arrays", "device", "dtype", "entries", "names", "parameter", "shape", "state",
    )  # fmt: skip

    def __init__(self, parameter: Tensor, state: State, names: Sequence[str]) -> None:
        self.parameter, self.state, self.names = parameter, state, names
        parameter.family = getattr(parameter, "family", None)  # set, it is read in half the time
        array = parameter.array
        self.array: Array = array
        self.shape, self.dtype, self.device = array.shape, array.dtype, device_of(array)
        self.arrays: list[Array] = [self._adopted(name) for name in names]
        self.entries = list(zip(names, self.arrays, strict=True))

    def _adopted(self, name: str) -> Array:
        """The state array `name`, contiguous, wide enough and on the parameter's device."""
        found = self.state.get(name)
        if found is None:
            return None
        array = self.parameter.array
        found = move(found.array if isinstance(found, Tensor) else as_array(found), self.device)
        if found.shape != array.shape:
            raise ShapeError(
                hinted(
                    f"step: state {name!r} has shape {tuple(found.shape)}, its parameter "
                    f"{tuple(array.shape)}",
                    "the state belongs to another model; make a new optimiser",
                )
            )
        with guard(array):
            found = namespace(array).ascontiguousarray(found, dtype=wide_dtype(array))
            self.state[name] = found.reshape(array.shape)  # the former makes 0-d arrays 1-d
        return self.state[name]

    def keep(self, index: int, array: Array) -> None:
        """`array` is the state entry number `index` from now on."""
        self.arrays[index] = self.state[self.names[index]] = array
        self.entries[index] = (self.names[index], array)

    def move(self, array: Array) -> None:
        """Give the parameter its new array, which may be its own, changed."""
        self.array = array
        parameter = self.parameter
        if parameter.family is None and not parameter.level:
            parameter.array = array
        elif array is not parameter.array:
            assign(parameter, array)

    def fits(self, array: Array) -> bool:
        """Whether another array has taken the place of the parameter's that is like it."""
        return (
            array.dtype == self.dtype
            and array.shape == self.shape
            and device_of(array) == self.device
        )


# --- a large parameter: in blocks ---


class Alone:
    """One parameter, stepped block by block, or whole where the rule is not elementwise."""

    def __init__(self, member: Member, whole: bool) -> None:
        self.members = (member,)
        array = member.parameter.array
        self.here = is_host(namespace(array))
        self.wide = wide_dtype(array)
        self.blocks = _blocks(array.size, whole or not is_host(namespace(array)))
        self.state = self._parts(member.arrays)

    def _parts(self, arrays: Sequence[Array]) -> list[list[Array]]:
        """The state arrays of each block."""
        flat = [None if x is None else x.reshape(-1) for x in arrays]
        return [[_cut(x, part) for x in flat] for part in self.blocks]

    def step(self, call: Call) -> None:
        member = self.members[0]
        gradient: Any = member.parameter.grad
        member.array = None  # so that only the parameter itself holds its array
        alone = is_sole_owner(member.parameter)
        p = member.parameter.array
        xp = namespace(p)
        moved = p if alone and p.flags.c_contiguous else xp.empty(p.shape, p.dtype)
        flat_p, flat_g, flat_moved = p.reshape(-1), gradient.array.reshape(-1), moved.reshape(-1)
        places = _places(member, xp, self.wide)
        started = [i for i, x in enumerate(places) if x is not member.arrays[i]]
        outs = self._parts(places) if started else self.state
        for part, own, new in zip(self.blocks, self.state, outs, strict=True):
            if p.dtype == self.wide:
                call(flat_p[part], flat_g[part], *own, out=(flat_moved[part], *new))
            else:
                value = flat_p[part].astype(self.wide)
                call(value, flat_g[part].astype(self.wide), *own, out=(value, *new))
                flat_moved[part] = value
        for i in started:
            member.keep(i, places[i])
        self.state = outs
        member.move(moved)


# --- many small parameters: end to end ---


class Together:
    """Small parameters of one dtype in one flat buffer; their state arrays are parts of flat ones.

    The rule works in place on the buffer's copy of the parameters; each then gets an array of its
    own, so that no two tensors share memory.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        array = members[0].parameter.array
        xp, wide = namespace(array), wide_dtype(array)
        self.here = is_host(xp)
        sizes = [math.prod(m.shape) for m in members]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        self.parts = [slice(end - n, end) for n, end in zip(sizes, ends, strict=True)]
        self.both = xp.empty(2 * ends[-1], wide)
        self.p, self.g = self.both[: ends[-1]], self.both[ends[-1] :]
        shapes = zip(self.parts, members, strict=True)
        self.moved = [self.p[part].reshape(m.shape) for part, m in shapes]
        self.arrays: list[Array] = []
        for i in range(len(members[0].names)):
            own = [m.arrays[i] for m in members]
            self.arrays.append(None if own[0] is None else xp.empty(ends[-1], wide))
            if own[0] is not None:
                xp.concatenate([x.reshape(-1) for x in own], out=self.arrays[i])
                self._share(i)
        self.blocks, self.xp = _blocks(ends[-1], not is_host(xp)), xp
        self.calls = self._calls(self.arrays)
        state = members[0].state
        self.waits = any(state.get(n, self) is None for n in members[0].names)

    def _calls(self, places: Sequence[Array]) -> list[Any]:
        """The arrays of each call of the rule; a state in its old place is the same view twice."""
        found: list[Any] = []
        for part in self.blocks:
            own = [_cut(x, part) for x in self.arrays]
            new = [
                x if y is z else _cut(z, part)
                for x, y, z in zip(own, self.arrays, places, strict=True)
            ]
            value = self.p[part]
            found.append((value, self.g[part], own, (value, *new)))
        return found

    def _share(self, index: int) -> None:
        """Let the members' state entries show their parts of the flat array."""
        for member, part in zip(self.members, self.parts, strict=True):
            member.keep(index, self.arrays[index][part].reshape(member.shape))

    def _keep(self, places: Sequence[Array]) -> None:
        """The state that the rule itself has started is the members' from now on."""
        for i, place in enumerate(places):
            if place is not self.arrays[i]:
                self.arrays[i] = place
                self._share(i)
        self.waits, self.calls = False, self._calls(self.arrays)

    def step(self, call: Call) -> None:
        members, xp = self.members, self.xp
        parameters: list[Any] = [m.parameter for m in members]
        given = [p.array for p in parameters]
        given += [p.grad.array for p in parameters]
        xp.concatenate(given, axis=None, out=self.both)
        places, calls = self.arrays, self.calls
        if self.waits:
            places = _places(members[0], xp, self.p.dtype, self.p.shape, places)
            calls = self._calls(places)
        for value, gradient, own, out in calls:
            call(value, gradient, *own, out=out)
        if self.waits:
            self._keep(places)
        for member, part in zip(members, self.moved, strict=True):
            member.move(part.astype(member.dtype))


def _places(
    member: Member, xp: Any, dtype: Any, shape: Any = None, given: Sequence[Array] | None = None
) -> list[Array]:
    """Where the new state goes: the old arrays, or new ones where the rule starts them itself."""
    arrays = member.arrays if given is None else given
    shape = member.shape if shape is None else shape
    return [
        xp.empty(shape, dtype) if x is None and name in member.state else x
        for x, name in zip(arrays, member.names, strict=True)
    ]


def _cut(x: Array, part: slice) -> Array:
    return None if x is None else x[part]


def _blocks(size: int, whole: bool) -> list[slice]:
    if whole or size <= BLOCK:
        return [slice(0, size)] if size else []
    return [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]


# --- all parameters of a group ---


class Plan:
    """How the parameters of one group that have gradients are stepped, until something changes."""

    def __init__(
        self,
        live: list[Tensor],
        states: Any,
        names: Sequence[str],
        kept: Sequence[str],
        whole: bool,
        counted: bool,
    ) -> None:
        self.live, self.states, self.kept = live, states, kept
        self.members = [Member(p, states[p], names) for p in live]
        together: dict[Any, list[Member]] = {}
        self.units: list[Alone | Together] = []
        for member in self.members:
            small = 0 < math.prod(member.shape) <= SMALL
            if whole or not small or not is_host(namespace(member.array)):
                with guard(member.array):
                    self.units.append(Alone(member, whole))
            else:
                together.setdefault(_pace(member), []).append(member)
        self.paced = [group for group in together.values() if counted and len(group) > 1]
        for members in together.values():
            self.units.append(Alone(members[0], False) if len(members) == 1 else Together(members))

    def fits(self, live: list[Tensor], kept: Sequence[str]) -> bool:
        """Whether the plan still holds for the parameters `live` and the state to be `kept`."""
        if len(live) != len(self.live) or not all(map(is_, live, self.live)) or kept != self.kept:
            return False
        state_of = self.states.get
        for member in self.members:
            state, array = member.state, member.parameter.array
            if array is not member.array and not member.fits(array):
                return False
            if state_of(member.parameter) is not state:
                return False
            for name, kept_array in member.entries:
                if state.get(name) is not kept_array:
                    return False
        for group in self.paced:
            steps = [member.state.get("step") for member in group]
            if steps.count(steps[0]) != len(steps):
                return False
        return True


def _pace(member: Member) -> Any:
    """Parameters can step together that agree in this."""
    missing = tuple(x is None for x in member.arrays)
    return member.dtype, member.device, missing, _numbers(member.state)


def _numbers(state: State) -> tuple[Any, ...]:
    """The plain numbers of a state, such as the step count."""
    return tuple(x for x in state.values() if isinstance(x, (int, float)))
