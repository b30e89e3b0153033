"""Layers as functions, with PyTorch's names and signatures: `import gradengine.nn.functional as F`.

One file a topic. A function here is a composition of ops, or the op itself where the signatures
agree; no formula is stated twice.
"""

__all__: list[str] = []
