"""The picture the demo saves: loss, accuracy, gradient norms, and held-out digits as read.

Stands on matplotlib, which is imported when a picture is drawn and not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradengine.datasets import Dataset
from gradengine.errors import MissingDependencyError, hinted

if TYPE_CHECKING:
    from gradengine.program.demo import History

Array = Any

BLUE, ORANGE, RED, GREY = "#1f6fb4", "#e58606", "#c8102e", "#555555"
LAYERS = ("#1f6fb4", "#e58606", "#2a9d5c", "#8e44ad", "#7f6a3f")
ROWS, COLUMNS = 3, 12


def require_matplotlib() -> None:
    """MissingDependencyError with the line that installs it, unless matplotlib is there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            hinted("demo: the picture needs matplotlib", 'pip install "gradengine[plot]"')
        )


def save(history: History, test_set: Dataset, predictions: Array, path: str | Path) -> None:
    """Draw and write a PNG; no display is needed."""
    require_matplotlib()
    figure: Any = importlib.import_module("matplotlib.figure").Figure(figsize=(10, 6.6))
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    accuracy = float((predictions == test_set.labels).mean())
    figure.suptitle(
        f"gradengine: {accuracy:.1%} of {len(test_set)} unseen digits read right  ·  "
        f"{history.device}  ·  {history.seconds:.1f} s  ·  {history.speed:,.0f} images/s",
        fontsize=11,
        y=0.985,
    )
    grid = figure.add_gridspec(
        2, 1, height_ratios=(1.05, 1), hspace=0.36, top=0.9, bottom=0.02, left=0.06, right=0.985
    )
    curves = grid[0].subgridspec(1, 3, wspace=0.28)
    draw_loss(figure.add_subplot(curves[0]), history)
    draw_accuracy(figure.add_subplot(curves[1]), history)
    draw_norms(figure.add_subplot(curves[2]), history)
    figure.text(0.06, 0.435, "held-out digits as the network read them", fontsize=10)
    draw_digits(figure, grid[1].subgridspec(ROWS, COLUMNS, hspace=0.5), test_set, predictions)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format="png")


# --- curves --------------------------------------------------------------------------------------


def draw_loss(axes: Any, history: History) -> None:
    """The loss of each step."""
    curve(axes, np.arange(1, len(history.loss) + 1), history.loss, BLUE)
    label(axes, "training loss", "step")


def draw_accuracy(axes: Any, history: History) -> None:
    """Accuracy on both parts after each epoch; the axis begins where the curves do."""
    epochs = np.arange(1, len(history.test_accuracy) + 1)
    look = {"marker": ".", "markersize": 6 if len(epochs) < 10 else 0}
    axes.plot(epochs, np.array(history.train_accuracy) * 100, color=BLUE, label="training", **look)
    axes.plot(epochs, np.array(history.test_accuracy) * 100, color=ORANGE, label="held out", **look)
    axes.xaxis.get_major_locator().set_params(integer=True)
    lowest = min(*history.train_accuracy, *history.test_accuracy) * 100
    axes.set_ylim(max(0.0, min(90.0, lowest - 2)), 100.5)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    label(axes, "accuracy, %", "epoch")


def draw_norms(axes: Any, history: History) -> None:
    """The norm of each layer's weight gradient: does the signal reach the first layer?"""
    for index, (name, norms) in enumerate(history.gradient_norms.items()):
        text = f"layer {name.removesuffix('.weight')}"
        curve(axes, np.array(history.norm_steps), norms, LAYERS[index % len(LAYERS)], text)
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    label(axes, "gradient norm", "step")


def curve(axes: Any, steps: Array, values: list[float], colour: str, text: str = "") -> None:
    """Noisy values on a logarithmic axis: faint as they are, strong their running mean."""
    window = max(1, len(values) // 40)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
    axes.plot(steps[window - 1 :], smooth, color=colour, linewidth=1.6, label=text)
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)


def plain_numbers(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade, as short numbers: powers of ten would not fit beside."""
    ticker = importlib.import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def label(axes: Any, title: str, below: str) -> None:
    """Title, axis label and a light frame, the same for all curves."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(below, fontsize=8, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)


# --- digits --------------------------------------------------------------------------------------


def draw_digits(figure: Any, grid: Any, test_set: Dataset, predictions: Array) -> None:
    """Held-out images over what was read; a wrong one is framed and shows what it should be."""
    for place, index in enumerate(shown(test_set.labels, predictions, ROWS * COLUMNS)):
        axes = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
        axes.imshow(test_set.images[index], cmap="gray_r", vmin=0, vmax=test_set.brightest)
        axes.set_xticks([])
        axes.set_yticks([])
        truth, read = int(test_set.labels[index]), int(predictions[index])
        wrong = truth != read
        for spine in axes.spines.values():
            spine.set_visible(wrong)
            spine.set(color=RED, linewidth=1.8)
        text = f"{read}, is {truth}" if wrong else f"{read}"
        axes.set_title(text, fontsize=8, color=RED if wrong else GREY, pad=2)


def shown(labels: Array, predictions: Array, places: int) -> list[int]:
    """Which images to show: the wrong ones, at most half of the places, then right ones."""
    wrong = np.flatnonzero(labels != predictions)[: places // 2]
    right = np.flatnonzero(labels == predictions)[: places - len(wrong)]
    return [int(index) for index in np.concatenate([wrong, right])]
