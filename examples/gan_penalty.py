"""A generative adversarial network on the plane, held stable by a second derivative.

A critic D learns to give data more than samples; a generator G learns to make samples it likes. In
the Wasserstein GAN the critic's advantage measures how far samples are from data, if its slope is 1
nowhere exceeded. That is asked for by a penalty on the slope itself (Gulrajani, Ahmed, Arjovsky,
Dumoulin and Courville, arXiv:1704.00028, equation 3):

    L_D = mean D(G(z)) - mean D(x) + c mean (|grad D(y)| - 1)^2,   L_G = -mean D(G(z)),

with y between data and samples, and c = 1 for data this small. The loss holds a gradient with
respect to the input, so training differentiates a gradient: `ge.autograd.grad(...,
create_graph=True)`, then `backward()`.

The data are eight Gaussians on a circle. A GAN that has collapsed makes only some of the eight; the
summary counts how many are hit.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn

Array = Any

RATE, PENALTY, CRITIC_STEPS = 1e-3, 1.0, 5
NOISE, WIDTH = 2, 64
RADIUS, SPREAD = 2.0, 0.1
BATCH = 256


# --- data and networks ---------------------------------------------------------------------------


def centres() -> ge.Tensor:
    """Of the eight Gaussians, shape (8, 2)."""
    angles = ge.arange(8, dtype=ge.float32) * (2 * ge.pi / 8)
    return RADIUS * ge.stack([ge.cos(angles), ge.sin(angles)], axis=1)


def draw_data(count: int) -> ge.Tensor:
    """`count` points of the mixture."""
    return centres()[ge.randint(0, 8, (count,))] + SPREAD * ge.randn(count, 2)


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Three hidden layers; no batch norm, since the penalty is on the slope at each point alone."""
    layers: list[nn.Module] = []
    for fan_in in (inputs, WIDTH, WIDTH):
        layers += [nn.Linear(fan_in, WIDTH), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


# --- training ------------------------------------------------------------------------------------


def gradient_penalty(critic: nn.Module, real: ge.Tensor, made: ge.Tensor) -> ge.Tensor:
    """mean (|grad D(y)| - 1)^2 at random places y on the lines from data to samples."""
    share = ge.rand(len(real), 1)
    y = ge.tensor(share * real + (1 - share) * made, requires_grad=True)
    (slope,) = ge.autograd.grad(critic(y).sum(), [y], create_graph=True)
    return ((ge.norm(slope, axis=1) - 1) ** 2).mean()


@dataclass
class History:
    """The critic's estimate of the distance and its penalty, and samples now and then."""

    distance: list[float] = field(default_factory=list[float])
    penalty: list[float] = field(default_factory=list[float])
    samples: dict[int, Array] = field(default_factory=dict[int, Array])


def critic_step(
    critic: nn.Module, generator: nn.Module, optimizer: ge.optim.Optimizer
) -> tuple[ge.Tensor, ge.Tensor]:
    """One step on L_D; the distance and the penalty before it."""
    real = draw_data(BATCH)
    with ge.no_grad():
        made = generator(ge.randn(BATCH, NOISE))
    distance = critic(real).mean() - critic(made).mean()
    penalty = gradient_penalty(critic, real, made)
    optimizer.zero_grad()
    (PENALTY * penalty - distance).backward()
    optimizer.step()
    return distance.detach(), penalty.detach()


def generator_step(critic: nn.Module, generator: nn.Module, optimizer: ge.optim.Optimizer) -> None:
    """One step on L_G; the critic's own gradients are cleared before its next step."""
    loss = -critic(generator(ge.randn(BATCH, NOISE))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(critic: nn.Module, generator: nn.Module, steps: int, shown: list[int]) -> History:
    """Five steps of the critic for one of the generator, each with Adam."""
    adams = [
        ge.optim.Adam(network.parameters(), lr=RATE, betas=(0.5, 0.9))
        for network in (critic, generator)
    ]
    schedules = [ge.optim.lr_scheduler.LinearLR(adam, 1.0, 0.1, steps) for adam in adams]
    noise = ge.randn(1000, NOISE)
    history = History()
    for step in support.progress(range(steps + 1), "training"):
        if step in shown:
            with ge.no_grad():
                history.samples[step] = generator(noise).numpy()
        if step == steps:
            break
        for _ in range(CRITIC_STEPS):
            distance, penalty = critic_step(critic, generator, adams[0])
        generator_step(critic, generator, adams[1])
        for schedule in schedules:
            schedule.step()
        history.distance.append(distance.item())
        history.penalty.append(penalty.item())
    return history


# --- how good ------------------------------------------------------------------------------------


def coverage(samples: Array) -> tuple[int, float]:
    """How many centres have a fair share of close samples, and the share of all that are close."""
    apart = np.linalg.norm(samples[:, None] - centres().numpy(), axis=2)
    close = apart.min(1) < 4 * SPREAD
    counts = np.bincount(apart.argmin(1)[close], minlength=8)
    return int((counts > len(samples) / 8 / 4).sum()), float(close.mean())


# --- picture -------------------------------------------------------------------------------------


def draw(critic: nn.Module, history: History, path: str) -> None:
    """Samples as they move to the data, the critic's level sets, and the two curves."""
    modes, close = coverage(list(history.samples.values())[-1])
    figure = support.figure(
        10, 5.4, f"WGAN with gradient penalty: {modes} of 8 modes, {close:.0%} of samples on one"
    )
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 1.25))
    top, bottom = grid[0].subgridspec(1, len(history.samples)), grid[1].subgridspec(1, 3)
    data = draw_data(500).numpy()
    for place, (step, samples) in enumerate(history.samples.items()):
        axes = figure.add_subplot(top[place])
        axes.plot(*data.T, ".", color="0.75", markersize=2, label="data")
        axes.plot(*samples.T, ".", color=support.ORANGE, markersize=2, label="samples")
        frame(axes, f"step {step}")
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="upper right", ncols=2, fontsize=9, markerscale=5, frameon=False)
    axes = figure.add_subplot(bottom[0])
    draw_levels(axes, critic)
    axes.plot(*data.T, ".", color="white", markersize=1)
    frame(axes, "the critic, and data")
    for place, (values, colour, title, left) in enumerate(
        (
            (
                history.distance,
                support.BLUE,
                "distance, as the critic has it",
                "distance",
            ),
            (history.penalty, support.RED, "gradient penalty", "mean (|grad D| - 1)^2"),
        )
    ):
        axes = figure.add_subplot(bottom[place + 1])
        support.curve(axes, np.arange(len(values)), values, colour)
        axes.set_yscale("log")
        support.label(axes, title, "generator step", left)
    support.save(figure, path)


def frame(axes: Any, title: str) -> None:
    """The same square of the plane for all."""
    axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    support.label(axes, title)
    axes.grid(visible=False)


def draw_levels(axes: Any, critic: nn.Module, side: int = 120) -> None:
    """Where the critic gives how much."""
    places = ge.linspace(-3, 3, side)
    x, y = ge.meshgrid(places, places, indexing="xy")
    with ge.no_grad():
        points = ge.stack([x.reshape(-1), y.reshape(-1)], axis=1)
        values = critic(points).reshape(side, side).numpy()
    levels = axes.contourf(x.numpy(), y.numpy(), values, 12, cmap="viridis")
    axes.figure.colorbar(levels, ax=axes, shrink=0.8, label="D(x)")


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Train, count, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--steps", type=support.positive, default=2500, help="default: 2500")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    critic, generator = perceptron(2, 1), perceptron(NOISE, 2)
    steps = min(options.steps, 40) if options.quick else options.steps
    shown = sorted({0, steps // 40, steps // 8, steps // 3, steps})
    with support.Stopwatch() as watch:
        history = train(critic, generator, steps, shown)
    draw(critic, history, options.picture)
    modes, close = coverage(history.samples[steps])
    support.summary(
        ("modes", f"{modes} of 8"),
        ("samples on a mode", f"{close:.1%} (within 4 standard deviations)"),
        ("distance", f"{np.mean(history.distance[-50:]):.3f}, {history.distance[0]:.3f} at first"),
        ("gradient penalty", f"{np.mean(history.penalty[-50:]):.4f}"),
        ("training took", f"{watch.seconds:.1f} s, {steps} steps"),
    )


if __name__ == "__main__":
    main()
