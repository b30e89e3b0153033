"""Transforms: functions that take a function and return its derivative, to be composed at will.

Arguments and results may be tensors, arrays, Python numbers, and nested dicts, lists, tuples and
dataclasses of them. What a transform returns is differentiable again.

Floor 5: stands on tensor.py, reverse.py and forward.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

from .device import zeros_beside
from .dtypes import is_inexact
from .errors import DTypeError, GraphError, ShapeError, hinted
from .forward import Dual, direction, dual_argument, next_level, value_of
from .graph import reachable
from .modes import tangents_only
from .philox import default_generator
from .reverse import fresh, gradients, handle, zero_if_none
from .tape import Leaf, Traced, constant, enable_grad, grad_enabled
from .tensor import Tensor
from .trees import flatten, flatten_like

Fun = Callable[..., Any]


# --- arguments ---


def _variables(tree: Any, name: str) -> tuple[list[Any], Any]:
    """The tensors of an argument as variables of their own, and the argument rebuilt from them."""
    leaves, rebuild = flatten(tree)
    lifted = [Tensor.lift(x) for x in leaves]
    for x in lifted:
        if not is_inexact(x.dtype):
            raise DTypeError(
                hinted(
                    f"{name}: an argument to differentiate is {x.dtype}",
                    "convert it to a float, or choose other argnums",
                )
            )
    return [fresh(x) for x in lifted], rebuild


def _chosen(args: Sequence[Any], argnums: int | Sequence[int], name: str) -> list[int]:
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise ShapeError(
                hinted(
                    f"{name}: argnums {n}, but the function got {len(args)} positional arguments",
                    "argnums counts positional arguments from 0",
                )
            )
    chosen = [n % len(args) for n in numbers]
    if len(set(chosen)) < len(chosen):
        raise ShapeError(
            hinted(f"{name}: argnums {argnums} name an argument twice", "name each one once")
        )
    return chosen


def _scalar(y: Any, name: str) -> Any:
    if not isinstance(y, Traced):
        raise GraphError(
            hinted(
                f"{name}: the function returned {type(y).__name__}, no Tensor",
                "compute with ge.* or np.* functions of its arguments; has_aux=True for extras",
            )
        )
    if y.array.size != 1:
        raise GraphError(
            hinted(
                f"{name}: the function returned shape {tuple(y.array.shape)}, "
                "a gradient is of one number",
                "reduce it with .sum() or .mean(), or use ge.jacobian or ge.vjp",
            )
        )
    return y


def _outward_tree(tree: Any, variables: Sequence[Any]) -> Any:
    leaves, rebuild = flatten(tree)
    return rebuild([_outward(x, variables) if isinstance(x, Traced) else x for x in leaves])


def _outward(y: Any, variables: Sequence[Any]) -> Any:
    """A result as the caller sees it: on the tape only if it depends on more than the variables."""
    if y.level or y.node is None:
        return y
    from_outside = any(_origin(x).inputs for x in variables)
    return y if from_outside or _closes_over(y, variables) else y.detach()


def _origin(x: Any) -> Any:
    while x.level:
        x = x.primal
    return x.node


def _closes_over(y: Any, variables: Sequence[Any]) -> bool:
    own = {_origin(x) for x in variables}
    return any(isinstance(n, Leaf) and n not in own for n in reachable([y.node]))


# --- gradients of scalar functions ---


def value_and_grad(f: Fun, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Fun:
    """The function that returns (f(x), df/dx); with `has_aux`, ((f(x), aux), df/dx).

    `argnums` says which positional arguments to differentiate: an int gives one gradient, a
    sequence gives a tuple. A gradient has the structure of its argument.

    >>> import gradengine as ge
    >>> ge.value_and_grad(lambda x: (x * x).sum())(ge.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """

    def transformed(*args: Any, **kwargs: Any) -> Any:
        numbers = _chosen(args, argnums, "grad")
        new = list(args)
        found: list[tuple[list[Any], Any]] = []
        for n in numbers:
            variables, rebuild = _variables(args[n], "grad")
            new[n] = rebuild([handle(x) for x in variables])  # f may write to these
            found.append((variables, rebuild))
        with enable_grad():
            out = f(*new, **kwargs)
        y, aux = out if has_aux else (out, None)
        _scalar(y, "grad")
        flat = [x for variables, _ in found for x in variables]
        got = gradients([y], flat, [None], name="grad") if _live(y) else [None] * len(flat)
        grads = iter([zero_if_none(g, x) for g, x in zip(got, flat, strict=True)])
        trees = [rebuild([next(grads) for _ in variables]) for variables, rebuild in found]
        value = _outward(y, flat)
        result = (value, _outward_tree(aux, flat)) if has_aux else value
        return result, trees[0] if isinstance(argnums, int) else tuple(trees)

    return _named(transformed, f, "value_and_grad")


def _live(y: Any) -> bool:
    return bool(y.level) or y.node is not None


def grad(f: Fun, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Fun:
    """The function that returns the gradient of the scalar function f; with `has_aux`, (grad, aux).

    >>> import gradengine as ge
    >>> ge.grad(ge.grad(lambda x: x**3))(2.0)
    tensor(12.)
    """
    both = value_and_grad(f, argnums, has_aux)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return _named(transformed, f, "grad")


def _named(transformed: Fun, f: Fun, name: str) -> Fun:
    transformed.__name__ = f"{name}({getattr(f, '__name__', 'f')})"
    transformed.__doc__ = f.__doc__
    return transformed


# --- products with the Jacobian ---


def vjp(f: Fun, *primals: Any, has_aux: bool = False) -> Any:
    """(f(*primals), pullback): the pullback maps a cotangent of the output to those of the primals.

    The pullback may be called again and is itself differentiable, with respect to its cotangent
    and through f. It returns a tuple, one cotangent for each primal. With `has_aux`,
    (out, pullback, aux).

    >>> import gradengine as ge
    >>> y, pullback = ge.vjp(lambda x: x * x, ge.tensor([1.0, 3.0]))
    >>> pullback(ge.tensor([1.0, 10.0]))
    (tensor([ 2., 60.]),)
    """
    found = [_variables(p, "vjp") for p in primals]
    with enable_grad():
        out = f(*[rebuild([handle(x) for x in variables]) for variables, rebuild in found])
    out, aux = out if has_aux else (out, None)
    leaves, rebuild_out = flatten(out)
    leaves = [Tensor.lift(y) for y in leaves]
    flat = [x for variables, _ in found for x in variables]

    def pullback(cotangent: Any) -> Any:
        given = flatten_like(cotangent, out, "vjp", "cotangents")
        lifted = [_cotangent(c, y) for c, y in zip(given, leaves, strict=True)]
        got = gradients(leaves, flat, lifted, retain_graph=True, name="vjp")
        grads = iter([zero_if_none(g, x) for g, x in zip(got, flat, strict=True)])
        return tuple(rebuild([next(grads) for _ in variables]) for variables, rebuild in found)

    result = rebuild_out([_outward(y, flat) for y in leaves])
    return (result, pullback, _outward_tree(aux, flat)) if has_aux else (result, pullback)


def _cotangent(c: Any, y: Any) -> Any:
    c = direction(c, y, "vjp", "a cotangent")
    if c.shape != y.shape:
        raise ShapeError(
            hinted(
                f"vjp: a cotangent has shape {c.shape}, its output {y.shape}",
                "the cotangent of an output has that output's shape",
            )
        )
    return c


def jvp(f: Fun, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """(f(*primals), df): the derivative of f in the direction of `tangents`, by forward mode.

    No tape is kept: each op computes its output's tangent on the way. With `has_aux`,
    (out, df, aux).

    >>> import gradengine as ge
    >>> ge.jvp(lambda x: x * x, (ge.tensor(3.0),), (ge.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    level = next_level()
    leaves, rebuild = flatten(_listed(primals, "jvp", "primals"))
    given = flatten_like(_listed(tangents, "jvp", "tangents"), primals, "jvp", "tangents")
    duals = [dual_argument(*pair, level) for pair in zip(leaves, given, strict=True)]
    quiet = grad_enabled() is False
    with tangents_only() if quiet else nullcontext():
        out = f(*rebuild(duals))
    out, aux = out if has_aux else (out, None)
    leaves, rebuild = flatten(out)
    parts = [_parts(y, level) for y in leaves]
    if quiet:
        parts = [(value_of(p), value_of(t)) for p, t in parts]
    result = rebuild([p for p, _ in parts]), rebuild([t for _, t in parts])
    return (*result, _primal_tree(aux, level)) if has_aux else result


def _listed(x: Any, name: str, what: str) -> Sequence[Any]:
    if not isinstance(x, (list, tuple)):
        raise DTypeError(
            hinted(
                f"{name}: {what} is one {type(x).__name__}, not a tuple",
                "give a tuple with one entry for each argument of f: (x,)",
            )
        )
    return cast("Sequence[Any]", x)


def _parts(y: Any, level: int) -> tuple[Any, Any]:
    if isinstance(y, Dual) and y.level == level:
        return y.primal, y.tangent
    y = Tensor.lift(y)
    return y, constant(Tensor, zeros_beside(y.array))


def _primal_tree(tree: Any, level: int) -> Any:
    leaves, rebuild = flatten(tree)
    return rebuild([x.primal if isinstance(x, Dual) and x.level == level else x for x in leaves])


def linearize(f: Fun, *primals: Any) -> tuple[Any, Fun]:
    """(f(*primals), f_jvp): f_jvp(*tangents) is the jvp at these primals, without running f again.

    The recorded pullback is linear in its cotangent; its transpose is the jvp.

    >>> import gradengine as ge
    >>> y, f_jvp = ge.linearize(lambda x: x * x, ge.tensor(3.0))
    >>> f_jvp(ge.tensor(1.0)), f_jvp(ge.tensor(2.0))
    (tensor(6.), tensor(12.))
    """
    variables, rebuild_in = _variables(primals, "linearize")
    with enable_grad():
        out = f(*rebuild_in([handle(x) for x in variables]))
        leaves, rebuild = flatten(out)
        leaves = [Tensor.lift(y) for y in leaves]
        seeds = [fresh(constant(Tensor, zeros_beside(y.array))) for y in leaves]
        back = gradients(
            leaves, variables, seeds, retain_graph=True, create_graph=True, name="linearize"
        )

    def f_jvp(*tangents: Any) -> Any:
        lifted = map(Tensor.lift, flatten_like(tangents, primals, "linearize", "tangents"))
        pairs = [(b, t) for b, t in zip(back, lifted, strict=True) if b is not None and _live(b)]
        if not pairs:
            return rebuild([s.detach() for s in seeds])
        ys, cs = zip(*pairs, strict=True)
        got = gradients(ys, seeds, cs, retain_graph=True, within=variables, name="linearize")
        return rebuild([zero_if_none(g, s.detach()) for g, s in zip(got, seeds, strict=True)])

    out = rebuild([_outward(y, variables) for y in leaves])
    return out, f_jvp


# --- whole matrices ---


def jacobian(f: Fun, argnums: int | Sequence[int] = 0, mode: str = "reverse") -> Fun:
    """The function that returns df/dx of shape (*f(x).shape, *x.shape).

    `mode="reverse"` takes one pass for each output element, `"forward"` one for each input element.
    Nested outputs and arguments give nested results, output structure outermost.

    >>> import gradengine as ge
    >>> ge.jacobian(lambda x: x * x)(ge.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if mode not in ("reverse", "forward"):
        raise ValueError(hinted(f"jacobian: mode {mode!r}", 'use "reverse" or "forward"'))

    def transformed(*args: Any, **kwargs: Any) -> Any:
        numbers = _chosen(args, argnums, "jacobian")

        def of_chosen(*values: Any) -> Any:
            new = list(args)
            for n, v in zip(numbers, values, strict=True):
                new[n] = v
            return f(*new, **kwargs)

        rows = _rows_reverse if mode == "reverse" else _rows_forward
        return rows(of_chosen, [args[n] for n in numbers], isinstance(argnums, int))

    return _named(transformed, f, "jacobian")


def _rows_reverse(f: Fun, primals: list[Any], single: bool) -> Any:
    out, pullback = vjp(f, *primals)
    leaves, rebuild = flatten(out)
    blocks: list[Any] = []
    for k, y in enumerate(leaves):
        rows = [pullback(rebuild(_one_hot(leaves, k, i))) for i in range(y.size)]
        blocks.append(_stacked(rows, y, primals, single))
    return rebuild(blocks)


def _one_hot(leaves: Sequence[Any], k: int, i: int) -> list[Any]:
    flat = [zeros_beside(y.array, y.size) for y in leaves]
    flat[k][i] = 1
    return [constant(Tensor, s.reshape(y.shape)) for s, y in zip(flat, leaves, strict=True)]


def _stacked(rows: list[Any], y: Any, primals: list[Any], single: bool) -> Any:
    from . import ops

    columns, rebuild = flatten(tuple(primals))
    table = [flatten(row)[0] for row in rows]
    blocks: list[Any] = []
    for j, column in enumerate(columns):
        x = Tensor.lift(column)
        if table:
            block = ops.stack([row[j] for row in table])
        else:
            block = constant(Tensor, zeros_beside(x.array, (0, *x.shape)))
        blocks.append(ops.reshape(block, (*y.shape, *x.shape)))
    trees = rebuild(blocks)
    return trees[0] if single else trees


def _rows_forward(f: Fun, primals: list[Any], single: bool) -> Any:
    from . import ops

    columns, rebuild = flatten(tuple(primals))
    columns = [Tensor.lift(c) for c in columns]
    out: Any = None
    table: list[list[list[Any]]] = []  # [column][element] -> tangents of the outputs
    start = default_generator.get_state()
    for k, x in enumerate(columns):
        table.append([])
        for i in range(x.size):
            default_generator.set_state(start)  # the same random numbers in every column
            out, t = jvp(f, rebuild(columns), rebuild(_one_hot(columns, k, i)))
            table[k].append(flatten(t)[0])
    if out is None:
        out = f(*rebuild(columns))
    leaves, rebuild_out = flatten(out)
    results: list[Any] = []
    for m, y in enumerate(leaves):
        blocks: list[Any] = []
        for x, tangents in zip(columns, table, strict=True):
            if tangents:
                block = ops.stack([row[m] for row in tangents], axis=-1)
            else:
                block = constant(Tensor, zeros_beside(x.array, (*y.shape, 0), y.dtype))
            blocks.append(ops.reshape(block, (*y.shape, *x.shape)))
        trees = rebuild(blocks)
        results.append(trees[0] if single else trees)
    return rebuild_out(results)


def hessian(f: Fun, argnums: int | Sequence[int] = 0) -> Fun:
    """The function that returns the second derivatives of the scalar f, forward over reverse.

    >>> import gradengine as ge
    >>> ge.hessian(lambda x: (x**3).sum())(ge.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacobian(grad(f, argnums), argnums, mode="forward")


# --- products with the Hessian ---


def hvp(f: Fun, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of the scalar function f at `primals` times `tangents`, forward over reverse.

    Returns one product for one primal, a tuple for several.

    >>> import gradengine as ge
    >>> ge.hvp(lambda x: (x**3).sum(), (ge.tensor([1.0, 2.0]),), (ge.tensor([1.0, 1.0]),))
    tensor([ 6., 12.])
    """
    argnums = tuple(range(len(_listed(primals, "hvp", "primals"))))
    _, product = jvp(grad(f, argnums), tuple(primals), tuple(tangents))
    return product[0] if len(primals) == 1 else product


def vhp(f: Fun, primals: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    """`cotangents` times the Hessian of the scalar function f, reverse over reverse.

    >>> import gradengine as ge
    >>> ge.vhp(lambda x: (x**3).sum(), (ge.tensor([1.0, 2.0]),), (ge.tensor([1.0, 1.0]),))
    tensor([ 6., 12.])
    """
    argnums = tuple(range(len(_listed(primals, "vhp", "primals"))))
    _, pullback = vjp(grad(f, argnums), *primals)
    product = pullback(tuple(cotangents))
    return product[0] if len(primals) == 1 else product
