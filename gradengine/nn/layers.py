"""Layers: attributes and a `forward`, as dull as they can be.

An activation layer is the op. Linear starts as PyTorch's does, so that a recipe carries over.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradengine.nn import init
from gradengine.nn.module import Module, Parameter
from gradengine.ops import activations
from gradengine.tensor import Tensor


class Linear(Module):
    """y = x W^T + b, with W of shape (out_features, in_features) and b of (out_features,).

    Shapes: x (..., in_features), y (..., out_features). Weights are drawn from
    U(-1/sqrt(in_features), 1/sqrt(in_features)) with `rng`.

    >>> import gradengine as ge
    >>> layer = Linear(3, 2)
    >>> layer(ge.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self.weight = Parameter(init.kaiming_uniform(shape, rng, math.sqrt(5), dtype))
        bound = 1 / math.sqrt(in_features)
        self.bias = Parameter(init.uniform((out_features,), bound, rng, dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Sequential(Module):
    """Modules one after the other, named "0", "1", ...

    >>> Sequential(Linear(4, 3), ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Module) -> None:
        for index, module in enumerate(modules):
            setattr(self, str(index), module)

    def forward(self, x: Any) -> Any:
        for _, module in self.named_children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __getitem__(self, index: int) -> Module:
        return [module for _, module in self.named_children()][index]


# --- activations ---------------------------------------------------------------------------------


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.relu(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.sigmoid(x)
