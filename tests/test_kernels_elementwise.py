"""Whole elementwise kernels in the emulator: every boundary of size, any strides, any broadcast,
against
float64 NumPy and bit-identical under several orders of threads and blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from kernel_reference import BINARY, UNARY
from kernel_run import DTYPES, EPSILON, close, device, draw, needs_emulator, results, wide
from numpy.lib.stride_tricks import as_strided

from gradengine.cuda import columns, emulator, launch, shapes
from gradengine.errors import DTypeError, ShapeError

pytestmark = needs_emulator


def sizes(dtype: str) -> list[int]:
    """0, 1, and one to either side of the vector, the block and the tile."""
    n = shapes.width(DTYPES[dtype])
    around = [n, 256, 256 * n, 512 * n, 3 * 512 * n]
    return [0, 1, *(v + d for v in around for d in (-1, 0, 1))]


def expected(name: str, x: Any, parameters: tuple[float, ...] = ()) -> tuple[Any, Any]:
    r = UNARY[name]
    with np.errstate(all="ignore"):
        return r.value(wide(x), *parameters), r.slope(wide(x), *parameters) + 0.0


# --- one operand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["Gelu", "LeakyRelu"])
def test_sizes(name: str, dtype: str) -> None:
    check_sizes(name, dtype, sizes(dtype))


def check_sizes(name: str, dtype: str, several: Sequence[int]) -> None:
    parameters = (0.25,) if name == "LeakyRelu" else ()
    for size in several:
        x, g = draw(size, dtype), draw(size, dtype, 1)
        value, slope = expected(name, x, parameters)

        def work(d: emulator.EmulatorBackend, x: Any = x, g: Any = g) -> Any:
            a, b = d.array(x), d.array(g)
            return launch.forward(name, a, parameters), launch.vjp(name, b, a, parameters)

        y, dx = results(work, (0, 3))
        close(y, value, dtype)
        close(dx, slope * wide(g), dtype)


def views(dtype: str) -> dict[str, Any]:
    """Layouts that are not plain: each a function of the stand-in device, giving a view."""
    base = draw((4, 6, 10), dtype, 2)
    return {
        "scalar": lambda d: d.array(base[0, 0, 0]),
        "empty": lambda d: d.array(base[:0]),
        "transposed": lambda d: d.array(base).transpose(2, 0, 1),
        "every third": lambda d: d.array(base)[:, ::2, ::3],
        "backwards": lambda d: d.array(base)[::-1, :, ::-1],
        "broadcast": lambda d: np.broadcast_to(d.array(base[:, :1]), (4, 6, 10)),
        "misaligned": lambda d: d.array(base.ravel())[1:],
        "seven axes": lambda d: d.array(draw((2,) * 14, dtype))[
            (slice(None), 0) * 7  # no two axes lie behind one another
        ],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", views("float32"))
def test_strides(view: str, dtype: str) -> None:
    make = views(dtype)[view]
    value, slope = expected("Gelu", make(device()))

    def work(d: emulator.EmulatorBackend) -> Any:
        x = make(d)
        g = d.array(np.ones(x.shape, x.dtype))
        return launch.forward("Gelu", x), launch.vjp("Gelu", g, x)

    y, dx = results(work)
    assert y.flags.c_contiguous
    close(y, value, dtype)
    close(dx, slope, dtype)


def test_launches_are_cut_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 2^31 elements a strided launch is cut; the limit is lowered to see it."""
    monkeypatch.setattr(shapes, "LIMIT", 50)
    x, b = draw((1, 7, 5, 9), "float32"), draw((5, 1), "float32", 1)
    before = len(device().calls)
    y = results(lambda d: launch.forward("Gelu", d.array(x).transpose(0, 2, 1, 3)), (0,))
    close(y, expected("Gelu", x.transpose(0, 2, 1, 3))[0], "float32")
    z = results(lambda d: launch.forward2("Multiply", d.array(x), d.array(b)), (0,))
    close(z, x * b, "float32")
    assert len(device().calls) - before > 10


def test_zero_cotangent_meets_a_singular_derivative() -> None:
    """sqrt'(0) is infinite; a cotangent of zero there gives zero, any other infinity."""
    x, g = np.zeros(3, np.float32), np.array([0, 1, -0.0], np.float32)
    dx = results(lambda d: launch.vjp("Sqrt", d.array(g), d.array(x)))
    assert dx.tolist() == [0, np.inf, 0]


# --- two operands --------------------------------------------------------------------------------

PAIRS: dict[str, tuple[Any, Any]] = {
    "equal": ((5, 7), (5, 7)),
    "long": ((9001,), (9001,)),
    "scalar": ((2050,), ()),
    "scalar first": ((), (33, 16)),
    "row": ((12, 64), (64,)),
    "row, odd": ((12, 65), (65,)),
    "column": ((40, 32), (40, 1)),
    "wide": ((3, 5000), (5000,)),
    "both": ((6, 1), (1, 8)),
    "three": ((3, 4, 16), (3, 1, 16)),
    "batch": ((4, 1, 8), (5, 1)),
    "eight axes": ((2, 1) * 4, (1, 2) * 4),  # more than Layout holds, and no copy joins them
    "empty": ((0, 4), (4,)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_broadcasting(pair: str, dtype: str) -> None:
    left, right = PAIRS[pair]
    a, b = draw(left, dtype), draw(right, dtype, 1)
    shape = np.broadcast_shapes(left, right)
    g = draw(shape, dtype, 2)
    r = BINARY["Prelu"]

    def work(d: emulator.EmulatorBackend) -> Any:
        p, q, up = d.array(a), d.array(b), d.array(g)
        y = launch.forward2("Prelu", p, q)
        da, db = launch.vjp2("Prelu", up, p, q)
        return y, da, db, columns.sum_to(da, p.shape), columns.sum_to(db, q.shape)

    y, da, db, summed_a, summed_b = results(work, (0, 3))
    a64, b64, g64 = (np.broadcast_to(wide(v), shape) for v in (a, b, g))
    close(y, r.value(a64, b64), dtype)
    close(da, g64 * r.slope_a(a64, b64), dtype)
    close(db, g64 * r.slope_b(a64, b64), dtype)
    for got, parts, operand in ((summed_a, da, a), (summed_b, db, b)):
        axes = tuple(range(parts.ndim - operand.ndim)) + tuple(
            i
            for i in range(parts.ndim)
            if i >= parts.ndim - operand.ndim and operand.shape[i - parts.ndim + operand.ndim] == 1
        )
        want = wide(parts).sum(axis=axes).reshape(operand.shape)
        total = np.abs(wide(parts)).sum(axis=axes).reshape(operand.shape)
        close(got, want, dtype, scale=total * (1 if dtype in ("float32", "float64") else 0.01))


def test_only_what_is_wanted() -> None:
    a = draw((8, 8), "float32")

    def work(d: emulator.EmulatorBackend) -> Any:
        x = d.array(a)
        da, none = launch.vjp2("Multiply", x, x, x, wanted=(True, False))
        assert none is None
        return da

    close(results(work), wide(a) ** 2, "float32")


def test_strided_operands() -> None:
    """Transposed and reversed operands of two-operand kernels and their vjp."""
    a, b, g = draw((12, 9), "float32"), draw((9, 12), "float32", 1), draw((9, 12), "float32", 2)

    def work(d: emulator.EmulatorBackend) -> Any:
        p, q, up = d.array(a).T, d.array(b)[:, ::-1], d.array(g)[::-1]
        return launch.forward2("Multiply", p, q), *launch.vjp2("Multiply", up, p, q)

    y, da, db = results(work)
    close(y, a.T * b[:, ::-1], "float32")
    close(da, g[::-1] * b[:, ::-1], "float32")
    close(db, g[::-1] * a.T, "float32")


# --- bias ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 8), (33, 64), (7, 13), (130, 520), (2, 3, 16), (0, 8)])
def test_bias(shape: tuple[int, ...], dtype: str) -> None:
    x, b, g = draw(shape, dtype), draw(shape[-1:], dtype, 1), draw(shape, dtype, 2)

    def work(d: emulator.EmulatorBackend) -> Any:
        p, q, up = d.array(x), d.array(b), d.array(g)
        return launch.bias_forward("Gelu", p, q), *columns.bias_vjp("Gelu", up, p, q)

    y, dx, db = results(work, (0, 3))
    rounded = shape[-1] % shapes.width(DTYPES[dtype]) != 0 and dtype in ("float16", "bfloat16")
    value, slope = expected("Gelu", wide(x) + wide(b))
    close(y, value, dtype, 16 if rounded else 2)
    close(dx, slope * wide(g), dtype, 16 if rounded else 2)
    rows = int(np.prod(shape[:-1]))
    want = (slope * wide(g)).reshape(rows, shape[-1]).sum(axis=0)
    close(db, want, dtype, 8, scale=np.sqrt(rows) + 1)


def test_bias_rows_beyond_32_bits_are_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "LIMIT", 50)
    x, b = draw((2, 64), "float32"), draw((64,), "float32", 1)
    before = len(device().calls)
    y = results(lambda d: launch.bias_forward("Gelu", d.array(x), d.array(b)), (0,))
    close(y, expected("Gelu", wide(x) + wide(b))[0], "float32", 4)
    assert not any(name.startswith("bias") for name in device().calls[before:])


# --- grids smaller than the work -----------------------------------------------------------------


def test_kernels_loop_where_the_grid_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device runs a bounded grid, whose blocks go on to further tiles and rows: here two each."""
    few = shapes.ceil_div

    def blocks(work: int, per_block: int, waves: int = 32) -> int:
        return max(1, few(few(work, per_block), 2))

    def grid(rows: int, vectors: int) -> shapes.Grid:
        return shapes.Grid((1, max(1, min(2, rows // 4)), 1), (4, 2, 1))

    monkeypatch.setattr(shapes, "blocks", blocks)
    monkeypatch.setattr(shapes, "matrix_grid", grid)
    check_sizes("Gelu", "float32", (2048, 6145, 8200))
    test_strides("every third", "float32")
    for pair in ("equal", "row", "column", "both"):
        test_broadcasting(pair, "float32")
    test_bias((33, 64), "float32")


# --- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((700, 24), (24,)),
        ((700, 5), (5,)),
        ((3, 700), (3, 1)),
        ((1, 40000), (1, 1)),
        ((2, 9, 40), (2, 1, 40)),
        ((2, 9, 7), (2, 1, 7)),
        ((3, 4, 5, 6), (4, 1, 6)),
        ((5, 6, 7), (1, 6, 1)),
        ((9, 3), ()),
        ((0, 4), (4,)),
        ((4, 0), (4, 1)),
        ((64,), (64,)),
    ],
)
def test_sum_to(shape: tuple[int, ...], target: tuple[int, ...], dtype: str) -> None:
    g = draw(shape, dtype, 3)
    got = results(lambda d: columns.sum_to(d.array(g), target), (0, 3))
    lead = len(shape) - len(target)
    axes = tuple(range(lead)) + tuple(
        i for i in range(lead, len(shape)) if target[i - lead] == 1 and shape[i] != 1
    )
    want = wide(g).sum(axis=axes).reshape(target)
    total = np.abs(wide(g)).sum(axis=axes).reshape(target)
    # accumulated in float32: a 16-bit result is off by its own rounding and no more
    narrow = dtype in ("float16", "bfloat16")
    close(got, want, dtype, 1, scale=total * (2.0**-20 / EPSILON[dtype] if narrow else 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_square_sums(dtype: str) -> None:
    for size in (1, 31, 4096, 70001):
        g = draw(size, dtype, 4)
        got = results(lambda d, g=g: columns.square_sums(d.array(g)), (0, 3))
        wanted = "float64" if dtype == "float64" else "float32"
        close(got, np.array([(wide(g) ** 2).sum()]), wanted, 4)


# --- refusals ------------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    x = np.zeros((2, 3), np.float32)

    def check(error: type[Exception], match: str, f: Any) -> None:
        with pytest.raises(error, match=match):
            results(f, (0,))

    check(DTypeError, "int32", lambda d: launch.forward("Gelu", x.astype(np.int32)))
    check(DTypeError, "float32 and float64", lambda d: launch.forward2("Add", x, x.astype(float)))
    check(ShapeError, r"\(2, 3\) and \(3, 2\)", lambda d: launch.vjp("Gelu", x.reshape(3, 2), x))
    check(ShapeError, "do not broadcast", lambda d: launch.forward2("Add", x, x.reshape(3, 2)))
    check(ShapeError, "last axis", lambda d: launch.bias_forward("Gelu", x, x[0, :2]))
    check(ShapeError, "not broadcast from", lambda d: columns.sum_to(x, (2, 2)))
    check(ValueError, "no kernel", lambda d: d.function("no_such_kernel<float>", 0))


def test_fast_division_is_exact() -> None:
    """The host's multipliers against Python's division, around every power of two."""
    rng = np.random.default_rng(0)
    numbers = [0, 1, 2**31 - 1, *rng.integers(0, 2**31, 50).tolist()]
    divisors = {d for k in range(31) for d in (2**k - 1, 2**k, 2**k + 1) if 0 < d < 2**31}
    for d in divisors | {2**31 - 1, *range(1, 200)}:
        _, m, s = shapes.divisor(d)
        for n in (*numbers, d - 1, d, min(2 * d, 2**31 - 1)):
            assert ((n * m >> 32) + n) >> s == n // d


def test_joined_dimensions() -> None:
    """Contiguous axes join, broadcast ones join among themselves, the rest stays apart."""
    x = np.zeros((4, 5, 6), np.float32)
    assert shapes.joined(x.shape, [shapes.element_strides(x, x.shape)]) == [(120, (1,))]
    swapped = shapes.element_strides(x.transpose(1, 0, 2), (5, 4, 6))
    assert shapes.joined((5, 4, 6), [swapped]) == [(6, (1,)), (4, (30,)), (5, (6,))]
    window = as_strided(x, (3, 2), (4, 4))
    assert shapes.joined((3, 2), [shapes.element_strides(window, (3, 2))]) == [(2, (1,)), (3, (1,))]
