"""Orthogonal weights as a parametrization: Q(X) for any X, by exponentials or by reflections.

Both maps are compositions of ops, so they are right to any order. QR decompositions are taken
only where a value is set, outside the tape.

Floor 6: stands on nn/utils/parametrize.py.
"""

from __future__ import annotations

import math
from typing import Any

from gradengine import creation, ops
from gradengine.device import guard
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.module import Module
from gradengine.nn.parameter import Buffer
from gradengine.nn.utils.hooked import parameter_of
from gradengine.nn.utils.parametrize import is_parametrized, register_parametrization
from gradengine.random import Generator, randn
from gradengine.tensor import Tensor

MAPS = ("matrix_exp", "householder")
DEGREE = 14
"""Terms of the series of exp: what is left is below 1e-16 where the norm is at most 1/2."""


# --- the maps: (..., n, k) with n >= k to orthonormal columns ---


def exponential(a: Any) -> Any:
    """exp(a) of square matrices (..., n, n): the series of a / 2^s, squared s times.

    Source: Moler, Van Loan, SIAM Review 45 (2003) 3, method 3.

    >>> import gradengine as ge
    >>> exponential(ge.tensor([[1.0, 0.0], [0.0, 0.0]])).tolist()
    [[2.7182817459106445, 0.0], [0.0, 1.0]]
    """
    norm = float(ops.max(ops.sum(ops.abs(a.detach()), axis=-2))) if a.size else 0.0
    halvings = max(0, math.ceil(math.log2(norm)) + 1) if 0 < norm < math.inf else 0
    a = a * 0.5**halvings
    one = _eye(a, a.shape[-1])
    y = one
    for j in range(DEGREE, 0, -1):
        y = one + ops.matmul(a / j, y)
    for _ in range(halvings):
        y = ops.matmul(y, y)
    return y


def _by_exponential(x: Any) -> Any:
    """The first k columns of exp(A), A = L - L' skew, L the lower triangle of x."""
    n, k = x.shape[-2:]
    lower = ops.tril(x)
    if n > k:
        lower = ops.pad(lower, (*((0, 0),) * (x.ndim - 1), (0, n - k)))
    return exponential(lower - ops.swapaxes(lower, -1, -2))[..., :k]


def _by_reflections(x: Any) -> Any:
    """The first k columns of H_1 ... H_k, H_i = 1 - tau v v', v the column i below its diagonal 1.

    Column i is then given the sign of the diagonal element, which is not learned.
    """
    n, k = x.shape[-2:]
    one = _eye(x, n, k)
    v = ops.tril(x, k=-1) + one
    tau = 2 / ops.sum(v * v, axis=-2, keepdims=True)
    q = ops.broadcast_to(one, x.shape)
    for i in reversed(range(k)):
        column = v[..., i : i + 1]
        along = ops.matmul(ops.swapaxes(column, -1, -2), q)
        q = q - ops.matmul(column * tau[..., i : i + 1], along)
    signs = ops.sign(ops.sum(x.detach() * one, axis=-2, keepdims=True))
    return q * signs


def _eye(like: Any, n: int, k: int | None = None) -> Any:
    return creation.eye(n, k, dtype=like.dtype, device=like.device)


# --- the parametrization ---


class _Orthogonal(Module):
    base: Any

    def __init__(self, weight: Any, kind: str, trivial: bool, generator: Generator | None) -> None:
        self.kind, self.generator = kind, generator
        self.wide = weight.shape[-2] < weight.shape[-1]
        if trivial:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        x = ops.swapaxes(x, -1, -2) if self.wide else x
        q = (_by_exponential if self.kind == "matrix_exp" else _by_reflections)(x)
        base = getattr(self, "base", None)
        q = q if base is None else ops.matmul(base, q)
        return ops.swapaxes(q, -1, -2) if self.wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        q: Any = ops.swapaxes(value, -1, -2) if self.wide else value
        n, k = q.shape[-2:]
        if not hasattr(self, "base"):
            found = self._reflections(q)
            return ops.swapaxes(found, -1, -2) if self.wide else found
        if n > k:  # any columns that complete the matrix will do
            shape = (*q.shape[:-1], n - k)
            more = randn(shape, dtype=q.dtype, device=q.device, generator=self.generator)
            q = ops.concat([q, more], axis=-1)
        off = ops.matmul(ops.swapaxes(q, -1, -2), q) - _eye(q, n)
        limit = 10 * n * float(q.xp.finfo(q.dtype).eps)
        right = bool(ops.max(ops.abs(off)) <= limit) if q.size else True
        self.base = Buffer(q if right else _made_orthogonal(q))
        return creation.zeros_like(value) - _eye(value, *value.shape[-2:])

    def _reflections(self, q: Any) -> Tensor:
        """The x that `_by_reflections` makes q of, or of the orthogonal factor nearest its QR."""
        if self.kind != "householder":
            text = f"orthogonal: the map {self.kind!r} has no inverse"
            hint = "use_trivialization=True, or write to the original"
            raise OutOfRangeError(hinted(text, hint))
        with guard(q.array):
            h, tau = q.xp.linalg.qr(q.array, mode="raw")
        found: Any = ops.swapaxes(Tensor.lift(h), -1, -2)
        diagonal: Any = ops.diagonal(found, axis1=-2, axis2=-1)
        signs = ops.sign(diagonal) * ops.where(Tensor.lift(tau) == 0, -1.0, 1.0)
        return ops.tril(found, k=-1) + ops.expand_dims(signs, -2) * _eye(q, *q.shape[-2:])


def _made_orthogonal(q: Any) -> Tensor:
    """The factor Q of q = Q R with a diagonal of R above 0."""
    with guard(q.array):
        own, r = q.xp.linalg.qr(q.array)
    diagonal: Any = ops.diagonal(Tensor.lift(r), axis1=-2, axis2=-1)
    return Tensor.lift(own) * ops.expand_dims(ops.where(diagonal < 0, -1.0, 1.0), -2)


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
    generator: Generator | None = None,
) -> Module:
    """w = B Q(X): a matrix (..., n, k) with orthonormal columns, or rows where n < k.

    `orthogonal_map` is "matrix_exp", Q = exp(L - L') of the lower triangle L of X (the default for
    square matrices), or "householder", a product of reflections. B, the buffer
    `parametrizations.<name>.0.base`, is where the weight is when the map is registered or the
    weight assigned to: its orthogonal factor, completed to a square from `generator` where n > k.
    Without `use_trivialization` there is no B. Lezcano-Casado, arXiv:1909.09501, section 4.
    PyTorch's third map, "cayley", is not offered.

    Raises ShapeError below two axes, OutOfRangeError for a map not known.

    >>> import gradengine as ge
    >>> from gradengine import nn
    >>> w = orthogonal(nn.Linear(3, 2)).weight
    >>> bool((abs(w @ w.T - ge.eye(2)) < 1e-6).all())
    True
    """
    known = is_parametrized(module, name)
    weight = getattr(module, name) if known else parameter_of(module, name, "orthogonal")
    if weight.ndim < 2:
        text = f"orthogonal: {name} {tuple(weight.shape)} has no matrix in it"
        raise ShapeError(hinted(text, "give two axes or more"))
    square = weight.shape[-2] == weight.shape[-1]
    kind = orthogonal_map or ("matrix_exp" if square else "householder")
    if kind not in MAPS:
        text = f"orthogonal: orthogonal_map={kind!r} is not known"
        raise OutOfRangeError(hinted(text, f"one of {', '.join(MAPS)}"))
    made = _Orthogonal(weight, kind, use_trivialization, generator)
    return register_parametrization(module, name, made, unsafe=True)
