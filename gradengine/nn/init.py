"""Initial weights: how large random numbers must be for signal and gradient to keep their size.

Every function returns a new tensor drawn from `generator` (the default one of `ge.random` if none
is given); one seed gives the same weights on every device. The first axis of a weight counts
outputs, the second inputs, further axes a window.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import random
from gradengine.errors import ShapeError, hinted
from gradengine.random import Generator
from gradengine.tensor import Tensor

Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): how many values one output reads, how many outputs one value reaches.

    >>> fans((64, 3, 5, 5))
    (75, 1600)
    """
    if len(shape) < 2:
        text = f"init: fans need a weight of two axes at least, got shape {tuple(shape)}"
        raise ShapeError(hinted(text, "draw a vector with init.uniform or init.normal"))
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def uniform(
    shape: Shape, bound: float, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """U(-bound, bound); `options` are `dtype` and `device`."""
    return random.uniform(-bound, bound, shape, generator=generator, **options)


def normal(
    shape: Shape, std: float, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """N(0, std^2)."""
    return random.normal(0.0, std, shape, generator=generator, **options)


def kaiming_uniform(
    shape: Shape, a: float = 0.0, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """U(-b, b), b = sqrt(6 / ((1 + a^2) fan_in)); `a` is the slope of a leaky ReLU.

    Source: arXiv:1502.01852, equation 15. With a = sqrt(5), b = 1 / sqrt(fan_in), what PyTorch's
    layers start with.

    >>> weight = kaiming_uniform((100, 50))
    >>> bool((abs(weight) <= (6 / 50) ** 0.5).all())
    True
    """
    bound = math.sqrt(6 / ((1 + a * a) * fans(shape)[0]))
    return uniform(shape, bound, generator=generator, **options)


def kaiming_normal(
    shape: Shape, a: float = 0.0, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """N(0, 2 / ((1 + a^2) fan_in)). Source: arXiv:1502.01852, equation 15."""
    std = math.sqrt(2 / ((1 + a * a) * fans(shape)[0]))
    return normal(shape, std, generator=generator, **options)


def xavier_uniform(shape: Shape, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """U(-b, b), b = sqrt(6 / (fan_in + fan_out)), for tanh and sigmoid.

    It keeps the size of the signal on its way forward and of the gradient on its way back.
    """
    return uniform(shape, math.sqrt(6 / sum(fans(shape))), generator=generator, **options)


def xavier_normal(shape: Shape, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """N(0, 2 / (fan_in + fan_out))."""
    return normal(shape, math.sqrt(2 / sum(fans(shape))), generator=generator, **options)
