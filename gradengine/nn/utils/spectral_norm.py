"""Spectral norm by a hook before `forward`: weight_orig, weight_u and weight_v.

`nn.utils.parametrizations.spectral_norm` does the same as a parametrization.

Floor 6: stands on nn/utils/parametrizations.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import ops
from gradengine.errors import MemberError, hinted
from gradengine.nn.module import Module, Parameter
from gradengine.nn.utils.hooked import Hooked, attach, detach_hook, parameter_of
from gradengine.nn.utils.parametrizations import as_matrix, check_rounds, default_dim, unit
from gradengine.random import Generator, randn
from gradengine.tape import no_grad


class _SpectralNorm(Hooked):
    def __init__(self, name: str, rounds: int, dim: int, eps: float) -> None:
        super().__init__(name)
        self.rounds, self.dim, self.eps = rounds, dim, eps

    def value(self, module: Module, training: bool) -> Any:
        weight, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        matrix = as_matrix(weight, self.dim)
        if training:
            with no_grad():
                fixed = matrix.detach()
                for _ in range(self.rounds):
                    v.copy_(unit(fixed.T @ u, self.eps))
                    u.copy_(unit(fixed @ v, self.eps))
        return weight / ops.vecdot(ops.copy(u), matrix @ ops.copy(v))


def spectral_norm(
    module: Any,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    generator: Generator | None = None,
) -> Any:
    """w = weight / sigma, sigma its largest singular value, before every forward.

    sigma = u^T W v, with u and v moved on by power iteration in training. The parameter is
    `<name>_orig`, the buffers `<name>_u` and `<name>_v`. Miyato et al., arXiv:1802.05957,
    algorithm 1. Raises MemberError if the module has no such parameter.

    >>> from gradengine import nn
    >>> list(spectral_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    weight = parameter_of(module, name, "spectral_norm")
    check_rounds("spectral_norm", n_power_iterations, weight)
    axis = default_dim(module) if dim is None else dim
    matrix: Any = as_matrix(weight.detach(), axis)
    like: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
    delattr(module, name)
    setattr(module, f"{name}_orig", weight)
    for part, size in zip("uv", matrix.shape, strict=True):
        start = unit(randn(size, generator=generator, **like), eps)
        module.register_buffer(f"{name}_{part}", start)
    attach(module, _SpectralNorm(name, n_power_iterations, axis, eps))
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight a parameter again, with its present value.

    >>> from gradengine import nn
    >>> list(remove_spectral_norm(spectral_norm(nn.Linear(2, 3))).state_dict())
    ['bias', 'weight']
    """
    hook = detach_hook(module, name, _SpectralNorm)
    if hook is None:
        text = f"remove_spectral_norm: {type(module).__name__}.{name} has none"
        raise MemberError(hinted(text, "spectral_norm(module, name) makes one that can be removed"))
    with no_grad():
        value = hook.value(module, False)
    for part in (name, f"{name}_orig", f"{name}_u", f"{name}_v"):
        delattr(module, part)
    setattr(module, name, Parameter(value))
    return module
