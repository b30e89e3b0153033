"""Forward mode: tensors that carry a tangent along, and no tape.

A `Dual` is a value with the derivative of that value in one direction. Every op that meets one
computes its output as usual and the output's tangent from the same row that reverse mode uses. Each
call of `jvp` has a level of its own; an op peels off the highest level first, so nested derivatives
never mistake each other's tangents.

Floor 5: stands on tensor.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from . import views
from .device import as_array, namespace, quiet
from .dtypes import is_inexact
from .errors import DTypeError, GraphError, ShapeError, hinted
from .formulas import refuse_complex
from .reverse import gradients, handle
from .row import Op
from .tape import Leaf, Traced, constant, enable_grad, fit, grad_enabled
from .tensor import Tensor

next_level = itertools.count(1).__next__


class Pair(NamedTuple):
    """What a Dual keeps in `node`: its value, its tangent, and which jvp it belongs to."""

    primal: Any
    tangent: Any
    level: int


class Dual(Tensor):
    """A tensor inside `jvp`; it behaves like the value it carries."""

    __slots__ = ()

    node: Any  # type: ignore[assignment]

    @property
    def level(self) -> int:  # type: ignore[override]
        return self.node.level

    @property
    def primal(self) -> Any:
        """The value, without this level's tangent."""
        return self.node.primal

    @property
    def tangent(self) -> Any:
        """The derivative of the value in the direction of this level's jvp."""
        return self.node.tangent

    # --- reverse mode inside: the value has a history, the tensor as a whole has none ---

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        """Whether the value asks for a gradient, apart from the tangent."""
        return bool(self.primal.requires_grad)

    def requires_grad_(self, value: bool = True) -> Dual:
        """Ask for gradients of the value, with `ge.autograd.grad`: they carry their tangents."""
        self.primal.requires_grad_(value)
        return self

    @property
    def is_leaf(self) -> bool:
        return bool(self.primal.is_leaf)

    @property
    def grad_fn(self) -> Any:
        return self.primal.grad_fn

    @property
    def grad(self) -> Any:  # type: ignore[override]
        """None: `backward` is refused where tensors carry tangents."""
        return None

    def register_hook(self, hook: Any) -> NoReturn:
        """Refused: a hook would see a gradient without its tangent."""
        raise GraphError(
            hinted(
                "register_hook: the tensor carries a tangent (it is inside ge.jvp)",
                "change the gradient with a ge.custom_vjp function, which both modes follow",
            )
        )

    def retain_grad(self) -> NoReturn:
        """Refused: a retained gradient would have lost its tangent."""
        raise GraphError(
            hinted(
                "retain_grad: the tensor carries a tangent (it is inside ge.jvp)",
                "use ge.autograd.grad, whose results carry theirs",
            )
        )

    # --- forward mode ---

    def detach(self) -> Tensor:
        """The value alone: no tape, no tangent."""
        return constant(Tensor, self.array)

    def join(self, primal: Any, tangent: Any) -> Dual:
        """A dual of the same level with other contents."""
        return dual(primal, tangent, self.level)

    def push(self, op: Op, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
        """Apply `op` to arrays of which this is one of the highest level."""
        if grad_enabled() is False:  # in a no_grad block results are constants, here as in reverse
            return op.run([value_of(x) for x in arrays], params)
        level = self.level
        mine = [isinstance(x, Traced) and x.level == level for x in arrays]
        primals = [x.primal if own else x for x, own in zip(arrays, mine, strict=True)]
        tangents = [x.tangent if own else None for x, own in zip(arrays, mine, strict=True)]
        y = op.run(primals, params)
        if not op.differentiable or y.dtype.kind not in "fcV":
            return y
        if y.dtype.kind == "c":
            meta = [
                (x.shape, x.dtype) if own else None for x, own in zip(primals, mine, strict=True)
            ]
            refuse_complex(op.name, y.dtype, meta, mine)
        with quiet():  # 1/0 in a local derivative is no news
            t = op.tangent(y, primals, tangents, params)
        if t is NotImplemented:
            t = tangent_by_transposing(op, y, primals, tangents, params)
        if t is None:
            return y
        out = dual(y, t, level)
        if op.view and views.shares_memory(y.array, self.array):
            views.link(out, arrays[0], op, params)  # so that a write to it reaches its base
        return out


def value_of(x: Any) -> Any:
    """A tensor as a constant, without history and tangents; anything else as it is."""
    return constant(Tensor, x.array) if isinstance(x, Traced) else x


def dual(primal: Any, tangent: Any, level: int) -> Dual:
    """The dual number primal + tangent*epsilon of a level."""
    out = constant(Dual, primal.array)
    if not isinstance(tangent, Traced):
        tangent = constant(Tensor, tangent)
    out.node = Pair(primal, tangent, level)
    return out


def direction(t: Any, like: Any, name: str, what: str) -> Any:
    """A tangent or cotangent as a tensor; numbers and arrays take the dtype of `like`."""
    found = t if isinstance(t, Tensor) else constant(Tensor, as_array(t))
    if found.dtype.kind == "c" and like.dtype.kind != "c":
        raise DTypeError(
            hinted(f"{name}: {what} is {found.dtype}", f"it must be real, as {like.dtype} is")
        )
    return found if isinstance(t, Tensor) else constant(Tensor, as_array(t, like.dtype))


def dual_argument(x: Any, t: Any, level: int) -> Dual:
    """An argument of `jvp` with its tangent: checked, and in its dtype."""
    x = handle(Tensor.lift(x))
    if not is_inexact(x.dtype):
        raise DTypeError(
            hinted(
                f"jvp: an argument to differentiate is {x.dtype}",
                "convert it to a float, or close over what stays fixed",
            )
        )
    t = direction(t, x, "jvp", "a tangent")
    if x.shape != t.shape:
        raise ShapeError(
            hinted(
                f"jvp: an argument has shape {x.shape}, its tangent {t.shape}",
                "a tangent has its argument's shape",
            )
        )
    return dual(x, t if t.dtype == x.dtype else t.astype(x.dtype), level)


def tangent_by_transposing(
    op: Op, y: Any, xs: Sequence[Any], ts: Sequence[Any], params: dict[str, Any]
) -> Any:
    """The jvp of an op that states only its adjoint, which is linear in g: the transpose of that.

    With v(g) = J'g, the gradient of <v(g), t> with respect to g is J t, whatever the value of g.
    """
    base = y
    while base.level:
        base = base.primal
    g = constant(Tensor, namespace(base.array).zeros_like(base.array))
    g.node = Leaf()
    recording = grad_enabled()
    with enable_grad():
        found = op.cotangents(g, y, xs, params, [t is not None for t in ts])
        pairs = [
            (fit(v, x.shape, x.dtype), t)
            for v, x, t in zip(found, xs, ts, strict=True)
            if v is not None and t is not None
        ]
        if not pairs:
            return None
        (t,) = gradients([v for v, _ in pairs], [g], [t for _, t in pairs], name=op.name)
    return t if t is None or recording else _unrecorded(t)


def _unrecorded(t: Any) -> Any:
    """`t` off the tape, its tangents of outer levels kept."""
    return t.join(*map(_unrecorded, (t.primal, t.tangent))) if t.level else t.detach()
