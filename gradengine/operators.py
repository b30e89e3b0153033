"""The operators of Tensor, indexing and in-place writes, one line each.

Floor 3: stands on ops/ and writes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import ops, writes

if TYPE_CHECKING:
    from .tensor import Tensor


class Operators:
    """`a + b`, `a @ b`, `a < b`, `a[i]`, `a[i] = v`, `a += b` for Tensor."""

    __slots__ = ()
    __hash__ = object.__hash__

    # --- arithmetic, bits and comparisons ---

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

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(self, other), ops.remainder(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(other, self), ops.remainder(other, self)

    def __round__(self, digits: int | None = None) -> Tensor:
        return ops.round(self) if not digits else ops.round(self * 10**digits) / 10**digits

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

    def __ilshift__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.bitwise_left_shift(self, other), "<<=")

    def __irshift__(self, other: Any) -> Tensor:
        return writes.replace(self, ops.bitwise_right_shift(self, other), ">>=")

    def fill_(self, value: Any) -> Tensor:
        """Set every element to `value`."""
        writes.set_item(self, ..., value)
        return cast("Tensor", self)

    def zero_(self) -> Tensor:
        """Set every element to zero."""
        return self.fill_(0)

    def copy_(self, other: Any) -> Tensor:
        """Take the values of `other`, broadcast."""
        writes.set_item(self, ..., other)
        return cast("Tensor", self)

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
