"""Schedules that rise and fall: warm restarts, triangles, one cycle; momentum may go against lr."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradengine.errors import hinted

from ..optimizer import Optimizer
from .base import LRScheduler, Rates, checked_optimizer, per_group, require

PerGroup = float | Sequence[float]


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine from lr0 to eta_min over T_i epochs, then anew; T_i starts at T_0 and grows T_mult.

    `step(epoch)` takes fractions, such as epoch + batch / batches. Source: arXiv:1608.03983.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> optimizer.step()
    >>> schedule.step(0.5)
    >>> round(schedule.get_last_lr()[0], 3)
    0.427
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        require(name, T_0 > 0 and int(T_0) == T_0, "T_0", "must be a positive integer", T_0)
        whole = T_mult >= 1 and int(T_mult) == T_mult
        require(name, whole, "T_mult", "must be an integer of at least 1", T_mult)
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (lr - self.eta_min) * height for lr in self.base_lrs]

    def update(self, epoch: float | None = None) -> None:
        """The next epoch, or `epoch`, which may be a fraction."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            self._place(epoch)
        self.last_epoch = math.floor(epoch)
        self.set_rates(self.get_lr())

    def _place(self, epoch: float) -> None:
        """In which period `epoch` lies, and where in it."""
        require(type(self).__name__, epoch >= 0, "epoch", "must not be negative", epoch)
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            grown = self.T_mult - 1
            period = int(math.log(epoch / self.T_0 * grown + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**period - 1) / grown
            self.T_i = self.T_0 * self.T_mult**period


class _WithMomentum(LRScheduler):
    """A schedule that may also move momentum: `momentum`, or the first of Adam's `betas`."""

    cycle_momentum: bool
    use_beta1: bool

    def _prepare_momentum(
        self, optimizer: Optimizer, base: PerGroup, highest: PerGroup, fresh: bool
    ) -> tuple[Rates, Rates]:
        name, defaults = type(self).__name__, optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            text = f"{name}: {type(optimizer).__name__} has neither momentum nor betas to cycle"
            raise ValueError(hinted(text, "pass cycle_momentum=False"))
        self.use_beta1 = "betas" in defaults
        low = per_group(name, "base_momentum", optimizer, base)
        high = per_group(name, "max_momentum", optimizer, highest)
        if fresh:
            for group, a, b in zip(optimizer.param_groups, low, high, strict=True):
                self._set_momentum(group, b)
                group["base_momentum"], group["max_momentum"] = a, b
        return low, high

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_WithMomentum):
    """lr goes up and down between base_lr and max_lr, in triangles that a scale may shrink.

    `mode`: "triangular" (constant height), "triangular2" (halved each cycle), "exp_range" (times
    gamma**n); or `scale_fn`, of the cycle or of the iteration (`scale_mode`). With
    `cycle_momentum`, momentum falls while lr rises. Source: arXiv:1506.01186.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = CyclicLR(optimizer, base_lr=0.5, max_lr=1.0, step_size_up=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    functions = ("_scale_fn_custom",)

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: PerGroup,
        max_lr: PerGroup,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.8,
        max_momentum: PerGroup = 0.9,
        last_epoch: int = -1,
    ) -> None:
        checked_optimizer("CyclicLR", optimizer)
        known = mode in ("triangular", "triangular2", "exp_range") or scale_fn is not None
        require("CyclicLR", known, "mode", 'is "triangular", "triangular2" or "exp_range"', mode)
        require("CyclicLR", step_size_up > 0, "step_size_up", "must be positive", step_size_up)
        base_lrs = per_group("CyclicLR", "base_lr", optimizer, base_lr)
        self.max_lrs = per_group("CyclicLR", "max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = lr
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._prepare_momentum(
                optimizer, base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of the triangle in cycle `x` (from 1), or at iteration `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> Rates:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        up = x <= self.step_ratio
        share = x / self.step_ratio if up else (x - 1) / (self.step_ratio - 1)
        share *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, bounds, strict=True):
                self._set_momentum(group, high - (high - low) * share)
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * share for low, high in pairs]


class OneCycleLR(_WithMomentum):
    """One rise from max_lr / div_factor to max_lr, then a fall far below where it began.

    It ends at max_lr / div_factor / final_div_factor. The length is `total_steps`, or `epochs`
    times `steps_per_epoch`; `pct_start` of it goes up. `three_phase` falls to the initial rate
    first, as steeply as it rose. `anneal_strategy` is "cos" or "linear". With `cycle_momentum`,
    momentum goes the other way. One `step` more than the schedule has raises ValueError. Source:
    arXiv:1708.07120.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> optimizer.step()
    >>> for _ in range(2):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: PerGroup,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.85,
        max_momentum: PerGroup = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = "OneCycleLR"
        checked_optimizer(name, optimizer)
        self.total_steps = _length(total_steps, epochs, steps_per_epoch)
        require(name, 0 <= pct_start <= 1, "pct_start", "lies in [0, 1]", pct_start)
        known = anneal_strategy in ("cos", "linear")
        require(name, known, "anneal_strategy", 'is "cos" or "linear"', anneal_strategy)
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        highest = per_group(name, "max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, highest, strict=True):
                start = lr / div_factor
                group.update(initial_lr=start, max_lr=lr, min_lr=start / final_div_factor)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._prepare_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        n = self.last_epoch
        if n > self.total_steps:
            text = f"OneCycleLR: step {n} of a schedule of {self.total_steps}"
            raise ValueError(hinted(text, "make total_steps the number of optimiser steps"))
        start, phase = 0.0, self._schedule_phases[0]
        for phase in self._schedule_phases:
            if n <= phase["end_step"]:
                break
            if phase is not self._schedule_phases[-1]:
                start = phase["end_step"]
        length = phase["end_step"] - start
        share = (n - start) / length if length else 1.0
        rates: Rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(*ends, share))
        return rates

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _length(total: int | None, epochs: int | None, steps: int | None) -> int:
    if total is None:
        if epochs is None or steps is None:
            text = "OneCycleLR: its length is not given"
            raise ValueError(hinted(text, "give total_steps, or epochs and steps_per_epoch"))
        total = epochs * steps
    require("OneCycleLR", total > 0 and int(total) == total, "total_steps", "is positive", total)
    return total


def _phases(total: int, pct_start: float, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and between which entries of a group it goes."""
    top = float(pct_start * total) - 1
    if three:
        path = ["initial_lr", "max_lr", "initial_lr", "min_lr"]
        ends = [top, float(2 * pct_start * total) - 2, total - 1]
        momenta = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
    else:
        path, ends = ["initial_lr", "max_lr", "min_lr"], [top, total - 1]
        momenta = ["max_momentum", "base_momentum", "max_momentum"]
    return [
        {
            "end_step": end,
            "start_lr": path[i],
            "end_lr": path[i + 1],
            "start_momentum": momenta[i],
            "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate(ends)
    ]
