"""Layers with PyTorch's names: thin, dull, and made of the same ops as everything else.

One file a topic; `nn.functional` holds the same as functions, `nn.init` the initial weights.
"""

from gradengine.nn import functional as functional
from gradengine.nn import init as init
from gradengine.nn.activation import CELU as CELU
from gradengine.nn.activation import ELU as ELU
from gradengine.nn.activation import SELU as SELU
from gradengine.nn.activation import Hardshrink as Hardshrink
from gradengine.nn.activation import Hardsigmoid as Hardsigmoid
from gradengine.nn.activation import Hardswish as Hardswish
from gradengine.nn.activation import Hardtanh as Hardtanh
from gradengine.nn.activation import LeakyReLU as LeakyReLU
from gradengine.nn.activation import PReLU as PReLU
from gradengine.nn.activation import ReLU as ReLU
from gradengine.nn.activation import ReLU6 as ReLU6
from gradengine.nn.activation import RReLU as RReLU
from gradengine.nn.activation import Softshrink as Softshrink
from gradengine.nn.activation import Threshold as Threshold
from gradengine.nn.activation_gates import GELU as GELU
from gradengine.nn.activation_gates import GLU as GLU
from gradengine.nn.activation_gates import LogSigmoid as LogSigmoid
from gradengine.nn.activation_gates import LogSoftmax as LogSoftmax
from gradengine.nn.activation_gates import Mish as Mish
from gradengine.nn.activation_gates import Sigmoid as Sigmoid
from gradengine.nn.activation_gates import SiLU as SiLU
from gradengine.nn.activation_gates import Softmax as Softmax
from gradengine.nn.activation_gates import Softmax2d as Softmax2d
from gradengine.nn.activation_gates import Softmin as Softmin
from gradengine.nn.activation_gates import Softplus as Softplus
from gradengine.nn.activation_gates import Softsign as Softsign
from gradengine.nn.activation_gates import Tanh as Tanh
from gradengine.nn.activation_gates import Tanhshrink as Tanhshrink
from gradengine.nn.attention import MultiheadAttention as MultiheadAttention
from gradengine.nn.cache import KVCache as KVCache
from gradengine.nn.containers import ModuleDict as ModuleDict
from gradengine.nn.containers import ModuleList as ModuleList
from gradengine.nn.containers import Sequential as Sequential
from gradengine.nn.embedding import Embedding as Embedding
from gradengine.nn.embedding import EmbeddingBag as EmbeddingBag
from gradengine.nn.linear import Bilinear as Bilinear
from gradengine.nn.linear import Identity as Identity
from gradengine.nn.linear import Linear as Linear
from gradengine.nn.module import Module as Module
from gradengine.nn.normalisation import BatchNorm1d as BatchNorm1d
from gradengine.nn.normalisation import BatchNorm2d as BatchNorm2d
from gradengine.nn.normalisation import BatchNorm3d as BatchNorm3d
from gradengine.nn.normalisation import GroupNorm as GroupNorm
from gradengine.nn.normalisation import InstanceNorm1d as InstanceNorm1d
from gradengine.nn.normalisation import InstanceNorm2d as InstanceNorm2d
from gradengine.nn.normalisation import InstanceNorm3d as InstanceNorm3d
from gradengine.nn.normalisation import LayerNorm as LayerNorm
from gradengine.nn.normalisation import LocalResponseNorm as LocalResponseNorm
from gradengine.nn.normalisation import RMSNorm as RMSNorm
from gradengine.nn.parameter import Buffer as Buffer
from gradengine.nn.parameter import Parameter as Parameter
from gradengine.nn.parameter_containers import ParameterDict as ParameterDict
from gradengine.nn.parameter_containers import ParameterList as ParameterList
from gradengine.nn.rotary import RotaryEmbedding as RotaryEmbedding
from gradengine.nn.shaping import Flatten as Flatten
from gradengine.nn.shaping import Unflatten as Unflatten
from gradengine.nn.stateless import functional_call as functional_call

# One line block for each file above, in their order.
__all__ = ["functional", "init"]
__all__ += [
    "CELU",
    "ELU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "Softshrink",
    "Threshold",
]  # activation
__all__ += [
    "GELU",
    "GLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
]  # activation_gates
__all__ += ["Module"]  # module
__all__ += ["Buffer", "Parameter"]  # parameter
__all__ += ["functional_call"]  # stateless
__all__ += ["KVCache", "MultiheadAttention", "RotaryEmbedding"]  # attention
__all__ += [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
]  # normalisation
__all__ += ["ModuleDict", "ModuleList", "Sequential"]  # containers
__all__ += ["Embedding", "EmbeddingBag"]  # embedding
__all__ += ["Bilinear", "Identity", "Linear"]  # linear
__all__ += ["ParameterDict", "ParameterList"]  # parameter_containers
__all__ += ["Flatten", "Unflatten"]  # shaping
