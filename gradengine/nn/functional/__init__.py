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
from gradengine.nn.functional.convolution import conv1d as conv1d
from gradengine.nn.functional.convolution import conv2d as conv2d
from gradengine.nn.functional.convolution import conv3d as conv3d
from gradengine.nn.functional.convolution import conv_transpose1d as conv_transpose1d
from gradengine.nn.functional.convolution import conv_transpose2d as conv_transpose2d
from gradengine.nn.functional.convolution import conv_transpose3d as conv_transpose3d
from gradengine.nn.functional.distance import cosine_similarity as cosine_similarity
from gradengine.nn.functional.distance import pairwise_distance as pairwise_distance
from gradengine.nn.functional.distance import pdist as pdist
from gradengine.nn.functional.dropout import alpha_dropout as alpha_dropout
from gradengine.nn.functional.dropout import dropout as dropout
from gradengine.nn.functional.dropout import dropout1d as dropout1d
from gradengine.nn.functional.dropout import dropout2d as dropout2d
from gradengine.nn.functional.dropout import dropout3d as dropout3d
from gradengine.nn.functional.dropout import feature_alpha_dropout as feature_alpha_dropout
from gradengine.nn.functional.embedding import embedding as embedding
from gradengine.nn.functional.embedding import embedding_bag as embedding_bag
from gradengine.nn.functional.embedding import one_hot as one_hot
from gradengine.nn.functional.feedforward import feed_forward as feed_forward
from gradengine.nn.functional.folding import channel_shuffle as channel_shuffle
from gradengine.nn.functional.folding import fold as fold
from gradengine.nn.functional.folding import pixel_shuffle as pixel_shuffle
from gradengine.nn.functional.folding import pixel_unshuffle as pixel_unshuffle
from gradengine.nn.functional.folding import unfold as unfold
from gradengine.nn.functional.linear import bilinear as bilinear
from gradengine.nn.functional.linear import linear as linear
from gradengine.nn.functional.loss import binary_cross_entropy as binary_cross_entropy
from gradengine.nn.functional.loss import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from gradengine.nn.functional.loss import cross_entropy as cross_entropy
from gradengine.nn.functional.loss import ctc_loss as ctc_loss
from gradengine.nn.functional.loss import gaussian_nll_loss as gaussian_nll_loss
from gradengine.nn.functional.loss import huber_loss as huber_loss
from gradengine.nn.functional.loss import kl_div as kl_div
from gradengine.nn.functional.loss import l1_loss as l1_loss
from gradengine.nn.functional.loss import linear_cross_entropy as linear_cross_entropy
from gradengine.nn.functional.loss import mse_loss as mse_loss
from gradengine.nn.functional.loss import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from gradengine.nn.functional.loss import nll_loss as nll_loss
from gradengine.nn.functional.loss import poisson_nll_loss as poisson_nll_loss
from gradengine.nn.functional.loss import smooth_l1_loss as smooth_l1_loss
from gradengine.nn.functional.loss import soft_margin_loss as soft_margin_loss
from gradengine.nn.functional.max_pooling import adaptive_max_pool1d as adaptive_max_pool1d
from gradengine.nn.functional.max_pooling import adaptive_max_pool2d as adaptive_max_pool2d
from gradengine.nn.functional.max_pooling import adaptive_max_pool3d as adaptive_max_pool3d
from gradengine.nn.functional.max_pooling import max_pool1d as max_pool1d
from gradengine.nn.functional.max_pooling import max_pool2d as max_pool2d
from gradengine.nn.functional.max_pooling import max_pool3d as max_pool3d
from gradengine.nn.functional.max_pooling import max_unpool1d as max_unpool1d
from gradengine.nn.functional.max_pooling import max_unpool2d as max_unpool2d
from gradengine.nn.functional.max_pooling import max_unpool3d as max_unpool3d
from gradengine.nn.functional.normalisation import batch_norm as batch_norm
from gradengine.nn.functional.normalisation import group_norm as group_norm
from gradengine.nn.functional.normalisation import instance_norm as instance_norm
from gradengine.nn.functional.normalisation import layer_norm as layer_norm
from gradengine.nn.functional.normalisation import local_response_norm as local_response_norm
from gradengine.nn.functional.normalisation import normalize as normalize
from gradengine.nn.functional.normalisation import rms_norm as rms_norm
from gradengine.nn.functional.padding import pad as pad
from gradengine.nn.functional.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from gradengine.nn.functional.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from gradengine.nn.functional.pooling import adaptive_avg_pool3d as adaptive_avg_pool3d
from gradengine.nn.functional.pooling import avg_pool1d as avg_pool1d
from gradengine.nn.functional.pooling import avg_pool2d as avg_pool2d
from gradengine.nn.functional.pooling import avg_pool3d as avg_pool3d
from gradengine.nn.functional.pooling import lp_pool1d as lp_pool1d
from gradengine.nn.functional.pooling import lp_pool2d as lp_pool2d
from gradengine.nn.functional.pooling import lp_pool3d as lp_pool3d
from gradengine.nn.functional.ranking import cosine_embedding_loss as cosine_embedding_loss
from gradengine.nn.functional.ranking import hinge_embedding_loss as hinge_embedding_loss
from gradengine.nn.functional.ranking import margin_ranking_loss as margin_ranking_loss
from gradengine.nn.functional.ranking import multi_margin_loss as multi_margin_loss
from gradengine.nn.functional.ranking import multilabel_margin_loss as multilabel_margin_loss
from gradengine.nn.functional.ranking import triplet_margin_loss as triplet_margin_loss
from gradengine.nn.functional.ranking import (
    triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
)
from gradengine.nn.functional.resampling import interpolate as interpolate
from gradengine.nn.functional.resampling import upsample as upsample

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
__all__ += [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]  # convolution
__all__ += ["feed_forward"]  # feedforward
__all__ += ["channel_shuffle", "fold", "pixel_shuffle", "pixel_unshuffle", "unfold"]  # folding
__all__ += [
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]  # max_pooling
__all__ += ["pad"]  # padding
__all__ += [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
]  # pooling
__all__ += ["interpolate", "upsample"]  # resampling
__all__ += [
    "cosine_similarity",
    "pairwise_distance",
    "pdist",
]  # distance
__all__ += [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "mse_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]  # loss
__all__ += [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # ranking
__all__ += [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]  # dropout
