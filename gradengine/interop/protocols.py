"""What other libraries ask of a tensor: NumPy, CuPy, DLPack, pickle, copy, the array API standard.

The rule behind all of it: a tensor that needs a gradient never turns into a bare array in silence.
What can stay on the tape does (`np.exp(t)`, `cupy.exp(t)`, `np.concatenate([t, u])`), the rest
raises and says what to write instead.

Floor 3: stands on dispatch.py; below tensor.py, which calls it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ..device import Device, device_of, is_array, move, to_numpy
from ..dtypes import as_dtype
from ..errors import DeviceError, GraphError, hinted
from ..tape import Leaf, Traced, constant
from .dispatch import array_ufunc as array_ufunc
from .dispatch import cupy_kernel as cupy_kernel
from .dispatch import tracked

API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")


# --- `.to(...)` ---


def parse_to(args: Sequence[Any], device: Any, dtype: Any) -> tuple[Any, Any]:
    """The (device, dtype) that `.to(*args)` asks for, each None if it is not asked for."""
    for x in args:
        if x is None:
            continue
        if isinstance(x, Traced) or is_array(x):
            array = x.array if isinstance(x, Traced) else x
            given: tuple[Any, Any] = (device_of(array), array.dtype)
        elif _is_device(x):
            given = (Device(getattr(x, "id", x)), None)
        else:
            given = (None, x)
        for new, old, what in zip(given, (device, dtype), ("device", "dtype"), strict=True):
            if new is not None and old is not None:
                raise TypeError(hinted(f"to: two {what}s, {old!r} and {new!r}", "give one"))
        device, dtype = (
            old if new is None else new for new, old in zip(given, (device, dtype), strict=True)
        )
    return device, None if dtype is None else as_dtype(dtype)


def _is_device(x: Any) -> bool:
    if isinstance(x, str):
        return x.lower().startswith(("cpu", "cuda", "gpu"))
    if isinstance(x, bool):
        raise TypeError(hinted(f"to: {x!r} is neither device nor dtype", 'x.to("cuda")'))
    return isinstance(x, int) or type(x).__name__ == "Device"


# --- values for NumPy, CuPy and DLPack ---


def array(t: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """`np.asarray(t)`: the array of a constant tensor in host memory."""
    _refuse_tracked(t, "numpy.asarray", "t.numpy() or t.detach() for the values")
    if device_of(t.array) != "cpu":
        raise DeviceError(
            hinted(
                f"numpy.asarray: the tensor {tuple(t.shape)} is on {device_of(t.array)}, and NumPy "
                "would copy it to the host in silence",
                "write t.numpy(), or t.cpu() for a tensor",
            )
        )
    x = t.data
    if dtype is not None and x.dtype != dtype:
        if copy is False:
            raise ValueError(f"numpy.asarray: {x.dtype} cannot become {dtype} without a copy")
        return x.astype(dtype)
    return x.copy() if copy else x


def cuda_array_interface(t: Any) -> Any:
    """`t.__cuda_array_interface__`: CuPy, Numba and others read a constant tensor's memory."""
    if tracked(t):
        # CuPy looks for the attribute first, and would compute on the bare memory.
        raise AttributeError(
            "__cuda_array_interface__: the tensor requires a gradient, which raw memory has not; "
            "write t.detach(), or use np.*, cupy ufuncs and ge.* on the tensor itself"
        )
    if device_of(t.array) == "cpu":
        raise AttributeError("__cuda_array_interface__: the tensor is in host memory; t.cuda()")
    return t.data.__cuda_array_interface__


def dlpack(t: Any, kwargs: dict[str, Any]) -> Any:
    """`t.__dlpack__()`: the memory of a constant tensor, for any other library."""
    _refuse_tracked(t, "__dlpack__", "from_dlpack(t.detach())")
    return t.data.__dlpack__(**kwargs)


def _refuse_tracked(t: Any, name: str, remedy: str) -> None:
    if tracked(t):
        raise GraphError(
            hinted(
                f"{name}: the tensor {tuple(t.shape)} requires a gradient, a bare array has none",
                f"np.exp(t), np.concatenate([t, u]) and the like stay on the tape; {remedy}",
            )
        )


# --- functions of NumPy ---


def array_function(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A NumPy function met by a tensor."""
    from .numpy_functions import call  # many names that most programs never use

    return call(func, args, kwargs)


def array_namespace(api_version: str | None) -> Any:
    """The array API's namespace: gradengine itself."""
    if api_version is not None and api_version not in API_VERSIONS:
        listed = ", ".join(API_VERSIONS)
        raise ValueError(
            hinted(f"__array_namespace__: no version {api_version!r}", f"one of {listed}")
        )
    return sys.modules["gradengine"]


# --- copies, pickles, hooks ---


def deep_copy(t: Any, memo: dict[int, Any]) -> Any:
    """An independent tensor: values, whether it asks for a gradient, and the gradient so far."""
    _refuse_non_leaf(t, "deepcopy")
    out = constant(cast(Any, type(t)), t.array.copy())
    memo[id(t)] = out
    if t.node is not None:
        out.node = Leaf()
        if t.grad is not None:
            # not by the memo: it keeps ids, and what detach() makes dies with its id
            out.node.grad = t.grad.detach().clone()
    return out


def reduce(t: Any) -> Any:
    """How pickle stores a tensor: class, values, device, whether it asks for a gradient."""
    _refuse_non_leaf(t, "pickle")
    values = to_numpy(t.array)
    return restore, (type(t), values, str(device_of(t.array)), t.node is not None)


def restore(cls: Any, values: Any, device: str, requires_grad: bool) -> Any:
    """The tensor that `reduce` took apart."""
    out = constant(cls, move(values, device))
    if requires_grad:
        out.node = Leaf()
    return out


def _refuse_non_leaf(t: Any, name: str) -> None:
    if t.level or not (t.node is None or isinstance(t.node, Leaf)):
        raise GraphError(
            hinted(
                f"{name}: the tensor {tuple(t.shape)} is a result; its history cannot be copied",
                "copy t.detach(), or the leaves it was computed from",
            )
        )


def weak_call(tensor: Any, hook: Callable[[Any], Any]) -> Callable[[], Any]:
    """A call of `hook(tensor)` that does not keep the tensor alive (its node holds the hook)."""
    this = weakref.ref(tensor)

    def call() -> Any:
        alive = this()
        return None if alive is None else hook(alive)

    return call
