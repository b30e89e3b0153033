"""Activations as modules, continued: smooth gates, sigmoids, and those along one dimension.

Floor 6: stands on functional/activation.py and activation.py.
"""

from __future__ import annotations

from gradengine.errors import ShapeError, hinted
from gradengine.nn.activation import Bend
from gradengine.nn.functional import activation as F
from gradengine.nn.module import Module
from gradengine.tensor import Tensor

# --- smooth gates ---


class GELU(Module):
    """x P(x), P the normal distribution function, or a tanh in its place: approximate="tanh".

    Hendrycks and Gimpel, arXiv:1606.08415, section 2.

    >>> import gradengine as ge
    >>> GELU()(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.8413447])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Bend):
    """x sigmoid(x), also called swish.

    >>> import gradengine as ge
    >>> SiLU()(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.7310586])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)

    def extra_repr(self) -> str:
        return self._shown("")


class Mish(Bend):
    """x tanh(softplus(x)); Misra, arXiv:1908.08681, equation 1.

    >>> import gradengine as ge
    >>> Mish()(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.8650984])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input)

    def extra_repr(self) -> str:
        return self._shown("")


# --- sigmoids ---


class Softplus(Module):
    """log(1 + e**(beta x)) / beta, exact on both sides of `threshold`.

    >>> import gradengine as ge
    >>> Softplus()(ge.tensor([0.0, 100.0]))
    tensor([  0.6931472, 100.       ])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1 / (1 + e**-x).

    >>> import gradengine as ge
    >>> Sigmoid()(ge.tensor([0.0, 100.0]))
    tensor([0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(sigmoid(x)) without overflow.

    >>> import gradengine as ge
    >>> LogSigmoid()(ge.tensor([1e3]))
    tensor([-0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent.

    >>> import gradengine as ge
    >>> Tanh()(ge.tensor([0.0, 100.0]))
    tensor([0., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> import gradengine as ge
    >>> Tanhshrink()(ge.tensor([0.0, 100.0]))
    tensor([ 0., 99.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class Softsign(Module):
    """x / (1 + |x|).

    >>> import gradengine as ge
    >>> Softsign()(ge.tensor([-1.0, 3.0]))
    tensor([-0.5 ,  0.75])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


# --- along one dimension ---


class GLU(Module):
    """a sigmoid(b) for the two halves a and b along `dim`; Dauphin et al., arXiv:1612.08083.

    >>> import gradengine as ge
    >>> GLU()(ge.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5, 1. ])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class _Softmax(Module):
    """A softmax along `dim`, which must be given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = F.chosen_dim(type(self).__name__, dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Softmax):
    """e**x / sum(e**x) along `dim`, which must be given: AxisError otherwise.

    >>> import gradengine as ge
    >>> Softmax(dim=0)(ge.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class Softmin(_Softmax):
    """softmax(-x) along `dim`, which must be given.

    >>> import gradengine as ge
    >>> Softmin(dim=0)(ge.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class LogSoftmax(_Softmax):
    """x - log(sum(e**x)) along `dim`, which must be given.

    >>> import gradengine as ge
    >>> LogSoftmax(dim=0)(ge.tensor([-10000.0, 10000.0]))
    tensor([-20000.,      0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmax2d(Module):
    """softmax over the channels of every pixel of (N, C, H, W) or (C, H, W); else ShapeError.

    >>> import gradengine as ge
    >>> Softmax2d()(ge.zeros((2, 1, 3))).tolist()
    [[[0.5, 0.5, 0.5]], [[0.5, 0.5, 0.5]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            text = f"Softmax2d: input {tuple(input.shape)} has {input.ndim} dimensions"
            raise ShapeError(hinted(text, "give (N, C, H, W) or (C, H, W)"))
        return F.softmax(input, -3)
