"""Rows of a table picked by indices: embedding, and embedding_bag, which reduces them by bags.

The gradient of the rows is scattered back into the table (ops/gathering.py). What a table is told
not to learn (`padding_idx`, `scale_grad_by_freq`) is a factor on that gradient alone.

Floor 6: stands on ops/gathering.py, ops/normalisation.py and custom.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradengine import creation, ops
from gradengine.custom import Context, UserOp
from gradengine.device import common_namespace
from gradengine.errors import GraphError, OutOfRangeError, ShapeError, hinted
from gradengine.modes import no_grad
from gradengine.op import strict_multiply
from gradengine.ops.gathering import positions, take_back
from gradengine.tape import constant
from gradengine.tensor import Tensor

Array = Any
TINY = 1e-7
"""What max_norm adds to a norm before it divides by it."""


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """Class numbers as rows of int64 with a single one; -1 counts the classes.

    >>> one_hot([1, 0]).tolist()
    [[0, 1], [1, 0]]
    """
    return ops.one_hot(tensor, None if num_classes == -1 else num_classes, dtype="int64")


# --- one row an index ---


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """y[...] = weight[input[...]]: input (...) integers, weight (rows, width), y (..., width).

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are read are first scaled
    down, in `weight` itself, to at most that norm of order `norm_type`; no derivative sees this
    step. `scale_grad_by_freq` divides a row's gradient by how often it was read.

    Raises OutOfRangeError for an index outside the table, DTypeError for one that is no integer,
    GraphError for `sparse=True`: gradients are dense.

    >>> import gradengine as ge
    >>> embedding([[2, 0]], ge.tensor([[1.0], [2.0], [3.0]])).tolist()
    [[[3.0], [1.0]]]
    """
    _no_sparse("embedding", sparse)
    weight = _table(weight, "embedding")
    index = _checked(input, weight, "embedding")
    if max_norm is not None:
        _renormalise(weight, index, max_norm, norm_type)
    pad = None if padding_idx is None else _row(padding_idx, weight, "embedding")
    return _weighed(ops.take(weight, index, axis=0), index, weight, pad, scale_grad_by_freq)


def _weighed(rows: Any, index: Array, weight: Any, pad: int | None, by_frequency: bool) -> Any:
    """Rows of a table whose gradient is divided by their number, and 0 for the row `pad`."""
    if (pad is None and not by_frequency) or not index.size:
        return rows
    xp = Tensor.lift(index).xp
    factor = xp.ones(index.shape, "float64" if rows.dtype.itemsize == 8 else "float32")
    if by_frequency:
        factor /= xp.bincount(index.reshape(-1), minlength=weight.shape[0])[index]
    if pad is not None:
        factor[index == pad] = 0
    return weigh_gradient(rows, constant(Tensor, factor[..., None].astype(rows.dtype)))


def _weigh_forward(ctx: Context, x: Any, factor: Any) -> Any:
    ctx.save_for_backward(factor)
    return x


def _weigh_backward(ctx: Context, g: Any) -> Any:
    return strict_multiply(g, ctx.saved_tensors[0]), None


def _weigh_push(primals: Any, tangents: Any, _outputs: Any) -> Any:
    return [strict_multiply(tangents[0], primals[1])]


weigh_gradient = UserOp("weigh_gradient", _weigh_forward, _weigh_backward, _weigh_push)
"""x itself, whose gradient and tangent are multiplied by a constant `factor`."""


def _renormalise(weight: Any, index: Array, max_norm: float, norm_type: float) -> None:
    with no_grad():
        read = constant(Tensor, Tensor.lift(index).xp.unique(index))
        rows = ops.take(weight, read, axis=0)
        norms = ops.vector_norm(rows, ord=norm_type, axis=1, keepdims=True)
        scale = ops.where(norms > max_norm, max_norm / (norms + TINY), 1.0)
        weight[read] = rows * scale.astype(rows.dtype)


# --- reductions of bags ---


@dataclass
class _Bags:
    """Which bag each index falls into: `width` in each, or `starts` and the bag of each."""

    count: int
    size: int
    xp: Any
    width: int | None = None
    starts: Any = None
    owner: Any = None

    def sum(self, rows: Any) -> Any:
        """Sums of rows over each bag."""
        if self.width is not None:
            shape = (self.count, self.width, *rows.shape[1:])
            return ops.sum(ops.reshape(rows, shape), axis=1)
        return take_back(rows, self.owner, shape=(self.count, *rows.shape[1:]), axis=0)

    def grid(self) -> Array:
        """(bags, longest bag) positions of the indices, `size` where a bag has no more."""
        xp = self.xp
        if self.width is not None:
            return xp.arange(self.size).reshape(self.count, self.width)
        lengths = xp.bincount(self.owner, minlength=self.count)
        longest = int(lengths.max()) if self.count else 0
        grid = xp.full((self.count, longest), self.size)
        at = xp.arange(self.size)
        grid[self.owner, at - self.starts[self.owner]] = at
        return grid


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Rows of `weight` at `input`, reduced over bags: y (bags, width); an empty bag gives 0.

    `input` is (bags, n), or (n,) with `offsets`, the position where each bag begins (with
    `include_last_offset` also where the last one ends). `mode` is "sum" (with
    `per_sample_weights`, of input's shape, a weighted one), "mean" or "max". Indices equal to
    `padding_idx` are left out; the other options are those of `embedding`.

    Raises OutOfRangeError, ShapeError, DTypeError, GraphError as `embedding`.

    >>> import gradengine as ge
    >>> table = ge.tensor([[1.0], [2.0], [3.0]])
    >>> embedding_bag([0, 2, 1], table, offsets=[0, 2], mode="sum").tolist()
    [[4.0], [2.0]]
    """
    _no_sparse("embedding_bag", sparse)
    _check_mode(mode, per_sample_weights, scale_grad_by_freq)
    weight = _table(weight, "embedding_bag")
    index = _checked(input, weight, "embedding_bag")
    bags = _bags(index, offsets, include_last_offset, weight)
    factors = _factors(per_sample_weights, index)
    index = index.reshape(-1)
    if max_norm is not None:
        _renormalise(weight, index, max_norm, norm_type)
    rows = ops.take(weight, index, axis=0)
    rows = _weighed(rows, index, weight, None, scale_grad_by_freq)
    kept = None
    if padding_idx is not None:
        kept = index != _row(padding_idx, weight, "embedding_bag")
    if mode == "max":
        return _maximum(rows, bags, kept)
    if factors is not None:
        rows = rows * factors
    if kept is not None:
        rows = ops.where(constant(Tensor, kept[:, None]), rows, creation.zeros_like(rows))
    return bags.sum(rows) if mode == "sum" else bags.sum(rows) / _sizes(bags, kept, rows)


def _sizes(bags: _Bags, kept: Array | None, rows: Any) -> Any:
    """(bags, 1) how many indices count in each bag, at least 1."""
    ones = bags.xp.ones(bags.size, "float64") if kept is None else kept.astype("float64")
    sizes = bags.sum(constant(Tensor, ones[:, None])).array
    return constant(Tensor, bags.xp.maximum(sizes, 1).astype(rows.dtype))


def _maximum(rows: Any, bags: _Bags, kept: Array | None) -> Any:
    """The largest element of each bag in each column; of equal ones the first gets the gradient."""
    xp, width = bags.xp, rows.shape[1]
    if not bags.size or not bags.count:
        return creation.zeros((bags.count, width), dtype=rows.dtype, device=rows.device)
    grid = bags.grid()
    counts = grid < bags.size
    safe = xp.where(counts, grid, 0)
    if kept is not None:
        counts &= kept[safe]
    values = xp.where(counts[..., None], rows.array[safe], -xp.inf)
    winner = xp.take_along_axis(safe, values.argmax(axis=1), axis=1)
    empty = constant(Tensor, ~counts.any(axis=1)[:, None])
    found = ops.gather(rows, constant(Tensor, winner), axis=0)
    return ops.where(empty, creation.zeros_like(found), found)


# --- what a user gets wrong ---


def _no_sparse(name: str, sparse: bool) -> None:
    if sparse:
        raise GraphError(hinted(f"{name}: sparse=True", "gradients are dense: leave it out"))


def _table(weight: Any, name: str) -> Any:
    weight = Tensor.lift(weight)
    if weight.ndim != 2:
        text = f"{name}: weight has shape {weight.shape}"
        raise ShapeError(hinted(text, "a table has the shape (rows, width)"))
    return weight


def _row(index: int, weight: Any, name: str) -> int:
    rows = weight.shape[0]
    if not -rows <= index < rows:
        text = f"{name}: padding_idx {index} in a table of shape {weight.shape}"
        raise OutOfRangeError(hinted(text, f"it must lie in [{-rows}, {rows - 1}]"))
    return index % rows


def _checked(input: Any, weight: Any, name: str) -> Array:
    """The raw indices, all of them rows of the table; on a GPU this waits for the answer."""
    found = positions(input, weight, name)
    index: Any = found.array if isinstance(found, Tensor) else found
    rows = weight.shape[0]
    wrong = (index < 0) | (index >= rows)
    if bool(wrong.any()):
        text = f"{name}: index {int(index[wrong][0])} in a table of shape {weight.shape}"
        hint = f"indices lie in [0, {rows - 1}]: map the tokens, or build a table of more rows"
        raise OutOfRangeError(hinted(text, hint if rows else "the table has no rows"))
    return index.astype("int64", copy=False)


def _check_mode(mode: str, factors: Any, by_frequency: bool) -> None:
    if mode not in ("sum", "mean", "max"):
        text = f"embedding_bag: mode {mode!r}"
        raise OutOfRangeError(hinted(text, 'choose "sum", "mean" or "max"'))
    if factors is not None and mode != "sum":
        text = f"embedding_bag: per_sample_weights with mode {mode!r}"
        raise GraphError(hinted(text, 'they weigh a sum: mode="sum"'))
    if by_frequency and mode == "max":
        text = "embedding_bag: scale_grad_by_freq with mode 'max'"
        raise GraphError(hinted(text, 'use it with "sum" or "mean"'))


def _factors(given: Any, index: Array) -> Any:
    if given is None:
        return None
    factors = Tensor.lift(given)
    if factors.shape != index.shape:
        text = f"embedding_bag: per_sample_weights {factors.shape}, input {index.shape}"
        raise ShapeError(hinted(text, "give one weight for each index"))
    return ops.reshape(factors, (-1, 1))


def _bags(index: Array, offsets: Any, closed: bool, weight: Any) -> _Bags:
    xp = Tensor.lift(index).xp
    if index.ndim == 2:
        if offsets is not None:
            text = f"embedding_bag: offsets for input of shape {index.shape}"
            raise ShapeError(hinted(text, "each row is a bag: leave offsets out"))
        return _Bags(index.shape[0], index.size, xp, width=index.shape[1])
    if index.ndim != 1 or offsets is None:
        text = f"embedding_bag: input of shape {index.shape}, offsets {_shown(offsets)}"
        raise ShapeError(hinted(text, "give (bags, n), or (n,) with offsets"))
    found = positions(offsets, weight, "embedding_bag")
    starts: Any = found.array if isinstance(found, Tensor) else found
    if starts.ndim != 1:
        text = f"embedding_bag: offsets of shape {starts.shape}"
        raise ShapeError(hinted(text, "give one position for each bag, in one axis"))
    common_namespace((index, starts), "embedding_bag")
    _check_starts(starts, index.size, closed)
    owner = xp.searchsorted(starts, xp.arange(index.size), side="right") - 1
    return _Bags(starts.size - closed, index.size, xp, starts=starts, owner=owner)


def _check_starts(starts: Array, size: int, closed: bool) -> None:
    if not starts.size:
        right = not size and not closed
    else:
        right = int(starts[0]) == 0 and bool((starts[1:] >= starts[:-1]).all())
        right = right and (int(starts[-1]) == size if closed else int(starts[-1]) <= size)
    if not right:
        text = f"embedding_bag: offsets {starts.tolist()[:8]} for {size} indices"
        hint = "offsets begin with 0, do not decrease, and end "
        hint += f"with {size} (include_last_offset)" if closed else f"at {size} at most"
        raise OutOfRangeError(hinted(text, hint))


def _shown(offsets: Any) -> str:
    return "none" if offsets is None else f"of shape {getattr(offsets, 'shape', None)}"
