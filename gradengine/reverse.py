"""Reverse mode as people call it: `backward` into `.grad`, and `gradients` as values.

Both check what they are given, start the tape's one pass, and hand out what arrived. A leaf's
`.grad` is touched only after the whole pass has succeeded: an error in the middle leaves every
gradient as it was.

Floor 3: stands on tape.py and op.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, cast

from .device import as_array, guard, mixed_devices, namespace, ndarray, ones_like
from .errors import DTypeError, GraphError, ShapeError, hinted
from .tape import (
    Leaf,
    Node,
    Traced,
    constant,
    enable_grad,
    grad_enabled,
    is_sole_owner,
    pullback,
    reachable,
    record,
)
from .trees import listed

_accumulating = threading.Lock()


def _unlocked() -> None:
    """A forked child starts with a lock of its own: another thread's may have been held."""
    global _accumulating
    _accumulating = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlocked)


# --- seeds ---


def seed(output: Any, gradient: Any, name: str, graph: bool) -> Any:
    """The cotangent a pass starts from: `gradient` checked, or 1 for a scalar output."""
    y = output.array
    if gradient is None:
        if y.size != 1:
            raise GraphError(
                hinted(
                    f"{name}: the output has shape {tuple(y.shape)}; only scalars need no gradient",
                    "reduce it with .sum() or .mean(), or give gradient= of the output's shape",
                )
            )
        ones = ones_like(y)
        return constant(output.plain, ones) if graph else ones
    raw = gradient.array if isinstance(gradient, Traced) else as_array(gradient)
    same = raw.__class__ is y.__class__ and raw.dtype is y.dtype and raw.shape == y.shape
    if same and not graph:
        return raw
    if raw.shape != y.shape:
        raise ShapeError(
            hinted(
                f"{name}: gradient has shape {tuple(raw.shape)}, its output {tuple(y.shape)}",
                "the gradient of an output has that output's shape",
            )
        )
    if raw.dtype.kind not in "fV":
        raise DTypeError(hinted(f"{name}: the gradient is {raw.dtype}", f"give it as {y.dtype}"))
    if namespace(raw) is not namespace(y):
        raise mixed_devices(f"{name} of the output and its gradient", (y, raw))
    if not graph:
        return raw if raw.dtype == y.dtype else raw.astype(y.dtype)
    traced = gradient if isinstance(gradient, Traced) else constant(output.plain, raw)
    return traced if raw.dtype == y.dtype else traced.astype(y.dtype)  # type: ignore[attr-defined]


def node_of(tensor: Any, name: str, what: str) -> Node:
    """The node of a tensor, or an error that says why there is none."""
    if not isinstance(tensor, Traced):
        raise DTypeError(
            hinted(f"{name}: {what} is {type(tensor).__name__}, no Tensor", "wrap it: ge.tensor(x)")
        )
    if tensor.node is None:
        raise GraphError(
            hinted(
                f"{name}: {what} {tuple(tensor.array.shape)} does not require a gradient",
                "call requires_grad_() on an input before computing it, outside no_grad",
            )
        )
    if tensor.level:
        raise GraphError(
            hinted(
                f"{name}: {what} carries a tangent (it is inside ge.jvp)",
                "use ge.grad inside ge.jvp: its result carries the tangent on",
            )
        )
    return tensor.node


# --- into .grad ---


def backward(
    tensors: Sequence[Any],
    gradients: Sequence[Any],
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add d(tensors)/d(leaf), weighted by `gradients`, to the `.grad` of all leaves or `inputs`."""
    nodes: list[Node] = []
    seeds: list[Any] = []
    for t, g in zip(tensors, gradients, strict=True):
        nodes.append(node_of(t, "backward", "the output"))
        seeds.append(seed(t, g, "backward", create_graph))
    targets = None
    if inputs is not None:
        targets = [node_of(t, "backward", f"inputs[{i}]") for i, t in enumerate(listed(inputs))]
        if not targets:
            raise GraphError(
                hinted("backward: inputs is empty", "name a tensor, or leave it out for all leaves")
            )
    keep = create_graph if retain_graph is None else retain_graph
    arrived = pullback(nodes, seeds, keep=keep, graph=create_graph, targets=targets)
    del seeds
    plain = tensors[0].plain
    hooks: list[Any] = []
    sums: list[tuple[Node, Any, Any, bool]] = []
    with _accumulating:
        while arrived:  # first everything that can fail, then the assignments
            node, g = arrived.popitem()
            array = g.array if create_graph else g
            holder = constant(plain, array if array.__class__ is ndarray else as_array(array))
            if create_graph:
                holder.node = g.node
            del g, array
            if node.extras is not None:
                hooks += node.extras.get("accumulated", ())
            sums.append(_sum_for(node, holder))
        for node, before, g, add in sums:
            if before is None:
                _set_grad(node, g)
            elif add:
                with guard(g.array):
                    before.array += g.array
            else:
                before.array = g.array
    for hook in hooks:
        hook()


def _sum_for(node: Node, g: Any) -> tuple[Node, Any, Any, bool]:
    """What a node's gradient becomes: (node, the old if it lives on, the new, whether to add)."""
    before = node.grad if isinstance(node, Leaf) else (node.extras or {}).get("grad")
    if before is None:
        if not is_sole_owner(g):  # a gradient's memory is its own
            with guard(g.array):
                g.array = g.array.copy(order="K")
        return node, None, g, False
    if before.array.shape != g.array.shape:
        raise ShapeError(
            hinted(
                f"backward: .grad has shape {tuple(before.array.shape)}, the gradient to be added "
                f"{tuple(g.array.shape)}",
                "the tensor's data was replaced: set .grad = None before the backward pass",
            )
        )
    if before.node is not None or g.node is not None:
        with enable_grad():
            return node, None, before + g, False
    if is_sole_owner(before) and before.array.dtype == g.array.dtype:
        return node, before, g, True
    g.array = before.array + g.array
    return node, before, g, False


def _set_grad(node: Node, g: Any) -> None:
    if isinstance(node, Leaf):
        node.grad = g
    else:
        if node.extras is None:
            node.extras = {}
        node.extras["grad"] = g


def retain_grad(node: Node) -> None:
    """Keep the gradient that passes an intermediate node, after its hooks have seen it."""
    if not isinstance(node, Leaf):
        node.extras = {**(node.extras or {}), "retain": True}


# --- as values ---


def gradients(
    outputs: Sequence[Any],
    inputs: Sequence[Any],
    cotangents: Sequence[Any],
    *,
    retain_graph: bool | None = None,
    create_graph: bool | None = None,
    within: Sequence[Any] = (),
    name: str = "grad",
) -> list[Any]:
    """The cotangents of `inputs` (None where an output does not depend on one), no `.grad` touched.

    `create_graph=None` decides by itself: the pass is recorded if its result can depend on anything
    that asks for a gradient besides `inputs` (and the variables `within` the caller), so nested
    transforms and closures come out right.
    Outputs that carry tangents (inside jvp) give gradients that carry theirs.
    """
    level = max((x.level for x in (*outputs, *cotangents) if isinstance(x, Traced)), default=0)
    if level:
        return _dual_gradients(level, outputs, inputs, cotangents, create_graph, within, name)
    targets = [_target(x, name, i) for i, x in enumerate(inputs)]
    live = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if _differentiable(y)]
    nodes = [y.node for y, _ in live]
    if create_graph is None:
        traced = any(isinstance(c, Traced) and c.node is not None for _, c in live)
        create_graph = bool(grad_enabled()) and (
            traced or _reaches_beyond(nodes, [*targets, *(_target(x, name, 0) for x in within)])
        )
    keep = create_graph if retain_graph is None else retain_graph
    seeds = [seed(y, c, name, create_graph) for y, c in live]
    arrived = pullback(nodes, seeds, keep=keep, graph=create_graph, targets=targets)
    del seeds
    found: list[Any] = []
    for target in targets:
        g = arrived.get(target)
        if g is not None and not isinstance(g, Traced):
            g = constant(Traced.plain, as_array(g))
        found.append(g)
    arrived.clear()
    if not create_graph:
        _unshare(found)
    return found


def _unshare(found: list[Any]) -> None:
    """No two gradients share memory, nor one with an array of the graph or of the caller."""
    for g in found:
        if g is not None and not is_sole_owner(g):
            g.array = g.array.copy()


def _differentiable(y: Any) -> bool:
    return isinstance(y, Traced) and y.node is not None


def _target(x: Any, name: str, i: int) -> Node:
    while isinstance(x, Traced) and x.level:
        x = cast(Any, x).primal
    return node_of(x, name, f"inputs[{i}]")


def _reaches_beyond(nodes: Sequence[Node], targets: Sequence[Node]) -> bool:
    wanted = set(targets)
    if any(target.inputs for target in targets):
        return True
    return any(node.op is None and node not in wanted for node in reachable(nodes))


def _dual_gradients(
    level: int,
    outputs: Sequence[Any],
    inputs: Sequence[Any],
    cotangents: Sequence[Any],
    graph: bool | None,
    within: Sequence[Any],
    name: str,
) -> list[Any]:
    """Gradients of outputs with tangents: d(J'c) = J'(dc) + (dJ)'c, where (dJ)'c = d<dy, c>."""
    primals: list[Any] = []
    seeds: list[Any] = []
    tangents: list[Any] = []
    bends: list[Any] = []
    join: Any = None
    for y, c in zip(outputs, cotangents, strict=True):
        p, dp, join = _split(y, level, join)
        q, dq, join = _split(c, level, join)
        if p.size != 1 and q is None:
            seed(p, None, name, False)
        primals.append(p)
        seeds.append(q)
        if dp is not None:
            tangents.append(dp)
            bends.append(q if q is not None else constant(p.plain, ones_like(p.array)))
        if dq is not None:
            tangents.append(p)
            bends.append(dq)
    first, second = (
        gradients(ys, inputs, cs, retain_graph=True, create_graph=graph, within=within, name=name)
        for ys, cs in ((primals, seeds), (tangents, bends))
    )
    return [
        g if t is None else join(zero_if_none(g, x), t)
        for g, t, x in zip(first, second, inputs, strict=True)
    ]


def _split(x: Any, level: int, join: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, Traced) and x.level == level:
        dual: Any = x
        return dual.primal, dual.tangent, dual.join
    return x, None, join


def zero_if_none(g: Any, like: Any) -> Any:
    """`g`, or zeros for an input that no output depends on."""
    if g is not None:
        return g
    array = like.array
    return constant(like.plain, namespace(array).zeros_like(array))


# --- a variable of one's own for a transform ---


class Alias:
    """The identity, as an op: a new node for the same values; by it a transform knows its own."""

    name = "alias"

    @staticmethod
    def pull(node: Node, g: Any, _graph: bool) -> list[tuple[Node | None, Any]]:
        return [(node.inputs[0], g)]


ALIAS = Alias()


def fresh(x: Any) -> Any:
    """`x` as a variable of its own: gradients with respect to it stop here, and flow on outside."""
    if x.level:
        return x.join(fresh(x.primal), x.tangent)
    if x.node is not None:
        return record(x.plain, ALIAS, x.array, (x.node,), ())
    leaf = constant(x.plain, x.array)
    leaf.node = Leaf()
    return leaf


def handle(x: Any) -> Any:
    """A twin of `x`, same values and history: a write to either leaves the other as it was."""
    if not isinstance(x, Traced):
        return x
    twin = constant(type(x), x.array)
    twin.node = x.node
    return twin
