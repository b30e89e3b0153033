"""The arrays of the stand-in for CuPy: what they offer, and what they refuse as CuPy's do.

An array holds its elements in a NumPy array, `host`, but is none itself: NumPy's functions either
come back to the stand-in's own or raise, as they do for CuPy's arrays.

Floor 1: stands on cupy_names.py and standin_runtime.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from . import cupy_names as names
from .standin_runtime import Runtime, StandinError

__all__ = ["calls", "host", "ndarray", "runtime", "wrap"]

SCALARS = (bool, int, float, complex, np.generic)
calls: list[tuple[str, int, tuple[str, ...]]] = []
"""(function, number of positional arguments, keywords) of every call; a method is `ndarray.sum`."""

runtime = Runtime()

module: Any = None  # the stand-in's `cupy`; standin.py sets it, since the two need each other


def unsupported(x: Any) -> TypeError:
    return TypeError(f"Unsupported type {type(x)}")


def _known_dtype(dtype: Any) -> None:
    foreign = dtype.kind == "V" and dtype.name != "bfloat16"
    if foreign or dtype.kind in "OUSMm" or dtype.char in "gG":
        raise ValueError(f"Unsupported dtype {dtype}")


# --- between host and device ---------------------------------------------------------------------


def is_host_array(x: Any) -> bool:
    """Whether `x` is NumPy's array, which has no place in a computation on the device."""
    return isinstance(x, np.ndarray)


def is_scalar(x: Any) -> bool:
    """Whether `x` is a number that CuPy takes beside its arrays."""
    return isinstance(x, SCALARS)


def host(x: Any) -> Any:
    """The NumPy array behind an operand of a computation; host arrays are refused."""
    if isinstance(x, ndarray):
        x.here()
        return x.host
    if x is None or is_scalar(x):
        return x
    if isinstance(x, (list, tuple)):
        return type(cast(Any, x))(host(i) for i in cast("Sequence[Any]", x))
    raise unsupported(x)


def wrap(y: Any, *sources: Any) -> Any:
    """A result as a device array, a 0-d one for a scalar; tuples item by item."""
    if isinstance(y, (tuple, list)):
        items = [wrap(i, *sources) for i in cast("Sequence[Any]", y)]
        return items if isinstance(y, list) else tuple(items)
    if not (is_host_array(y) or hasattr(y, "dtype")):
        return y
    found: Any = np.asarray(y)
    _known_dtype(found.dtype)
    base = None
    if found.base is not None:
        for x in sources:
            if isinstance(x, ndarray) and np.may_share_memory(found, x.host):
                base = x if x.base is None else x.base
                if x.host.flags.writeable and not found.flags.writeable:
                    found = found.view()
                    found.flags.writeable = True  # NumPy alone makes diagonals read-only
    if base is None:
        runtime.account(found)
    return ndarray.of(found, base)


def note(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    calls.append((name, len(args), tuple(kwargs)))


class Pointer:
    """`array.data`: where the array starts, and on which device."""

    def __init__(self, ptr: int, device_id: int) -> None:
        self.ptr, self.device_id = ptr, device_id


class Flags:
    """CuPy's flags: there is no `writeable`."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous: bool = flags.c_contiguous
        self.f_contiguous: bool = flags.f_contiguous
        self.owndata: bool = flags.owndata


class ndarray:
    """An array on the stand-in device; `host` is the NumPy array that holds its elements."""

    __slots__ = ("__weakref__", "base", "device_id", "host")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    host: Any
    base: ndarray | None
    device_id: int

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self.host = runtime.allocate(shape, np.dtype(dtype))
        self.base, self.device_id = None, runtime.current

    @classmethod
    def of(cls, found: Any, base: ndarray | None = None) -> ndarray:
        """An array around memory that is there already."""
        made = object.__new__(cls)
        made.host, made.base, made.device_id = found, base, runtime.current
        return made

    def here(self) -> None:
        if self.device_id != runtime.current:
            raise StandinError(
                f"array device must be same as the current device: array device = "
                f"{self.device_id} while current = {runtime.current}"
            )

    # --- what it is ---

    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: Flags(self.host.flags))
    _c_contiguous = property(lambda self: self.host.flags.c_contiguous)
    data = property(lambda self: Pointer(self.host.ctypes.data, self.device_id))
    device = property(lambda self: runtime.cuda.Device(self.device_id))
    T = property(lambda self: wrap(self.host.T, self))
    mT = property(lambda self: wrap(self.host.swapaxes(-1, -2), self))

    @property
    def shape(self) -> Any:
        return self.host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        shown = self.host.reshape(shape)
        if shown.size and not np.shares_memory(shown, self.host):
            raise AttributeError(f"cannot show {self.shape} as {shape} without a copy")
        self.host = shown

    @property
    def real(self) -> Any:
        return wrap(self.host.real, self)

    @real.setter
    def real(self, value: Any) -> None:
        self.host.real = host(value)

    @property
    def imag(self) -> Any:
        return wrap(self.host.imag, self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.host.imag = host(value)

    def __repr__(self) -> str:
        return repr(self.host)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.host)))

    # --- never silently to the host ---

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is not None:
            kwargs["out"] = out[0]
        found = getattr(module, function.__name__)
        return (found if method == "__call__" else getattr(found, method))(*inputs, **kwargs)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        found = getattr(module, function.__name__, None)
        if found is None or not all(issubclass(kind, ndarray) for kind in kinds):
            return NotImplemented
        return found(*args, **kwargs)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        if blocking:
            runtime.wait()
        elif stream is None or out is None or stream.is_capturing():
            raise StandinError("a copy that nobody waits for needs a stream, and memory that stays")
        if out is not None:
            out[...] = self.host
            return out
        return np.array(self.host, order=cast(Any, order))

    def set(self, arr: Any, stream: Any = None) -> None:
        self.host[...] = arr

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __index__(self) -> int:
        return self.get().__index__()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return wrap(self.host.copy())

    def __reduce__(self) -> Any:
        return module.array, (self.get(),)

    # --- parts ---

    def __getitem__(self, index: Any) -> Any:
        self.here()
        try:
            found = self.host[index_of(index)]
        except IndexError as error:
            raise _wrapped(index, error) from error
        return wrap(found, self)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.here()
        try:
            self.host[index_of(index)] = host(value)
        except IndexError as error:
            raise _wrapped(index, error) from error

    def view(self, dtype: Any = None) -> ndarray:
        return wrap(self.host.view() if dtype is None else self.host.view(dtype), self)

    def scatter_add(self, slices: Any, value: Any) -> None:
        np.add.at(self.host, index_of(slices), host(value))


def index_of(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(index_of(i) for i in cast("tuple[Any, ...]", index))
    if isinstance(index, ndarray):
        index.here()
        return index.host
    return index


def _wrapped(index: Any, error: IndexError) -> Exception:
    """An IndexError for what CuPy refuses too; what it would wrap around is our own mistake."""
    parts = cast("tuple[Any, ...]", index if isinstance(index, tuple) else (index,))
    if any(isinstance(i, ndarray) and i.dtype.kind in "iu" for i in parts):
        return StandinError(f"CuPy would not look at these indices but wrap them: {error}")
    return error


def _method(name: str, keywords: tuple[str, ...]) -> Callable[..., Any]:
    def call(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        note(f"ndarray.{name}", args, kwargs)
        wrong = set(kwargs) - set(keywords)
        if wrong:
            raise TypeError(f"{name}() got an unexpected keyword argument {sorted(wrong)}")
        if name != "copy":  # which goes to the current device, from wherever the array is
            self.here()
        out = kwargs.get("out")
        kwargs = {k: v for k, v in kwargs.items() if v is not None}
        plain = {k: host(v) if isinstance(v, ndarray) else v for k, v in kwargs.items()}
        operands = [host(x) if isinstance(x, ndarray) else x for x in args]
        with np.errstate(all="ignore"):
            found = getattr(self.host, name)(*operands, **plain)
        return wrap(found, self) if out is None else out

    call.__name__ = name
    return call


def _operator(name: str, reflected: bool) -> Callable[..., Any]:
    function = names.OPERATORS[name]

    def call(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, *SCALARS)):
            if getattr(other, "__array_ufunc__", 0) is None:
                return NotImplemented
            if isinstance(other, np.ndarray):
                raise unsupported(other)
            return NotImplemented
        found = getattr(module, function)
        return found(other, self) if reflected else found(self, other)

    return call


def _in_place(name: str) -> Callable[..., Any]:
    function = names.OPERATORS[name]

    def call(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, *SCALARS)):
            return NotImplemented
        return getattr(module, function)(self, other, out=self)

    return call


def _fill_class() -> None:
    for name, keywords in names.METHODS.items():
        setattr(ndarray, name, _method(name, keywords))
    for name, function in names.OPERATORS.items():
        setattr(ndarray, f"__{name}__", _operator(name, False))
        if function not in names.COMPARISONS:
            setattr(ndarray, f"__r{name}__", _operator(name, True))
            setattr(ndarray, f"__i{name}__", _in_place(name))
    for name, function in (("neg", "negative"), ("abs", "absolute"), ("invert", "invert")):
        setattr(ndarray, f"__{name}__", _unary_operator(function))


def _unary_operator(function: str) -> Callable[..., Any]:
    def call(self: ndarray) -> Any:
        return getattr(module, function)(self)

    return call


_fill_class()
