"""Random ops whose randomness is counted, not stored: dropout.

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
    if not 0 <= p <= 1:
        raise OutOfRangeError(
            hinted(f"dropout: p={p} is no probability", "p is the share that is dropped: 0 to 1")
        )
    if not training or p == 0:
        return x
    seed, offset = (default_generator if generator is None else generator).take()
    return dropout_(x, p=float(p), seed=seed, offset=offset)
