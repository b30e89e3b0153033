"""The way back through the commonest ops, written out for raw arrays.

These are `Op.pull_general` for elementwise rows of one and two inputs without parameters, 16-bit
floats or broadcasting, and for ops that state adjoints. Anything else is handed to it.

Floor 2: stands on row.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .device import HOST, gpu, is_array, may_hold_nan, ndarray
from .hostloops import fill_blockwise, is_large
from .reads import asks
from .row import Op, fit_saved
from .tape import Node, column_sums, fit

Pull = Callable[[Node, Any, bool], Any]
Chain = Callable[[Any, tuple[Any, ...]], Any]
WORDS = {4: "int32", 8: "int64"}


def pull_unary(op: Op) -> Pull:
    """The pull of a row of one input."""
    chain, general = _chain(op, 0), op.pull_general
    if op.both is not None:
        chain = _beside(op, chain)

    def pull(node: Node, g: Any, graph: bool) -> Any:
        if graph or node.meta is not None or g.itemsize == 2 or (gpu and g.__class__ in gpu):
            return general(node, g, graph)
        c = chain(g, node.saved)
        return ((node.inputs[0], c if c.dtype is g.dtype else c.astype(g.dtype)),)

    return pull


def pull_binary(op: Op) -> Pull:
    """The pull of a row of two inputs; only the cotangents somebody waits for are computed."""
    left, right, general = _chain(op, 0), _chain(op, 1), op.pull_general

    def pull(node: Node, g: Any, graph: bool) -> Any:
        if graph or node.meta is not None or g.itemsize == 2 or (gpu and g.__class__ in gpu):
            return general(node, g, graph)
        a, b = node.inputs
        saved = node.saved
        c = None if a is None else fit_saved(left(g, saved), saved[1], g)
        d = None if b is None else fit_saved(right(g, saved), saved[2], g)
        return ((a, c), (b, d))

    return pull


def pull_one(op: Op) -> Pull:
    """The pull of an op with parameters and one input."""
    adjoints, general = op.adjoints, op.pull_general

    def pull(node: Node, g: Any, graph: bool) -> Any:
        if graph or (gpu and g.__class__ in gpu):
            return general(node, g, graph)
        y, x = node.saved
        meta: Any = node.meta
        shape, dtype = meta[0]
        c = adjoints[0](g, y, x, **node.params)
        if c is not None and (c.shape != shape or c.dtype != dtype):
            c = fit(c, shape, dtype)
        return ((node.inputs[0], c),)

    return pull


def pull_each(op: Op) -> Pull:
    """The pull of an op of several inputs whose cotangents are stated one by one."""
    adjoints, general = op.adjoints, op.pull_general

    def pull(node: Node, g: Any, graph: bool) -> Any:
        if graph or node.meta is None or (gpu and g.__class__ in gpu):
            return general(node, g, graph)
        saved, params = node.saved, node.params
        pairs: list[Any] = []
        # strict: a pass in another thread may just have freed the node, and then has no inputs
        for i, (parent, own) in enumerate(zip(node.inputs, node.meta, strict=True)):
            c = None
            if parent is not None:
                c = adjoints[i](g, *saved, **params)
                if c is not None and (c.shape != own[0] or c.dtype is not own[1]):
                    c = fit(c, *own)
            pairs.append((parent, c))
        return pairs

    return pull


def pull_joint(op: Op) -> Pull:
    """The pull of an op one rule of which states the cotangents of all inputs."""
    joint, general = op.joint, op.pull_general
    assert joint is not None
    told = asks(joint)

    def pull(node: Node, g: Any, graph: bool) -> Any:
        inputs, meta, params = node.inputs, node.meta, node.params
        if graph or meta is None or (gpu and g.__class__ in gpu):
            return general(node, g, graph)
        if told:
            params = {**params, "needed": [parent is not None for parent in inputs]}
        found: Any = joint(g, *node.saved, **params)
        if found.__class__ not in (tuple, list) or len(found) != len(inputs):
            return general(node, g, graph)  # which says what is wrong
        pairs: list[Any] = []
        for parent, c, own in zip(inputs, found, meta, strict=True):
            if parent is None:
                c = None
            elif c is not None and (c.shape != own[0] or c.dtype is not own[1]):
                c = fit(c, *own)
            pairs.append((parent, c))
        return pairs

    return pull


def pull_layer(op: Op) -> Pull:
    """The pull of y = x W^T + b; of plain matrices of one type BLAS makes all three cotangents."""
    general = pull_each(op)

    def pull(node: Node, g: Any, graph: bool) -> Any:
        meta: Any = node.meta
        if graph or g.__class__ is not ndarray or g.ndim != 2 or g.dtype.char not in "fd":
            return general(node, g, graph)
        (x_shape, x_dtype), (_, w_dtype), bias = meta
        same = x_dtype is w_dtype is g.dtype and len(x_shape) == 2
        if not same or (bias is not None and bias != (g.shape[1:], x_dtype)):
            return general(node, g, graph)
        x_node, w_node, b_node = node.inputs
        _, x, w, _ = node.saved
        return (
            (x_node, None if x_node is None else g.dot(w)),
            (w_node, None if w_node is None else g.T.dot(x)),
            (b_node, None if b_node is None else column_sums(g)),
        )

    return pull


def _chain(op: Op, i: int) -> Chain:
    """(g, saved) -> g * d(y)/d(input i), for this row's way of stating it."""
    rule = None if op.partials is None else op.partials[i]
    if rule is None:
        return lambda _g, _saved: None
    if not callable(rule):
        return _scaled(op, rule)

    def chain(g: Any, saved: tuple[Any, ...]) -> Any:
        if is_large(g):
            out = HOST.empty_like(g)
            fill_blockwise(fill, (out,), g, *saved)
            return out
        d: Any = rule(*saved)
        kind = d.__class__
        if kind is float or kind is int:
            return op.chain(g, d)
        if kind is ndarray and d.dtype.char == "?" and d.shape == g.shape:
            product = d.astype(g.dtype)  # NumPy is slow between two types
            product *= g
        else:
            product = g * d  # strict where it matters: only then is a NaN to be seen
        return op.chain(g, d) if may_hold_nan(product) else product

    def fill(out: Any, g: Any, *saved: Any) -> None:
        _multiply(op, out, g, rule(*saved))

    return chain


def _beside(op: Op, otherwise: Chain) -> Chain:
    """The chain of a row whose forward has left its slope, in a list behind the saved arrays.

    The slope's memory becomes the cotangent's, so whoever takes it out has it alone; a second pass
    computes it again.
    """
    rule: Any = op.partials[0] if op.partials else None

    def chain(g: Any, saved: tuple[Any, ...]) -> Any:
        try:
            d = saved[2].pop()
        except IndexError:  # none was left, or another pass has taken it
            return otherwise(g, saved[:2])
        fill_blockwise(fill, (d,), g, saved[1])
        return d

    def fill(d: Any, g: Any, x: Any) -> None:
        d *= g
        if may_hold_nan(d):
            d[...] = op.chain(g, rule(None, x))

    return chain


def _multiply(op: Op, out: Any, g: Any, d: Any) -> None:
    """out = g * d by the chain rule, where 0 times anything is 0."""
    if is_array(d) and d.dtype.kind == "b" and g.dtype.itemsize in WORDS and out.shape == d.shape:
        word = WORDS[g.dtype.itemsize]  # an integer times 0 or 1 cuts exactly, infinities too
        HOST.multiply(g.view(word), d, out=out.view(word))
        return
    simple = is_array(d) and d.dtype is g.dtype
    if simple:
        HOST.multiply(g, d, out)
    if not simple or may_hold_nan(out):
        out[...] = op.chain(g, d)


def _scaled(op: Op, factor: Any) -> Chain:
    """The chain of a constant derivative: 1 and -1 cost no product."""

    def same(g: Any, _saved: Any) -> Any:
        return g

    def minus(g: Any, _saved: Any) -> Any:
        return -g

    def times(g: Any, _saved: Any) -> Any:
        return op.chain(g, factor)

    return same if factor == 1 else minus if factor == -1 else times
