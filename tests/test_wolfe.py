"""The line search of L-BFGS where floating point has nothing left to search."""

from __future__ import annotations

from gradengine.optim.wolfe import Point, strong_wolfe


def test_an_interval_shrunk_to_a_point_ends_the_search():
    """Downhill to a cliff: no step satisfies the conditions, and no tolerance stops the search."""

    def phi(t: float) -> Point:
        return Point(t, 1.0 - t, -1.0, None) if t <= 0.5 else Point(t, 2.0, 1.0, None)

    found, calls = strong_wolfe(phi, phi(0.0), 0.25, longest=1.0, tolerance=0.0, limit=10_000)
    assert 0.25 < found.t <= 0.5
    assert calls < 10_000
