"""The normal distribution function by formulas of few steps: what ndtr and gelu compute.

Both tails come from Mills' ratio P(-x) / P'(x), which varies so slowly that polynomials follow it
to the last digit, times the density, which falls off. Steps count: each is a pass over the array.
All work in place on fresh arrays, and none asks which side a number is on: NumPy's `where`
branches, and random signs make that ten times as slow.

Letters: P the normal distribution function, `x` input, `size` |x|.

Floor 3: stands on hostloops.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..hostloops import at_most

Coefficients: TypeAlias = Sequence[float]
Room: TypeAlias = tuple[Any, Any] | None

DENSITY = 1 / math.sqrt(2 * math.pi)
"""Of the standard normal distribution at 0."""

# --- Mills' ratio ---

MILLS = (
    0.47205320650984467, -0.09670347732652539, 0.013999634724429246, 0.02860036405350548,
    -0.03219783742830118, 0.01793609748107035, -0.005002378586223464, -0.0002856231174559572,
    0.0006948970482199304, -9.443010707174981e-05, -8.785279399734496e-05, 2.124940205575602e-05,
    1.362517184863974e-05, -3.4304975225347807e-06, -2.608123839676417e-06, 4.0196463578883094e-07,
    5.432993867882331e-07, 2.9898008637744734e-09, -1.0114238974678885e-07, -1.902239602727693e-08,
    1.1317620050772997e-08, 4.392738584158461e-09, 2.1623725193175852e-10,
)  # fmt: skip
"""Coefficients in t = (x - 4) / (x + 4) of (1 + x) e**(x**2 / 2) P(-x) for x >= 0, within 2**-53.

P is the normal distribution function; the variable is that of Shepherd and Laframboise, Mathematics
of Computation 36 (1981) 249, the coefficients are interpolated at Chebyshev's points.
"""


MILLS_SINGLE = (
    (9.368932598092742, 40.65013637392546, 94.08078243747, 102.82913718897827),
    (9.36903014845057, 41.64567959299717, 103.53600399094218, 140.52875371247526, 82.0457796257399),
)  # fmt: skip
"""Mills' ratio P(-x) / P'(x) for 0 <= x < 15 as a quotient of polynomials in x: numerator and
denominator from the second coefficient on, the first is 1. Fitted; relative error 1.6e-8."""


def quotient(xp: Any, x: Any, above: Coefficients, below: Coefficients, room: Room = None) -> Any:
    """(x**m + above[0] x**(m-1) + ...) / (x**n + below[0] x**(n-1) + ...), in the first `room`."""
    y, z = room or (None, None)
    y = _horner(xp.add(x, above[0], out=y), x, above[1:])
    y /= _horner(xp.add(x, below[0], out=z), x, below[1:])
    return y


def _horner(y: Any, x: Any, coefficients: Coefficients) -> Any:
    """The polynomial in x that goes on from y, a fresh array, which is overwritten."""
    for coefficient in coefficients:
        y *= x
        y += coefficient
    return y


def mills_ratio(xp: Any, size: Any) -> Any:
    """P(-x) / P'(x) for x = `size` >= 0: what of the tail varies slowly, so that polynomials do."""
    if size.dtype == "float32":
        return quotient(xp, size, *MILLS_SINGLE)
    t = (size - 4) / (size + 4)
    y = _horner(MILLS[-1] * t + MILLS[-2], t, MILLS[-3::-1])
    y *= math.sqrt(2 * math.pi)
    y /= 1 + size
    return y


# --- the tail ---


def magnitude(xp: Any, x: Any) -> Any:
    """|x|, cut where the normal distribution's tail has underflowed and x**5 not yet overflown."""
    size = xp.abs(x)
    most = 15.0 if size.dtype == "float32" else 40.0
    return at_most(xp, size, most, out=size if size.ndim else None)


def bell(xp: Any, x: Any, out: Any = None) -> Any:
    """e**(-x**2 / 2): the rounding of x**2 tells as one of x would."""
    y = xp.square(x, out=out)
    y *= -0.5
    return xp.exp(y, out=out)


GELU_HEIGHT = 0.3988017737865448
GELU_SINGLE = (
    (7.577857971191406, 24.074237823486328, 35.4147834777832),
    (7.563544750213623, 25.224702835083008, 41.73943328857422, 28.246957778930664),
)
"""P(-x) = GELU_HEIGHT * quotient(x, *GELU_SINGLE) * e**(-x**2 / 2) for x >= 0 in float32: the
relative error, 3.9e-8 (1 + x**2), is no more than what the rounding of x**2 costs anyway. The
coefficients are float32's own, tuned for the least error as it is computed here."""


def tail_parts(xp: Any, size: Any, room: Room = None) -> tuple[Any, Any, float]:
    """q, e and h of P(-x) = h q e for x = `size` >= 0, with e = exp(-x**2 / 2), for gelu.

    `room`, two arrays of size's shape, becomes q and e.
    """
    second = room[1] if room else None
    if size.dtype == "float32":
        return quotient(xp, size, *GELU_SINGLE, room), bell(xp, size, second), GELU_HEIGHT
    return mills_ratio(xp, size), bell(xp, size, second), DENSITY


def normal_cdf(xp: Any, x: Any) -> Any:
    """(1 + erf(x / sqrt(2))) / 2; in float32 with all its digits in the left tail."""
    size = magnitude(xp, x)
    tail = mills_ratio(xp, size)
    tail *= (DENSITY * bell(xp, size.astype("float64"))).astype(tail.dtype)
    right = (x >= 0).astype(tail.dtype)
    tail *= 1 - 2 * right
    tail += right
    return tail
