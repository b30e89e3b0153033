"""Normalisation layers: weights of ones, biases of zeros, and running statistics as buffers.

Floor 6: stands on nn/functional/normalisation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradengine import creation
from gradengine.errors import ShapeError, hinted
from gradengine.nn.functional import normalisation as F
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


def _ones(shape: Any, device: Any, dtype: Any) -> Parameter:
    return Parameter(creation.ones(shape, device=device, dtype=dtype))


def _zeros(shape: Any, device: Any, dtype: Any) -> Parameter:
    return Parameter(creation.zeros(shape, device=device, dtype=dtype))


# --- batch and instance norm: statistics of channels ---


class _ChannelNorm(Module):
    """What batch norm and instance norm share: parameters and running statistics of channels."""

    ranks: tuple[int, ...] = ()
    layout: str = ""
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
        bias: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = _ones(num_features, device, dtype) if affine else None
        self.bias = _zeros(num_features, device, dtype) if affine and bias else None
        mean = var = count = None
        if track_running_stats:
            mean = creation.zeros(num_features, device=device, dtype=dtype)
            var = creation.ones(num_features, device=device, dtype=dtype)
            count = creation.zeros((), device=device, dtype="int64")
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        if self.running_mean is not None:
            self.running_mean.fill_(0)
        if self.running_var is not None:
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics as at first."""
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def _check(self, x: Tensor, channels: int) -> None:
        """The rank, and the size of axis `channels`."""
        name, shape = type(self).__name__, tuple(x.shape)
        if len(shape) not in self.ranks:
            text = f"{name}: input {shape} has {len(shape)} axes"
            raise ShapeError(hinted(text, f"give {self.layout}"))
        if shape[channels] != self.num_features and (self.affine or self.track_running_stats):
            raise ShapeError(
                hinted(
                    f"{name}: input {shape} has {shape[channels]} channels, the layer "
                    f"{self.num_features}",
                    f"axis {channels} counts channels; num_features={self.num_features}",
                )
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _reset(weight: Parameter | None, bias: Parameter | None) -> None:
    """Ones and zeros, as at first."""
    if weight is not None:
        weight.data = creation.ones_like(weight.detach())
    if bias is not None:
        bias.data = creation.zeros_like(bias.detach())


class _BatchNorm(_ChannelNorm):
    def forward(self, x: Tensor) -> Tensor:
        self._check(x, 1)
        share = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if self.momentum is None:  # the average of all batches seen, each with the same weight
                share = 1 / int(self.num_batches_tracked.item())
        kept = self.track_running_stats or not self.training
        return F.batch_norm(
            x,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            share,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias for every channel of (N, C) or (N, C, L).

    In training with the batch's statistics (biased variance), else with the running ones, which
    each training batch moves: r = (1 - momentum) r + momentum s with the unbiased variance;
    `momentum=None` keeps the plain average of all batches. Without `track_running_stats` the
    batch's own are always used. Ioffe, Szegedy, arXiv:1502.03167.

    >>> import gradengine as ge
    >>> layer = BatchNorm1d(3)
    >>> layer(ge.random.randn(5, 3)).shape, int(layer.num_batches_tracked)
    ((5, 3), 1)
    """

    ranks, layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d for (N, C, H, W).

    >>> import gradengine as ge
    >>> BatchNorm2d(3)(ge.random.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    ranks, layout = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """BatchNorm1d for (N, C, D, H, W).

    >>> import gradengine as ge
    >>> BatchNorm3d(3)(ge.random.randn(2, 3, 2, 2, 2)).shape
    (2, 3, 2, 2, 2)
    """

    ranks, layout = (5,), "(N, C, D, H, W)"


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats,
            device=device, dtype=dtype, bias=bias,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        batched = len(x.shape) == max(self.ranks)
        self._check(x, 1 if batched else 0)
        y = F.instance_norm(
            x if batched else x[None],
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y if batched else y[0]


class InstanceNorm1d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) over each channel of each sample of (N, C, L) or (C, L).

    Then weight and bias if `affine`. With `track_running_stats` the running statistics are used
    in evaluation, as batch norm's. Ulyanov, Vedaldi, Lempitsky, arXiv:1607.08022.

    >>> import gradengine as ge
    >>> InstanceNorm1d(3)(ge.random.randn(2, 3, 5)).shape
    (2, 3, 5)
    """

    ranks, layout = (2, 3), "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """InstanceNorm1d for (N, C, H, W) or (C, H, W).

    >>> import gradengine as ge
    >>> InstanceNorm2d(3)(ge.random.randn(3, 4, 4)).shape
    (3, 4, 4)
    """

    ranks, layout = (3, 4), "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """InstanceNorm1d for (N, C, D, H, W) or (C, D, H, W).

    >>> import gradengine as ge
    >>> InstanceNorm3d(3)(ge.random.randn(2, 3, 2, 2, 2)).shape
    (2, 3, 2, 2, 2)
    """

    ranks, layout = (4, 5), "(N, C, D, H, W) or (C, D, H, W)"


# --- layer, RMS and group norm: statistics of a sample ---


def _as_sizes(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, of `normalized_shape`.

    weight (if `elementwise_affine`) and bias (if `bias` too) have that shape. Ba, Kiros, Hinton,
    arXiv:1607.06450.

    >>> import gradengine as ge
    >>> LayerNorm(3)
    LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)
    >>> LayerNorm(3)(ge.random.randn(5, 3)).shape
    (5, 3)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.normalized_shape = _as_sizes(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        affine = elementwise_affine
        self.weight = _ones(self.normalized_shape, device, dtype) if affine else None
        self.bias = _zeros(self.normalized_shape, device, dtype) if affine and bias else None

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, of `normalized_shape`.

    `eps` None is the machine epsilon of x's dtype. Zhang, Sennrich, arXiv:1910.07467.

    >>> import gradengine as ge
    >>> RMSNorm(3)(ge.random.randn(5, 3)).shape
    (5, 3)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.normalized_shape = _as_sizes(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        affine = elementwise_affine
        self.weight = _ones(self.normalized_shape, device, dtype) if affine else None

    def reset_parameters(self) -> None:
        """Weight 1."""
        _reset(self.weight, None)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """(x - mean) / sqrt(var + eps) over each sample's groups of channels, then weight and bias.

    x (N, C, ...) with C = `num_channels`; weight and bias (C,) if `affine`. Wu, He,
    arXiv:1803.08494. Raises ShapeError unless `num_groups` divides `num_channels`.

    >>> import gradengine as ge
    >>> GroupNorm(2, 4)(ge.random.randn(3, 4, 5)).shape
    (3, 4, 5)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            text = f"GroupNorm: num_channels={num_channels} in num_groups={num_groups}"
            raise ShapeError(hinted(text, "num_groups must divide num_channels"))
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        self.weight = _ones(num_channels, device, dtype) if affine else None
        self.bias = _zeros(num_channels, device, dtype) if affine and bias else None

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """x / (k + alpha * s)^beta, s the mean of x^2 over `size` neighbouring channels.

    x (N, C, ...). Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.3.

    >>> import gradengine as ge
    >>> LocalResponseNorm(2)(ge.random.randn(1, 4, 5)).shape
    (1, 4, 5)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
