"""Update rules: pure functions from arrays to arrays, one parameter at a time.

Each takes the parameter `p`, its gradient `g`, its state arrays and numbers, and returns the new
parameter and state. Nothing it is given is written to, but the arrays of `out` (which may be p and
the state themselves). Rules know no Tensor and look at no value, so that one text serves NumPy,
CuPy, flat buffers and a traced step. Arrays are at least float32; the optimiser widens others.
"""

from .adaptive import adadelta as adadelta
from .adaptive import adagrad as adagrad
from .adaptive import rmsprop as rmsprop
from .descent import asgd as asgd
from .descent import asgd_rates as asgd_rates
from .descent import lion as lion
from .descent import rprop as rprop
from .descent import sgd as sgd
from .moments import adam as adam
from .moments import adamax as adamax
from .moments import lamb as lamb
from .moments import nadam as nadam
from .moments import nadam_mu as nadam_mu
from .moments import radam as radam
