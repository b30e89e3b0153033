"""Padding as modules: a mode and widths, last axis first; functional/padding.py does it.

Floor 6: stands on functional/padding.py and module.py.
"""

from __future__ import annotations

from gradengine.nn.functional.padding import pad
from gradengine.nn.functional.sizes import Size, check_rank, per_axis
from gradengine.nn.module import Module
from gradengine.tensor import Tensor


class Padded(Module):
    """What all padding layers share: `padding` is (before, after) of the last axis first."""

    axes: int
    mode: str

    def __init__(self, padding: Size) -> None:
        super().__init__()
        name = type(self).__name__
        least = -(2**63)  # negative widths cut off
        self.padding = per_axis(name, "padding", padding, 2 * self.axes, least)

    def forward(self, input: Tensor) -> Tensor:
        check_rank(type(self).__name__, input, self.axes)
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


# --- a number ---


class Constant(Padded):
    """What ConstantPad1d, ConstantPad2d and ConstantPad3d share; inputs may be of any rank."""

    mode = "constant"

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(Constant):
    """`value` around the last axis: 1 2 3 becomes v v 1 2 3 v v.

    >>> import gradengine as ge
    >>> ConstantPad1d((1, 0), 9.0)(ge.tensor([[1.0, 2.0]]))
    tensor([[9., 1., 2.]])
    """

    axes = 1


class ConstantPad2d(Constant):
    """`value` around the last two axes; padding is (left, right, top, bottom), or one number.

    >>> import gradengine as ge
    >>> ConstantPad2d(1, 0.5)(ge.zeros((1, 3, 4))).shape
    (1, 5, 6)
    """

    axes = 2


class ConstantPad3d(Constant):
    """`value` around the last three axes: (left, right, top, bottom, front, back).

    >>> import gradengine as ge
    >>> ConstantPad3d(1, 0.5)(ge.zeros((1, 2, 3, 4))).shape
    (1, 4, 5, 6)
    """

    axes = 3


class Zero(Constant):
    """What ZeroPad1d, ZeroPad2d and ZeroPad3d share."""

    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(Zero):
    """Zeros around the last axis.

    >>> import gradengine as ge
    >>> ZeroPad1d(1)(ge.tensor([[1.0, 2.0]]))
    tensor([[0., 1., 2., 0.]])
    """

    axes = 1


class ZeroPad2d(Zero):
    """Zeros around the last two axes.

    >>> import gradengine as ge
    >>> ZeroPad2d((1, 0, 2, 0))(ge.zeros((1, 3, 4))).shape
    (1, 5, 5)
    """

    axes = 2


class ZeroPad3d(Zero):
    """Zeros around the last three axes.

    >>> import gradengine as ge
    >>> ZeroPad3d(1)(ge.zeros((1, 2, 3, 4))).shape
    (1, 4, 5, 6)
    """

    axes = 3


# --- the array's own elements ---


class ReflectionPad1d(Padded):
    """The array mirrored at its ends, which are not repeated: 3 2 | 1 2 3 | 2 1.

    >>> import gradengine as ge
    >>> ReflectionPad1d(2)(ge.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    axes, mode = 1, "reflect"


class ReflectionPad2d(Padded):
    """`ReflectionPad1d` over the last two axes.

    >>> import gradengine as ge
    >>> ReflectionPad2d(1)(ge.zeros((1, 3, 4))).shape
    (1, 5, 6)
    """

    axes, mode = 2, "reflect"


class ReflectionPad3d(Padded):
    """`ReflectionPad1d` over the last three axes.

    >>> import gradengine as ge
    >>> ReflectionPad3d(1)(ge.zeros((1, 2, 3, 4))).shape
    (1, 4, 5, 6)
    """

    axes, mode = 3, "reflect"


class ReplicationPad1d(Padded):
    """The ends repeated: 1 1 | 1 2 3 | 3 3.

    >>> import gradengine as ge
    >>> ReplicationPad1d((1, 2))(ge.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 1., 2., 3., 3., 3.]])
    """

    axes, mode = 1, "replicate"


class ReplicationPad2d(Padded):
    """`ReplicationPad1d` over the last two axes.

    >>> import gradengine as ge
    >>> ReplicationPad2d(1)(ge.zeros((1, 3, 4))).shape
    (1, 5, 6)
    """

    axes, mode = 2, "replicate"


class ReplicationPad3d(Padded):
    """`ReplicationPad1d` over the last three axes.

    >>> import gradengine as ge
    >>> ReplicationPad3d(1)(ge.zeros((1, 2, 3, 4))).shape
    (1, 4, 5, 6)
    """

    axes, mode = 3, "replicate"


class CircularPad1d(Padded):
    """The array continued from its other end: 2 3 | 1 2 3 | 1 2.

    >>> import gradengine as ge
    >>> CircularPad1d(1)(ge.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """

    axes, mode = 1, "circular"


class CircularPad2d(Padded):
    """`CircularPad1d` over the last two axes.

    >>> import gradengine as ge
    >>> CircularPad2d(1)(ge.zeros((1, 3, 4))).shape
    (1, 5, 6)
    """

    axes, mode = 2, "circular"


class CircularPad3d(Padded):
    """`CircularPad1d` over the last three axes.

    >>> import gradengine as ge
    >>> CircularPad3d(1)(ge.zeros((1, 2, 3, 4))).shape
    (1, 4, 5, 6)
    """

    axes, mode = 3, "circular"
