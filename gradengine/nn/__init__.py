"""Layers with PyTorch's names: thin, dull, and made of the same ops as everything else."""

from gradengine.nn import init as init
from gradengine.nn.layers import Linear as Linear
from gradengine.nn.layers import ReLU as ReLU
from gradengine.nn.layers import Sequential as Sequential
from gradengine.nn.layers import Sigmoid as Sigmoid
from gradengine.nn.layers import Tanh as Tanh
from gradengine.nn.module import Module as Module
from gradengine.nn.module import Parameter as Parameter

__all__ = ["Linear", "Module", "Parameter", "ReLU", "Sequential", "Sigmoid", "Tanh", "init"]
