"""Activations as modules: what nn.functional computes, with its parameters as attributes.

`inplace=True` is taken and changes no value: see functional/activation.py.

Floor 6: stands on functional/activation.py and module.py.
"""

from __future__ import annotations

from typing import Any

from gradengine import creation
from gradengine.errors import OutOfRangeError, ShapeError, hinted
from gradengine.nn.functional import activation as F
from gradengine.nn.init import constant_
from gradengine.nn.module import Module, Parameter
from gradengine.random import Generator
from gradengine.tensor import Tensor


class Bend(Module):
    """An activation that may be asked to work in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def _shown(self, text: str) -> str:
        return f"{text}{', ' if text and self.inplace else ''}{'inplace=True' * self.inplace}"


# --- rectifiers: straight pieces ---


class ReLU(Bend):
    """max(x, 0), for any shape.

    >>> import gradengine as ge
    >>> ReLU()(ge.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)

    def extra_repr(self) -> str:
        return self._shown("")


class LeakyReLU(Bend):
    """x above 0, else negative_slope x.

    >>> import gradengine as ge
    >>> LeakyReLU(0.25)(ge.tensor([-1.0, 2.0]))
    tensor([-0.25,  2.  ])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return self._shown(f"negative_slope={self.negative_slope}")


class PReLU(Module):
    """x above 0, else w x; `weight` is one number or one for each of `num_parameters` channels.

    Shapes: input (N, C, ...), weight (1,) or (C,), which starts at `init`. He et al.,
    arXiv:1502.01852, equation 1.

    >>> import gradengine as ge
    >>> PReLU()(ge.tensor([-1.0, 2.0])).detach()
    tensor([-0.25,  2.  ])
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if num_parameters < 1:
            text = f"PReLU: num_parameters={num_parameters}"
            raise ShapeError(hinted(text, "1, or the number of channels"))
        self.num_parameters, self.init = num_parameters, init
        start = creation.full((num_parameters,), float(init), dtype=dtype, device=device)
        self.weight = Parameter(start)

    def reset_parameters(self) -> None:
        """Set the weight to `init` again."""
        constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Bend):
    """x above 0, else a x: a ~ U(lower, upper) for each element; their mean in evaluation.

    Xu et al., arXiv:1505.00853, section 3.3. The slopes come from `generator` (the default one).

    >>> import gradengine as ge
    >>> RReLU(0.25, 0.75).eval()(ge.tensor([-1.0, 2.0]))
    tensor([-0.5,  2. ])
    """

    def __init__(
        self,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        inplace: bool = False,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(inplace)
        self.lower, self.upper, self.generator = lower, upper, generator

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return self._shown(f"lower={self.lower}, upper={self.upper}")


class Threshold(Bend):
    """x above the threshold, else value.

    >>> import gradengine as ge
    >>> Threshold(1.0, -3.0)(ge.tensor([0.5, 2.0]))
    tensor([-3.,  2.])
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return self._shown(f"threshold={self.threshold}, value={self.value}")


class Hardtanh(Bend):
    """min(max(x, min_val), max_val).

    >>> import gradengine as ge
    >>> Hardtanh()(ge.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            text = f"Hardtanh: min_val={min_val} is not below max_val={max_val}"
            raise OutOfRangeError(hinted(text, "give the smaller value first"))
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return self._shown(f"min_val={self.min_val}, max_val={self.max_val}")


class ReLU6(Hardtanh):
    """min(max(x, 0), 6).

    >>> import gradengine as ge
    >>> ReLU6()(ge.tensor([-1.0, 2.0, 7.0]))
    tensor([0., 2., 6.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)

    def extra_repr(self) -> str:
        return self._shown("")


class Hardsigmoid(Bend):
    """relu6(x + 3) / 6.

    >>> import gradengine as ge
    >>> Hardsigmoid()(ge.tensor([-4.0, 0.0, 4.0]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input)


class Hardswish(Bend):
    """x relu6(x + 3) / 6; Howard et al., arXiv:1905.02244, section 5.2.

    >>> import gradengine as ge
    >>> Hardswish()(ge.tensor([-3.0, 3.0]))
    tensor([-0.,  3.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input)


class Hardshrink(Module):
    """x where |x| > lambd, else 0.

    >>> import gradengine as ge
    >>> Hardshrink()(ge.tensor([-2.0, 0.25, 2.0]))
    tensor([-2.,  0.,  2.])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Module):
    """x moved towards 0 by lambd, 0 where |x| <= lambd.

    >>> import gradengine as ge
    >>> Softshrink()(ge.tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


# --- exponential below zero ---


class ELU(Bend):
    """x above 0, else alpha (e**x - 1); Clevert et al., arXiv:1511.07289, equation 15.

    >>> import gradengine as ge
    >>> ELU(0.5)(ge.tensor([-1e3, 2.0]))
    tensor([-0.5,  2. ])
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return self._shown(f"alpha={self.alpha}")


class SELU(Bend):
    """elu scaled so as to keep mean 0 and variance 1; Klambauer et al., arXiv:1706.02515, eq. 2.

    >>> import gradengine as ge
    >>> SELU()(ge.tensor([0.0, 1.0]))
    tensor([0.      , 1.050701])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input)

    def extra_repr(self) -> str:
        return self._shown("")


class CELU(Bend):
    """x above 0, else alpha (e**(x / alpha) - 1); Barron, arXiv:1704.07483, equation 2.

    >>> import gradengine as ge
    >>> CELU(0.5)(ge.tensor([-1e3, 2.0]))
    tensor([-0.5,  2. ])
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return self._shown(f"alpha={self.alpha}")
