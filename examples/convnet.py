"""A small residual network reads handwritten digits: convolutions, batch norm, skip connections.

A residual block adds its input to what it computes, y = relu(x + f(x)), so that the gradient also
has a way round f: dL/dx = dL/dy (1 + df/dx) wherever the ReLU lets pass (He, Zhang, Ren and Sun,
arXiv:1512.03385). f is convolution, batch norm, ReLU, convolution, batch norm (batch norm: Ioffe
and Szegedy, arXiv:1502.03167). The rate rises, then falls along a cosine to nothing (one cycle:
arXiv:1708.07120), and the targets are smoothed: 0.91 for the digit, 0.01 for each other class.

`--data FOLDER` reads MNIST's IDX files instead of the 1 797 digits that travel in the package; a
folder with one part of MNIST is split. Which images are held out never depends on the seed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn
from gradengine.data import DataLoader, TensorDataset
from gradengine.datasets import Dataset
from gradengine.program.demo import load

Array = Any

RATE, DECAY, SMOOTHING = 5e-3, 1e-2, 0.1


# --- network -------------------------------------------------------------------------------------


def convolution(channels: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the norm has the shift, so the convolution needs no bias."""
    layer = nn.Conv2d(channels, outputs, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """y = relu(shortcut(x) + f(x)); the shortcut is x itself unless the shape changes."""

    def __init__(self, channels: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = convolution(channels, outputs, stride=stride)
        self.second = convolution(outputs, outputs)
        same = channels == outputs and stride == 1
        self.shortcut = nn.Identity() if same else convolution(channels, outputs, 1, stride)

    def forward(self, x: ge.Tensor) -> ge.Tensor:
        return ge.relu(self.shortcut(x) + self.second(ge.relu(self.first(x))))


def network(side: int, classes: int, width: int = 16) -> nn.Sequential:
    """Images of side x side to logits; large images are halved at once, which costs little."""
    return nn.Sequential(
        convolution(1, width, stride=1 if side < 16 else 2),
        nn.ReLU(),
        Residual(width, width),
        Residual(width, 2 * width, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )


# --- training ------------------------------------------------------------------------------------


@dataclass
class History:
    """What was observed: the loss of each step, the accuracies of each epoch."""

    loss: list[float] = field(default_factory=list[float])
    train: list[float] = field(default_factory=list[float])
    test: list[float] = field(default_factory=list[float])


def tensors(data: Dataset) -> tuple[ge.Tensor, ge.Tensor]:
    """Images of shape (n, 1, height, width) between 0 and 1, and labels, on the current device."""
    images = data.features().reshape(len(data), 1, *data.images.shape[1:])
    return ge.tensor(images), ge.tensor(data.labels.astype(np.int64))


def train(model: nn.Module, data: Dataset, test: Dataset, epochs: int, batch: int) -> History:
    """AdamW on the smoothed cross-entropy, under a one-cycle schedule."""
    loader = DataLoader(TensorDataset(*tensors(data)), batch_size=batch, shuffle=True)
    steps = epochs * len(loader)
    optimizer = ge.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = ge.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    history = History()
    with support.progress(None, "training", "batch", total=steps) as bar:
        for _ in range(epochs):
            right = 0
            for images, labels in loader:
                logits = model(images)
                loss = ge.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                history.loss.append(loss.item())
                right += int((logits.argmax(1) == labels).sum())
                bar.update()
            history.train.append(right / len(data))
            history.test.append(accuracy(probabilities(model, test), test))
            bar.set_postfix(loss=f"{history.loss[-1]:.3f}", held_out=f"{history.test[-1]:.2%}")
    return history


def least_loss(classes: int) -> float:
    """The entropy of a smoothed target, in nats: no network's cross-entropy is below it."""
    target = np.full(classes, SMOOTHING / classes) + (1 - SMOOTHING) * np.eye(classes)[0]
    return -float((target * np.log(target)).sum())


def probabilities(model: nn.Module, data: Dataset, batch: int = 500) -> Array:
    """What the network gives each class of each image, shape (n, classes), as a NumPy array."""
    model.eval()  # batch norm uses its running averages
    with ge.no_grad():
        images = tensors(data)[0]
        parts = [model(images[i : i + batch]) for i in range(0, len(data), batch)]
        result = ge.softmax(ge.concatenate(parts), axis=1).numpy()
    model.train()
    return result


def accuracy(given: Array, data: Dataset) -> float:
    """The share of images whose likeliest class is the right one."""
    return float((given.argmax(1) == data.labels).mean())


# --- picture -------------------------------------------------------------------------------------


def draw(history: History, test: Dataset, given: Array, title: str, path: str) -> None:
    """Loss, accuracies, confusion matrix, and the held-out images that were hardest."""
    figure = support.figure(10, 6.2, title)
    above, below = figure.subfigures(2, 1, height_ratios=(1.45, 1))
    curves = above.subplots(1, 3)
    epochs = (np.arange(len(history.loss)) + 1) * len(history.test) / len(history.loss)
    support.curve(curves[0], epochs, history.loss, support.BLUE)
    least = least_loss(test.classes)
    curves[0].axhline(least, color=support.GREY, linestyle="--", linewidth=0.8)
    curves[0].text(0, 0.98 * least, "the least possible", fontsize=8, va="top")
    curves[0].set_ylim(bottom=0.7 * least)
    support.label(curves[0], "training loss", "epoch", "smoothed cross-entropy, nats")
    draw_accuracies(curves[1], history)
    draw_confusion(curves[2], test, given.argmax(1))
    draw_hardest(below, test, given)
    support.save(figure, path)


def draw_accuracies(axes: Any, history: History) -> None:
    """Accuracy after each epoch; batches are counted as they are trained on, so they lag."""
    epochs = np.arange(1, len(history.test) + 1)
    for values, colour, text in (
        (history.train, support.BLUE, "training batches"),
        (history.test, support.ORANGE, "held out"),
    ):
        axes.plot(epochs, 100 * np.array(values), ".-", color=colour, linewidth=1.4, label=text)
    axes.set_ylim(max(0, min(90, 100 * min(history.test[1:] or history.test) - 2)), 100.4)
    axes.xaxis.get_major_locator().set_params(integer=True)
    support.legend(axes, "lower right")
    support.label(axes, "accuracy", "epoch", "%")


def draw_confusion(axes: Any, test: Dataset, read: Array) -> None:
    """How often the digit of the row was read as the digit of the column."""
    counts = np.zeros((test.classes, test.classes), np.int64)
    np.add.at(counts, (test.labels, read), 1)
    axes.imshow(counts, cmap="Blues", vmax=1.6 * counts.max())
    for row, column in np.argwhere(counts):
        wrong = row != column
        axes.text(
            column,
            row,
            counts[row, column],
            ha="center",
            va="center",
            fontsize=7,
            color=support.RED if wrong else "black",
            weight="bold" if wrong else "normal",
        )
    support.label(axes, "confusion, held-out images", "read as", "is")
    axes.set(xticks=range(test.classes), yticks=range(test.classes))
    axes.grid(visible=False)


def draw_hardest(figure: Any, test: Dataset, given: Array) -> None:
    """The images whose right class got the least probability; those read wrong stand out in red."""
    of_right = given[np.arange(len(test)), test.labels]
    hardest = np.argsort(of_right, kind="stable")
    text = "the hardest held-out images: what was read, and how probable the right digit was"
    figure.suptitle(text, fontsize=10)
    for axes, index in zip(figure.subplots(2, 10).flat, hardest, strict=False):
        axes.imshow(test.images[index], cmap="gray_r", vmin=0, vmax=test.brightest)
        axes.set(xticks=[], yticks=[])
        truth, read = int(test.labels[index]), int(given[index].argmax())
        colour = support.RED if truth != read else support.GREY
        axes.spines[:].set(color=colour, linewidth=2.0 if truth != read else 0.5)
        text = f"{read}, is {truth}: " if truth != read else f"{read}: "
        axes.set_title(f"{text}{of_right[index]:.0%}", fontsize=8, color=colour, pad=2)


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Load, train, evaluate, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--data", metavar="FOLDER", help="MNIST's IDX files, gzipped or not")
    parser.add_argument("--epochs", type=support.positive, default=10, help="default: 10")
    parser.add_argument("--batch", type=support.positive, default=64, help="default: 64")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    data, test = support.load(load, options.data)
    model = network(data.images.shape[1], data.classes)
    size = sum(parameter.size for parameter in model.parameters())
    epochs = min(options.epochs, 3) if options.quick else options.epochs
    with support.Stopwatch() as watch:
        history = train(model, data, test, epochs, options.batch)
    given = probabilities(model, test)
    reached, right = accuracy(given, test), int((given.argmax(1) == test.labels).sum())
    title = f"A residual network of {size:,} weights reads {reached:.2%} of unseen digits right"
    draw(history, test, given, title, options.picture)
    support.summary(
        ("data", f"{data.name}: {len(data)} images to learn, {len(test)} held out"),
        ("network", f"{size:,} weights"),
        ("held-out accuracy", f"{reached:.2%} ({right} of {len(test)}) after {epochs} epochs"),
        ("training took", f"{watch.seconds:.1f} s, {epochs * len(data) / watch.seconds:,.0f}/s"),
    )


if __name__ == "__main__":
    main()
