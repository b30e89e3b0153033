"""An op of your own: forward and derivative in NumPy, checked, then used in a network.

The op is Snake, an activation with a frequency a that is learnt for each feature (Ziyin, Hartwig
and Ueda, arXiv:2006.08195):

    y = x + sin(a x)^2 / a,   dy/dx = 1 + sin(2 a x),   dy/da = (x sin(2 a x) - sin(a x)^2 / a) / a.

Three ways to state it, each held against finite differences by `ge.testing.check_grads`:

1. Write the formula with operations of `ge`. There is nothing to derive; every order follows.
2. `ge.custom_vjp`, a rule written with operations of `ge`: one node on the tape instead of seven,
   and still every order.
3. `ge.autograd.Function` on plain arrays: for code that is NumPy, C or CUDA. It can be
   differentiated once; if its derivative is an op with a rule of its own, as often as you like.

On a GPU the arrays are CuPy's; `np.sin` of one runs there. The last way with kernels of your own is
custom_kernel.py.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn
from gradengine.datasets import load
from gradengine.testing import GradientError, check_grads

Array = Any

# --- 1: a formula of operations ------------------------------------------------------------------


def snake(x: Any, a: Any) -> Any:
    """x + sin(a x)^2 / a, for x of shape (..., features) and a of shape (features,)."""
    return x + ge.sin(a * x) ** 2 / a


def snake_pullback(g: Any, x: Any, a: Any) -> tuple[Any, Any]:
    """The cotangents of x and a; the latter is one for each element of x."""
    wave = ge.sin(2 * a * x)
    return g * (1 + wave), g * (x * wave - ge.sin(a * x) ** 2 / a) / a


# --- 2: a rule for the formula -------------------------------------------------------------------

snake_with_rule = ge.custom_vjp(snake)
snake_with_rule.defvjp(
    lambda x, a: (snake(x, a), (x, a)),  # the value, and what the rule will need
    lambda kept, g: snake_pullback(g, *kept),  # broadcast: it is summed to a's shape
)


# --- 3: plain arrays -----------------------------------------------------------------------------


class NumpySnake(ge.autograd.Function):
    """Forward and derivative in NumPy; the gradient has no derivative itself."""

    @staticmethod
    def forward(ctx: Any, x: ge.Tensor, a: ge.Tensor) -> ge.Tensor:
        ctx.save_for_backward(x, a)
        return ge.asarray(x.data + np.sin(a.data * x.data) ** 2 / a.data)

    @staticmethod
    @ge.autograd.once_differentiable
    def backward(ctx: Any, g: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        return pullback_of_arrays(g, *ctx.saved_tensors)


def pullback_of_arrays(g: ge.Tensor, x: ge.Tensor, a: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
    """`snake_pullback` with no operation of `ge` in it."""
    wave, square = np.sin(2 * a.data * x.data), np.sin(a.data * x.data) ** 2
    slopes = (1 + wave, (x.data * wave - square / a.data) / a.data)
    return ge.asarray(g.data * slopes[0]), ge.asarray(g.data * slopes[1])


class SnakePullback(ge.autograd.Function):
    """The derivative as an op of its own. Its derivative is rarely needed: the formula will do."""

    @staticmethod
    def forward(ctx: Any, *args: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        ctx.save_for_backward(*args)
        return pullback_of_arrays(*args)

    @staticmethod
    def backward(ctx: Any, *cotangents: ge.Tensor) -> Any:
        return ge.vjp(snake_pullback, *ctx.saved_tensors)[1](cotangents)


class Snake(NumpySnake):
    """`NumpySnake`, to be differentiated as often as you like."""

    @staticmethod
    def backward(ctx: Any, g: ge.Tensor) -> Any:
        return SnakePullback.apply(g, *ctx.saved_tensors)


# --- checks --------------------------------------------------------------------------------------


class WrongSnake(NumpySnake):
    """What is easily got wrong: the 2 of the double angle is missing."""

    @staticmethod
    def backward(ctx: Any, g: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        x, a = ctx.saved_tensors
        return g * (1 + ge.sin(a * x)), SnakePullback.apply(g, x, a)[1]


def check() -> list[tuple[str, str]]:
    """Every way against finite differences, and a wrong one, which must not pass."""
    x, a = ge.randn(4, 3, dtype=ge.float64), ge.rand(3, dtype=ge.float64) + 0.5
    ways = {
        "formula": (snake, 2),
        "custom_vjp": (snake_with_rule, 2),
        "Function of NumPy, once": (NumpySnake.apply, 1),
        "Function of NumPy, any order": (Snake.apply, 2),
    }
    lines: list[tuple[str, str]] = []
    for name, (f, order) in ways.items():
        modes = ("reverse",) if order == 1 else ("reverse", "forward")
        check_grads(f, (x, a), order=order, modes=modes)
        lines.append((name, f"agrees with finite differences: order {order}, {', '.join(modes)}"))
    try:
        check_grads(WrongSnake.apply, (x, a), order=1)
    except GradientError as error:
        lines.append(("a wrong rule", f"is told: {str(error).splitlines()[0]}"))
    else:
        raise AssertionError("check_grads has accepted a wrong derivative")
    return lines


# --- use -----------------------------------------------------------------------------------------


class SnakeLayer(nn.Module):
    """The op as a layer; the frequencies start around 1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.a = nn.Parameter(0.5 + ge.rand(features))

    def forward(self, x: ge.Tensor) -> ge.Tensor:
        return Snake.apply(x, self.a)


def perceptron(snakes: bool) -> nn.Sequential:
    """64 -> 64 -> 64 -> 10 with Snake or ReLU."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(64, 64), SnakeLayer(64) if snakes else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def train(model: nn.Module, steps: int, text: str) -> tuple[list[float], float]:
    """Adam on the digits, 64 at a time: the losses, and the held-out accuracy."""
    data, test = load("digits").split(held_out=0.2)
    images, labels = ge.tensor(data.features()), ge.tensor(data.labels.astype(np.int64))
    optimizer = ge.optim.Adam(model.parameters(), lr=2e-3)
    losses: list[float] = []
    for _ in support.progress(range(steps), text):
        rows = ge.randint(0, len(data), (64,))
        loss = ge.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with ge.no_grad():
        read = model(ge.tensor(test.features())).argmax(1).numpy()
    return losses, float((read == test.labels).mean())


# --- picture -------------------------------------------------------------------------------------


def draw(losses: dict[str, list[float]], frequencies: list[Array], path: str) -> None:
    """The op with its derivatives, the two trainings, and the frequencies that were learnt."""
    figure = support.figure(10, 3.9, "Snake, an op of one's own: checked, then trained on digits")
    left, middle, right = figure.subplots(1, 3)
    draw_op(left)
    for (name, values), colour in zip(losses.items(), support.COLOURS, strict=False):
        support.curve(middle, np.arange(len(values)), values, colour, name)
    middle.set_yscale("log")
    support.legend(middle, "lower left")
    support.label(middle, "training loss", "step", "cross-entropy, nats")
    for layer, (values, colour) in enumerate(zip(frequencies, support.COLOURS, strict=False)):
        right.hist(
            values, np.linspace(0, 2.5, 26), color=colour, alpha=0.6, label=f"layer {layer + 1}"
        )
    right.axvspan(0.5, 1.5, color="0.93", zorder=0, label="drawn from here")
    support.legend(right, "upper right")
    support.label(right, "frequencies a, learnt", "a", "features")
    support.save(figure, path)


def draw_op(axes: Any, a: float = 1.5, h: float = 1e-3) -> None:
    """y and two derivatives by the rule, with dots where finite differences see them."""
    x = ge.linspace(-3, 3, 301, dtype=ge.float64)
    rate = ge.full((301,), a, dtype=ge.float64)
    first = ge.grad(lambda x: Snake.apply(x, rate).sum())
    curves = {"y": Snake.apply(x, rate), "dy/dx": first(x)}
    curves["d2y/dx2"] = ge.grad(lambda x: first(x).sum())(x)
    for (name, y), colour in zip(curves.items(), support.COLOURS, strict=False):
        axes.plot(x.numpy(), y.numpy(), color=colour, label=name, linewidth=1.4)
    dots = x[::15]
    low, middle, high = (snake(dots + step, a) for step in (-h, 0, h))
    style = {"linestyle": "", "marker": "o", "markersize": 3}
    axes.plot(dots.numpy(), ((high - low) / (2 * h)).numpy(), color=support.ORANGE, **style)
    second = ((high - 2 * middle + low) / h**2).numpy()
    axes.plot(dots.numpy(), second, color=support.GREEN, label="dots: differences", **style)
    axes.set_ylim(-5.5, 4)
    support.legend(axes, "lower right")
    support.label(axes, f"x + sin(ax)^2 / a at a = {a}", "x")


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Check, train, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--steps", type=support.positive, default=1500, help="default: 1500")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    checked = check()
    steps = min(options.steps, 100) if options.quick else options.steps
    models = {"Snake": perceptron(True), "ReLU": perceptron(False)}
    with support.Stopwatch() as watch:
        found = {name: train(model, steps, name) for name, model in models.items()}
    frequencies = [m.a.numpy() for m in models["Snake"] if isinstance(m, SnakeLayer)]
    draw({name: losses for name, (losses, _) in found.items()}, frequencies, options.picture)
    support.summary(
        *checked,
        *((f"digits with {k}", f"{right:.1%} of the held out") for k, (_, right) in found.items()),
        ("training took", f"{watch.seconds:.1f} s, {steps} steps each"),
    )


if __name__ == "__main__":
    main()
