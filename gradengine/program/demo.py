"""`gradengine demo`: a multilayer perceptron learns to read real handwritten digits.

The whole of a training program, written once, for the command line and for `examples/digits.py`:
data and held-out split, network, mini-batches with Adam, evaluation. It stands on the public names
of gradengine only, so that it can be copied and changed; the picture is made by picture.py.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

import gradengine as ge
from gradengine.datasets import Dataset, load_digits, load_mnist
from gradengine.datasets.idx import has_part
from gradengine.device import cuda_is_available
from gradengine.program import diagnostics, picture

Array = Any

# --- options -------------------------------------------------------------------------------------


@dataclass
class Options:
    """What can be chosen; the defaults reach 98 % on the digits in a few seconds.

    Matrices this small stay below the size at which BLAS starts threads, which costs far more than
    it brings when other programs use the same cores.
    """

    data: str | None = None
    device: str = "auto"
    seed: int = 0
    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    hidden: tuple[int, ...] = (128, 64)
    out: str = "gradengine-demo.png"
    quick: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command-line form of Options."""
    default = Options()
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with MNIST's IDX files, gzipped or not")
    add("--device", default=default.device, help='"auto" (default), "cpu", "cuda", "cuda:1"')
    add("--seed", type=int, default=default.seed, help="of weights and batches (default: 0)")
    add("--epochs", type=_positive, default=default.epochs, help="passes over the data")
    add("--quick", action="store_true", help="three epochs only: a smoke test")
    add("--out", metavar="PNG", default=default.out, help=f"the picture (default: {default.out})")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def command(parsed: argparse.Namespace) -> int:
    """Run the demo with options from the command line."""
    known = Options.__dataclass_fields__
    run(Options(**{name: value for name, value in vars(parsed).items() if name in known}))
    return 0


# --- the program ---------------------------------------------------------------------------------


@dataclass
class History:
    """What was observed while training."""

    device: str
    loss: list[float] = field(default_factory=list[float])  # each step
    train_accuracy: list[float] = field(default_factory=list[float])  # each epoch
    test_accuracy: list[float] = field(default_factory=list[float])  # each epoch
    gradient_norms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    norm_steps: list[int] = field(default_factory=list[int])
    seconds: float = 0.0
    samples: int = 0

    @property
    def speed(self) -> float:
        """Training samples a second."""
        return self.samples / max(self.seconds, 1e-9)


def run(options: Options) -> History:
    """Load, train, evaluate, draw; prints what a person wants to know on the way."""
    picture.require_matplotlib()  # before the training, not after it
    train_set, test_set = load(options.data)
    device = choose_device(options.device)
    model = perceptron(train_set, options).to(device)
    height, width = train_set.images.shape[1:]
    print(
        f"data      {train_set.name}: {len(train_set)} images of {height}x{width} pixels to learn"
    )
    print(f"          {len(test_set)} held out")
    print(f"network   {model_text(model)}")
    print(f"device    {device_text(device)}", flush=True)
    history = train(model, train_set, test_set, options, device)
    predictions = predict(model, test_set, device)
    right = int((predictions == test_set.labels).sum())
    print(f"accuracy  {right / len(test_set):.2%} of the held-out images ({right})")
    print(f"time      {history.seconds:.1f} s of training, {history.speed:,.0f} samples/s")
    picture.save(history, test_set, predictions, options.out)
    print(f"picture   {options.out}")
    return history


def load(folder: str | None) -> tuple[Dataset, Dataset]:
    """Train and test part: the digits, or the IDX files in `folder`.

    A folder with one part only is split; which images are held out never depends on the run's seed,
    so that accuracies can be compared.
    """
    if folder is None:
        return load_digits().split(held_out=0.2)
    if not has_part(folder, "test"):
        return load_mnist(folder, "train").split(held_out=0.2)
    if not has_part(folder, "train"):
        return load_mnist(folder, "test").split(held_out=0.2)
    return load_mnist(folder, "train"), load_mnist(folder, "test")


def choose_device(name: str) -> str:
    """`name`, or for "auto" the GPU if there is one; an idle GPU is told with its remedy."""
    if name != "auto":
        return name
    if cuda_is_available():
        return "cuda"
    for finding in diagnostics.examine(diagnostics.inspect_machine()):
        if finding.level == "error":
            print(f"note      the GPU is not used: {finding.text}\n          -> {finding.remedy}")
    return "cpu"


def perceptron(data: Dataset, options: Options) -> ge.nn.Module:
    """Linear layers with ReLU between them, from pixels to one logit a class."""
    generator = ge.random.Generator(options.seed)
    sizes = [data.images[0].size, *options.hidden, data.classes]
    layers: list[ge.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [ge.nn.Linear(fan_in, fan_out, generator=generator), ge.nn.ReLU()]
    return ge.nn.Sequential(*layers[:-1])


def train(
    model: ge.nn.Module, train_set: Dataset, test_set: Dataset, options: Options, device: str
) -> History:
    """Adam on the mean cross-entropy of shuffled mini-batches."""
    images = ge.tensor(train_set.features(), device=device)
    labels = ge.tensor(train_set.labels.astype(np.int64), device=device)
    optimizer = ge.optim.Adam(model.parameters(), lr=options.rate)
    generator = ge.random.Generator(options.seed)
    history = History(str(device))
    epochs = min(options.epochs, 3) if options.quick else options.epochs
    steps = epochs * -(-len(train_set) // options.batch)
    bar: Any = tqdm(total=steps, desc="training", unit="batch", disable=None)
    with bar:
        for _ in range(epochs):
            started, right = time.perf_counter(), 0
            order = ge.random.randperm(len(train_set), device=device, generator=generator)
            for start in range(0, len(train_set), options.batch):
                rows = order[start : start + options.batch]
                logits, wanted = model(images[rows]), labels[rows]
                loss = ge.cross_entropy(logits, wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.loss.append(loss.item())
                right += (logits.argmax(1) == wanted).sum().item()
                observe_gradients(history, model, every=1 + steps // 200)
                show_progress(bar, history)
                bar.update()
            history.seconds += time.perf_counter() - started
            history.samples += len(train_set)
            history.train_accuracy.append(right / len(train_set))
            right = int((predict(model, test_set, device) == test_set.labels).sum())
            history.test_accuracy.append(right / len(test_set))
        show_progress(bar, history)
    return history


def show_progress(bar: Any, history: History) -> None:
    """The last batch's loss, and the accuracy on the held-out images after the last epoch."""
    accuracy = f"{history.test_accuracy[-1]:.2%}" if history.test_accuracy else "-"
    text = {"loss": f"{history.loss[-1]:.4f}", "accuracy": accuracy}
    bar.set_postfix(text, refresh=False)


def observe_gradients(history: History, model: ge.nn.Module, every: int) -> None:
    """The Euclidean norm of each weight's gradient, at every `every`-th step."""
    step = len(history.loss)
    if step % every:
        return
    history.norm_steps.append(step)
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            norm = 0.0 if parameter.grad is None else parameter.grad.norm().item()
            history.gradient_norms.setdefault(name, []).append(norm)


def predict(model: ge.nn.Module, data: Dataset, device: str, batch: int = 1000) -> Array:
    """The most probable class of each image."""
    features, found = data.features(), [np.empty(0, np.int64)]
    with ge.no_grad():
        for start in range(0, len(data), batch):
            logits = model(ge.tensor(features[start : start + batch], device=device))
            found.append(logits.numpy().argmax(1))
    return np.concatenate(found)


# --- text ----------------------------------------------------------------------------------------


def model_text(model: ge.nn.Module) -> str:
    """Sizes and number of parameters: "64 -> 128 -> 10, 9,610 parameters"."""
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    sizes = [weights[0].shape[1], *(weight.shape[0] for weight in weights)]
    total = sum(parameter.size for parameter in model.parameters())
    return f"{' -> '.join(str(size) for size in sizes)}, {total:,} parameters"


def device_text(device: str) -> str:
    """The device with what computes on it."""
    if device == "cpu":
        return f"cpu (NumPy {np.__version__})"
    gpus = diagnostics.inspect_machine().driver.gpus
    index = int(device.partition(":")[2] or 0)
    return f"{device} ({gpus[index]})" if index < len(gpus) else device
