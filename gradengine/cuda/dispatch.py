"""Where the engine meets the kernels: what an op does on device arrays, forward and back.

row.py asks for a handler when it first meets a class of device arrays, and calls it from then on:
the kernels of table.py where they fit, else the op's formula. The way back, the adjoint of
broadcasting and the sums of cotangents come here through `device.gpu`, where this module enters
itself. Everything runs on the device of its arrays, which becomes the current one for the time of
the call; arrays of two devices are refused.

Floor 1: stands on table.py, columns.py, moves.py, kernels.py and device.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import device as devices
from ..errors import hinted
from . import attention, checks, columns, launch, moves, table
from .kernels import fell_back
from .shapes import Array

__all__ = ["add", "attends", "cast", "handler", "pull", "settle", "sum_to", "uniform"]

Handler = Callable[..., Any]


class _Devices:
    """What is asked of CuPy at every step, looked up once: a call costs more than a launch's work.

    On a machine with one GPU nothing is asked at all.
    """

    several = False
    current: Any = None
    switch: Any = None


def enter(cls: type) -> None:
    """From now on arrays of this class are ours."""
    cuda = devices.import_cupy().cuda
    _Devices.several = cuda.runtime.getDeviceCount() > 1
    _Devices.current, _Devices.switch = cuda.runtime.getDevice, cuda.Device
    devices.gpu[cls] = sys.modules[__name__]


# --- the device of the arrays --------------------------------------------------------------------


def place(name: str, arrays: Sequence[Any]) -> int:
    """The device all arrays are on, -1 if there is none; DeviceError where they differ."""
    found = -1
    for x in arrays:
        if x.__class__ in devices.gpu:
            index = x.data.device_id
            if found < 0:
                found = index
            elif index != found:
                raise devices.mixed_devices(name, arrays)
    return found


def on_its_device(name: str, function: Handler) -> Handler:
    """`function` run on the device of its arrays, where there are several."""
    current, switch = _Devices.current, _Devices.switch

    def call(*arrays: Any, **params: Any) -> Any:
        index = place(name, arrays)
        if index < 0 or index == current():
            return function(*arrays, **params)
        with switch(index):
            return function(*arrays, **params)

    return call


# --- forward -------------------------------------------------------------------------------------


def handler(op: Any, cls: type, formula: Handler) -> Handler:
    """The forward of `op` on device arrays: `handler(*arrays, **params)`."""
    enter(cls)
    kernel, name = table.forward_of(op), op.name
    checks.formulas[name, cls] = formula

    def compute(*arrays: Any, **params: Any) -> Any:
        try:
            if kernel is not None:
                y = kernel(*arrays, **params)
                if y is not None and y is not NotImplemented:
                    return y
                if y is None:
                    fell_back(name)
            return formula(*arrays, **params)
        except MemoryError as error:
            _tell_the_pool(error)
            raise

    return on_its_device(name, compute) if _Devices.several else compute


def _tell_the_pool(error: MemoryError) -> None:
    """Add to the error what the pool holds and what can be done; the tape is as it was."""
    cupy = devices.import_cupy()
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    error.add_note(
        hinted(
            f"cuda:{cupy.cuda.runtime.getDevice()}: {free:,} of {total:,} bytes free, "
            f"pool {pool.used_bytes():,} used of {pool.total_bytes():,} bytes held",
            "smaller batches, ge.checkpoint, 16-bit floats, or drop tensors no longer needed",
        )
    )


def settle() -> None:
    """Look at the checks of earlier launches whose answers have arrived: the host has waited."""
    checks.settle()


# --- the way back --------------------------------------------------------------------------------

_vjps: dict[str, tuple[Any, table.Vjp | None]] = {}


def _vjp_for(op: Any) -> table.Vjp | None:
    found = _vjps.get(op.name)
    if found is None or found[0] is not op:  # ops of users may share a name
        found = _vjps[op.name] = (op, table.vjp_of(op))
    return found[1]


def forget() -> None:
    """Ask the table again for every vjp."""
    _vjps.clear()


def pull(op: Any, node: Any, g: Array) -> list[Any] | None:
    """The cotangents of a step's inputs from its kernels, or None: the rules are to compute them.

    Without a kernel nothing is lost: rules are engine code, whose ops have kernels of their own.
    """
    vjp = _vjp_for(op)
    if vjp is None:
        return None
    needed = [n is not None for n in node.inputs]
    try:
        found = vjp(g, node.saved[0], node.saved[1:], node.params or {}, needed)
    except MemoryError as error:
        _tell_the_pool(error)
        raise
    if found is None:
        fell_back(f"{op.name} vjp")
    return found


def elsewhere(g: Array) -> Any:
    """A context that makes g's device the current one, None where it is already."""
    if not _Devices.several:
        return None
    index = g.data.device_id
    return None if index == _Devices.current() else _Devices.switch(index)


def sum_to(g: Array, shape: tuple[int, ...]) -> Array | None:
    """`g` summed to a shape it was broadcast from, None for dtypes that no kernel sums."""
    if g.dtype.char not in table.FLOATS:
        return None
    return columns.sum_to(g, shape)


def cast(g: Array, dtype: Any) -> Array | None:
    """`g` in another dtype, None if no kernel converts these."""
    if g.dtype.char not in table.FLOATS or dtype.char not in table.FLOATS:
        return None
    return moves.cast(g, dtype)


def add(a: Array, b: Array) -> Array:
    """a + b for two cotangents of one step, on the device they are on."""
    away = elsewhere(a)
    if away is None:
        return _added(a, b)
    with away:
        return _added(a, b)


def _added(a: Array, b: Array) -> Array:
    if a.dtype == b.dtype and a.dtype.char in table.FLOATS and a.shape == b.shape:
        return launch.forward2("Add", a, b)
    return a + b


def attends(q: Array, k: Array, v: Array, mask: Any, causal: bool, first: int) -> bool:
    """Whether attention of these arrays is one launch."""
    return attention.attends(q, k, v, mask, causal, first)


# --- random numbers ------------------------------------------------------------------------------


def uniform(shape: tuple[int, ...], dtype: Any, seed: int, offset: int) -> Array:
    """The numbers of `philox.uniform`, bit for bit, in one launch."""
    return moves.uniform(shape, np.dtype(dtype), seed, offset)
