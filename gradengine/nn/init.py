"""Initial weights: how large random numbers must be for signal and gradient to keep their size.

Functions ending in an underscore fill a tensor and return it, as torch.nn.init's do; what they
write is not on the tape, and the tensor may be a leaf that asks for gradients. Random numbers come
from `generator` (the default one of `ge.random` if none is given); one seed gives the same weights
on every device. The first axis of a weight counts outputs, the second inputs, further axes a
window. A tensor without elements is left alone.

Floor 6: stands on random.py and writes.py.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import creation, ops, random
from gradengine.device import guard, special
from gradengine.errors import DTypeError, OutOfRangeError, ShapeError, hinted
from gradengine.modes import no_grad
from gradengine.ops.arithmetic import select
from gradengine.random import Generator
from gradengine.tensor import Tensor
from gradengine.writes import replace

Shape = tuple[int, ...]

# --- how large ---


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): how many values one output reads, how many outputs one value reaches.

    >>> fans((64, 3, 5, 5))
    (75, 1600)
    """
    if len(shape) < 2:
        text = f"init: fans need a weight of two axes at least, got shape {tuple(shape)}"
        raise ShapeError(hinted(text, "draw a vector with init.uniform_ or init.normal_"))
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


_GAINS: dict[str, float] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much an activation shrinks its signal, to be made up for by the weights.

    1 for "linear", the convolutions and "sigmoid"; 5/3 for "tanh", sqrt(2) for "relu", 3/4 for
    "selu", sqrt(2 / (1 + param**2)) for "leaky_relu" of slope `param` (0.01 if None). ValueError
    for other names.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        text = f"calculate_gain: nonlinearity={nonlinearity!r} is unknown"
        raise ValueError(hinted(text, f"one of {', '.join((*_GAINS, 'leaky_relu'))}"))
    return _GAINS[nonlinearity]


def xavier_std(shape: Shape, gain: float = 1.0) -> float:
    """gain sqrt(2 / (fan_in + fan_out)); Glorot and Bengio, AISTATS 2010, equation 16."""
    return gain * math.sqrt(2 / sum(fans(shape)))


def kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    """gain / sqrt(fan); He et al., arXiv:1502.01852, equations 10 and 14."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(hinted(f"init: mode={mode!r} is unknown", '"fan_in" or "fan_out"'))
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(shape)[mode == "fan_out"])


# --- constants ---


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number.

    >>> import gradengine as ge
    >>> constant_(ge.zeros(2), 0.5)
    tensor([0.5, 0.5])
    """
    return _filled(tensor, creation.full_like(_tensor("constant_", tensor), val))


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones.

    >>> import gradengine as ge
    >>> ones_(ge.zeros(2))
    tensor([1., 1.])
    """
    return _filled(tensor, creation.ones_like(_tensor("ones_", tensor)))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros.

    >>> import gradengine as ge
    >>> zeros_(ge.ones(2))
    tensor([0., 0.])
    """
    return _filled(tensor, creation.zeros_like(_tensor("zeros_", tensor)))


def eye_(tensor: Tensor) -> Tensor:
    """The identity: a linear layer passes on as many inputs as it can. Two axes; ShapeError.

    >>> import gradengine as ge
    >>> eye_(ge.zeros((2, 3))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _check_axes("eye_", tensor, (2,), "give a matrix")
    rows, columns = tensor.shape
    return _filled(tensor, creation.eye(rows, columns, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """1 at the window's centre from input i to output i, 0 elsewhere: a convolution that copies.

    3, 4 or 5 axes; each of the `groups` copies its own channels. Raises ShapeError.

    >>> import gradengine as ge
    >>> dirac_(ge.zeros((2, 2, 3)))[1].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _check_axes("dirac_", tensor, (3, 4, 5), "give a convolution's weight")
    outputs, inputs, *window = tensor.shape
    if groups < 1 or outputs % groups:
        text = f"dirac_: {outputs} output channels in {groups} groups"
        raise ShapeError(hinted(text, "groups must divide the first axis"))
    each = outputs // groups
    pairs = [(g * each + i, i) for g in range(groups) for i in range(min(each, inputs))]
    weight = creation.zeros_like(tensor)
    if weight.size:
        centre = tuple(size // 2 for size in window)
        weight[([row for row, _ in pairs], [column for _, column in pairs], *centre)] = 1.0
    return _filled(tensor, weight)


# --- random numbers ---


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from U(a, b); OutOfRangeError if a > b.

    >>> import gradengine as ge
    >>> bool((uniform_(ge.zeros(100), 2.0, 3.0) >= 2).all())
    True
    """
    if a > b:
        raise OutOfRangeError(hinted(f"uniform_: a={a} is above b={b}", "the smaller one first"))
    options = _options("uniform_", tensor, generator)
    return _filled(tensor, random.uniform(a, b, tensor.shape, **options))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from N(mean, std**2).

    >>> import gradengine as ge
    >>> normal_(ge.zeros(2), mean=5.0, std=0.0)
    tensor([5., 5.])
    """
    options = _options("normal_", tensor, generator)
    return _filled(tensor, random.normal(mean, std, tensor.shape, **options))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill from N(mean, std**2) given that the number lies in [a, b], by the inverse of P.

    x = mean + std P^-1(P(l) + u (P(h) - P(l))), l and h the bounds in units of std, u ~ U(0, 1), in
    float64. Raises OutOfRangeError unless std > 0 and a < b.

    >>> import gradengine as ge
    >>> bool((abs(trunc_normal_(ge.zeros(1000), std=10.0)) <= 2).all())
    True
    """
    options = _options("trunc_normal_", tensor, generator, "float64")
    if not (std > 0 and a < b):
        text = f"trunc_normal_: std={std}, a={a}, b={b}"
        raise OutOfRangeError(hinted(text, "a positive std, and the smaller bound first"))
    low, high = (a - mean) / std, (b - mean) / std
    mirrored = low > 0  # P has its digits in the lower tail
    if mirrored:
        low, high = -high, -low
    first, last = _normal_cdf(low), _normal_cdf(high)
    u: Any = random.rand(tensor.shape, **options).array
    with guard(u):
        z = special(tensor.xp).ndtri(first + u * (last - first))
        x = tensor.xp.clip(mean + std * (-z if mirrored else z), a, b)
    return _filled(tensor, Tensor.lift(x))


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


# --- as large as fan-in and fan-out ask ---


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)), for tanh and sigmoid.

    It keeps the size of the signal on its way forward and of the gradient on its way back. Glorot
    and Bengio, AISTATS 2010, equation 16.

    >>> import gradengine as ge
    >>> bool((abs(xavier_uniform_(ge.zeros((3, 3)))) <= 1).all())
    True
    """
    return _symmetric(tensor, xavier_std, (gain,), generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from N(0, gain**2 2 / (fan_in + fan_out)). Glorot and Bengio, AISTATS 2010.

    >>> import gradengine as ge
    >>> xavier_normal_(ge.zeros((2, 3))).shape
    (2, 3)
    """
    std = xavier_std(tensor.shape, gain) if tensor.size else 0.0
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill from U(-b, b), b = gain sqrt(3 / fan); `a` is the slope of a leaky ReLU.

    With a = sqrt(5) it is U(-k, k), k = 1 / sqrt(fan_in), what PyTorch's layers start with. He et
    al., arXiv:1502.01852, equations 10 and 14.

    >>> import gradengine as ge
    >>> bool((abs(kaiming_uniform_(ge.zeros((100, 50)))) <= (6 / 50) ** 0.5).all())
    True
    """
    return _symmetric(tensor, kaiming_std, (a, mode, nonlinearity), generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill from N(0, gain**2 / fan). He et al., arXiv:1502.01852, equations 10 and 14.

    >>> import gradengine as ge
    >>> kaiming_normal_(ge.zeros((2, 3)), mode="fan_out", nonlinearity="relu").shape
    (2, 3)
    """
    std = kaiming_std(tensor.shape, a, mode, nonlinearity) if tensor.size else 0.0
    return normal_(tensor, 0.0, std, generator)


def _symmetric(tensor: Tensor, std: Any, args: tuple[Any, ...], generator: Any) -> Tensor:
    """U(-b, b) of the standard deviation that a formula gives for the shape."""
    bound = math.sqrt(3) * std(tensor.shape, *args) if tensor.size else 0.0
    return uniform_(tensor, -bound, bound, generator)


def xavier_uniform(shape: Shape, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """A new tensor as `xavier_uniform_` fills it; `options` are `dtype` and `device`."""
    return xavier_uniform_(creation.empty(shape, **options), generator=generator)


def xavier_normal(shape: Shape, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """A new tensor as `xavier_normal_` fills it; `options` are `dtype` and `device`."""
    return xavier_normal_(creation.empty(shape, **options), generator=generator)


# --- with structure ---


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with gain times a random matrix whose rows, or columns if fewer, are orthonormal.

    The axes after the first count as one. Q of the QR decomposition of normal numbers, with the
    signs that make it uniform. Saxe et al., arXiv:1312.6120. Raises ShapeError below two axes.

    >>> import gradengine as ge
    >>> w = orthogonal_(ge.zeros((2, 3), dtype="float64"))
    >>> bool((abs(w @ w.T - ge.eye(2)) < 1e-12).all())
    True
    """
    _tensor("orthogonal_", tensor)
    if tensor.ndim < 2:
        text = f"orthogonal_: tensor {tensor.shape} has no matrix in it"
        raise ShapeError(hinted(text, "give two axes or more"))
    if not tensor.size:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.size // rows
    wide = None if tensor.itemsize > 2 else "float32"
    options = _options("orthogonal_", tensor, generator, wide)
    shape = (max(rows, columns), min(rows, columns))
    z: Any = random.randn(shape, **options).array
    with guard(z):
        q, r = tensor.xp.linalg.qr(z)
        q = q * tensor.xp.where(tensor.xp.diagonal(r) < 0, -1, 1)
        q = gain * (q.T if rows < columns else q)
    return _filled(tensor, Tensor.lift(q.reshape(tensor.shape)))


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill from N(0, std**2), then set ceil(sparsity rows) elements of each column to 0.

    Martens, ICML 2010, section 5. Raises ShapeError but for matrices, OutOfRangeError unless
    0 <= sparsity <= 1.

    >>> import gradengine as ge
    >>> (sparse_(ge.zeros((4, 3)), 0.5) == 0).sum(axis=0).tolist()
    [2, 2, 2]
    """
    options = _options("sparse_", tensor, generator)
    _check_axes("sparse_", tensor, (2,), "give a matrix")
    if not 0 <= sparsity <= 1:
        text = f"sparse_: sparsity={sparsity}"
        raise OutOfRangeError(hinted(text, "a share of each column: 0 to 1"))
    zeros = math.ceil(sparsity * tensor.shape[0])
    values = random.normal(0.0, std, tensor.shape, **options)
    keys = random.rand(tensor.shape, **_options("sparse_", tensor, generator, "float64"))
    ranks = ops.argsort(ops.argsort(keys, axis=0), axis=0)
    return _filled(tensor, select(ranks < zeros, 0.0, values))


# --- what they share ---


def _filled(tensor: Tensor, new: Any) -> Tensor:
    """The tensor with another value, as a write under no_grad: its views and the tape follow."""
    with no_grad():
        replace(tensor, new.astype(tensor.dtype), "init")
    return tensor


def _tensor(name: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        text = f"{name}: {type(tensor).__name__} is no Tensor"
        raise DTypeError(hinted(text, "give a Parameter, such as layer.weight"))
    return tensor


def _options(
    name: str, tensor: Any, generator: Generator | None, dtype: Any = None
) -> dict[str, Any]:
    """dtype (the tensor's if None), device and generator for the random numbers of a tensor."""
    found = _tensor(name, tensor)
    return {"dtype": dtype or found.dtype, "device": found.device, "generator": generator}


def _check_axes(name: str, tensor: Any, allowed: tuple[int, ...], hint: str) -> None:
    if _tensor(name, tensor).ndim not in allowed:
        listed = " or ".join(map(str, allowed))
        text = f"{name}: tensor {tensor.shape} has {tensor.ndim} axes, not {listed}"
        raise ShapeError(hinted(text, hint))
