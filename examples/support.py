"""What every example shares: command line, progress bar, stopwatch, figure style, closing lines.

Nothing here is about gradients; the examples are. A minimal one:

    parser = support.parser(__doc__, __file__)
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    options = support.start(parser)  # parsed; device and seed are set
    with support.Stopwatch() as watch:
        for step in support.progress(range(steps), "training", unit="step"):
            ...
    figure = support.figure(10, 4, "what the whole picture says")
    axes = figure.add_subplot(1, 1, 1)
    support.curve(axes, np.arange(steps), losses, support.BLUE, "training")
    support.label(axes, "training loss", "step", "nats")
    support.save(figure, options.picture)
    support.summary(("held-out loss", f"{loss:.3f} nats"), ("time", f"{watch.seconds:.1f} s"))

Stands on gradengine, tqdm and matplotlib (`pip install "gradengine[examples]"`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import gradengine as ge
from gradengine import datasets
from gradengine.datasets import Text

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image  # matplotlib brings it
except ImportError:
    sys.exit('the examples draw with matplotlib: pip install "gradengine[examples]"')

Array = Any

BLUE, ORANGE, GREEN, PURPLE, RED, BROWN, GREY = COLOURS = (
    "#1f6fb4",
    "#e58606",
    "#2a9d5c",
    "#8e44ad",
    "#c8102e",
    "#7f6a3f",
    "#555555",
)


# --- command line --------------------------------------------------------------------------------


def parser(doc: str | None, file: str) -> argparse.ArgumentParser:
    """The arguments that every example takes; its first docstring line is the description."""
    name = Path(file).stem
    made = argparse.ArgumentParser(description=(doc or name).splitlines()[0])
    add = made.add_argument
    add("--quick", action="store_true", help="seconds instead of the whole run: a smoke test")
    add("--device", default="cpu", help='"cpu" (default), "cuda", "cuda:1"')
    add("--seed", type=int, default=0, help="of weights, batches and samples (default: 0)")
    add("--picture", metavar="FILE", default=f"{name}.png", help=f"default: {name}.png")
    return made


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse; from here on new tensors land on `--device` and are drawn from `--seed`."""
    options = parser.parse_args()
    try:
        ge.default_device(options.device)
    except ge.GradengineError as error:
        parser.error(str(error))
    ge.random.manual_seed(options.seed)
    return options


def positive(text: str) -> int:
    """An argument type: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def load(read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`read(...)`, and where its data are missing the one command that brings them, and exit 1."""
    try:
        return read(*args, **kwargs)
    except ge.DataError as error:
        sys.exit(str(error))


# --- while it runs -------------------------------------------------------------------------------


def progress(steps: Iterable[Any] | None, text: str, unit: str = "step", total: int = 0) -> Any:
    """A tqdm bar over `steps`, or one of `total` to `update()`; silent where nobody watches."""
    if steps is None:
        return tqdm(total=total, desc=text, unit=unit, disable=None)
    return tqdm(steps, desc=text, unit=unit, disable=None)


class Stopwatch:
    """`with Stopwatch() as watch:` and then `watch.seconds`; readable inside the block too."""

    def __enter__(self) -> Stopwatch:
        self.began, self.ended = time.perf_counter(), 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        return (self.ended or time.perf_counter()) - self.began


def summary(*lines: tuple[str, Any]) -> None:
    """Print what the run reached, one `name  value` a line, the values aligned."""
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


# --- picture -------------------------------------------------------------------------------------


def figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of `width` x `height` inches; needs no display, places panels by itself."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    if title:
        made.suptitle(title, fontsize=12)
    return made


def label(axes: Any, title: str, below: str = "", left: str = "") -> None:
    """Title, axis labels (with their units) and a light frame, the same for all panels."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(below, fontsize=9)
    axes.set_ylabel(left, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)


def legend(axes: Any, where: str = "best") -> None:
    """A legend that covers as little as it can."""
    axes.legend(loc=where, fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")


def curve(axes: Any, steps: Array, values: Array, colour: str, text: str = "") -> None:
    """Noisy values: faint as they are, strong their running mean."""
    steps, values = np.asarray(steps), np.asarray(values, np.float64)
    window = max(1, len(values) // 40)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
    axes.plot(steps[window - 1 :], smooth, color=colour, linewidth=1.6, label=text)


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure (the suffix says the format) and say where it is.

    A PNG gets a palette of 256 colours, which is a third of the bytes and looks the same.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    if Path(path).suffix == ".png":
        with Image.open(path) as image:
            small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    print(f"picture written to {path}")


# --- text ----------------------------------------------------------------------------------------


def read(path: str | None, least: int) -> Text:
    """The text in the file at `path`, or Python's help topics; exit 1 if it is too short."""
    text: Text = load(datasets.read_text, path) if path else load(datasets.load, "pydoc")
    if len(text) < least:
        sys.exit(f"{text.name}: {len(text)} characters are too few, it takes {least}")
    return text


def pick(logits: Any, temperature: float) -> Any:
    """One index a row, index i with probability softmax(logits / temperature)_i.

    The largest of logits / temperature + Gumbel noise has that distribution (Gumbel, 1954).
    """
    noise = -ge.log(-ge.log(ge.rand_like(logits)))
    return ge.argmax(logits / temperature + noise, axis=-1)


def bits_axis(axes: Any) -> None:
    """Beside an axis in nats, on the right, the same in bits: 1 bit = ln 2 nats."""
    ln2 = float(np.log(2))
    right = axes.secondary_yaxis("right", functions=(lambda x: x / ln2, lambda x: x * ln2))
    right.set_ylabel("bits per character", fontsize=9)
    right.tick_params(labelsize=8)


def passage(axes: Any, title: str, text: str, rows: int = 12, columns: int = 128) -> None:
    """`text` in a typewriter's letters, short lines in two columns, long ones folded.

    What does not fit is left out.
    """
    shown = "".join(x if x.isprintable() or x == "\n" else " " for x in text.strip("\n"))
    lines: list[str] = []
    for line in shown.split("\n"):
        lines += [line[i : i + columns] for i in range(0, len(line) or 1, columns)]
    two = max(map(len, lines[: 2 * rows])) <= columns // 2 - 2
    style = {"family": "monospace", "fontsize": 8, "linespacing": 1.3, "parse_math": False}
    style["in_layout"] = False  # it has room, which the panels above shall not give it
    for column in range(2 if two else 1):
        part = "\n".join(lines[column * rows : (column + 1) * rows])
        axes.text(column / 2, 1, part, va="top", transform=axes.transAxes, **style)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_axis_off()
