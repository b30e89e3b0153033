"""Mixed precision: `autocast`, which runs products in 16 bits, and `GradScaler` for float16.

    with ge.autocast("bfloat16"):
        loss = loss_of(model(x))
    loss.backward()

Products of matrices, convolutions and attention run in the 16-bit type, exponentials, norms,
reductions and losses in float32, everything else by NumPy's promotion. Parameters and their
gradients keep their dtype.

Floor 6: stands on casting.py and tensor.py.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from contextvars import Token
from typing import TYPE_CHECKING, Any

from . import casting
from .device import Device, namespace
from .dtypes import as_dtype
from .errors import DTypeError, GraphError, hinted
from .tape import constant, no_grad
from .tensor import Tensor

if TYPE_CHECKING:
    from .optim import Optimizer

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]


# --- autocast ---


class autocast:
    """A context, or a decorator, in which products run in `dtype`: float16 or bfloat16.

    For this thread and context only. `enabled=False` switches an outer context off; `device`
    ("cpu", "cuda") limits it to arrays there. Weights are cast once and the casts dropped at the
    end. float64 is left alone. Call `backward` outside. float16 gradients may underflow: see
    `GradScaler`. Source: arXiv:1710.03740; which op runs in what follows PyTorch's lists.

    >>> import gradengine as ge
    >>> w = ge.tensor([[1.0, 2.0]], requires_grad=True)
    >>> with autocast("float16"):
    ...     y = w @ w.T
    ...     z = y.exp()
    >>> y.dtype.name, z.dtype.name
    ('float16', 'float32')
    >>> y.sum().backward()
    >>> w.grad
    tensor([[2., 4.]])
    """

    def __init__(
        self, dtype: Any = "float16", enabled: bool = True, device: str | None = None
    ) -> None:
        if isinstance(dtype, str) and dtype in ("cpu", "cuda"):  # PyTorch's order
            hint = f'autocast("float16", device={dtype!r}), or without a device for all'
            raise DTypeError(hinted(f"autocast: dtype {dtype!r} is a device", hint))
        self.dtype = as_dtype(dtype)
        if self.dtype.name not in ("float16", "bfloat16"):
            text = f"autocast: dtype {self.dtype} has no 16 bits"
            raise DTypeError(hinted(text, 'use "float16" or "bfloat16"'))
        self.enabled = enabled
        self.device = None if device is None else Device(device).type
        self._tokens: list[Token[casting.Policy | None]] = []

    def __enter__(self) -> autocast:
        casting.opened()
        policy = casting.Policy(self.dtype, self.device) if self.enabled else None
        self._tokens.append(casting.current.set(policy))
        return self

    def __exit__(self, *_: object) -> None:
        token = self._tokens.pop()
        try:
            casting.current.reset(token)
        except ValueError:  # entered in another context, as a generator moved between tasks is
            before = token.old_value
            casting.current.set(None if before is token.MISSING else before)
        casting.closed()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, run in a context of its own at every call."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            text = f"autocast: {function.__name__} is a generator, which runs in pieces"
            raise DTypeError(hinted(text, "open the context inside it, around what shall be cast"))
        settings = (self.dtype, self.enabled, self.device)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with autocast(*settings):
                    return await function(*args, **kwargs)

            return coroutine

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with autocast(*settings):
                return function(*args, **kwargs)

        return wrapper


def is_autocast_enabled() -> bool:
    """Whether ops of this thread are cast at present.

    >>> with autocast():
    ...     is_autocast_enabled()
    True
    """
    return casting.current.get() is not None


# --- GradScaler ---

_LARGEST = 3.4028234663852886e38  # of float32, in which the scaled loss is


class GradScaler:
    """Multiplies the loss so that float16 gradients do not underflow, and adapts the factor.

    The scale is halved (`backoff_factor`) after a step with an infinite or NaN gradient, which is
    left out, and doubled (`growth_factor`) after `growth_interval` good ones in a row.
    Source: arXiv:1710.03740, section 3.2.

    >>> import gradengine as ge
    >>> w = ge.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = ge.optim.SGD([w], lr=0.1), GradScaler(init_scale=1024.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad.item()
    2048.0
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> round(w.item(), 6)
    0.8
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if isinstance(init_scale, str):  # PyTorch's first argument is a device
            text = f"GradScaler: init_scale {init_scale!r} is no number"
            raise DTypeError(hinted(text, "leave the device out: scaling is done where arrays are"))
        _require(0 < init_scale <= _LARGEST, "init_scale must be positive and finite", init_scale)
        _require(growth_factor > 1, "growth_factor must be above 1", growth_factor)
        _require(0 < backoff_factor < 1, "backoff_factor lies in (0, 1)", backoff_factor)
        _require(growth_interval > 0, "growth_interval must be positive", growth_interval)
        self.growth_factor, self.backoff_factor = growth_factor, backoff_factor
        self.growth_interval, self.enabled = growth_interval, enabled
        self._scale, self._growth_tracker = float(init_scale), 0
        self._unscaled: dict[int, tuple[Any, Any]] = {}  # id -> optimiser, whether inf was found
        self._stepped: set[int] = set()

    def get_scale(self) -> float:
        """The present scale; 1 if disabled."""
        return self._scale if self.enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether this scaler does anything."""
        return self.enabled

    def scale(self, outputs: Any) -> Any:
        """The loss, or a list, tuple or dict of losses, times the scale; 16-bit ones in float32."""
        if not self.enabled:
            return outputs
        if isinstance(outputs, Tensor):
            narrow: bool = outputs.dtype.itemsize == 2
            wide: Any = outputs.astype("float32") if narrow else outputs
            return wide * self._scale
        if isinstance(outputs, dict):
            return {key: self.scale(x) for key, x in outputs.items()}  # type: ignore[misc]
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(x) for x in outputs)  # type: ignore[misc]
        kind = type(outputs).__name__
        raise DTypeError(hinted(f"GradScaler.scale: got a {kind}", "give tensors"))

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of `optimizer` by the scale, so that they can be clipped.

        `step` does it if this was not called. Raises DTypeError for float16 gradients, which
        would underflow again, and GraphError if it was called since the last `update`.
        """
        if not self.enabled:
            return
        if id(optimizer) in self._unscaled:
            text = "GradScaler.unscale_: called twice since the last update"
            raise GraphError(hinted(text, "call scaler.update() after every step"))
        if id(optimizer) in self._stepped:
            text = "GradScaler.unscale_: called after step"
            raise GraphError(hinted(text, "unscale before scaler.step(optimizer)"))
        spoiled: Any = None
        with no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        found = self._unscale(parameter)
                        spoiled = found if spoiled is None else spoiled | found
        self._unscaled[id(optimizer)] = (optimizer, spoiled)

    def _unscale(self, parameter: Tensor) -> Any:
        """Give one parameter its true gradient; whether that is not finite, left on the device."""
        gradient: Any = parameter.grad
        array = gradient.array
        if array.dtype == "float16":
            text = f"GradScaler.unscale_: the gradient of a parameter {parameter.shape} is float16"
            raise DTypeError(hinted(text, "keep parameters in float32, compute under autocast"))
        xp = namespace(array)
        true = array * array.dtype.type(1.0 / self._scale)  # a new array: two may share one
        parameter.grad = constant(Tensor, true)
        return ~xp.isfinite(true).all()

    def step(self, optimizer: Optimizer) -> Any:
        """`optimizer.step()`, unless a gradient is infinite or NaN: then nothing is changed."""
        if not self.enabled:
            return optimizer.step()
        if id(optimizer) in self._stepped:
            text = "GradScaler.step: called twice since the last update"
            raise GraphError(hinted(text, "call scaler.update() after every step"))
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        spoiled = self._unscaled[id(optimizer)][1]
        if spoiled is None:
            text = "GradScaler.step: no parameter of the optimizer has a gradient"
            raise GraphError(hinted(text, "call scaler.scale(loss).backward() before"))
        self._stepped.add(id(optimizer))
        optimizer.has_stepped = True  # a step left out is no mistake a schedule should warn about
        return None if bool(spoiled) else optimizer.step()

    def update(self, new_scale: float | None = None) -> None:
        """Adapt the scale to what was found since the last call, or set it."""
        if not self.enabled:
            return
        if new_scale is not None:
            _require(0 < new_scale <= _LARGEST, "new_scale must be positive and finite", new_scale)
            self._scale = float(new_scale)
        elif not self._unscaled:
            text = "GradScaler.update: no step was made since the last call"
            raise GraphError(hinted(text, "call scaler.step(optimizer) before"))
        elif any(bool(spoiled) for _, spoiled in self._unscaled.values()):
            self._scale *= self.backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self.growth_interval:
                grown = self._scale * self.growth_factor
                self._scale = grown if grown <= _LARGEST else self._scale
                self._growth_tracker = 0
        self._unscaled.clear()
        self._stepped.clear()

    # --- saving ---

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and the count of good steps; empty if disabled."""
        if not self.enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; ValueError for that of a disabled scaler."""
        if not self.enabled:
            return
        missing = [key for key in self.state_dict() if key not in state_dict]
        if missing:
            text = f"GradScaler.load_state_dict: {missing} missing"
            raise ValueError(hinted(text, "was the state saved by a disabled scaler?"))
        self._scale = float(state_dict["scale"])
        self.growth_factor = state_dict["growth_factor"]
        self.backoff_factor = state_dict["backoff_factor"]
        self.growth_interval = state_dict["growth_interval"]
        self._growth_tracker = int(state_dict["_growth_tracker"])


def _require(holds: bool, text: str, value: Any) -> None:
    if not holds or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(hinted(f"GradScaler: {text}", f"got {value!r}"))
