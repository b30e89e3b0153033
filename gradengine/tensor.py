"""Tensor: a traced array with the operators and methods people call, one line each.

It adds nothing of its own to the engine: operators and methods hand over to the ops, writes to
writes.py, `backward` to reverse.py, NumPy's and CuPy's protocols to protocols.py.

Floor 4: stands on ops/, reverse.py, writes.py and protocols.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import ops, protocols, show, writes
from .calls import bind_tensor
from .device import (
    CPU,
    Array,
    Device,
    as_array,
    device_of,
    is_array,
    namespace,
    to_numpy,
)
from .dtypes import default_dtype, is_inexact
from .errors import DTypeError, GraphError, ShapeError, hinted, raise_grad_dtype
from .guard import expose
from .reverse import backward, retain_grad
from .tape import Leaf, Traced, constant, is_sole_owner


class Tensor(Traced):
    """An array that remembers how it was computed; made by `ge.tensor` and by every op.

    >>> import gradengine as ge
    >>> x = ge.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()
    __array_priority__ = 1000.0
    __hash__ = object.__hash__

    @classmethod
    def lift(cls, data: Any) -> Tensor:
        """`data` as a constant Tensor: arrays keep their dtype, Python numbers take the default."""
        if isinstance(data, Tensor):
            return data
        if is_array(data):
            expose(data, saved_before=False)
            return constant(cls, data)
        return constant(cls, as_array(data, default_dtype(data)))

    # --- what it is ---

    @property
    def data(self) -> Array:
        """The raw NumPy or CuPy array, shared: what is written into it is not on the tape."""
        expose(self.array, saved_before=not is_sole_owner(self))
        return self.array

    @data.setter
    def data(self, value: Any) -> None:
        self.array = Tensor.lift(value).array

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype of the elements."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(self.array.size)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return int(self.array.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.array.nbytes)

    @property
    def device(self) -> Device:
        """Where the array lives: `"cpu"` or `"cuda:0"`."""
        return device_of(self.array)

    @property
    def xp(self) -> Any:
        """The module of the raw array: numpy or cupy."""
        return namespace(self.array)

    # --- gradients ---

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow into this tensor."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, value: bool = True) -> Tensor:
        """Ask for a gradient in `.grad` (or stop asking); returns the tensor itself."""
        if value:
            if self.node is None:
                if not is_inexact(self.array.dtype):
                    raise_grad_dtype(self.array.dtype)
                self.node = Leaf()
        elif self.node is not None:
            if not self.is_leaf:
                raise GraphError(
                    hinted(
                        f"requires_grad: this tensor is the result of {self.node.name}",
                        "use x.detach() for a constant with the same values",
                    )
                )
            self.node = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was not computed from others that ask for gradients."""
        return self.node is None or isinstance(self.node, Leaf)

    @property
    def grad_fn(self) -> Any:
        """The tape's node that made this tensor, None for a leaf."""
        return None if self.is_leaf else self.node

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`, None before the first."""
        node = self.node
        if isinstance(node, Leaf):
            return node.grad
        return None if node is None or node.extras is None else node.extras.get("grad")

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor.lift(value)
            if value.shape != self.shape:
                raise ShapeError(
                    hinted(
                        f"grad: shape {value.shape} for a tensor of shape {self.shape}",
                        "a gradient has its tensor's shape",
                    )
                )
        if isinstance(self.node, Leaf):
            self.node.grad = value
        elif value is not None:
            raise GraphError(
                hinted("grad: this tensor is no leaf that asks for a gradient", "requires_grad_()")
            )

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf this tensor was computed from.

        `gradient` is the cotangent of this tensor (needed unless it has one element);
        `create_graph` records the pass itself, for higher derivatives; `retain_graph` (default:
        `create_graph`) keeps what the tape saved, for another pass; `inputs` limits it to those.
        """
        backward(
            (self,),
            (gradient,),
            retain_graph=retain_graph,
            create_graph=create_graph,
            inputs=inputs,
        )

    def retain_grad(self) -> None:
        """Keep this intermediate tensor's gradient in `.grad` too."""
        if self.node is None:
            raise GraphError(
                hinted("retain_grad: the tensor requires no gradient", "requires_grad_()")
            )
        retain_grad(self.node)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> Callable[[], None]:
        """Call `hook(grad)` on this tensor's summed gradient; what it returns replaces the gradient.

        Hooks run in the order of registration, once each pass. The result removes the hook.
        """
        if self.node is None:
            raise GraphError(
                hinted("register_hook: the tensor requires no gradient", "requires_grad_()")
            )
        return self.node.add_hook("tensor", hook)

    def register_post_accumulate_grad_hook(
        self, hook: Callable[[Tensor], Any]
    ) -> Callable[[], None]:
        """Call `hook(tensor)` after a backward pass has added to this leaf's `.grad`."""
        if not isinstance(self.node, Leaf):
            raise GraphError(hinted("hook: the tensor is no leaf", "use register_hook"))
        return self.node.add_hook("accumulated", protocols.weak_call(self, hook))

    def detach(self) -> Tensor:
        """The same values without a history; memory is shared until either is written to."""
        return constant(Tensor, self.array)

    def clone(self) -> Tensor:
        """A copy on the tape."""
        return ops.copy(self)

    # --- to and from Python, NumPy, CuPy ---

    def numpy(self) -> Any:
        """The values as a NumPy array, without history; shared on the CPU, copied from a GPU."""
        return to_numpy(self.data)

    get = numpy

    def item(self) -> Any:
        """The one element as a Python number."""
        if self.array.size != 1:
            raise ShapeError(
                hinted(f"item: the tensor has shape {self.shape}", "index or reduce to one element")
            )
        return self.array.item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self.array.tolist()

    def to(self, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False) -> Tensor:
        """On another device and/or as another dtype: `.to("cuda")`, `.to("float16")`, `.to(other)`."""
        device, dtype = protocols.parse_to(args, device, dtype)
        out = self if dtype is None or dtype == self.dtype else self.astype(dtype)
        if device is not None and Device(device) != out.device:
            return ops.to_device(out, Device(device))
        return self.clone() if copy and out is self else out

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """On another device (the array API's name)."""
        return self.to(device=device)

    def cpu(self) -> Tensor:
        """In host memory."""
        return self.to(device=CPU)

    def cuda(self, index: int | None = None) -> Tensor:
        """On a GPU, the current one by default."""
        return self.to(device=Device("cuda" if index is None else index))

    def astype(self, dtype: Any, copy: bool = True) -> Tensor:
        """As another dtype."""
        return ops.astype(self, dtype, copy=copy)

    def float(self) -> Tensor:
        """As float32."""
        return self.astype("float32")

    def double(self) -> Tensor:
        """As float64."""
        return self.astype("float64")

    def half(self) -> Tensor:
        """As float16."""
        return self.astype("float16")

    def long(self) -> Tensor:
        """As int64."""
        return self.astype("int64")

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.array.__index__()

    def __complex__(self) -> complex:
        return complex(self.item())

    def __len__(self) -> int:
        if not self.array.ndim:
            raise DTypeError(hinted("len: a 0-d tensor has no length", "use x.size or x.item()"))
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.array.ndim:
            raise DTypeError(hinted("iter: a 0-d tensor has no axis to walk", "use x.item()"))
        return iter(ops.unstack(self))

    def __contains__(self, value: Any) -> bool:
        return bool((self.array == (value.array if isinstance(value, Traced) else value)).any())

    def __repr__(self) -> str:
        return show.text(self)

    def _repr_html_(self) -> str:
        return show.html(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.array.size == 1 and spec else repr(self)

    def __copy__(self) -> Tensor:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return protocols.deep_copy(self, memo)

    def __reduce__(self) -> Any:
        return protocols.reduce(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return protocols.array(self, dtype, copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return protocols.array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return protocols.array_function(func, args, kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return protocols.array_namespace(api_version)

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        return protocols.cupy_kernel(kernel, args, kwargs)

    @property
    def __cuda_array_interface__(self) -> Any:
        return protocols.cuda_array_interface(self)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return protocols.dlpack(self, kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    # --- operators ---

    __add__ = ops.add
    __sub__ = ops.subtract
    __mul__ = ops.multiply
    __truediv__ = ops.divide
    __neg__ = ops.negative

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.multiply(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __pos__(self) -> Tensor:
        return ops.positive(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __invert__(self) -> Tensor:
        return ops.bitwise_invert(self)

    def __and__(self, other: Any) -> Tensor:
        return ops.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Tensor:
        return ops.bitwise_and(other, self)

    def __or__(self, other: Any) -> Tensor:
        return ops.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Tensor:
        return ops.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Tensor:
        return ops.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return ops.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return ops.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return ops.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return ops.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return ops.bitwise_right_shift(other, self)

    def __eq__(self, other: object) -> Any:
        return ops.equal(self, other)

    def __ne__(self, other: object) -> Any:
        return ops.not_equal(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.greater_equal(self, other)

    # --- indexing and writes ---

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        writes.set_item(self, index, value)

    def __iadd__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.add(self, other), "+=")

    def __isub__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.subtract(self, other), "-=")

    def __imul__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.multiply(self, other), "*=")

    def __itruediv__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.divide(self, other), "/=")

    def __ipow__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.pow(self, other), "**=")

    def __imatmul__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.matmul(self, other), "@=")

    def __ifloordiv__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.floor_divide(self, other), "//=")

    def __imod__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.remainder(self, other), "%=")

    def __iand__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.bitwise_and(self, other), "&=")

    def __ior__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.bitwise_or(self, other), "|=")

    def __ixor__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.bitwise_xor(self, other), "^=")

    def fill_(self, value: Any) -> Tensor:
        """Set every element to `value`."""
        writes.set_item(self, ..., value)
        return self

    def zero_(self) -> Tensor:
        """Set every element to zero."""
        return self.fill_(0)

    def copy_(self, other: Any) -> Tensor:
        """Take the values of `other`, broadcast."""
        writes.set_item(self, ..., other)
        return self

    def add_(self, other: Any) -> Tensor:
        """In-place addition."""
        return self.__iadd__(other)

    def sub_(self, other: Any) -> Tensor:
        """In-place subtraction."""
        return self.__isub__(other)

    def mul_(self, other: Any) -> Tensor:
        """In-place multiplication."""
        return self.__imul__(other)

    def div_(self, other: Any) -> Tensor:
        """In-place division."""
        return self.__itruediv__(other)

    # --- shape ---

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return ops.permute_dims(self)

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes swapped."""
        return ops.matrix_transpose(self)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

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
        return ops.copy(self.ravel())

    def ravel(self) -> Tensor:
        """The elements as one axis."""
        return ops.ravel(self)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each element repeated (NumPy's repeat)."""
        return ops.repeat(self, repeats, axis=axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The diagonal of two axes."""
        return ops.diagonal(self, offset, axis1, axis2)

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Elements at `indices` along `axis`."""
        return ops.take(self, indices, axis=axis)

    def copy(self) -> Tensor:
        """A copy on the tape."""
        return ops.copy(self)

    def contiguous(self) -> Tensor:
        """The tensor itself if its memory is in index order, else a copy that is."""
        return self if self.array.flags.c_contiguous else ops.copy(self)

    # --- reductions ---

    def sum(self, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
        """Sum over `axis`."""
        return ops.sum(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
        """Product over `axis`."""
        return ops.prod(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Mean over `axis`."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, *, correction: float = 0) -> Tensor:
        """Variance over `axis`."""
        return ops.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, keepdims: bool = False, *, correction: float = 0) -> Tensor:
        """Standard deviation over `axis`."""
        return ops.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Maximum over `axis`."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Minimum over `axis`."""
        return ops.min(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the maximum."""
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the minimum."""
        return ops.argmin(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Whether all elements are true."""
        return ops.all(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Whether any element is true."""
        return ops.any(self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """Running sum along `axis`."""
        return ops.cumulative_sum(self, axis=axis)

    def cumprod(self, axis: int | None = None) -> Tensor:
        """Running product along `axis`."""
        return ops.cumulative_prod(self, axis=axis)

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

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """x limited to [min, max]."""
        return ops.clip(self, min, max)

    clamp = clip

    def round(self, decimals: int = 0) -> Tensor:
        """Rounded to the nearest integer, halves to even."""
        return ops.round(self) if not decimals else ops.round(self * 10**decimals) / 10**decimals


bind_tensor(Tensor)
