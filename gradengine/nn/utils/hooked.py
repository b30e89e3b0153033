"""Weights that a hook computes before every `forward`: what weight norm and spectral norm share.

Floor 6: stands on nn/module.py.
"""

from __future__ import annotations

from typing import Any

from gradengine.errors import MemberError, hinted
from gradengine.nn.module import Module, Parameter


class Hooked:
    """The hook: sets the attribute `name` of its module to `value` before every forward."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Any = None

    def value(self, module: Module, training: bool) -> Any:
        """The tensor, from the parameters it is made of."""
        raise NotImplementedError

    def __call__(self, module: Module, _args: Any) -> None:
        setattr(module, self.name, self.value(module, module.training))


def parameter_of(module: Module, name: str, what: str) -> Parameter:
    """The parameter `name`, or MemberError."""
    found = vars(module).get(name)
    if not isinstance(found, Parameter):
        text = f"{what}: {type(module).__name__} has no parameter {name!r}"
        names = [key for key, value in vars(module).items() if isinstance(value, Parameter)]
        raise MemberError(hinted(text, f"its parameters are {names}"))
    return found


def attach(module: Module, hook: Hooked) -> None:
    """Compute the tensor now, and before every forward from now on."""
    setattr(module, hook.name, hook.value(module, False))
    hook.handle = module.register_forward_pre_hook(hook)
    found: Any = vars(module).setdefault("_hooked", {})
    found[hook.name] = hook


def detach_hook(module: Module, name: str, kind: type[Hooked]) -> Hooked | None:
    """Take the hook of that kind away; None if there is none."""
    found: Any = vars(module).get("_hooked", {})
    if not isinstance(found.get(name), kind):
        return None
    hook: Hooked = found.pop(name)
    hook.handle.remove()
    return hook
