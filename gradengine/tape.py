"""The tape: what was computed from what, and the one pass that goes back through it.

A `Traced` is an array and, if a gradient can flow into it, the `Node` that made it. A node holds
data only: the op, the nodes of its inputs, the arrays its derivative reads, and a tick. The tick
is the order of execution, so going back is popping a heap from the highest tick: no recursion. And
no node refers to the tensor it made: no cycle is formed, reference counts free a graph at once.

What the tape asks of an op is one method, `op.pull(node, cotangent, graph)`, which yields
(node, cotangent) pairs; the tape knows no op by name.

Floor 1: stands on device.py and guard.py.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar, NamedTuple, cast

from . import guard
from .device import HOST, Array, as_array, gpu, ndarray, quiet
from .errors import DTypeError, GraphError, hinted
from .graph import FREED, leading_to
from .graph import reachable as reachable
from .guard import exposed
from .modes import enable_grad as enable_grad
from .modes import grad_enabled as grad_enabled
from .modes import inference_mode as inference_mode
from .modes import no_grad as no_grad
from .trees import listed

new = object.__new__
next_tick = itertools.count(1).__next__
Hook = Callable[..., Any]


# --- what is recorded ---


class Traced:
    """An array on its way through the engine; tensor.py adds the methods people call.

    `array` is the raw NumPy or CuPy array (the engine's own access: people take `data`, which is
    watched), `node` its origin (None for a constant), `family` its
    place among the views that share its memory (unset for an array that shares with nobody).
    """

    __slots__ = ("__weakref__", "array", "family", "node")

    array: Array
    node: Node | None
    family: Any
    plain: ClassVar[type[Any]]  # the class results are wrapped in; tensor.py sets it to Tensor
    level: ClassVar[int] = 0  # depth of forward mode; 0 means no tangent travels along


class Node:
    """One step of the tape: an op, where its inputs came from, and what its derivative reads.

    `saved` is (y, *inputs); behind them a forward may leave the slope for a pass over raw arrays.
    """

    __slots__ = ("__weakref__", "extras", "inputs", "meta", "op", "params", "saved", "tick")

    op: Any
    inputs: tuple[Node | None, ...]
    saved: Any
    params: Any
    meta: tuple[tuple[tuple[int, ...], Any], ...] | None
    tick: int
    extras: dict[str, Any] | None

    def __repr__(self) -> str:
        return f"<{self.name} #{self.tick}>"

    @property
    def name(self) -> str:
        """The op's name, `"leaf"` for a tensor that gradients are asked of."""
        if self.op is None:
            return "leaf"
        if self.op is PICK and self.inputs and self.inputs[0] is not None:
            return self.inputs[0].name
        return str(self.op.name)

    def add_hook(self, kind: str, hook: Hook) -> Callable[[], None]:
        """Append a hook to the list `kind`; the returned function removes it."""
        if not callable(hook):
            raise DTypeError(
                hinted(f"hook: {type(hook).__name__} cannot be called", "give a function")
            )
        if self.extras is None:
            self.extras = {}
        hooks: list[Hook] = self.extras.setdefault(kind, [])
        hooks.append(hook)
        once = [hook]
        return lambda: hooks.remove(once.pop()) if once else None

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> Callable[[], None]:
        """Call `hook(grad_inputs, grad_output)` after this step of the backward pass.

        A returned tuple replaces `grad_inputs`. The result removes the hook. Of an op with several
        outputs, `grad_output` is the tuple of theirs (None for an unused one).
        """
        several = self.op is PICK and self.inputs[0] is not None
        node = cast(Node, self.inputs[0]) if several else self
        return node.add_hook("node", hook)  # type: ignore[arg-type]

    def register_prehook(self, hook: Hook) -> Callable[[], None]:
        """Call `hook(grad_output)` before this step back; what it returns replaces it."""
        return self.add_hook("tensor", hook)


class Leaf(Node):
    """The node of a tensor that asks for a gradient; `grad` is where it arrives."""

    __slots__ = ("grad",)

    grad: Any

    def __init__(self) -> None:
        self.op = self.saved = self.params = self.meta = self.extras = self.grad = None
        self.inputs = ()
        self.tick = next_tick()


class Like(NamedTuple):
    """Shape and dtype of an input whose values the derivative does not read."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Pick:
    """The pseudo-op of one output of a node that has several; `node.params` is which one."""

    name = "output"


PICK = Pick()


def record(
    plain: type[Any],
    op: Any,
    y: Array,
    inputs: tuple[Node | None, ...],
    saved: tuple[Any, ...],
    params: Any = None,
    meta: Any = None,
) -> Any:
    """A traced `y`, with the node that says how it was made."""
    node = new(Node)
    node.op = op
    node.inputs = inputs
    node.saved = saved
    node.params = params
    node.meta = meta
    node.tick = next_tick()
    node.extras = None
    if exposed:
        noted = guard.marks(saved)
        if noted is not None:
            node.extras = {"marks": noted}
    out = new(plain)
    out.array = y
    out.node = node
    return out


def constant(plain: type[Any], y: Array) -> Any:
    """A traced `y` without a history."""
    out = new(plain)
    out.array = y
    out.node = None
    return out


# --- the adjoint of broadcasting, stated here and nowhere else ---


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes along which an array of `shape` was broadcast to g's shape."""
    if g.shape == shape:
        return g
    if g.__class__ in gpu:
        found = gpu[g.__class__].sum_to(g, shape)
        if found is not None:
            return found
    extra = g.ndim - len(shape)
    if shape and g.shape[extra:] == shape and g.__class__ is ndarray and g.dtype.itemsize > 2:
        return column_sums(g) if g.ndim == 2 else HOST.add.reduce(g, axis=tuple(range(extra)))
    grown = (i + extra for i, n in enumerate(shape) if n == 1 != g.shape[i + extra])
    axes = (*range(extra), *grown)
    if g.dtype.itemsize == 2 and not isinstance(g, Traced):  # 16-bit sums accumulate in float32
        return g.sum(axis=axes, keepdims=True, dtype="float32").astype(g.dtype).reshape(shape)
    return cast(Any, g).sum(axis=axes, keepdims=True).reshape(shape)


_ones = {char: HOST.ones(1 << 10, char) for char in "fd"}


def column_sums(g: Array) -> Array:
    """The sum of a matrix's rows, for every bias: BLAS takes a fraction of NumPy's reduction."""
    if g.dtype.char not in "fd":
        return HOST.add.reduce(g, axis=0)
    rows = g.shape[0]
    ones = _ones[g.dtype.char]
    return (ones[:rows] if rows <= ones.size else HOST.ones(rows, g.dtype)).dot(g)


def fit(g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The cotangent for an input of `shape`, `dtype`, from one for its broadcast, promoted form."""
    if g.shape != shape:
        g = sum_to(g, shape)
    if g.dtype == dtype:
        return g
    found = gpu[g.__class__].cast(g, dtype) if g.__class__ in gpu else None
    return g.astype(dtype) if found is None else found


# --- the pass back ---


def pullback(
    roots: Sequence[Node],
    cotangents: Sequence[Any],
    *,
    keep: bool = False,
    graph: bool = False,
    targets: Iterable[Node] | None = None,
) -> dict[Node, Any]:
    """Cotangents of the leaves (or of the `targets`) of `roots`, given the roots' cotangents.

    `keep`: leave the saved arrays in place for another pass. `graph`: the cotangents are traced,
    and the rules run on traced arrays, so that the pass itself is recorded. With `targets`, only
    steps that lead to one of them are taken.
    """
    pending: dict[int, list[Any]] = {}  # tick -> [node, cotangent, whether the sum is our own]
    heap: list[int] = []
    useful = None if targets is None else leading_to(roots, targets)
    for node, g in zip(roots, cotangents, strict=True):
        _send(pending, heap, node, g)
    with quiet():
        if graph:
            with enable_grad():
                return _walk(pending, heap, keep, graph, useful)
        return _walk(pending, heap, keep, graph, useful)


def _walk(
    pending: dict[int, list[Any]],
    heap: list[int],
    keep: bool,
    graph: bool,
    useful: dict[Node, bool] | None,
) -> dict[Node, Any]:
    """Take the newest step until none is left. Written out flat: a small op's time goes here.

    Leaves wait for the end, where nothing is left to add to their sums.
    """
    arrived: dict[Node, Any] = {}
    newest = -heap[0] if heap else 0  # what a checkpoint computes again is newer, and is taken
    while heap:
        node, g, _ = pending.pop(-heappop(heap))
        if useful is not None and node.tick <= newest and node not in useful:
            continue
        op, extras = node.op, node.extras
        if extras is not None:
            g = _before(node, g)
            if "retain" in extras:
                arrived[node] = g
        if op is None:
            arrived[node] = g
            continue
        if useful is not None and useful.get(node):
            arrived[node] = g
        if op is PICK:
            _place(pending, heap, node, g)
            continue  # the picks of one op's outputs hold no arrays: nothing to free
        if node.saved is FREED:
            raise _freed(node)
        try:
            if exposed or extras is not None:
                pairs = _checked_pull(node, g, graph)
            else:
                pairs = op.pull(node, g, graph)
        except Exception:
            if node.saved is FREED:  # by a pass in another thread, while this one was reading
                raise _freed(node) from None
            raise
        for parent, c in pairs:
            if parent is None or c is None:
                continue
            entry = pending.get(parent.tick)
            if entry is None:
                pending[parent.tick] = [parent, c, False]
                if parent.op is not None:
                    heappush(heap, -parent.tick)
            elif c.__class__ in gpu:
                entry[1] = gpu[c.__class__].add(entry[1], c)
            elif entry[2]:
                entry[1] += c
            else:
                entry[1] = entry[1] + c
                entry[2] = not graph
        if not keep:
            node.saved = FREED
            node.inputs = ()
    for tick in sorted(pending, reverse=True):
        node, g, _ = pending.pop(tick)
        if useful is None or node.tick > newest or node in useful:
            arrived[node] = g if node.extras is None else _before(node, g)
    return arrived


def _send(pending: dict[int, list[Any]], heap: list[int], node: Node, g: Any) -> None:
    """Add the cotangent `g` of one root, or of all outputs of a node that has several."""
    entry = pending.get(node.tick)
    if entry is None:
        pending[node.tick] = [node, g, False]
        heappush(heap, -node.tick)
    else:
        entry[1] = _sum(entry[1], g)


def _place(pending: dict[int, list[Any]], heap: list[int], node: Node, g: Any) -> None:
    """Hand one output's cotangent to the node that made all the outputs."""
    if node.saved is FREED:
        raise _freed(node)
    index, count = node.params
    parts: list[Any] = [None] * count
    parts[index] = g
    parent = node.inputs[0]
    assert parent is not None
    _send(pending, heap, parent, parts)


def _sum(a: Any, b: Any) -> Any:
    if not isinstance(a, list):
        return a + b
    pairs = zip(cast("list[Any]", a), b, strict=True)
    return [y if x is None else x if y is None else x + y for x, y in pairs]


def _checked_pull(node: Node, g: Any, graph: bool) -> Iterable[tuple[Node | None, Any]]:
    """One step back where arrays are exposed or hooks are waiting."""
    extras = node.extras or {}
    guard.check(node.name, node.saved, extras.get("marks"))
    pairs = node.op.pull(node, g, graph)
    return _node_hooks(list(pairs), g, extras["node"]) if "node" in extras else pairs


def _before(node: Node, g: Any) -> Any:
    """Run a node's tensor hooks on its summed cotangent, in the order they were registered."""
    extras = node.extras or {}
    for hook in tuple(extras.get("tensor", ())):
        g = _hooked(hook, g)
    return g


def _hooked(hook: Hook, g: Any) -> Any:
    """Hooks see tensors; in a pass over raw arrays they are wrapped for the call."""
    raw = not isinstance(g, (Traced, list))
    result = hook(constant(Traced.plain, as_array(g)) if raw else g)
    if result is None:
        return g
    if raw and isinstance(result, Traced):
        result = result.array
    _check_returned(result, g)
    return result if result.dtype == g.dtype else result.astype(g.dtype)


def _check_returned(result: Any, g: Any) -> None:
    shape = getattr(result, "shape", None)
    if shape is None or tuple(shape) != tuple(g.shape):
        what = type(result).__name__ if shape is None else f"shape {tuple(shape)}"
        raise GraphError(
            hinted(
                f"hook: returned {what} for a gradient of {tuple(g.shape)}",
                "return None, or a gradient of the same shape",
            )
        )


def _node_hooks(pairs: list[Any], g: Any, hooks: list[Any]) -> list[tuple[Node | None, Any]]:
    raw = not any(isinstance(x, Traced) for x in listed(g))
    nodes = [parent for parent, _ in pairs]
    grads = tuple(_shown(c) for _, c in pairs)
    for hook in tuple(hooks):
        result = hook(grads, _shown(g))
        if result is None:
            continue
        if len(result) != len(grads):
            raise GraphError(
                hinted(
                    f"hook: returned {len(result)} gradients for {len(grads)} inputs",
                    "return None, or a tuple with one gradient for each input",
                )
            )
        for new, old in zip(result, grads, strict=True):
            if new is not None and old is not None:
                _check_returned(new, old)
        grads = tuple(result)
    values = (c.array if raw and isinstance(c, Traced) else c for c in grads)
    return list(zip(nodes, values, strict=True))


def _shown(g: Any) -> Any:
    """A cotangent as hooks see it: a tensor, None, or a tuple for an op with several outputs."""
    if isinstance(g, list):
        return tuple(map(_shown, listed(g)))
    return g if g is None or isinstance(g, Traced) else constant(Traced.plain, as_array(g))


def _freed(node: Node) -> GraphError:
    return GraphError(
        hinted(
            f"backward: the arrays saved by {node.name} were freed by an earlier backward pass",
            "call the first backward(retain_graph=True), or compute the loss again",
        )
    )


# --- whether an array has one owner ---


def _calibrate(holder: Traced) -> int:
    holder.array = Like((), None)
    return sys.getrefcount(holder.array)


_ALONE = _calibrate(new(Traced))


def is_sole_owner(holder: Traced) -> bool:
    """Whether nobody but `holder` refers to its array: no node, no view, no person.

    Then a write may happen in place. The count that means "alone" is measured at import, since
    Python versions differ in what a call itself adds.
    """
    return sys.getrefcount(holder.array) <= _ALONE and holder.array.base is None
