"""CTC: the probability of a label sequence when nobody knows at which time each label stands.

The alignments of labels l1 ... lL are the paths through a lattice of S = 2L + 1 states, blank, l1,
blank, ..., lL, blank: at each time a path stays, steps to the next state, or skips the blank
between two different labels. `lattice_scores` adds up the paths that lead to each state, in
logarithms; its derivative is a linear recursion back through the lattice, `lattice_flow`, whose own
derivatives are recursions of the same kind. So every order is a loop over the times alone.

Letters: `x` log-probabilities (T, N, C), `t` labels (N, L), `e` their log-probabilities in the
states (T, N, S), `a` scores (T + 1, N, S), the first row before all times, `w` weights of the three
moves (3, T, N, S), `g` cotangent.

Floor 3: stands on op.py and the ops files before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..device import Array, as_array, guard, namespace, quiet
from ..errors import DTypeError, OutOfRangeError, ShapeError, hinted
from ..op import Draw, case, integers, primitive, real
from ..tape import Traced
from .arithmetic import divide, multiply, select
from .gathering import as_operand
from .indexing import add_at
from .joining import stack
from .losses import check_reduction, reduced
from .normalisation import exp_difference, logsumexp
from .padding import pad
from .reductions import widened
from .shape import expand_dims, reshape

_X = Draw((3, 2, 4), real(-3, 0))
_LABELS = Draw((2, 2), integers(1, 3))
_SCORES = Draw((3, 2, 5), real(-3, 0))
_MOVES = Draw((3, 2, 2, 5), real(0, 1))

# --- log-probabilities of the states ---


def _past_end(xp: Any, steps: int, lengths: Sequence[int]) -> Array:
    """(T, N, 1): whether a time lies behind the end of its sequence."""
    return (xp.arange(steps)[:, None] >= xp.asarray(lengths, dtype="int64"))[:, :, None]


@primitive(arity=2, linear=(0,), cases=[case(_X, _LABELS, blank=0, lengths=(3, 2))])
def emissions(xp: Any, x: Any, t: Any, blank: int, lengths: Any) -> Any:
    """The log-probability of each state at each time, 0 behind the end of a sequence."""
    steps, batch = x.shape[:2]
    y = xp.empty((steps, batch, 2 * t.shape[1] + 1), x.dtype)
    y[:, :, ::2] = x[:, :, blank, None]
    y[:, :, 1::2] = x[:, xp.arange(batch)[:, None], t]
    return xp.where(_past_end(xp, steps, lengths), 0, y)


@emissions.adjoint(0)
def _(g: Any, _y: Any, x_like: Any, t: Any, blank: int, lengths: Any) -> Any:
    return emissions_back(g, t, blank=blank, lengths=lengths, classes=x_like.shape[2])


@primitive(
    arity=2,
    linear=(0,),
    wide=True,
    cases=[case(_SCORES, _LABELS, blank=0, lengths=(3, 2), classes=4)],
)
def emissions_back(xp: Any, g: Any, t: Any, blank: int, lengths: Any, classes: int) -> Any:
    """The sum over the states of each class: the adjoint of emissions."""
    steps, batch = g.shape[:2]
    g = xp.where(_past_end(xp, steps, lengths), 0, g)
    d = xp.zeros((steps, batch, classes), g.dtype)
    places = xp.arange(steps * batch).reshape(steps, batch, 1) * classes + t
    add_at(xp, d, places, g[:, :, 1::2])
    d[:, :, blank] += g[:, :, ::2].sum(axis=2)
    return d


@emissions_back.adjoint(0)
def _(h: Any, _d: Any, _g: Any, t: Any, blank: int, lengths: Any, classes: int) -> Any:
    return emissions(h, t, blank=blank, lengths=lengths)


# --- all paths ---


def _skips(xp: Any, t: Array) -> Array:
    """(N, S): whether a state may be entered from two states before: no blank, another label."""
    may = xp.zeros((t.shape[0], 2 * t.shape[1] + 1), bool)
    may[:, 3::2] = t[:, 1:] != t[:, :-1]
    return may


@primitive(arity=3, wide=True, cases=[case(_SCORES, Draw((2, 5), real(-3, 0)), _LABELS)])
def lattice_scores(xp: Any, e: Any, start: Any, t: Any) -> Any:
    """a[i + 1, s] = e[i, s] + log(sum(exp(a[i, s - k]))) over moves k into s; a[0] = start.

    The cotangent of e[i] is what flows back into a[i + 1], by the share of each move.
    """
    steps, batch, states = e.shape
    a = xp.empty((steps + 1, batch, states), e.dtype)
    a[0] = start
    barred = ~_skips(xp, t)[:, 2:]
    sources = xp.full((3, batch, states), -math.inf, e.dtype)
    with quiet():
        for i in range(steps):
            sources[0] = before = a[i]
            sources[1, :, 1:] = before[:, :-1]
            sources[2, :, 2:] = xp.where(barred, -math.inf, before[:, :-2])
            top = sources.max(axis=0)
            top[top == -math.inf] = 0  # -inf less -inf would be NaN
            a[i + 1] = xp.log(xp.exp(sources - top).sum(axis=0)) + top + e[i]
    return a


@lattice_scores.adjoint(0)
def _(g: Any, a: Any, _e: Any, _start: Any, t: Any) -> Any:
    return lattice_flow(g, move_shares(a, t), back=True)[1:]


@lattice_scores.adjoint(1)
def _(g: Any, a: Any, _e: Any, _start: Any, t: Any) -> Any:
    return lattice_flow(g, move_shares(a, t), back=True)[0]


@primitive(arity=1, differentiable=False, cases=[case(_LABELS)])
def possible_moves(xp: Any, t: Any) -> Any:
    """(3, 1, N, S): whether each of the three moves into each state is allowed."""
    may = xp.ones((3, 1, t.shape[0], 2 * t.shape[1] + 1), bool)
    may[2, 0] = _skips(xp, t)
    return may


def move_shares(a: Any, t: Any) -> Any:
    """(3, T, N, S): which share of the paths into a state came by each move; 0 where there is none.

    Engine code: its derivatives are those of logsumexp.
    """
    origins = select(possible_moves(t), _origins(a, -math.inf), -math.inf)
    return exp_difference(origins, logsumexp(origins, axis=0, keepdims=True))


def _origins(a: Any, outside: float) -> Any:
    """(3, T, N, S): the states that each move comes from, `outside` the lattice a constant."""
    states = a.shape[2]
    return stack(
        [
            pad(a[:-1, :, : states - k], ((0, 0), (0, 0), (k, 0)), constant_values=outside)
            for k in range(3)
        ]
    )


@primitive(
    linear=(0,), cases=[case(_SCORES, _MOVES), case(_SCORES, _MOVES, back=True)], arity=2, wide=True
)
def lattice_flow(xp: Any, g: Any, w: Any, back: bool = False) -> Any:
    """y[i + 1, s] = g[i + 1, s] + sum of w[k, i, s] y[i, s - k] over the moves k; y[0] = g[0].

    `back`: the transposed recursion, y[i, s - k] = g[i, s - k] + sum of w[k, i, s] y[i + 1, s].
    """
    y = g.copy()
    states = y.shape[2]
    for i in range(len(y) - 1)[:: -1 if back else 1]:
        for k in range(3):
            into, out_of = y[i + 1, :, k:], y[i, :, : states - k]
            if back:
                out_of += w[k, i, :, k:] * into
            else:
                into += w[k, i, :, k:] * out_of
    return y


@lattice_flow.adjoint(0)
def _(h: Any, _y: Any, _g: Any, w: Any, back: bool) -> Any:
    return lattice_flow(h, w, back=not back)


@lattice_flow.adjoint(1)
def _(h: Any, y: Any, _g: Any, w: Any, back: bool) -> Any:
    other = lattice_flow(h, w, back=not back)
    early, late = (other, y) if back else (y, other)
    return multiply(_origins(early, 0.0), late[1:])


# --- what people call ---


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """-log of the probability that the labels `targets` come out, summed over all alignments.

    `log_probs` (T, N, C) or (T, C), as log_softmax gives; `targets` class numbers without `blank`,
    (N, S) padded or (sum of target_lengths,) one after the other; lengths: N integers each, lists,
    arrays or tensors. "mean" divides each sequence by its number of labels, then by N. A sequence
    too short for its labels costs inf (0 with `zero_infinity`) and gets no gradient: 0, where
    PyTorch gives NaN without `zero_infinity`. The derivative is that by `log_probs` themselves;
    PyTorch's includes log_softmax's, so the two agree from the logits on.

    Raises ShapeError, DTypeError, and OutOfRangeError for lengths and labels outside their range.
    Source: Graves, Fernandez, Gomez, Schmidhuber, ICML 2006, equations 5 to 8.

    >>> import gradengine as ge
    >>> x = ge.log(ge.full((2, 1, 2), 0.5))  # of two times: (1, 1), (1, blank), (blank, 1)
    >>> ctc_loss(x, ge.tensor([[1]]), [2], [1], reduction="sum").exp().item()
    1.3333333730697632
    """
    check_reduction("ctc_loss", reduction)
    x, t = as_operand(log_probs), as_operand(targets)
    if len(x.shape) not in (2, 3) or x.dtype.kind not in "fV":
        text = f"ctc_loss: log_probs is {tuple(x.shape)} {x.dtype}"
        raise ShapeError(hinted(text, "floats (T, N, C), the times first, or (T, C)"))
    alone = len(x.shape) == 2
    wide = widened(expand_dims(x, axis=1) if alone else x)
    steps, batch, classes = wide.shape
    if not 0 <= blank < classes:
        text = f"ctc_loss: blank={blank} lies outside [0, {classes - 1}]"
        raise OutOfRangeError(hinted(text, f"log_probs {tuple(x.shape)} has {classes} classes"))
    times = _lengths("input_lengths", input_lengths, batch, steps, "times of log_probs")
    counts = _lengths("target_lengths", target_lengths, batch, None, "")
    _check_targets(t, batch, counts)
    labels = padded_labels(t, counts=counts, classes=classes, blank=blank)
    e = emissions(wide, labels, blank=blank, lengths=times)
    scores = lattice_scores(e, _start(e), labels)
    y = -_at_end(scores, times, counts)
    if zero_infinity:
        y = select(y == math.inf, 0.0, y)
    if reduction == "mean":
        y = divide(y, _beside(wide, [max(n, 1) for n in counts], wide.dtype))
    y = reduced(y, reduction)
    y = y if y.dtype == x.dtype else y.astype(x.dtype)
    return reshape(y, ()) if alone else y


def _start(e: Any) -> Array:
    """Before the first time every path stands on the first blank."""
    raw = e.array if isinstance(e, Traced) else e
    with guard(raw):
        start = namespace(raw).full(raw.shape[1:], -math.inf, raw.dtype)
    start[:, 0] = 0
    return start


def _at_end(a: Any, times: Sequence[int], counts: Sequence[int]) -> Any:
    """log(sum(exp)) of the last label and the blank behind it, at each sequence's end."""
    rows = list(range(len(times)))
    blank = a[list(times), rows, [2 * n for n in counts]]
    label = a[list(times), rows, [max(2 * n - 1, 0) for n in counts]]
    label = select(_beside(a, [n > 0 for n in counts], bool), label, -math.inf)
    return logsumexp(stack([blank, label]), axis=0)


def _beside(x: Any, values: list[Any], dtype: Any) -> Array:
    """Numbers as a raw array where x is."""
    raw = x.array if isinstance(x, Traced) else x
    with guard(raw):
        return namespace(raw).asarray(values, dtype=dtype)


# --- what comes in ---


def _lengths(name: str, given: Any, batch: int, most: int | None, what: str) -> tuple[int, ...]:
    """Lengths as Python's integers, one for each sequence."""
    raw: Any = given.array if isinstance(given, Traced) else as_array(given)
    if raw.dtype.kind not in "iu" and raw.size:
        raise DTypeError(hinted(f"ctc_loss: {name} is {raw.dtype}", "give integers"))
    found = tuple(int(n) for n in raw.reshape(-1).tolist())
    if len(found) != batch or raw.ndim > 1:
        text = f"ctc_loss: {name} {tuple(raw.shape)} for a batch of {batch}"
        raise ShapeError(hinted(text, "one length for each sequence"))
    wrong = [n for n in found if n < 0 or (most is not None and n > most)]
    if wrong:
        text = f"ctc_loss: {name} holds {wrong[0]}, outside [0, {'' if most is None else most}]"
        hint = "no length is negative" if most is None else f"there are {most} {what}"
        raise OutOfRangeError(hinted(text, hint))
    return found


def _check_targets(t: Any, batch: int, counts: Sequence[int]) -> None:
    shape = tuple(t.shape)
    if t.dtype.kind not in "iu":
        raise DTypeError(hinted(f"ctc_loss: targets are {t.dtype}", "class numbers: integers"))
    fits = len(shape) == 2 and shape[0] == batch and shape[1] >= max(counts, default=0)
    if not fits and shape != (sum(counts),):
        text = (
            f"ctc_loss: targets {shape} for {batch} sequences of "
            f"{max(counts, default=0)} labels at most, {sum(counts)} in all"
        )
        hint = "padded: (N, longest or more), or concatenated: (sum of target_lengths,)"
        raise ShapeError(hinted(text, hint))


@primitive(
    arity=1,
    differentiable=False,
    cases=[
        case(_LABELS, counts=(2, 1), classes=4, blank=0),
        case(Draw((3,), integers(1, 3)), counts=(2, 1), classes=4, blank=0),
    ],
)
def padded_labels(xp: Any, t: Any, counts: Any, classes: int, blank: int) -> Any:
    """Labels as (N, longest), at least one wide, 0 behind the end of each; all checked."""
    width = max(1, *counts) if counts else 1
    lengths = xp.asarray(counts, dtype="int64").reshape(-1, 1)
    inside = xp.arange(width) < lengths
    if t.ndim == 1:
        places = (xp.cumsum(lengths, axis=0) - lengths) + xp.arange(width)
        labels = t[xp.where(inside, places, 0)] if t.size else xp.zeros(inside.shape, "int64")
    else:
        labels = xp.zeros(inside.shape, "int64")
        labels[:, : t.shape[1]] = t[:, :width]
    wrong = inside & ((labels < 0) | (labels >= classes) | (labels == blank))
    if bool(wrong.any()):
        n, k = (int(i[0]) for i in xp.nonzero(wrong))
        raise OutOfRangeError(
            hinted(
                f"ctc_loss: label {int(labels[n, k])} at position {k} of sequence {n} lies "
                f"outside [0, {classes - 1}] or is the blank, {blank}",
                "number the labels as the classes of log_probs, and leave out the blank",
            )
        )
    return xp.where(inside, labels, 0).astype("int64")
