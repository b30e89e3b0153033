"""The ops: everything that can be differentiated, one block of names for each file.

The order of the blocks is the order in which the files stand on each other.

Floor 3: stands on op.py.
"""

# --- arithmetic ---
from .arithmetic import abs as abs
from .arithmetic import absolute as absolute
from .arithmetic import add as add
from .arithmetic import clip as clip
from .arithmetic import copysign as copysign
from .arithmetic import divide as divide
from .arithmetic import floor_divide as floor_divide
from .arithmetic import maximum as maximum
from .arithmetic import minimum as minimum
from .arithmetic import mod as mod
from .arithmetic import multiply as multiply
from .arithmetic import negative as negative
from .arithmetic import positive as positive
from .arithmetic import reciprocal as reciprocal
from .arithmetic import remainder as remainder
from .arithmetic import sign as sign
from .arithmetic import square as square
from .arithmetic import subtract as subtract
from .arithmetic import true_divide as true_divide
from .arithmetic import where as where

# --- elementary ---
from .elementary import acos as acos
from .elementary import acosh as acosh
from .elementary import arccos as arccos
from .elementary import arccosh as arccosh
from .elementary import arcsin as arcsin
from .elementary import arcsinh as arcsinh
from .elementary import arctan as arctan
from .elementary import arctan2 as arctan2
from .elementary import arctanh as arctanh
from .elementary import asin as asin
from .elementary import asinh as asinh
from .elementary import atan as atan
from .elementary import atan2 as atan2
from .elementary import atanh as atanh
from .elementary import cbrt as cbrt
from .elementary import ceil as ceil
from .elementary import conj as conj
from .elementary import conjugate as conjugate
from .elementary import cos as cos
from .elementary import cosh as cosh
from .elementary import erf as erf
from .elementary import erfc as erfc
from .elementary import exp as exp
from .elementary import exp2 as exp2
from .elementary import expm1 as expm1
from .elementary import floor as floor
from .elementary import hypot as hypot
from .elementary import imag as imag
from .elementary import log as log
from .elementary import log1p as log1p
from .elementary import log2 as log2
from .elementary import log10 as log10
from .elementary import logaddexp as logaddexp
from .elementary import ndtr as ndtr
from .elementary import pow as pow
from .elementary import power as power
from .elementary import real as real
from .elementary import round as round
from .elementary import rsqrt as rsqrt
from .elementary import sin as sin
from .elementary import sinh as sinh
from .elementary import sqrt as sqrt
from .elementary import tan as tan
from .elementary import trunc as trunc
from .elementary import xlogy as xlogy

# --- logic ---
from .logic import bitwise_and as bitwise_and
from .logic import bitwise_invert as bitwise_invert
from .logic import bitwise_left_shift as bitwise_left_shift
from .logic import bitwise_not as bitwise_not
from .logic import bitwise_or as bitwise_or
from .logic import bitwise_right_shift as bitwise_right_shift
from .logic import bitwise_xor as bitwise_xor
from .logic import equal as equal
from .logic import greater as greater
from .logic import greater_equal as greater_equal
from .logic import invert as invert
from .logic import isfinite as isfinite
from .logic import isinf as isinf
from .logic import isnan as isnan
from .logic import left_shift as left_shift
from .logic import less as less
from .logic import less_equal as less_equal
from .logic import logical_and as logical_and
from .logic import logical_not as logical_not
from .logic import logical_or as logical_or
from .logic import logical_xor as logical_xor
from .logic import nextafter as nextafter
from .logic import not_equal as not_equal
from .logic import right_shift as right_shift
from .logic import signbit as signbit

# --- activations ---
from .activations import celu as celu
from .activations import elu as elu
from .activations import hardshrink as hardshrink
from .activations import hardsigmoid as hardsigmoid
from .activations import hardswish as hardswish
from .activations import hardtanh as hardtanh
from .activations import leaky_relu as leaky_relu
from .activations import log_sigmoid as log_sigmoid
from .activations import prelu as prelu
from .activations import relu as relu
from .activations import relu6 as relu6
from .activations import selu as selu
from .activations import sigmoid as sigmoid
from .activations import softplus as softplus
from .activations import softshrink as softshrink
from .activations import softsign as softsign
from .activations import tanh as tanh
from .activations import tanhshrink as tanhshrink
from .activations import threshold as threshold

# --- gates ---
from .gates import gelu as gelu
from .gates import glu as glu
from .gates import mish as mish
from .gates import silu as silu

# --- axes ---
from .axes import broadcast_shapes as broadcast_shapes

# --- shape ---
from .shape import astype as astype
from .shape import atleast_nd as atleast_nd
from .shape import broadcast_arrays as broadcast_arrays
from .shape import broadcast_to as broadcast_to
from .shape import copy as copy
from .shape import expand_dims as expand_dims
from .shape import flatten as flatten
from .shape import flip as flip
from .shape import matrix_transpose as matrix_transpose
from .shape import moveaxis as moveaxis
from .shape import permute_dims as permute_dims
from .shape import ravel as ravel
from .shape import reshape as reshape
from .shape import roll as roll
from .shape import squeeze as squeeze
from .shape import swapaxes as swapaxes
from .shape import transpose as transpose

# --- padding ---
from .padding import pad as pad

# --- joining ---
from .joining import array_split as array_split
from .joining import concat as concat
from .joining import concatenate as concatenate
from .joining import hstack as hstack
from .joining import repeat as repeat
from .joining import split as split
from .joining import stack as stack
from .joining import tile as tile
from .joining import unstack as unstack
from .joining import vstack as vstack

# --- reductions ---
from .reductions import all as all
from .reductions import amax as amax
from .reductions import amin as amin
from .reductions import any as any
from .reductions import argmax as argmax
from .reductions import argmin as argmin
from .reductions import count_nonzero as count_nonzero
from .reductions import max as max
from .reductions import mean as mean
from .reductions import min as min
from .reductions import prod as prod
from .reductions import std as std
from .reductions import sum as sum
from .reductions import var as var

# --- cumulative ---
from .cumulative import cumprod as cumprod
from .cumulative import cumsum as cumsum
from .cumulative import cumulative_prod as cumulative_prod
from .cumulative import cumulative_sum as cumulative_sum

# --- normalisation ---
from .normalisation import log_softmax as log_softmax
from .normalisation import logsumexp as logsumexp
from .normalisation import norm as norm
from .normalisation import normalize as normalize
from .normalisation import softmax as softmax
from .normalisation import softmin as softmin
from .normalisation import vector_norm as vector_norm

# --- indexing ---
from .indexing import getitem as getitem
from .indexing import overwrite as overwrite

# --- gathering ---
from .gathering import argsort as argsort
from .gathering import gather as gather
from .gathering import nonzero as nonzero
from .gathering import one_hot as one_hot
from .gathering import put_along_axis as put_along_axis
from .gathering import scatter_add as scatter_add
from .gathering import sort as sort
from .gathering import take as take
from .gathering import take_along_axis as take_along_axis

# --- diagonals ---
from .diagonals import diag as diag
from .diagonals import diagonal as diagonal
from .diagonals import trace as trace
from .diagonals import tril as tril
from .diagonals import triu as triu

# --- linalg ---
from .linalg import linear as linear
from .linalg import matmul as matmul
from .linalg import outer as outer
from .linalg import vecdot as vecdot

# --- feedforward ---
from .feedforward import feed_forward as feed_forward

# --- einsum ---
from .einsum import einsum as einsum
from .einsum import tensordot as tensordot

# --- losses ---
from .losses import binary_cross_entropy as binary_cross_entropy
from .losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .losses import huber_loss as huber_loss
from .losses import kl_div as kl_div
from .losses import l1_loss as l1_loss
from .losses import mse_loss as mse_loss
from .losses import smooth_l1_loss as smooth_l1_loss

# --- classification ---
from .classification import cross_entropy as cross_entropy
from .classification import nll_loss as nll_loss

# --- noise ---
from .noise import dropout as dropout

# --- transfer ---
from .transfer import to_device as to_device

# --- attention ---
from .attention import attention as attention
from .attention import attention_weights as attention_weights
from .attention import rotate_pairs as rotate_pairs

# --- windows ---
from .windows import fold_windows as fold_windows
from .windows import sum_windows as sum_windows
from .windows import unfold_windows as unfold_windows

# --- convolution ---
from .convolution import convolution as convolution
from .convolution import convolution_input as convolution_input
from .convolution import convolution_weight as convolution_weight

# --- pooling ---
from .pooling import max_windows as max_windows

# --- resampling ---
from .resampling import resample as resample

# --- ranking ---
from .ranking import multi_margin_loss as multi_margin_loss
from .ranking import multilabel_margin_loss as multilabel_margin_loss

# --- alignment ---
from .alignment import ctc_loss as ctc_loss

# --- standardisation ---
from .standardisation import layer_norm as layer_norm
from .standardisation import rms_norm as rms_norm

# --- recurrence ---
from .recurrence import lstm_states as lstm_states
from .recurrence import rnn_states as rnn_states

# --- gru ---
from .gru import gru_states as gru_states
