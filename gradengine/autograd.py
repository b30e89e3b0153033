"""`ge.autograd`: the names PyTorch's users know, over the same engine.

Floor 6: stands on reverse.py and custom.py.
"""

from __future__ import annotations

from typing import Any

from .custom import Context as Context
from .custom import Function as Function
from .custom import once_differentiable as once_differentiable
from .errors import DTypeError, GraphError, ShapeError, hinted
from .reverse import backward as _backward
from .reverse import gradients, zero_if_none
from .tape import Traced
from .trees import listed


def _seeds(outputs: list[Any], given: Any, name: str) -> list[Any]:
    seeds = [None] * len(outputs) if given is None else listed(given)
    if len(seeds) != len(outputs):
        raise ShapeError(
            hinted(
                f"{name}: {len(seeds)} gradients for {len(outputs)} outputs",
                "give one for each output, None for a scalar's 1",
            )
        )
    return seeds


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves: `Tensor.backward` for several.

    >>> import gradengine as ge
    >>> x = ge.tensor(2.0, requires_grad=True)
    >>> ge.autograd.backward([x * x, 3 * x])
    >>> x.grad
    tensor(7.)
    """
    outputs = listed(tensors)
    seeds = _seeds(outputs, grad_tensors, "backward")
    _backward(
        outputs,
        seeds,
        retain_graph=retain_graph,
        create_graph=create_graph,
        inputs=inputs,
    )


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` (weighted by `grad_outputs`) with respect to `inputs`, as a tuple.

    No `.grad` is touched. An input that no output depends on raises GraphError unless
    `allow_unused` (then its gradient is None) or `materialize_grads` (then it is zero).

    >>> import gradengine as ge
    >>> x = ge.tensor(2.0, requires_grad=True)
    >>> (g,) = ge.autograd.grad(x**3, x, create_graph=True)
    >>> ge.autograd.grad(g, x)
    (tensor(12.),)
    """
    wanted = listed(inputs)
    ys = listed(outputs)
    for i, y in enumerate(ys):
        if not isinstance(y, Traced):
            raise DTypeError(
                hinted(f"grad: outputs[{i}] is {type(y).__name__}, no Tensor", "use ge.tensor(x)")
            )
    seeds = _seeds(ys, grad_outputs, "grad")
    if not any(y.level or y.node is not None for y in ys):
        raise GraphError(
            hinted(
                "grad: no output requires a gradient", "call requires_grad_() on the inputs first"
            )
        )
    found = gradients(
        ys, wanted, seeds, retain_graph=retain_graph, create_graph=create_graph, name="grad"
    )
    for i, g in enumerate(found):
        if g is None and not (allow_unused or materialize_grads):
            raise GraphError(
                hinted(
                    f"grad: no output depends on inputs[{i}] {tuple(wanted[i].shape)}",
                    "pass allow_unused=True for None, or materialize_grads=True for zeros",
                )
            )
    if materialize_grads:
        found = [zero_if_none(g, x) for g, x in zip(found, wanted, strict=True)]
    return tuple(found)
