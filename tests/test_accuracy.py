"""Every activation and its slope against mpmath, over the whole range of three dtypes, in ulp.

A unit in the last place is the spacing of the dtype at the true result. In float32 and float64 a
value may lie 4 and a slope 8 from the truth, plus its condition number where that exceeds 1 (twice
that for a slope, a sum of two rounded terms that cancel at its root): what a rounding of x would do
anyway. In float16 it is 1 and 2, without allowance. The true slope and its condition come from the
value's formula by arithmetic on Taylor series, so they share nothing with our rules.
`pytest tests/test_accuracy.py -s` prints the worst of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

import gradengine as ge
from gradengine.op import registry

mp = mpmath.mp
mpf = mpmath.mpf
DIGITS = 60
UNDERFLOW_IS_RIGHT: dict[str, Any] = {"all": "raise", "under": "ignore"}
"""A tail that vanishes sets the processor's underflow flag, as np.exp(-1e4) itself does."""


# --- truth: Taylor series of order 2 in mpmath numbers ---


@dataclass(frozen=True)
class Jet:
    """f, f' and f'' at one x."""

    f: Any
    d: Any = 0
    dd: Any = 0

    def through(self, f: Any, d: Any, dd: Any) -> Jet:
        """h(self), given h, h' and h'' at the value of self."""
        return Jet(f, d * self.d, dd * self.d**2 + d * self.dd)

    def __add__(self, other: Any) -> Jet:
        o = jet(other)
        return Jet(self.f + o.f, self.d + o.d, self.dd + o.dd)

    def __mul__(self, other: Any) -> Jet:
        o = jet(other)
        return Jet(
            self.f * o.f,
            self.d * o.f + self.f * o.d,
            self.dd * o.f + 2 * self.d * o.d + self.f * o.dd,
        )

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Jet:
        return -1 * self

    def __sub__(self, other: Any) -> Jet:
        return self + -jet(other)

    def __rsub__(self, other: Any) -> Jet:
        return jet(other) - self

    def __truediv__(self, other: Any) -> Jet:
        o = jet(other)
        return self * o.through(1 / o.f, -1 / o.f**2, 2 / o.f**3)

    def __rtruediv__(self, other: Any) -> Jet:
        return jet(other) / self


def jet(x: Any) -> Jet:
    return x if isinstance(x, Jet) else Jet(mpf(x))


def exp(x: Jet) -> Jet:
    e = mp.exp(x.f)
    return x.through(e, e, e)


def tanh(x: Jet) -> Jet:
    t, s = mp.tanh(x.f), mp.sech(x.f) ** 2
    return x.through(t, s, -2 * t * s)


def log1p(x: Jet) -> Jet:
    r = 1 / (1 + x.f)
    return x.through(mp.log1p(x.f), r, -r * r)


def sigmoid(x: Jet) -> Jet:
    return 1 / (1 + exp(-x)) if x.f > 0 else exp(x) / (1 + exp(x))


def softplus(x: Jet) -> Jet:
    return log1p(exp(x)) if x.f < 0 else x + log1p(exp(-x))


def normal(x: Jet) -> Jet:
    if abs(x.f) > 1000:
        return jet(x.f > 0)
    density = mp.exp(-x.f * x.f / 2) / mp.sqrt(2 * mp.pi)
    return x.through(mp.erfc(-x.f / mp.sqrt(2)) / 2, density, -x.f * density)


def pieces(x: Jet, *limits: tuple[Any, Callable[[Jet], Any]], last: Callable[[Jet], Any]) -> Jet:
    """The first piece whose limit x does not exceed, or the last."""
    for limit, piece in limits:
        if x.f <= limit:
            return jet(piece(x))
    return jet(last(x))


def zero(x: Jet) -> Jet:
    return 0 * x


def same(x: Jet) -> Jet:
    return x


def expm1(x: Jet) -> Jet:
    e = mp.exp(x.f)
    return x.through(mp.expm1(x.f), e, e)


def softsign(x: Jet) -> Jet:
    r = 1 / (1 + abs(x.f))
    return x.through(x.f * r, r**2, -2 * mp.sign(x.f) * r**3)


def tanhshrink(x: Jet) -> Jet:
    t, s = mp.tanh(x.f), mp.sech(x.f) ** 2
    f = x.f - t if abs(x.f) > 1e-12 else x.f**3 / 3 - 2 * x.f**5 / 15 + 17 * x.f**7 / 315
    return x.through(f, t**2, 2 * t * s)


SCALE, ALPHA = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")

TRUTH: dict[str, Callable[[Jet], Jet]] = {
    "relu": lambda x: pieces(x, (0, zero), last=same),
    "leaky_relu": lambda x: pieces(x, (0, lambda x: mpf(0.01) * x), last=same),
    "relu6": lambda x: pieces(x, (0, zero), (6, same), last=lambda x: 6 + 0 * x),
    "elu": lambda x: pieces(x, (0, expm1), last=same),
    "selu": lambda x: SCALE * pieces(x, (0, lambda x: ALPHA * expm1(x)), last=same),
    "celu": lambda x: pieces(x, (0, expm1), last=same),
    "gelu": lambda x: x * normal(x),
    "gelu_tanh": lambda x: x * sigmoid(mp.sqrt(8 / mp.pi) * (x + mpf(44715) / 1000000 * x * x * x)),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * tanh(softplus(x)),
    "softplus": softplus,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: -softplus(-x),
    "tanh": tanh,
    "hardtanh": lambda x: pieces(x, (-1, lambda x: 0 * x - 1), (1, same), last=lambda x: 0 * x + 1),
    "hardsigmoid": lambda x: pieces(
        x, (-3, zero), (3, lambda x: (x + 3) / 6), last=lambda x: 0 * x + 1
    ),
    "hardswish": lambda x: pieces(x, (-3, zero), (3, lambda x: x * (x + 3) / 6), last=same),
    "softsign": softsign,
    "tanhshrink": tanhshrink,
    "softshrink": lambda x: pieces(
        x, (-0.5, lambda x: x + 0.5), (0.5, zero), last=lambda x: x - 0.5
    ),
    "hardshrink": lambda x: pieces(x, (-0.5, same), (0.5, zero), last=same),
    "threshold": lambda x: pieces(x, (0, zero), last=same),
}
KINKS = (0.0, 0.5, 1.0, 3.0, 6.0)  # of some; there the slope is a choice, which other tests check


# --- where ---


@cache
def points(dtype: type) -> Any:
    """Both signs of: every size from subnormal to the largest, and densely where things happen."""
    info = np.finfo(dtype)
    random = np.random.default_rng(3)
    tiny = np.log(float(info.smallest_subnormal))
    sizes = np.concatenate(
        [
            np.exp(np.linspace(tiny, np.log(float(info.max)), 40)),
            np.exp(random.uniform(np.log(1e-3), np.log(30), 60)),
            random.uniform(0.0, min(-1.05 * tiny, float(info.max)), 60),
            [0.2785, 0.7518, 1.2785, 1.25, 2.0, 20.5, 39.9, 40.1],
        ]
    )
    sizes = sizes[sizes < 0.9 * float(info.max)]  # selu grows by 5 %
    x = np.unique(np.concatenate([sizes, -sizes]).astype(dtype))
    return x[np.isfinite(x) & ~np.isin(np.abs(x), KINKS)]


@cache
def truth(name: str, dtype: type) -> tuple[Any, Any, Any, Any]:
    """(value, its condition, slope, its condition), exact to many digits."""
    with mp.workdps(DIGITS):
        jets = [TRUTH[name](Jet(mpf(float(x)), mpf(1))) for x in points(dtype)]
        xs = [mpf(float(x)) for x in points(dtype)]
        cond = [_condition(x, j.f, j.d) for x, j in zip(xs, jets, strict=True)]
        cond_d = [_condition(x, j.d, j.dd) for x, j in zip(xs, jets, strict=True)]
        return [j.f for j in jets], np.array(cond), [j.d for j in jets], np.array(cond_d)


def _condition(x: Any, f: Any, d: Any) -> float:
    return min(float(abs(x * d / f)), 1e30) if f else 0.0


def errors_in_ulp(got: Any, exact: Any) -> Any:
    """|got - exact| in spacings of got's dtype at exact, computed without rounding."""
    near = np.array([float(e) for e in exact]).astype(got.dtype)
    ulp = np.abs(np.spacing(near))
    with mp.workdps(DIGITS):
        pairs = zip(got.tolist(), exact, ulp.tolist(), strict=True)
        return np.array([float(abs(mpf(g) - e) / mpf(u)) for g, e, u in pairs])


def excused(condition: Any, roundings: int) -> Any:
    """The ulp that so many roundings of x excuse, where x is badly conditioned at all."""
    return np.where(condition > 1, roundings * condition, 0)


# --- the tests ---

LIMITS = {np.float16: (1, 2), np.float32: (4, 8), np.float64: (4, 8)}


def value_and_slope(name: str, x: Any) -> tuple[Any, Any]:
    t = ge.tensor(x, requires_grad=True)
    with np.errstate(**UNDERFLOW_IS_RIGHT):
        y = registry[name].function(t)
        y.backward(ge.ones_like(y))
    assert t.grad is not None
    return y.numpy(), t.grad.numpy()


@pytest.mark.parametrize("name", TRUTH)
def test_value_and_slope_are_within_the_promised_ulp(name: str):
    report: list[str] = []
    for dtype, limits in LIMITS.items():
        x = points(dtype)
        value, condition, slope, condition_of_slope = truth(name, dtype)
        found = value_and_slope(name, x)
        for what, i in (("value", 0), ("slope", 1)):
            got, exact = found[i], (value, slope)[i]
            assert got.dtype == dtype
            errors = errors_in_ulp(got, exact)
            if dtype is not np.float16:
                errors = errors - excused((condition, condition_of_slope)[i], 1 + i)
            at = int(errors.argmax())
            report.append(f"{dtype.__name__} {what} {errors[at]:.2f}")
            where = f"{name}({x[at]!r}), {report[-1]} ulp: {got[at]} is not {exact[at]}"
            assert errors[at] <= limits[i], where
    print(f"\n{name:12}", ", ".join(report))
