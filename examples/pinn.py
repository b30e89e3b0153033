"""A network that solves a differential equation: second derivatives inside the loss.

Burgers' equation makes a smooth wave steeper until it all but breaks,

    u_t + u u_x = (0.01 / pi) u_xx,   u(x, 0) = -sin(pi x),   u(-1, t) = u(1, t) = 0,

and nobody tells the network the solution: the loss is the mean square of what is left of the
equation at random places (Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378, 2019, 686).
u_t, u_x and u_xx are exact derivatives of the network by its inputs, `ge.autograd.grad(...,
create_graph=True)` twice; training differentiates them once more. Start and ends hold by
construction (Lagaris, Likas and Fotiadis, IEEE Trans. Neural Netw. 9, 1998, 987):

    u(x, t) = -sin(pi x) + t (1 - x^2) N(x, t).

Adam finds the region, L-BFGS the solution. Half of the places are drawn where the equation is
violated most, anew before each round of L-BFGS (arXiv:2207.10289). The exact solution to compare
with is the integral of Cole and Hopf, by Gauss-Hermite quadrature.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn

Array = Any

VISCOSITY = 0.01 / np.pi
WIDTH, DEPTH, RATE = 20, 4, 3e-3
STEEP = 3.0  # the first layer's weights are so many times larger: the wave is steep
TIMES = (0.25, 0.5, 0.9)


# --- the equation --------------------------------------------------------------------------------


def exact(x: Array, t: Array, order: int = 100) -> Array:
    """u = -int sin(pi y) f(y) K ds / int f(y) K ds; y = x - s, f = exp(-cos(pi y) / 2 pi nu).

    K = exp(-s^2 / 4 nu t) becomes the weight exp(-z^2) of Gauss-Hermite by s = sqrt(4 nu t) z.
    """
    z, weights = np.polynomial.hermite.hermgauss(order)
    y = x[..., None] - np.sqrt(4 * VISCOSITY * t[..., None]) * z
    f = weights * np.exp(-(1 + np.cos(np.pi * y)) / (2 * np.pi * VISCOSITY))
    return -(np.sin(np.pi * y) * f).sum(-1) / f.sum(-1)


class Solution(nn.Module):
    """u(x, t) for rows (x, t)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in in (2, *[WIDTH] * (DEPTH - 1)):
            layers += [nn.Linear(fan_in, WIDTH), nn.Tanh()]
        self.network = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
        for layer in self.network:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, gain=STEEP if layer is layers[0] else 1.0)
                nn.init.zeros_(layer.bias)

    def forward(self, places: ge.Tensor) -> ge.Tensor:
        x, t = places[:, 0], places[:, 1]
        return -ge.sin(ge.pi * x) + t * (1 - x**2) * self.network(places)[:, 0]


def residual(u: nn.Module, places: ge.Tensor) -> ge.Tensor:
    """u_t + u u_x - nu u_xx: zero where the equation holds.

    A row of u depends on its own place alone, so the gradient of the sum has each row's own.
    """
    places = ge.tensor(places, requires_grad=True)
    value = u(places)
    (first,) = ge.autograd.grad(value.sum(), [places], create_graph=True)
    u_x, u_t = first[:, 0], first[:, 1]
    (second,) = ge.autograd.grad(u_x.sum(), [places], create_graph=True)
    return u_t + value * u_x - VISCOSITY * second[:, 0]


# --- places --------------------------------------------------------------------------------------


def anywhere(count: int) -> ge.Tensor:
    """Random (x, t) in [-1, 1] x [0, 1]."""
    return ge.rand(count, 2) * ge.tensor([2.0, 1.0]) - ge.tensor([1.0, 0.0])


def where_needed(u: nn.Module, count: int, candidates: int = 20_000) -> ge.Tensor:
    """Half anywhere; half with a probability that grows with the residual there."""
    places = anywhere(candidates)
    parts = [residual(u, places[i : i + 4000]).detach() for i in range(0, candidates, 4000)]
    wrong = ge.abs(ge.concat(parts))
    odds = ge.log(wrong / wrong.mean() + 1) - ge.log(-ge.log(ge.rand_like(wrong)))  # Gumbel's trick
    return ge.concat([anywhere(count - count // 2), places[ge.argsort(-odds)[: count // 2]]])


# --- training ------------------------------------------------------------------------------------


def error(u: nn.Module, grid: ge.Tensor, wanted: Array) -> float:
    """|u - exact| / |exact| over the grid."""
    with ge.no_grad():
        found = u(grid).numpy()
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def by_adam(u: nn.Module, count: int, steps: int, losses: list[float]) -> None:
    """New places every 100 steps."""
    optimizer = ge.optim.Adam(u.parameters(), lr=RATE)
    schedule = ge.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=1e-4)
    for step in support.progress(range(steps), "Adam"):
        if step % 100 == 0:
            places = anywhere(count)
        loss = (residual(u, places) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())


def by_lbfgs(u: nn.Module, places: ge.Tensor, passes: int, losses: list[float]) -> None:
    """At most so many evaluations of the loss, all at the same places."""
    optimizer = ge.optim.LBFGS(
        u.parameters(),
        max_iter=passes,
        max_eval=passes,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )
    with support.progress(None, "L-BFGS", "pass", total=passes) as bar:

        def closure() -> ge.Tensor:
            optimizer.zero_grad()
            loss = (residual(u, places) ** 2).mean()
            loss.backward()
            losses.append(loss.item())
            bar.update()
            return loss

        optimizer.step(closure)


# --- picture -------------------------------------------------------------------------------------


def draw(u: Array, wanted: Array, x: Array, t: Array, curves: Any, title: str, path: str) -> None:
    """The solution, its error, three cuts, and the training."""
    figure = support.figure(10, 6.2, title)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 1))
    top, bottom = grid[0].subgridspec(1, 2), grid[1].subgridspec(1, 4)
    extent = (0, 1, -1, 1)
    for place, (values, name, look) in enumerate(
        (
            (u, "u(x, t) of the network", {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}),
            (np.abs(u - wanted), "|u - exact|", {"cmap": "magma_r", "vmin": 0}),
        )
    ):
        axes = figure.add_subplot(top[place])
        shown = axes.imshow(values.T, origin="lower", extent=extent, aspect="auto", **look)
        figure.colorbar(shown, ax=axes, pad=0.01)
        support.label(axes, name, "t", "x")
        axes.grid(visible=False)
        for time in TIMES if place == 0 else ():
            axes.axvline(time, color="black", linewidth=0.8, linestyle=":")
    for place, time in enumerate(TIMES):
        axes = figure.add_subplot(bottom[place])
        row = int(np.argmin(np.abs(t - time)))
        axes.plot(x, wanted[row], color=support.BLUE, linewidth=3, alpha=0.5, label="exact")
        axes.plot(x, u[row], "--", color=support.RED, linewidth=1.4, label="network")
        support.label(axes, f"t = {t[row]:.2f}", "x", "" if place else "u")
        if place == 0:
            support.legend(axes, "upper right")
    axes = figure.add_subplot(bottom[3])
    losses, adam, rounds = curves
    axes.plot(np.arange(len(losses)), losses, color=support.PURPLE, linewidth=0.8)
    for begin in rounds:
        axes.axvline(begin, color=support.GREY, linewidth=0.8, linestyle=":")
    axes.set(yscale="log", xlim=(0, len(losses)))
    text = f"Adam to {adam}, then\nL-BFGS; dotted:\nnew places"
    box = {"color": "white", "pad": 1}
    axes.text(0.97, 0.62, text, fontsize=8, ha="right", bbox=box, transform=axes.transAxes)
    support.label(axes, "mean squared residual", "passes")
    support.save(figure, path)


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Solve, compare, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--places", type=support.positive, default=3000, help="default: 3000")
    parser.add_argument("--rounds", type=support.positive, default=4, help="of L-BFGS (default: 4)")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    ge.set_default_dtype(ge.float64)  # L-BFGS compares losses that differ in the tenth digit
    adam, passes, rounds, count = 300, 800, options.rounds, options.places
    if options.quick:
        adam, passes, rounds, count = 60, 40, 1, 500
    x, t = np.linspace(-1, 1, 201), np.linspace(0, 1, 101)
    places = np.stack(np.meshgrid(x, t), axis=-1)  # (101, 201, 2)
    wanted = exact(places[..., 0], places[..., 1])
    grid = ge.tensor(places.reshape(-1, 2))
    u = Solution()
    losses: list[float] = []
    begins: list[int] = []
    lines = [("before", f"{error(u, grid, wanted.reshape(-1)):.2e} relative L2 error")]
    with support.Stopwatch() as watch:
        by_adam(u, count, adam, losses)
        lines.append(("after Adam", f"{error(u, grid, wanted.reshape(-1)):.2e}"))
        for _ in range(rounds):
            begins.append(len(losses))
            by_lbfgs(u, where_needed(u, count), passes, losses)
            lines.append(("after L-BFGS", f"{error(u, grid, wanted.reshape(-1)):.2e}"))
    with ge.no_grad():
        found = u(grid).numpy().reshape(wanted.shape)
    reached = error(u, grid, wanted.reshape(-1))
    title = f"Burgers' equation solved by a network: relative L2 error {reached:.1e}"
    draw(found, wanted, x, t, (losses, adam, begins), title, options.picture)
    size = sum(parameter.size for parameter in u.parameters())
    support.summary(
        ("network", f"{size} weights, {count} places"),
        *lines,
        ("relative L2 error", f"{reached:.2e}"),
        ("largest error", f"{np.abs(found - wanted).max():.3f}"),
        ("training took", f"{watch.seconds:.1f} s, {len(losses)} passes"),
    )


if __name__ == "__main__":
    main()
