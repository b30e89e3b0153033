"""Tests of derivatives, for our own ops and for yours: `check_grads`, and inputs to try it on.

Floor 6: the public names of checks.py and cases.py.
"""

from .cases import cases as cases
from .cases import op_cases as op_cases
from .checks import GradientError as GradientError
from .checks import check_grads as check_grads
