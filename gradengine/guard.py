"""Changes behind the tape's back: raw arrays that people hold, and whether they changed.

A Tensor's own writes copy first where the tape needs the old values, so only somebody who holds
the raw array (`t.data`, `t.numpy()`, the array given to `ge.asarray`) can spoil a saved value.
Those arrays are *exposed*. When the tape saves an exposed array it notes a checksum of it; the
backward pass compares, and raises where the values are no longer those of the forward pass.
Nothing is checked, and nothing costs anything, for arrays that never left the engine.

Floor 1: stands on device.py.
"""

from __future__ import annotations

import weakref
from typing import Any

from .device import Array, fingerprint, owner
from .errors import GraphError, hinted

exposed: dict[int, tuple[weakref.ref[Any], Any]] = {}
"""id of the owning array -> (weak reference to it, its checksum when it was exposed)."""


def expose(array: Array, *, saved_before: bool) -> None:
    """Note that somebody outside the engine now holds `array`, or memory it shows.

    `saved_before`: the tape may have saved this memory already, so its checksum is taken now;
    an array that only now enters the engine needs none.
    """
    root = owner(array)
    key = id(root)
    if key in exposed:
        return

    def forget(_: Any, key: int = key) -> None:
        exposed.pop(key, None)

    mark = fingerprint(root) if saved_before else None
    exposed[key] = (weakref.ref(root, forget), mark)


def marks(arrays: Any) -> dict[int, Any] | None:
    """Checksums of those arrays of a saved tuple that are exposed, by position."""
    found: dict[int, Any] | None = None
    for i, x in enumerate(arrays):
        base = getattr(x, "base", exposed)  # scalars and None have none
        if base is not exposed and id(x if base is None else owner(x)) in exposed:
            found = found or {}
            found[i] = fingerprint(x)
    return found


def check(name: str, arrays: Any, noted: dict[int, Any] | None) -> None:
    """Raise GraphError if an array that op `name` saved was changed behind the tape's back."""
    for i, x in enumerate(arrays):
        if not hasattr(x, "base"):
            continue
        if noted is not None and i in noted:
            same = bool(fingerprint(x) == noted[i])
        else:
            entry = exposed.get(id(owner(x)))
            same = entry is None or entry[1] is None or bool(fingerprint(owner(x)) == entry[1])
        if not same:
            what = "its output" if i == 0 else f"its input {i - 1}"
            raise GraphError(
                hinted(
                    f"backward: {name} saved {what} {tuple(x.shape)} {x.dtype}, and that array "
                    "was changed since through its raw NumPy or CuPy array",
                    "write through the Tensor (t[i] = v, t += v copy first), or give the engine "
                    "a copy: ge.tensor(array)",
                )
            )
