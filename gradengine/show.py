"""How a tensor looks: its repr in a terminal and its table in a notebook.

Floor 3: stands on device.py.
"""

from __future__ import annotations

import html as escape
from typing import Any

import numpy as np

from .device import to_numpy


def text(t: Any) -> str:
    """`tensor([[1., 2.]], device='cuda:0', dtype=float64, grad_fn=<add>)`, less the defaults."""
    values = to_numpy(t.array)
    extras = _extras(t)
    if values.size == 0:
        extras.insert(0, f"shape={tuple(values.shape)}")
        body = "[]"
    else:
        body = np.array2string(values, separator=", ", prefix="tensor(")
    return f"tensor({', '.join([body, *extras])})"


def _extras(t: Any) -> list[str]:
    found: list[str] = []
    if t.device != "cpu":
        found.append(f"device={str(t.device)!r}")
    if t.dtype.name not in ("float32", "int64", "bool"):
        found.append(f"dtype={t.dtype.name}")
    if t.grad_fn is not None:
        found.append(f"grad_fn=<{t.grad_fn.name}>")
    elif t.requires_grad:
        found.append("requires_grad=True")
    return found


def html(t: Any) -> str:
    """A small table: shape, dtype, device, origin, range, and the values of a small matrix."""
    values = to_numpy(t.array)
    facts = [f"shape {tuple(values.shape)}", t.dtype.name, str(t.device), *_extras(t)[-1:]]
    if values.size and values.dtype.kind in "fiub":
        facts.append(f"range {values.min():.4g} to {values.max():.4g}")
    head = escape.escape(" · ".join(dict.fromkeys(facts)))
    if values.ndim == 2 and 0 < values.size <= 400 and max(values.shape) <= 20:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape.escape(f'{x:.4g}')}</td>" for x in row) + "</tr>"
            for row in values
        )
        return f"<div><code>tensor</code> {head}<table>{rows}</table></div>"
    body = escape.escape(np.array2string(values, separator=", ", threshold=50))
    return f"<div><code>tensor</code> {head}<pre>{body}</pre></div>"
