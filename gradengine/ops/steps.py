"""How recurrent ops walk through packed steps: rows of each, states before each, what goes back.

Rows of step 0 come first, then those of step 1, ...; `sizes` counts the sequences that are still
running at each step, longest first, so padded and packed batches and single steps are the same
thing. The functions take raw arrays, the class `Steps` raw or traced ones.

Floor 3: stands on joining.py and linalg.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from .. import casting
from ..device import as_array, empty_beside
from ..errors import ShapeError, hinted
from ..tape import Traced, constant, grad_enabled
from .joining import concat, split
from .linalg import is_half

Sizes = Sequence[int]
Span = tuple[int, int]

PACKED = {"sizes": (2, 2, 1)}
BACKWARD = {"sizes": (2, 2, 1), "reverse": True}
"""Parameters of the ops' test cases."""

# --- the walk ---


def spans(sizes: Sizes, reverse: bool) -> list[Span]:
    """(start, stop) of every step's rows, in the order in which the steps are computed."""
    stops = list(accumulate(sizes))
    found = [(stop - n, stop) for stop, n in zip(stops, sizes, strict=True)]
    return found[::-1] if reverse else found


def before_step(xp: Any, last: Any, start: Any, n: int) -> Any:
    """The states before a step of n rows: those of the last step; of new rows, the initial ones."""
    have = len(last)
    if have >= n:
        return last[:n]
    return xp.concatenate((last, start[have:n])) if have else start[:n]


def turned(xp: Any, w: Any, sizes: Sizes) -> Any:
    """The transpose of w; for several steps a copy, which BLAS multiplies by half as fast again."""
    return xp.ascontiguousarray(w.T) if len(sizes) > 1 else w.T


class Steps:
    """The rows of packed arrays step by step, for the rules: raw or traced alike."""

    def __init__(self, sizes: Sizes, reverse: bool) -> None:
        self.cuts, self.reverse = list(accumulate(sizes))[:-1], reverse
        self.sizes = list(sizes)[::-1] if reverse else list(sizes)

    def rows(self, x: Any) -> list[Any]:
        """The rows of every step, in the order of computation."""
        found = split(x, self.cuts, axis=0)
        return found[::-1] if self.reverse else found

    def joined(self, parts: list[Any]) -> Any:
        """The inverse of `rows`."""
        return concat(parts[::-1] if self.reverse else parts, axis=0)

    def previous(self, states: Any, start: Any) -> Any:
        """The states before each step, packed."""
        rows, found = self.rows(states), [start[: self.sizes[0]]]
        for k, n in enumerate(self.sizes[1:]):
            have = self.sizes[k]
            extra = [start[have:n]] if have < n else []
            found.append(concat([rows[k], *extra], axis=0) if extra else _head(rows[k], n))
        return self.joined(found)

    def ready(self, g: Any, carry: Any) -> Any:
        """The cotangent of a step's states: its own, and what the step after it sent back."""
        if carry is None:
            return g
        n = carry.shape[0]
        if n == g.shape[0]:
            return g + carry
        return concat([g[:n] + carry, g[n:]], axis=0)

    def send(self, k: int, carry: Any, start: list[Any]) -> Any:
        """The part of the carry that the step before k gets; the rest goes to the initial state."""
        have = self.sizes[k - 1] if k else 0
        if have < self.sizes[k]:
            start.append(carry[have:] if have else carry)
        return _head(carry, min(have, self.sizes[k])) if k else None

    def initial(self, parts: list[Any], like: Any) -> Any:
        """The cotangent of the initial state from the parts that `send` has left."""
        if not parts:  # no sequences at all
            return like * 0
        found = concat(parts[::-1], axis=0) if len(parts) > 1 else parts[0]
        rest = like.shape[0] - found.shape[0]
        return concat([found, like[found.shape[0] :] * 0], axis=0) if rest else found


def _head(x: Any, n: int) -> Any:
    return x if x.shape[0] == n else x[:n]


# --- in place, on raw arrays ---


def merged(own: Any, carry: Any) -> Any:
    """A step's own cotangent and what the step after it sent back, in new memory."""
    found = own.copy()
    found[: len(carry)] += carry
    return found


def kept_back(carry: Any, start: Any, order: list[Span], k: int) -> Any:
    """The part of the carry that the step before k gets; the rest goes to the initial state."""
    have = order[k - 1][1] - order[k - 1][0] if k else 0
    if have < len(carry):
        start[have : len(carry)] = carry[have:]
    return carry[:have]


# --- room for the gates ---


def room(x: Any, *shape: int) -> Any:
    """Room for the gates of x (rows, gates' share), which an op fills for its adjoint.

    None where nothing is recorded, and for 16-bit floats, whose gates live in float32; also under
    autocast, which would cast the room with everything else.
    """
    raw = x.array if isinstance(x, Traced) else as_array(x)
    if not grad_enabled() or is_half(raw) or casting.current.get() is not None:
        return None
    return constant(Traced.plain, empty_beside(raw, shape, raw.dtype))


# --- errors ---


def check_sizes(name: str, x: Any, w: Any, gates: int, sizes: Sizes, *states: Any) -> None:
    """Sizes of gates, states and steps."""
    hidden = w.shape[0] // gates
    fits = x.ndim == 2 and x.shape[1] == w.shape[0] and w.shape[0] % gates == 0
    if not fits or not len(sizes) or sum(sizes) != x.shape[0]:
        raise ShapeError(
            hinted(
                f"{name}: x {tuple(x.shape)} for weights {tuple(w.shape)}, {len(sizes)} steps of "
                f"{sum(sizes)} rows in all",
                f"x is (rows, {gates} * hidden)",
            )
        )
    for state, size in zip(states, (w.shape[1], hidden), strict=False):
        if state.ndim != 2 or state.shape[1] != size or state.shape[0] < max(sizes, default=0):
            raise ShapeError(
                hinted(
                    f"{name}: an initial state {tuple(state.shape)} for {max(sizes, default=0)} "
                    f"sequences and {size} features",
                    f"give (batch, {size})",
                )
            )
