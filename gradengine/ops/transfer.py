"""Moves between devices as an op: the gradient travels back the way the values came.

Floor 3: stands on op.py and device.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.device import Device, device_of, move
from gradengine.op import case, primitive
from gradengine.tape import Traced


@primitive(
    arity=1,
    linear=True,
    cases=[case((3, 4), device="cpu", origin="cpu"), case((), device="cpu", origin="cpu")],
)
def to_device_(_xp: Any, x: Any, device: Any, origin: Any) -> Any:
    """The array on `device`, always in memory of its own."""
    return move(x, device, copy=True)


@to_device_.adjoint
def _(g: Any, _y: Any, _x: Any, device: Any, origin: Any) -> Any:
    return to_device_(g, device=origin, origin=device)


def to_device(x: Any, device: Any) -> Any:
    """`x` on `device`; itself where it is there already.

    The adjoint moves the cotangent back. Raises DeviceError for a device that cannot be used.

    >>> import gradengine as ge
    >>> ge.to_device(ge.ones(2), "cpu")
    tensor([1., 1.])
    """
    origin = device_of(x.array if isinstance(x, Traced) else x)
    target = Device(device)
    return x if origin == target else to_device_(x, device=target, origin=origin)
