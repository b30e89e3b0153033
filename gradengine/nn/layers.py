"""Layers: attributes and a `forward`, as dull as they can be.

An activation layer is the op. Linear starts as PyTorch's does, so that a recipe carries over.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.nn import init
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


class Linear(Module):
    """y = x W^T + b, with W of shape (out_features, in_features) and b of (out_features,).

    Shapes: x (..., in_features), y (..., out_features). Both are drawn from U(-k, k),
    k = 1 / sqrt(in_features), with `generator` (the default one if None).

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
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size < 1:
                raise ShapeError(hinted(f"Linear: {name}={size}", "give at least 1"))
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)

        def draw(*shape: int) -> Parameter:
            found = init.uniform(shape, bound, generator=generator, device=device, dtype=dtype)
            return Parameter(found)

        self.weight = draw(out_features, in_features)
        self.bias = draw(out_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)

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
        return ops.relu(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)
