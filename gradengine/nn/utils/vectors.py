"""All parameters as one vector, and back.

Floor 6: stands on ops.
"""

from __future__ import annotations

from collections.abc import Iterable

from gradengine import ops
from gradengine.errors import ShapeError, hinted
from gradengine.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other, on the tape.

    >>> import gradengine as ge
    >>> parameters_to_vector([ge.tensor([[1.0, 2.0]]), ge.tensor(3.0)])
    tensor([1., 2., 3.])
    """
    return ops.concat([ops.reshape(p, (p.size,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the values of a vector, in their shapes, dtypes and places.

    Raises ShapeError unless the vector has as many elements as all of them; then none has changed.

    >>> import gradengine as ge
    >>> weight = ge.zeros((1, 2))
    >>> vector_to_parameters(ge.tensor([1.0, 2.0]), [weight])
    >>> weight
    tensor([[1., 2.]])
    """
    given = list(parameters)
    total = sum(p.size for p in given)
    if tuple(vec.shape) != (total,):
        text = f"vector_to_parameters: a vector {tuple(vec.shape)} for {total} elements"
        raise ShapeError(hinted(text, f"give shape ({total},)"))
    start, values = 0, vec.detach()
    for p in given:
        part = ops.reshape(values[start : start + p.size], tuple(p.shape))
        p.data = ops.copy(part.to(p.device).astype(p.dtype))
        start += p.size
