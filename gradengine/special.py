"""`ge.special`: the special functions under the names that scipy.special gives them.

Floor 3: stands on ops/ alone.
"""

from __future__ import annotations

from .ops.activations import log_sigmoid as log_expit
from .ops.activations import sigmoid as expit
from .ops.activations import softplus as softplus
from .ops.elementary import cbrt as cbrt
from .ops.elementary import erf as erf
from .ops.elementary import erfc as erfc
from .ops.elementary import exp2 as exp2
from .ops.elementary import expm1 as expm1
from .ops.elementary import log1p as log1p
from .ops.elementary import ndtr as ndtr
from .ops.elementary import xlogy as xlogy
from .ops.normalisation import log_softmax as log_softmax
from .ops.normalisation import logsumexp as logsumexp
from .ops.normalisation import softmax as softmax

__all__ = [
    "cbrt",
    "erf",
    "erfc",
    "exp2",
    "expit",
    "expm1",
    "log1p",
    "log_expit",
    "log_softmax",
    "logsumexp",
    "ndtr",
    "softmax",
    "softplus",
    "xlogy",
]
