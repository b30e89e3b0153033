"""Layers with PyTorch's names: thin, dull, and made of the same ops as everything else.

One file a topic; `nn.functional` holds the same as functions, `nn.init` the initial weights.
"""

from gradengine.nn import functional as functional
from gradengine.nn import init as init
from gradengine.nn import utils as utils
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
from gradengine.nn.adaptive import AdaptiveLogSoftmaxWithLoss as AdaptiveLogSoftmaxWithLoss
from gradengine.nn.adaptive import LinearCrossEntropyLoss as LinearCrossEntropyLoss
from gradengine.nn.attention import MultiheadAttention as MultiheadAttention
from gradengine.nn.averaging import AveragedModel as AveragedModel
from gradengine.nn.averaging import get_ema_avg_fn as get_ema_avg_fn
from gradengine.nn.averaging import get_ema_multi_avg_fn as get_ema_multi_avg_fn
from gradengine.nn.averaging import get_swa_avg_fn as get_swa_avg_fn
from gradengine.nn.averaging import get_swa_multi_avg_fn as get_swa_multi_avg_fn
from gradengine.nn.averaging import update_bn as update_bn
from gradengine.nn.cache import KVCache as KVCache
from gradengine.nn.cells import GRUCell as GRUCell
from gradengine.nn.cells import LSTMCell as LSTMCell
from gradengine.nn.cells import RNNCell as RNNCell
from gradengine.nn.containers import ModuleDict as ModuleDict
from gradengine.nn.containers import ModuleList as ModuleList
from gradengine.nn.containers import Sequential as Sequential
from gradengine.nn.convolution import Conv1d as Conv1d
from gradengine.nn.convolution import Conv2d as Conv2d
from gradengine.nn.convolution import Conv3d as Conv3d
from gradengine.nn.convolution import ConvTranspose1d as ConvTranspose1d
from gradengine.nn.convolution import ConvTranspose2d as ConvTranspose2d
from gradengine.nn.convolution import ConvTranspose3d as ConvTranspose3d
from gradengine.nn.distance import CosineSimilarity as CosineSimilarity
from gradengine.nn.distance import PairwiseDistance as PairwiseDistance
from gradengine.nn.dropout import AlphaDropout as AlphaDropout
from gradengine.nn.dropout import Dropout as Dropout
from gradengine.nn.dropout import Dropout1d as Dropout1d
from gradengine.nn.dropout import Dropout2d as Dropout2d
from gradengine.nn.dropout import Dropout3d as Dropout3d
from gradengine.nn.dropout import FeatureAlphaDropout as FeatureAlphaDropout
from gradengine.nn.embedding import Embedding as Embedding
from gradengine.nn.embedding import EmbeddingBag as EmbeddingBag
from gradengine.nn.folding import ChannelShuffle as ChannelShuffle
from gradengine.nn.folding import Fold as Fold
from gradengine.nn.folding import PixelShuffle as PixelShuffle
from gradengine.nn.folding import PixelUnshuffle as PixelUnshuffle
from gradengine.nn.folding import Unfold as Unfold
from gradengine.nn.linear import Bilinear as Bilinear
from gradengine.nn.linear import Identity as Identity
from gradengine.nn.linear import Linear as Linear
from gradengine.nn.loss import BCELoss as BCELoss
from gradengine.nn.loss import BCEWithLogitsLoss as BCEWithLogitsLoss
from gradengine.nn.loss import CrossEntropyLoss as CrossEntropyLoss
from gradengine.nn.loss import CTCLoss as CTCLoss
from gradengine.nn.loss import GaussianNLLLoss as GaussianNLLLoss
from gradengine.nn.loss import HuberLoss as HuberLoss
from gradengine.nn.loss import KLDivLoss as KLDivLoss
from gradengine.nn.loss import L1Loss as L1Loss
from gradengine.nn.loss import MSELoss as MSELoss
from gradengine.nn.loss import MultiLabelSoftMarginLoss as MultiLabelSoftMarginLoss
from gradengine.nn.loss import NLLLoss as NLLLoss
from gradengine.nn.loss import PoissonNLLLoss as PoissonNLLLoss
from gradengine.nn.loss import SmoothL1Loss as SmoothL1Loss
from gradengine.nn.loss import SoftMarginLoss as SoftMarginLoss
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
from gradengine.nn.padding import CircularPad1d as CircularPad1d
from gradengine.nn.padding import CircularPad2d as CircularPad2d
from gradengine.nn.padding import CircularPad3d as CircularPad3d
from gradengine.nn.padding import ConstantPad1d as ConstantPad1d
from gradengine.nn.padding import ConstantPad2d as ConstantPad2d
from gradengine.nn.padding import ConstantPad3d as ConstantPad3d
from gradengine.nn.padding import ReflectionPad1d as ReflectionPad1d
from gradengine.nn.padding import ReflectionPad2d as ReflectionPad2d
from gradengine.nn.padding import ReflectionPad3d as ReflectionPad3d
from gradengine.nn.padding import ReplicationPad1d as ReplicationPad1d
from gradengine.nn.padding import ReplicationPad2d as ReplicationPad2d
from gradengine.nn.padding import ReplicationPad3d as ReplicationPad3d
from gradengine.nn.padding import ZeroPad1d as ZeroPad1d
from gradengine.nn.padding import ZeroPad2d as ZeroPad2d
from gradengine.nn.padding import ZeroPad3d as ZeroPad3d
from gradengine.nn.parameter import Buffer as Buffer
from gradengine.nn.parameter import Parameter as Parameter
from gradengine.nn.parameter_containers import ParameterDict as ParameterDict
from gradengine.nn.parameter_containers import ParameterList as ParameterList
from gradengine.nn.pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from gradengine.nn.pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from gradengine.nn.pooling import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from gradengine.nn.pooling import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from gradengine.nn.pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from gradengine.nn.pooling import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from gradengine.nn.pooling import AvgPool1d as AvgPool1d
from gradengine.nn.pooling import AvgPool2d as AvgPool2d
from gradengine.nn.pooling import AvgPool3d as AvgPool3d
from gradengine.nn.pooling import LPPool1d as LPPool1d
from gradengine.nn.pooling import LPPool2d as LPPool2d
from gradengine.nn.pooling import LPPool3d as LPPool3d
from gradengine.nn.pooling import MaxPool1d as MaxPool1d
from gradengine.nn.pooling import MaxPool2d as MaxPool2d
from gradengine.nn.pooling import MaxPool3d as MaxPool3d
from gradengine.nn.pooling import MaxUnpool1d as MaxUnpool1d
from gradengine.nn.pooling import MaxUnpool2d as MaxUnpool2d
from gradengine.nn.pooling import MaxUnpool3d as MaxUnpool3d
from gradengine.nn.ranking import CosineEmbeddingLoss as CosineEmbeddingLoss
from gradengine.nn.ranking import HingeEmbeddingLoss as HingeEmbeddingLoss
from gradengine.nn.ranking import MarginRankingLoss as MarginRankingLoss
from gradengine.nn.ranking import MultiLabelMarginLoss as MultiLabelMarginLoss
from gradengine.nn.ranking import MultiMarginLoss as MultiMarginLoss
from gradengine.nn.ranking import TripletMarginLoss as TripletMarginLoss
from gradengine.nn.ranking import TripletMarginWithDistanceLoss as TripletMarginWithDistanceLoss
from gradengine.nn.recurrent import GRU as GRU
from gradengine.nn.recurrent import LSTM as LSTM
from gradengine.nn.recurrent import RNN as RNN
from gradengine.nn.resampling import Upsample as Upsample
from gradengine.nn.resampling import UpsamplingBilinear2d as UpsamplingBilinear2d
from gradengine.nn.resampling import UpsamplingNearest2d as UpsamplingNearest2d
from gradengine.nn.rotary import RotaryEmbedding as RotaryEmbedding
from gradengine.nn.shaping import Flatten as Flatten
from gradengine.nn.shaping import Unflatten as Unflatten
from gradengine.nn.stateless import functional_call as functional_call
from gradengine.nn.summary import Summary as Summary
from gradengine.nn.summary import summary as summary
from gradengine.nn.transformer import Transformer as Transformer
from gradengine.nn.transformer import TransformerDecoder as TransformerDecoder
from gradengine.nn.transformer import TransformerDecoderLayer as TransformerDecoderLayer
from gradengine.nn.transformer import TransformerEncoder as TransformerEncoder
from gradengine.nn.transformer import TransformerEncoderLayer as TransformerEncoderLayer

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
__all__ += [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]  # convolution
__all__ += ["ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"]  # folding
__all__ += [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]  # padding
__all__ += [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]  # pooling
__all__ += ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]  # resampling
__all__ += [
    "AdaptiveLogSoftmaxWithLoss",
    "LinearCrossEntropyLoss",
]  # adaptive
__all__ += [
    "CosineSimilarity",
    "PairwiseDistance",
]  # distance
__all__ += [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MultiLabelSoftMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]  # loss
__all__ += [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]  # ranking
__all__ += ["Summary", "summary"]  # summary
__all__ += ["GRUCell", "LSTMCell", "RNNCell"]  # cells
__all__ += ["GRU", "LSTM", "RNN"]  # recurrent
__all__ += [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
]  # dropout
__all__ += [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]  # transformer
__all__ += [
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]  # averaging
__all__ += ["utils"]  # utils
