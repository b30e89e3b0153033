"""`ge.special`: the special functions under the names that scipy.special gives them.

Floor 3: stands on ops/ alone.
"""

from __future__ import annotations

from .ops.normalisation import log_softmax as log_softmax
from .ops.normalisation import logsumexp as logsumexp
from .ops.normalisation import softmax as softmax
