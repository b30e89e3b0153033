"""Timing on a GPU: samples of all sides in turn, each ended by a wait for the device.

A sample is as many calls as take about a given time, so that the wait does not count. On the
stand-in device the same code runs with hardly any work, to show that it runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Scale:
    """How large the subjects are, and how long they are timed."""

    elements: int = 2**28
    rows: int = 32768
    classes: int = 8192
    width: int = 4096
    parameters: int = 2**27
    matrix: int = 8192
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    layers: int = 1024
    batch: int = 128
    rounds: int = 9
    seconds: float = 0.03

    @property
    def norm_rows(self) -> int:
        """Rows of `width` that make `elements`."""
        return max(1, self.elements // self.width)


TINY = Scale(2**10, 4, 16, 16, 2**8, 16, (8, 16), 16, 4, 1, 0.0)
"""For the stand-in device, whose kernels run on the CPU in an emulator."""


@dataclass
class Subject:
    """One thing to time on several sides, and what it should reach."""

    group: str
    name: str
    sides: dict[str, Call]
    moved: float = 0.0  # bytes that have to be read and written
    flops: float = 0.0
    share: float | None = None  # of the copy bandwidth
    speed: float | None = None  # over PyTorch eager
    facts: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Times sides in turn; `wait` waits for the device."""

    def __init__(self, wait: Callable[[], None], scale: Scale) -> None:
        self.wait, self.scale = wait, scale

    def once(self, call: Call, count: int) -> float:
        """Seconds per call of `count` calls in a row."""
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        self.wait()
        return (time.perf_counter() - start) / count

    def count(self, call: Call) -> int:
        """Calls that make a sample; the first ones compile and warm up."""
        for _ in range(2 if self.scale.seconds else 1):
            call()
        if not self.scale.seconds:
            return 1
        spent = min(self.once(call, 1), self.once(call, 3))
        return max(1, min(10_000, int(self.scale.seconds / max(spent, 1e-7))))

    def samples(self, sides: dict[str, Call]) -> dict[str, list[float]]:
        """Seconds per call of every side, one sample a round; the order turns round."""
        counts = {name: self.count(call) for name, call in sides.items()}
        found: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(self.scale.rounds):
            names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            for name in names:
                found[name].append(self.once(sides[name], counts[name]))
        return found

    def measure(self, subject: Subject, copy: float) -> dict[str, Any]:
        """One row of the results: medians, share of the copy bandwidth, speed over PyTorch."""
        samples = self.samples(subject.sides)
        medians = {name: statistics.median(times) for name, times in samples.items()}
        row: dict[str, Any] = {"group": subject.group, "name": subject.name, "seconds": medians}
        ours = medians["gradengine"]
        if subject.moved:
            row["share"] = subject.moved / ours / copy
            row["TB/s"] = subject.moved / ours / 1e12
        if subject.flops:
            row["TFLOP/s"] = {name: subject.flops / t / 1e12 for name, t in medians.items()}
        if "pytorch" in samples:
            pairs = zip(samples["pytorch"], samples["gradengine"], strict=True)
            row["speed"] = statistics.median(theirs / mine for theirs, mine in pairs)
        row |= {"share aim": subject.share, "speed aim": subject.speed} | subject.facts
        return row
