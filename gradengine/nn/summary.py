"""summary: what a model consists of, and what one forward pass of it keeps for the way back.

The pass is recorded, since what the tape saves is to be weighed, and its graph is dropped. Every
attribute of every module, the values of the buffers and the random state are put back afterwards.

Floor 6: stands on module.py, and on the tape's nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from gradengine import creation, philox, random
from gradengine.device import is_array, owner
from gradengine.errors import ShapeError, hinted
from gradengine.graph import reachable
from gradengine.modes import enable_grad
from gradengine.nn.module import Module
from gradengine.tape import Node, next_tick
from gradengine.tensor import Tensor
from gradengine.trees import flatten

# pyright: reportPrivateUsage=false
# Whether a module had hooks before is private to people, not to this file.


@dataclass
class Row:
    """One module: parameters are its own, without those of the modules below it; so is `saved`."""

    path: str
    kind: str
    output: str = "not called"
    calls: int = 0
    parameters: int = 0
    trainable: int = 0
    saved: int = 0


@dataclass
class Summary:
    """What `summary` found; as text a table. Bytes are bytes, counts are elements."""

    rows: list[Row]
    parameters: int
    trainable: int
    parameter_bytes: int
    buffer_bytes: int
    saved_bytes: int
    depth: int | None = field(default=None, repr=False)

    def __str__(self) -> str:
        head = ("layer", "output", "parameters", "trainable", "saved")
        lines = [
            (
                f"{row.path} ({row.kind})" if row.path else row.kind,
                row.output + (f" x{row.calls}" if row.calls > 1 else ""),
                f"{row.parameters:,}",
                f"{row.trainable:,}",
                _bytes(row.saved),
            )
            for row in self.rows
            if self.depth is None or not row.path or row.path.count(".") < self.depth
        ]
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        shown = [_line(cells, widths) for cells in (head, *lines)]
        frozen = self.parameters - self.trainable
        return "\n".join(
            (
                shown[0],
                rule,
                *shown[1:],
                rule,
                f"parameters  {self.parameters:,} ({_bytes(self.parameter_bytes)}), "
                f"trainable {self.trainable:,}, frozen {frozen:,}",
                f"buffers     {_bytes(self.buffer_bytes)}",
                f"saved       {_bytes(self.saved_bytes)} by the tape, for the way back",
            )
        )

    __repr__ = __str__


def summary(
    model: Module,
    inputs: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dtype: Any = None,
    depth: int | None = None,
) -> Summary:
    """A table of a model's layers: output shapes, parameters, and bytes the tape saves.

    `inputs` is the shape of the one input (zeros of `dtype`, by default that of the first
    parameter, stand for it), a tensor or array, or a list or tuple of those for several inputs;
    `kwargs` go to `forward` too. `depth` limits the table, not the sums, to so many levels.

    One pass is run, in the mode the model is in. Each array the tape keeps is counted once, at the
    layer that was running when it was first saved; parameters are not counted there. The model
    and the default random state are afterwards as they were.

    >>> from gradengine.nn import Linear, ReLU, Sequential
    >>> print(summary(Sequential(Linear(4, 3), ReLU()), (2, 4)))
    layer       output  parameters  trainable  saved
    ------------------------------------------------
    Sequential  (2, 3)           0          0    0 B
    0 (Linear)  (2, 3)          15         15   32 B
    1 (ReLU)    (2, 3)           0          0   24 B
    ------------------------------------------------
    parameters  15 (60 B), trainable 15, frozen 0
    buffers     0 B
    saved       56 B by the tape, for the way back
    """
    rows, modules = _rows(model)
    args = _inputs(model, inputs, dtype)
    watch = _Watch(rows)
    with _unchanged(model), watch.on(modules), enable_grad():
        out = model(*args, **(kwargs or {}))
        total = watch.weigh(out, _memory(model))
    parameters = list(model.parameters())
    return Summary(
        rows=rows,
        parameters=sum(p.size for p in parameters),
        trainable=sum(p.size for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.nbytes for p in parameters),
        buffer_bytes=sum(b.nbytes for b in model.buffers()),
        saved_bytes=total,
        depth=depth,
    )


# --- what goes in ---


def _rows(model: Module) -> tuple[list[Row], list[Module]]:
    """A row for each module, every parameter counted at the first that has it."""
    rows: list[Row] = []
    modules: list[Module] = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        row = Row(path, type(module).__name__)
        row.parameters = sum(p.size for p in own)
        row.trainable = sum(p.size for p in own if p.requires_grad)
        rows.append(row)
        modules.append(module)
    return rows, modules


def _inputs(model: Module, given: Any, dtype: Any) -> list[Any]:
    first = next(model.parameters(), None)
    device = None if first is None else first.device
    if dtype is None and first is not None:
        dtype = first.dtype

    def made(value: Any) -> Any:
        if _is_shape(value):
            return creation.zeros(value, dtype=dtype, device=device)
        if isinstance(value, Tensor) or is_array(value):
            return Tensor.lift(value)
        text = f"summary: an input is a {type(value).__name__}"
        raise ShapeError(hinted(text, "give a shape such as (1, 3, 32, 32), or a tensor"))

    if isinstance(given, (list, tuple)) and not _is_shape(cast(Any, given)):
        return [made(value) for value in cast("Sequence[Any]", given)]
    return [made(given)]


def _is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(n, int) for n in cast("Sequence[Any]", value)
    )


# --- while it runs ---


class _Watch:
    """Which module was running at which tick of the tape."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.inside: list[int] = []
        self.ticks: list[int] = []
        self.running: list[int | None] = []

    @contextmanager
    def on(self, modules: Sequence[Module]) -> Generator[None]:
        """Hooks on every module; a module that had none has none afterwards."""
        before = [module._hooks for module in modules]
        handles: list[Any] = []
        try:
            for place, module in enumerate(modules):
                handles += [
                    module.register_forward_pre_hook(self._entering(place), prepend=True),
                    module.register_forward_hook(self._leaving(place)),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module, hooks in zip(modules, before, strict=True):
                module._hooks = hooks

    def _entering(self, place: int) -> Any:
        def hook(*_: Any) -> None:
            self.inside.append(place)
            self._mark()

        return hook

    def _leaving(self, place: int) -> Any:
        def hook(_module: Module, _args: Any, out: Any) -> None:
            row = self.rows[place]
            row.calls += 1
            row.output = _shapes(out) if row.calls == 1 else row.output
            self.inside.pop()
            self._mark()

        return hook

    def _mark(self) -> None:
        self.ticks.append(next_tick())
        self.running.append(self.inside[-1] if self.inside else None)

    def weigh(self, out: Any, known: set[int]) -> int:
        """Add up the bytes saved by the nodes that lead to `out`, by row and in all."""
        leaves, _ = flatten(out)
        roots = [x.node for x in leaves if isinstance(x, Tensor) and x.node is not None]
        total = 0
        for node in sorted(reachable(roots), key=lambda n: n.tick):
            size = _saved(node, known)
            total += size
            at = bisect_right(self.ticks, node.tick) - 1
            running = self.running[at] if at >= 0 else None
            if running is not None:
                self.rows[running].saved += size
        return total


def _saved(node: Node, known: set[int]) -> int:
    """Bytes of the arrays a node keeps, each memory once; `known` holds what is counted already."""
    total = 0
    saved: Any = node.saved
    for entry in cast("tuple[Any, ...]", saved) if isinstance(saved, tuple) else ():
        # a slope that its first use takes away stands in a list
        kept = entry[0] if entry.__class__ is list and entry else entry
        if is_array(kept):
            memory = owner(kept)
            if id(memory) not in known:
                known.add(id(memory))
                total += int(memory.nbytes)
    return total


def _memory(model: Module) -> set[int]:
    """The memory of parameters and buffers, which the tape keeps for nothing."""
    return {id(owner(t.array)) for part in (model.parameters(), model.buffers()) for t in part}


@contextmanager
def _unchanged(model: Module) -> Generator[None]:
    """Attributes, values of buffers and random states as they were."""
    modules = list(model.modules())
    attributes = [dict(vars(module)) for module in modules]
    values = [(buffer, buffer.array, buffer.array.copy()) for buffer in model.buffers()]
    generators = {
        id(g): (g, g.get_state())
        for g in (
            random.default_generator,
            *(x for own in attributes for x in own.values() if isinstance(x, philox.Generator)),
        )
    }
    try:
        yield
    finally:
        for module, own in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(own)
        for buffer, array, copied in values:
            if (array != copied).any():  # written behind the tensor's back
                array[...] = copied
            buffer.array = array
        for generator, state in generators.values():
            generator.set_state(state)


# --- text ---


def _shapes(out: Any) -> str:
    leaves, _ = flatten(out)
    found = [str(x.shape) for x in leaves if isinstance(x, Tensor)]
    return ", ".join(found) if found else "no tensor"


def _bytes(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join((*left, *right)).rstrip()
