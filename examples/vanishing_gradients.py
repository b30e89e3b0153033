"""Why deep networks would not learn, and the four cures, each measured on handwritten digits.

1. Going back one layer multiplies by one factor more, delta_l = D_l W_{l+1}^T delta_{l+1} with
   dL/dW_l = delta_l h_{l-1}^T, and D the slopes of the activation: at most 1/4 for a sigmoid, so
   that after twenty layers nothing is left. ReLU with weights to match (He et al.,
   arXiv:1502.01852) keeps the norm; a skip connection with layer norm (arXiv:1512.03385,
   1607.06450) adds 1 to every factor. Each network trains by SGD at the best of four rates.
2. A recurrent network multiplies by the same W at each of its steps: too large a W explodes, and
   clipping by norm or by value (Pascanu, Mikolov, Bengio, arXiv:1211.5063) tames it.
3. A ReLU unit that is negative for every image has no gradient: it is dead unless what feeds it
   changes. Counted after too large a rate and after a negative bias; leaky ReLU (a slope of 0.1
   below zero) or a fresh draw of the dead units' weights (He's) revives the network.
4. Beside a saddle point the gradient is small, not zero: momentum and Adam leave it sooner.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn
from gradengine.program.demo import load

BATCH, DEPTH, WIDTH = 64, 20, 64
Between = Callable[[Any], Any] | None


@dataclass
class Run:
    """One network, or one optimiser, and what was measured on its way."""

    name: str
    colour: str
    rate: float = 0.0
    loss: list[float] = field(default_factory=list[float])
    norms: list[float] = field(default_factory=list[float])
    dead: list[float] = field(default_factory=list[float])
    accuracy: float = math.nan  # stays so where the loss is not a number

    @property
    def last_loss(self) -> float:
        """Mean over the last tenth of the steps; infinite where training broke down."""
        mean = float(np.mean(self.loss[-max(1, len(self.loss) // 10) :]))
        return mean if math.isfinite(mean) else math.inf


class Laboratory:
    """The digits as tensors, 64 pixels a row, and how every network learns them."""

    def __init__(self, seed: int, bar: Any) -> None:
        learn, test = load(None)
        self.images, self.test_images = ge.tensor(learn.features()), ge.tensor(test.features())
        self.labels = ge.tensor(learn.labels.astype(np.int64))
        self.test_labels = ge.tensor(test.labels.astype(np.int64))
        self.seed, self.bar = seed, bar

    def begin(self) -> None:
        """The same draws of weights and batches for all."""
        ge.random.manual_seed(self.seed)

    def train(
        self, model: nn.Module, run: Run, steps: int, between: Between = None, momentum: float = 0.9
    ) -> None:
        """SGD with momentum; `between` is called between gradients and step.

        It ends where the loss is no longer a number.
        """
        parameters = list(model.parameters())
        optimizer = ge.optim.SGD(parameters, lr=run.rate, momentum=momentum)
        for _ in range(steps):
            self.bar.update()
            rows = ge.random.randint(0, len(self.images), (BATCH,))
            loss = ge.cross_entropy(model(self.images[rows]), self.labels[rows])
            run.loss.append(loss.item())
            if not math.isfinite(run.loss[-1]):
                return
            optimizer.zero_grad()
            loss.backward()
            if between is not None:
                between(parameters)
            optimizer.step()
        with ge.no_grad():
            right = model(self.test_images).argmax(1) == self.test_labels
        run.accuracy = int(right.sum()) / len(right)


# --- 1: depth ------------------------------------------------------------------------------------


class Deep(nn.Module):
    """`DEPTH` hidden layers of the same width; with `skip`, h + f(W norm(h) + b) each."""

    def __init__(self, activation: Any, draw: Any, skip: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(skip * (DEPTH + 1))])
        self.head = nn.Linear(WIDTH, 10)
        self.activation, self.skip = activation, skip
        for layer in self.layers:
            draw(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h: ge.Tensor) -> ge.Tensor:
        for index, layer in enumerate(self.layers):
            if self.skip:
                h = h + self.activation(layer(self.norms[index](h)))
            else:
                h = self.activation(layer(h))
        return self.head(self.norms[-1](h) if self.skip else h)


HE = partial(nn.init.kaiming_normal_, nonlinearity="relu")
NETWORKS: list[tuple[str, str, Any, Any, bool]] = [
    ("sigmoid", support.RED, ge.sigmoid, nn.init.xavier_normal_, False),
    ("tanh", support.ORANGE, ge.tanh, nn.init.xavier_normal_, False),
    ("ReLU, same weights as tanh", support.GREY, ge.relu, nn.init.xavier_normal_, False),
    ("ReLU, He's weights", support.BLUE, ge.relu, HE, False),
    ("ReLU + residual + norm", support.GREEN, ge.relu, HE, True),
]
RATES = (0.1, 0.03, 0.01, 0.003)


def depth(lab: Laboratory, steps: int, rates: tuple[float, ...]) -> list[Run]:
    """Gradient norm of each layer before training, then training at the best of `rates`."""
    best: list[Run] = []
    for name, colour, *kind in NETWORKS:
        runs = [Run(name, colour, rate) for rate in rates]
        for run in runs:
            lab.begin()
            lab.train(Deep(*kind), run, steps)
        best.append(min(runs, key=lambda run: run.last_loss))
        lab.begin()
        best[-1].norms = layer_norms(Deep(*kind), lab)
    return best


def layer_norms(model: Deep, lab: Laboratory) -> list[float]:
    """The norm of dL/dW for each hidden layer, first to last, L over all training images."""
    ge.cross_entropy(model(lab.images), lab.labels).backward()
    return [layer.weight.grad.norm().item() for layer in model.layers]


def draw_depth(figure: Any, runs: list[Run]) -> None:
    left, right = lesson(figure, f"1. {DEPTH} layers: the signal must survive the way back")
    for run in runs:
        left.semilogy(range(1, DEPTH + 1), run.norms, ".-", color=run.colour, label=run.name)
        text = f"{run.name}: {run.accuracy:.0%} (rate {run.rate})"
        support.curve(right, np.arange(len(run.loss)), run.loss, run.colour, text)
    right.set_yscale("log")
    right.set_ylim(bottom=1e-4 * right.get_ylim()[0])  # room for the legend
    left.xaxis.get_major_locator().set_params(integer=True)
    support.label(left, "gradient before training", "layer (1 sees the image)", "norm of dL/dW")
    support.label(right, "training loss, and held-out accuracy", "step", "cross-entropy, nats")
    support.legend(left, "lower right")
    support.legend(right, "lower left")


# --- 2: recurrence -------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A ReLU recurrent network that reads an image two pixels at a time, in 32 steps.

    A random orthogonal W of gain sqrt(2) would keep the norm; 1.8 lets it grow 1.8 / sqrt(2) times
    a step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.RNN(2, WIDTH, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(WIDTH, 10)
        nn.init.orthogonal_(self.cells.weight_hh_l0, gain=1.8)

    def forward(self, images: ge.Tensor) -> ge.Tensor:
        return self.head(self.cells(images.reshape(len(images), 32, 2))[0][:, -1])


CLIPPING: list[tuple[str, str, Any]] = [
    ("not clipped", support.RED, None),
    ("clipped by norm, 1", support.BLUE, lambda p: nn.utils.clip_grad_norm_(p, 1.0)),
    ("clipped by value, 0.01", support.GREEN, lambda p: nn.utils.clip_grad_value_(p, 0.01)),
]


def recurrence(lab: Laboratory, steps: int) -> list[Run]:
    """The same recurrent network three times: gradients as they are, and clipped."""
    runs: list[Run] = []
    for name, colour, clip in CLIPPING:
        run = Run(name, colour, rate=0.01)

        def measure(parameters: list[Any], run: Run = run, clip: Between = clip) -> None:
            run.norms.append(nn.utils.get_total_norm([p.grad for p in parameters]).item())
            if clip is not None:
                clip(parameters)

        lab.begin()
        lab.train(Recurrent(), run, steps, measure)
        runs.append(run)
    return runs


def draw_recurrence(figure: Any, runs: list[Run]) -> None:
    title = "2. Recurrent over 32 steps: gradients explode, clipping tames them"
    left, right = lesson(figure, title)
    for run in runs:
        broken = math.isnan(run.accuracy)
        end = f"not a number at step {len(run.loss)}" if broken else f"{run.accuracy:.0%}"
        for axes, values in ((left, run.norms), (right, run.loss)):
            support.curve(axes, np.arange(len(values)) + 1, values, run.colour)
            if broken:
                axes.plot(1, values[0], "X", color=run.colour, markersize=9)
            axes.set_yscale("log")
        right.plot([], [], color=run.colour, label=f"{run.name}: {end}")
    support.label(left, "gradient before clipping", "step", "norm of dL/d(all weights)")
    support.label(right, "training loss, and held-out accuracy", "step", "cross-entropy, nats")
    support.legend(right)


# --- 3: dead units -------------------------------------------------------------------------------


class Rectified(nn.Module):
    """Two hidden layers of 128 units; slope 0 is ReLU, a slope above 0 leaky ReLU."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 128), nn.Linear(128, 128)])
        self.head = nn.Linear(128, 10)
        self.slope = 0.0
        for layer in self.layers:
            HE(layer.weight)
            nn.init.constant_(layer.bias, bias)

    def forward(self, h: ge.Tensor) -> ge.Tensor:
        for layer in self.layers:
            h = nn.functional.leaky_relu(layer(h), self.slope)
        return self.head(h)

    def dead(self, images: ge.Tensor) -> list[ge.Tensor]:
        """For each layer, which units are negative for every image."""
        found: list[ge.Tensor] = []
        with ge.no_grad():
            for layer in self.layers:
                z = layer(images)
                found.append(z.max(axis=0) <= 0)
                images = nn.functional.leaky_relu(z, self.slope)
        return found

    def share(self, images: ge.Tensor) -> float:
        """The share of all hidden units that is dead."""
        dead = ge.concatenate(self.dead(images))
        return int(dead.sum()) / len(dead)


def go_on(model: Rectified, images: ge.Tensor) -> None:
    """No cure."""


def leak(model: Rectified, images: ge.Tensor) -> None:
    """A slope of 0.1 below zero lets the gradient through; the weights stay."""
    model.slope = 0.1


def draw_again(model: Rectified, images: ge.Tensor) -> None:
    """Dead units, and they alone, get He's weights and a bias of zero."""
    for layer, dead in zip(model.layers, model.dead(images), strict=True):
        fresh = HE(ge.empty_like(layer.weight))
        layer.weight.data = ge.where(dead[:, None], fresh, layer.weight)
        layer.bias.data = ge.where(dead, 0, layer.bias)


CURES: list[tuple[str, str, Any]] = [
    ("ReLU goes on", support.RED, go_on),
    ("leaky ReLU instead", support.ORANGE, leak),
    ("dead units drawn again", support.BLUE, draw_again),
]
# cause, the rate that goes with it, the first bias of all units, the rate of the cures
CAUSES = (("a rate of 1.5", 1.5, 0.0, 0.02), ("a bias of -1", 0.05, -1.0, 0.05))


def death(lab: Laboratory, steps: int) -> list[list[Run]]:
    """For each cause: a third of the steps kills units, two thirds try each cure."""
    everything: list[list[Run]] = []
    for cause, rate, bias, gentle in CAUSES:
        lab.begin()
        model, killed = Rectified(bias), Run(cause, support.GREY, rate)
        lab.train(model, killed, steps // 3, counting(model, lab, killed), momentum=0.0)
        runs = [killed]
        for name, colour, cure in CURES:
            cured, run = copy.deepcopy(model), Run(name, colour, gentle)
            cure(cured, lab.images)
            lab.train(cured, run, steps - steps // 3, counting(cured, lab, run))
            runs.append(run)
        everything.append(runs)
    return everything


def counting(model: Rectified, lab: Laboratory, run: Run) -> Between:
    """Notes the share of dead units at each step."""
    return lambda parameters: run.dead.append(model.share(lab.images))


def draw_death(figure: Any, everything: list[list[Run]]) -> None:
    title = "3. Dead ReLU units have no gradient, and stay dead unless revived"
    for axes, (killed, *cured) in zip(lesson(figure, title), everything, strict=True):
        first = len(killed.dead)
        axes.plot(100 * np.array(killed.dead), color=killed.colour)
        for run in cured:
            text = f"{run.name}: {run.accuracy:.0%}"
            steps = np.arange(first, first + len(run.dead))
            axes.plot(steps, 100 * np.array(run.dead), color=run.colour, label=text)
        axes.axvline(first, color=support.GREY, linestyle=":", linewidth=0.8)
        axes.set(ylim=(-4, 150), yticks=range(0, 101, 20))  # room for the legend
        support.label(axes, f"killed by {killed.name}, then cured; held-out accuracy", "step")
        axes.set_ylabel("units never active, %", fontsize=9)
        support.legend(axes, "upper right")


# --- 4: a saddle ---------------------------------------------------------------------------------

START, RATE = (1.0, 1e-6), 0.01
OPTIMISERS: list[tuple[str, str, Any]] = [
    ("gradient descent", support.RED, ge.optim.SGD),
    ("momentum 0.9", support.BLUE, partial(ge.optim.SGD, momentum=0.9)),
    ("Adam", support.GREEN, ge.optim.Adam),
]


def height(x: Any, y: Any) -> Any:
    """x^2 - y^2 + y^4: a saddle at (0, 0), the minima -1/4 at (0, +-1/sqrt(2))."""
    return x**2 - y**2 + y**4


def saddle(steps: int, bar: Any) -> list[tuple[Run, list[list[float]]]]:
    """Each optimiser from a point on the ridge but for a millionth; its heights and its path."""
    found: list[tuple[Run, list[list[float]]]] = []
    for name, colour, optimiser in OPTIMISERS:
        point = ge.tensor(np.array(START), requires_grad=True)
        steepest, run, path = optimiser([point], lr=RATE), Run(name, colour), [list(START)]
        for _ in range(steps):
            bar.update()
            loss = height(point[0], point[1])
            steepest.zero_grad()
            loss.backward()
            steepest.step()
            run.loss.append(loss.item())
            path.append(point.tolist())
        found.append((run, path))
    return found


def escape(run: Run) -> int | None:
    """The first step that is nearer to the minimum's height than to the saddle's."""
    return next((step for step, loss in enumerate(run.loss) if loss < -0.125), None)


def draw_saddle(figure: Any, found: list[tuple[Run, list[list[float]]]]) -> None:
    left, right = lesson(figure, "4. A saddle point: x² - y² + y⁴ from (1, 0.000001)")
    x, y = np.meshgrid(np.linspace(-0.35, 1.1, 200), np.linspace(-0.25, 1.05, 200))
    left.contour(x, y, height(x, y), levels=np.linspace(-0.25, 1, 16), cmap="Greys", linewidths=0.7)
    for run, path in found:
        left.plot(*np.array(path).T, ".-", color=run.colour, markersize=3, linewidth=1)
        step = escape(run)
        text = f"{run.name}: out after {step}" if step else f"{run.name}: not out"
        right.plot(run.loss, color=run.colour, label=text)
    left.plot(0, 0, "x", color="black")
    left.annotate("saddle", (0, 0), (4, -12), textcoords="offset points", fontsize=8)
    left.plot(0, math.sqrt(0.5), "+", color="black", markersize=9)
    left.annotate("minimum", (0, math.sqrt(0.5)), (6, 6), textcoords="offset points", fontsize=8)
    support.label(left, f"paths, all with a rate of {RATE}", "x", "y")
    support.label(right, "height, and steps to get out", "step", "x² - y² + y⁴")
    support.legend(right)


# --- the whole -----------------------------------------------------------------------------------


def lesson(figure: Any, title: str) -> Any:
    """Two panels under one sentence."""
    figure.suptitle(title, fontsize=11, weight="bold")
    return figure.subplots(1, 2)


def run(options: argparse.Namespace) -> None:
    """The four lessons, their picture, and their numbers."""
    rates = RATES[1:2] if options.quick else RATES
    deep, recurrent, dying, descent = (30, 30, 45, 200) if options.quick else (400, 800, 450, 800)
    total = deep * len(NETWORKS) * len(rates) + recurrent * 3 + descent * 3
    total += 2 * (dying // 3 + 3 * (dying - dying // 3))
    bar = support.progress(None, "measuring", total=total)
    lab = Laboratory(options.seed, bar)
    quiet = np.errstate(over="ignore", invalid="ignore")  # some are here to explode
    with support.Stopwatch() as watch, quiet, bar:
        networks, recurrents = depth(lab, deep, rates), recurrence(lab, recurrent)
        causes, paths = death(lab, dying), saddle(descent, bar)
    figure = support.figure(10, 11.4)
    rows = figure.subfigures(4, 1)
    draw_depth(rows[0], networks)
    draw_recurrence(rows[1], recurrents)
    draw_death(rows[2], causes)
    draw_saddle(rows[3], paths)
    support.save(figure, options.picture)
    report(networks, recurrents, causes, paths)
    print(f"it took {watch.seconds:.1f} s")


def report(networks: list[Run], recurrents: list[Run], causes: Any, paths: Any) -> None:
    """The numbers of the picture."""
    for net in networks:
        reached = f"loss {net.last_loss:.3f}, {net.accuracy:.1%} of unseen digits right"
        print(f"{net.name + ':':<29} first layer's gradient {net.norms[0]:.1e}; {reached}")
    for net in recurrents:
        reached = f"{net.accuracy:.1%} right, gradient at most {max(net.norms):.0e}"
        if math.isnan(net.accuracy):
            reached = f"loss not a number at step {len(net.loss)}"
        print(f"recurrent, {net.name + ':':<23} {reached}")
    for killed, *cured in causes:
        print(
            f"{killed.name}: {killed.dead[0]:.0%} dead at first, {killed.dead[-1]:.0%} in the end"
        )
        for net in cured:
            print(f"  {net.name + ':':<24} {net.dead[-1]:.0%} dead, {net.accuracy:.1%} right")
    for net, _ in paths:
        step = escape(net)
        print(f"saddle, {net.name}: {f'out after {step} steps' if step else 'not out'}")


if __name__ == "__main__":
    run(support.start(support.parser(__doc__, __file__)))
