"""Sequences of different lengths in one batch: padded, and packed without the padding.

Packed rows stand step after step: of step t those sequences that are longer than t, longest first.
Packing and unpacking are one gather each, on the tape.

Floor 6: stands on ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from gradengine import ops
from gradengine.conversion import tensor
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.tensor import Tensor


class PackedSequence(NamedTuple):
    """Rows of several sequences without padding, as `pack_padded_sequence` makes them.

    `data` (rows, ...), `batch_sizes` (longest length,) how many sequences run at each step, on the
    CPU; `sorted_indices` (batch,) the order in which they were sorted by length, or None;
    `unsorted_indices` its inverse.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """`batch_sizes` as integers."""
        return tuple(int(n) for n in self.batch_sizes.tolist())

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The rows moved or converted, as `Tensor.to`."""
        return self._replace(data=self.data.to(*args, **kwargs))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one.

    >>> import gradengine as ge
    >>> invert_permutation(ge.tensor([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    return None if permutation is None else ops.argsort(permutation)


# --- packing ---


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The rows of a padded batch without the padding.

    input (T, B, ...) or, `batch_first`, (B, T, ...); lengths B integers from 1 to T, falling if
    `enforce_sorted`. Raises ShapeError or OutOfRangeError where they do not fit.

    >>> import gradengine as ge
    >>> packed = pack_padded_sequence(ge.tensor([[1, 2], [3, 0]]), [2, 1])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1, 2, 3], [2, 1])
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        text = f"pack_padded_sequence: input {shape}"
        raise ShapeError(hinted(text, "give (T, B, ...), or (B, T, ...) with batch_first=True"))
    steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
    given = _lengths(lengths, steps, batch)
    order = np.argsort(-given, kind="stable")
    if enforce_sorted and (given[1:] > given[:-1]).any():
        text = f"pack_padded_sequence: lengths {given.tolist()} are not falling"
        raise OutOfRangeError(hinted(text, "sort the batch, or give enforce_sorted=False"))
    falling = given[order]
    running = _running(falling)
    step, column = np.nonzero(running)
    who = order[column]
    rows = who * steps + step if batch_first else step * batch + who
    flat = ops.reshape(input, (steps * batch, *shape[2:]))
    data = ops.take(flat, tensor(rows, device=input.device), axis=0)
    indices = None if enforce_sorted else tensor(order, device=input.device)
    return PackedSequence(data, tensor(running.sum(axis=1)), indices, invert_permutation(indices))


def _running(falling: Any) -> Any:
    """Which sequences (columns) run at each step (rows)."""
    less: Any = np.less
    return less(np.arange(falling[0])[:, None], falling[None, :])


def _lengths(lengths: Any, steps: int, batch: int) -> Any:
    """Lengths as NumPy integers, checked."""
    found: Any = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths)
    if found.shape != (batch,) or found.dtype.kind not in "iu":
        text = f"pack_padded_sequence: lengths {found.tolist()} for a batch of {batch}"
        raise ShapeError(hinted(text, "give one integer for each sequence"))
    if not batch or found.min() < 1 or found.max() > steps:
        text = f"pack_padded_sequence: lengths {found.tolist()} of sequences of {steps} steps"
        raise OutOfRangeError(hinted(text, f"lengths are from 1 to {steps}"))
    return found


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(padded, lengths): the inverse of `pack_padded_sequence`, in the order of its input.

    padded (T, B, ...), or (B, T, ...) if `batch_first`; T is the longest length, or
    `total_length`. Raises OutOfRangeError where that is too short.

    >>> import gradengine as ge
    >>> packed = pack_padded_sequence(ge.tensor([[1, 2], [3, 0]]), [2, 1])
    >>> padded, lengths = pad_packed_sequence(packed)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2], [3, 0]], [2, 1])
    """
    sizes = np.asarray(sequence.sizes)
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        text = f"pad_packed_sequence: total_length={total_length} for {len(sizes)} steps"
        raise OutOfRangeError(hinted(text, f"give at least {len(sizes)}"))
    data, batch = sequence.data, int(sizes[0])
    running = np.arange(batch)[None, :] < np.pad(sizes, (0, steps - len(sizes)))[:, None]
    starts = np.pad(np.cumsum(sizes) - sizes, (0, steps - len(sizes)))
    rows = np.where(running, starts[:, None] + np.arange(batch), data.shape[0])
    lengths = running.sum(axis=0)
    if sequence.unsorted_indices is not None:
        back = np.asarray(sequence.unsorted_indices.tolist())
        rows, lengths = rows[:, back], lengths[back]
    if batch_first:
        rows = rows.T
    shape = (1, *data.shape[1:])
    filler = tensor(np.full(shape, padding_value), dtype=data.dtype, device=data.device)
    table = tensor(np.ascontiguousarray(rows), device=data.device)
    return ops.take(ops.concat([data, filler], axis=0), table, axis=0), tensor(lengths)


# --- lists of sequences ---


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (T_i, ...) as one batch (T, B, ...), or (B, T, ...) if `batch_first`.

    `padding_side` is "right" or "left".

    >>> import gradengine as ge
    >>> pad_sequence([ge.tensor([1, 2]), ge.tensor([3])], batch_first=True).tolist()
    [[1, 2], [3, 0]]
    """
    if padding_side not in ("right", "left"):
        text = f"pad_sequence: padding_side={padding_side!r}"
        raise OutOfRangeError(hinted(text, 'give "right" or "left"'))
    if not sequences:
        raise ShapeError(hinted("pad_sequence: no sequences", "give one or more"))
    longest = max(x.shape[0] for x in sequences)
    padded: list[Tensor] = []
    for x in sequences:
        missing = longest - x.shape[0]
        ends = (0, missing) if padding_side == "right" else (missing, 0)
        widths = (ends, *((0, 0),) * (x.ndim - 1))
        padded.append(ops.pad(x, widths, constant_values=padding_value) if missing else x)
    return ops.stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each of its own length.

    >>> import gradengine as ge
    >>> [x.tolist() for x in unpad_sequence(ge.tensor([[1, 2], [3, 0]]), [2, 1])]
    [[1, 3], [2]]
    """
    each = ops.unstack(padded_sequences, axis=0 if batch_first else 1)
    return [x[: int(n)] for x, n in zip(each, lengths, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (T_i, ...) packed; see `pack_padded_sequence`.

    >>> import gradengine as ge
    >>> pack_sequence([ge.tensor([1, 2]), ge.tensor([3])]).data.tolist()
    [1, 3, 2]
    """
    lengths = [x.shape[0] for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list that `pack_sequence` was given.

    >>> import gradengine as ge
    >>> [x.tolist() for x in unpack_sequence(pack_sequence([ge.tensor([1, 2]), ge.tensor([3])]))]
    [[1, 2], [3]]
    """
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


# --- what the layers read ---


def last_rows(sizes: Sequence[int]) -> Any:
    """For each sequence the packed row of its last step."""
    starts = [stop - n for stop, n in zip(accumulate(sizes), sizes, strict=True)]
    lengths = (np.asarray(sizes)[:, None] > np.arange(sizes[0])).sum(axis=0)
    return np.asarray(starts)[lengths - 1] + np.arange(sizes[0])
