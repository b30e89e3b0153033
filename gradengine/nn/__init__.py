"""Layers with PyTorch's names: thin, dull, and made of the same ops as everything else.

One file a topic; `nn.functional` holds the same as functions, `nn.init` the initial weights.
"""

from gradengine.nn import functional as functional
from gradengine.nn import init as init
from gradengine.nn.layers import Linear as Linear
from gradengine.nn.layers import ReLU as ReLU
from gradengine.nn.layers import Sequential as Sequential
from gradengine.nn.layers import Sigmoid as Sigmoid
from gradengine.nn.layers import Tanh as Tanh
from gradengine.nn.module import Module as Module
from gradengine.nn.module import Parameter as Parameter

# One line block for each file above, in their order.
__all__ = ["functional", "init"]
__all__ += ["Linear", "ReLU", "Sequential", "Sigmoid", "Tanh"]  # layers
__all__ += ["Module", "Parameter"]  # module
