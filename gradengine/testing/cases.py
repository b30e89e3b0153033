"""Test inputs of every op, made from what its row says: domains for rows, cases for primitives.

An elementwise row is tried on every kind of shape and memory layout (0-d, empty, transposed,
every second element, negative strides, broadcast views) and, with two inputs, on every kind of
broadcasting. A primitive is tried on its own cases, each also strided and reversed. The same op
always gets the same numbers.

Floor 6: stands on op.py, device.py and dtypes.py.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

import numpy as np

from gradengine.device import is_array, move, namespace
from gradengine.dtypes import as_dtype, is_inexact
from gradengine.op import Domain, Draw, Op, registry
from gradengine.tape import Traced

Array = Any
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

SCALAR = "a Python scalar"  # stands among shapes

PAIRS: tuple[tuple[Any, Any], ...] = (
    ((3, 1), (1, 4)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((1, 1, 1), (2,)),
    ((2, 1), (0,)),
    ((2, 3), SCALAR),
    (SCALAR, (2, 3)),
)
TRIPLES: tuple[tuple[Any, Any, Any], ...] = (
    ((2, 3), (3,), ()),
    ((), (2, 1), (3,)),
    ((1, 1, 1), (2,), (1, 3, 1)),
    ((2, 3), SCALAR, SCALAR),
    ((2, 3), SCALAR, (3,)),
)


# --- what people call ---


def cases(
    op: Any, dtype: Any = "float64", device: str = "cpu", broadcast: bool = True
) -> Iterator[Arguments]:
    """The calls that test an op: (args, params) to be used as `op(*args, **params)`.

    `op` is a public function made by `pointwise` or `primitive`, its name in the registry, or an
    `Op`. Float inputs have `dtype` and live on `device`; `broadcast=False` leaves out the calls
    whose inputs differ in shape.

    >>> import gradengine as ge
    >>> [args[0].shape for args, params in cases(ge.tanh)][:4]
    [(), (3,), (2, 3), (0, 3)]
    """
    op = op_of(op)
    source = _Source(op.name, as_dtype(dtype), device)
    if op.domain is not None:
        yield from _row_cases(op, source, broadcast)
    yield from _own_cases(op, source)


def op_cases(**options: Any) -> Iterator[tuple[Op, tuple[Any, ...], dict[str, Any]]]:
    """The calls of `cases` for every op in the registry: (op, args, params)."""
    for op in tuple(registry.values()):
        for args, params in cases(op, **options):
            yield op, args, params


def op_of(op: Any) -> Op:
    """The `Op` behind a public function or a name."""
    found = registry[op] if isinstance(op, str) else getattr(op, "op", op)
    if not isinstance(found, Op):
        raise TypeError(f"cases: {op!r} was made neither by pointwise() nor by @primitive")
    return found


def describe_call(args: Sequence[Any], params: dict[str, Any]) -> str:
    """A call in a few words, for test ids and reports.

    >>> describe_call((np.zeros((2, 3)), 1.5), {"axis": 0})
    '(2,3), 1.5, axis=0'
    """
    return ", ".join([*map(_short, args), *(f"{k}={_short(v)}" for k, v in params.items())])


def _short(x: Any) -> str:
    x = x.array if isinstance(x, Traced) else x
    return str(tuple(x.shape)).replace(" ", "") if is_array(x) else repr(x)


# --- rows: shapes and layouts ---


def _row_cases(op: Op, source: _Source, broadcast: bool) -> Iterator[Arguments]:
    count = op.arity or 1
    domain = op.domain
    domains = list(cast(Any, domain)) if isinstance(domain, tuple) else [domain] * count
    for shape in ((), (3,), (2, 3), (0, 3)):
        yield tuple(source.draw([shape] * count, domains)), {}
    for layout in (_transposed, _second, _reversed):
        plain = source.draw([layout.shape] * count, domains)
        yield tuple(layout(x) for x in plain), {}
    yield tuple(_broadcast_view(x) for x in source.draw([(3,)] * count, domains)), {}
    if broadcast:
        groups = {2: PAIRS, 3: TRIPLES}.get(count, ())
        for shapes in groups:
            yield tuple(source.draw(shapes, domains)), {}


class _Layout:
    """A way to show the elements of an array of `shape` that is not contiguous."""

    def __init__(self, shape: tuple[int, ...], view: Callable[[Array], Array]) -> None:
        self.shape, self.view = shape, view

    def __call__(self, x: Array) -> Array:
        return self.view(x)


def _every_second(x: Array) -> Array:
    return x[:, ::2]


def _back_to_front(x: Array) -> Array:
    return x[::-1, ::-1]


_transposed = _Layout((3, 2), attrgetter("T"))
_second = _Layout((3, 6), _every_second)
_reversed = _Layout((2, 3), _back_to_front)


def _broadcast_view(x: Array) -> Array:
    """x of shape (3,) shown as (2, 3) with a stride of 0."""
    return namespace(x).broadcast_to(x, (2, 3))


# --- primitives: their own cases, in three layouts ---


def _own_cases(op: Op, source: _Source) -> Iterator[Arguments]:
    for case in op.cases:
        yield tuple(source.given(case.inputs)), dict(case.params)
        floats = source.given(case.inputs)
        strided = [_strided(x) for x in floats]
        backward = [_backward(x) for x in floats]
        if any(a is not b for a, b in zip(floats, strided, strict=True)):
            yield tuple(strided), dict(case.params)
            yield tuple(backward), dict(case.params)


def _has_layouts(x: Any) -> bool:
    return is_array(x) and is_inexact(x.dtype) and x.ndim > 0 and x.size > 0


def _strided(x: Any) -> Any:
    """The same values in every second place of a column-major array."""
    if not _has_layouts(x):
        return x
    wide = x.T.repeat(2, axis=-1).T
    return wide.copy(order="F")[::2]


def _backward(x: Any) -> Any:
    """The same values with every stride negative."""
    if not _has_layouts(x):
        return x
    turn = (slice(None, None, -1),) * x.ndim
    return x[turn].copy()[turn]


# --- numbers ---


class _Source:
    """Draws arrays; seeded by the op's name, so that a test means the same on every machine."""

    def __init__(self, name: str, dtype: Any, device: str) -> None:
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.dtype, self.device = dtype, device

    def given(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs of a case: shapes and Draws become arrays, arrays take the dtype asked for."""
        draws = [Draw(cast(Any, x)) if isinstance(x, tuple) else x for x in inputs]
        drawn = [x for x in draws if isinstance(x, Draw)]
        found = iter(self.draw([x.shape for x in drawn], [x.domain for x in drawn]))
        return [
            next(found) if isinstance(x, Draw) else self._place(x) if is_array(x) else x
            for x in draws
        ]

    def draw(self, shapes: Sequence[Any], domains: Sequence[Domain]) -> list[Any]:
        """Values for several inputs; those of distinct domains differ from each other too."""
        sizes = [1 if s is SCALAR else math.prod(s) for s in shapes]
        shared = [n for n, d in zip(sizes, domains, strict=True) if d.distinct]
        pool: Iterator[Any] = iter(())
        if shared:
            domain = next(d for d in domains if d.distinct)
            values: Any = np.split(sample(domain, sum(shared), self.random), np.cumsum(shared)[:-1])
            pool = iter(values)
        found: list[Any] = []
        for shape, size, domain in zip(shapes, sizes, domains, strict=True):
            x = next(pool) if domain.distinct else sample(domain, size, self.random)
            found.append(x[0].item() if shape is SCALAR else self._place(x.reshape(shape)))
        return found

    def _place(self, x: Array) -> Array:
        if is_inexact(x.dtype):
            x = x.astype(self.dtype)
        return x if self.device == "cpu" else move(x, self.device)


def sample(domain: Domain, size: int, random: np.random.Generator) -> Any:
    """`size` values of a domain, in float64 or int64."""
    if domain.integer:
        return random.integers(int(domain.low), int(domain.high) + 1, size)
    if domain.distinct:  # one in each of `size` slots, at least half a slot apart
        slot = (domain.high - domain.low) / max(size, 1)
        middles = domain.low + slot * (np.arange(size) + 0.5)
        return random.permutation(middles + slot * random.uniform(-0.25, 0.25, size))
    x = random.uniform(domain.low, domain.high, size)
    for _ in range(1000):
        close = np.zeros(size, bool)
        for point in domain.avoid:
            close |= np.abs(x - point) < domain.gap
        if not close.any():
            return x
        x[close] = random.uniform(domain.low, domain.high, int(close.sum()))
    raise ValueError(f"cases: {domain} leaves no room between the points to avoid")
