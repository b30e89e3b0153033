"""Sums of products by subscripts: einsum and tensordot.

One op does the work: `contract`, a product of two arrays whose every subscript occurs in at least
two of the three (a, b, y). That rule is symmetric, so the adjoint of a contraction is a
contraction: "ij,jk->ik" gives "ik,jk->ij" for a. What breaks the rule in an einsum (repeated
subscripts, subscripts that only one operand has, sizes of 1 that broadcast) is taken away first, by
diagonal, sum and reshape. The order of the pairs is found by opt_einsum.

Floor 3: stands on op.py, linalg.py, diagonals.py, reductions.py and shape.py.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Sequence
from typing import Any

from ..errors import DTypeError, ShapeError, hinted
from ..op import case, primitive
from .diagonals import diagonal
from .gathering import as_operand
from .linalg import inner, product
from .reductions import sum as sum_
from .shape import as_axes, permute_dims, reshape

Term = tuple[Any, str]
"""An array and its subscripts, one letter for each axis."""


# --- two arrays ---


@primitive(
    linear=(0, 1),
    arity=2,
    cases=[
        case((2, 3), (3, 4), subscripts="ij,jk->ik"),
        case((2, 3), (3, 4), subscripts="ij,jk->ki"),
        case((2, 3, 4), (2, 4, 5), subscripts="bij,bjk->bik"),
        case((3, 2, 4), (4, 2), subscripts="ibj,jb->bi"),
        case((3, 2), (2, 3), subscripts="ib,bi->b"),
        case((3,), (2,), subscripts="i,j->ji"),
        case((3, 2), (2,), subscripts="ij,j->ij"),
        case((2, 3), (3, 2), subscripts="ij,ji->"),
        case((), (), subscripts=",->"),
        case((0, 3), (3, 2), subscripts="ij,jk->ik"),
    ],
)
def contract(xp: Any, a: Any, b: Any, subscripts: str) -> Any:
    """Sum of products of two arrays, each subscript being in at least two of a, b and y."""
    plan = _plan(subscripts)
    a, b = a.transpose(plan.perm_a), b.transpose(plan.perm_b)
    shared, m, n = plan.batch, plan.free_a, plan.free_b
    batch, rows = a.shape[:shared], a.shape[shared : shared + m]
    columns, sums = b.shape[b.ndim - n :], a.shape[shared + m :]
    if not sums:
        ones_a, ones_b = (1,) * n, (1,) * m
        y = a.reshape((*batch, *rows, *ones_a)) * b.reshape((*batch, *ones_b, *columns))
    elif not m and not n:
        size = math.prod(sums)
        y = inner(xp, a.reshape((*batch, size)), b.reshape((*batch, size)))
    else:
        size = math.prod(sums)
        y = product(
            xp,
            a.reshape((*batch, math.prod(rows), size)),
            b.reshape((*batch, size, math.prod(columns))),
        ).reshape((*batch, *rows, *columns))
    return y.transpose(plan.perm_y)


@contract.adjoint(0)
def _(g: Any, _y: Any, _a: Any, b: Any, subscripts: str) -> Any:
    (left, right), out = _split(subscripts)
    return contract(g, b, subscripts=f"{out},{right}->{left}")


@contract.adjoint(1)
def _(g: Any, _y: Any, a: Any, _b: Any, subscripts: str) -> Any:
    (left, right), out = _split(subscripts)
    return contract(g, a, subscripts=f"{out},{left}->{right}")


class _Plan:
    """How to bring two arrays to (batch, rows, sums) @ (batch, sums, columns), and back."""

    __slots__ = ("batch", "free_a", "free_b", "perm_a", "perm_b", "perm_y")

    def __init__(self, left: str, right: str, out: str) -> None:
        batch = [c for c in out if c in left and c in right]
        sums = [c for c in left if c in right and c not in out]
        rows = [c for c in left if c not in right]
        columns = [c for c in right if c not in left]
        self.batch, self.free_a, self.free_b = len(batch), len(rows), len(columns)
        self.perm_a = [left.index(c) for c in (*batch, *rows, *sums)]
        self.perm_b = [right.index(c) for c in (*batch, *sums, *columns)]
        made = [*batch, *rows, *columns]
        self.perm_y = [made.index(c) for c in out]


@functools.lru_cache(maxsize=1024)
def _plan(subscripts: str) -> _Plan:
    (left, right), out = _split(subscripts)
    return _Plan(left, right, out)


def _split(subscripts: str) -> tuple[list[str], str]:
    terms, _, out = subscripts.partition("->")
    return terms.split(","), out


# --- einsum ---


def einsum(subscripts: str, /, *operands: Any) -> Any:
    """Sum of products by Einstein's rule: "ij,jk->ik" is y[i, k] = sum_j a[i, j] b[j, k].

    Any number of operands. A subscript repeated in one operand takes its diagonal; one missing
    after the arrow is summed over; without an arrow the result has those that occur once, in
    alphabetical order. "..." stands for further axes, which broadcast. opt_einsum chooses the order
    of the products. 16-bit floats accumulate in float32. Raises ShapeError naming the subscript.

    >>> import gradengine as ge
    >>> a = ge.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> einsum("ij,j->i", a, ge.tensor([1.0, 1.0]))
    tensor([3., 7.])
    >>> einsum("ii", a).item()
    5.0
    """
    given: Any = subscripts
    if not isinstance(given, str):
        raise DTypeError(hinted("einsum: the first argument is no string", 'write "ij,jk->ik"'))
    arrays = [as_operand(x) for x in operands]
    if len(arrays) == 2:
        direct = _as_contraction(subscripts, tuple(arrays[0].shape), tuple(arrays[1].shape))
        if direct is not None:
            return contract(*arrays, subscripts=direct)
    inputs, out = _parsed(subscripts, tuple(len(x.shape) for x in arrays))
    sizes = _sizes(subscripts, inputs, [tuple(x.shape) for x in arrays])
    terms = [_plain_term(x, labels, sizes) for x, labels in zip(arrays, inputs, strict=True)]
    for pair in _path(terms, out):
        chosen = [terms[i] for i in pair]
        terms = [t for i, t in enumerate(terms) if i not in pair]
        while len(chosen) > 1:
            rest = [*chosen[2:], *terms]
            chosen = [_pair(chosen[0], chosen[1], rest, out), *chosen[2:]]
        terms.append(chosen[0])
    y, labels = _summed(terms[0], set(out))
    return y if labels == out else permute_dims(y, axes=tuple(labels.index(c) for c in out))


@functools.lru_cache(maxsize=1024)
def _as_contraction(subscripts: str, a: tuple[int, ...], b: tuple[int, ...]) -> str | None:
    """The subscripts for `contract`, where two operands need nothing else."""
    (left, right), out = _parsed(subscripts, (len(a), len(b)))
    sizes = _sizes(subscripts, [left, right], [a, b])
    once = len(set(left)) == len(left) and len(set(right)) == len(right)
    shared = all((c in left) + (c in right) + (c in out) > 1 for c in sizes)
    whole = all(sizes[c] == n for c, n in zip(left + right, a + b, strict=True))
    return f"{left},{right}->{out}" if once and shared and whole else None


@functools.lru_cache(maxsize=1024)
def _parsed(subscripts: str, ranks: tuple[int, ...]) -> tuple[list[str], str]:
    """Subscripts of each operand and of the result, the ellipsis spelled out."""
    text = subscripts.replace(" ", "")
    inputs, out = _split(text)
    explicit = "->" in text
    if len(inputs) != len(ranks):
        raise _wrong(subscripts, f"{len(inputs)} terms for {len(ranks)} operands", "one each")
    spelled: list[str] = []
    widest = ""
    for term, rank in zip(inputs, ranks, strict=True):
        more = rank - len(term.replace("...", ""))
        dots = "".join(chr(0x3B1 + 40 - i) for i in range(more, 0, -1)) if more > 0 else ""
        if more < 0 or (more > 0 and "..." not in term):
            raise _wrong(
                subscripts, f"term {term!r} for an array of {rank} dimensions", "one letter an axis"
            )
        widest = max(widest, dots, key=len)
        spelled.append(term.replace("...", dots, 1))
    letters = "".join(spelled)
    if not explicit:
        out = widest + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1 and c not in widest)
        )
    elif "..." in out:
        out = out.replace("...", widest, 1)
    elif widest:
        raise _wrong(subscripts, "the axes of '...' are missing after '->'", "add '...' there")
    unknown = [c for c in out if c not in letters]
    if unknown or len(set(out)) < len(out):
        raise _wrong(
            subscripts,
            f"the result {out!r} names {unknown[0]!r}, which no operand has"
            if unknown
            else f"the result {out!r} names a subscript twice",
            "each letter after '->' once, and in an operand",
        )
    for c in letters:
        if not c.isalpha():
            raise _wrong(subscripts, f"{c!r} is no letter", "letters, commas, '...' and '->'")
    return spelled, out


def _wrong(subscripts: str, what: str, hint: str) -> ShapeError:
    return ShapeError(hinted(f"einsum: {subscripts!r}: {what}", hint))


def _sizes(
    subscripts: str, inputs: Sequence[str], given: Sequence[tuple[int, ...]]
) -> dict[str, int]:
    """The size of each subscript; a size of 1 broadcasts."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs, given, strict=True):
        for c, n in zip(labels, shape, strict=True):
            known = sizes.get(c, 1)
            if n != known and 1 not in (n, known):
                shapes = " and ".join(str(s) for s in given)
                raise _wrong(
                    subscripts,
                    f"subscript {c!r} has sizes {known} and {n} in operands {shapes}",
                    "axes with the same letter must be equal, or 1",
                )
            sizes[c] = n if known == 1 else known
    return sizes


def _plain_term(x: Any, labels: str, sizes: dict[str, int]) -> Term:
    """An operand without repeated subscripts and without axes that only broadcast."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                shape = tuple(x.shape)
                raise _wrong(labels, f"{c!r} is repeated with different sizes in {shape}", "equal")
            x = diagonal(x, axis1=i, axis2=j)
            labels = labels[:i] + labels[i + 1 : j] + labels[j + 1 :] + c
    kept = [i for i, c in enumerate(labels) if x.shape[i] == sizes[c]]
    if len(kept) < len(labels):
        x = reshape(x, tuple(x.shape[i] for i in kept))
        labels = "".join(labels[i] for i in kept)
    return x, labels


def _summed(term: Term, needed: set[str]) -> Term:
    """A term with the subscripts summed away that nothing else needs."""
    x, labels = term
    axes = tuple(i for i, c in enumerate(labels) if c not in needed)
    if axes:
        x = sum_(x, axis=axes)
        labels = "".join(c for c in labels if c in needed)
    return x, labels


def _pair(a: Term, b: Term, rest: Sequence[Term], out: str) -> Term:
    """The product of two terms, summed over what neither the rest nor the result needs."""
    needed = set(out).union(*(labels for _, labels in rest))
    (x, left), (z, right) = _summed(a, needed | set(b[1])), _summed(b, needed | set(a[1]))
    if rest:
        shared = [c for c in left if c in right and c in needed]
        made = [*shared, *(c for c in left if c not in right), *(c for c in right if c not in left)]
        made_out = "".join(made)
    else:
        made_out = "".join(c for c in out if c in left or c in right)
    return contract(x, z, subscripts=f"{left},{right}->{made_out}"), made_out


def _path(terms: Sequence[Term], out: str) -> Sequence[tuple[int, ...]]:
    """Which terms to multiply in which order; each product goes to the end of the list."""
    if len(terms) < 3:
        return [(0, 1)] if len(terms) == 2 else []
    labels = ",".join(labels for _, labels in terms)
    return _best_path(f"{labels}->{out}", tuple(tuple(x.shape) for x, _ in terms))


@functools.lru_cache(maxsize=1024)
def _best_path(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    search = importlib.import_module("opt_einsum").contract_path
    return list(search(subscripts, *shapes, shapes=True)[0])


# --- tensordot ---


def tensordot(a: Any, b: Any, axes: int | Sequence[Any] = 2) -> Any:
    """Sum of products over pairs of axes: the last `axes` of a and the first of b, or two lists.

    The result has the axes of a that are left, then those of b. Raises ShapeError where the paired
    axes differ in size.

    >>> import gradengine as ge
    >>> a = ge.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tensordot(a, a, axes=([0], [0])).tolist()
    [[10.0, 14.0], [14.0, 20.0]]
    """
    a, b = as_operand(a), as_operand(b)
    left, right = tuple(a.shape), tuple(b.shape)
    if isinstance(axes, int):
        from_a: Any = tuple(range(len(left) - axes, len(left)))
        from_b: Any = tuple(range(axes))
        if not 0 <= axes <= min(len(left), len(right)):
            raise ShapeError(
                hinted(
                    f"tensordot: axes={axes} for {left} and {right}",
                    "no more axes than the smaller array has",
                )
            )
    else:
        from_a, from_b = axes
    from_a = as_axes(from_a, len(left), "tensordot")
    from_b = as_axes(from_b, len(right), "tensordot")
    if [left[i] for i in from_a] != [right[i] for i in from_b]:
        raise ShapeError(
            hinted(
                f"tensordot: axes {from_a} of {left} and {from_b} of {right} differ",
                "the paired axes must have the same sizes",
            )
        )
    names_a = [chr(97 + i) for i in range(len(left))]
    names_b = [chr(0x3B1 + i) for i in range(len(right))]
    for i, j in zip(from_a, from_b, strict=True):
        names_b[j] = names_a[i]
    kept = [c for c in names_a if c not in names_b] + [c for c in names_b if c not in names_a]
    text = f"{''.join(names_a)},{''.join(names_b)}->{''.join(kept)}"
    return contract(a, b, subscripts=text)
