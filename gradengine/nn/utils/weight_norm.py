"""Weight norm by a hook before `forward`: parameters weight_g and weight_v, in older checkpoints.

`nn.utils.parametrizations.weight_norm` does the same as a parametrization.

Floor 6: stands on nn/utils/parametrizations.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.errors import MemberError, hinted
from gradengine.nn.module import Module, Parameter
from gradengine.nn.utils.hooked import Hooked, attach, detach_hook, parameter_of
from gradengine.nn.utils.parametrizations import directed, norm_except
from gradengine.tape import no_grad


class _WeightNorm(Hooked):
    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = dim

    def value(self, module: Module, training: bool) -> Any:
        g, v = (getattr(module, f"{self.name}_{part}") for part in "gv")
        return directed(g, v, self.dim)


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """w = g v / ||v||, the norm over all axes but `dim` (all axes if None), before every forward.

    g and v are the parameters `<name>_g` and `<name>_v`. Salimans, Kingma, arXiv:1602.07868,
    equation 2. Raises MemberError if the module has no such parameter.

    >>> from gradengine import nn
    >>> list(weight_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    weight = parameter_of(module, name, "weight_norm")
    delattr(module, name)
    with no_grad():
        setattr(module, f"{name}_g", Parameter(norm_except(weight.detach(), dim)))
        setattr(module, f"{name}_v", Parameter(weight.detach()))
    attach(module, _WeightNorm(name, dim))
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight a parameter again, with its present value.

    >>> from gradengine import nn
    >>> list(remove_weight_norm(weight_norm(nn.Linear(2, 3))).state_dict())
    ['bias', 'weight']
    """
    hook = detach_hook(module, name, _WeightNorm)
    if hook is None:
        text = f"remove_weight_norm: {type(module).__name__}.{name} has none"
        raise MemberError(hinted(text, "weight_norm(module, name) makes one that can be removed"))
    with no_grad():
        value = hook.value(module, False)
    for part in (name, f"{name}_g", f"{name}_v"):
        delattr(module, part)
    setattr(module, name, Parameter(value))
    return module
