"""A weather forecast: a GRU reads four days, hour by hour, and says the next 24 temperatures.

Persistence, the weather of the same hour of the day before, is what there is to beat, so the model
says how far it will be off:

    T(t + h) = T(t + h - 24) + [A x + B gru(x)]_h,   h = 1, ..., 24,

with x the last 96 hours of temperature, dew point, pressure, wind, clouds and sunshine. The linear
part A goes round the recurrent one as in Lai, Chang, Yang and Liu (arXiv:1703.07015). Temperatures
enter relative to the mean of the last day; noise on the inputs and dropout keep the model from
knowing the few hundred days of one station by heart. The days after the 21st of each month are held
out, and no stretch reaches from one part into the other.

The hours are measured ones of Greensboro, North Carolina, in the package pvlib (`pip install
--no-deps pvlib`). `--data` takes seattle_temps or sf_temps instead (30-year averages, which hardly
change from day to day: persistence is nearly perfect) or a CSV file with columns `time`,
`temperature` in degrees Celsius and, if you like, more.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn
from gradengine.data import DataLoader, TensorDataset
from gradengine.datasets import load, read_csv, sources

Array = Any

PAST, AHEAD = 96, 24  # hours
RATE, DECAY, NOISE, DROPOUT, HIDDEN = 3e-3, 0.05, 0.15, 0.3, 32
FAHRENHEIT = ("seattle_temps", "sf_temps")


# --- data ----------------------------------------------------------------------------------------


@dataclass
class Series:
    """Hours: when they began, temperatures in degrees Celsius, and what else was measured."""

    time: Array
    temperature: Array
    others: Array  # (hours, columns)


def read(name: str) -> Series:
    """A source of gradengine.datasets, or a CSV file."""
    if name in sources():
        table = load(name)
        time, temperature = table["time"], table["temperature"]
    else:
        table = read_csv(name, kinds={"time": "text", "temperature": "float"})
        time, temperature = table["time"].astype("datetime64[s]"), table["temperature"]
    if name in FAHRENHEIT:
        temperature = (temperature - 32) / 1.8
    columns = {k: table[k] for k in table.columns if k not in ("time", "temperature")}
    if {"wind_speed", "wind_direction"} <= columns.keys():  # 1 degree and 359 are neighbours
        speed, towards = columns["wind_speed"], np.deg2rad(columns.pop("wind_direction"))
        columns |= {"wind_east": speed * np.sin(towards), "wind_north": speed * np.cos(towards)}
    others = np.stack([*columns.values()], 1) if columns else np.empty((len(time), 0))
    return Series(time, temperature, others)


def stretches(series: Series) -> tuple[Array, Array]:
    """Where stretches of 96 + 24 hours without a gap begin: to learn from, and held out."""
    hours = len(series.time)
    steps = np.diff(series.time) != np.timedelta64(3600, "s")
    days = series.time.astype("datetime64[D]") - series.time.astype("datetime64[M]")
    late = days.astype(int) >= 21
    whole = np.arange(hours - PAST - AHEAD + 1)

    def count(flags: Array, length: int) -> Array:
        """How many of the `length` flags from each beginning on are set."""
        sums = np.concatenate([[0], np.cumsum(flags)])
        return sums[whole + length] - sums[whole]

    unbroken = count(steps, PAST + AHEAD - 1) == 0
    held = count(late, PAST + AHEAD)
    return whole[unbroken & (held == 0)], whole[unbroken & (held == PAST + AHEAD)]


@dataclass
class Windows:
    """Inputs (n, 96, features), persistence and truth (n, 24), in units of `degrees` Celsius."""

    x: ge.Tensor
    persistence: ge.Tensor
    truth: ge.Tensor
    degrees: float


def windows(series: Series, starts: Array, learnt: Array) -> Windows:
    """The stretches that begin at `starts`, scaled by the mean and spread of those in `learnt`."""
    known = np.unique(learnt[:, None] + np.arange(PAST))
    columns = np.column_stack([series.temperature, series.others])
    spread = columns[known].std(0) + 1e-9
    scaled = (columns - columns[known].mean(0)) / spread
    hour = (series.time - series.time.astype("datetime64[D]")).astype(int) * (2 * np.pi / 86400)
    features = np.column_stack([scaled, np.cos(hour), np.sin(hour)]).astype(np.float32)
    table = features[starts[:, None] + np.arange(PAST + AHEAD)]
    table[:, :, 0] -= table[:, PAST - 24 : PAST, 0].mean(1, keepdims=True)
    temperature = table[:, :, 0]
    parts = (table[:, :PAST], temperature[:, PAST - 24 : PAST], temperature[:, PAST:])
    tensors = (ge.tensor(np.ascontiguousarray(part)) for part in parts)
    return Windows(*tensors, degrees=float(spread[0]))


# --- models --------------------------------------------------------------------------------------


def outline(x: ge.Tensor) -> ge.Tensor:
    """What the linear part sees: all temperatures, and everything now and a day ago."""
    return ge.concat([x[:, :, 0], x[:, -1], x[:, -24]], axis=1)


class Forecast(nn.Module):
    """Corrections to persistence: a linear part and a recurrent one."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.straight = nn.Linear(PAST + 2 * features, AHEAD)
        nn.init.zeros_(self.straight.weight)
        self.gru = nn.GRU(features, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(HIDDEN, AHEAD)

    def forward(self, x: ge.Tensor) -> ge.Tensor:
        states, _ = self.gru(x)
        return self.straight(outline(x)) + self.out(self.dropout(states[:, -1]))


def ridge(train: Windows, test: Windows, penalty: float = 30.0) -> ge.Tensor:
    """What the linear part alone would say: ridge regression in closed form."""
    a, b = (
        np.pad(outline(w.x).numpy(), ((0, 0), (0, 1)), constant_values=1) for w in (train, test)
    )
    wanted = (train.truth - train.persistence).numpy()
    weights = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ wanted)
    return test.persistence + ge.tensor((b @ weights).astype(np.float32))


def rmse(found: ge.Tensor, truth: ge.Tensor, axis: int | None = None) -> Array:
    """The root of the mean squared error."""
    return ge.sqrt(((found - truth) ** 2).mean(axis=axis)).numpy()


def train_model(
    model: Forecast, train: Windows, test: Windows, epochs: int, batch: int
) -> tuple[list[float], list[float]]:
    """AdamW on the mean squared error; the RMSE of each batch, and on what is held out."""
    data = TensorDataset(train.x, train.truth - train.persistence)
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    steps = epochs * len(loader)
    optimizer = ge.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = ge.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    batches, held_out = [], [float(rmse(predict(model, test), test.truth))]
    with support.progress(None, "training", "batch", total=steps) as bar:
        for _ in range(epochs):
            for x, y in loader:
                loss = ge.mse_loss(model(x + NOISE * ge.randn_like(x)), y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                batches.append(loss.item() ** 0.5)
                bar.update()
            held_out.append(float(rmse(predict(model, test), test.truth)))
            bar.set_postfix(held_out=f"{held_out[-1]:.3f} sd")
    return batches, held_out


def predict(model: Forecast, test: Windows, batch: int = 500) -> ge.Tensor:
    """Forecasts (n, 24)."""
    model.eval()
    with ge.no_grad():
        parts = [model(test.x[i : i + batch]) for i in range(0, len(test.x), batch)]
    model.train()
    return test.persistence + ge.concat(parts)


# --- picture -------------------------------------------------------------------------------------

Found = dict[str, tuple[Array, str, str]]  # name -> forecasts in degrees, colour, line style


def draw(
    series: Series, starts: Array, found: Found, curves: tuple[list[float], list[float]], path: str
) -> None:
    """Four forecasts against the truth, the error by lead time, and the training curve."""
    truth = series.temperature[starts[:, None] + PAST + np.arange(AHEAD)]
    errors = {name: float(np.sqrt(((y - truth) ** 2).mean())) for name, (y, *_) in found.items()}
    title = (
        f"Tomorrow's temperatures: the GRU is off by {errors['GRU']:.2f} °C, "
        f"persistence by {errors['persistence']:.2f} °C"
    )
    figure = support.figure(10, 6.4, title)
    grid = figure.add_gridspec(2, 1, height_ratios=(1.15, 1))
    top, bottom = grid[0].subgridspec(1, 4), grid[1].subgridspec(1, 2)
    midnights = np.flatnonzero(
        series.time[starts + PAST].astype("datetime64[h]").astype(int) % 24 == 0
    )
    shared = None
    for place, row in enumerate(midnights[np.linspace(2, len(midnights) - 3, 4).astype(int)]):
        shared = axes = figure.add_subplot(top[place], sharey=shared)
        draw_forecast(
            axes, series, starts[row], {k: (y[row], *look) for k, (y, *look) in found.items()}
        )
        axes.set_ylabel("" if place else "°C", fontsize=9)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    axes = figure.add_subplot(bottom[0])
    for y, colour, style in found.values():
        by_hour = np.sqrt(((y - truth) ** 2).mean(0))
        axes.plot(np.arange(AHEAD) + 1, by_hour, style, color=colour)
    axes.set(xticks=range(0, AHEAD + 1, 6), ylim=(0, None))
    support.label(axes, "held-out error by hours ahead", "hours ahead", "RMSE, °C")
    axes = figure.add_subplot(bottom[1])
    batches, held_out = curves
    steps = np.arange(len(batches)) + 1
    support.curve(axes, steps, batches, support.BLUE, "training batches (with noise)")
    ends = np.linspace(0, len(batches), len(held_out))
    axes.plot(ends, held_out, "o-", color=support.RED, markersize=3, label="held out")
    support.legend(axes, "upper right")
    support.label(axes, "training", "step", "RMSE, °C")
    support.save(figure, path)


def draw_forecast(axes: Any, series: Series, start: int, found: Any) -> None:
    """Two days that are known, and the third as forecast and as it came."""
    before = 48
    hours = np.arange(-before, AHEAD)
    values = series.temperature[start + PAST - before : start + PAST + AHEAD]
    axes.plot(hours, values, color="black", linewidth=1.6, label="truth")
    for name, (y, colour, style) in found.items():
        axes.plot(np.arange(AHEAD), y, style, color=colour, linewidth=1.4, label=name)
    axes.axvspan(-before, 0, color="0.95")
    axes.set_xticks((-48, -24, 0, 24))
    support.label(axes, str(series.time[start + PAST].astype("datetime64[D]")), "hours from now")


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Load, train, evaluate, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    add = parser.add_argument
    add("--data", metavar="NAME", default="greensboro_weather", help="a source, or a CSV file")
    add("--epochs", type=support.positive, default=8, help="default: 8")
    add("--batch", type=support.positive, default=128, help="default: 128")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    series = support.load(read, options.data)
    learnt, held_out = stretches(series)
    train, test = windows(series, learnt, learnt), windows(series, held_out, learnt)
    model = Forecast(train.x.shape[2])
    epochs = 1 if options.quick else options.epochs
    with support.Stopwatch() as watch:
        curves = train_model(model, train, test, epochs, options.batch)
    same_hour = series.temperature[held_out[:, None] + PAST - 24 + np.arange(AHEAD)]
    changes = {
        "persistence": (test.persistence, support.GREY, ":"),
        "linear regression": (ridge(train, test), support.BLUE, "--"),
        "GRU": (predict(model, test), support.ORANGE, "-"),
    }
    found: Found = {
        name: (same_hour + (y - test.persistence).numpy() * test.degrees, *look)
        for name, (y, *look) in changes.items()
    }
    errors = {k: float(rmse(y, test.truth)) * test.degrees for k, (y, *_) in changes.items()}
    draw(
        series,
        held_out,
        found,
        tuple([test.degrees * x for x in c] for c in curves),
        options.picture,
    )
    support.summary(
        (
            "data",
            f"{options.data}: {len(learnt)} stretches to learn from, {len(held_out)} held out",
        ),
        *((name, f"{error:.3f} °C RMSE over the next 24 hours") for name, error in errors.items()),
        ("training took", f"{watch.seconds:.1f} s, {epochs} epochs"),
    )


if __name__ == "__main__":
    main()
