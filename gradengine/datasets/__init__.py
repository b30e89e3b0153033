"""Real data to learn on: the digits that travel in this package, and readers for files you bring.

Everything here hands out plain NumPy arrays and stands on NumPy and the error classes alone;
nothing is ever downloaded.
"""

from gradengine.datasets.dataset import Dataset as Dataset
from gradengine.datasets.digits import load_digits as load_digits
from gradengine.datasets.idx import MissingDataError as MissingDataError
from gradengine.datasets.idx import load_mnist as load_mnist
from gradengine.datasets.idx import read_idx as read_idx
from gradengine.datasets.sources import Source as Source
from gradengine.datasets.sources import load as load
from gradengine.datasets.sources import sources as sources
from gradengine.datasets.tables import Table as Table
from gradengine.datasets.tables import read_csv as read_csv
from gradengine.datasets.text import Text as Text
from gradengine.datasets.text import Vocabulary as Vocabulary
from gradengine.datasets.text import read_text as read_text

__all__ = [
    "Dataset",
    "MissingDataError",
    "Source",
    "Table",
    "Text",
    "Vocabulary",
    "load",
    "load_digits",
    "load_mnist",
    "read_csv",
    "read_idx",
    "read_text",
    "sources",
]
