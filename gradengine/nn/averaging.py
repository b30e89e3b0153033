"""AveragedModel: a copy of a model whose parameters are a running average of the model's.

By default the plain mean of all updates (SWA, arXiv:1803.05407); `get_ema_multi_avg_fn` gives the
exponential moving average. `update_bn` renews batch statistics, which averages do not fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from gradengine.device import Device
from gradengine.dtypes import is_inexact
from gradengine.errors import ShapeError, hinted
from gradengine.nn.module import Buffer, Module
from gradengine.nn.normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from gradengine.tape import no_grad
from gradengine.tensor import Tensor

One: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
Many: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]


# --- how the newest value enters ---


def get_swa_avg_fn() -> One:
    """(average, value, n) -> average + (value - average) / (n + 1), the mean of n + 1 values.

    >>> get_swa_avg_fn()(Tensor.lift([1.0]), Tensor.lift([4.0]), 2)
    tensor([2.])
    """

    def mean(average: Any, value: Any, n: int) -> Tensor:
        return average + (value - average) * (1.0 / (n + 1))

    return mean


def get_ema_avg_fn(decay: float = 0.999) -> One:
    """(average, value, n) -> decay average + (1 - decay) value.

    >>> get_ema_avg_fn(0.75)(Tensor.lift([1.0]), Tensor.lift([5.0]), 2)
    tensor([2.])
    """
    if not 0 <= decay <= 1:
        raise ValueError(hinted(f"get_ema_avg_fn: decay {decay}", "it lies in [0, 1]"))

    def moving(average: Any, value: Any, _n: int) -> Tensor:
        return average + (value - average) * (1 - decay)

    return moving


def get_swa_multi_avg_fn() -> Many:
    """`get_swa_avg_fn` for lists of tensors, whose averages it writes to."""
    return _many(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Many:
    """`get_ema_avg_fn` for lists of tensors, whose averages it writes to."""
    return _many(get_ema_avg_fn(decay))


def _many(one: One) -> Many:
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], n: int) -> None:
        with no_grad():
            for average, value in zip(averages, values, strict=True):
                _write(average, one(average, value, n))

    return update


def _write(target: Tensor, value: Tensor) -> None:
    target.data = value.astype(target.dtype).to(target.device)


# --- the model ---


class AveragedModel(Module):
    """A copy of `model`, `module`, that averages what `update_parameters(model)` shows it.

    `avg_fn(average, value, n)` returns the new average of one tensor, `multi_avg_fn` writes those
    of two lists (default: the plain mean). The first update copies. With `use_buffers` the buffers
    are averaged too, else they are the newest. `device` is where the copy is kept.

    >>> import gradengine as ge
    >>> model = ge.nn.Linear(1, 1)
    >>> averaged = AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = ge.nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.tolist()
    [[3.0]]
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: str | Device | None = None,
        avg_fn: One | None = None,
        multi_avg_fn: Many | None = None,
        use_buffers: bool = False,
    ) -> None:
        if avg_fn is not None and multi_avg_fn is not None:
            text = "AveragedModel: both avg_fn and multi_avg_fn are given"
            raise ValueError(hinted(text, "give one of them"))
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", Buffer(np.zeros((), np.int64)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's output."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of `model` in; ShapeError where it is another model."""
        n = int(self.n_averaged.item())
        averages, values = self._averaged(self.module), self._averaged(model)
        _check_same(averages, values)
        with no_grad():
            values = [v.detach().to(a.device) for a, v in zip(averages, values, strict=True)]
            if n == 0:
                for average, value in zip(averages, values, strict=True):
                    _write(average, value)
            else:
                self._average(averages, values, n)
            if not self.use_buffers:
                for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                    _write(ours, theirs)
        self.n_averaged.fill_(n + 1)

    def _averaged(self, model: Module) -> list[Tensor]:
        return [*model.parameters(), *(model.buffers() if self.use_buffers else ())]

    def _average(self, averages: list[Tensor], values: list[Tensor], n: int) -> None:
        pairs = [*zip(averages, values, strict=True)]
        for average, value in pairs:
            if not is_inexact(average.dtype):  # counters have no mean
                _write(average, value)
        fractional = [pair for pair in pairs if is_inexact(pair[0].dtype)]
        if self.avg_fn is not None:
            for average, value in fractional:
                _write(average, self.avg_fn(average.detach(), value, n))
        elif fractional:
            update = self.multi_avg_fn or get_swa_multi_avg_fn()
            update([a for a, _ in fractional], [v for _, v in fractional], n)


def _check_same(averages: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    ours, theirs = [a.shape for a in averages], [v.shape for v in values]
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        what = f"{len(theirs)} tensors, {len(ours)} are averaged"
    else:
        i = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len({*pair}) > 1)
        what = f"tensor {i} of shape {theirs[i]}, the average has {ours[i]}"
    text = f"AveragedModel.update_parameters: the model has {what}"
    raise ShapeError(hinted(text, "give the model it was made of"))


# --- batch statistics ---


def update_bn(loader: Iterable[Any], model: Module, device: str | Device | None = None) -> None:
    """Compute the running statistics of all batch normalisations anew from the batches of `loader`.

    Each batch is the input, or a list or tuple whose first entry is. The statistics become the mean
    over the batches; the training mode is left as it was.

    >>> import gradengine as ge
    >>> model = ge.nn.BatchNorm1d(1)
    >>> update_bn([ge.tensor([[1.0], [3.0]]), ge.tensor([[5.0], [7.0]])], model)
    >>> model.running_mean
    tensor([4.])
    """
    kinds = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    if not layers:
        return
    momenta, modes = [layer.momentum for layer in layers], [m.training for m in model.modules()]
    model.train()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
        with no_grad():
            for batch in loader:
                x: Any = cast(Any, batch)[0] if isinstance(batch, (list, tuple)) else batch
                model(x if device is None else x.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode
