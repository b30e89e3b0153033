"""Tensors on disk: `ge.save`, `ge.load` and `ge.Checkpoint`; safetensors, never pickle.

`tensors` is what stands in a file, `damage` what is wrong with one that is broken, `checkpoints`
the whole state of a training run.
"""

from gradengine.saving.checkpoints import Checkpoint as Checkpoint
from gradengine.saving.tensors import load as load
from gradengine.saving.tensors import save as save

__all__ = ["Checkpoint", "load", "save"]
