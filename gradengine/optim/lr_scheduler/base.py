"""LRScheduler: what all learning rate schedules share, and those that are given as functions.

A schedule writes `lr` into the optimiser's groups, once when it is made and then at every `step`.
Most are recursive, the next rate from the present one, so that several can act on one optimiser
and a rate changed by hand stays changed; `closed_form` gives the rate at an epoch directly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, ClassVar, TypeAlias

from gradengine.errors import DTypeError, hinted

from ..optimizer import Optimizer

Factor: TypeAlias = Callable[[int], float]
Rates: TypeAlias = list[float]

IGNORED = {"optimizer", "_is_initial", "_get_lr_called_within_step", "verbose"}
"""Attributes that are no state, PyTorch's among them."""


class LRScheduler:
    """The base of all schedules; a subclass defines `get_lr`, and `closed_form` where there is one.

    `last_epoch` is the number of the last step taken, -1 for a fresh start. To resume, load the
    optimiser's and the schedule's state_dict, or give `last_epoch` and an optimiser whose groups
    hold "initial_lr". Raises ValueError where they do not.
    """

    functions: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold functions: of those only an object's own attributes are state."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked_optimizer(type(self).__name__, optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                name = type(self).__name__
                text = f"{name}: group {index} has no 'initial_lr' to resume at {last_epoch} from"
                raise ValueError(hinted(text, "load the optimiser's state_dict before"))
        self.base_lrs: Rates = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch: float = last_epoch
        self._is_initial = False
        self._step_count = 0
        self._last_lr: Rates = []
        self.start()

    # --- rates ---

    def get_lr(self) -> Rates:
        """The rates for `last_epoch`, one for each group, from the present ones."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr")

    def closed_form(self) -> Rates | None:
        """The rates for `last_epoch` from `base_lrs`; None where there is no such formula."""
        return None

    def get_last_lr(self) -> Rates:
        """The rates set last, one for each group."""
        return list(self._last_lr)

    def current(self) -> Rates:
        """The optimiser's present rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def scaled(self, factor: float) -> Rates:
        """The present rates times `factor`."""
        return [lr * factor for lr in self.current()]

    # --- steps ---

    def start(self) -> None:
        """Set the rates of the first epoch."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def step(self, epoch: float | None = None) -> None:
        """Set the rates of the next epoch, or of `epoch` by the closed form.

        To be called after the optimiser's step; a first call before it is warned about, since the
        first rate would never be used.
        """
        if epoch is None and self._step_count == 1 and not self.optimizer.has_stepped:
            warnings.warn(
                f"{type(self).__name__}.step() was called before the optimizer's first step(): "
                "the first learning rate is skipped. Call optimizer.step() first.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self.update(epoch)

    def update(self, epoch: float | None = None) -> None:
        """`step` without counting it."""
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            found = self.closed_form()
            rates = self.get_lr() if found is None else found
        self.set_rates(rates)

    def set_rates(self, rates: Sequence[float]) -> None:
        """Write `rates` into the groups."""
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = self.current()

    # --- saving ---

    def state_dict(self) -> dict[str, Any]:
        """The schedule's numbers as a plain dict: no optimiser, no functions, nothing to pickle."""
        state: dict[str, Any] = {}
        for key, value in vars(self).items():
            if key in self.functions:
                state[key] = _own_attributes(value)
            elif key not in IGNORED:
                state[key] = list(value) if isinstance(value, list) else value  # type: ignore[arg-type]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the rates themselves are the optimiser's state.

        Raises ValueError for entries this schedule does not have.
        """
        given = {k: v for k, v in state_dict.items() if k not in IGNORED}
        unknown = [key for key in given if key not in vars(self)]
        if unknown or "last_epoch" not in given:
            name = type(self).__name__
            what = f"unknown entries {unknown}" if unknown else "no 'last_epoch'"
            hint = "the state is of another kind of schedule"
            raise ValueError(hinted(f"{name}.load_state_dict: {what}", hint))
        for key, value in given.items():
            if key in self.functions:
                _restore(getattr(self, key), value)
            else:
                setattr(self, key, list(value) if isinstance(value, list) else value)  # type: ignore[arg-type]


def _own_attributes(value: Any) -> Any:
    """What a callable object keeps in its attributes; None for functions, which have no state."""
    if isinstance(value, list):
        return [_own_attributes(x) for x in value]  # type: ignore[misc]
    if value is None or isinstance(value, (FunctionType, MethodType)):
        return None
    return dict(getattr(value, "__dict__", {}))


def _restore(value: Any, state: Any) -> None:
    if isinstance(value, list):
        for x, own in zip(value, state, strict=True):  # type: ignore[misc]
            _restore(x, own)
    elif state:
        value.__dict__.update(state)


# --- what schedules check ---


def checked_optimizer(name: str, optimizer: Any) -> Optimizer:
    """`optimizer`, or DTypeError if it is none."""
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise DTypeError(hinted(f"{name}: {kind} is no optimizer", "give it the optimizer first"))
    return optimizer


def per_group(name: str, option: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` for each group: a list as it is, anything else repeated."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    found: list[Any] = list(value)  # type: ignore[arg-type]
    if len(found) != count:
        text = f"{name}: {option} has {len(found)} values for {count} parameter groups"
        raise ValueError(hinted(text, "give one value, or one for each group"))
    return found


def require(name: str, holds: bool, option: str, text: str, value: Any) -> None:
    """ValueError unless `holds`."""
    if not holds:
        raise ValueError(hinted(f"{name}: {option} {text}", f"got {option}={value!r}"))


# --- schedules given as functions ---


class LambdaLR(LRScheduler):
    """lr = initial lr times `lr_lambda(epoch)`; one function, or one for each group.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    functions = ("lr_lambdas",)

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        name = type(self).__name__
        checked_optimizer(name, optimizer)
        self.lr_lambdas: list[Factor] = per_group(name, "lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def factors(self) -> Rates:
        """What each group's function gives for `last_epoch`."""
        return [function(int(self.last_epoch)) for function in self.lr_lambdas]

    def get_lr(self) -> Rates:
        return [lr * f for lr, f in zip(self.base_lrs, self.factors(), strict=True)]


class MultiplicativeLR(LambdaLR):
    """The present lr times `lr_lambda(epoch)`, at every step after the first.

    >>> import gradengine as ge
    >>> optimizer = ge.optim.SGD([ge.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> Rates:
        if self._is_initial:
            return self.current()
        return [lr * f for lr, f in zip(self.current(), self.factors(), strict=True)]
