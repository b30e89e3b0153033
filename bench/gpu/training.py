"""Whole eager training steps on the device, beside PyTorch and JAX, and on the CPU by width."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

import gradengine as ge
from bench import networks
from bench.models import DIGITS, Network, perceptron

from .clock import Call, Clock, Scale, Subject


def _four_layers(width: int, batch: int) -> Network:
    widths = (width,) * 4 + (10,)
    name = f"MLP of 4 layers {width} wide, batch {batch}"
    return Network(name, perceptron(*widths), (batch, width), what="step", aim=1.0)


def training_networks(scale: Scale) -> list[Network]:
    """The digits' perceptron, and four layers 1024 wide at batch 128."""
    digits = Network("digits MLP, batch 128", perceptron(*DIGITS), (128, 784), what="step", aim=1.0)
    if scale.layers < 1024:
        digits = Network("digits MLP, tiny", perceptron(16, 8, 4), (4, 16), classes=4, what="step")
    return [digits, _four_layers(scale.layers, scale.batch)]


def ours(network: Network, device: str) -> Call:
    """A step of ours on a device: forward, backward, Adam."""
    ge.manual_seed(0)
    model = network.build(_Library(ge.nn)).to(device)
    optimizer = ge.optim.Adam(model.parameters(), lr=1e-3)
    x, labels = (ge.tensor(v).to(device) for v in network.batch())

    def step() -> None:
        optimizer.zero_grad()
        ge.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step


def theirs(network: Network, torch: Any, *, compiled: bool = False) -> Call:
    """The same in PyTorch, with its fused Adam."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")
    model = network.build(_Library(torch.nn)).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, labels = (torch.from_numpy(v).cuda() for v in network.batch())
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), labels).backward()
        optimizer.step()

    return step


class _Library:
    def __init__(self, nn: Any) -> None:
        self.nn = nn


def jitted(network: Network) -> Call | None:
    """The same in JAX, the whole step compiled, where JAX is installed; float32 as for the others.

    Left alone JAX multiplies float32 in TF32 on a GPU.
    """
    try:
        jax: Any = importlib.import_module("jax")
    except ImportError:
        return None
    jax.config.update("jax_default_matmul_precision", "highest")
    return networks.jax(network)


def subjects(scale: Scale, torch: Any) -> Iterator[Subject]:
    """Eager training steps on the GPU."""
    for network in training_networks(scale):
        sides: dict[str, Call] = {"gradengine": ours(network, "cuda")}
        if torch is not None:
            sides["pytorch"] = theirs(network, torch)
            sides["torch.compile"] = theirs(network, torch, compiled=True)
            compiled = jitted(network)
            if compiled is not None:
                sides["jax"] = compiled
        yield Subject("training", network.name, sides, speed=network.aim)


# --- CPU against GPU -----------------------------------------------------------------------------


def crossing(scale: Scale, clock: Clock, found: dict[str, Any]) -> Iterator[float]:
    """Seconds of the same step on NumPy and on the GPU by width, and where the GPU overtakes.

    Added to `found` width by width, those left out that it has. The crossing is interpolated on
    log-log axes between the two widths around it; None where one side is ahead at all widths.
    """
    points: list[dict[str, float]] = found["points"]
    for width in scale.widths:
        if any(point["width"] == width for point in points):
            continue
        network = _four_layers(width, scale.batch)
        sides = {device: ours(network, device) for device in ("cpu", "cuda")}
        samples = clock.samples(sides)
        medians = {device: float(np.median(times)) for device, times in samples.items()}
        points.append({"width": width} | medians)
        found["crossing"] = crossing_point(points)
        cpu, gpu = medians["cpu"], medians["cuda"]
        print(f"width {width}: CPU {cpu:.2e} s, GPU {gpu:.2e} s", flush=True)
        yield width


def crossing_point(points: list[dict[str, float]]) -> float | None:
    """The width at which both sides take the same time.

    >>> crossing_point([{"width": 64, "cpu": 1, "cuda": 2}, {"width": 256, "cpu": 4, "cuda": 2}])
    128.0
    """
    leads = [(p["width"], np.log(p["cpu"] / p["cuda"])) for p in points]
    for (before, low), (after, high) in pairwise(leads):
        if low <= 0 < high:
            share = -low / (high - low)
            width = np.log(before) * (1 - share) + np.log(after) * share
            return float(round(np.exp(width), 6))
    return None
