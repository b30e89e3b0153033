"""Dropout layers: random in training, the identity in evaluation.

Floor 6: stands on nn/functional/dropout.py.
"""

from __future__ import annotations

from gradengine.nn import functional as F
from gradengine.nn.module import Module
from gradengine.ops.noise import check_probability
from gradengine.random import Generator
from gradengine.tensor import Tensor


class _Dropout(Module):
    def __init__(
        self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None
    ) -> None:
        check_probability(type(self).__name__, p)
        self.p, self.inplace, self._generator = p, inplace, generator

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability p, divide the others by 1 - p.

    Srivastava et al., JMLR 15 (2014) 1929. Raises OutOfRangeError unless 0 <= p <= 1.

    >>> import gradengine as ge
    >>> Dropout(1.0)(ge.ones(2))
    tensor([0., 0.])
    >>> Dropout(1.0).eval()(ge.ones(2))
    tensor([1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, generator=self._generator)


class Dropout1d(_Dropout):
    """Zero each channel of (N, C, L) or (C, L) with probability p, divide the rest by 1 - p.

    >>> import gradengine as ge
    >>> len(set(Dropout1d(0.5)(ge.ones((1, 1, 9))).tolist()[0][0]))
    1
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.p, self.training, generator=self._generator)


class Dropout2d(_Dropout):
    """Dropout1d for (N, C, H, W). Tompson et al., arXiv:1411.4280.

    >>> import gradengine as ge
    >>> Dropout2d(0.5)(ge.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training, generator=self._generator)


class Dropout3d(_Dropout):
    """Dropout1d for (N, C, D, H, W) or (C, D, H, W).

    >>> import gradengine as ge
    >>> Dropout3d(0.5)(ge.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 4, 4, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout3d(x, self.p, self.training, generator=self._generator)


class AlphaDropout(_Dropout):
    """Dropout for selu, which keeps mean 0 and variance 1. Klambauer et al., arXiv:1706.02515.

    >>> import gradengine as ge
    >>> AlphaDropout(0.5)(ge.zeros(5)).shape
    (5,)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.alpha_dropout(x, self.p, self.training, generator=self._generator)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels (axes 0 and 1).

    >>> import gradengine as ge
    >>> FeatureAlphaDropout(0.5)(ge.zeros((2, 3, 4))).shape
    (2, 3, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.feature_alpha_dropout(x, self.p, self.training, generator=self._generator)
