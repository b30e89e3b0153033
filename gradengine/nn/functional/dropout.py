"""Dropout with PyTorch's names and signatures; ops/noise.py has the formulas.

`inplace=True` is taken and gives the same values in a new tensor: on the tape a write is a new step
anyway. Without `generator` the default one of `ge.random` draws the masks.

Floor 6: stands on ops.
"""

from __future__ import annotations

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.ops import noise
from gradengine.random import Generator
from gradengine.tensor import Tensor

# --- elements ---


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Zero each element with probability p, divide the others by 1 - p; see `ge.dropout`.

    >>> import gradengine as ge
    >>> dropout(ge.ones(3), p=1.0)
    tensor([0., 0., 0.])
    """
    return ops.dropout(input, p, training, generator)


def alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Dropout for selu, which keeps mean 0 and variance 1.

    Dropped elements take selu's lowest value, and a x + b restores the moments. Klambauer et al.,
    arXiv:1706.02515. Raises OutOfRangeError unless 0 <= p <= 1.

    >>> import gradengine as ge
    >>> x = ge.random.randn(4000, generator=ge.random.Generator(1))
    >>> y = alpha_dropout(x, 0.3, training=True, generator=ge.random.Generator(0))
    >>> abs(y.mean().item()) < 0.05, abs(y.std().item() - 1) < 0.05
    (True, True)
    """
    return noise.alpha_dropout(input, p, training, generator)


# --- channels ---


def dropout1d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Zero each channel of (N, C, L) or (C, L) with probability p, divide the rest by 1 - p.

    Tompson et al., arXiv:1411.4280. Raises ShapeError for another number of axes.

    >>> import gradengine as ge
    >>> dropout1d(ge.ones((1, 1, 2)), p=1.0)
    tensor([[[0., 0.]]])
    """
    return _channels("dropout1d", input, p, training, generator, (3,), (2,))


def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`dropout1d` for (N, C, H, W); three axes are (N, C, L), as in PyTorch.

    >>> import gradengine as ge
    >>> dropout2d(ge.ones((1, 1, 1, 2)), p=1.0)
    tensor([[[[0., 0.]]]])
    """
    return _channels("dropout2d", input, p, training, generator, (3, 4), ())


def dropout3d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`dropout1d` for (N, C, D, H, W) or (C, D, H, W).

    >>> import gradengine as ge
    >>> dropout3d(ge.ones((1, 1, 1, 2)), p=1.0)
    tensor([[[[0., 0.]]]])
    """
    return _channels("dropout3d", input, p, training, generator, (5,), (4,))


def _channels(
    name: str,
    x: Tensor,
    p: float,
    training: bool,
    generator: Generator | None,
    batched: tuple[int, ...],
    single: tuple[int, ...],
) -> Tensor:
    if x.ndim in batched:
        return noise.channel_dropout(x, p, training, generator)
    if x.ndim in single:
        return noise.channel_dropout(x[None], p, training, generator)[0]
    axes = " or ".join(str(n) for n in sorted((*batched, *single)))
    text = f"{name}: input {tuple(x.shape)} has {x.ndim} axes"
    raise ShapeError(hinted(text, f"give {axes} axes: samples, channels and places"))


def feature_alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`alpha_dropout` of whole channels (axes 0 and 1). Raises ShapeError for fewer than 2 axes.

    >>> import gradengine as ge
    >>> y = feature_alpha_dropout(ge.zeros((1, 1, 3)), 0.5, training=True)
    >>> len(set(y.tolist()[0][0]))
    1
    """
    if input.ndim < 2:
        text = f"feature_alpha_dropout: input {tuple(input.shape)}"
        raise ShapeError(hinted(text, "give (N, C, ...) with at least 2 axes"))
    return noise.alpha_dropout(input, p, training, generator, channels=True)
