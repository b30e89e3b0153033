"""Data on its way to training: datasets, samplers, and the DataLoader that makes batches."""

from gradengine.data.collate import default_collate as default_collate
from gradengine.data.dataset import ConcatDataset as ConcatDataset
from gradengine.data.dataset import Dataset as Dataset
from gradengine.data.dataset import IterableDataset as IterableDataset
from gradengine.data.dataset import StackDataset as StackDataset
from gradengine.data.dataset import Subset as Subset
from gradengine.data.dataset import TensorDataset as TensorDataset
from gradengine.data.dataset import WindowDataset as WindowDataset
from gradengine.data.dataset import random_split as random_split
from gradengine.data.fetch import sample_generator as sample_generator
from gradengine.data.loader import DataLoader as DataLoader
from gradengine.data.prefetch import LoaderTimeoutError as LoaderTimeoutError
from gradengine.data.samplers import BatchSampler as BatchSampler
from gradengine.data.samplers import RandomSampler as RandomSampler
from gradengine.data.samplers import Sampler as Sampler
from gradengine.data.samplers import SequentialSampler as SequentialSampler
from gradengine.data.samplers import SubsetRandomSampler as SubsetRandomSampler
from gradengine.data.samplers import WeightedRandomSampler as WeightedRandomSampler

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "LoaderTimeoutError",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WindowDataset",
    "default_collate",
    "random_split",
    "sample_generator",
]
