"""A small transformer learns to write, character by character, and writes with a cache.

The model gives p(next character | up to `--block` characters before it). Each of its layers adds to
every position x what it has learnt from the positions before it, then what it makes of that alone:

    x = x + attention(norm(x)),   x = x + W2 relu(W1 norm(x))^2

Attention: arXiv:1706.03762, under a causal mask; the norm before each branch: arXiv:2002.04745;
positions by rotation of queries and keys: arXiv:2104.09864; relu squared: arXiv:2109.08668; the
embedding's table is the output's matrix too: arXiv:1608.05859. The loss is the cross-entropy, in
nats per character; over ln 2 it is the bits that a perfect coder would spend on each character of
held-out text. AdamW (arXiv:1711.05101), gradients clipped by norm, a cosine schedule after warm-up.

To write one more character only that one goes through the layers: the keys and values of those
before it are kept in a KVCache.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn

Array = Any

WIDTH, HEADS, LAYERS = 128, 4, 4  # 0.8 million weights
RATE, DECAY, BETAS, CLIP = 3e-3, 0.1, (0.9, 0.99), 1.0
TEMPERATURE = 0.8


# --- model ---------------------------------------------------------------------------------------


class Attention(nn.Module):
    """softmax(q k' / sqrt(d) + mask) v in each head; q and k are rotated by their positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.rotary = nn.RotaryEmbedding(width // heads)

    def forward(self, x: ge.Tensor, cache: nn.KVCache | None) -> ge.Tensor:
        batch, length, width = x.shape
        split = self.mix(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = ge.moveaxis(split, (2, 3), (0, 2))  # each (batch, heads, length, features)
        first = 0 if cache is None else cache.length
        q, k = self.rotary(q, offset=first), self.rotary(k, offset=first)
        if cache is not None:
            k, v = cache.append(k, v)
        # one query alone is the last position, which sees them all: no mask
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        return self.out(y.swapaxes(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Attention to the positions before, then two linear layers, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: ge.Tensor, cache: nn.KVCache | None) -> ge.Tensor:
        x = x + self.attention(self.norm1(x), cache)
        return x + self.down(ge.square(ge.relu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """Tokens (batch, length) to logits (batch, length, characters)."""

    def __init__(self, characters: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if p.ndim == 2:  # those that add to x are smaller, so that many layers do not add up
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if last else 0.02)

    def forward(self, tokens: ge.Tensor, caches: list[nn.KVCache] | None = None) -> ge.Tensor:
        x = self.embedding(tokens)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, cache)
        return nn.functional.linear(self.norm(x), self.embedding.weight)


# --- training ------------------------------------------------------------------------------------


@dataclass
class History:
    """What was observed: each step's loss, and now and then the held-out loss and the clocks."""

    loss: list[float] = field(default_factory=list[float])
    steps: list[int] = field(default_factory=list[int])
    held_out: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])
    cpu_seconds: list[float] = field(default_factory=list[float])


def train(model: GPT, data: Array, held_out: Array, options: argparse.Namespace) -> History:
    """Windows from anywhere in the text; the held-out loss is looked at ten times."""
    tokens, history = ge.tensor(data), History()
    optimizer = ge.optim.AdamW(groups(model), lr=RATE, betas=BETAS)
    schedule = warm_up_then_cosine(optimizer, options.steps)
    began, cpu_began = time.perf_counter(), time.process_time()
    with support.progress(None, "training", total=options.steps) as bar:
        for step in range(1, options.steps + 1):
            starts = ge.random.randint(len(data) - options.block, shape=(options.batch, 1))
            places = starts + ge.arange(options.block)
            loss = next_loss(model, tokens[places], tokens[places + 1])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            history.loss.append(loss.item())
            if step % max(1, options.steps // 10) == 0 or step == options.steps:
                history.steps.append(step)
                history.held_out.append(float(evaluate(model, held_out, options.block).mean()))
                history.seconds.append(time.perf_counter() - began)
                history.cpu_seconds.append(time.process_time() - cpu_began)
                bar.set_postfix(held_out=f"{history.held_out[-1]:.3f}")
            bar.update()
    return history


def next_loss(model: GPT, x: ge.Tensor, y: ge.Tensor, reduction: str = "mean") -> ge.Tensor:
    """The cross-entropy in nats of what follows each character: x and y are (batch, length)."""
    logits = model(x)
    rows = logits.reshape(-1, logits.shape[-1])
    return ge.cross_entropy(rows, y.reshape(-1), reduction=reduction)


def groups(model: GPT) -> list[dict[str, Any]]:
    """Weight decay for matrices; the norms' scales and shifts go without."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]


def warm_up_then_cosine(optimizer: Any, steps: int) -> Any:
    """A tenth of the steps up to the full rate, then down along a cosine to a twentieth of it."""
    schedules, warm = ge.optim.lr_scheduler, max(1, steps // 10)
    up = schedules.LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    down = schedules.CosineAnnealingLR(optimizer, T_max=max(1, steps - warm), eta_min=RATE / 20)
    return schedules.SequentialLR(optimizer, [up, down], milestones=[warm])


def evaluate(model: GPT, tokens: Array, block: int, batch: int = 64) -> Array:
    """The mean loss in nats at each place of a window, over windows that lie side by side."""
    windows = (len(tokens) - 1) // block
    x = ge.tensor(tokens[: windows * block].reshape(windows, block))
    y = ge.tensor(tokens[1 : windows * block + 1].reshape(windows, block))
    with ge.no_grad():
        parts = [
            next_loss(model, x[i : i + batch], y[i : i + batch], "none").reshape(-1, block)
            for i in range(0, windows, batch)
        ]
        return ge.concatenate(parts).mean(axis=0).numpy()


# --- writing -------------------------------------------------------------------------------------


def write(model: GPT, prompt: Array, length: int, block: int) -> list[int]:
    """The prompt and `length` tokens more; a full cache starts again with its later half."""
    tokens: list[int] = prompt.tolist()
    caches = [nn.KVCache(block) for _ in model.blocks]
    new = tokens[-block:]
    with ge.no_grad():
        for _ in range(length):
            if caches[0].length + len(new) > block:
                for cache in caches:
                    cache.reset()
                new = tokens[-block // 2 :]
            logits = model(ge.tensor([new]), caches)[0, -1]
            new = [int(support.pick(logits, TEMPERATURE))]
            tokens += new
    return tokens


# --- picture and record --------------------------------------------------------------------------


def draw(history: History, by_place: Array, sample: str, title: str, path: str) -> None:
    """Loss curves, the loss by how much was read before, and below them what the model writes."""
    figure = support.figure(10, 6.2, title)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1), width_ratios=(1.3, 1))
    axes = figure.add_subplot(grid[0, 0])
    steps = np.arange(1, len(history.loss) + 1)
    support.curve(axes, steps, history.loss, support.BLUE, "training")
    axes.plot(history.steps, history.held_out, ".-", color=support.ORANGE, label="held out")
    support.bits_axis(axes)
    support.label(axes, "cross-entropy", "step", "nats per character")
    support.legend(axes)
    axes = figure.add_subplot(grid[0, 1])
    axes.plot(np.arange(1, len(by_place) + 1), by_place, color=support.ORANGE, linewidth=1.4)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    support.label(axes, "what context is worth (held out)", "characters read", "nats per character")
    text = f"written after the prompt, at temperature {TEMPERATURE}"
    support.passage(figure.add_subplot(grid[1, :]), text, sample)
    support.save(figure, path)


def record(path: str, history: History, about: dict[str, Any]) -> None:
    """The curve and what made it: JSON in `path`, a table in the file beside it, .md."""
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
    }
    file = Path(path).with_suffix(".json")
    content = {"machine": machine, **about, **asdict(history)}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = [f"{name}: {value}  " for name, value in {**about, **machine}.items()]
    lines += ["", "| step | training, nats | held out, nats | bits | seconds | CPU seconds |"]
    lines += ["|---|---|---|---|---|---|"]
    rows = zip(history.steps, history.held_out, history.seconds, history.cpu_seconds, strict=True)
    for step, held_out, seconds, cpu in rows:
        recent = float(np.mean(history.loss[max(0, step - 100) : step]))
        row = f"| {step} | {recent:.3f} | {held_out:.3f} | {held_out / math.log(2):.3f} "
        lines.append(f"{row}| {seconds:.0f} | {cpu:.0f} |")
    file.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"record written to {file} and {file.with_suffix('.md')}")


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Read, train, write, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--text", metavar="FILE", help="default: the help topics of Python")
    parser.add_argument("--steps", type=support.positive, default=1000, help="default: 1000")
    parser.add_argument("--batch", type=support.positive, default=32, help="default: 32")
    parser.add_argument("--block", type=support.positive, default=64, help="default: 64 characters")
    parser.add_argument("--prompt", default="\n", help="what it goes on from (default: a new line)")
    parser.add_argument("--record", metavar="FILE", help="write the curve to FILE, .json and .md")
    options = support.start(parser)
    if options.quick:
        options.steps, options.batch = min(options.steps, 150), min(options.batch, 16)
    run(options)


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    text = support.read(options.text, least=10 * (options.block + 2))
    prompt = text.vocabulary.encode(options.prompt or "\n")
    data, held_out = text.split()
    sizes, length = (WIDTH, HEADS, LAYERS), 900
    if options.quick:
        held_out, sizes, length = held_out[:4097], (32, 2, 2), 120
    model = GPT(len(text.vocabulary), *sizes)
    size = sum(p.size for p in model.parameters())
    history = train(model, data, held_out, options)
    with support.Stopwatch() as watch:
        sample = text.vocabulary.decode(write(model, prompt, length, options.block))
    by_place = evaluate(model, held_out, options.block)
    nats, bits = history.held_out[-1], history.held_out[-1] / math.log(2)
    title = (
        f"A transformer of {size:,} weights: {bits:.2f} bits per held-out character of {text.name}"
    )
    draw(history, by_place, sample, title, options.picture)
    if options.record:
        names = ("steps", "batch", "block", "seed", "device")
        settings = {name: getattr(options, name) for name in names}
        about = {"text": text.name, "held_out_characters": len(held_out), "parameters": size}
        record(options.record, history, {**about, **settings})
    support.summary(
        ("data", f"{text.name}: {len(data)} characters to learn, {len(held_out)} held out"),
        ("network", f"{size:,} weights, {options.block} characters of context"),
        ("held-out loss", f"{nats:.3f} nats, {bits:.3f} bits per character"),
        ("training took", f"{history.seconds[-1]:.0f} s ({history.cpu_seconds[-1]:.0f} s of CPU)"),
        ("writing took", f"{1000 * watch.seconds / length:.1f} ms a character"),
    )
    print(f"\n{sample}")


if __name__ == "__main__":
    main()
