"""Equality to the last bit of nested containers of arrays, for tests of files and resumed runs."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

import gradengine as ge


def identical(a: Any, b: Any) -> None:
    """Types, nesting, dtypes, shapes and bytes."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for x, y in zip(a.values(), b.values(), strict=True):
            identical(x, y)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            identical(x, y)
    elif isinstance(a, (ge.Tensor, np.ndarray, np.generic)):
        p, q = np.asarray(ge.asnumpy(a)), np.asarray(ge.asnumpy(b))
        assert p.dtype == q.dtype
        assert p.shape == q.shape
        assert p.tobytes() == q.tobytes()
    elif isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b)
    else:
        assert a == b
