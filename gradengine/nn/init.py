"""Initial weights: how large random numbers must be for signal and gradient to keep their size.

Every function returns a NumPy array drawn from `rng`, so that one seed gives the same weights on
every device. The first axis of a weight counts outputs, the second inputs, further axes a window.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any
Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): how many values one output reads, how many outputs one value reaches.

    >>> fans((64, 3, 5, 5))
    (75, 1600)
    """
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def uniform(shape: Shape, bound: float, rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    """U(-bound, bound)."""
    return rng.uniform(-bound, bound, shape).astype(dtype)


def normal(shape: Shape, std: float, rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    """N(0, std^2)."""
    return (std * rng.standard_normal(shape)).astype(dtype)


def kaiming_uniform(
    shape: Shape, rng: np.random.Generator, a: float = 0.0, dtype: Any = np.float32
) -> Array:
    """U(-b, b), b = sqrt(6 / ((1 + a^2) fan_in)); `a` is the slope of a leaky ReLU.

    Source: arXiv:1502.01852, equation 15. With a = sqrt(5), b = 1 / sqrt(fan_in), what PyTorch's
    layers start with.

    >>> weight = kaiming_uniform((100, 50), np.random.default_rng(0))
    >>> bool(abs(weight).max() < (6 / 50) ** 0.5), weight.dtype
    (True, dtype('float32'))
    """
    return uniform(shape, math.sqrt(6 / ((1 + a * a) * fans(shape)[0])), rng, dtype)


def kaiming_normal(
    shape: Shape, rng: np.random.Generator, a: float = 0.0, dtype: Any = np.float32
) -> Array:
    """N(0, 2 / ((1 + a^2) fan_in)). Source: arXiv:1502.01852, equation 15."""
    return normal(shape, math.sqrt(2 / ((1 + a * a) * fans(shape)[0])), rng, dtype)


def xavier_uniform(shape: Shape, rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    """U(-b, b), b = sqrt(6 / (fan_in + fan_out)): keeps both directions for tanh and sigmoid."""
    return uniform(shape, math.sqrt(6 / sum(fans(shape))), rng, dtype)


def xavier_normal(shape: Shape, rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    """N(0, 2 / (fan_in + fan_out))."""
    return normal(shape, math.sqrt(2 / sum(fans(shape))), rng, dtype)
