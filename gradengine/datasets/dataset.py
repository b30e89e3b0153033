"""Dataset: images with their labels, where they come from, and the split into train and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = Any


@dataclass(frozen=True)
class Dataset:
    """Images and labels, index by index.

    Shapes: `images` (n, height, width), uint8 from 0 to `brightest`; `labels` (n,), integers below
    `classes`.

    >>> from gradengine.datasets import load_digits
    >>> load_digits()
    Dataset('digits', 1797 images of 8x8, 10 classes)
    """

    name: str
    images: Array
    labels: Array
    classes: int
    brightest: int = 255
    licence: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "x".join(str(n) for n in self.images.shape[1:])
        return f"Dataset({self.name!r}, {len(self)} images of {size}, {self.classes} classes)"

    def take(self, indices: Array) -> Dataset:
        """The images at `indices`, in that order, with their labels."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def split(self, held_out: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Shuffle with `seed` and part into (train, test); `held_out` is the share of the test.

        >>> from gradengine.datasets import load_digits
        >>> train, test = load_digits().split(0.2)
        >>> len(train), len(test)
        (1438, 359)
        """
        if not 0 < held_out < 1:
            raise ValueError(f"split: held_out is a share between 0 and 1, got {held_out}")
        order = np.random.default_rng(seed).permutation(len(self))
        cut = round(held_out * len(self))
        return self.take(order[cut:]), self.take(order[:cut])

    def features(self) -> Array:
        """The images as rows of float32 between 0 and 1, shape (n, height * width)."""
        rows = self.images.reshape(len(self), -1).astype(np.float32)
        return rows / np.float32(self.brightest)
