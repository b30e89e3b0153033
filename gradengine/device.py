"""Where arrays live: the only chooser of NumPy or CuPy, devices and moves between them.

Everything above asks an array for its module (`namespace`) and never names NumPy or CuPy. CuPy is
imported only when a GPU is first asked for, or when the caller already holds one of its arrays.

Floor 0: stands on NumPy and errstate.py.
"""

from __future__ import annotations

import importlib
import os
import sys
import zlib
from contextlib import nullcontext
from contextvars import ContextVar, Token
from typing import Any, TypeAlias

import numpy as np

from .errors import DeviceError, DTypeError, hinted
from .errstate import quiet as quiet

Array: TypeAlias = Any
"""A `numpy.ndarray` or a `cupy.ndarray` (whose package has no types)."""
Namespace: TypeAlias = Any
"""The module of an array: `numpy` or `cupy`."""

ndarray = np.ndarray
SCALARS = (bool, int, float, complex)


# --- the module of an array ---

HOST: Namespace = np
"""The module of arrays in host memory."""

gpu: dict[type, Any] = {}
"""Classes of device arrays -> what launches our kernels on them (cuda/dispatch.py enters itself
when an op first meets the class); empty as long as no GPU is used, so looking here costs nothing.
"""

_NAMESPACES: dict[type, Namespace] = {np.ndarray: np}


def namespace(array: Array) -> Namespace:
    """The module an array belongs to; scalars belong to NumPy.

    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    found = _NAMESPACES.get(array.__class__)
    return namespace_of(array.__class__) if found is None else found


def namespace_of(cls: type) -> Namespace:
    """The module of the arrays (or scalars) of a class; TypeError for any other class."""
    found = _NAMESPACES.get(cls)
    if found is not None:
        return found
    if issubclass(cls, (np.ndarray, np.generic, *SCALARS)):
        _NAMESPACES[cls] = np
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and issubclass(cls, cupy.ndarray):
        _NAMESPACES[cls] = cupy
        return cupy
    raise TypeError(f"{cls.__module__}.{cls.__qualname__} is not an array")


def is_array(x: Any) -> bool:
    """Whether `x` is an array of one of our libraries (scalars are not)."""
    cls = x.__class__
    if cls is np.ndarray:
        return True
    if cls in _NAMESPACES:
        return not issubclass(cls, (np.generic, *SCALARS))
    if isinstance(x, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def is_scalar_class(cls: type) -> bool:
    """Whether `cls` is one of NumPy's scalar types, such as `numpy.float64`."""
    return issubclass(cls, np.generic)


def common_namespace(arrays: Any, name: str) -> Namespace:
    """The one module all `arrays` belong to; arrays of two libraries raise DeviceError."""
    chosen: Namespace = None
    for x in arrays:
        cls = x.__class__
        if cls is np.ndarray:
            xp = np
        elif is_array(x):
            xp = namespace_of(cls)
        else:
            continue
        if chosen is None:
            chosen = xp
        elif xp is not chosen:
            raise mixed_devices(name, arrays)
    return np if chosen is None else chosen


def mixed_devices(name: str, arrays: Any) -> DeviceError:
    """The error for operands on different devices: which argument is where."""
    listed = ", ".join(
        f"argument {i} {tuple(x.shape)} on {device_of(x)!r}"
        for i, x in enumerate(arrays)
        if is_array(x)
    )
    return DeviceError(
        hinted(f"{name}: arrays on different devices: {listed}", "move one: x.to(y.device)")
    )


def owner(array: Array) -> Array:
    """The array whose memory `array` shows: itself, or the end of its chain of bases."""
    base = array.base
    while base is not None and (base.__class__ is np.ndarray or is_array(base)):
        array, base = base, base.base
    return array


def as_array(x: Any, dtype: Any = None) -> Array:
    """`x` as a NumPy array, without a copy where it already is an array of either library."""
    if x.__class__ is np.ndarray and dtype is None:
        return x
    if is_array(x):
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)
    return np.asarray(x, dtype=dtype)


def bare(x: Any) -> Any:
    """A subclass of ndarray as a plain view, since np.matrix has its own `*`; others unchanged."""
    cls: Any = x.__class__
    if cls is np.ndarray or not issubclass(cls, np.ndarray) or namespace(x) is not np:
        return x
    if hasattr(x, "mask"):
        raise DTypeError(
            hinted(f"masked array {x.shape}: tensors have no mask", "x.filled(value) or x.data")
        )
    return x.view(np.ndarray)


def to_numpy(array: Array) -> np.ndarray:
    """`array` in host memory; NumPy arrays are returned as they are."""
    xp = namespace(array)
    if xp is np:
        return array
    host = xp.asnumpy(array)
    settle(array)
    return host


def settle(array: Array) -> None:
    """After the host has waited for the device of `array`: raise what a launch there found wrong.

    An index out of range is noticed only when the device has got there (cuda/checks.py).
    """
    launcher = gpu.get(array.__class__)
    if launcher is not None:
        launcher.settle()


# --- devices ---


class Device(str):
    """A device by name: `"cpu"` or `"cuda:0"`; compares equal to its name.

    >>> Device("cuda:1").index, Device("cpu") == "cpu"
    (1, True)
    """

    __slots__ = ()

    def __new__(cls, name: str | int | Device) -> Device:
        if isinstance(name, Device):
            return name
        text = f"cuda:{name}" if isinstance(name, int) else str(name).lower()
        text = text.replace("gpu", "cuda", 1) if text.startswith("gpu") else text
        if text == "cuda":
            text = f"cuda:{_current_cuda_index()}"
        kind, _, index = text.partition(":")
        if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or text == "cpu:":
            raise DeviceError(
                hinted(f"device: {name!r} is no device", 'use "cpu", "cuda" or "cuda:1"')
            )
        return str.__new__(cls, "cpu" if kind == "cpu" else text)

    @property
    def type(self) -> str:
        """`"cpu"` or `"cuda"`."""
        return self.partition(":")[0]

    @property
    def index(self) -> int:  # type: ignore[override]
        """Which GPU; 0 for the CPU."""
        return int(self.partition(":")[2] or 0)


CPU = Device("cpu")
_cuda_devices: dict[int, Device] = {}


def device_of(array: Array) -> Device:
    """The device an array lives on.

    >>> device_of(np.zeros(2))
    'cpu'
    """
    if namespace(array) is np:
        return CPU
    index = int(array.device.id)
    return _cuda_devices.setdefault(index, Device(index))


def _current_cuda_index() -> int:
    cupy = sys.modules.get("cupy")
    if cupy is None or not cupy.cuda.is_available():
        return 0
    return int(cupy.cuda.runtime.getDevice())


def import_cupy() -> Namespace:
    """CuPy with a usable GPU, or a DeviceError that says what is missing and how to mend it."""
    try:
        cupy: Any = importlib.import_module("cupy")
    except ImportError as error:
        raise _unusable(f"CuPy is not installed ({error})") from error
    if cupy not in checked:
        if not cupy.cuda.is_available():
            raise _unusable("CuPy finds no CUDA GPU or no driver")
        several = _doctor().several_cupys()
        if several is not None:
            raise DeviceError(hinted(f"cuda: {several.text}", several.remedy))
        checked.append(cupy)
    return cupy


checked: list[Namespace] = []  # the CuPy that has been looked at: nothing about it changes


def _doctor() -> Any:
    """What `gradengine doctor` knows; called by name, since it stands at the top of the house."""
    return importlib.import_module("gradengine.program.diagnostics")


def _unusable(what: str) -> DeviceError:
    """The error for a GPU that cannot be used, with the doctor's first finding and its remedy."""
    doctor = _doctor()
    findings = doctor.examine(doctor.inspect_machine())
    wrong = next((f for f in findings if f.level == "error"), None) or findings[0]
    remedy = wrong.remedy or 'compute on the CPU: device="cpu"'
    return DeviceError(
        hinted(f"cuda: {what}: {wrong.text}", f"{remedy}    (more: gradengine doctor)")
    )


def usable(device: Device) -> Any:
    """CuPy's object for a GPU; DeviceError where there is no such GPU."""
    cupy = import_cupy()
    count = int(cupy.cuda.runtime.getDeviceCount())
    if device.type != "cuda" or device.index >= count:
        listed = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError(hinted(f"cuda: there is no {device}", f"this machine has {listed}"))
    return cupy.cuda.Device(device.index)


def cuda_is_available() -> bool:
    """Whether CuPy is installed and finds a GPU."""
    try:
        import_cupy()
    except DeviceError:
        return False
    return True


def move(array: Array, device: str | Device, *, copy: bool = False) -> Array:
    """`array` on `device`; the array itself where it is there already, unless `copy`."""
    target, xp = Device(device), namespace(array)
    if target.type == "cpu":
        if xp is np:
            return array.copy() if copy else array
        return to_numpy(array)
    cupy = import_cupy()
    with usable(target):
        if xp is cupy:  # copy() goes to the current device, from wherever the array is
            return array.copy() if copy or device_of(array) != target else array
        return _copied(cupy, array)


def _copied(cupy: Namespace, array: Array) -> Array:
    try:
        return cupy.array(array)
    except ValueError as error:
        raise DTypeError(
            hinted(
                f"to: no GPU holds {array.dtype}, the array is {tuple(array.shape)}",
                'convert first: x.astype("float32")',
            )
        ) from error


def ones_like(array: Array) -> Array:
    """Ones of the array's shape and dtype, on its device."""
    xp = namespace(array)
    if xp is np:
        return np.ones(array.shape, array.dtype) if array.ndim else np.array(1, array.dtype)
    with guard(array):
        return xp.ones(array.shape, array.dtype)


_HERE = nullcontext()


def guard(array: Array) -> Any:
    """A context in which new arrays land on `array`'s device (several GPUs)."""
    xp = namespace(array)
    return _HERE if xp is np else xp.cuda.Device(array.device.id)


def empty_beside(array: Array, shape: Any, dtype: Any) -> Array:
    """An array of no particular contents on the device of `array`."""
    with guard(array):
        return namespace(array).empty(shape, dtype)


def zeros_beside(array: Array, shape: Any = None, dtype: Any = None) -> Array:
    """Zeros on the device of `array`; of its shape and dtype unless others are given.

    >>> zeros_beside(np.ones(2), dtype="int64")
    array([0, 0])
    """
    shape, dtype = (array.shape if shape is None else shape), dtype or array.dtype
    with guard(array):
        return namespace(array).zeros(shape, dtype)


# --- the default device ---

_default_device: ContextVar[Device | None] = ContextVar("gradengine_device", default=None)


def current_device() -> Device:
    """The device new tensors are made on: the default set, or GRADENGINE_DEVICE, or the CPU."""
    chosen = _default_device.get()
    return chosen if chosen is not None else _device_from_environment()


def _device_from_environment() -> Device:
    name = os.environ.get("GRADENGINE_DEVICE", "cpu").lower()
    if name == "auto":
        return Device("cuda:0") if cuda_is_available() else CPU
    return Device(name)


def module_for(device: str | Device | None) -> tuple[Namespace, Device]:
    """The array module that makes arrays on `device` (default: the current one), and the device."""
    target = current_device() if device is None else Device(device)
    return (np if target.type == "cpu" else import_cupy()), target


class default_device:
    """Make new tensors on `device`: a call sets it, a `with` block restores the one before.

    The setting belongs to the thread and the context (contextvars).

    >>> with default_device("cpu"):
    ...     current_device()
    'cpu'
    """

    def __init__(self, device: str | Device) -> None:
        target = Device(device)
        if target.type == "cuda":
            usable(target)
        self._token: Token[Device | None] = _default_device.set(target)

    def __enter__(self) -> Device:
        return current_device()

    def __exit__(self, *_: object) -> None:
        _default_device.reset(self._token)


# --- what differs between the libraries' arithmetic ---


def special(xp: Namespace) -> Any:
    """The special functions that go with an array module: scipy.special or cupyx.scipy.special."""
    name = "scipy.special" if xp is np else "cupyx.scipy.special"
    return importlib.import_module(name)


def is_host(xp: Namespace) -> bool:
    """Whether `xp` computes on the CPU, where looking at a value does not wait for a GPU."""
    return xp is np


def may_hold_nan(array: Array) -> bool:
    """False only where no element is NaN: one pass at the speed of BLAS, since a sum of squares is
    NaN just when an element is. On a GPU always True: asking would wait for it.
    """
    if array.__class__ is not np.ndarray and namespace_of(array.__class__) is not np:
        return True
    if array.dtype.kind == "V" or array.dtype.itemsize == 2:
        return bool((array != array).any())
    vdot: Any = np.vdot
    squares = vdot(array, array)
    return bool(squares != squares)


def fingerprint(array: Array) -> Any:
    """A number that changes with the array's contents: a checksum of its bytes in index order.

    On the GPU it is a position-weighted sum that stays there, so taking it does not wait.
    """
    xp = namespace(array)
    if xp is np:
        if array.dtype.hasobject:
            return None
        solid: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return zlib.crc32(solid) if solid.size else 0
    words = xp.ascontiguousarray(array).reshape(-1).view(xp.uint8).astype(xp.uint64)
    weights = xp.arange(1, words.size + 1, dtype=xp.uint64) * xp.uint64(0x9E3779B97F4A7C15)
    return (words * weights).sum()
