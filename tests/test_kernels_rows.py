"""Whole row kernels in the emulator: softmax, cross-entropy, layer norm and RMS norm, on rows
around every boundary (one element, vectors, warps, blocks, longer than shared memory), against
float64 NumPy and
bit-identical under several orders of threads and blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from kernel_run import DTYPES, EPSILON, close, device, draw, needs_emulator, results, wide
from scipy import special

from gradengine.cuda import emulator, instances, rows
from gradengine.errors import ShapeError

pytestmark = needs_emulator

# columns: one; odd; vectors; a warp's and a block's share and one to either side; beyond 40 kB of
# shared memory (with these dtypes between 5 001 and 24 000 columns)
SHAPES = [
    (3, 1),
    (5, 7),
    (9, 8),
    (17, 64),
    (2, 127),
    (3, 128),
    (2, 1032),
    (3, 1023),
    (2, 4096),
    (1, 5001),
]
LONG = {"float16": 24000, "bfloat16": 24000, "float32": 12000, "float64": 6000}


Several = Sequence[tuple[int, int]]


def shaped(dtype: str) -> list[tuple[int, int]]:
    return [*SHAPES, (2, LONG[dtype])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(dtype: str, log: bool) -> None:
    check_softmax(dtype, log, shaped(dtype))


def check_softmax(dtype: str, log: bool, several: Several) -> None:
    for shape in several:
        x, g = draw(shape, dtype, low=-8, high=8), draw(shape, dtype, 1)

        def work(d: emulator.EmulatorBackend, x: Any = x, g: Any = g) -> Any:
            y = rows.softmax_forward(d.array(x), log=log)
            return y, rows.softmax_vjp(d.array(g), y, log=log)

        y, dx = results(work, (0, 3))
        want = (special.log_softmax if log else special.softmax)(wide(x), axis=1)
        close(y, want, dtype, 4, scale=10 if log else 1e-30 if dtype != "float16" else 2e-4)
        # from the rounded y that the kernel had
        p, g64 = wide(y), wide(g)
        total = (g64 if log else g64 * p).sum(axis=1, keepdims=True)
        want = g64 - np.exp(p) * total if log else p * (g64 - total)
        size = np.abs(g64).sum(axis=1, keepdims=True) * (np.exp(p) if log else p)
        close(
            dx,
            want,
            dtype,
            4,
            scale=size * 2.0**-18 / EPSILON[dtype] + 1e-30 + (dtype == "float16") * 2e-4,
        )


def test_softmax_of_infinities() -> None:
    """-inf gives probability zero; a row of nothing else has none; NaN spoils its row alone."""
    x = np.array([[0, -np.inf, 0], [-np.inf] * 3, [1, np.nan, 2], [7, 7, 7]], np.float32)

    def work(d: emulator.EmulatorBackend) -> Any:
        return rows.softmax_forward(d.array(x)), rows.softmax_forward(d.array(x), log=True)

    y, log_y = results(work)
    assert y[0].tolist() == [0.5, 0, 0.5]
    assert np.isnan(y[1:3]).all()
    assert log_y[0, 1] == -np.inf
    np.testing.assert_allclose(y[3], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("cols", [3, 700])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_values_keep_their_digits(dtype: str, cols: int) -> None:
    """What all logits of a row share is subtracted before anything small is added to it."""
    base = 2.0 ** (13 if dtype == "float32" else 42)
    x = base + np.random.default_rng(5).integers(0, 8, (2, cols)) / 4
    target = np.array([0, cols - 1])

    def work(d: emulator.EmulatorBackend) -> Any:
        logits = d.array(x.astype(dtype))
        loss, _ = rows.softmax_cross_entropy(logits, d.array(target))
        return rows.softmax_forward(logits, log=True), loss

    y, loss = results(work)
    want = special.log_softmax(x - base, axis=1)
    close(y, want, dtype, scale=0.0)
    close(loss, -want[[0, 1], target], dtype, scale=0.0)


def test_rows_beyond_32_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows.shapes, "LIMIT", 50)
    with pytest.raises(ShapeError, match=r"rows of 64 in \(2, 64\)[\s\S]*fewer than 50"):
        results(lambda d: rows.softmax_forward(d.array(draw((2, 64), "float32"))), (0,))


# --- softmax cross-entropy -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_cross_entropy(dtype: str, inplace: bool) -> None:
    """Loss and gradient of one launch, in place too; ignored rows count nothing."""
    check_cross_entropy(dtype, inplace, shaped(dtype))


def check_cross_entropy(dtype: str, inplace: bool, several: Several) -> None:
    for shape in several:
        x = draw(shape, dtype, low=-5, high=5)
        target = np.random.default_rng(1).integers(0, shape[1], shape[0])
        target[0] = -100

        def work(d: emulator.EmulatorBackend, x: Any = x, t: Any = target) -> Any:
            logits = d.array(x)
            loss, dx = rows.softmax_cross_entropy(logits, d.array(t), scale=0.25, inplace=inplace)
            assert inplace == (dx is logits)
            return loss, dx

        loss, dx = results(work, (0, 3))
        x64 = wide(x)
        counted = target != -100
        place = (np.arange(shape[0]), np.where(counted, target, 0))
        want = special.softmax(x64, axis=1)
        want[place] -= 1
        close(dx, want * 0.25 * counted[:, None], dtype, 4, scale=2e-2)
        want = (special.logsumexp(x64, axis=1) - x64[place]) * counted
        wide_name = "float64" if dtype == "float64" else "float32"
        close(loss, want, wide_name, 8 if dtype in ("float32", "float64") else 64, scale=10)


def test_cross_entropy_refuses_classes_out_of_range() -> None:
    """Nothing outside the row is read: the loss is NaN, the neighbours are right."""
    x = draw((3, 5), "float32")
    target = np.array([5, 1, -1])
    loss, _ = results(lambda d: rows.softmax_cross_entropy(d.array(x), d.array(target)))
    assert np.isnan(loss).tolist() == [True, False, True]
    with pytest.raises(ShapeError, match="give int64 classes"):
        results(lambda d: rows.softmax_cross_entropy(d.array(x), d.array(target[:2])), (0,))


# --- norms ---------------------------------------------------------------------------------------


def norm_reference(x: Any, g: Any, w: Any, b: Any, centered: bool) -> tuple[Any, ...]:
    center = x.mean(axis=1, keepdims=True) if centered else 0 * x[:, :1]
    rstd = 1 / np.sqrt(((x - center) ** 2).mean(axis=1, keepdims=True) + 1e-5)
    hat = (x - center) * rstd
    gw = g * w
    along = (gw * hat).mean(axis=1, keepdims=True)
    plain = gw.mean(axis=1, keepdims=True) if centered else 0
    return hat * w + b, rstd * (gw - plain - hat * along), (g * hat).sum(axis=0), g.sum(axis=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centered", [True, False])
def test_norm(dtype: str, centered: bool) -> None:
    check_norm(dtype, centered, [*shaped(dtype), (70, 24), (3, 9000), (2, 2049)])


def check_norm(dtype: str, centered: bool, several: Several) -> None:
    for shape in several:
        x, g = draw(shape, dtype), draw(shape, dtype, 1)
        w, b = draw(shape[1], dtype, 2), draw(shape[1], dtype, 3)

        def work(
            d: emulator.EmulatorBackend, x: Any = x, g: Any = g, w: Any = w, b: Any = b
        ) -> Any:
            p, weight = d.array(x), d.array(w)
            bias = d.array(b) if centered else None
            y, mean, rstd = rows.norm_forward(p, weight, bias, epsilon=1e-5, centered=centered)
            return y, *rows.norm_vjp(d.array(g), p, weight, mean, rstd)

        y, dx, dw, db = results(work, (0, 3))
        wanted = norm_reference(wide(x), wide(g), wide(w), wide(b) * centered, centered)
        size = np.sqrt(shape[0]) * 3 + 3
        if shape[1] == 1:  # a row of one: everything cancels but the rounding of x itself
            continue
        for got, want, scale in zip((y, dx, dw, db), wanted, (3, 10, size, size), strict=True):
            close(got, want, dtype, 8, scale=scale)


def test_kernels_loop_where_the_grid_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block goes on to further rows: with what it kept, and with dw and db still gathering.

    Rows of a warp, of a block, longer than shared memory, and longer than norm_vjp's registers.
    """
    monkeypatch.setattr(rows.shapes, "blocks", lambda *_args: 1)
    monkeypatch.setattr(device(), "multiprocessors", lambda: 1)
    several = [(35, 7), (70, 24), (5, 1032), (5, 4100), (5, 9000), (3, 12000)]
    for flag in (True, False):
        check_softmax("float32", flag, several)
        check_cross_entropy("float32", flag, several)
        check_norm("float32", flag, several)


def test_norm_without_parameters() -> None:
    """No weight, no bias: null pointers; `affine=False` computes neither gradient."""
    x, g = draw((6, 40), "float32"), draw((6, 40), "float32", 1)

    def work(d: emulator.EmulatorBackend) -> Any:
        p = d.array(x)
        y, mean, rstd = rows.norm_forward(p, None, None, epsilon=1e-5)
        dx, dw, db = rows.norm_vjp(d.array(g), p, None, mean, rstd, affine=False)
        assert dw is None
        assert db is None
        return y, dx

    y, dx = results(work)
    want = norm_reference(wide(x), wide(g), 1.0, 0.0, True)
    close(y, want[0], "float32", 4)
    close(dx, want[1], "float32", 4, scale=5)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_every_count_of_registers_is_used(n: int) -> None:
    """norm_vjp keeps 1, 2 or 4 vectors a thread, and none beyond; the blocks cover the row."""
    kinds = set()
    for vectors in range(1, 5000):
        threads, per = rows.norm_threads(vectors, n)
        kinds.add(per)
        assert threads % 32 == 0
        assert per == 0 or threads * per >= vectors
    assert kinds == {0, *rows.NORM_PER[n]}


def test_rows_longer_than_shared_memory_are_read_again() -> None:
    """The test shapes above did take both kinds of kernel, and both vector widths."""
    for dtype, kind in (("float32", "float"), ("float16", "f16")):
        test_softmax(dtype, False)
        used = set(device().calls)
        n = 16 // DTYPES[dtype].itemsize
        for cached in ("true", "false"):
            assert f"softmax_forward<false,{cached},{n},{kind}>" in used
        assert f"softmax_forward<false,true,1,{kind}>" in used
    assert set(instances.every()) >= used
