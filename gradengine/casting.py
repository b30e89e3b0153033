"""Which ops run in 16 bits and which in float32 while an autocast context is open.

Nothing of this is on the path of an op while no context is open anywhere. When the first one opens,
the listed ops change their class to one that casts its arguments first; when the last one closes,
they change back. Other threads may be at work meanwhile: for them the classes look up that no
context is theirs and do as always.

Casts are ops of the tape, so a gradient comes back in the dtype of what was cast. The cast of a
leaf that asks for a gradient, a weight, is kept for the rest of the context, as long as the weight
is what it was.

Floor 2: stands on calls.py and row.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from .calls import Binary, Unary
from .device import device_of, is_array, owner
from .graph import FREED
from .guard import exposed
from .row import Op, registry
from .tape import Leaf, Traced, grad_enabled

HALF = (
    "matmul", "linear", "contract", "convolution", "convolution_input", "attention",
    "attention_weights", "feed_forward", "rnn_states", "lstm_states", "gru_states",
)  # fmt: skip
"""Products, whose sums are accumulated in float32 whatever the operands are: in 16 bits."""

FULL = (
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "logaddexp", "pow", "reciprocal",
    "rsqrt", "sinh", "cosh", "tan", "asin", "acos", "softplus",
    "sum", "mean", "var", "std", "prod", "cumulative_sum", "cumulative_prod",
    "logsumexp", "softmax", "log_softmax", "abs_power", "p_norm", "standardise",
    "cross_entropy", "soft_cross_entropy", "nll",
)  # fmt: skip
"""Functions whose results leave the range of 16 bits, or whose small differences count: in float32.

Losses of two arrays pass through `ops.losses.operands`, which asks `full` itself.
"""


class Policy:
    """What one context casts to, and the weights it has cast."""

    __slots__ = ("cache", "device", "dtype")

    def __init__(self, dtype: Any, device: str | None) -> None:
        self.dtype, self.device = dtype, device
        self.cache: dict[int, tuple[Any, Any, Any]] = {}  # id -> weight, its array, its cast


current: ContextVar[Policy | None] = ContextVar("gradengine_autocast", default=None)
"""The innermost context of this thread."""


# --- casts ---


def half(x: Any, policy: Policy) -> Any:
    """A float32 array, traced or raw, in the context's dtype; anything else as it is."""
    traced = isinstance(x, Traced)
    array: Any = cast(Any, x).array if traced else x
    if not is_array(array) or array.dtype != "float32" or not _meant(array, policy):
        return x
    if not traced or x.level or not isinstance(x.node, Leaf):
        return cast(Any, x).astype(policy.dtype)
    if id(owner(array)) in exposed:  # somebody could write to the weight unseen
        return cast(Any, x).astype(policy.dtype)
    found = policy.cache.get(id(x))
    if found is not None and found[0] is x and found[1] is array and _usable(found[2]):
        return found[2]
    narrow = cast(Any, x).astype(policy.dtype)
    policy.cache[id(x)] = (x, array, narrow)
    return narrow


def _usable(narrow: Any) -> bool:
    """Whether a cast can be used again: recorded if recording is on, and not freed by a pass."""
    node = narrow.node
    return (node is not None and node.saved is not FREED) if grad_enabled() else node is None


def full(x: Any, policy: Policy | None = None) -> Any:
    """A 16-bit float array, traced or raw, in float32 if a context is open; else x as it is."""
    if policy is None:
        policy = current.get()
    array: Any = cast(Any, x).array if isinstance(x, Traced) else x
    if policy is None or not is_array(array) or not _is_half(array.dtype):
        return x
    return cast(Any, x).astype("float32") if _meant(array, policy) else x


def _is_half(dtype: Any) -> bool:
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _meant(array: Any, policy: Policy) -> bool:
    return policy.device is None or device_of(array).type == policy.device


def _cast(arrays: Sequence[Any], to: Callable[[Any, Policy], Any]) -> Sequence[Any]:
    """`arrays` cast, if a context is open here and a Tensor is among them: rules see raw ones."""
    policy = current.get()
    if policy is None or not any(isinstance(x, Traced) for x in arrays):
        return arrays
    return [to(x, policy) for x in arrays]


# --- what the listed ops become ---


class _HalfOp(Op):
    """An op whose arguments are cast to 16 bits where a context is open."""

    __slots__ = ()

    def run(self, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        return super().run(_cast(arrays, half), params)

    def run_one(self, x: Any, params: dict[str, Any]) -> Any:
        (x,) = _cast((x,), half)
        return super().run_one(x, params)

    def run_two(self, x: Any, z: Any, params: dict[str, Any]) -> Any:
        x, z = _cast((x, z), half)
        return super().run_two(x, z, params)

    def run_three(self, x: Any, z: Any, v: Any, params: dict[str, Any]) -> Any:
        x, z, v = _cast((x, z, v), half)
        return super().run_three(x, z, v, params)


class _FullOp(Op):
    """An op whose arguments are cast to float32 where a context is open."""

    __slots__ = ()

    def run(self, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        return super().run(_cast(arrays, full), params)

    def run_one(self, x: Any, params: dict[str, Any]) -> Any:
        (x,) = _cast((x,), full)
        return super().run_one(x, params)

    def run_two(self, x: Any, z: Any, params: dict[str, Any]) -> Any:
        x, z = _cast((x, z), full)
        return super().run_two(x, z, params)

    def run_three(self, x: Any, z: Any, v: Any, params: dict[str, Any]) -> Any:
        x, z, v = _cast((x, z, v), full)
        return super().run_three(x, z, v, params)


class _FullUnary(Unary):
    """The table of an elementwise op of one array, with float32 casts in front of its handlers."""

    def __missing__(self, cls: type) -> Callable[..., Any]:
        self[cls] = _full_handler(self.op, super().__missing__(cls))
        return self[cls]


class _FullBinary(Binary):
    """The same for two arguments. Two plain Tensors do not pass through a table: they promote."""

    def __missing__(self, pair: tuple[type, type]) -> Callable[..., Any]:
        self[pair] = _full_handler(self.op, super().__missing__(pair))
        return self[pair]


def _full_handler(op: Op, handler: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*xs: Any) -> Any:
        wide = _cast(xs, full)
        changed = any(x is not y for x, y in zip(xs, wide, strict=True))
        return op.function(*wide) if changed else handler(*xs)

    return apply


# --- switching ---

_lock = threading.Lock()
open_contexts: int = 0
"""How many contexts are open in all threads; where it is 0 nobody needs to ask further."""


def opened() -> None:
    """One more context is open: the first lets the listed ops cast."""
    global open_contexts
    with _lock:
        open_contexts += 1
        if open_contexts == 1:
            _become(HALF, _HalfOp)
            _become(FULL, _FullOp)


def closed() -> None:
    """One context fewer is open: the last makes the listed ops what they were."""
    global open_contexts
    with _lock:
        open_contexts -= 1
        if open_contexts == 0:
            _become((*HALF, *FULL), Op)


@contextmanager
def renewed(policy: Policy | None) -> Generator[None]:
    """The casts of `policy` (None: no casts) once more, with no cast weight left over from before.

    What is computed inside can be computed again later, when the context itself is closed.
    """
    opened()
    fresh = None if policy is None else Policy(policy.dtype, policy.device)
    token = current.set(fresh)
    try:
        yield
    finally:
        current.reset(token)
        closed()


def _become(names: Iterable[str], kind: type[Op]) -> None:
    tables: dict[Any, Any] = {Unary: _FullUnary, Binary: _FullBinary}
    if kind is not _FullOp:
        tables = {new: old for old, new in tables.items()}
    for name in names:
        op = registry.get(name)
        if op is None:  # stated by a module that is not imported yet, so nobody can call it
            continue
        op.__class__ = kind
        table = tables.get(op.table.__class__)
        if table is not None:
            op.table.__class__ = table
            op.table.clear()
