"""Optimisers with PyTorch's names, each one pure rule of rules.py lifted over parameters."""

from gradengine.optim import rules as rules
from gradengine.optim.optimizer import SGD as SGD
from gradengine.optim.optimizer import Adam as Adam
from gradengine.optim.optimizer import Optimizer as Optimizer

__all__ = ["SGD", "Adam", "Optimizer", "rules"]
