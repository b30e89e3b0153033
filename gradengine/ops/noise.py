"""Random ops whose randomness is counted, not stored: dropout of elements and of channels.

The mask is a function of (seed, offset, element), so the backward pass computes it again and the
tape keeps two integers in place of an array.

Floor 3: stands on op.py and philox.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.errors import OutOfRangeError, hinted
from gradengine.op import case, primitive
from gradengine.philox import Generator, default_generator, keep_mask

# --- dropout ---


@primitive(
    arity=1,
    linear=True,
    wide=True,
    cases=[
        case((3, 4), p=0.5, seed=1, offset=2),
        case((), p=0.3, seed=1, offset=0),
        case((0, 3), p=0.3, seed=1, offset=0),
        case((5,), p=1.0, seed=3, offset=1),
    ],
)
def dropout_(xp: Any, x: Any, p: float, seed: int, offset: int) -> Any:
    """x / (1 - p) where the mask of (seed, offset) keeps an element, 0 where it drops it."""
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    zero = xp.zeros((), dtype=x.dtype)
    return xp.where(keep_mask(xp, x.shape, p, seed, offset), x, zero) * x.dtype.type(scale)


@dropout_.adjoint
def _(g: Any, _y: Any, _x: Any, p: float, seed: int, offset: int) -> Any:
    return dropout_(g, p=p, seed=seed, offset=offset)


def dropout(
    x: Any, p: float = 0.5, training: bool = True, generator: Generator | None = None
) -> Any:
    """Zero each element with probability `p`, divide the others by 1 - p; identity in evaluation.

    y_i = x_i / (1 - p) if u_i >= p else 0, u_i uniform in [0, 1) at the generator's next offset.
    The expected value is x. The backward draws the mask of its call again; none is kept.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, JMLR 15 (2014) 1929.

    Raises OutOfRangeError unless 0 <= p <= 1.

    >>> import gradengine as ge
    >>> y = ge.dropout(ge.ones(1000), p=0.25, generator=ge.random.Generator(0))
    >>> sorted(set(y.tolist())), round(y.mean().item(), 1)
    ([0.0, 1.3333333730697632], 1.0)
    """
    check_probability("dropout", p)
    if not training or p == 0:
        return x
    seed, offset = (default_generator if generator is None else generator).take()
    return dropout_(x, p=float(p), seed=seed, offset=offset)


# --- whole channels, and dropout that keeps mean and variance ---

_MASKED = [
    case((3, 4), p=0.5, seed=1, offset=2, channels=False),
    case((2, 3, 4), p=0.4, seed=1, offset=2, channels=True),
    case((2, 3), p=1.0, seed=3, offset=1, channels=False),
    case((0, 3), p=0.3, seed=1, offset=0, channels=True),
]


def _mask(xp: Any, x: Any, p: float, seed: int, offset: int, channels: bool) -> Any:
    """Where elements are kept, or, with `channels`, whole channels: one draw each for axes 0, 1."""
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if channels else x.shape
    return keep_mask(xp, shape, p, seed, offset)


@primitive(arity=1, linear=True, wide=True, cases=_MASKED)
def masked(
    xp: Any, x: Any, p: float, seed: int, offset: int, channels: bool, scale: float = 1.0
) -> Any:
    """x * scale where the mask of (seed, offset) keeps an element, or a channel; 0 elsewhere."""
    zero = xp.zeros((), dtype=x.dtype)
    return xp.where(_mask(xp, x, p, seed, offset, channels), x * x.dtype.type(scale), zero)


@masked.adjoint
def _(
    g: Any, _y: Any, _x: Any, p: float, seed: int, offset: int, channels: bool, scale: float
) -> Any:
    return masked(g, p=p, seed=seed, offset=offset, channels=channels, scale=scale)


LOWEST = -1.7580993408473766
"""What selu tends to far below 0: -scale * alpha."""


@primitive(arity=1, wide=True, cases=[c for c in _MASKED if c.params["p"] < 1])
def alpha_dropout_(xp: Any, x: Any, p: float, seed: int, offset: int, channels: bool) -> Any:
    """a x + b where the mask of (seed, offset) keeps an element, a LOWEST + b elsewhere."""
    a, b = _affine(p)
    lowest = xp.full((), LOWEST, dtype=x.dtype)
    kept = xp.where(_mask(xp, x, p, seed, offset, channels), x, lowest)
    return kept * x.dtype.type(a) + x.dtype.type(b)


@alpha_dropout_.adjoint
def _(g: Any, _y: Any, _x: Any, p: float, seed: int, offset: int, channels: bool) -> Any:
    return masked(g, p=p, seed=seed, offset=offset, channels=channels, scale=_affine(p)[0])


def _affine(p: float) -> tuple[float, float]:
    """(a, b) with which the result has mean 0 and variance 1 if x has."""
    a = ((1 - p) * (1 + p * LOWEST**2)) ** -0.5
    return a, -a * p * LOWEST


def channel_dropout(
    x: Any, p: float = 0.5, training: bool = True, generator: Generator | None = None
) -> Any:
    """Zero each channel (place of axes 0 and 1) with probability `p`, divide the rest by 1 - p.

    The identity in evaluation. Source: Tompson et al., arXiv:1411.4280, section 3.2. Raises
    OutOfRangeError unless 0 <= p <= 1.
    """
    check_probability("channel_dropout", p)
    if not training or p == 0:
        return x
    seed, offset = (default_generator if generator is None else generator).take()
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0
    return masked(x, p=float(p), seed=seed, offset=offset, channels=True, scale=scale)


def alpha_dropout(
    x: Any,
    p: float = 0.5,
    training: bool = True,
    generator: Generator | None = None,
    channels: bool = False,
) -> Any:
    """Dropout for selu: dropped elements (or channels) take selu's lowest value.

    Then a x + b restores mean 0 and variance 1. The identity in evaluation. Source: Klambauer et
    al., arXiv:1706.02515, section "New Dropout Technique". Raises OutOfRangeError unless
    0 <= p <= 1.
    """
    check_probability("alpha_dropout", p)
    if not training or p == 0:
        return x
    seed, offset = (default_generator if generator is None else generator).take()
    if p == 1:  # there is nothing to restore
        return masked(x, p=1.0, seed=seed, offset=offset, channels=channels)
    return alpha_dropout_(x, p=float(p), seed=seed, offset=offset, channels=channels)


def check_probability(name: str, p: float) -> None:
    """Raise OutOfRangeError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        text = f"{name}: p={p} is no probability"
        raise OutOfRangeError(hinted(text, "p is the share that is dropped: 0 to 1"))
