"""Helpers for training and for sequences, with PyTorch's names."""

from gradengine.nn.utils import parametrizations as parametrizations
from gradengine.nn.utils import parametrize as parametrize
from gradengine.nn.utils import rnn as rnn
from gradengine.nn.utils.clip_grad import clip_grad_norm_ as clip_grad_norm_
from gradengine.nn.utils.clip_grad import clip_grad_value_ as clip_grad_value_
from gradengine.nn.utils.clip_grad import clip_grads_with_norm_ as clip_grads_with_norm_
from gradengine.nn.utils.clip_grad import get_total_norm as get_total_norm
from gradengine.nn.utils.spectral_norm import remove_spectral_norm as remove_spectral_norm
from gradengine.nn.utils.spectral_norm import spectral_norm as spectral_norm
from gradengine.nn.utils.vectors import parameters_to_vector as parameters_to_vector
from gradengine.nn.utils.vectors import vector_to_parameters as vector_to_parameters
from gradengine.nn.utils.weight_norm import remove_weight_norm as remove_weight_norm
from gradengine.nn.utils.weight_norm import weight_norm as weight_norm

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]
