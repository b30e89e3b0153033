"""Tensor: a traced array with the operators and methods people call, one line each.

It adds nothing of its own to the engine: operators (operators.py) and methods (methods.py) hand
over to the ops, `backward` to reverse.py, the protocols of NumPy and CuPy to interop/.

Floor 4: stands on operators.py, methods.py, reverse.py and interop/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import ops, show
from .calls import bind_tensor
from .device import (
    CPU,
    Array,
    Device,
    as_array,
    bare,
    device_of,
    gpu,
    is_array,
    namespace,
    settle,
    to_numpy,
)
from .dtypes import default_dtype, is_inexact
from .errors import DeviceError, DTypeError, GraphError, ShapeError, hinted, raise_grad_dtype
from .guard import expose
from .interop import protocols
from .methods import Methods
from .operators import Operators
from .reverse import backward, retain_grad
from .tape import Leaf, Traced, constant, is_sole_owner


class Tensor(Operators, Methods, Traced):
    """An array that remembers how it was computed; made by `ge.tensor` and by every op.

    >>> import gradengine as ge
    >>> x = ge.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()
    __array_priority__ = 1000.0

    @classmethod
    def lift(cls, data: Any) -> Tensor:
        """`data` as a constant Tensor: arrays keep their dtype, Python numbers take the default."""
        if isinstance(data, Tensor):
            return data
        if is_array(data):
            data = bare(data)
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
            value = Tensor.lift(value)
            if value.shape != self.shape:
                raise ShapeError(
                    hinted(
                        f"grad: shape {value.shape} for a tensor of shape {self.shape}",
                        "a gradient has its tensor's shape",
                    )
                )
            if value.dtype != self.dtype or value.device != self.device:
                raise (DTypeError if value.dtype != self.dtype else DeviceError)(
                    hinted(
                        f"grad: {value.dtype} on {value.device} for a tensor of {self.dtype} on "
                        f"{self.device}",
                        "convert it first: g.to(t)",
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
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf this tensor was computed from.

        `gradient` is the cotangent of this tensor (needed unless it has one element);
        `create_graph` records the pass itself, for higher derivatives; `retain_graph` (default:
        `create_graph`) keeps what the tape saved, for another pass; `inputs`, one tensor or
        several, limits it to those.
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
        """Call `hook(grad)` on this tensor's summed gradient; what it returns replaces that.

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
        found = self.array.item()
        if gpu:
            settle(self.array)
        return found

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        found = self.array.tolist()
        if gpu:
            settle(self.array)
        return found

    def to(self, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False) -> Tensor:
        """On another device or as another dtype: `.to("cuda")`, `.to("float16")`, `.to(other)`."""
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
        found = bool(self.array)
        if gpu:
            settle(self.array)
        return found

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


bind_tensor(Tensor)
