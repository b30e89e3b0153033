"""Weight norm and spectral norm as parametrizations: `parametrizations.weight_norm(layer)`.

The third, `orthogonal`, has a file of its own.

Floor 6: stands on nn/utils/parametrize.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.module import Module
from gradengine.nn.utils.hooked import parameter_of
from gradengine.nn.utils.orthogonal import orthogonal as orthogonal
from gradengine.nn.utils.parametrize import is_parametrized, register_parametrization
from gradengine.random import Generator, randn
from gradengine.tape import no_grad
from gradengine.tensor import Tensor

# --- weight norm ---


def norm_except(v: Any, dim: int | None) -> Any:
    """The 2-norm over all axes but `dim`, kept; over all axes, a scalar, if `dim` is None or -1."""
    if dim is None or dim == -1:
        return ops.vector_norm(v)
    axes = tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    return ops.vector_norm(v, axis=axes, keepdims=True) if axes else ops.abs(v)


def directed(g: Any, v: Any, dim: int | None) -> Any:
    """g v / ||v||, the norm over all axes but `dim`."""
    return v * (g / norm_except(v, dim))


class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return directed(g, v, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """w = g v / ||v||, the norm over all axes but `dim` (all axes if None).

    g is `parametrizations.<name>.original0`, v `original1`. Salimans, Kingma, arXiv:1602.07868,
    equation 2.

    >>> from gradengine import nn
    >>> list(weight_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    return register_parametrization(module, name, _WeightNorm(dim))


# --- spectral norm ---


def unit(x: Any, eps: float) -> Any:
    """x / max(||x||, eps)."""
    return ops.normalize(x, axis=0, eps=eps)


def as_matrix(weight: Any, dim: int) -> Any:
    """The weight with axis `dim` as rows and all others as columns."""
    moved = ops.moveaxis(weight, dim, 0) if dim else weight
    return ops.reshape(moved, (moved.shape[0], moved.size // max(1, moved.shape[0])))


def default_dim(module: Module) -> int:
    """The axis of a weight that counts outputs."""
    return 1 if getattr(module, "transposed", False) else 0


class _SpectralNorm(Module):
    _u: Any
    _v: Any

    def __init__(
        self, weight: Any, rounds: int, dim: int, eps: float, generator: Generator | None = None
    ) -> None:
        self.dim, self.n_power_iterations, self.eps = dim, rounds, eps
        self.is_vector = weight.ndim == 1
        if self.is_vector:
            return
        matrix = as_matrix(weight.detach(), dim)
        like: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
        for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
            self.register_buffer(name, unit(randn(size, generator=generator, **like), eps))
        self._iterate(matrix, 15)

    def _iterate(self, matrix: Any, rounds: int) -> None:
        """Power iteration: u and v tend to the first singular vectors."""
        u, v = self._u, self._v
        with no_grad():
            matrix = matrix.detach()
            for _ in range(rounds):
                u.copy_(unit(matrix @ v, self.eps))
                v.copy_(unit(matrix.T @ u, self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if self.is_vector:
            return ops.normalize(weight, axis=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        sigma = ops.vecdot(ops.copy(self._u), matrix @ ops.copy(self._v))
        return ops.divide(weight, sigma)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def check_rounds(name: str, rounds: int, weight: Any) -> None:
    """At least one power iteration, and a weight with axes."""
    if rounds < 1:
        text = f"{name}: n_power_iterations={rounds}"
        raise OutOfRangeError(hinted(text, "give at least 1"))
    if weight.ndim == 0:
        text = f"{name}: the weight is a scalar {tuple(weight.shape)}"
        raise ShapeError(hinted(text, "give a vector, a matrix or more"))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    generator: Generator | None = None,
) -> Module:
    """w = weight / sigma, sigma its largest singular value: w has the Lipschitz constant 1.

    sigma = u^T W v, with u and v moved on by `n_power_iterations` rounds of power iteration at
    every access in training; buffers `parametrizations.<name>.0._u` and `_v`. `dim` is the axis
    that counts outputs (1 for transposed convolutions). Miyato et al., arXiv:1802.05957,
    algorithm 1.

    >>> from gradengine import nn
    >>> list(spectral_norm(nn.Linear(2, 3, bias=False)).state_dict())
    ['parametrizations.weight.original', 'parametrizations.weight.0._u', \
'parametrizations.weight.0._v']
    """
    known = is_parametrized(module, name)
    weight = getattr(module, name) if known else parameter_of(module, name, "spectral_norm")
    check_rounds("spectral_norm", n_power_iterations, weight)
    axis = default_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, axis, eps, generator)
    return register_parametrization(module, name, made)
