"""A stand-in for CuPy on machines without a GPU: its arrays and functions, NumPy underneath.

For tests. Inside `with standin():` the module `cupy` is this one, so that device.py, the dispatch
and the launch code run as they would on a GPU; our kernels are the real CUDA source, run by the
emulator. Its arrays are no NumPy arrays, and it refuses what CuPy refuses: host arrays beside
device arrays, silent conversion to NumPy, keywords CuPy does not have, dtypes a GPU does not know.
It also refuses what CuPy would do wrongly: arrays of a device that is not the current one, and
index arrays out of range, which CuPy wraps around without a word. `calls` lists what was called,
for the test that holds every call to CuPy's own signatures.

Floor 1: stands on device.py, kernels.py, emulator.py and standinruntime.py.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import numpy as np

from .. import device as devices
from . import checks, cudnn, gemm, kernels, standin_array
from . import cupy_names as names
from .emulator import EmulatorBackend
from .gemm_host import HostGemm
from .standin_array import (
    calls,
    host,
    index_of,
    is_host_array,
    is_scalar,
    ndarray,
    note,
    runtime,
    unsupported,
    wrap,
)
from .standin_runtime import OutOfMemoryError, StandinError

__all__ = ["OutOfMemoryError", "StandinBackend", "StandinError", "calls", "ndarray", "standin"]

# --- functions -----------------------------------------------------------------------------------


class ufunc:
    """An elementwise function: of CuPy's keywords, on device arrays and scalars."""

    def __init__(self, function: Any, prefix: str = "cupy_") -> None:
        self.function, self.name = function, prefix + function.__name__
        self.nin: int = function.nin
        self.nout: int = function.nout
        self.__name__ = self.name.removeprefix("cupy_")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            hook = getattr(x, "__cupy_override_elementwise_kernel__", None)
            if hook is not None:
                return hook(self, *args, **kwargs)
        note(self.__name__, args, kwargs)
        wrong = set(kwargs) - {"out", "dtype", "casting"}
        if wrong:
            raise TypeError(f"Wrong arguments {sorted(wrong)}")
        out = kwargs.pop("out", None)
        if len(args) > self.nin:
            out, args = args[self.nin], args[: self.nin]
        operands = _weakened([_operand(x) for x in args], self.__name__)
        with np.errstate(all="ignore"):
            if out is not None:
                self.function(*operands, out=_operand(out), **kwargs)
                return out
            return wrap(self.function(*operands, **kwargs))

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        note(f"{self.__name__}.at", (a, indices, b), {})
        self.function.at(_operand(a), index_of(indices), _operand(b))

    def reduce(self, array: Any, axis: Any = 0, **kwargs: Any) -> Any:
        note(f"{self.__name__}.reduce", (array, axis), kwargs)
        return wrap(self.function.reduce(_operand(array), axis=axis, **kwargs))

    def reduceat(self, array: Any, indices: Any, axis: int = 0) -> Any:
        note(f"{self.__name__}.reduceat", (array, indices), {"axis": axis})
        return wrap(self.function.reduceat(_operand(array), index_of(indices), axis=axis))


def _weakened(operands: list[Any], name: str) -> list[Any]:
    """Python numbers in bfloat16 beside such an array, where NumPy's rule would promote both."""
    arrays = [x for x in operands if is_host_array(x)]
    if not any(x.dtype.kind == "V" for x in arrays):
        return operands
    if name in names.WITHOUT_BFLOAT16:
        raise StandinError(f"CuPy has no {name} of bfloat16")
    kinds = {x.dtype for x in arrays if x.dtype.kind in "fV"}
    if len(kinds) > 1:
        return operands
    (kind,) = kinds
    return [x if hasattr(x, "dtype") else np.asarray(x, kind) for x in operands]


def _operand(x: Any) -> Any:
    if isinstance(x, ndarray):
        x.here()
        return x.host
    if is_scalar(x):
        return x
    raise unsupported(x)


PLAIN: Any = (str, slice, type, np.dtype)


def _function(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        note(name, args, kwargs)
        plain = {k: host(v) if isinstance(v, ndarray) else v for k, v in kwargs.items()}
        out = kwargs.get("out")
        # shapes, names and axes pass as they are: only operands are looked at
        operands = [x if isinstance(x, PLAIN) else host(x) for x in args]
        with np.errstate(all="ignore"):
            found = function(*operands, **plain)
        if out is not None:
            return out
        return wrap(found, *args)

    call.__name__ = name
    return call


# --- the module ----------------------------------------------------------------------------------


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if not isinstance(condition, ndarray):
        raise unsupported(condition)
    if x is None and y is None:
        return module.nonzero(condition)
    note("where", (condition, x, y), {})
    if any(isinstance(v, ndarray) and v.dtype.kind == "V" for v in (x, y)):
        raise StandinError("CuPy would compute where in float32, not in bfloat16")
    return wrap(np.where(_operand(condition), _operand(x), _operand(y)))


def _array(obj: Any, dtype: Any = None, copy: Any = True, order: Any = "K", ndmin: int = 0) -> Any:
    found = host(obj) if isinstance(obj, ndarray) else _of_list(obj)
    if isinstance(obj, ndarray) and copy is not True and found.dtype == (dtype or found.dtype):
        return obj
    return wrap(np.array(found, dtype=dtype, order=order, ndmin=ndmin))


def _of_list(x: Any) -> Any:
    """Lists of device arrays are stacked, as CuPy does; anything else goes over as it is."""
    if isinstance(x, (list, tuple)):
        return np.asarray([_of_list(i) for i in cast("Sequence[Any]", x)])
    return x.host if isinstance(x, ndarray) else x


def _asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None) -> Any:
    return _array(a, dtype, copy=False if copy is None else copy, order=order or "K")


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None) -> Any:
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a)


def _result_type(*operands: Any) -> Any:
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in operands))


def _may_share_memory(a: Any, b: Any) -> bool:
    return bool(np.may_share_memory(_operand(a), _operand(b)))


def _strided(name: str) -> Any:
    import numpy.lib.stride_tricks as tricks

    function = getattr(tricks, name)

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return function(x, *args, **kwargs, writeable=True)

    return call


def _module() -> Any:
    made: Any = types.ModuleType("cupy")
    made.ndarray, made.ufunc, made.cuda = ndarray, ufunc, runtime.cuda
    for name in names.UFUNCS:
        setattr(made, name, ufunc(getattr(np, name)))
    for name in names.FUNCTIONS:
        setattr(made, name, _function(name, getattr(np, name)))
    for name in names.AS_THEY_ARE:
        setattr(made, name, getattr(np, name))
    made.get_default_memory_pool = lambda: runtime.pool
    made.result_type = _result_type
    own = {"where": _where, "array": _array, "asarray": _asarray, "asnumpy": _asnumpy}
    for name, function in (own | {"may_share_memory": _may_share_memory}).items():
        setattr(made, name, function)
    tricks = {n: _function(f"lib.stride_tricks.{n}", _strided(n)) for n in names.STRIDE_TRICKS}
    made.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(**tricks))
    made.linalg = types.SimpleNamespace(
        **{n: _function(f"linalg.{n}", getattr(np.linalg, n)) for n in names.LINALG}
    )
    return made


module = standin_array.module = _module()


def _special() -> Any:
    import scipy.special

    made: Any = types.ModuleType("cupyx.scipy.special")
    for name in names.SPECIAL:
        setattr(made, name, ufunc(getattr(scipy.special, name), "cupyx_scipy_special_"))
    return made


# --- the back end of the kernels -----------------------------------------------------------------


class StandinBackend(EmulatorBackend):
    """The emulator on arrays of the stand-in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        runtime.reserve = super().empty

    def pointer(self, array: Any) -> int:
        if not isinstance(array, ndarray):
            raise StandinError(f"a kernel was given {type(array)}, which is not on the device")
        array.here()
        return array.host.ctypes.data

    def contiguous(self, array: Any) -> bool:
        return array.host.flags.c_contiguous

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return ndarray(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        found = ndarray(shape, dtype)
        found.host[...] = 0
        return found


@cache
def _backend() -> StandinBackend:
    """One for the process, so that every kernel is compiled and loaded once."""
    return StandinBackend()


@contextmanager
def standin(
    device_count: int = 2, seed: int = 0, backend: StandinBackend | None = None
) -> Generator[StandinBackend]:
    """A test helper: `cupy` is the stand-in inside the block, with `device_count` devices.

    `seed` is the emulator's: another order of threads and blocks for each. `backend` runs the
    kernels (default: one for the whole process, so that each is compiled and loaded once).
    """
    backend = _backend() if backend is None else backend
    backend.seed = seed
    backend.calls.clear()
    modules = {"cupy": module, "cupy.cuda": module.cuda, "cupyx": types.ModuleType("cupyx")}
    modules |= {"cupyx.scipy": types.ModuleType("cupyx.scipy"), "cupyx.scipy.special": _special()}
    before = {name: sys.modules.get(name) for name in modules}
    runtime.start(device_count)
    devices.checked.clear()
    sys.modules.update(modules)
    try:
        with kernels.using(backend), gemm.using(HostGemm()), cudnn.using(None):
            yield backend
    finally:
        checks.forget()
        runtime.stop()
        devices.checked.clear()
        for name, was in before.items():
            if was is None:
                del sys.modules[name]
            else:
                sys.modules[name] = was
