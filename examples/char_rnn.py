"""A recurrent network learns to write, character by character, by truncated back-propagation.

    h_t, c_t = LSTM(x_t, h_{t-1}, c_{t-1}),    p(x_{t+1} | all before) = softmax(W h_t + b)

The text is cut into `--batch` streams, which are read side by side, `--length` characters a step.
What the network remembers, (h, c), is carried on from step to step, but `detach()` cuts off how it
came about, so that a gradient goes back `--length` characters at most and a step costs the same
wherever in the text it stands (Williams and Peng, Neural Computation 2 (1990) 490). Gradients still
multiply along those, and sometimes explode: they are clipped by norm (arXiv:1211.5063), and the
picture shows how often. LSTM: Hochreiter and Schmidhuber, Neural Computation 9 (1997) 1735.

Ctrl-C ends the step and saves; `--resume` goes on and reaches, bit for bit, what a run that was
never interrupted reaches.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn

Array = Any
State = tuple[ge.Tensor, ge.Tensor]

RATE, DROPOUT, CLIP = 4e-3, 0.2, 0.3
TEMPERATURE = 0.7


# --- model ---------------------------------------------------------------------------------------


class CharRNN(nn.Module):
    """Tokens (length, batch) and a state to logits (length, batch, characters) and the next state.

    The state is (h, c), each (layers, batch, hidden); None stands for zeros.
    """

    def __init__(self, characters: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, 64)
        self.lstm = nn.LSTM(64, hidden, layers)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(hidden, characters)

    def forward(self, tokens: ge.Tensor, state: State | None) -> tuple[ge.Tensor, State]:
        outputs, state = self.lstm(self.embedding(tokens), state)
        return self.head(self.dropout(outputs)), state


def next_loss(logits: ge.Tensor, following: ge.Tensor) -> ge.Tensor:
    """The mean cross-entropy in nats of the characters that did follow."""
    return ge.cross_entropy(logits.reshape(-1, logits.shape[-1]), following.reshape(-1))


def streams(tokens: Array, count: int) -> ge.Tensor:
    """The text cut into `count` pieces, one a column, which are read downwards side by side."""
    rows = len(tokens) // count
    return ge.tensor(np.ascontiguousarray(tokens[: rows * count].reshape(count, rows).T))


# --- training ------------------------------------------------------------------------------------


class Training:
    """All that changes while training; `checkpoint` saves it whole and brings it back."""

    def __init__(self, model: CharRNN, steps: int, path: str, settings: dict[str, Any]) -> None:
        self.model, self.steps, self.settings = model, steps, settings
        self.optimizer = ge.optim.Adam(model.parameters(), lr=RATE)
        schedules = ge.optim.lr_scheduler
        self.schedule = schedules.CosineAnnealingLR(self.optimizer, T_max=steps, eta_min=RATE / 50)
        self.step = 0
        self.state: State | None = None
        self.history: dict[str, list[float]] = {name: [] for name in ("loss", "norm", "held_out")}
        parts = {"model": model, "optimizer": self.optimizer, "schedule": self.schedule}
        self.checkpoint = ge.Checkpoint(path, **parts)

    def save(self) -> None:
        extra = {"state": self.state, "history": self.history, "settings": self.settings}
        self.checkpoint.save(self.step, **extra)

    def resume(self) -> None:
        """Go on from the checkpoint, unless it is of another run: text, sizes or steps differ."""
        found = support.load(self.checkpoint.restore)
        if found["settings"] != self.settings:
            names = [name for name, x in self.settings.items() if found["settings"].get(name) != x]
            sys.exit(f"{self.checkpoint.path}: another {', '.join(names)}; give the same options")
        self.step, self.state, self.history = found["step"], found["state"], found["history"]

    def one_step(self, x: ge.Tensor, y: ge.Tensor) -> None:
        """Forward, backward through the characters of this step, clip, update."""
        logits, state = self.model(x, self.state)
        loss = next_loss(logits, y)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.schedule.step()
        self.state = (state[0].detach(), state[1].detach())  # carry what, not how it came about
        self.step += 1
        self.history["loss"].append(loss.item())
        self.history["norm"].append(norm.item())


class CtrlC:
    """Inside `with CtrlC() as pressed` Ctrl-C only sets `pressed.once`; a second interrupts."""

    once = False

    def __enter__(self) -> CtrlC:
        self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def _press(self, *_: object) -> None:
        self.once = True
        signal.signal(signal.SIGINT, self.before)


def train(training: Training, data: Array, held_out: Array, batch: int, length: int) -> bool:
    """Read the streams from top to bottom again and again; False if Ctrl-C ended it early."""
    columns, every = streams(data, batch), max(1, training.steps // 20)
    a_pass = (columns.shape[0] - 1) // length
    bar = support.progress(None, "training", total=training.steps)
    bar.update(training.step)
    with bar, CtrlC() as pressed:
        while training.step < training.steps and not pressed.once:
            top = training.step % a_pass * length
            if top == 0:
                training.state = None  # back at the top of the streams: nothing was read yet
            piece = columns[top : top + length + 1]
            training.one_step(piece[:-1], piece[1:])
            if training.step % every == 0:
                training.history["held_out"].append(evaluate(training.model, held_out))
                training.save()
                bar.set_postfix(held_out=f"{training.history['held_out'][-1]:.3f}")
            bar.update()
    training.save()
    return training.step == training.steps


def evaluate(model: CharRNN, tokens: Array, count: int = 16, length: int = 256) -> float:
    """Nats per character of the text, read in `count` streams with the state carried on."""
    columns, state, total = streams(tokens, count), None, 0.0
    rows = columns.shape[0] - 1
    model.eval()
    with ge.no_grad():
        for top in range(0, rows, length):
            piece = columns[top : min(top + length, rows) + 1]
            logits, state = model(piece[:-1], state)
            total += next_loss(logits, piece[1:]).item() * (len(piece) - 1)
    model.train()
    return total / rows


# --- writing -------------------------------------------------------------------------------------


def write(model: CharRNN, prompt: Array, length: int) -> list[int]:
    """The prompt and `length` tokens more: each is drawn, then read."""
    new, state = prompt.tolist(), None
    tokens: list[int] = list(new)
    model.eval()
    with ge.no_grad():
        for _ in range(length):
            logits, state = model(ge.tensor(new)[:, None], state)
            new = [int(support.pick(logits[-1, 0], TEMPERATURE))]
            tokens += new
    return tokens


# --- picture -------------------------------------------------------------------------------------


def draw(history: dict[str, list[float]], sample: str, title: str, path: str) -> None:
    """Loss curves and gradient norms, and below them what the network writes."""
    figure = support.figure(10, 6.2, title)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1))
    steps = np.arange(1, len(history["loss"]) + 1)
    axes = figure.add_subplot(grid[0, 0])
    support.curve(axes, steps, history["loss"], support.BLUE, "training")
    places = np.linspace(0, len(steps), len(history["held_out"]) + 1)[1:]
    axes.plot(places, history["held_out"], ".-", color=support.ORANGE, label="held out")
    support.bits_axis(axes)
    support.label(axes, "cross-entropy", "step", "nats per character")
    support.legend(axes)
    axes = figure.add_subplot(grid[0, 1])
    clipped = np.mean(np.array(history["norm"]) > CLIP)
    support.curve(axes, steps, history["norm"], support.GREEN, "norm")
    axes.axhline(CLIP, color=support.RED, linewidth=1, label=f"clipped here: {clipped:.0%}")
    axes.set_ylim(0, max(np.percentile(history["norm"], 99.5), 1.2 * CLIP))
    support.label(axes, "norm of the gradient before clipping", "step")
    support.legend(axes)
    text = f"written by the network, at temperature {TEMPERATURE}"
    support.passage(figure.add_subplot(grid[1, :]), text, sample)
    support.save(figure, path)


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Read, train, write, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    add = parser.add_argument
    add("--text", metavar="FILE", help="default: the help topics of Python")
    add("--steps", type=support.positive, default=1500, help="default: 1500")
    add("--batch", type=support.positive, default=32, help="streams (default: 32)")
    add("--length", type=support.positive, default=64, help="characters a step (default: 64)")
    add("--hidden", type=support.positive, default=256, help="default: 256")
    add("--layers", type=support.positive, default=1, help="default: 1")
    add("--prompt", default="\n", help="what it goes on from (default: a new line)")
    name = "char_rnn.safetensors"
    add("--checkpoint", metavar="FILE", default=name, help=f"where to save (default: {name})")
    add("--resume", action="store_true", help="go on from the checkpoint")
    sys.exit(run(support.start(parser)))


def run(options: argparse.Namespace) -> int:
    """Everything after the command line."""
    text = support.read(options.text, least=320 + 2 * options.batch * (options.length + 1))
    prompt = text.vocabulary.encode(options.prompt or "\n")
    data, held_out = text.split()
    written = 600
    if options.quick:
        data, held_out, written = data[:40_000], held_out[:4_000], 100
        options.steps, options.hidden = min(options.steps, 120), min(options.hidden, 64)
    names = ("steps", "batch", "length", "hidden", "layers", "seed")
    settings = {name: getattr(options, name) for name in names}
    settings["text"] = f"{text.name}: {text.vocabulary.characters}"
    model = CharRNN(len(text.vocabulary), options.hidden, options.layers)
    training = Training(model, options.steps, options.checkpoint, settings)
    if options.resume:
        training.resume()
    with support.Stopwatch() as watch:
        before = training.step
        finished = train(training, data, held_out, options.batch, options.length)
    if not finished:
        print(f"interrupted after step {training.step}, saved; --resume goes on from there")
        return 130  # what a shell calls a program that Ctrl-C has ended
    sample = text.vocabulary.decode(write(model, prompt, written))
    size = sum(p.size for p in model.parameters())
    nats = training.history["held_out"][-1]
    bits = nats / math.log(2)
    title = f"An LSTM of {size:,} weights: {bits:.2f} bits per held-out character of {text.name}"
    draw(training.history, sample, title, options.picture)
    support.summary(
        ("data", f"{text.name}: {len(data)} characters to learn, {len(held_out)} held out"),
        ("network", f"{size:,} weights"),
        ("held-out loss", f"{nats:.3f} nats, {bits:.3f} bits per character"),
        ("training took", f"{watch.seconds:.0f} s for {training.step - before} steps"),
    )
    print(f"\n{sample}")
    return 0


if __name__ == "__main__":
    main()
