"""The stand-in for CuPy is as strict as CuPy, offers nothing else, and our formulas fit CuPy."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings

import numpy as np
import pytest
from device_checks import compare
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import cupy_names as names
from gradengine.cuda import dispatch, kernels, table
from gradengine.cuda.standin import StandinError, calls, ndarray, standin
from gradengine.op import registry

pytestmark = needs_emulator


@pytest.fixture(name="xp")
def a_device():
    with standin():
        yield sys.modules["cupy"]


@pytest.fixture(name="cupy", scope="module")
def real_cupy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns at import about set-ups that do not matter
        return pytest.importorskip("cupy", reason="CuPy is not installed")


# --- the stand-in is chosen where CuPy would be ---


def test_it_stands_in_for_cupy(xp):
    assert ge.cuda.is_available()
    assert ge.cuda.device_count() == 2
    x = ge.tensor([1.0, 2.0]).to("cuda")
    assert x.device == "cuda:0"
    assert type(x.data) is ndarray
    assert (x * 2).device == "cuda:0"
    assert (x * 2).cpu().tolist() == [2.0, 4.0]
    assert ge.ones(3, device="cuda:1").device == "cuda:1"
    with ge.default_device("cuda"):
        assert ge.zeros((2, 2)).device == "cuda:0"
    with ge.cuda.device(1):
        assert ge.tensor([1.0], device="cuda").device == "cuda:1"
        assert ge.cuda.current_device() == "cuda:1"


def test_it_is_gone_afterwards():
    before = sys.modules.get("cupy")
    with standin():
        assert ge.cuda.device_count() == 2
    assert sys.modules.get("cupy") is before
    assert ge.cuda.device_count() == 0 or before is not None


# --- as strict as CuPy ---


@pytest.mark.parametrize(
    "step",
    [
        lambda xp, a: np.asarray(a),
        lambda xp, a: np.ones(3) + a,
        lambda xp, a: a + np.ones(3),
        lambda xp, a: np.add(np.ones(3), a),
        lambda xp, a: np.concatenate([np.ones(3), a]),
        lambda xp, a: xp.add(a, np.ones(3)),
        lambda xp, a: xp.exp(np.ones(3)),
        lambda xp, a: xp.where(True, a, a),
        lambda xp, a: xp.where(a > 0, np.ones(3), a),
        lambda xp, a: xp.concatenate([a, np.ones(3)]),
        lambda xp, a: xp.add(a, a, where=a > 0),
        lambda xp, a: a.sum(initial=1.0),
        lambda xp, a: xp.matmul(a, np.ones(3)),
        lambda xp, a: a.take(np.ones(3)),
    ],
)
def test_the_host_does_not_get_in(xp, step):
    with pytest.raises(TypeError):
        step(xp, xp.arange(3.0))


def test_what_a_gpu_does_not_know(xp):
    for values in (np.array([object()]), np.array(["a"]), np.array([1], "M8[s]"), np.longdouble(1)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            xp.array(values)
    a = xp.arange(3.0)
    assert not hasattr(a.flags, "writeable")
    for name in ("ctypes", "tofile", "byteswap", "setflags"):
        assert not hasattr(a, name)
    assert not hasattr(xp, "vecdot")


def test_results_stay_on_the_device(xp):
    a = xp.arange(6.0).reshape(2, 3)
    for y in (a.sum(), a[0, 0], a.max(), xp.sqrt(a[1, 1]), xp.vdot(a[0], a[0]), -a[0, 1]):
        assert type(y) is ndarray
        assert y.shape == ()
    assert (a * 2.5).dtype == "float64"
    assert (a.astype("float32") * 2.5).dtype == "float32"
    assert (a.astype("float32") * np.float64(2.5)).dtype == "float64"
    assert type(np.exp(a)) is ndarray
    assert type(np.concatenate([a, a])) is ndarray
    b = a.copy()
    assert b.T.base is b
    assert b[0].base is b


def test_numpys_warnings_are_not_the_devices(xp):
    """A GPU raises no floating-point flags."""
    with np.errstate(all="raise"):
        assert xp.isinf(1 / xp.zeros(1)).item()
        assert xp.isnan(xp.log(xp.full(1, -1.0))).item()


def test_what_cupy_would_do_wrongly(xp):
    a = xp.arange(3.0)
    with pytest.raises(StandinError, match="wrap"):
        a[xp.array([5])]
    with pytest.raises(IndexError):
        a[5]
    with xp.cuda.Device(1):
        with pytest.raises(StandinError, match="current device"):
            a + 1
        b = xp.ones(3)
    with pytest.raises(StandinError, match="current device"):
        a + b
    with pytest.raises(RuntimeError, match="invalid device"), xp.cuda.Device(2):
        pass


def test_streams_events_pools_and_pinned_memory(xp):
    stream = xp.cuda.Stream(non_blocking=True)
    assert xp.cuda.get_current_stream() is xp.cuda.Stream.null
    with stream:
        assert xp.cuda.get_current_stream() is stream
        event = stream.record()
    event.synchronize()
    stream.synchronize()
    pool = xp.get_default_memory_pool()
    used = pool.used_bytes()
    a = xp.zeros(1000)
    assert pool.used_bytes() == used + 8000
    del a
    assert pool.used_bytes() == used
    assert len(xp.cuda.alloc_pinned_memory(64).memory) == 64


# --- nothing that CuPy does not offer ---


def test_every_name_is_cupys(cupy):
    special = importlib.import_module("cupyx.scipy.special")
    listed = [(cupy, n) for n in (*names.UFUNCS, *names.FUNCTIONS, *names.AS_THEY_ARE)]
    listed += [(special, n) for n in names.SPECIAL] + [(cupy.linalg, n) for n in names.LINALG]
    listed += [(cupy.lib.stride_tricks, n) for n in names.STRIDE_TRICKS]
    listed += [(cupy.ndarray, n) for n in names.METHODS]
    missing = [f"{place.__name__}.{n}" for place, n in listed if not hasattr(place, n)]
    assert not missing
    assert all(isinstance(getattr(cupy, n), cupy.ufunc) for n in names.UFUNCS)
    without = [n for n in names.UFUNCS if not any("E" in t for t in getattr(cupy, n).types)]
    assert sorted(without) == sorted(names.WITHOUT_BFLOAT16)
    public = {n for n in dir(ndarray) if not n.startswith("_")} - {
        "of",
        "here",
        "host",
        "device_id",
    }
    assert public <= set(dir(cupy.ndarray))


def test_methods_take_cupys_keywords(cupy):
    for name, keywords in names.METHODS.items():
        text = getattr(cupy.ndarray, name).__doc__.split("\n")[0]
        inside = text[text.index("(") + 1 : text.index(")")]
        theirs = {part.split("=")[0].split()[-1].strip("*") for part in inside.split(", ")}
        assert set(keywords) <= theirs, name


def _classes(key):
    """The classes that a key of an op's table is made of."""
    return key if isinstance(key, tuple) else (key,)


@pytest.fixture(name="formulas_alone")
def without_kernels(monkeypatch):
    """Every op on the stand-in by its formula."""

    def forget():
        dispatch.forget()
        for op in registry.values():
            op.direct.pop(ndarray, None)
            if op.raw is not None:
                op.raw.pop(ndarray, None)
            for key in [k for k in op.table or () if ndarray in _classes(k)]:
                del op.table[key]

    monkeypatch.setattr(table, "forward_of", lambda op: None)
    monkeypatch.setattr(table, "vjp_of", lambda op: None)
    monkeypatch.setattr(dispatch, "sum_to", lambda g, shape: None)
    monkeypatch.setattr(dispatch, "cast", lambda g, dtype: None)
    monkeypatch.setattr(dispatch, "add", lambda a, b: a + b)
    forget()
    yield
    forget()


def test_formulas_run_on_the_device_as_cupy_would_run_them(formulas_alone, cupy):
    """Every op's formula, value and two derivatives, and each call fits CuPy's signature."""
    calls.clear()
    with standin(), kernels.launched() as trace:
        problems = {op.name: compare(op, "float64") for op in list(registry.values())}
        made = set(calls)
    assert not trace.kernels
    assert not {name: found[:2] for name, found in problems.items() if found}
    assert len(made) > 100
    wrong = [call for call in sorted(made) if not _fits(cupy, *call)]
    assert not wrong


def _fits(cupy, name, count, keywords):
    place = importlib.import_module("cupyx.scipy.special") if "cupyx" in name else cupy
    function = place
    for part in name.removeprefix("cupyx_scipy_special_").split("."):
        function = getattr(function, part)
    if isinstance(function, cupy.ufunc):
        return count <= function.nargs and set(keywords) <= {"out", "dtype", "casting"}
    if name.startswith("ndarray."):
        return set(keywords) <= set(names.METHODS[name.removeprefix("ndarray.")])
    try:
        inspect.signature(function).bind(*[0] * count, **dict.fromkeys(keywords, 0))
    except ValueError:  # built in, without a signature: it is there, which was asked above
        return callable(function)
    except TypeError:
        return False
    return True
