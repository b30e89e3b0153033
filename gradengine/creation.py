"""New tensors by shape: zeros and ones, ranges and grids; the names of the array API standard.

Without `dtype` they hold the default dtype (float32 unless set), without `device` they are made
on the current device (`ge.default_device`).

Floor 5: stands on tensor.py and conversion.py.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from . import device as devices
from . import ops
from .conversion import DeviceLike, DTypeLike, as_device, made, python_dtype, tensor
from .device import Array, Device, as_array, device_of, module_for
from .dtypes import as_dtype, get_default_dtype
from .errors import DTypeError, ShapeError, hinted
from .interop.dispatch import tracked
from .tape import Traced
from .tensor import Tensor

# --- filled ---


def _new(
    function: str, *args: Any, dtype: Any, device: DeviceLike, requires_grad: bool, **options: Any
) -> Tensor:
    """`xp.function(*args)` on a device, as a Tensor; dtype None is the default float."""
    chosen = get_default_dtype() if dtype is None else as_dtype(dtype)
    xp, target = module_for(None if device is None else as_device(device))
    with _on(xp, target):
        array = getattr(xp, function)(*args, dtype=chosen, **options)
    return made(array, requires_grad)


def _on(xp: Any, target: Device) -> Any:
    return devices.quiet() if devices.is_host(xp) else xp.cuda.Device(target.index)


def as_shape(shape: Any, name: str, rest: tuple[Any, ...] = ()) -> tuple[int, ...]:
    """A shape given as one int, a sequence, or PyTorch's separate ints."""
    given: Any = (shape, *rest) if rest else shape
    listed = cast(Any, given) if isinstance(given, (list, tuple)) else (given,)
    try:
        sizes: tuple[int, ...] = tuple(n.__index__() for n in listed)
    except AttributeError:
        raise DTypeError(
            hinted(f"{name}: {given!r} is no shape", "give ints, as in (2, 3)")
        ) from None
    if any(n < 0 for n in sizes):
        raise ShapeError(hinted(f"{name}: negative size in {sizes}", "sizes count from 0"))
    return sizes


def zeros(
    shape: Any,
    *rest: int,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros.

    >>> zeros((2, 2))
    tensor([[0., 0.],
            [0., 0.]])
    """
    size = as_shape(shape, "zeros", rest)
    return _new("zeros", size, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(
    shape: Any,
    *rest: int,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones.

    >>> ones(3, dtype="int64")
    tensor([1, 1, 1])
    """
    size = as_shape(shape, "ones", rest)
    return _new("ones", size, dtype=dtype, device=device, requires_grad=requires_grad)


def empty(
    shape: Any,
    *rest: int,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of arbitrary values, to be written to.

    >>> empty((2, 0)).shape
    (2, 0)
    """
    size = as_shape(shape, "empty", rest)
    return _new("empty", size, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    shape: Any,
    fill_value: Any,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with `fill_value` everywhere; its dtype follows the value's.

    >>> full((2,), 1.5)
    tensor([1.5, 1.5])
    """
    value = tensor(fill_value, dtype, device) if not isinstance(fill_value, Traced) else fill_value
    if tracked(value):
        out = ops.broadcast_to(value, as_shape(shape, "full"))
        return ops.copy(out if dtype is None else out.astype(as_dtype(dtype)))
    chosen = value.dtype if dtype is None else dtype  # type: ignore[union-attr]
    size = as_shape(shape, "full")
    out = _new("empty", size, dtype=chosen, device=device, requires_grad=False)
    out.array[...] = value.array
    return out.requires_grad_() if requires_grad else out


def zeros_like(
    x: Any, /, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of the shape, dtype and device of `x`.

    >>> zeros_like(ones(2))
    tensor([0., 0.])
    """
    return _like("zeros", x, dtype, device, requires_grad)


def ones_like(
    x: Any, /, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones of the shape, dtype and device of `x`.

    >>> ones_like(zeros(2))
    tensor([1., 1.])
    """
    return _like("ones", x, dtype, device, requires_grad)


def empty_like(
    x: Any, /, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Arbitrary values of the shape, dtype and device of `x`.

    >>> empty_like(zeros((2, 3))).shape
    (2, 3)
    """
    return _like("empty", x, dtype, device, requires_grad)


def full_like(
    x: Any,
    /,
    fill_value: Any,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """`fill_value` everywhere, in the shape, dtype and device of `x`.

    >>> full_like(zeros(2), 7)
    tensor([7., 7.])
    """
    like = _prototype(x)
    where = device_of(like) if device is None else device
    chosen = like.dtype if dtype is None else dtype
    return full(like.shape, fill_value, dtype=chosen, device=where, requires_grad=requires_grad)


def _like(function: str, x: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    like = _prototype(x)
    return _new(
        function,
        like.shape,
        dtype=like.dtype if dtype is None else dtype,
        device=device_of(like) if device is None else device,
        requires_grad=requires_grad,
    )


def _prototype(x: Any) -> Array:
    return x.array if isinstance(x, Traced) else as_array(x)


# --- ranges and grids ---


def _number(x: Any) -> Any:
    return x.array.item() if isinstance(x, Traced) else x


def arange(
    start: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from `start` (0 if one bound is given) up to, not including, `stop`.

    >>> arange(1, 7, 2)
    tensor([1, 3, 5])
    """
    if stop is None:
        start, stop = 0, start
    bounds = [_number(x) for x in (start, stop, step)]
    if not bounds[2]:
        raise ShapeError(hinted("arange: the step is 0", "give a step that leads to stop"))
    if dtype is None and all(isinstance(x, (int, np.integer)) for x in bounds):
        dtype = "int64"
    return _new("arange", *bounds, dtype=dtype, device=device, requires_grad=requires_grad)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    endpoint: bool = True,
    requires_grad: bool = False,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`.

    >>> linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    (size,) = as_shape(num, "linspace")
    if tracked(start) or tracked(stop):
        steps = _new(
            "linspace",
            0,
            1,
            size,
            dtype=dtype,
            device=device,
            requires_grad=False,
            endpoint=endpoint,
        )
        return start * (1 - steps) + stop * steps
    bounds = [_number(x) for x in (start, stop)]
    if dtype is None and any(isinstance(x, complex) for x in bounds):
        dtype = python_dtype(np.dtype(complex))
    return _new(
        "linspace",
        *bounds,
        size,
        dtype=dtype,
        device=device,
        requires_grad=requires_grad,
        endpoint=endpoint,
    )


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the k-th diagonal, zeros elsewhere.

    >>> eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    rows, cols = as_shape((n_rows, n_rows if n_cols is None else n_cols), "eye")
    return _new("eye", rows, cols, k, dtype=dtype, device=device, requires_grad=requires_grad)


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinate tensors of a grid, from one vector per axis; on the tape.

    With "ij" the i-th result varies along axis i; with "xy" the first two axes are swapped.

    >>> [g.tolist() for g in meshgrid(arange(2), arange(3), indexing="ij")]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    if indexing not in ("xy", "ij"):
        raise ShapeError(hinted(f"meshgrid: indexing={indexing!r}", 'use "xy" or "ij"'))
    vectors = [ops.reshape(Tensor.lift(x), (-1,)) for x in arrays]
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = 1, 0
    grid = tuple(vectors[i].size for i in order)
    found: list[Tensor] = []
    for i, x in enumerate(vectors):
        axis = order.index(i)
        shape = tuple(x.size if a == axis else 1 for a in range(len(grid)))
        found.append(ops.copy(ops.broadcast_to(ops.reshape(x, shape), grid)))
    return found
