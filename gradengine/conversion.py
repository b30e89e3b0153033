"""Tensors from what other people hold: numbers, lists, NumPy and CuPy arrays, DLPack; and back.

Python floats become the default dtype (float32 unless set), arrays keep theirs. NumPy data go
to the current device (`ge.default_device`), arrays that live on a GPU stay there.

Floor 5: stands on tensor.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from . import device as devices
from .device import Array, Device, as_array, bare, device_of, is_array, module_for, move, to_numpy
from .dtypes import as_dtype, get_default_dtype
from .errors import DTypeError, GraphError, ShapeError, hinted
from .guard import expose
from .interop.dispatch import leaves, tracked
from .tape import Traced, constant
from .tensor import Tensor

DTypeLike = Any
DeviceLike = Any


def made(array: Array, requires_grad: bool = False) -> Tensor:
    """A Tensor around an array that nobody else holds."""
    out: Tensor = constant(Tensor, array)
    return out.requires_grad_() if requires_grad else out


# --- from data ---


def tensor(
    data: Any,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new leaf with a copy of `data`: numbers, nested lists, NumPy or CuPy arrays, tensors.

    Python floats become the default dtype (float32), integers int64; arrays keep their dtype.
    Raises ShapeError for ragged lists, DTypeError for data that are no numbers, GraphError for a
    list of tensors that require a gradient (`ge.stack` keeps it).

    >>> tensor([[1, 2], [3, 4.5]])
    tensor([[1. , 2. ],
            [3. , 4.5]])
    >>> tensor(np.arange(3.0)).dtype
    dtype('float64')
    """
    if isinstance(data, Traced):
        array = data.array
    elif is_array(data):
        _check_numbers(array := bare(data), "tensor")
    else:
        return made(_placed(_from_python(data, dtype, "tensor"), device), requires_grad)
    target = device_of(array) if device is None and _elsewhere(array, data) else _device(device)
    if dtype is not None and array.dtype != (wanted := as_dtype(dtype)):
        return made(move(_cast(array, wanted, "tensor"), target), requires_grad)
    return made(move(array, target, copy=True), requires_grad)


def asarray(
    obj: Any,
    /,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    copy: bool | None = None,
) -> Tensor:
    """`obj` as a Tensor, without a copy where none is needed: tensors, arrays, DLPack, numbers.

    An array's memory is shared; a change made through the array after the tape has saved it is
    detected. `copy=True` always copies, `copy=False` raises ValueError where a copy is needed.

    >>> a = np.zeros(2, dtype=np.float32)
    >>> t = asarray(a)
    >>> a[0] = 5
    >>> t
    tensor([5., 0.])
    """
    if isinstance(obj, Traced):
        t = cast(Tensor, obj)
        if dtype is None and device is None:
            return t.clone() if copy else t
        if copy is False and not (
            _same(t.dtype, dtype) and (device is None or Device(device) == t.device)
        ):
            raise _copy_needed(t.dtype, dtype)
        return t.to(device=device, dtype=dtype, copy=bool(copy))
    if not is_array(obj):
        if hasattr(obj, "__dlpack__"):
            return from_dlpack(obj, device=device, copy=copy)
        if copy is False and not hasattr(obj, "__array__"):
            raise _copy_needed(type(obj).__name__, dtype)
        return made(_placed(_from_python(obj, dtype, "asarray"), device))
    _check_numbers(obj := bare(obj), "asarray")
    target = device_of(obj) if device is None and _elsewhere(obj, obj) else _device(device)
    if _same(obj.dtype, dtype) and target == device_of(obj) and not copy:
        expose(obj, saved_before=False)
        return made(obj)
    if copy is False:
        raise _copy_needed(obj.dtype, dtype)
    return tensor(obj, dtype, target)


def from_numpy(array: Array) -> Tensor:
    """A Tensor that shares the memory of a NumPy array (PyTorch's name).

    >>> from_numpy(np.ones(2))
    tensor([1., 1.], dtype=float64)
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(
            hinted(f"from_numpy: {type(array).__name__} is no NumPy array", "use ge.asarray(x)")
        )
    expose(array, saved_before=False)
    return made(array)


def from_dlpack(x: Any, /, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A Tensor on the memory of another library's array (PyTorch, JAX, ...), through DLPack.

    >>> from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    kind = int(x.__dlpack_device__()[0])
    host = kind in (1, 3)  # kDLCPU, kDLCUDAHost
    xp, _ = module_for("cpu" if host else "cuda")
    array = xp.from_dlpack(x)
    expose(array, saved_before=False)
    if device is not None and Device(device) != device_of(array):
        if copy is False:
            raise _copy_needed(array.dtype, None)
        return made(move(array, device))
    return made(array.copy()) if copy else made(array)


def asnumpy(x: Any) -> np.ndarray:
    """The values as a NumPy array, from wherever they are.

    >>> asnumpy([1, 2])
    array([1, 2])
    """
    if isinstance(x, Traced):
        return cast(Tensor, x).numpy()
    return to_numpy(as_array(x))


def _from_python(data: Any, dtype: Any, name: str) -> Array:
    """A new NumPy array of numbers, nested lists, or whatever NumPy can read."""
    wanted = None if dtype is None else as_dtype(dtype)
    listed = isinstance(data, (list, tuple))
    inner = leaves(data) if listed else []
    if listed and any(isinstance(x, Traced) for x in inner):
        data = _stackable(data, inner, name)
    try:
        array: Array = np.array(cast(Any, data))
    except ValueError as error:
        raise ShapeError(
            hinted(
                f"{name}: {error}", "every row needs the same length; pad, or use a list of tensors"
            )
        ) from None
    _check_numbers(array, name)
    if wanted is None and not hasattr(cast(Any, data), "dtype"):
        wanted = _listed_dtype(inner) or python_dtype(array.dtype)
    return array if wanted is None else _cast(array, wanted, name)


def _check_numbers(array: Array, name: str) -> None:
    if array.dtype.kind not in "biufcV" or array.dtype.fields is not None:
        raise DTypeError(hinted(f"{name}: the data are {array.dtype}, no numbers", "give numbers"))


def _listed_dtype(inner: Sequence[Any]) -> Any:
    """The common dtype of the arrays in a list (Python numbers are weak); None without arrays."""
    dtypes = {x.dtype for x in inner if hasattr(x, "dtype")}
    if not dtypes:
        return None
    weak = {type(x)(0) for x in inner if type(x) in (int, float, complex)}
    return np.result_type(*dtypes, *weak)


def _stackable(data: Any, inner: Sequence[Any], name: str) -> Any:
    """Nested lists with constant tensors as nested lists with arrays."""
    if any(tracked(x) for x in inner):
        raise GraphError(
            hinted(
                f"{name}: the list holds a tensor that requires a gradient; a copy has no history",
                "ge.stack(list) stays on the tape; x.detach() gives the values alone",
            )
        )

    def host(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [host(part) for part in cast(Any, x)]
        return to_numpy(x.array) if isinstance(x, Traced) else x

    return host(data)


def python_dtype(found: Any) -> Any:
    """What Python's numbers become: the default float dtype, its complex kin, or NumPy's choice."""
    if found.kind == "f":
        return get_default_dtype()
    if found.kind == "c":
        return np.dtype("complex64" if get_default_dtype().itemsize <= 4 else "complex128")
    return None


def _cast(array: Array, dtype: Any, name: str) -> Array:
    if array.dtype.kind == "c" and dtype.kind not in "cb":
        raise DTypeError(
            hinted(f"{name}: {array.dtype} cannot become {dtype}", "take .real or .imag first")
        )
    return array.astype(dtype)


def _elsewhere(array: Array, data: Any) -> bool:
    """Whether an array's own device rules: it is a tensor, or lives on a GPU."""
    return isinstance(data, Traced) or device_of(array) != devices.CPU


def _device(device: DeviceLike) -> Device:
    return devices.current_device() if device is None else as_device(device)


def as_device(device: DeviceLike) -> Device:
    return Device(getattr(device, "id", device))


def _placed(array: Array, device: DeviceLike) -> Array:
    return move(array, _device(device))


def _same(dtype: Any, wanted: Any) -> bool:
    return wanted is None or dtype == as_dtype(wanted)


def _copy_needed(have: Any, want: Any) -> ValueError:
    return ValueError(
        hinted(
            f"asarray: copy=False, but {have} cannot become {want or 'a tensor'} without",
            "copy=None",
        )
    )
