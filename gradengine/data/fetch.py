"""What becomes of a DataLoader's task: samples, a batch of them, and that on its way to the device.

Floor 6: stands on dataset.py and collate.py; on cuda/transfers.py where batches go to a GPU.
"""

from __future__ import annotations

import importlib
import itertools
from typing import Any

from .. import trees
from ..conversion import made
from ..device import CPU, Array, current_device, device_of, is_array, move
from ..errors import DataError, hinted
from ..philox import Generator, current_generator, drawing_from
from ..tensor import Tensor
from .collate import default_collate
from .dataset import NOT_WHOLE, get_batch, get_sample, get_samples

# --- random numbers of samples ---

READING = (1 << 24) - 1
"""In place of a batch's number: what an IterableDataset draws while it is read."""


def sample_generator() -> Generator:
    """The generator for random changes of samples (crops, noise) while a DataLoader fetches.

    It depends on the loader's seed, the epoch and the number of the batch, so that the changes are
    the same with any number of workers, and after resuming. `ge.random`'s functions draw from it by
    themselves; for NumPy's: `np.random.default_rng(sample_generator().take())`. Elsewhere it is the
    default generator.

    >>> import gradengine as ge
    >>> sample_generator() is ge.random.default_generator
    True
    """
    return current_generator()


def generator_for(seed: int, epoch: int, batch: int) -> Generator:
    """2**20 offsets for each of 2**24 batches of 2**20 epochs, under the key `seed`."""
    generator = Generator(0)
    generator.set_state((seed, epoch % (1 << 20) << 44 | (batch % (1 << 24) << 20)))
    return generator


# --- a task ---


class Fetch:
    """What becomes of a task: samples, one batch of them, and that on its way to the device."""

    def __init__(self, loader: Any, seed: int, epoch: int) -> None:
        self.dataset, self.collate = loader.dataset, loader.collate_fn
        self.iterable = loader.iterable
        self.single = loader.batch_size is None and loader.batch_sampler is None
        self.seed, self.epoch = seed, epoch
        self.moved = loader.device is not None
        self.device = current_device() if loader.device is None else loader.device
        self.pin = loader.pin_memory and self.device.type == "cpu"
        self.uploader: Any = None
        if self.device.type != "cpu":
            self.uploader = _transfers().Uploader(self.device)

    def __call__(self, numbered: tuple[int, Any]) -> Any:
        number, task = numbered
        try:
            with drawing_from(generator_for(self.seed, self.epoch, number)):
                return self._sent(self._batch(number, task))
        except StopIteration as error:  # it would end the pass without a word
            text = f"DataLoader: batch {number}: the dataset or collate_fn raised StopIteration"
            raise DataError(
                hinted(text, "a next() in it met the end; give it a default")
            ) from error

    def _batch(self, number: int, task: Any) -> Any:
        if self.single:
            sample = task if self.iterable else get_sample(self.dataset, task)
            return sample if self.collate is None else self.collate(sample)
        if not self.iterable and self.collate is None:
            batch = get_batch(self.dataset, task)
            if batch is not NOT_WHOLE:
                return batch
        samples = task if self.iterable else get_samples(self.dataset, task)
        try:
            return (self.collate or default_collate)(samples)
        except Exception as error:
            which = "" if self.iterable else f", samples {_listed(task)}"
            error.add_note(f"while collating batch {number} of the pass{which}")
            raise

    # --- to the device ---

    def _sent(self, batch: Any) -> Any:
        if self.uploader is None and not self.pin and not self.moved:
            return batch
        leaves, rebuild = trees.flatten(batch)
        return rebuild([self._leaf(x) for x in leaves])

    def _leaf(self, x: Any) -> Any:
        array = x.array if isinstance(x, Tensor) else x
        if not is_array(array):
            return x
        host = device_of(array) == CPU
        if isinstance(x, Tensor) and x.node is not None:  # the move belongs on the tape
            return x.to(self.device) if host or self.moved else x
        if host and self.uploader is not None:
            return _Sent(self.uploader.send(array), isinstance(x, Tensor))
        if host and self.pin:
            array = _transfers().pinned(array)
        elif self.moved and device_of(array) != self.device:
            array = move(array, self.device)
        return _as(array, isinstance(x, Tensor))

    def arrive(self, batch: Any) -> Any:
        """The batch for the caller, whose stream waits for the copies."""
        if self.uploader is None:
            return batch
        leaves, rebuild = trees.flatten(batch)
        return rebuild([x.arrived() if isinstance(x, _Sent) else x for x in leaves])


def _listed(indices: Any) -> str:
    shown = [str(i) for i in itertools.islice(indices, 9)]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")


class _Sent:
    """A leaf of a batch that is on its way to a GPU."""

    def __init__(self, arrival: Any, is_tensor: bool) -> None:
        self.arrival, self.is_tensor = arrival, is_tensor

    def arrived(self) -> Any:
        return _as(self.arrival.wait(), self.is_tensor)


def _as(array: Array, is_tensor: bool) -> Any:
    return made(array) if is_tensor else array


def _transfers() -> Any:
    return importlib.import_module("gradengine.cuda.transfers")
