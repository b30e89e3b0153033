"""Schedules made of others, one after the other or all at once, and one that watches a metric."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, SupportsFloat

from gradengine.errors import DTypeError, hinted

from ..optimizer import Optimizer
from .base import LRScheduler, Rates, checked_optimizer, per_group, require


class _Composed(LRScheduler):
    """What schedules made of schedules share: their state is that of the parts."""

    _schedulers: list[LRScheduler]

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["_schedulers"] = [part.state_dict() for part in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        parts = state_dict.get("_schedulers", ())
        if len(parts) != len(self._schedulers):
            name = type(self).__name__
            text = f"{name}.load_state_dict: {len(parts)} parts, this has {len(self._schedulers)}"
            raise ValueError(hinted(text, "make it of the same schedules as the saved one"))
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for part, state in zip(self._schedulers, parts, strict=True):
            part.load_state_dict(state)


def _checked_parts(
    name: str, parts: Sequence[LRScheduler], optimizer: Optimizer
) -> list[LRScheduler]:
    require(name, len(parts) > 0, "schedulers", "must not be empty", parts)
    for index, part in enumerate(parts):
        if not isinstance(part, LRScheduler):  # pyright: ignore[reportUnnecessaryIsInstance]
            text = f"{name}: schedulers[{index}] is a {type(part).__name__}"
            raise DTypeError(hinted(text, "give schedules of this package"))
        if isinstance(part, ReduceLROnPlateau):
            text = f"{name}: schedulers[{index}] is ReduceLROnPlateau, whose step takes a metric"
            raise ValueError(hinted(text, "step it by itself"))
        if part.optimizer is not optimizer:
            text = f"{name}: schedulers[{index}] belongs to another optimizer"
            raise ValueError(hinted(text, "make all of them for one optimizer"))
    return list(parts)


class SequentialLR(_Composed):
    """One schedule after the other: the next begins, at its epoch 0, at each of the milestones.

    A warm-up is LinearLR before anything else. A ChainedScheduler as the first part begins at its
    first rate; PyTorch's has taken a step by then.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> from gradengine.optim.lr_scheduler import ExponentialLR, LinearLR
    >>> warm = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> schedule = SequentialLR(optimizer, [warm, ExponentialLR(optimizer, 0.5)], milestones=[2])
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr()
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = checked_optimizer("SequentialLR", optimizer)
        self._schedulers = _checked_parts("SequentialLR", schedulers, optimizer)
        self._milestones = list(milestones)
        if len(self._milestones) != len(self._schedulers) - 1:
            text = f"SequentialLR: {len(self._milestones)} milestones"
            text = f"{text} between {len(self._schedulers)} schedulers"
            raise ValueError(hinted(text, "give one milestone fewer than schedulers"))
        self._is_initial = False
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for part in self._schedulers:
            _undo(part)
        self.start()
        self.last_epoch = last_epoch + 1

    def start(self) -> None:
        """Set the rates of the first part's first epoch."""
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first.start()
        self._step_count = 1
        self._last_lr = first.get_last_lr()

    def step(self, epoch: float | None = None) -> None:
        """The next step of the schedule whose turn it is."""
        _refuse_epoch("SequentialLR", epoch)
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        part = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            part.update(0)
        else:
            part.step()
        self._last_lr = part.get_last_lr()

    def update(self, epoch: float | None = None) -> None:
        """Begin at `epoch` 0, as a part of another sequence; None is one step on."""
        if epoch is None:
            self.step()
            return
        _refuse_epoch("SequentialLR", epoch or None)
        self.last_epoch = 0
        part = self._schedulers[bisect_right(self._milestones, 0)]
        part.update(0)
        self._last_lr = part.get_last_lr()


class ChainedScheduler(_Composed):
    """All schedules at once: each multiplies what the others have left.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> from gradengine.optim.lr_scheduler import ConstantLR, ExponentialLR
    >>> parts = [ConstantLR(optimizer, 0.5, total_iters=9), ExponentialLR(optimizer, 0.5)]
    >>> schedule = ChainedScheduler(parts)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        name = "ChainedScheduler"
        require(name, len(schedulers) > 0, "schedulers", "must not be empty", schedulers)
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        self._schedulers = _checked_parts(name, schedulers, self.optimizer)
        self.last_epoch = 0
        self._is_initial = False
        self._step_count = 1
        self._last_lr = self.current()

    def start(self) -> None:
        """Set the rates of the first epoch, from the present ones."""
        self.last_epoch = 0
        for part in self._schedulers:
            part.start()
        self._last_lr = self.current()

    def step(self, epoch: float | None = None) -> None:
        """One step of every schedule, in order."""
        _refuse_epoch("ChainedScheduler", epoch)
        self.last_epoch += 1
        for part in self._schedulers:
            part.step()
        self._last_lr = self.current()

    def update(self, epoch: float | None = None) -> None:
        """Begin at `epoch` 0, as a part of a sequence; None is one step on."""
        if epoch is None:
            self.step()
            return
        _refuse_epoch("ChainedScheduler", epoch or None)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for part in self._schedulers:
            part.last_epoch = -1
        self.start()


def _undo(part: LRScheduler) -> None:
    """Take back the step a schedule made when it was made."""
    if isinstance(part, _Composed):
        for inner in part._schedulers:  # pyright: ignore[reportPrivateUsage]
            _undo(inner)
    else:
        part.last_epoch -= 1


def _refuse_epoch(name: str, epoch: float | None) -> None:
    if epoch is not None:
        raise ValueError(hinted(f"{name}: step({epoch}) cannot jump", "call step() without one"))


class ReduceLROnPlateau(LRScheduler):
    """lr times `factor` where a metric has not become better for more than `patience` steps.

    Better means by `threshold`, relative or absolute (`threshold_mode`: "rel", "abs"), downwards or
    upwards (`mode`: "min", "max"). After a reduction `cooldown` steps do not count. No lr falls
    below `min_lr`, and changes below `eps` are not made.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.optimizer = checked_optimizer(name, optimizer)
        require(name, factor < 1, "factor", "must be below 1", factor)
        require(name, mode in ("min", "max"), "mode", 'is "min" or "max"', mode)
        known = threshold_mode in ("rel", "abs")
        require(name, known, "threshold_mode", 'is "rel" or "abs"', threshold_mode)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = per_group(name, "min_lr", optimizer, min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self.last_epoch = 0
        self._is_initial = False
        self._last_lr: Rates = self.current()

    @property
    def in_cooldown(self) -> bool:
        """Whether steps do not count at present."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at the metric of one more epoch (a number or a tensor), and reduce if it is due."""
        value = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(value, self.best):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.set_rates(self._reduced())
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self.current()

    def is_better(self, a: float, best: float) -> bool:
        """Whether the metric `a` is better than `best` by the threshold."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * a > sign * best * (1 + sign * self.threshold)
        return sign * a > sign * best + self.threshold

    def _reduced(self) -> Rates:
        rates: Rates = []
        for lr, lowest in zip(self.current(), self.min_lrs, strict=True):
            reduced = max(lr * self.factor, lowest)
            rates.append(reduced if lr - reduced > self.eps else lr)
        return rates
