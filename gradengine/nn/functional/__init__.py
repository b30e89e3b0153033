"""Layers as functions, with PyTorch's names and signatures: `import gradengine.nn.functional as F`.

One file a topic. A function here is a composition of ops, or the op itself where the signatures
agree; no formula is stated twice.
"""

from gradengine.nn.functional.activation import celu as celu
from gradengine.nn.functional.activation import elu as elu
from gradengine.nn.functional.activation import gelu as gelu
from gradengine.nn.functional.activation import glu as glu
from gradengine.nn.functional.activation import gumbel_softmax as gumbel_softmax
from gradengine.nn.functional.activation import hardshrink as hardshrink
from gradengine.nn.functional.activation import hardsigmoid as hardsigmoid
from gradengine.nn.functional.activation import hardswish as hardswish
from gradengine.nn.functional.activation import hardtanh as hardtanh
from gradengine.nn.functional.activation import leaky_relu as leaky_relu
from gradengine.nn.functional.activation import log_softmax as log_softmax
from gradengine.nn.functional.activation import logsigmoid as logsigmoid
from gradengine.nn.functional.activation import mish as mish
from gradengine.nn.functional.activation import prelu as prelu
from gradengine.nn.functional.activation import relu as relu
from gradengine.nn.functional.activation import relu6 as relu6
from gradengine.nn.functional.activation import rrelu as rrelu
from gradengine.nn.functional.activation import selu as selu
from gradengine.nn.functional.activation import sigmoid as sigmoid
from gradengine.nn.functional.activation import silu as silu
from gradengine.nn.functional.activation import softmax as softmax
from gradengine.nn.functional.activation import softmin as softmin
from gradengine.nn.functional.activation import softplus as softplus
from gradengine.nn.functional.activation import softshrink as softshrink
from gradengine.nn.functional.activation import softsign as softsign
from gradengine.nn.functional.activation import tanh as tanh
from gradengine.nn.functional.activation import tanhshrink as tanhshrink
from gradengine.nn.functional.activation import threshold as threshold
from gradengine.nn.functional.attention import apply_rotary as apply_rotary
from gradengine.nn.functional.attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from gradengine.nn.functional.embedding import embedding as embedding
from gradengine.nn.functional.embedding import embedding_bag as embedding_bag
from gradengine.nn.functional.embedding import one_hot as one_hot
from gradengine.nn.functional.linear import bilinear as bilinear
from gradengine.nn.functional.linear import linear as linear
from gradengine.nn.functional.normalisation import batch_norm as batch_norm
from gradengine.nn.functional.normalisation import group_norm as group_norm
from gradengine.nn.functional.normalisation import instance_norm as instance_norm
from gradengine.nn.functional.normalisation import layer_norm as layer_norm
from gradengine.nn.functional.normalisation import local_response_norm as local_response_norm
from gradengine.nn.functional.normalisation import normalize as normalize
from gradengine.nn.functional.normalisation import rms_norm as rms_norm

__all__: list[str] = []
__all__ += [
    "celu",
    "elu",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]  # activation
__all__ += ["apply_rotary", "scaled_dot_product_attention"]  # attention
__all__ += [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "normalize",
    "rms_norm",
]  # normalisation
__all__ += ["embedding", "embedding_bag", "one_hot"]  # embedding
__all__ += ["bilinear", "linear"]  # linear
