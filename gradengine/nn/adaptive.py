"""Losses that own the last linear layers: AdaptiveLogSoftmaxWithLoss, LinearCrossEntropyLoss.

Floor 6: stands on linear.py, containers.py and nn.functional.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gradengine import ops
from gradengine.errors import DTypeError, OutOfRangeError, ShapeError, hinted
from gradengine.nn.containers import ModuleList, Sequential
from gradengine.nn.functional.loss import linear_cross_entropy
from gradengine.nn.linear import Linear
from gradengine.nn.loss import WeightedLoss
from gradengine.nn.module import Module
from gradengine.ops.arithmetic import select
from gradengine.random import Generator
from gradengine.tensor import Tensor

NAME = "AdaptiveLogSoftmaxWithLoss"


class ASMoutput(NamedTuple):
    """What AdaptiveLogSoftmaxWithLoss gives: a log-probability for each target, and the loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log p(t | x): a softmax over frequent classes and clusters of rare ones, and one in each.

    Classes are numbered by falling frequency. The `head` decides between the first cutoffs[0]
    classes and the clusters; cluster i holds the classes from cutoffs[i] to the next cutoff and
    decides between them in in_features // div_value**(i + 1) dimensions. So log p(t) =
    head[cluster] + tail[cluster][t]. Grave et al., arXiv:1609.04309, section 4.

    Shapes: input (N, in_features) or (in_features,), target (N,) or (); `output` as the target,
    `loss` = -mean(output). Raises ShapeError, DTypeError, and OutOfRangeError for a class number
    outside [0, n_classes - 1].

    >>> import gradengine as ge
    >>> layer = AdaptiveLogSoftmaxWithLoss(4, 10, cutoffs=[3, 6], div_value=2.0)
    >>> layer(ge.ones((2, 4)), ge.tensor([0, 9])).output.shape
    (2,)
    >>> layer.log_prob(ge.ones((1, 4))).exp().sum().item() - 1 < 1e-6
    True
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        given = [int(n) for n in cutoffs]
        if not given or any(a >= b for a, b in pairwise([0, *given, n_classes])):
            text = f"{NAME}: cutoffs={given} for {n_classes} classes"
            raise OutOfRangeError(hinted(text, "rising numbers from 1 to n_classes - 1"))
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*given, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = given[0], len(given)
        self.head_size = self.shortlist_size + self.n_clusters

        def linear(inputs: int, outputs: int, bias: bool = False) -> Linear:
            options = {"device": device, "dtype": dtype}
            return Linear(inputs, outputs, bias, generator=generator, **options)

        self.head = linear(in_features, self.head_size, head_bias)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            size = int(in_features // div_value ** (i + 1))
            if size < 1:
                text = (
                    f"{NAME}: cluster {i} has {in_features} // {div_value}**{i + 1} = 0 dimensions"
                )
                raise ShapeError(hinted(text, "fewer cutoffs, or a smaller div_value"))
            self.tail.append(Sequential(linear(in_features, size), linear(size, high - low)))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the weights of the head and of all clusters anew."""
        for part in self.modules():
            if isinstance(part, Linear):
                part.reset_parameters(generator)

    def forward(self, input: Tensor, target: Any) -> ASMoutput:
        shape = tuple(target.shape)
        x = self._rows(input, shape)
        t: Any = ops.reshape(target, (-1,))
        self._check_range(t)
        clusters: Any = sum(t >= low for low in self.cutoffs[1:-1]) if self.n_clusters > 1 else 0
        column = select(t < self.shortlist_size, t, self.shortlist_size + clusters)
        head = ops.log_softmax(self.head(x), axis=1)
        output = ops.gather(head, column.reshape((-1, 1)), axis=1).reshape((-1,))
        for (low, high), tail in zip(pairwise(self.cutoffs), self.tail, strict=True):
            (rows,) = ops.nonzero(ops.logical_and(t >= low, t < high))
            if rows.size:
                scores = ops.log_softmax(tail(ops.take(x, rows, axis=0)), axis=1)
                own = ops.gather(scores, (ops.take(t, rows, axis=0) - low).reshape((-1, 1)), axis=1)
                output = ops.scatter_add(output, rows, own.reshape((-1,)), axis=0)
        output = output.reshape(shape)
        return ASMoutput(output, -ops.mean(output))

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, n_classes), or (n_classes,) of one row."""
        x = self._rows(input, None)
        full = self._all(x, self.head(x))
        return full if input.ndim == 2 else full.reshape((-1,))

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class: (N,) or (); a cluster is opened where it leads the head."""
        x = self._rows(input, None)
        scores = self.head(x).detach()
        best = ops.argmax(scores, axis=1)
        (rows,) = ops.nonzero(best >= self.shortlist_size)
        if rows.size:
            opened = self._all(ops.take(x, rows, axis=0), ops.take(scores, rows, axis=0))
            best[rows] = ops.argmax(opened, axis=1)
        return best if input.ndim == 2 else best.reshape(())

    def _all(self, x: Tensor, scores: Tensor) -> Tensor:
        """The log-probabilities of all classes for rows and what the head says of them."""
        head = ops.log_softmax(scores, axis=1)
        first = self.shortlist_size
        parts: list[Any] = [head[:, :first]]
        for i, tail in enumerate(self.tail):
            within = ops.log_softmax(tail(x), axis=1)
            parts.append(within + head[:, first + i : first + i + 1])
        return ops.concat(parts, axis=1)

    def _rows(self, input: Tensor, target: tuple[int, ...] | None) -> Tensor:
        shape = tuple(input.shape)
        if len(shape) not in (1, 2) or shape[-1] != self.in_features:
            text = f"{NAME}: input {shape} for in_features={self.in_features}"
            hint = f"give (N, {self.in_features}) or ({self.in_features},)"
            raise ShapeError(hinted(text, hint))
        if target is not None and target != shape[:-1]:
            text = f"{NAME}: input {shape} needs class numbers {shape[:-1]}, target is {target}"
            raise ShapeError(hinted(text, "one class number for each row"))
        return input if len(shape) == 2 else input.reshape((1, -1))

    def _check_range(self, t: Any) -> None:
        if t.dtype.kind not in "iu":
            raise DTypeError(hinted(f"{NAME}: target is {t.dtype}", "class numbers: integers"))
        if t.size and not bool(((t >= 0) & (t < self.n_classes)).all()):
            wrong = next(n for n in t.tolist() if not 0 <= n < self.n_classes)
            text = f"{NAME}: target {wrong} lies outside [0, {self.n_classes - 1}]"
            raise OutOfRangeError(hinted(text, "number the classes from 0, by falling frequency"))


class LinearCrossEntropyLoss(WeightedLoss):
    """CrossEntropyLoss of the logits of a linear layer, which has no bias unless asked for.

    Shapes: input (N, in_features) or (in_features,), logits (N, num_classes, *out_features),
    target as CrossEntropyLoss has it; `linear.weight` (num_classes * ..., in_features).

    >>> import gradengine as ge
    >>> loss = LinearCrossEntropyLoss(4, 3)
    >>> loss(ge.zeros((2, 4)), ge.tensor([0, 2])).item()  # log(3)
    1.0986123085021973
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(weight, reduction)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.linear = Linear(
            in_features,
            math.prod(self.out_features, start=num_classes),
            bias,
            device=device,
            dtype=dtype,
            generator=generator,
        )

    def forward(self, input: Tensor, target: Any) -> Tensor:
        outputs = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape((*outputs, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else bias.reshape(outputs),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}"
        )
