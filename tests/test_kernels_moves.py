"""Whole kernels that move, draw or update, in the emulator: conversion, copies, gather and
scatter-add,
dropout, optimiser steps, norm and clipping; against float64 NumPy, bit-identical under several
orders."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from kernel_run import DTYPES, close, device, draw, needs_emulator, results, wide

from gradengine import philox
from gradengine.cuda import emulator, kernels, moves, source, steps
from gradengine.errors import DTypeError, ShapeError

pytestmark = needs_emulator

SIZES = (0, 1, 3, 4, 7, 8, 9, 255, 2048, 2049, 6151)


# --- conversion and copies -----------------------------------------------------------------------


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cast_is_numpys(dtype: str, target: str) -> None:
    """Every pair of dtypes, rounded once to nearest even, as astype does it."""
    for size in SIZES:
        x = draw(size, dtype, low=-70000, high=70000)
        x[:6] = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-7])[:size].astype(x.dtype)
        got = results(lambda d, x=x: moves.cast(d.array(x), DTYPES[target]), (0, 3))
        with np.errstate(all="ignore"):
            want = x.astype(DTYPES[target])
        same = wide(got) == wide(want)
        assert (same | (np.isnan(wide(got)) & np.isnan(wide(want)))).all()
        assert got.dtype == want.dtype


@pytest.mark.parametrize("kind", ["u1", "f2", "f4", "f8"])
def test_copies(kind: str) -> None:
    """Any layout into any other: transposed, batched, reversed, broadcast, written into a view."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 250, (5, 40, 70)).astype(kind)

    def work(d: emulator.EmulatorBackend) -> Any:
        a = d.array(x)
        into = d.array(np.zeros((5, 40, 70), kind))
        moves.copy_into(into[:, ::-2, 1::3], a[:, :20, :23])
        return (
            moves.contiguous(a[0].T),
            moves.contiguous(a.transpose(0, 2, 1)),
            moves.contiguous(a.transpose(2, 0, 1)),
            moves.contiguous(a[::-1, 3:, ::4]),
            moves.contiguous(np.broadcast_to(a[:, :1], x.shape)),
            into,
        )

    got = results(work)
    wanted = [x[0].T, x.transpose(0, 2, 1), x.transpose(2, 0, 1), x[::-1, 3:, ::4]]
    wanted += [np.broadcast_to(x[:, :1], x.shape), np.zeros_like(x)]
    wanted[-1][:, ::-2, 1::3] = x[:, :20, :23]
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    used = {name.partition("<")[0] for name in device().calls}
    assert {"transpose", "copy_strided"} <= used


def test_long_copies_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves.shapes, "LIMIT", 100)
    x = draw((6, 7, 8), "float32")
    got = results(lambda d: moves.contiguous(d.array(x)[:, ::-1, ::-1]), (0,))
    np.testing.assert_array_equal(got, x[:, ::-1, ::-1])


# --- rows by index -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index_type", [np.int32, np.int64])
@pytest.mark.parametrize("cols", [1, 5, 16, 264])
def test_gather_and_scatter_add(dtype: str, index_type: Any, cols: int) -> None:
    """The adjoint against np.add.at in float64; negative and repeated indices; both ways agree."""
    size, rng = 11, np.random.default_rng(2)
    table = draw((size, cols), dtype)
    index = rng.integers(-size, size, (4, 9)).astype(index_type)
    index[0, :] = 3
    g = draw((4, 9, cols), dtype, 1)

    def work(d: emulator.EmulatorBackend) -> Any:
        i, up = d.array(index), d.array(g)
        return moves.gather(d.array(table), i), moves.scatter_add(up, i, size)

    y, d_sorted = results(work)
    np.testing.assert_array_equal(wide(y), wide(table)[index])
    want = np.zeros((size, cols))
    np.add.at(want, index.ravel(), wide(g).reshape(-1, cols))
    close(d_sorted, want, dtype, 2, scale=30 if dtype in ("float32", "float64") else 1)
    d_atomic = results(
        lambda d: moves.scatter_add(d.array(g), d.array(index), size, deterministic=False), (0,)
    )
    close(d_atomic, want, dtype, 4, scale=30 if dtype in ("float32", "float64") else 1)


def test_indices_out_of_range_touch_nothing() -> None:
    """They give zero rows, add nothing, and raise the flag."""
    table, index = draw((4, 8), "float32"), np.array([0, 4, -5, -1, 2**40])
    g = np.ones((5, 8), np.float32)

    def work(d: emulator.EmulatorBackend) -> Any:
        flags = [d.zeros((1,), np.int32) for _ in range(3)]
        i, up = d.array(index), d.array(g)
        y = moves.gather(d.array(table), i, flags[0])
        a = moves.scatter_add(up, i, 4, bad=flags[1])
        b = moves.scatter_add(up, i, 4, deterministic=False, bad=flags[2])
        return y, a, b, *flags

    y, a, b, *flags = results(work)
    assert [int(f[0]) for f in flags] == [1, 1, 1]
    np.testing.assert_array_equal(y[[0, 3]], table[[0, 3]])
    assert not y[[1, 2, 4]].any()
    for out in (a, b):
        np.testing.assert_array_equal(out[:, 0], [1, 0, 0, 1])


# --- random numbers ------------------------------------------------------------------------------


def test_philox_known_answers() -> None:
    """The three vectors of Random123's kat_vectors for philox4x32-10, from the header itself."""
    text = source.inlined("random.cu").split('#line 1 "common.cuh"')
    header = source.inlined("random.cu")
    assert len(text) == 2
    code = header + (
        'extern "C" void words(u64 c, u64 o, u64 s, u32* out) '
        "{ const Words w = philox(c, o, s); for (int i = 0; i < 4; ++i) out[i] = w.word[i]; }"
    )
    lib = ctypes.CDLL(str(emulator.build(code)))
    out = (ctypes.c_uint32 * 4)()
    for counter, offset, seed, answer in (
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (2**64 - 1, 2**64 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            0x85A308D3243F6A88,
            0x0370734413198A2E,
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ):
        lib.words(*map(ctypes.c_ulonglong, (counter, offset, seed)), out)
        assert " ".join(f"{w:08x}" for w in out) == answer


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_and_uniform_are_the_cpus(dtype: str) -> None:
    """The kernels give the numbers of gradengine/philox.py bit for bit, whatever the grid."""
    seed, offset = 0x1234567890ABCDEF, 2**33 + 5
    for size in (*SIZES, 20001):
        x = draw(size, dtype)
        keep = philox.keep_mask(np, x.shape, 0.3, seed, offset)
        scale = (np.float64 if dtype == "float64" else np.float32)(1 / 0.7)
        with np.errstate(all="ignore"):
            want = np.where(keep, x.astype(scale.dtype) * scale, 0).astype(x.dtype)

        def work(d: emulator.EmulatorBackend, x: Any = x) -> Any:
            y = moves.dropout(d.array(x), 0.3, seed, offset)
            live = d.array(np.array([seed, offset], np.uint64))
            again = moves.dropout(d.array(x), 0.3, 0, 0, live)
            assert (again == y).all()
            return y, moves.uniform(x.shape, x.dtype, seed, offset)

        y, u = results(work, (0, 3))
        np.testing.assert_array_equal(wide(y), wide(want))
        drawn = philox.uniform(np, x.shape, x.dtype, seed, offset)
        np.testing.assert_array_equal(wide(u), wide(drawn))


def test_the_offset_advances_on_the_device() -> None:
    def work(d: emulator.EmulatorBackend) -> Any:
        state = d.array(np.array([9, 2**32 - 1], np.uint64))
        moves.advance(state, 3)
        return state

    assert results(work).tolist() == [9, 2**32 + 2]


def test_dropout_of_everything_and_nothing() -> None:
    x = draw(1000, "float32")
    none = results(lambda d: moves.dropout(d.array(x), 0.0, 1, 2))
    np.testing.assert_array_equal(none, x)
    everything = results(lambda d: moves.dropout(d.array(x), 1.0, 1, 2))
    assert not everything.any()


# --- optimiser steps -----------------------------------------------------------------------------


def buffers(dtype: str, size: int) -> tuple[Any, Any, Any, Any]:
    state = "float64" if dtype == "float64" else "float32"
    moments = draw(size, state, 2), np.abs(draw(size, state, 3))
    return draw(size, dtype), draw(size, dtype, 1), *moments


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(dtype: str, decoupled: bool) -> None:
    """Parameters, both moments and master weights after one step, with a clipping coefficient."""
    for size in SIZES:
        p, g, m, v = buffers(dtype, size)
        state = "float64" if dtype == "float64" else "float32"
        master = p.astype(m.dtype) if dtype in ("float16", "bfloat16") else None

        def work(d: emulator.EmulatorBackend, given: Any = (p, g, m, v, master)) -> Any:
            a, b, c, e, w = (x if x is None else d.array(x) for x in given)
            factor = d.array(np.array([0.5], c.dtype))
            numbers = {"lr": 0.01, "weight_decay": 0.1, "step": 3, "decoupled": decoupled}
            steps.adam_step(a, b, c, e, w, scale=factor, **numbers)
            return a, c, e, w

        a, c, e, w = results(work, (0, 3))
        p64, g64, m64, v64 = map(wide, (p, g, m, v))
        d = g64 * 0.5 + (0 if decoupled else 0.1 * p64)
        m64 = 0.9 * m64 + 0.1 * d
        v64 = 0.999 * v64 + 0.001 * d * d
        p64 = p64 * (1 - 0.001 if decoupled else 1)
        p64 -= 0.01 * (m64 / (1 - 0.9**3)) / (np.sqrt(v64 / (1 - 0.999**3)) + 1e-8)
        close(a, p64, dtype)
        close(c, m64, state, 4)
        close(e, v64, state, 4)
        if w is not None:
            close(w, p64, state, 4)


def test_adams_rates_are_rounded_once() -> None:
    """1 - beta is taken in double: in float 1 - 0.999f is off by 1e-5, and v with it."""
    p, zero = draw(8, "float32"), np.zeros(8, np.float32)

    def work(d: emulator.EmulatorBackend) -> Any:
        m, v = d.array(zero), d.array(zero)
        steps.adam_step(d.array(p), d.array(zero + 1), m, v, lr=0.1, step=1)
        return m, v

    m, v = results(work)
    assert set(m.tolist()) == {float(np.float32(0.1))}
    assert set(v.tolist()) == {float(np.float32(0.001))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "momentum", "nesterov", "first"])
def test_sgd(dtype: str, kind: str) -> None:
    for size in SIZES:
        p, g, b, _ = buffers(dtype, size)
        state = "float64" if dtype == "float64" else "float32"

        def work(d: emulator.EmulatorBackend, given: Any = (p, g, b)) -> Any:
            a, up, buffer = map(d.array, given)
            if kind == "plain":
                buffer = None
            flags = {"nesterov": kind == "nesterov", "first": kind == "first"}
            momentum = 0.0 if kind == "plain" else 0.9
            numbers = {"lr": 0.1, "momentum": momentum, "dampening": 0.5, "weight_decay": 0.01}
            steps.sgd_step(a, up, buffer, **numbers, **flags)
            return a, buffer

        a, buffer = results(work, (0, 3))
        p64, g64, b64 = map(wide, (p, g, b))
        d = g64 + 0.01 * p64
        b64 = d if kind == "first" else 0.9 * b64 + 0.5 * d
        direction = d if kind == "plain" else d + 0.9 * b64 if kind == "nesterov" else b64
        close(a, p64 - 0.1 * direction, dtype)
        if buffer is not None:
            close(buffer, b64, state, 4)


def test_a_step_in_device_memory_replaces_the_numbers() -> None:
    """What a replayed graph reads: the Step struct from a device buffer."""
    p, g, m, v = buffers("float32", 64)
    step = steps.step_struct(
        np.float32, lr=0.5, beta1=0.9, beta2=0.999, epsilon=1e-8, correction1=0.1, correction2=0.001
    )

    def work(d: emulator.EmulatorBackend) -> Any:
        live = d.array(np.frombuffer(bytes(step), np.float32).copy())
        one = [d.array(x) for x in (p, g, m, v)]
        two = [d.array(x) for x in (p, g, m, v)]
        steps.adam_step(*one, lr=0.5, step=1)
        steps.adam_step(*two, lr=99.0, step=77, live=live)
        return one[0], two[0]

    one, two = results(work)
    np.testing.assert_allclose(one, two, rtol=1e-6)


# --- norm and clipping ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping(dtype: str) -> None:
    """The norm over several gradients, the coefficient, and gradients scaled on the device."""
    state = "float64" if dtype == "float64" else "float32"
    gradients = [draw(shape, dtype, i) for i, shape in enumerate([(40, 33), (7,), (), (9000,)])]
    norm = np.sqrt(sum((wide(g) ** 2).sum() for g in gradients))
    for max_norm in (1.0, 1e6):

        def work(d: emulator.EmulatorBackend, limit: float = max_norm) -> Any:
            held = [d.array(g) for g in gradients]
            result = steps.clip_coefficient(held, limit)
            for g in held:
                steps.scale_by(g, result[1:])
            return result, *held

        result, *scaled = results(work, (0, 3))
        coefficient = min(1.0, max_norm / (norm + 1e-6))
        close(result, [norm, coefficient], state, 4)
        for got, g in zip(scaled, gradients, strict=True):
            close(got, wide(g) * coefficient, dtype)


def test_clipping_of_nan_is_nan() -> None:
    g = np.array([1, np.nan], np.float32)
    result = results(lambda d: steps.clip_coefficient([d.array(g)], 1.0))
    assert np.isnan(result).all()


# --- grids smaller than the work -----------------------------------------------------------------


def test_kernels_loop_where_the_grid_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block does everything: what moves, draws and steps, element by element and in vectors."""
    monkeypatch.setattr(moves.shapes, "blocks", lambda *_args: 1)
    one = moves.shapes.Grid((1, 1, 1), (4, 2, 1))
    monkeypatch.setattr(moves.shapes, "matrix_grid", lambda *_args: one)

    def launch(name: str, grid: tuple[int, int, int], *rest: Any) -> None:
        one_tile_high = (grid[0], 1, grid[2]) if name.startswith("transpose") else grid
        kernels.launch(name, one_tile_high, *rest)

    monkeypatch.setattr(moves, "launch", launch)
    test_cast_is_numpys("float32", "float16")
    test_dropout_and_uniform_are_the_cpus("float32")
    test_gather_and_scatter_add("float32", np.int64, 264)
    test_adam("float32", True)
    test_sgd("float32", "nesterov")
    test_clipping("float32")
    test_copies("f4")


# --- refusals ------------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    x = np.zeros((2, 4), np.float32)

    def check(error: type[Exception], match: str, f: Any) -> None:
        with kernels.using(device()), pytest.raises(error, match=match):
            f()

    check(DTypeError, "indices of float32", lambda: moves.gather(x, x))
    check(ShapeError, "two axes", lambda: moves.gather(x[0], np.zeros(1, np.int64)))
    check(ShapeError, "one row each", lambda: moves.scatter_add(x, np.zeros(3, np.int64), 4))
    check(
        DTypeError,
        "state of float64",
        lambda: steps.adam_step(x, x, x * 1.0, x.astype(float), lr=1, step=1),
    )
    check(ShapeError, r"uint64 \(seed, offset\)", lambda: moves.advance(x, 1))
    half = np.ones(1, np.float16)
    check(DTypeError, "state of float16", lambda: steps.scale_by(x, half))
    check(DTypeError, "not contiguous", lambda: steps.sgd_step(x.T, x.T, lr=1))
    check(
        DTypeError, "float64 and narrower", lambda: steps.clip_coefficient([x, x.astype(float)], 1)
    )
    check(DTypeError, "cast first", lambda: moves.copy_into(x, x.astype(float)))
    with pytest.raises(TypeError, match="give a NumPy scalar"):
        kernels.pack([1], None)
