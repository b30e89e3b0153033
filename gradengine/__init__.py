"""gradengine: exact gradients of any order for NumPy and CuPy arrays.

`import gradengine as ge`. Functions follow the Python array API standard and NumPy, tensors and
training PyTorch, transforms (`ge.grad`, `ge.vjp`, `ge.jvp`) JAX. This module is light: CuPy and
SciPy are imported when they are first needed, sub-packages (`ge.nn`, `ge.optim`, ...) when they
are first named.

Floor 7: the public names, and nothing else.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

import numpy as _np

# --- namespaces ---
from . import autograd as autograd
from . import linalg as linalg
from . import random as random
from . import special as special
from .array_api import __array_namespace_info__ as __array_namespace_info__
from .array_api import astype as astype
from .array_api import can_cast as can_cast
from .array_api import finfo as finfo
from .array_api import iinfo as iinfo
from .array_api import isdtype as isdtype
from .array_api import result_type as result_type

# --- transforms ---
from .autodiff import grad as grad
from .autodiff import hessian as hessian
from .autodiff import hvp as hvp
from .autodiff import jacobian as jacobian
from .autodiff import jvp as jvp
from .autodiff import linearize as linearize
from .autodiff import value_and_grad as value_and_grad
from .autodiff import vhp as vhp
from .autodiff import vjp as vjp

# --- tensors ---
from .conversion import Tensor as Tensor  # `from .tensor` would hide the function ge.tensor
from .conversion import asarray as asarray
from .conversion import asnumpy as asnumpy
from .conversion import from_dlpack as from_dlpack
from .conversion import from_numpy as from_numpy
from .conversion import tensor as tensor
from .creation import arange as arange
from .creation import empty as empty
from .creation import empty_like as empty_like
from .creation import eye as eye
from .creation import full as full
from .creation import full_like as full_like
from .creation import linspace as linspace
from .creation import meshgrid as meshgrid
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .custom import custom_jvp as custom_jvp
from .custom import custom_vjp as custom_vjp

# --- devices, dtypes ---
from .device import Device as Device
from .device import cuda_is_available as cuda_is_available
from .device import current_device as current_device
from .device import default_device as default_device
from .dtypes import get_default_dtype as get_default_dtype
from .dtypes import set_default_dtype as set_default_dtype

# --- errors ---
from .errors import AxisError as AxisError
from .errors import DataError as DataError
from .errors import DeviceError as DeviceError
from .errors import DTypeError as DTypeError
from .errors import GradengineError as GradengineError
from .errors import GraphError as GraphError
from .errors import MemberError as MemberError
from .errors import MissingDependencyError as MissingDependencyError
from .errors import OutOfRangeError as OutOfRangeError
from .errors import ShapeError as ShapeError
from .errors import StateError as StateError
from .hostloops import get_num_threads as get_num_threads
from .hostloops import set_num_threads as set_num_threads
from .modes import enable_grad as enable_grad
from .modes import grad_enabled as grad_enabled
from .modes import inference_mode as inference_mode
from .modes import no_grad as no_grad
from .ops.activations import celu as celu
from .ops.activations import elu as elu
from .ops.activations import hardshrink as hardshrink
from .ops.activations import hardsigmoid as hardsigmoid
from .ops.activations import hardswish as hardswish
from .ops.activations import hardtanh as hardtanh
from .ops.activations import leaky_relu as leaky_relu
from .ops.activations import log_sigmoid as log_sigmoid
from .ops.activations import prelu as prelu
from .ops.activations import relu as relu
from .ops.activations import relu6 as relu6
from .ops.activations import selu as selu
from .ops.activations import sigmoid as sigmoid
from .ops.activations import softplus as softplus
from .ops.activations import softshrink as softshrink
from .ops.activations import softsign as softsign
from .ops.activations import tanh as tanh
from .ops.activations import tanhshrink as tanhshrink
from .ops.activations import threshold as threshold

# --- functions ---
from .ops.arithmetic import abs as abs
from .ops.arithmetic import absolute as absolute
from .ops.arithmetic import add as add
from .ops.arithmetic import clip as clip
from .ops.arithmetic import copysign as copysign
from .ops.arithmetic import divide as divide
from .ops.arithmetic import floor_divide as floor_divide
from .ops.arithmetic import maximum as maximum
from .ops.arithmetic import minimum as minimum
from .ops.arithmetic import mod as mod
from .ops.arithmetic import multiply as multiply
from .ops.arithmetic import negative as negative
from .ops.arithmetic import positive as positive
from .ops.arithmetic import reciprocal as reciprocal
from .ops.arithmetic import remainder as remainder
from .ops.arithmetic import sign as sign
from .ops.arithmetic import square as square
from .ops.arithmetic import subtract as subtract
from .ops.arithmetic import true_divide as true_divide
from .ops.arithmetic import where as where
from .ops.axes import broadcast_shapes as broadcast_shapes
from .ops.classification import cross_entropy as cross_entropy
from .ops.classification import nll_loss as nll_loss
from .ops.cumulative import cumprod as cumprod
from .ops.cumulative import cumsum as cumsum
from .ops.cumulative import cumulative_prod as cumulative_prod
from .ops.cumulative import cumulative_sum as cumulative_sum
from .ops.diagonals import diag as diag
from .ops.diagonals import diagonal as diagonal
from .ops.diagonals import trace as trace
from .ops.diagonals import tril as tril
from .ops.diagonals import triu as triu
from .ops.einsum import einsum as einsum
from .ops.einsum import tensordot as tensordot
from .ops.elementary import acos as acos
from .ops.elementary import acosh as acosh
from .ops.elementary import arccos as arccos
from .ops.elementary import arccosh as arccosh
from .ops.elementary import arcsin as arcsin
from .ops.elementary import arcsinh as arcsinh
from .ops.elementary import arctan as arctan
from .ops.elementary import arctan2 as arctan2
from .ops.elementary import arctanh as arctanh
from .ops.elementary import asin as asin
from .ops.elementary import asinh as asinh
from .ops.elementary import atan as atan
from .ops.elementary import atan2 as atan2
from .ops.elementary import atanh as atanh
from .ops.elementary import cbrt as cbrt
from .ops.elementary import ceil as ceil
from .ops.elementary import conj as conj
from .ops.elementary import conjugate as conjugate
from .ops.elementary import cos as cos
from .ops.elementary import cosh as cosh
from .ops.elementary import erf as erf
from .ops.elementary import erfc as erfc
from .ops.elementary import exp as exp
from .ops.elementary import exp2 as exp2
from .ops.elementary import expm1 as expm1
from .ops.elementary import floor as floor
from .ops.elementary import hypot as hypot
from .ops.elementary import imag as imag
from .ops.elementary import log as log
from .ops.elementary import log1p as log1p
from .ops.elementary import log2 as log2
from .ops.elementary import log10 as log10
from .ops.elementary import logaddexp as logaddexp
from .ops.elementary import ndtr as ndtr
from .ops.elementary import pow as pow
from .ops.elementary import power as power
from .ops.elementary import real as real
from .ops.elementary import round as round
from .ops.elementary import rsqrt as rsqrt
from .ops.elementary import sin as sin
from .ops.elementary import sinh as sinh
from .ops.elementary import sqrt as sqrt
from .ops.elementary import tan as tan
from .ops.elementary import trunc as trunc
from .ops.elementary import xlogy as xlogy
from .ops.gates import gelu as gelu
from .ops.gates import glu as glu
from .ops.gates import mish as mish
from .ops.gates import silu as silu
from .ops.gathering import argsort as argsort
from .ops.gathering import gather as gather
from .ops.gathering import nonzero as nonzero
from .ops.gathering import one_hot as one_hot
from .ops.gathering import put_along_axis as put_along_axis
from .ops.gathering import scatter_add as scatter_add
from .ops.gathering import sort as sort
from .ops.gathering import take as take
from .ops.gathering import take_along_axis as take_along_axis
from .ops.joining import array_split as array_split
from .ops.joining import concat as concat
from .ops.joining import concatenate as concatenate
from .ops.joining import hstack as hstack
from .ops.joining import repeat as repeat
from .ops.joining import split as split
from .ops.joining import stack as stack
from .ops.joining import tile as tile
from .ops.joining import unstack as unstack
from .ops.joining import vstack as vstack
from .ops.linalg import linear as linear
from .ops.linalg import matmul as matmul
from .ops.linalg import outer as outer
from .ops.linalg import vecdot as vecdot
from .ops.logic import bitwise_and as bitwise_and
from .ops.logic import bitwise_invert as bitwise_invert
from .ops.logic import bitwise_left_shift as bitwise_left_shift
from .ops.logic import bitwise_not as bitwise_not
from .ops.logic import bitwise_or as bitwise_or
from .ops.logic import bitwise_right_shift as bitwise_right_shift
from .ops.logic import bitwise_xor as bitwise_xor
from .ops.logic import equal as equal
from .ops.logic import greater as greater
from .ops.logic import greater_equal as greater_equal
from .ops.logic import invert as invert
from .ops.logic import isfinite as isfinite
from .ops.logic import isinf as isinf
from .ops.logic import isnan as isnan
from .ops.logic import left_shift as left_shift
from .ops.logic import less as less
from .ops.logic import less_equal as less_equal
from .ops.logic import logical_and as logical_and
from .ops.logic import logical_not as logical_not
from .ops.logic import logical_or as logical_or
from .ops.logic import logical_xor as logical_xor
from .ops.logic import nextafter as nextafter
from .ops.logic import not_equal as not_equal
from .ops.logic import right_shift as right_shift
from .ops.logic import signbit as signbit
from .ops.losses import binary_cross_entropy as binary_cross_entropy
from .ops.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .ops.losses import huber_loss as huber_loss
from .ops.losses import kl_div as kl_div
from .ops.losses import l1_loss as l1_loss
from .ops.losses import mse_loss as mse_loss
from .ops.losses import smooth_l1_loss as smooth_l1_loss
from .ops.noise import dropout as dropout
from .ops.normalisation import log_softmax as log_softmax
from .ops.normalisation import logsumexp as logsumexp
from .ops.normalisation import norm as norm
from .ops.normalisation import normalize as normalize
from .ops.normalisation import softmax as softmax
from .ops.normalisation import softmin as softmin
from .ops.normalisation import vector_norm as vector_norm
from .ops.padding import pad as pad
from .ops.reductions import all as all
from .ops.reductions import amax as amax
from .ops.reductions import amin as amin
from .ops.reductions import any as any
from .ops.reductions import argmax as argmax
from .ops.reductions import argmin as argmin
from .ops.reductions import count_nonzero as count_nonzero
from .ops.reductions import max as max
from .ops.reductions import mean as mean
from .ops.reductions import min as min
from .ops.reductions import prod as prod
from .ops.reductions import std as std
from .ops.reductions import sum as sum
from .ops.reductions import var as var
from .ops.shape import atleast_nd as atleast_nd
from .ops.shape import broadcast_arrays as broadcast_arrays
from .ops.shape import broadcast_to as broadcast_to
from .ops.shape import copy as copy
from .ops.shape import expand_dims as expand_dims
from .ops.shape import flatten as flatten
from .ops.shape import flip as flip
from .ops.shape import matrix_transpose as matrix_transpose
from .ops.shape import moveaxis as moveaxis
from .ops.shape import permute_dims as permute_dims
from .ops.shape import ravel as ravel
from .ops.shape import reshape as reshape
from .ops.shape import roll as roll
from .ops.shape import squeeze as squeeze
from .ops.shape import swapaxes as swapaxes
from .ops.shape import transpose as transpose
from .ops.transfer import to_device as to_device
from .philox import Generator as Generator
from .random import bernoulli as bernoulli
from .random import manual_seed as manual_seed
from .random import rand as rand
from .random import rand_like as rand_like
from .random import randint as randint
from .random import randn as randn
from .random import randn_like as randn_like
from .random import randperm as randperm
from .recompute import checkpoint as checkpoint

if _TYPE_CHECKING:
    from . import amp as amp
    from . import cuda as cuda
    from . import data as data
    from . import datasets as datasets
    from . import nn as nn
    from . import optim as optim
    from . import saving as saving
    from . import testing as testing
    from .amp import autocast as autocast
    from .cuda.gemm import get_float32_matmul_precision as get_float32_matmul_precision
    from .cuda.gemm import set_float32_matmul_precision as set_float32_matmul_precision
    from .nn import summary as summary
    from .saving import Checkpoint as Checkpoint
    from .saving import load as load
    from .saving import save as save

# --- constants ---

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

pi: float = _math.pi
e: float = _math.e
inf: float = _math.inf
nan: float = _math.nan
newaxis: None = None

float16 = _np.dtype("float16")
float32 = _np.dtype("float32")
float64 = _np.dtype("float64")
int8 = _np.dtype("int8")
int16 = _np.dtype("int16")
int32 = _np.dtype("int32")
int64 = _np.dtype("int64")
uint8 = _np.dtype("uint8")
uint16 = _np.dtype("uint16")
uint32 = _np.dtype("uint32")
uint64 = _np.dtype("uint64")
complex64 = _np.dtype("complex64")
complex128 = _np.dtype("complex128")
bool = _np.dtype("bool")  # the standard's name; nothing below calls Python's

# --- what is imported when it is first named (PEP 562) ---

_PACKAGES = ("amp", "cuda", "data", "datasets", "nn", "optim", "saving", "testing")
_HOMES = {
    "Checkpoint": "saving",
    "autocast": "amp",
    "get_float32_matmul_precision": "cuda.gemm",
    "load": "saving",
    "save": "saving",
    "set_float32_matmul_precision": "cuda.gemm",
    "summary": "nn",
}


def __getattr__(name: str) -> _Any:
    if name in _PACKAGES:
        return _importlib.import_module(f".{name}", __name__)
    if name in _HOMES:
        found = globals()[name] = getattr(
            _importlib.import_module(f".{_HOMES[name]}", __name__), name
        )
        return found
    if name == "bfloat16":  # needs ml_dtypes
        from .dtypes import as_dtype

        found = globals()[name] = as_dtype(name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_HOMES, "bfloat16"})
