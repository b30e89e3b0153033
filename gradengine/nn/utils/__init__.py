"""Helpers for training and for sequences, with PyTorch's names."""

from gradengine.nn.utils import rnn as rnn

__all__ = ["rnn"]
