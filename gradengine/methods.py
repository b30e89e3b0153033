"""The methods of Tensor that are ops: shape, reductions, elementwise functions, one line each.

Floor 3: stands on ops/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import ops
from .errors import hinted

if TYPE_CHECKING:
    from .tensor import Tensor


def _no_out(out: Any, name: str) -> None:
    if out is not None:
        raise TypeError(
            hinted(f"{name}: a method of Tensor takes no out=", f"write: t[...] = x.{name}(...)")
        )


def _only_c(order: str, name: str) -> None:
    if order not in ("C", "K", "A"):
        raise ValueError(
            hinted(f"{name}: order {order!r} is not supported", "transpose first: x.T.reshape(...)")
        )


class Methods:
    """`x.reshape(...)`, `x.sum(...)`, `x.exp()` and their kin for Tensor."""

    __slots__ = ()

    # --- shape ---

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return ops.permute_dims(self)

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes swapped."""
        return ops.matrix_transpose(self)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        _only_c(order, "reshape")
        out = ops.reshape(self, shape[0] if len(shape) == 1 else shape)
        return ops.copy(out) if copy else out

    def view(self, *shape: Any) -> Tensor:
        """PyTorch's name for `reshape`."""
        return self.reshape(*shape)

    def transpose(self, *axes: Any) -> Tensor:
        """NumPy's transpose: all axes reversed, or permuted as given."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return ops.permute_dims(self, tuple(order) if order else None)

    def permute(self, *axes: Any) -> Tensor:
        """PyTorch's name for `permute_dims`."""
        return self.transpose(*axes)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return ops.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        """Without axes of length 1."""
        return ops.squeeze(self, axis)

    def unsqueeze(self, axis: int) -> Tensor:
        """PyTorch's name for `expand_dims`."""
        return ops.expand_dims(self, axis)

    def expand_dims(self, axis: int) -> Tensor:
        """With a new axis of length 1."""
        return ops.expand_dims(self, axis)

    def flatten(self, order: str = "C") -> Tensor:
        """A copy as one axis."""
        _only_c(order, "flatten")
        return ops.copy(ops.ravel(self))

    def ravel(self, order: str = "C") -> Tensor:
        """The elements as one axis."""
        _only_c(order, "ravel")
        return ops.ravel(self)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each element repeated (NumPy's repeat)."""
        return ops.repeat(self, repeats, axis=axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The diagonal of two axes."""
        return ops.diagonal(self, offset, axis1, axis2)

    def take(self, indices: Any, axis: int | None = None, out: None = None) -> Tensor:
        """Elements at `indices` along `axis`."""
        _no_out(out, "take")
        return ops.take(self, indices, axis=axis)

    def copy(self) -> Tensor:
        """A copy on the tape."""
        return ops.copy(self)

    def contiguous(self) -> Tensor:
        """The tensor itself if its memory is in index order, else a copy that is."""
        t = cast("Tensor", self)
        return t if t.array.flags.c_contiguous else ops.copy(t)

    # --- reductions, with the arguments of NumPy's methods, by which cupy.sum(t) calls them ---

    def sum(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Tensor:
        """Sum over `axis`."""
        _no_out(out, "sum")
        return ops.sum(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Tensor:
        """Product over `axis`."""
        _no_out(out, "prod")
        return ops.prod(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Tensor:
        """Mean over `axis`."""
        _no_out(out, "mean")
        x = self if dtype is None else ops.astype(self, dtype)
        return ops.mean(x, axis=axis, keepdims=keepdims)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """Variance over `axis`, divided by n - correction (NumPy's `ddof`)."""
        _no_out(out, "var")
        x = self if dtype is None else ops.astype(self, dtype)
        less = ddof if correction is None else correction
        return ops.var(x, axis=axis, correction=less, keepdims=keepdims)

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """Standard deviation over `axis`, the root of `var`."""
        _no_out(out, "std")
        x = self if dtype is None else ops.astype(self, dtype)
        less = ddof if correction is None else correction
        return ops.std(x, axis=axis, correction=less, keepdims=keepdims)

    def max(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        """Maximum over `axis`."""
        _no_out(out, "max")
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        """Minimum over `axis`."""
        _no_out(out, "min")
        return ops.min(self, axis=axis, keepdims=keepdims)

    def argmax(
        self, axis: int | None = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Tensor:
        """Index of the maximum."""
        _no_out(out, "argmax")
        index = ops.argmax(self, axis=axis, keepdims=keepdims)
        return index if dtype is None else ops.astype(index, dtype)

    def argmin(
        self, axis: int | None = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Tensor:
        """Index of the minimum."""
        _no_out(out, "argmin")
        index = ops.argmin(self, axis=axis, keepdims=keepdims)
        return index if dtype is None else ops.astype(index, dtype)

    def all(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        """Whether all elements are true."""
        _no_out(out, "all")
        return ops.all(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        """Whether any element is true."""
        _no_out(out, "any")
        return ops.any(self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: None = None) -> Tensor:
        """Running sum along `axis`."""
        _no_out(out, "cumsum")
        return ops.cumsum(self, axis=axis, dtype=dtype)

    def cumprod(self, axis: int | None = None, dtype: Any = None, out: None = None) -> Tensor:
        """Running product along `axis`."""
        _no_out(out, "cumprod")
        return ops.cumprod(self, axis=axis, dtype=dtype)

    def norm(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Euclidean norm over `axis`."""
        return ops.vector_norm(self, axis=axis, keepdims=keepdims)

    def logsumexp(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """log(sum(exp(x))) over `axis`."""
        return ops.logsumexp(self, axis=axis, keepdims=keepdims)

    def softmax(self, axis: int = -1) -> Tensor:
        """Softmax along `axis`."""
        return ops.softmax(self, axis=axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """log(softmax) along `axis`."""
        return ops.log_softmax(self, axis=axis)

    # --- elementwise ---

    def abs(self) -> Tensor:
        """|x|."""
        return ops.abs(self)

    def exp(self) -> Tensor:
        """e**x."""
        return ops.exp(self)

    def log(self) -> Tensor:
        """Natural logarithm."""
        return ops.log(self)

    def sqrt(self) -> Tensor:
        """Square root."""
        return ops.sqrt(self)

    def square(self) -> Tensor:
        """x*x."""
        return ops.square(self)

    def sin(self) -> Tensor:
        """Sine of x in radians."""
        return ops.sin(self)

    def cos(self) -> Tensor:
        """Cosine of x in radians."""
        return ops.cos(self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return ops.tanh(self)

    def sigmoid(self) -> Tensor:
        """1/(1 + e**-x)."""
        return ops.sigmoid(self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return ops.relu(self)

    def pow(self, exponent: Any) -> Tensor:
        """x**exponent."""
        return ops.pow(self, exponent)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        """x limited to [min, max]."""
        _no_out(out, "clip")
        return ops.clip(self, min, max)

    clamp = clip

    def round(self, decimals: int = 0) -> Tensor:
        """Rounded to the nearest integer, halves to even."""
        return ops.round(self) if not decimals else ops.round(self * 10**decimals) / 10**decimals
