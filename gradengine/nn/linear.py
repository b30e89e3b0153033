"""Layers that are linear in their input.

Floor 6: stands on functional/linear.py and module.py.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import creation
from gradengine.errors import ShapeError, hinted
from gradengine.nn import init
from gradengine.nn.functional.linear import bilinear, linear
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


class Identity(Module):
    """y = x; arguments of the constructor are taken and not used.

    >>> import gradengine as ge
    >>> Identity(54, unused=True)(ge.tensor([1.0]))
    tensor([1.])
    """

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class _Affine(Module):
    """What Linear and Bilinear share: weight and bias, both from U(-k, k)."""

    weight: Parameter
    bias: Parameter | None

    def _make(
        self, shape: tuple[int, ...], bias: bool, generator: Generator | None, options: Any
    ) -> None:
        self.weight = Parameter(creation.empty(shape, **options))
        self.bias = Parameter(creation.empty(shape[:1], **options)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw weight and bias anew from U(-k, k), k = 1 / sqrt(weight.shape[1])."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound, generator)


class Linear(_Affine):
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
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        options = {"device": device, "dtype": dtype}
        self._make((out_features, in_features), bias, generator, options)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Bilinear(_Affine):
    """y_k = x1^T A_k x2 + b_k, with A of shape (out_features, in1_features, in2_features).

    Shapes: x1 (..., in1_features), x2 (..., in2_features), y (..., out_features). A and b are
    drawn from U(-k, k), k = 1 / sqrt(in1_features).

    >>> import gradengine as ge
    >>> layer = Bilinear(3, 4, 2)
    >>> layer(ge.zeros((5, 3)), ge.zeros((5, 4))).shape
    (5, 2)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        sizes = {"in1_features": in1_features, "in2_features": in2_features}
        check_sizes("Bilinear", **sizes, out_features=out_features)
        options = {"device": device, "dtype": dtype}
        self._make((out_features, in1_features, in2_features), bias, generator, options)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{sizes}, out_features={self.out_features}, bias={self.bias is not None}"


def check_sizes(name: str, **sizes: int) -> None:
    """Refuse sizes below 1."""
    for key, size in sizes.items():
        if size < 1:
            raise ShapeError(hinted(f"{name}: {key}={size}", "give at least 1"))
