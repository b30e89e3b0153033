"""Every CUDA functor, run as host code, against float64 NumPy and mpmath: four dtypes, value and
derivative, special values; exhaustively for the 16-bit types, whose hardware approximations are
moved by their documented worst error in both directions. Mutated functors must fail.

Needs g++ and the CUDA headers (pip wheels); skipped with the reason where they are missing.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import kernel_reference as ref
import ml_dtypes
import mpmath
import numpy as np
import pytest

from gradengine import tensor
from gradengine.cuda import emulator, source

REASON = emulator.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"host functors: {REASON}")

C_TYPES = {"float16": "f16", "bfloat16": "bf16", "float32": "float", "float64": "double"}
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, None) or name) for name in C_TYPES}
FUNCTORS = source.functors()
UNARY = [name for name, f in FUNCTORS.items() if f.arity == 1]
BINARY = [name for name, f in FUNCTORS.items() if f.arity == 2]

LOOP = """
extern "C" void {name}_{c}(const {c}* a, const {c}* b, {c}* y, {c}* da, {c}* db, long long n,
                           const accumulate<{c}>* parameters) {{
  {name}<math<{c}>> op;
  const size_t size = {count} * sizeof(accumulate<{c}>);
  if (size) std::memcpy(static_cast<void*>(&op), parameters, size);
  for (long long i = 0; i < n; ++i) {{
{body}  }}
}}
"""
ONE = """    y[i] = store<{c}>(op.forward(load(a[i])));
    da[i] = store<{c}>(op.partial(load(a[i])));
"""
TWO = """    y[i] = store<{c}>(op.forward(load(a[i]), load(b[i])));
    da[i] = store<{c}>(op.partial_a(load(a[i]), load(b[i])));
    db[i] = store<{c}>(op.partial_b(load(a[i]), load(b[i])));
"""


def program(c_types: tuple[str, ...], headers: str | None = None) -> str:
    """C++ that loops every functor over arrays, from the headers (or a mutated text of them)."""
    text = source.inlined("map.cu").split('#line 1 "layout.cuh"')[0] if headers is None else headers
    parts = [text, "using namespace ge;\n"]
    for c in c_types:
        for name, f in FUNCTORS.items():
            body = (ONE if f.arity == 1 else TWO).format(c=c)
            parts.append(LOOP.format(name=name, c=c, count=len(f.parameters), body=body))
    return "\n".join(parts)


@cache
def library(dtype: str, worst: int = 0) -> ctypes.CDLL:
    """The host loops of `dtype`; `worst` is the sign of the hardware's error for 16-bit types."""
    if DTYPES[dtype].itemsize == 2:
        defines = (f"-DGE_HARDWARE_ERROR={worst}",)
        return ctypes.CDLL(str(emulator.build(program(("f16", "bf16")), defines)))
    return ctypes.CDLL(str(emulator.build(program(("float", "double")))))


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Build the three libraries side by side."""
    emulator.build("int unused;")  # the plain header first, so that two builds do not both make it
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda args: library(*args), [("float32",), ("float16", 1), ("float16", -1)]))


def call(
    lib: ctypes.CDLL,
    name: str,
    dtype: str,
    a: Any,
    b: Any = None,
    parameters: tuple[float, ...] = (),
) -> list[Any]:
    """[value, slope] or [value, slope_a, slope_b] of a functor over arrays."""
    a = np.ascontiguousarray(a, DTYPES[dtype])
    b = a if b is None else np.ascontiguousarray(b, DTYPES[dtype])
    outputs = [np.empty_like(a) for _ in range(3)]
    held = np.array(parameters or (0,), np.float64 if dtype == "float64" else np.float32)
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, b, *outputs)]
    function = getattr(lib, f"{name}_{C_TYPES[dtype]}")
    function(*pointers, ctypes.c_longlong(a.size), held.ctypes.data_as(ctypes.c_void_p))
    return outputs[: FUNCTORS[name].arity + 1]


def widened(x: Any) -> Any:
    """`x` in float64; the casts of ml_dtypes complain about NaN."""
    with np.errstate(all="ignore"):
        return x.astype(np.float64)


WORST: dict[tuple[str, str], tuple[float, str]] = {}  # (dtype, value or derivative)


@pytest.fixture(scope="module", autouse=True)
def worst_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Says in the end how far the worst well-conditioned result of each dtype was off."""
    yield
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    lines = [
        f"worst error, {dtype} {what}: {error:.2f} ulp ({name})"
        for (dtype, what), (error, name) in sorted(WORST.items())
    ]
    with capture.global_and_fixture_disabled():
        print("", *lines, sep="\n")


# --- inputs --------------------------------------------------------------------------------------


def specials(dtype: str) -> list[float]:
    tiny = 2.0 ** (ref.SMALLEST[dtype] - ref.MANTISSA[dtype])
    normal = 2.0 ** ref.SMALLEST[dtype]
    some = [0.0, tiny, 3 * tiny, normal, 0.5, 1.0, 3.0, 6.0, 1e4, ref.LARGEST[dtype], np.inf]
    return [sign * v for v in some for sign in (1.0, -1.0)] + [np.nan]


def inputs(dtype: str) -> Any:
    """All 65536 values of a 16-bit type; a dense grid and random magnitudes of the others."""
    if DTYPES[dtype].itemsize == 2:
        return np.arange(65536, dtype=np.uint16).view(DTYPES[dtype])
    rng = np.random.default_rng(7)
    low = ref.SMALLEST[dtype] - 5
    magnitudes = np.exp2(rng.uniform(low, min(-low, 1020), 4000)) * rng.choice([-1, 1], 4000)
    parts = [specials(dtype), np.linspace(-30, 30, 6001), np.linspace(-2, 2, 4001), magnitudes]
    with np.errstate(over="ignore"):
        return np.concatenate(parts).astype(DTYPES[dtype])


def conditioning(slope: Any, value: Any, x: Any) -> Any:
    """|x f'/f|: by how much a relative error in x (or in an inner rounding) grows."""
    with np.errstate(all="ignore"):
        c = np.abs(x * slope / value)
    return np.where(np.isfinite(c), c, 0.0)


def curvature(formula: Any, x: Any, at: Any) -> Any:
    """The same for the derivative, by a difference quotient of its formula."""
    with np.errstate(all="ignore"):
        return conditioning((formula(x * (1 + 1e-5)) - formula(x * (1 - 1e-5))) / (2e-5 * x), at, x)


def allowed(dtype: str, limit: float, condition: Any, reference: Any, x: Any, flush: bool) -> Any:
    """Units in the last place allowed: the limit, and as much again for each unit of conditioning.

    16-bit types compute in float32 on approximations of 2^-22, which conditioning may blow up; what
    float32 flushes to zero (a factor below 2^-126) is given up there, and elsewhere where `flush`.
    """
    with np.errstate(all="ignore"):
        lost = np.minimum(4 + 4 * np.abs(x) + np.abs(np.nan_to_num(x)) ** 3, 1e3) * 2.0 ** max(
            -126, ref.SMALLEST[dtype]
        )
        lost = np.where(np.abs(reference) < lost, lost / ref.spacing(reference, dtype), 0)
    if DTYPES[dtype].itemsize == 2:
        return (
            2.0
            + condition * 2.0 ** (ref.MANTISSA[dtype] - 20)
            + (lost if dtype == "bfloat16" else 0)
        )
    return limit * (1 + np.minimum(condition, 1e300)) + (lost if flush else 0)


PLAIN = {"float16": 2.5, "bfloat16": 2.5, "float32": 16.0, "float64": 4096.0}


def check(got: Any, reference: Any, dtype: str, tolerance: Any, x: Any, what: str) -> None:
    """Fails on the worst offender, saying where; remembers the worst well-conditioned error."""
    error = ref.errors_in_ulp(got, reference, dtype)
    excess = np.where(error > tolerance, error / tolerance, 0)
    worst = int(np.argmax(excess))
    assert excess[worst] == 0, (
        f"{what} {dtype}: at {x[worst]!r} got {got[worst]!r}, want {reference[worst]!r}: "
        f"{error[worst]:.3g} ulp, {tolerance[worst]:.3g} allowed; "
        f"{int((excess > 0).sum())} such points"
    )
    tame = error[np.isfinite(error) & (tolerance <= PLAIN[dtype])]
    top, kind = float(tame.max(initial=0.0)), "value" if what.endswith("value") else "derivative"
    if dtype != "float64":  # there mpmath is the judge
        remember(dtype, kind, top, what.split()[0])


def remember(dtype: str, kind: str, error: float, name: str) -> None:
    if error > WORST.get((dtype, kind), (0.0, ""))[0]:
        WORST[dtype, kind] = error, name


# --- the tests -----------------------------------------------------------------------------------


def at_kink(r: ref.Reference, x: Any, dtype: str) -> Any:
    """Where the derivative is not compared: NaN inputs of straight pieces have no derivative."""
    return np.isnan(x) if r.kinks else np.zeros(x.shape, bool)


@pytest.mark.parametrize("dtype", C_TYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_against_float64(name: str, dtype: str) -> None:
    """Value and derivative of each functor of one operand in each dtype, specials included."""
    r = ref.UNARY[name]
    x = inputs(dtype)
    parameters = tuple(float(np.float32(p)) for p in r.parameters)
    x64 = widened(x)
    with np.errstate(all="ignore"):
        value = np.asarray(r.value(x64, *parameters), np.float64)
        slope = np.asarray(r.slope(x64, *parameters), np.float64)
        steep = curvature(lambda v: np.asarray(r.slope(v, *parameters), np.float64), x64, slope)
    flush = r.flush
    if dtype == "float64":  # the NumPy formulas have errors of their own: mpmath judges below
        limits, flush = (1024.0, 1024.0), True
    else:
        limits = r.ulp
    for worst in (1, -1) if DTYPES[dtype].itemsize == 2 else (0,):
        y, d = call(library(dtype, worst), name, dtype, x, parameters=parameters)
        tolerance = allowed(dtype, limits[0], conditioning(slope, value, x64), value, x64, flush)
        check(y, value, dtype, tolerance, x, f"{name} value")
        d, want = d[~at_kink(r, x64, dtype)], slope[~at_kink(r, x64, dtype)]
        tolerance = allowed(dtype, limits[1], steep, slope, x64, flush)[~at_kink(r, x64, dtype)]
        check(d, want, dtype, tolerance, x[~at_kink(r, x64, dtype)], f"{name} derivative")


def exact_points(r: ref.Reference) -> Any:
    rng = np.random.default_rng(11)
    magnitudes = np.exp2(rng.uniform(-30, 6, 30)) * rng.choice([-1, 1], 30)
    points = np.concatenate([np.linspace(-12, 12, 40), np.linspace(-1.4, 1.4, 28), magnitudes])
    return points[[all(p != k for k in r.kinks) for p in points]]


@pytest.mark.parametrize("name", UNARY)
def test_unary_against_mpmath(name: str) -> None:
    """float64 value and derivative against 200 digits; mpmath differentiates by itself."""
    r = ref.UNARY[name]
    steps = "everywhere" in r.kinks
    x = exact_points(r)
    y, d = call(library("float64"), name, "float64", x, parameters=r.parameters)
    with mpmath.workdps(200):
        parameters = [mpmath.mpf(p) for p in r.parameters]

        def f(v: Any) -> Any:
            return r.exact(v, *parameters)

        for i, point in enumerate(x):
            v = mpmath.mpf(float(point))
            h = max(abs(v), mpmath.mpf(10) ** -6)
            if not (np.isfinite(y[i]) and np.isfinite(d[i])):
                continue  # outside the domain, or beyond the range: the float64 test has these
            value = f(v)
            slope = mpmath.mpf(0) if steps else mpmath.diff(f, v, h=h * mpmath.mpf(10) ** -60)
            bend = abs(v * mpmath.diff(f, v, 2, h=h * mpmath.mpf(10) ** -50)) if not steps else 0
            for kind, got, want, by, limit in (
                ("value", y[i], value, abs(v * slope), r.ulp[0]),
                ("derivative", d[i], slope, bend, r.ulp[1]),
            ):
                unit = ref.spacing(np.array(float(want)), "float64")
                tolerance = limit * (float(unit) + float(by) * 2.0**-52)
                error = abs(mpmath.mpf(float(got)) - want)
                assert error <= tolerance, (
                    f"{name} at {point!r}: {got!r}, want {mpmath.nstr(want, 20)}"
                )
                if float(by) <= abs(float(want)):
                    remember("float64", kind, float(error) / float(unit), name)


@pytest.mark.parametrize("dtype", C_TYPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary_against_float64(name: str, dtype: str) -> None:
    """Value and both derivatives of each functor of two operands, every pair of special values."""
    r = ref.BINARY[name]
    rng = np.random.default_rng(3)
    corner = np.array(
        [v for v in specials(dtype) if abs(v) in (0.0, 0.5, 1.0, 3.0, np.inf) or v != v]
    )
    left, right = (m.ravel() for m in np.meshgrid(corner, corner))
    scale = 20 if name != "Power" else 3
    some = rng.uniform(-scale, scale, (2, 4000))
    a = np.concatenate([left, some[0]]).astype(DTYPES[dtype])
    b = np.concatenate([right, some[1]]).astype(DTYPES[dtype])
    a64, b64 = widened(a), widened(b)
    if name in ("FloorDivide", "Remainder"):  # in the operands' own type: the quotient is rounded
        keep = (b64 != 0) & np.isfinite(a64) & np.isfinite(b64)
        a, b, a64, b64 = a[keep], b[keep], a64[keep], b64[keep]
    if name == "Prelu":
        a, b, a64, b64 = (v[~np.isnan(a64)] for v in (a, b, a64, b64))
    pairs = list(zip(a, b, strict=True))
    for worst in (1, -1) if DTYPES[dtype].itemsize == 2 else (0,):
        got = call(library(dtype, worst), name, dtype, a, b)
        for out, formula, limit in zip(
            got, (r.value, r.slope_a, r.slope_b), (r.ulp[0], r.ulp[1], r.ulp[1]), strict=True
        ):
            with np.errstate(all="ignore"):
                want = np.asarray(formula(a64, b64), np.float64)
                near = np.abs(want) > 0
                bend = [
                    np.abs(formula(a64 * (1 + s), b64 * (1 + t)) - want) / np.abs(want) / 1e-5
                    for s, t in ((1e-5, 0), (0, 1e-5))
                ]
            step = name in ("FloorDivide", "Remainder") or near.sum() == 0
            condition = (
                np.zeros(want.shape) if step else sum(np.where(np.isfinite(c), c, 0) for c in bend)
            )
            if np.isnan(want).any() and name in ("Maximum", "Minimum", "Copysign", "Logaddexp"):
                mask = ~(np.isnan(a64) | np.isnan(b64))
            else:
                mask = np.ones(want.shape, bool)
            if formula is not r.value:  # the derivative at a NaN is nobody's
                mask &= ~(np.isnan(a64) | np.isnan(b64))
            tolerance = allowed(dtype, limit, condition, want, a64, False)
            kept = [p for p, m in zip(pairs, mask, strict=True) if m]
            check(out[mask], want[mask], dtype, tolerance[mask], kept, f"{name}")


# --- rows of the registry ------------------------------------------------------------------------


def rows() -> dict[str, Any]:
    """The rows that name a kernel, by functor."""
    from gradengine.op import registry

    return {op.kernel: op for op in registry.values() if op.kernel}


# every size of number, and more of those where exponentials saturate, one by one
MAGNITUDES = [
    *(0.0, 5e-324, 1e-310, 3e-308, 1e-200, 1e-20, 1e-8, 0.3, 0.5, 1.0, 1.25, 2.0, 3.0, 6.0),
    *(15.0, 19.0, 21.0, 25.0, 30.0, 36.5, 41.0, 100.0, 710.0, 750.0, 1e4, 1e20, 1e100, 1e155),
    *(1e300, 1.6e308, ref.LARGEST["float64"], np.inf),
]
SIGNED = [sign * v for v in MAGNITUDES for sign in (1.0, -1.0)] + [np.nan]


@pytest.mark.parametrize("name", FUNCTORS)
def test_rows_and_functors_agree(name: str) -> None:
    """Value and derivatives of the row on NumPy and of its functor, from 5e-324 to infinity."""
    op = rows()[name]
    f = FUNCTORS[name]
    assert set(f.parameters) == set(op.names), "the functor's members are the row's parameters"
    x = np.array([*SIGNED, *np.linspace(-5, 5, 24)])
    operands = [x] if f.arity == 1 else [m.ravel() for m in np.meshgrid(x, x)]
    defaults = tuple(float(op.defaults.get(p, 0.25)) for p in f.parameters)
    other = ref.UNARY[name].parameters if f.arity == 1 else ()
    for parameters in dict.fromkeys((defaults, other or defaults)):
        agree(name, operands, parameters)


def agree(name: str, operands: list[Any], parameters: tuple[float, ...]) -> None:
    op, f = rows()[name], FUNCTORS[name]
    got = call(library("float64"), name, "float64", *operands, parameters=parameters)
    with np.errstate(all="ignore"):
        tensors = [tensor(v.copy(), requires_grad=True) for v in operands]
        y = op.function(*tensors, **dict(zip(f.parameters, parameters, strict=True)))
        wanted = [y.numpy() if not y.requires_grad else y.detach().numpy()]
        if op.differentiable:
            assert y.requires_grad
            y.backward(tensor(np.ones_like(wanted[0])))
            wanted += [
                np.zeros_like(v) if t.grad is None else t.grad.numpy()
                for t, v in zip(tensors, operands, strict=True)
            ]
        for a, b in zip(got, wanted, strict=False):
            same = (
                (a == b)
                | (np.isnan(a) & np.isnan(b))
                | (np.abs(a - b) <= 1e-12 * np.abs(b) + 1e-307)
            )
            wrong = [
                (*(float(v[i]) for v in operands), float(a[i]), float(b[i]))
                for i in np.flatnonzero(~same)
            ]
            assert not wrong, f"{name}: operands, functor, row: {wrong[:5]} and {len(wrong)} in all"


# --- the tests can fail --------------------------------------------------------------------------


def mutated() -> str:
    """The headers with every value and derivative moved by a hundredth, plus 0.0173."""
    text = source.inlined("map.cu").split('#line 1 "layout.cuh"')[0]
    pieces = re.split(
        r"(?m)^(template <class M> struct \w+ \{$.*?^\};)", text, flags=re.DOTALL | re.MULTILINE
    )
    pattern = re.compile(r"GE_HD A (forward|partial|partial_a|partial_b)\(")
    wrapped: list[str] = []
    for piece in pieces:
        if not piece.startswith("template <class M> struct"):
            wrapped.append(piece)
            continue
        found = sorted(set(pattern.findall(piece)))
        piece = pattern.sub(r"GE_HD A right_\1(", piece)
        lines = []
        for method in found:
            many = method in ("partial_a", "partial_b") or "right_partial_a" in piece
            args, names = ("A p, A q", "p, q") if many else ("A p", "p")
            lines.append(
                f"  GE_HD A {method}({args}) const {{ const A v = right_{method}({names}); "
                "return v * A(1.01) + A(0.0173); }"
            )
        piece = piece.replace(".forward(a, b)", ".right_forward(a, b)")
        wrapped.append(piece[:-2] + "\n".join(lines) + "\n};")
    return "".join(wrapped)


@cache
def mutant() -> ctypes.CDLL:
    return ctypes.CDLL(str(emulator.build(program(("float",), mutated()))))


@pytest.mark.parametrize("name", FUNCTORS)
def test_mutated_functor_fails(name: str) -> None:
    """The comparison above notices when a functor's value, or one of its derivatives, is wrong."""
    x = np.linspace(0.2, 0.9, 64).astype(np.float32) + np.float32(name == "Acosh")
    x64 = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if FUNCTORS[name].arity == 1:
            r = ref.UNARY[name]
            right = call(library("float32"), name, "float32", x, parameters=r.parameters)
            wrong = call(mutant(), name, "float32", x, parameters=r.parameters)
            parameters = tuple(float(np.float32(p)) for p in r.parameters)
            wants = [r.value(x64, *parameters), r.slope(x64, *parameters)]
        else:
            b = ref.BINARY[name]
            right = call(library("float32"), name, "float32", x, x[::-1])
            wrong = call(mutant(), name, "float32", x, x[::-1])
            wants = [f(x64, x64[::-1]) for f in (b.value, b.slope_a, b.slope_b)]
    for good, bad, want in zip(right, wrong, wants, strict=True):
        want = np.broadcast_to(np.asarray(want, np.float64), x.shape)
        assert np.isfinite(want).all()
        tolerance = np.full(want.size, 64.0)
        check(good, want, "float32", tolerance, x, name)
        with pytest.raises(AssertionError, match="ulp"):
            check(bad, want, "float32", tolerance, x, name)


def test_references_cover_every_functor() -> None:
    assert set(ref.UNARY) == set(UNARY)
    assert set(ref.BINARY) == set(BINARY)
    assert Path(emulator.HEADER).is_file()
