"""Averages of parameters over training: exponential (EMA), stochastic weight averaging, SWALR.

They work on lists of tensors and know nothing of modules: `nn.AveragedModel` wraps a model.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from gradengine.device import as_array, device_of, move, namespace
from gradengine.errors import ShapeError, hinted
from gradengine.tape import constant, no_grad
from gradengine.tensor import Tensor

from .lift import assign, wide_dtype
from .lr_scheduler.base import LRScheduler, Rates, per_group, require
from .optimizer import Optimizer

Array: TypeAlias = Any


# --- averages of lists of tensors ---


class _Average:
    """A running average of some parameters; a subclass says how much the newest value weighs.

    Averages are kept in at least float32.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self.averages: list[Array] = [_widened(p) for p in self.parameters]
        self.n_averaged = 0

    def weight(self) -> float:
        """The share of the present parameters in the next average."""
        raise NotImplementedError(f"{type(self).__name__} defines no weight")

    def update(self) -> None:
        """Take the present values in: average <- average + weight (value - average)."""
        share = self.weight()
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            _blend(average, parameter.array, share)
        self.n_averaged += 1

    def copy_to(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Give the averages to the parameters (or to others of the same shapes)."""
        targets = self.parameters if parameters is None else list(parameters)
        _check_shapes(type(self).__name__, self.averages, targets)
        with no_grad():
            for average, target in zip(self.averages, targets, strict=True):
                array = average.astype(target.dtype)
                assign(target, move(array, device_of(target.array)))

    @contextmanager
    def average_parameters(self) -> Generator[None, None, None]:
        """Run a block with the averages in the parameters, and put their own values back after.

        >>> import gradengine as ge
        >>> w = ge.tensor([0.0], requires_grad=True)
        >>> ema = ExponentialMovingAverage([w], decay=0.5)
        >>> with ge.no_grad():
        ...     w += 4.0
        >>> ema.update()
        >>> with ema.average_parameters():
        ...     w.item()
        2.0
        >>> w.item()
        4.0
        """
        own = [p.array for p in self.parameters]
        self.copy_to()
        try:
            yield
        finally:
            with no_grad():
                for parameter, array in zip(self.parameters, own, strict=True):
                    assign(parameter, array)

    def state_dict(self) -> dict[str, Any]:
        """The averages, copied, and how many values they hold."""
        copies = [constant(Tensor, average.copy()) for average in self.averages]
        return {"n_averaged": self.n_averaged, "averages": copies}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; ShapeError where a shape differs."""
        given = [x.array if isinstance(x, Tensor) else as_array(x) for x in state_dict["averages"]]
        _check_shapes(f"{type(self).__name__}.load_state_dict", given, self.parameters)
        for i, (array, parameter) in enumerate(zip(given, self.parameters, strict=True)):
            wide = array.astype(wide_dtype(parameter.array), order="C")
            self.averages[i] = move(wide, device_of(parameter.array))
        self.n_averaged = int(state_dict["n_averaged"])


class ExponentialMovingAverage(_Average):
    """average <- decay average + (1 - decay) value, starting from the values at construction.

    `warm_up`: the decay of update n (from 1) is at most (1 + n) / (10 + n), so that an early
    average is not held back by the start.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> ema = ExponentialMovingAverage([w], decay=0.75)
    >>> with ge.no_grad():
    ...     w += 1.0
    >>> ema.update()
    >>> ema.averages[0].tolist()
    [1.25]
    """

    def __init__(
        self, parameters: Iterable[Tensor], decay: float = 0.999, *, warm_up: bool = False
    ) -> None:
        require(type(self).__name__, 0 <= decay <= 1, "decay", "lies in [0, 1]", decay)
        self.decay, self.warm_up = decay, warm_up
        super().__init__(parameters)

    def weight(self) -> float:
        n = self.n_averaged + 1
        return 1 - (min(self.decay, (1 + n) / (10 + n)) if self.warm_up else self.decay)


class StochasticWeightAverage(_Average):
    """The plain mean of the values at every `update` (arXiv:1803.05407).

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> mean = StochasticWeightAverage([w])
    >>> for _ in range(3):
    ...     mean.update()
    ...     with ge.no_grad():
    ...         w += 1.0
    >>> mean.averages[0].tolist()
    [2.0]
    """

    def weight(self) -> float:
        return 1 / (self.n_averaged + 1)


def _widened(parameter: Tensor) -> Array:
    return parameter.array.astype(wide_dtype(parameter.array), order="C")


def _blend(average: Array, value: Array, share: float) -> None:
    """average <- average + share (value - average), in place."""
    value = move(value, device_of(average))
    difference = namespace(average).subtract(value, average, dtype=average.dtype)
    difference *= share
    average += difference


def _check_shapes(name: str, arrays: Sequence[Array], parameters: Sequence[Tensor]) -> None:
    ours, theirs = [tuple(x.shape) for x in arrays], [tuple(p.shape) for p in parameters]
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        text = f"{name}: {len(ours)} averages for {len(theirs)} parameters"
    else:
        index = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len({*pair}) > 1)
        text = f"{name}: average {index} is {ours[index]}, the parameter {theirs[index]}"
    raise ShapeError(hinted(text, "give the parameters of the same model, in the same order"))


# --- the schedule that goes with it ---


class SWALR(LRScheduler):
    """lr goes from where it is to `swa_lr` within `anneal_epochs`, along a cosine or a line.

    Source: arXiv:1803.05407.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = SWALR(optimizer, swa_lr=0.1, anneal_epochs=2, anneal_strategy="linear")
    >>> optimizer.step()
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.3
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        known = anneal_strategy in ("cos", "linear")
        require("SWALR", known, "anneal_strategy", 'is "cos" or "linear"', anneal_strategy)
        require("SWALR", anneal_epochs >= 0, "anneal_epochs", "is at least 0", anneal_epochs)
        rates = per_group("SWALR", "swa_lr", optimizer, swa_lr)
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = lr
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates: Rates = []
        for group in self.optimizer.param_groups:
            target = group["swa_lr"]
            start = target if before == 1 else (group["lr"] - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2
