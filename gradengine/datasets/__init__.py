"""Real data to learn on: the digits that travel in this package, and readers for files you bring.

Everything here hands out plain NumPy arrays and stands on NumPy and the error classes alone;
nothing is ever downloaded.
"""

from gradengine.datasets.dataset import Dataset as Dataset
from gradengine.datasets.digits import load_digits as load_digits
from gradengine.datasets.idx import MissingDataError as MissingDataError
from gradengine.datasets.idx import load_mnist as load_mnist
from gradengine.datasets.idx import read_idx as read_idx

__all__ = ["Dataset", "MissingDataError", "load_digits", "load_mnist", "read_idx"]
