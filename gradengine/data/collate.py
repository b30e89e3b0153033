"""Collating: a list of samples becomes one batch, with the samples' own nesting.

Floor 6: stands on conversion.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..conversion import made, tensor
from ..device import is_array, is_host, namespace
from ..errors import DTypeError, ShapeError, hinted
from ..tensor import Tensor

OWN = "batch them yourself: DataLoader(..., collate_fn=your_function)"


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples stacked along a new first axis, through dicts, lists and (named) tuples.

    Tensors and arrays are stacked (in their dtype, on their device), numbers become a tensor
    (Python floats of the default dtype), strings and bytes a list. Containers keep their kind.
    Raises ShapeError, naming the item and both shapes, where sizes differ, and DTypeError for
    what cannot be stacked.

    >>> default_collate([(np.zeros(2), {"label": 3}), (np.ones(2), {"label": 4})])
    (tensor([[0., 0.],
            [1., 1.]], dtype=float64), {'label': tensor([3, 4])})
    """
    if not batch:
        raise ShapeError(hinted("collate: an empty batch", "give at least one sample"))
    return _collated(list(batch), "")


def _collated(batch: list[Any], where: str) -> Any:
    first = batch[0]
    if isinstance(first, Tensor) or is_array(first):
        return _stacked(batch, where)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, dict):
        return _dicts(batch, where)
    if isinstance(first, (list, tuple)):
        return _sequences(batch, where)
    if isinstance(first, np.generic):
        _same_kind(batch, (np.generic, bool, int, float, complex), where)
        return made(np.array(batch))
    if isinstance(first, (bool, int, float, complex)):
        _same_kind(batch, (bool, int, float, complex, np.generic), where)
        return tensor(batch, device="cpu")
    text = f"collate: item 0{where} is a {type(first).__name__}"
    raise DTypeError(hinted(text, f"return arrays, numbers or strings; or {OWN}"))


def _stacked(batch: list[Any], where: str) -> Tensor:
    _same_kind(batch, (Tensor, batch[0].__class__), where)
    shape = tuple(batch[0].shape)
    for i, x in enumerate(batch):
        if tuple(x.shape) != shape:
            text = f"collate: item 0{where} has shape {shape}, item {i}{where} {tuple(x.shape)}"
            hint = f"make them equal (pad, crop or resize), use batch_size=1, or {OWN}"
            raise ShapeError(hinted(text, hint))
    if any(isinstance(x, Tensor) and x.node is not None for x in batch):
        return ops.stack(batch)
    arrays = [x.array if isinstance(x, Tensor) else x for x in batch]
    xp = namespace(arrays[0])
    return made(np.stack(arrays)) if is_host(xp) else ops.stack([made(x) for x in arrays])


def _dicts(batch: list[Any], where: str) -> dict[Any, Any]:
    _same_kind(batch, (dict,), where)
    keys = batch[0].keys()
    for i, x in enumerate(batch):
        if x.keys() != keys:
            text = f"collate: item 0{where} has keys {list(keys)}, item {i}{where} {list(x)}"
            raise ShapeError(hinted(text, f"give every sample the same keys, or {OWN}"))
    return {key: _collated([x[key] for x in batch], f"{where}[{key!r}]") for key in keys}


def _sequences(batch: list[Any], where: str) -> Any:
    first = batch[0]
    _same_kind(batch, (list, tuple), where)
    for i, x in enumerate(batch):
        if len(x) != len(first):
            text = f"collate: item 0{where} has {len(first)} parts, item {i}{where} {len(x)}"
            raise ShapeError(hinted(text, f"give every sample the same parts, or {OWN}"))
    parts = [_collated(list(x), f"{where}[{i}]") for i, x in enumerate(zip(*batch, strict=True))]
    if hasattr(first, "_fields"):
        return type(first)(*parts)
    return parts if isinstance(first, list) else tuple(parts)


def _same_kind(batch: list[Any], kinds: tuple[type, ...], where: str) -> None:
    for i, x in enumerate(batch):
        if not isinstance(x, kinds):
            text = (
                f"collate: item 0{where} is a {type(batch[0]).__name__}, "
                f"item {i}{where} a {type(x).__name__}"
            )
            raise DTypeError(hinted(text, f"return the same kind from every sample, or {OWN}"))
