"""Recomputation: `checkpoint` stores the arguments of a call and computes its inside again.

A checkpointed call is one node whose pull runs the function once more, recorded. That run must be
the same computation, so arguments are kept as they were, the random state and the autocast context
are set back, and what comes out is compared with the first time.

Floor 6: stands on tape.py, casting.py, reverse.py and random.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from . import casting
from .device import is_host, namespace, quiet
from .dtypes import is_inexact
from .errors import GraphError, hinted
from .random import get_state, set_state
from .reverse import handle
from .tape import PICK, Node, Traced, enable_grad, grad_enabled, next_tick, record
from .tensor import Tensor
from .trees import flatten


class _Call:
    """A call that can be made again: the function, its arguments as they were, the random state."""

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any) -> None:
        leaves, self.rebuild = flatten((args, kwargs))
        self.f, self.leaves, self.state = f, [handle(x) for x in leaves], get_state()
        self.policy = casting.current.get()
        self.sources: tuple[Node, ...] = ()
        self.digests: list[Any] = []

    def casts(self) -> AbstractContextManager[None]:
        """The autocast context of the call, or none: whatever is open when it is made again."""
        if self.policy is None and not casting.open_contexts:
            return nullcontext()
        return casting.renewed(self.policy)

    def finish(self, outputs: Sequence[Any], start: int) -> None:
        """Note what the first run gave, to know it again."""
        roots = [y.node for y in outputs if isinstance(y, Traced) and y.node is not None]
        self.sources = tuple(_entries(roots, start))
        self.digests = [_digest(y) for y in outputs]

    def again(self) -> list[Any]:
        """Run it once more, recorded; GraphError if it is not the same computation."""
        second, now, start = _Call(self.f, (), {}), get_state(), next_tick()
        set_state(self.state)
        try:
            with enable_grad(), self.casts():
                args, kwargs = self.rebuild([handle(x) for x in self.leaves])
                outputs, _ = flatten(self.f(*args, **kwargs))
        finally:
            set_state(now)
        second.finish(outputs, start)
        if {*second.sources} != {*self.sources} or not _same(self.digests, second.digests):
            raise GraphError(
                hinted(
                    "backward: checkpoint computed something else the second time",
                    "the function must depend on nothing that changes between forward and backward:"
                    " no tensor written to since, no random numbers but the default generator's",
                )
            )
        return outputs


def _digest(y: Any) -> Any:
    """Shape, dtype and two sums of an output; no sums on a GPU, whose result one would wait for."""
    if not isinstance(y, Traced):
        return None
    array = y.array
    if not is_host(namespace(array)) or not is_inexact(array.dtype):
        return array.shape, array.dtype, 0.0, 0.0
    with quiet():
        total, size = array.sum(dtype="float64"), abs(array).sum(dtype="float64")
    return array.shape, array.dtype, float(total), float(size)


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether two runs gave the same outputs, but for the last digits of parallel sums."""
    for a, b in zip(first, second, strict=False):
        if a is None or b is None or a[:2] != b[:2]:
            if a is not b:
                return False
            continue
        slack = {2: 1e-2, 4: 1e-5}.get(a[1].itemsize, 1e-12) * a[3]
        if abs(a[2] - b[2]) > slack or abs(a[3] - b[3]) > slack:
            return False
    return len(first) == len(second)


class _Checkpoint:
    """The op of a checkpointed call: going back means running the function again, recorded.

    The new nodes are newer than everything pending, so the pass goes through them next and comes
    out at the nodes the function had used: the gradients are those of the plain call, bit for bit.
    """

    name = "checkpoint"

    @staticmethod
    def pull(node: Node, g: list[Any], _graph: bool) -> list[tuple[Node | None, Any]]:
        outputs = node.saved[0].again()
        return [(y.node, c) for y, c in zip(outputs, g, strict=True) if c is not None]


_CHECKPOINT = _Checkpoint()


def checkpoint(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """f(*args, **kwargs), storing only its inputs: the backward pass computes the inside again.

    Memory falls from all of f's intermediate values to its arguments, for one more forward of f.
    Gradients equal those of the plain call bit for bit, random numbers included; tensors that f
    closes over get theirs too. f must compute the same both times: a backward pass raises
    GraphError where a tensor f closes over was written to since, or random numbers came from a
    generator other than the default one. (Chen et al., Training Deep Nets with Sublinear Memory
    Cost, 2016.)

    >>> import gradengine as ge
    >>> x = ge.tensor(3.0, requires_grad=True)
    >>> ge.checkpoint(lambda x: (x * x) * x, x).backward()
    >>> x.grad
    tensor(27.)
    """
    if not grad_enabled():
        return f(*args, **kwargs)
    call, start = _Call(f, args, kwargs), next_tick()
    with call.casts():
        out = f(*args, **kwargs)
    leaves, rebuild = flatten(out)
    tensors = [y for y in leaves if isinstance(y, Traced)]
    if any(y.level for y in tensors) or all(y.node is None for y in tensors):
        return out
    call.finish(leaves, start)
    arrays = [x.array for x in call.leaves if isinstance(x, Traced)]
    node = record(Tensor, _CHECKPOINT, None, call.sources, (call, *arrays)).node
    return rebuild(
        [
            record(Tensor, PICK, y.array, (node,), (), (k, len(leaves)))
            if isinstance(y, Traced) and y.node is not None
            else y
            for k, y in enumerate(leaves)
        ]
    )


def _entries(roots: Sequence[Node], start: int) -> list[Node]:
    """The nodes from before `start` that the roots were computed from: arguments and closures."""
    found: list[Node] = []
    seen, stack = set(roots), list(roots)
    while stack:
        node = stack.pop()
        if node.tick < start:
            found.append(node)
            continue
        for parent in node.inputs:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return found
