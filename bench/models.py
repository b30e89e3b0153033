"""The networks that are timed, written once for gradengine and PyTorch: both have the same names.

`lib` is a namespace of what the two call differently: `nn`, `functional`, `stack`, `tensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Loss = Callable[[], Any]


@dataclass(frozen=True)
class Network:
    """A network to train: how to build it, and the arrays of one batch."""

    name: str
    build: Callable[[Any], Any]
    inputs: tuple[int, ...]
    classes: int = 10
    what: str = "gradient"
    aim: float | None = None

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Float32 inputs and the labels of every output row."""
        random = np.random.default_rng(0)
        x = random.normal(size=self.inputs).astype(np.float32)
        return x, random.integers(0, self.classes, self.inputs[0])


def perceptron(*widths: int) -> Callable[[Any], Any]:
    """Linear layers with ReLU between them."""

    def build(lib: Any) -> Any:
        layers: list[Any] = []
        for i, o in pairwise(widths):
            layers += [lib.nn.Linear(i, o), lib.nn.ReLU()]
        return lib.nn.Sequential(*layers[:-1])

    return build


def convolutional(lib: Any) -> Any:
    """Two 3x3 convolutions with ReLU and pooling, and a linear layer; inputs 1x28x28."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    )


def recurrent_cells(lib: Any) -> Any:
    """An LSTM cell of 128 units along time, axis 1 of the inputs, then a classifier."""

    class Cells(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = lib.nn.LSTMCell(64, 128)
            self.head = lib.nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            state = None
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return self.head(state[0])

    return Cells()


def recurrent_layer(lib: Any) -> Any:
    """The same with the whole layer in one call."""

    class Layer(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = lib.nn.LSTM(64, 128, batch_first=True)
            self.head = lib.nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            y, _ = self.layer(x)
            return self.head(y[:, -1])

    return Layer()


def transformer_block(lib: Any) -> Any:
    """A pre-norm transformer block 128 wide with 4 heads, mean over time, then a classifier."""

    class Block(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = lib.nn.TransformerEncoderLayer(
                128, 4, 512, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.head = lib.nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.block(x).mean(1))

    return Block()


SMALL, DIGITS = (64, 32, 10), (784, 256, 128, 10)
NETWORKS = [
    Network("MLP 64-32-10, batch 32", perceptron(*SMALL), (32, 64), what="step", aim=0.25),
    Network("MLP 784-256-128-10, batch 64", perceptron(*DIGITS), (64, 784), what="step", aim=0.85),
    Network("MLP 784-256-128-10, batch 512", perceptron(*DIGITS), (512, 784), what="step", aim=1.0),
    Network("CNN, batch 32, 28x28", convolutional, (32, 1, 28, 28), aim=2.0),
    Network("LSTM of cells, 50 steps, batch 32", recurrent_cells, (32, 50, 64), aim=1.0),
    Network("LSTM layer, 50 steps, batch 32", recurrent_layer, (32, 50, 64)),
    Network("transformer block, 64 long, batch 8", transformer_block, (8, 64, 128), aim=1.4),
]
