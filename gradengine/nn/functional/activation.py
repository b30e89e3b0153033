"""Activations with PyTorch's names and argument orders; ops/activations.py has their formulas.

`inplace=True` is taken and gives the same values in a new tensor: on the tape a write is a new step
anyway, and nothing has to be forbidden afterwards. Softmaxes want to be told their `dim`.

Floor 6: stands on ops and random.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops, random
from gradengine.errors import AxisError, OutOfRangeError, ShapeError, hinted
from gradengine.ops.arithmetic import select
from gradengine.ops.reductions import widened
from gradengine.random import Generator
from gradengine.tensor import Tensor

# --- rectifiers: straight pieces ---


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    >>> import gradengine as ge
    >>> relu(ge.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return ops.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6).

    >>> import gradengine as ge
    >>> relu6(ge.tensor([-1.0, 2.0, 7.0]))
    tensor([0., 2., 6.])
    """
    return ops.relu6(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, else negative_slope x.

    >>> import gradengine as ge
    >>> leaky_relu(ge.tensor([-1.0, 2.0]), 0.25)
    tensor([-0.25,  2.  ])
    """
    return ops.leaky_relu(input, negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, else w x, with one weight for all or one for each channel (axis 1).

    He et al., arXiv:1502.01852, equation 1. Raises ShapeError unless the weights fit the channels.

    >>> import gradengine as ge
    >>> prelu(ge.tensor([[-1.0, -1.0]]), ge.tensor([0.5, 0.25]))
    tensor([[-0.5 , -0.25]])
    """
    shape, count = tuple(input.shape), weight.size
    if weight.ndim > 1 or (count != 1 and (len(shape) < 2 or shape[1] != count)):
        raise ShapeError(
            hinted(
                f"prelu: weight {tuple(weight.shape)} for input {shape}",
                "one weight for all, or a vector of one for each channel: input.shape[1]",
            )
        )
    trailing = (1,) * max(len(shape) - 2, 0)
    return ops.prelu(input, ops.reshape(weight, (count, *trailing) if count > 1 else ()))


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """x above 0, else a x: a ~ U(lower, upper) for each element, their mean in evaluation.

    Xu et al., arXiv:1505.00853, section 3.3. Raises OutOfRangeError if lower > upper.

    >>> import gradengine as ge
    >>> rrelu(ge.tensor([-1.0, 2.0]), 0.25, 0.75)
    tensor([-0.5,  2. ])
    """
    if lower > upper:
        text = f"rrelu: lower={lower} is above upper={upper}"
        raise OutOfRangeError(hinted(text, "give the smaller slope first"))
    if not training:
        return ops.leaky_relu(input, (lower + upper) / 2)
    slopes = random.uniform(
        lower,
        upper,
        tuple(input.shape),
        dtype=input.dtype,
        device=input.device,
        generator=generator,
    )
    return ops.prelu(input, slopes)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, else value.

    >>> import gradengine as ge
    >>> threshold(ge.tensor([0.5, 2.0]), 1.0, -3.0)
    tensor([-3.,  2.])
    """
    return ops.threshold(input, threshold, value)


# --- exponential below zero ---


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha (e**x - 1); Clevert et al., arXiv:1511.07289, equation 15.

    >>> import gradengine as ge
    >>> elu(ge.tensor([-1e3, 2.0]), 0.5)
    tensor([-0.5,  2. ])
    """
    return ops.elu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """s elu(x, a) with the s and a that keep mean 0 and variance 1.

    Klambauer et al., arXiv:1706.02515, equation 2.

    >>> import gradengine as ge
    >>> selu(ge.tensor([0.0, 1.0]))
    tensor([0.      , 1.050701])
    """
    return ops.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha (e**(x / alpha) - 1); Barron, arXiv:1704.07483, equation 2.

    Raises OutOfRangeError for alpha = 0.

    >>> import gradengine as ge
    >>> celu(ge.tensor([-1e3, 2.0]), 0.5)
    tensor([-0.5,  2. ])
    """
    if alpha == 0:
        raise OutOfRangeError(hinted("celu: alpha=0 divides by zero", "relu is the limit"))
    return ops.celu(input, alpha)


# --- smooth gates and sigmoids ---


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x P(x), P the normal distribution function, or a tanh in its place ("tanh").

    Hendrycks and Gimpel, arXiv:1606.08415, section 2.

    >>> import gradengine as ge
    >>> gelu(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.8413447])
    """
    return ops.gelu(input, approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x).

    >>> import gradengine as ge
    >>> silu(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.7310586])
    """
    return ops.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x)); Misra, arXiv:1908.08681, equation 1.

    >>> import gradengine as ge
    >>> mish(ge.tensor([0.0, 1.0]))
    tensor([0.       , 0.8650984])
    """
    return ops.mish(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e**(beta x)) / beta, exact on both sides of `threshold`.

    >>> import gradengine as ge
    >>> softplus(ge.tensor([0.0, 100.0]))
    tensor([  0.6931472, 100.       ])
    """
    if beta == 0:
        raise OutOfRangeError(hinted("softplus: beta=0 divides by zero", "give beta > 0"))
    return ops.softplus(input, beta, threshold)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e**-x).

    >>> import gradengine as ge
    >>> sigmoid(ge.tensor([0.0, 100.0]))
    tensor([0.5, 1. ])
    """
    return ops.sigmoid(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) without overflow.

    >>> import gradengine as ge
    >>> logsigmoid(ge.tensor([0.0, -1e4]))
    tensor([-6.931472e-01, -1.000000e+04])
    """
    return ops.log_sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent.

    >>> import gradengine as ge
    >>> tanh(ge.tensor([0.0, 100.0]))
    tensor([0., 1.])
    """
    return ops.tanh(input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|).

    >>> import gradengine as ge
    >>> softsign(ge.tensor([-1.0, 3.0]))
    tensor([-0.5 ,  0.75])
    """
    return ops.softsign(input)


# --- clipped and shrunken ---


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """min(max(x, min_val), max_val); OutOfRangeError if min_val > max_val.

    >>> import gradengine as ge
    >>> hardtanh(ge.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    if min_val > max_val:
        text = f"hardtanh: min_val={min_val} is above max_val={max_val}"
        raise OutOfRangeError(hinted(text, "give the smaller value first"))
    return ops.hardtanh(input, min_val, max_val)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6.

    >>> import gradengine as ge
    >>> hardsigmoid(ge.tensor([-4.0, 0.0, 4.0]))
    tensor([0. , 0.5, 1. ])
    """
    return ops.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x relu6(x + 3) / 6; Howard et al., arXiv:1905.02244, section 5.2.

    >>> import gradengine as ge
    >>> hardswish(ge.tensor([-3.0, 3.0]))
    tensor([-0.,  3.])
    """
    return ops.hardswish(input)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x).

    >>> import gradengine as ge
    >>> tanhshrink(ge.tensor([0.0, 100.0]))
    tensor([ 0., 99.])
    """
    return ops.tanhshrink(input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where |x| <= lambd; OutOfRangeError for a negative lambd.

    >>> import gradengine as ge
    >>> softshrink(ge.tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """
    if lambd < 0:
        raise OutOfRangeError(hinted(f"softshrink: lambd={lambd} is negative", "give lambd >= 0"))
    return ops.softshrink(input, lambd)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0.

    >>> import gradengine as ge
    >>> hardshrink(ge.tensor([-2.0, 0.25, 2.0]))
    tensor([-2.,  0.,  2.])
    """
    return ops.hardshrink(input, lambd)


# --- along one dimension ---


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a sigmoid(b) for the two halves a and b along `dim`; Dauphin et al., arXiv:1612.08083.

    Raises ShapeError if there is no half of it, AxisError if there is no such dimension.

    >>> import gradengine as ge
    >>> glu(ge.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5, 1. ])
    """
    if not -input.ndim <= dim < input.ndim:
        text = f"glu: dim={dim} lies outside {tuple(input.shape)}"
        raise AxisError(hinted(text, "dimensions count from 0, or from -1 back"))
    return ops.glu(input, axis=dim)


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """e**x / sum(e**x) along `dim`, which must be given; in `dtype` if there is one.

    >>> import gradengine as ge
    >>> softmax(ge.tensor([0.0, 0.0]), dim=0)
    tensor([0.5, 0.5])
    """
    return ops.softmax(_typed(input, dtype), axis=chosen_dim("softmax", dim))


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-x) along `dim`, which must be given.

    >>> import gradengine as ge
    >>> softmin(ge.tensor([0.0, 0.0]), dim=0)
    tensor([0.5, 0.5])
    """
    return ops.softmin(_typed(input, dtype), axis=chosen_dim("softmin", dim))


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """x - log(sum(e**x)) along `dim`, which must be given.

    >>> import gradengine as ge
    >>> log_softmax(ge.tensor([-10000.0, 10000.0]), dim=0)
    tensor([-20000.,      0.])
    """
    return ops.log_softmax(_typed(input, dtype), axis=chosen_dim("log_softmax", dim))


def gumbel_softmax(
    logits: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """softmax((x + n) / tau) along `dim` with Gumbel noise n = -log(-log(u)), u ~ U(0, 1).

    As tau goes to 0 this becomes a draw from softmax(x), one-hot. `hard` gives the one-hot draw
    with the derivative of the soft one. `eps` is there for PyTorch's signature alone. Jang et al.,
    arXiv:1611.01144, equation 2. Raises OutOfRangeError unless tau > 0.

    >>> import gradengine as ge
    >>> gumbel_softmax(ge.zeros((5, 3)), hard=True).sum(axis=-1)
    tensor([1., 1., 1., 1., 1.])
    """
    if not tau > 0:
        raise OutOfRangeError(hinted(f"gumbel_softmax: tau={tau}", "a temperature above 0"))
    x: Any = widened(logits)
    u = random.rand_like(x, generator=generator)
    noise = -ops.log(-ops.log(select(u > 0, u, 1e-30)))
    y = ops.softmax((x + noise) / tau, axis=dim)
    if hard:
        last = ops.one_hot(ops.argmax(ops.moveaxis(y, dim, -1), axis=-1), y.shape[dim], y.dtype)
        y = y + (ops.moveaxis(last, -1, dim) - y).detach()
    return y if y.dtype == logits.dtype else y.astype(logits.dtype)


def chosen_dim(name: str, dim: int | None) -> int:
    """`dim`, which the caller must have chosen: PyTorch's implicit choice depends on the shape."""
    if dim is None:
        raise AxisError(hinted(f"{name}: dim is not given", "name the classes' dimension: dim=-1"))
    return dim


def _typed(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else input.astype(dtype)
