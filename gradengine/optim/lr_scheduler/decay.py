"""Schedules that fall, or rise, along a formula: steps, lines, powers and a cosine.

`n` is the epoch (`last_epoch`), `lr0` a group's initial rate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from ..optimizer import Optimizer
from .base import LRScheduler, Rates, require


class StepLR(LRScheduler):
    """lr = lr0 gamma**(n // step_size).

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> optimizer.step()
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        require("StepLR", step_size > 0, "step_size", "must be positive", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        due = self.last_epoch != 0 and self.last_epoch % self.step_size == 0
        return self.scaled(self.gamma) if due else self.current()

    def closed_form(self) -> Rates:
        factor = self.gamma ** (self.last_epoch // self.step_size)
        return [lr * factor for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """lr is multiplied by gamma at each of the `milestones`.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = MultiStepLR(optimizer, [1, 5], gamma=0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        passed = self.milestones.count(int(self.last_epoch))
        return self.scaled(self.gamma**passed) if passed else self.current()

    def closed_form(self) -> Rates:
        passed = bisect_right(self.milestones, self.last_epoch)
        return [lr * self.gamma**passed for lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """lr = lr0 factor for the first `total_iters` epochs, then lr0.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> ConstantLR(optimizer, factor=0.5).get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        require("ConstantLR", 0 <= factor <= 1, "factor", "lies in [0, 1]", factor)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        if self.factor == 0:  # nothing is left to be scaled up again
            return self.closed_form()
        if self.last_epoch == 0:
            return self.scaled(self.factor)
        over = self.last_epoch == self.total_iters
        return self.scaled(1 / self.factor) if over else self.current()

    def closed_form(self) -> Rates:
        factor = 1.0 if self.last_epoch >= self.total_iters else self.factor
        return [lr * factor for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """lr goes in a line from lr0 start_factor to lr0 end_factor over `total_iters`: a warm-up.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.375]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        require("LinearLR", 0 < start_factor <= 1, "start_factor", "lies in (0, 1]", start_factor)
        require("LinearLR", 0 <= end_factor <= 1, "end_factor", "lies in [0, 1]", end_factor)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        if self.last_epoch == 0:
            return self.scaled(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self.current()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self.scaled(1.0 + rise / before)

    def closed_form(self) -> Rates:
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        factor = self.start_factor + (self.end_factor - self.start_factor) * share
        return [lr * factor for lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """lr = lr0 gamma**n.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        return self.current() if self._is_initial else self.scaled(self.gamma)

    def closed_form(self) -> Rates:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """lr = lr0 (1 - n / total_iters)**power, 0 afterwards.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = PolynomialLR(optimizer, total_iters=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.375]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        require("PolynomialLR", total_iters > 0, "total_iters", "must be positive", total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        n = self.last_epoch
        if self._is_initial or n > self.total_iters:
            return self.current()
        now, before = (1 - k / self.total_iters for k in (n, n - 1))
        return self.scaled((now / before) ** self.power)

    def closed_form(self) -> Rates:
        left = 1 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (lr0 - eta_min) (1 + cos(pi n / T_max)) / 2, down and up again.

    Source: arXiv:1608.03983, eq. 5, without its restarts.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        require("CosineAnnealingLR", T_max > 0, "T_max", "must be positive", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        n, low = self.last_epoch, self.eta_min
        if self._is_initial:
            return self.current()
        if self._step_count == 1 and n > 0:  # started in the middle, by a sequence
            return self.closed_form()
        if (n - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom the ratio below is 0/0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            pairs = zip(self.current(), self.base_lrs, strict=True)
            return [lr + (lr0 - low) * rise for lr, lr0 in pairs]
        now, before = (1 + math.cos(math.pi * k / self.T_max) for k in (n, n - 1))
        return [now / before * (lr - low) + low for lr in self.current()]

    def closed_form(self) -> Rates:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (lr - self.eta_min) * height for lr in self.base_lrs]
