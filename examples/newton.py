"""Newton's method on a real logistic regression, with Hessians that are never written down.

Tumours are told apart by 30 measures of their cells: find the weights w that minimise

    f(w) = mean_i log(1 + exp(-s_i x_i . w)) + decay/2 |w|^2,   s_i = 1 malignant, -1 benign.

A Newton step d solves H d = -g. Conjugate gradients need only products H v, and `ge.hvp` finds one
exactly at the price of about two gradients; so no matrix is ever formed, and the system is solved
only as far as it helps (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.1). Beside it
run gradient descent with the longest safe step and L-BFGS; the same `hvp` serves SciPy as `hessp=`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.optimize

import gradengine as ge
import support
from gradengine.datasets import load

Array = Any
Loss = Callable[[ge.Tensor], ge.Tensor]

DECAY = 1e-3
SMALL = 1e-9  # the norm of the gradient at which a method has arrived


# --- problem -------------------------------------------------------------------------------------


@dataclass
class Problem:
    """Standardised measures with a column of ones, and s = 1 or -1, shapes (n, 31) and (n,)."""

    x: ge.Tensor
    s: ge.Tensor

    def loss(self, w: ge.Tensor) -> ge.Tensor:
        """f(w); the last weight is the intercept, which is not decayed."""
        margins = self.s * (self.x @ w)
        return ge.softplus(-margins).mean() + DECAY / 2 * (w[:-1] ** 2).sum()

    def accuracy(self, w: ge.Tensor) -> float:
        """The share of tumours on the right side."""
        return ((self.x @ w > 0) == (self.s > 0)).mean(dtype=ge.float64).item()


def problems() -> tuple[Problem, Problem]:
    """What is learnt from, and what is held out; both scaled by what is learnt from."""
    table = load("breast_cancer")
    names = [name for name in table.columns if name != "diagnosis"]
    parts = table.split(held_out=0.25)
    features = [part.matrix(*names, dtype=np.float64) for part in parts]
    middle, spread = features[0].mean(0), features[0].std(0)
    malignant = table.categories["diagnosis"].index("malignant")
    made = [
        Problem(
            ge.tensor(np.column_stack([(x - middle) / spread, np.ones(len(x))])),
            ge.tensor(np.where(part["diagnosis"] == malignant, 1.0, -1.0)),
        )
        for x, part in zip(features, parts, strict=True)
    ]
    return made[0], made[1]


# --- counting ------------------------------------------------------------------------------------


@dataclass
class Run:
    """A method at work: f and |g| at each iterate, and the passes it had taken by then.

    A pass is one value with its gradient; a product with the Hessian, which pushes a tangent
    through both, counts as two.
    """

    f: Loss
    losses: list[float] = field(default_factory=list[float])
    norms: list[float] = field(default_factory=list[float])
    passes: list[int] = field(default_factory=list[int])
    taken: int = 0
    w: Any = None

    def value_and_grad(self, w: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        self.taken += 1
        return ge.value_and_grad(self.f)(w)

    def product(self, w: ge.Tensor, v: ge.Tensor) -> ge.Tensor:
        self.taken += 2
        return ge.hvp(self.f, (w,), (v,))

    def note(self, w: ge.Tensor, loss: Any, norm: Any) -> None:
        self.w = w
        self.losses.append(float(loss))
        self.norms.append(float(norm))
        self.passes.append(self.taken)

    @property
    def steps(self) -> int:
        return len(self.losses) - 1


# --- three methods -------------------------------------------------------------------------------


def largest_curvature(f: Loss, w: ge.Tensor, steps: int = 50) -> float:
    """The largest eigenvalue of the Hessian at w, by power iteration on `hvp`.

    At w = 0 it bounds the curvature everywhere: p (1 - p) is nowhere above its 1/4 there.
    """
    v = ge.randn_like(w)
    for _ in range(steps):
        v = v / ge.norm(v)
        v = ge.hvp(f, (w,), (v,))
    return ge.norm(v).item()


def gradient_descent(run: Run, w: ge.Tensor, steps: int) -> None:
    """w <- w - g / L, the longest step that is safe everywhere."""
    rate = 1 / largest_curvature(run.f, w)
    for _ in support.progress(range(steps), "gradient descent"):
        loss, g = run.value_and_grad(w)
        run.note(w, loss, ge.norm(g))
        w = w - rate * g


def lbfgs(run: Run, start: ge.Tensor, steps: int) -> None:
    """The optimiser of `ge.optim`, a step at a time; it evaluates f through a closure."""
    w = ge.tensor(start, requires_grad=True)
    optimizer = ge.optim.LBFGS(
        [w],
        max_iter=1,
        max_eval=30,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    begun = False

    def closure() -> ge.Tensor:
        nonlocal begun
        optimizer.zero_grad()
        loss = run.f(w)
        loss.backward()
        if begun or not run.losses:  # a step begins by repeating where the last one ended
            run.taken += 1
        if not begun:
            run.note(w.detach().copy(), loss, ge.norm(w.grad))
        begun = True
        return loss

    for _ in support.progress(range(steps), "L-BFGS"):
        begun = False
        optimizer.step(closure)
        if run.norms[-1] < SMALL:
            break


def newton(run: Run, w: ge.Tensor, steps: int) -> None:
    """w <- w + t d with H d = -g by conjugate gradients, t halved until f falls enough."""
    for _ in support.progress(range(steps), "Newton-CG"):
        loss, g = run.value_and_grad(w)
        run.note(w, loss, ge.norm(g))
        if run.norms[-1] < SMALL:
            break
        d = newton_direction(run, w, g)
        slope, t = (g @ d).item(), 1.0
        while run.value_and_grad(w + t * d)[0].item() > loss.item() + 1e-4 * t * slope and t > 1e-6:
            t /= 2
        run.taken -= 1  # the last value is the first of the next step
        w = w + t * d


def newton_direction(run: Run, w: ge.Tensor, g: ge.Tensor) -> ge.Tensor:
    """Conjugate gradients on H d = -g, until the rest is small beside g; far away, that is soon."""
    size = ge.norm(g).item()
    enough = min(0.5, size**0.5) * size
    d = ge.zeros_like(g)
    r = p = -g
    squared = r @ r
    while squared.item() > enough**2:
        product = run.product(w, p)
        step = squared / (p @ product)
        d, r = d + step * p, r - step * product
        squared, before = r @ r, squared
        p = r + squared / before * p
    return d


METHODS = {"gradient descent": gradient_descent, "L-BFGS": lbfgs, "Newton-CG": newton}


# --- SciPy ---------------------------------------------------------------------------------------


def by_scipy(run: Run, start: ge.Tensor) -> Any:
    """`scipy.optimize.minimize` with exact first and second derivatives from here."""

    def fun(w: Array) -> tuple[float, Array]:
        loss, g = run.value_and_grad(ge.tensor(w))
        return loss.item(), g.numpy()

    def hessp(w: Array, v: Array) -> Array:
        return run.product(ge.tensor(w), ge.tensor(v)).numpy()

    return scipy.optimize.minimize(
        fun, start.numpy(), jac=True, hessp=hessp, method="trust-ncg", options={"gtol": SMALL}
    )


# --- picture -------------------------------------------------------------------------------------


def draw(runs: dict[str, Run], least: float, tumours: int, path: str) -> None:
    """How far f is from its minimum, and the gradient's norm, against iterations and passes."""
    best = runs["Newton-CG"]
    title = (
        f"Logistic regression on {tumours} tumours: Newton-CG is at the minimum after "
        f"{best.steps} steps, which took {best.passes[-1]} passes"
    )
    figure = support.figure(10, 6.6, title)
    grid = figure.subplots(2, 2, sharey="row", sharex="col")
    below = ("iterations", "passes (a gradient: 1, a Hessian product: 2)")
    for row, (left, floor) in enumerate((("f(w) - f(w*)", 1e-16), ("|gradient|", 0.0))):
        for column in range(2):
            axes = grid[row, column]
            for (name, run), colour in zip(runs.items(), support.COLOURS, strict=False):
                ys = np.array(run.norms) if row else np.array(run.losses) - least
                xs = np.array(run.passes) if column else np.arange(len(ys)) + 1
                look = ".-" if len(ys) < 100 else "-"
                axes.plot(xs, np.maximum(ys, floor), look, color=colour, linewidth=1.4, label=name)
            axes.set(xscale="log", yscale="log")
            title = ("objective above its minimum", "norm of the gradient")[row]
            support.label(axes, title, below[column] if row else "", "" if column else left)
    support.legend(grid[0, 0], "center right")
    support.save(figure, path)


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Solve with each method, compare, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    learnt, held_out = support.load(problems)
    start = ge.zeros(learnt.x.shape[1], dtype=ge.float64)
    steps = {"gradient descent": 300 if options.quick else 10_000, "L-BFGS": 500, "Newton-CG": 50}
    runs = {name: Run(learnt.loss) for name in METHODS}
    with support.Stopwatch() as watch:
        for name, method in METHODS.items():
            method(runs[name], start, steps[name])
    scipys = Run(learnt.loss)
    found = by_scipy(scipys, start)
    w = runs["Newton-CG"].w
    least = min(runs["Newton-CG"].losses)
    draw(runs, least, len(learnt.s), options.picture)
    support.summary(
        ("data", f"{len(learnt.s)} tumours to learn from, {len(held_out.s)} held out"),
        *(
            (name, f"|g| = {r.norms[-1]:.1e} after {r.steps} steps, {r.passes[-1]} passes")
            for name, r in runs.items()
        ),
        ("scipy trust-ncg", f"|g| = {np.linalg.norm(found.jac):.1e} after {scipys.taken} passes"),
        ("scipy differs by", f"{np.abs(found.x - w.numpy()).max():.1e} in its weights"),
        ("held-out accuracy", f"{held_out.accuracy(w):.2%}"),
        ("took", f"{watch.seconds:.1f} s"),
    )


if __name__ == "__main__":
    main()
