"""A line search along a direction d: a step t at which phi(t) = f(x + t d) obeys strong Wolfe.

That is phi(t) <= phi(0) + c1 t phi'(0) and abs(phi'(t)) <= c2 abs(phi'(0)). First t grows until
an interval holds such a point, then cubic interpolation narrows it. Source: Nocedal and Wright,
Numerical Optimization (2006), algorithms 3.5 and 3.6, with the safeguards PyTorch has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

ARMIJO, CURVATURE = 1e-4, 0.9


class Point(NamedTuple):
    """A step, the value and slope of phi there, and the whole gradient."""

    t: float
    value: float
    slope: float
    gradient: Any


def cubic_minimum(a: Point, b: Point, low: float | None = None, high: float | None = None) -> float:
    """Where the cubic through two values and slopes is least, kept within [low, high].

    The default bounds are the two steps themselves; a cubic without a minimum gives their middle.

    >>> cubic_minimum(Point(0.0, 1.0, -2.0, None), Point(3.0, 4.0, 4.0, None))  # (t - 1)**2
    1.0
    """
    if b.t < a.t:
        a, b = b, a
    low, high = a.t if low is None else low, b.t if high is None else high
    first = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = first * first - a.slope * b.slope
    if not square >= 0:  # NaN included
        return (low + high) / 2
    second = math.sqrt(square)
    bottom = b.slope - a.slope + 2 * second
    if bottom == 0:
        return (low + high) / 2
    t = b.t - (b.t - a.t) * ((b.slope + second - first) / bottom)
    return min(max(t, low), high)


def strong_wolfe(
    phi: Callable[[float], Point],
    start: Point,
    t: float,
    *,
    longest: float,
    tolerance: float = 1e-9,
    limit: int = 25,
) -> tuple[Point, int]:
    """The point found and how often `phi` was called.

    `start` is phi at 0, `t` the first step tried, `longest` the largest element of d, which turns a
    width of t into one of x. After `limit` trials the lowest point so far is taken.

    >>> phi = lambda t: Point(t, (t - 1) ** 2, 2 * (t - 1), None)
    >>> strong_wolfe(phi, phi(0.0), 0.5, longest=1.0)[0].t
    0.5
    """
    search = _Search(phi, start, longest, tolerance, limit)
    return search.run(t)


class _Search:
    def __init__(
        self, phi: Callable[[float], Point], start: Point, longest: float, tolerance: float, n: int
    ) -> None:
        self.phi, self.start, self.longest = phi, start, longest
        self.tolerance, self.limit, self.trials, self.calls = tolerance, n, 0, 0

    def run(self, t: float) -> tuple[Point, int]:
        found = self.bracket(t)
        point = found if isinstance(found, Point) else self.narrow(*found)
        return point, self.calls

    def at(self, t: float) -> Point:
        self.calls += 1
        return self.phi(t)

    def too_high(self, point: Point) -> bool:
        return point.value > self.start.value + ARMIJO * point.t * self.start.slope

    def flat_enough(self, point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * self.start.slope

    def bracket(self, t: float) -> Point | tuple[Point, Point]:
        """Lengthen the step until it is good, or an interval is known that holds a good one."""
        before, now = self.start, self.at(t)
        while self.trials < self.limit:
            if self.too_high(now) or (self.trials > 1 and now.value >= before.value):
                return before, now
            if self.flat_enough(now):
                return now
            if now.slope >= 0:
                return before, now
            low = now.t + 0.01 * (now.t - before.t)
            t = cubic_minimum(before, now, low, 10 * now.t)
            before, now = now, self.at(t)
            self.trials += 1
        return self.start, now

    def narrow(self, a: Point, b: Point) -> Point:
        """Shrink the interval; `low` is its end with the lower value."""
        low, high = (a, b) if a.value <= b.value else (b, a)
        stuck = False
        while self.trials < self.limit:
            if abs(high.t - low.t) * self.longest <= self.tolerance:  # both may be 0
                break
            t, stuck = self.trial(low, high, stuck)
            now = self.at(t)
            self.trials += 1
            if self.too_high(now) or now.value >= low.value:
                high = now
                if low.value > high.value:
                    low, high = high, low
                continue
            if self.flat_enough(now):
                return now
            if now.slope * (high.t - low.t) >= 0:
                high = low
            low = now
        return low

    @staticmethod
    def trial(low: Point, high: Point, stuck: bool) -> tuple[float, bool]:
        """The next step: the cubic's minimum, a tenth inside where it clings to an end twice."""
        t = cubic_minimum(low, high)
        left, right = min(low.t, high.t), max(low.t, high.t)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) >= margin:
            return t, False
        if stuck or t >= right or t <= left:
            return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
        return t, True
