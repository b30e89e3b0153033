"""Module: a tree of layers that knows its parameters by name, in PyTorch's manners.

A module is a plain object. Whatever Parameters, Buffers and Modules stand in its attributes, in
lists, tuples and dicts too, belong to it, in the order of assignment (members.py). An error raised
inside a module gets a note with the path to it.
"""

from __future__ import annotations

import builtins
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from types import NoneType
from typing import Any, Self

from gradengine.creation import zeros_like
from gradengine.device import Device
from gradengine.dtypes import as_dtype, is_inexact
from gradengine.errors import DTypeError, MemberError, hinted
from gradengine.interop.protocols import parse_to
from gradengine.nn import hooks, state, texts
from gradengine.nn.members import Keys, check_name, dotted, members, tensors
from gradengine.nn.parameter import Buffer as Buffer
from gradengine.nn.parameter import Parameter as Parameter
from gradengine.tensor import Tensor


class Module:
    """A function with parameters: subclasses assign them in `__init__` and define `forward`.

    `super().__init__()` may be called and need not be. A plain list, tuple or dict of modules in
    an attribute counts as ModuleList or ModuleDict would, with the same names in `state_dict`;
    PyTorch ignores it there. To hold a module that is not a part, wrap it: `lambda: other`.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    __slots__ = ("__dict__", "__weakref__", "_buffer_flags", "_hooks", "_stand_ins")

    training: bool = True
    forward: Callable[..., Any]
    _buffer_flags: dict[str, bool] | None  # the names of buffers, and whether they are saved
    _hooks: hooks.Hooks | None
    _stand_ins: dict[Keys, bool | None] | None  # what functional_call has put in place of its own

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        module = object.__new__(cls)
        for slot in ("_buffer_flags", "_hooks", "_stand_ins"):
            object.__setattr__(module, slot, None)
        return module

    def __init__(self) -> None:
        """Nothing to do: `__new__` has done it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, between the hooks; an error from it is noted with the module's path."""
        try:
            if self._hooks is None:
                return self.forward(*args, **kwargs)
            return hooks.call(self, self._hooks, args, kwargs)
        except Exception as error:
            texts.note_path(error, self)
            raise

    # --- taking parts ---

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make `param` the parameter `name`; None is a parameter this module does without."""
        check_name(self, name, self._holds(name, Parameter), "parameter")
        if param is not None and not isinstance(param, Parameter):  # pyright: ignore[reportUnnecessaryIsInstance]
            text = f"register_parameter: {name!r} is a {type(param).__name__}"
            raise DTypeError(hinted(text, "wrap it: nn.Parameter(x)"))
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Make `tensor` (or None) the buffer `name`: state that is no parameter.

        It is moved and, if `persistent`, saved with the module. Whatever tensor is assigned to
        the attribute later is the buffer then.

        >>> module = Module()
        >>> module.register_buffer("mean", Tensor.lift([0.0]))
        >>> list(module.state_dict())
        ['mean']
        """
        flags = self._buffer_flags or {}
        check_name(self, name, name in flags, "buffer")
        self._buffer_flags = {**flags, name: persistent}
        object.__setattr__(self, name, None if tensor is None else Tensor.lift(tensor))

    def add_module(self, name: str, module: Module | None) -> None:
        """Make `module` the child `name`, as `setattr` does."""
        check_name(self, name, self._holds(name, Module), "module")
        if module is not None and not isinstance(module, Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            text = f"add_module: {name!r} is a {type(module).__name__}"
            raise DTypeError(hinted(text, "give an instance of nn.Module"))
        setattr(self, name, module)

    register_module = add_module

    def _holds(self, name: str, kind: builtins.type[Any]) -> bool:
        return isinstance(vars(self).get(name, False), (kind, NoneType))

    def __setattr__(self, name: str, value: Any) -> None:
        flags = self._buffer_flags or {}
        if isinstance(value, Buffer):
            self._buffer_flags = {**flags, name: value.persistent}
        elif name in flags:
            if isinstance(value, Parameter):
                self._buffer_flags = {key: flags[key] for key in flags if key != name}
            elif value is not None and not isinstance(value, Tensor):
                text = f"{type(self).__name__}: buffer {name!r} set to a {type(value).__name__}"
                raise DTypeError(hinted(text, "assign a tensor or None"))
        elif isinstance(vars(self).get(name), Parameter) and not isinstance(
            value, (Parameter, Module, NoneType)
        ):
            text = f"{type(self).__name__}: parameter {name!r} set to a {type(value).__name__}"
            hint = "assign nn.Parameter(x); for one call with other values: nn.functional_call"
            raise DTypeError(hinted(text, hint))
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        flags = self._buffer_flags or {}  # never changed in place: shallow copies share it
        self._buffer_flags = {key: flags[key] for key in flags if key != name} or None

    # --- the tree ---

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules directly below this one, each once, with their names."""
        seen: set[int] = set()
        for name, child in members(vars(self), (Module,)):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """Modules directly below this one, each once."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names; this one's is `prefix`.

        Each appears once, or under all its names with `remove_duplicate=False` (where a module
        that contains itself ends the path). `memo` holds modules to leave out.
        """
        seen = {id(module) for module in memo or ()}
        return _walk(self, prefix, seen if remove_duplicate else None, ())

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, each once unless `remove_duplicate` is False.

        Without `recurse` only those of this module itself.
        """
        return self._named(True, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names, as `named_parameters`."""
        return self._named(False, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(
        self, learned: bool, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        every = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in every if recurse else [(prefix, self)]:
            for keys, value, persistent in tensors(module):
                if (persistent is None) == learned and id(value) not in seen:
                    if remove_duplicate:
                        seen.add(id(value))
                    yield dotted(path, ".".join(map(str, keys))), value

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name, this one for the empty name; MemberError if none has it."""
        return self._get(target, self.named_modules(remove_duplicate=False), "module")

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        return self._get(target, self.named_parameters(remove_duplicate=False), "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        return self._get(target, self.named_buffers(remove_duplicate=False), "buffer")

    def _get(self, target: str, pairs: Iterator[tuple[str, Any]], what: str) -> Any:
        known = dict(pairs)
        if target not in known:
            text = f"{type(self).__name__}: no {what} is named {target!r}"
            raise MemberError(hinted(text, state.nearest(target, known)))
        return known[target]

    # --- changing all of it ---

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below this one, children first, and on this one last."""
        for module in _upwards(self, set()):
            fn(module)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set `training` on this module and all below it; the result is this module.

        A module with a `train` of its own has it called, and decides for what lies below it.
        """
        if not isinstance(mode, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            text = f"train: mode is a {type(mode).__name__}"
            raise DTypeError(hinted(text, "give True or False"))
        seen: set[int] = set()
        pending: list[Module] = [self]
        while pending:
            module = pending.pop()
            if id(module) in seen:
                continue
            if module is self or type(module).train is Module.train:
                seen.add(id(module))
                module.training = mode
                pending.extend(module.children())
            else:
                seen.update(id(below) for below in module.modules())
                module.train(mode)
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            gradient = parameter.grad
            if gradient is not None:
                parameter.grad = None if set_to_none else zeros_like(gradient)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for gradients of all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move or convert in place, as `Tensor.to`; the result is this module.

        A dtype is given to floating-point parameters and buffers only; it must be a float itself.
        """
        device, dtype = parse_to(args, device, dtype)
        if dtype is not None and not is_inexact(dtype):
            text = f"{type(self).__name__}.to: {dtype} is no real float"
            raise DTypeError(
                hinted(text, 'a module is "float16", "bfloat16", "float32", "float64"')
            )
        return self._convert(device, dtype, is_inexact)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to a dtype, integer ones too."""
        return self._convert(None, as_dtype(dst_type), lambda _: True)

    def _convert(self, device: Any, dtype: Any, chosen: Callable[[Any], bool]) -> Self:
        for tensor in chain(self.parameters(), self.buffers()):
            wanted = dtype if chosen(tensor.dtype) else None
            gradient = tensor.grad
            tensor.data = tensor.detach().to(device=device, dtype=wanted)
            if gradient is not None:
                tensor.grad = None
                tensor.grad = gradient.detach().to(device=device, dtype=wanted)
        return self

    def double(self) -> Self:
        """Floating-point parameters and buffers as float64."""
        return self.to(dtype="float64")

    def float(self) -> Self:
        """Floating-point parameters and buffers as float32."""
        return self.to(dtype="float32")

    def half(self) -> Self:
        """Floating-point parameters and buffers as float16."""
        return self.to(dtype="float16")

    def bfloat16(self) -> Self:
        """Floating-point parameters and buffers as bfloat16."""
        return self.to(dtype="bfloat16")

    def cpu(self) -> Self:
        """All parameters and buffers in host memory."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Self:
        """All parameters and buffers on a GPU, the current one by default."""
        return self.to(device=Device("cuda" if device is None else device))

    # --- state ---

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Tensor]:
        """All parameters and persistent buffers by name; see `state.state_dict`."""
        return state.state_dict(self, prefix=prefix, keep_vars=keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Take the values of a `state_dict`; see `state.load_state_dict`."""
        return state.load_state_dict(self, state_dict, strict=strict, assign=assign)

    # --- hooks: hooks.py says when they run ---

    def register_forward_pre_hook(
        self, hook: hooks.Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments."""
        return hooks.register(self, "before", hook, prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self,
        hook: hooks.Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns replaces the output.

        With `always_call` also (with None) where an error was raised.
        """
        return hooks.register(
            self, "after", hook, prepend, with_kwargs=with_kwargs, always_call=always_call
        )

    def register_full_backward_pre_hook(
        self, hook: hooks.Hook, prepend: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known.

        A returned tuple (or tensor) replaces them.
        """
        return hooks.register(self, "backward_before", hook, prepend)

    def register_full_backward_hook(
        self, hook: hooks.Hook, prepend: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when those of the inputs are known too.

        A returned tuple (or tensor) replaces `grad_input`.
        """
        return hooks.register(self, "backward", hook, prepend)

    # --- text ---

    def extra_repr(self) -> str:
        """What a layer shows of itself between its parentheses."""
        return ""

    def __repr__(self) -> str:
        return texts.tree(self, [(f"({name})", child) for name, child in self.named_children()])


def _walk(
    module: Module, prefix: str, seen: set[int] | None, trail: tuple[Module, ...]
) -> Iterator[tuple[str, Module]]:
    if seen is None:
        if any(module is above for above in trail):
            return
    elif id(module) in seen:
        return
    else:
        seen.add(id(module))
    yield prefix, module
    for name, child in members(vars(module), (Module,)):
        yield from _walk(child, dotted(prefix, name), seen, (*trail, module))


def _upwards(module: Module, seen: set[int]) -> Iterator[Module]:
    seen.add(id(module))
    for child in module.children():
        if id(child) not in seen:
            yield from _upwards(child, seen)
    yield module
