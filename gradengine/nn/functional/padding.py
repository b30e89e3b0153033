"""Padding with PyTorch's list of widths, last axis first; ops/padding.py does it.

Floor 6: stands on ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.tensor import Tensor

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's names of the modes, and those of `ge.pad`."""


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """x with pad = (before, after) of the last axis, then of the last but one, and so on.

    Negative widths cut off. Modes, for 1 2 3: constant `v v | 1 2 3 | v v`, reflect
    `3 2 | 1 2 3 | 2 1`, replicate `1 1 | 1 2 3 | 3 3`, circular `2 3 | 1 2 3 | 1 2`; a reflection
    must be narrower than its axis, a circular padding no wider. Raises ShapeError.

    >>> import gradengine as ge
    >>> pad(ge.tensor([[1.0, 2.0, 3.0]]), (1, 2), value=9.0)
    tensor([[9., 1., 2., 3., 9., 9.]])
    """
    widths = _by_axis(tuple(input.shape), tuple(pad), mode, value)
    if any(before < 0 or after < 0 for before, after in widths):
        kept = zip(input.shape, widths, strict=True)
        cut = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in kept)
        input = input[cut]
        widths = [(max(b, 0), max(a, 0)) for b, a in widths]
    if mode == "constant":
        return ops.pad(input, widths, constant_values=0.0 if value is None else value)
    return ops.pad(input, widths, mode=MODES[mode])


def _by_axis(
    shape: tuple[int, ...], pad: tuple[Any, ...], mode: str, value: Any
) -> list[tuple[int, int]]:
    """(before, after) for each axis, first axis first, after a look at all that can be wrong."""
    if mode not in MODES:
        text = f"pad: mode={mode!r} is not known"
        raise ShapeError(hinted(text, f"one of {', '.join(MODES)}"))
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        text = f"pad: {len(pad)} widths {pad} for input {shape}"
        raise ShapeError(hinted(text, "give two for each axis, last axis first"))
    if mode != "constant" and value is not None:
        text = f"pad: value={value} with mode={mode!r}"
        raise ShapeError(hinted(text, 'only mode="constant" takes a value'))
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    widths = [(0, 0)] * (len(shape) - len(pairs)) + [(int(b), int(a)) for b, a in pairs[::-1]]
    limit = {"reflect": -1, "circular": 0}.get(mode)
    for axis, (n, pair) in enumerate(zip(shape, widths, strict=True)):
        if n + min(pair[0], 0) + min(pair[1], 0) < 0:
            text = f"pad: {pair} cuts more than axis {axis} of {shape} has"
            raise ShapeError(hinted(text, "cut off no more than there is"))
        if limit is not None and max(pair) > max(n + limit, 0):
            text = f"pad: {pair} around axis {axis} of {shape} with mode={mode!r}"
            raise ShapeError(hinted(text, f"at most {n + limit} can be added to {n} that way"))
    return widths
