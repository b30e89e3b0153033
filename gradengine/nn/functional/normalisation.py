"""Normalisation with PyTorch's names and signatures; ops/standardisation.py has the formulas.

Running statistics are written in place, outside the tape. 16-bit inputs are computed in float32.

Floor 6: stands on ops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradengine import ops
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.ops import standardisation
from gradengine.ops.moments import MEAN, VARIANCE
from gradengine.tape import no_grad
from gradengine.tensor import Tensor

# --- over the last axes ---


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last axes, of `normalized_shape`.

    weight and bias have that shape. Ba, Kiros, Hinton, arXiv:1607.06450. Raises ShapeError
    unless the input ends in `normalized_shape`.

    >>> import gradengine as ge
    >>> layer_norm(ge.tensor([[1.0, 3.0]]), (2,), eps=0.0)
    tensor([[-1.,  1.]])
    """
    rows, own = _rows("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    y = standardisation.layer_norm(rows, own["weight"], own["bias"], eps)
    return y if rows is input else ops.reshape(y, tuple(input.shape))


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, over the last axes, of `normalized_shape`.

    `eps` None is the machine epsilon of the input's dtype (float32's for 16-bit floats). Zhang,
    Sennrich, arXiv:1910.07467. Raises ShapeError unless the input ends in `normalized_shape`.

    >>> import gradengine as ge
    >>> rms_norm(ge.tensor([3.0, -3.0]), (2,), eps=0.0)
    tensor([ 1., -1.])
    """
    if eps is None:
        eps = float(np.finfo(np.float64 if input.dtype.itemsize == 8 else np.float32).eps)
    rows, own = _rows("rms_norm", input, normalized_shape, weight=weight)
    y = standardisation.rms_norm(rows, own["weight"], eps)
    return y if rows is input else ops.reshape(y, tuple(input.shape))


def _rows(
    name: str, input: Tensor, normalized_shape: Sequence[int], **parameters: Tensor | None
) -> tuple[Tensor, dict[str, Any]]:
    """The input and its parameters with the normalised axes as one."""
    shape, last = tuple(input.shape), tuple(normalized_shape)
    if not last or shape[len(shape) - len(last) :] != last or len(shape) < len(last):
        raise ShapeError(
            hinted(
                f"{name}: input {shape} does not end in normalized_shape {last}",
                f"the last {len(last)} axes are normalised: give an input (..., "
                f"{', '.join(map(str, last))}), or build the layer with "
                f"{shape[len(shape) - len(last) :] if len(shape) >= len(last) else shape}",
            )
        )
    for what, p in parameters.items():
        if p is not None and tuple(p.shape) != last:
            text = f"{name}: {what} {tuple(p.shape)} for normalized_shape {last}"
            raise ShapeError(hinted(text, f"give a {what} of shape {last}"))
    if len(last) == 1:
        return input, dict(parameters)
    size = math.prod(last)
    flat = {k: None if p is None else ops.reshape(p, (size,)) for k, p in parameters.items()}
    return ops.reshape(input, (*shape[: len(shape) - len(last)], size)), flat


# --- over the batch ---


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias for every channel (axis 1).

    In training mean and variance are the batch's, and the running ones are moved towards them in
    place: r = (1 - momentum) r + momentum s, with the unbiased variance. Else they are the running
    ones. Ioffe, Szegedy, arXiv:1502.03167. Raises ShapeError where sizes differ, and in training
    for a channel of one value.

    >>> import gradengine as ge
    >>> mean, var = ge.zeros(1), ge.ones(1)
    >>> y = batch_norm(ge.tensor([[1.0], [3.0]]), mean, var, training=True, momentum=0.5, eps=0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [1.0], [1.5])
    """
    _check_channels("batch_norm", input, running_mean, running_var, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            text = "batch_norm: running_mean and running_var are None in evaluation"
            raise ShapeError(hinted(text, "give both, or training=True"))
        return _with_running(input, running_mean, running_var, weight, bias, eps)
    count = input.size // max(1, input.shape[1])
    if count == 1:
        text = f"batch_norm: one value per channel in training, input {tuple(input.shape)}"
        raise ShapeError(hinted(text, "its variance is 0: give a larger batch, or call eval()"))
    y, mean, var = standardisation.batch_norm(input, weight, bias, eps)
    _move(running_mean, mean, momentum)
    _move(running_var, var, momentum * count / max(1, count - 1), 1 - momentum)
    return y


def _move(running: Any, value: Any, share: float, keep: float | None = None) -> None:
    """running = keep * running + share * value, in place; `keep` is 1 - share if None."""
    if running is None:
        return
    with no_grad():
        kept = running * (1 - share if keep is None else keep)
        running.copy_(kept + (share * value).astype(running.dtype))


def _with_running(
    x: Any, mean: Any, var: Any, weight: Tensor | None, bias: Any, eps: float
) -> Tensor:
    """(x - mean) * scale + bias with statistics that do not depend on x."""
    dtype, across = x.dtype, (-1, *(1,) * (x.ndim - 2))
    scale = 1 / ops.sqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    y = (x - mean.reshape(across)) * scale.reshape(across)
    if bias is not None:
        y = y + bias.reshape(across)
    return y if y.dtype == dtype else y.astype(dtype)


def _check_channels(name: str, x: Tensor, *parameters: Tensor | None) -> None:
    """All parameters must have as many elements as x has channels."""
    shape = tuple(x.shape)
    if len(shape) < 2:
        text = f"{name}: input {shape} has no channels"
        raise ShapeError(hinted(text, "give (N, C) or (N, C, ...)"))
    names = ("running_mean", "running_var", "weight", "bias")
    for what, p in zip(names, parameters, strict=True):
        if p is not None and tuple(p.shape) != (shape[1],):
            raise ShapeError(
                hinted(
                    f"{name}: {what} {tuple(p.shape)} for input {shape} of {shape[1]} channels",
                    f"channels are axis 1; the layer expects {p.size} of them",
                )
            )


# --- over groups of channels ---


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over each sample's groups of channels, then weight and bias.

    x (N, C, ...), weight and bias (C,). Wu, He, arXiv:1803.08494. Raises ShapeError unless
    `num_groups` divides the number of channels.

    >>> import gradengine as ge
    >>> group_norm(ge.tensor([[1.0, 3.0]]), 1, eps=0.0)
    tensor([[-1.,  1.]])
    """
    _check_channels("group_norm", input, None, None, weight, bias)
    shape = tuple(input.shape)
    if num_groups < 1 or shape[1] % num_groups:
        raise ShapeError(
            hinted(
                f"group_norm: {shape[1]} channels of input {shape} in {num_groups} groups",
                "num_groups must divide the number of channels",
            )
        )
    rows = ops.reshape(input, (shape[0], num_groups, math.prod(shape[1:]) // num_groups))
    y = ops.reshape(standardisation.layer_norm(rows, eps=eps), shape)
    return _affine(y, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over each channel of each sample, then weight and bias.

    x (N, C, ...), weight and bias (C,). Running statistics are moved towards the mean over the
    samples of theirs, and used instead without `use_input_stats`. Ulyanov, Vedaldi, Lempitsky,
    arXiv:1607.08022. Raises ShapeError where sizes differ, and for one value per channel.

    >>> import gradengine as ge
    >>> instance_norm(ge.tensor([[[1.0, 3.0]]]), eps=0.0)
    tensor([[[-1.,  1.]]])
    """
    _check_channels("instance_norm", input, running_mean, running_var, weight, bias)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    shape = tuple(input.shape)
    count = math.prod(shape[2:])
    if count == 1:
        text = f"instance_norm: one value per channel, input {shape}"
        raise ShapeError(hinted(text, "the variance of one value is 0: give more places"))
    rows = ops.reshape(input, (shape[0], shape[1], count))
    moments = standardisation.scratch(rows, "row")
    y = ops.reshape(standardisation.standardise(rows, None, None, moments, eps=eps), shape)
    if running_mean is not None or running_var is not None:
        means = moments.reshape((3, shape[0], shape[1])).mean(axis=1)
        _move(running_mean, means[MEAN], momentum)
        _move(running_var, means[VARIANCE], momentum * count / max(1, count - 1), 1 - momentum)
    return _affine(y, weight, bias)


def _affine(y: Any, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y * weight + bias for every channel, in y's dtype."""
    dtype, across = y.dtype, (-1, *(1,) * (y.ndim - 2))
    if weight is not None:
        y = y * ops.reshape(weight, across)
    if bias is not None:
        y = y + ops.reshape(bias, across)
    return y if y.dtype == dtype else y.astype(dtype)


# --- over neighbouring channels, over vectors ---


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * s)^beta, s the mean of x^2 over `size` neighbouring channels.

    x (N, C, ...); channels beyond the ends count as 0. Krizhevsky, Sutskever, Hinton, NIPS 2012,
    section 3.3 (there alpha stands for alpha / size). Raises ShapeError for fewer than 3 axes.

    >>> import gradengine as ge
    >>> local_response_norm(ge.tensor([[[2.0], [0.0]]]), 2, alpha=1.5, beta=1.0)
    tensor([[[0.5],
             [0. ]]])
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        text = f"local_response_norm: input {shape}"
        raise ShapeError(hinted(text, "give (N, C, ...) with at least 3 axes"))
    if size < 1:
        text = f"local_response_norm: size={size}"
        raise OutOfRangeError(hinted(text, "size counts channels: at least 1"))
    squares = ops.multiply(input, input)
    before, after = size // 2, (size - 1) // 2
    widths = [(0, 0)] * len(shape)
    widths[1] = (before, after)
    wide = ops.pad(squares, tuple(widths)) if size > 1 else squares
    total = wide[:, : shape[1]]
    for i in range(1, size):
        total = total + wide[:, i : i + shape[1]]
    return ops.divide(input, (total * (alpha / size) + k) ** beta)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(||x||_p, eps) along `dim`.

    >>> import gradengine as ge
    >>> normalize(ge.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    return ops.normalize(input, p=p, axis=dim, eps=eps)
