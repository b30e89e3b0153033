"""Gradients kept in bounds: by their common norm, or each by value.

Nothing here waits for the device unless `error_if_nonfinite` asks for it: the norm and the factor
stay where the gradients are. `foreach` is taken for PyTorch's sake and changes nothing.

Floor 6: stands on ops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from gradengine import creation, ops
from gradengine.device import quiet
from gradengine.errors import GraphError, OutOfRangeError, hinted
from gradengine.ops.reductions import widened
from gradengine.tape import no_grad
from gradengine.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Any]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in given if p.grad is not None]


# --- by norm ---


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The p-norm (p = `norm_type`, inf too) of all the tensors' elements as one long vector.

    16-bit floats are summed in float32. Raises GraphError if it is not finite and that is asked.

    >>> import gradengine as ge
    >>> get_total_norm([ge.tensor([3.0]), ge.tensor([4.0])])
    tensor(5.)
    """
    given: list[Any] = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if norm_type <= 0:
        text = f"get_total_norm: norm_type={norm_type}"
        raise OutOfRangeError(hinted(text, "give a positive number, or math.inf"))
    if not given:
        return creation.zeros(())
    empty = [i for i, x in enumerate(given) if x is None]
    if empty:
        text = f"get_total_norm: tensors[{empty[0]}] is None"
        raise TypeError(hinted(text, "leave parameters without a gradient out"))
    with no_grad():
        norms = [ops.vector_norm(widened(x), ord=norm_type) for x in given]
        total = ops.vector_norm(ops.stack(norms), ord=norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        text = f"get_total_norm: the norm of order {norm_type} is {total.item()}"
        hint = "look for the step that made inf or NaN, or clip with error_if_nonfinite=False"
        raise GraphError(hinted(text, hint))
    return total


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)) in place; returns their norm before.

    Pascanu, Mikolov, Bengio, arXiv:1211.5063, section 3.2. Raises GraphError if the norm is not
    finite and that is asked; then no gradient has changed.

    >>> import gradengine as ge
    >>> x = ge.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_norm_(x, 1.0), round(float(ge.norm(x.grad)), 4)
    (tensor(5.), 1.0)
    """
    gradients = _gradients(parameters)
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    _scale(gradients, max_norm, total)
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale all gradients by min(1, max_norm / (total_norm + 1e-6)) in place.

    >>> import gradengine as ge
    >>> x = ge.tensor([1.0], requires_grad=True)
    >>> x.sum().backward()
    >>> clip_grads_with_norm_(x, 1.0, ge.tensor(2.0))
    >>> round(x.grad.item(), 4)
    0.5
    """
    _scale(_gradients(parameters), max_norm, total_norm)


def _scale(gradients: list[Any], max_norm: float, total: Any) -> None:
    with no_grad(), quiet():  # an infinite gradient times 0 is NaN, as it should be seen
        factor = ops.minimum(max_norm / (total + 1e-6), 1.0)
        for g in gradients:
            g.mul_(factor.to(g.device).astype(g.dtype))


# --- by value ---


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Every element of every gradient moved into [-clip_value, clip_value], in place.

    >>> import gradengine as ge
    >>> x = ge.tensor([3.0, -0.5], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_value_(x, 2.0)
    >>> x.grad
    tensor([ 2., -1.])
    """
    with no_grad():
        for g in _gradients(parameters):
            g.copy_(ops.clip(g, -clip_value, clip_value))
