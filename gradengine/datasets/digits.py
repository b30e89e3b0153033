"""The 1 797 handwritten digits that travel in the package: a first network needs no download.

Source and licence: data/NOTICE.md.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from gradengine.datasets.dataset import Dataset

LICENCE = (
    "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
    "https://doi.org/10.24432/C50P49, CC BY 4.0"
)


def load_digits() -> Dataset:
    """Real 8x8 digits with values 0 to 16, uint8, and their labels 0 to 9.

    Source: https://doi.org/10.24432/C50P49 (its test part, by 13 writers).

    >>> digits = load_digits()
    >>> digits.images.shape, digits.images.dtype, int(digits.images.max())
    ((1797, 8, 8), dtype('uint8'), 16)
    >>> [int(label) for label in digits.labels[:5]]
    [0, 1, 2, 3, 4]
    """
    source = files("gradengine.datasets").joinpath("data", "digits.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    return Dataset("digits", images, labels, classes=10, brightest=16, licence=LICENCE)
