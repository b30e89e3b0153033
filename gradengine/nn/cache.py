"""A cache of keys and values, so that decoding one more position costs one position."""

from __future__ import annotations

from typing import Any

from gradengine import creation, ops
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.tape import grad_enabled
from gradengine.tensor import Tensor


class KVCache:
    """Keys (..., T, E) and values (..., T, D) of the positions so far, at most `max_length`.

    The first `append` decides shapes, dtype and device. Under `no_grad` memory for `max_length`
    positions is taken once and written in place; what `append` returns are views of it, which hold
    until `reset` or `reorder`. Where gradients are recorded the parts are joined on the tape.

    >>> import gradengine as ge
    >>> cache = KVCache(max_length=4)
    >>> with ge.no_grad():
    ...     _ = cache.append(ge.zeros((1, 2, 3, 8)), ge.zeros((1, 2, 3, 8)))
    ...     keys, values = cache.append(ge.ones((1, 2, 1, 8)), ge.ones((1, 2, 1, 8)))
    >>> keys.shape, cache.length
    ((1, 2, 4, 8), 4)
    """

    def __init__(self, max_length: int) -> None:
        if max_length < 1:
            raise ShapeError(hinted(f"KVCache: max_length={max_length}", "give at least 1"))
        self.max_length = max_length
        self.length = 0
        self._store: tuple[Tensor, Tensor] | None = None
        self._preallocated = False  # whether the store is our own memory for max_length positions

    def __repr__(self) -> str:
        return f"KVCache(length={self.length}, max_length={self.max_length})"

    @property
    def keys(self) -> Tensor | None:
        """The keys so far, (..., length, E)."""
        return None if self._store is None else self._store[0][..., : self.length, :]

    @property
    def values(self) -> Tensor | None:
        """The values so far, (..., length, D)."""
        return None if self._store is None else self._store[1][..., : self.length, :]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of the next positions; returns those of all so far.

        Raises OutOfRangeError when the cache is full, ShapeError when the shapes do not fit.
        """
        self._check(key, value)
        end = self.length + key.shape[-2]
        if grad_enabled():
            known = (self.keys, self.values)
            self._store = tuple(  # type: ignore[assignment]
                new if old is None else ops.concat([old, new], axis=-2)
                for old, new in zip(known, (key, value), strict=True)
            )
            self._preallocated = False
        else:
            self._reserve(key, value)
            assert self._store is not None
            for store, new in zip(self._store, (key, value), strict=True):
                store.array[..., self.length : end, :] = new.array
        self.length = end
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        return keys, values

    def reset(self) -> None:
        """Forget all positions; the memory is kept for the next ones."""
        self.length = 0

    def reorder(self, indices: Any) -> None:
        """Let row i of the batch (the first axis) go on from row indices[i]: a beam search step."""
        if self._store is None:
            return
        picked = [ops.take(x, indices, axis=0) for x in (self.keys, self.values)]
        self._store, self._preallocated = (picked[0], picked[1]), False
        if not grad_enabled():
            self._reserve(*picked)

    # --- memory ---

    def _reserve(self, key: Tensor, value: Tensor) -> None:
        """Memory for `max_length` positions of such keys and values, with those known so far."""
        if self._preallocated:
            return
        known = self._store if self._store is not None else (key, value)
        count = min(self.length, known[0].shape[-2])
        made: list[Tensor] = []
        for old in known:
            shape = (*old.shape[:-2], self.max_length, old.shape[-1])
            new = creation.zeros(shape, dtype=old.dtype, device=old.device)
            new.array[..., :count, :] = old.array[..., :count, :]
            made.append(new)
        self._store, self._preallocated = (made[0], made[1]), True

    # --- checks ---

    def _check(self, key: Tensor, value: Tensor) -> None:
        if min(key.ndim, value.ndim) < 2 or key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(
                hinted(
                    f"KVCache: key {tuple(key.shape)} and value {tuple(value.shape)}",
                    "(..., positions, features) of both, equal but for the features",
                )
            )
        for name, new, old in (("key", key, self.keys), ("value", value, self.values)):
            if old is not None and _fixed(new) != _fixed(old):
                if not self.length:  # after reset anything may come
                    self._store, self._preallocated = None, False
                    break
                raise ShapeError(
                    hinted(
                        f"KVCache: {name} {tuple(new.shape)} {new.dtype} after "
                        f"{tuple(old.shape)} {old.dtype}",
                        "only the positions may differ in number; a new batch needs a new cache",
                    )
                )
        if self.length + key.shape[-2] > self.max_length:
            raise OutOfRangeError(
                hinted(
                    f"KVCache: {self.length} positions and {key.shape[-2]} more exceed "
                    f"max_length={self.max_length}",
                    "make the cache longer, or reset() it and feed the last part of the text again",
                )
            )


def _fixed(x: Tensor) -> tuple[Any, ...]:
    """What every part of a cache must agree in."""
    return (*x.shape[:-2], x.shape[-1], x.dtype)
