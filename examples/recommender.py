"""A recommender: matrix factorisation of 100 000 film ratings.

Every person u and every film i gets a bias and a vector, all of them learnt,

    r(u, i) = mu + b_u + c_i + p_u . q_i,

so that what the vectors mean is found by the data (Koren, Bell and Volinsky, IEEE Computer 42,
2009, 30). The loss is the squared error plus a penalty on the biases and vectors in use; without it
a film with three ratings would get whatever vector explains these three. The embeddings are looked
up by number, `nn.Embedding`; their gradient is a scatter-add into the rows that were used.

The ratings are MovieLens-100k as it lies in the package recbole (`pip install --no-deps recbole`).
`--data FILE` reads lines of `user item rating` with tabs between them instead, as in MovieLens'
own u.data. Which ratings are held out never depends on the seed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gradengine as ge
import support
from gradengine import nn
from gradengine.data import DataLoader, TensorDataset
from gradengine.datasets import load, read_csv

Array = Any

RATE, BIAS_PENALTY, VECTOR_PENALTY = 1e-2, 0.01, 0.12


# --- data ----------------------------------------------------------------------------------------


@dataclass
class Ratings:
    """Three columns of one length, users and items numbered from 0, and the items' titles."""

    user: Array
    item: Array
    rating: Array
    titles: tuple[str, ...]
    users: int

    def part(self, rows: Array) -> Ratings:
        columns = (self.user[rows], self.item[rows], self.rating[rows])
        return Ratings(*columns, self.titles, self.users)

    def split(self, held_out: float = 0.1) -> tuple[Ratings, Ratings]:
        """What is learnt from, and what is held out."""
        order = np.random.default_rng(0).permutation(len(self.rating))
        cut = round(held_out * len(order))
        return self.part(order[cut:]), self.part(order[:cut])


def read(path: str | None) -> Ratings:
    """MovieLens-100k, or the ratings in a file."""
    if path is None:
        table = load("movielens_100k")
        user, item, rating = (table[name] for name in ("user", "item", "rating"))
        return Ratings(user, item, rating, table.categories["item"], int(user.max()) + 1)
    kinds = {"0": "category", "1": "category", "2": "float"}
    table = read_csv(path, header=False, delimiter="\t", kinds=kinds)
    users, items = table.categories["0"], table.categories["1"]
    return Ratings(table["0"], table["1"], table["2"].astype(np.float32), items, len(users))


# --- what there is to beat -----------------------------------------------------------------------


def rmse(found: Array, ratings: Ratings) -> float:
    """The root of the mean squared error, in stars."""
    return float(np.sqrt(np.mean((found - ratings.rating) ** 2, dtype=np.float64)))


def means(values: Array, groups: Array, count: int, shrink: float) -> Array:
    """The mean of each group, drawn to 0 as if it held `shrink` more zeros."""
    sizes = np.bincount(groups, minlength=count)
    return np.bincount(groups, values, count) / np.maximum(sizes + shrink, 1)


def baselines(train: Ratings, test: Ratings) -> dict[str, float]:
    """RMSE of the mean of all, of each person's mean, and of person and film biases."""
    middle = float(train.rating.mean(dtype=np.float64))
    rest = train.rating - middle
    alone = means(rest, train.user, train.users, shrink=0)
    film = means(rest, train.item, len(train.titles), shrink=5)
    person = means(rest - film[train.item], train.user, train.users, shrink=5)
    return {
        "global mean": rmse(np.float64(middle), test),
        "mean of the person": rmse(middle + alone[test.user], test),
        "person + film bias": rmse(middle + person[test.user] + film[test.item], test),
    }


# --- model ---------------------------------------------------------------------------------------


class Factors(nn.Module):
    """r(u, i) = mu + b_u + c_i + p_u . q_i for rows of user and item numbers."""

    def __init__(self, users: int, items: int, rank: int, middle: float) -> None:
        super().__init__()
        self.middle = middle
        self.p, self.q = nn.Embedding(users, rank), nn.Embedding(items, rank)
        self.b, self.c = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for vectors in (self.p, self.q):
            nn.init.normal_(vectors.weight, std=0.1)
        for biases in (self.b, self.c):
            nn.init.zeros_(biases.weight)

    def forward(self, user: ge.Tensor, item: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        """The ratings, and the penalty on the rows that were looked up; both (batch,)."""
        p, q, b, c = self.p(user), self.q(item), self.b(user)[:, 0], self.c(item)[:, 0]
        penalty = BIAS_PENALTY * (b**2 + c**2)
        penalty = penalty + VECTOR_PENALTY * (p**2 + q**2).sum(axis=1)
        return self.middle + b + c + (p * q).sum(axis=1), penalty


@dataclass
class History:
    """RMSE after each epoch."""

    train: list[float] = field(default_factory=list[float])
    test: list[float] = field(default_factory=list[float])


def tensors(ratings: Ratings) -> tuple[ge.Tensor, ge.Tensor, ge.Tensor]:
    return ge.tensor(ratings.user), ge.tensor(ratings.item), ge.tensor(ratings.rating)


def train_model(model: Factors, train: Ratings, test: Ratings, epochs: int, batch: int) -> History:
    """Adam with a rate that falls to nothing along a cosine."""
    loader = DataLoader(TensorDataset(*tensors(train)), batch_size=batch, shuffle=True)
    optimizer = ge.optim.Adam(model.parameters(), lr=RATE)
    steps = epochs * len(loader)
    schedule = ge.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    history = History()
    with support.progress(None, "training", "batch", total=steps) as bar:
        for _ in range(epochs):
            for user, item, rating in loader:
                found, penalty = model(user, item)
                loss = ((found - rating) ** 2 + penalty).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            history.train.append(rmse(predict(model, train), train))
            history.test.append(rmse(predict(model, test), test))
            bar.set_postfix(held_out=f"{history.test[-1]:.4f}")
    return history


def predict(model: Factors, ratings: Ratings) -> Array:
    """What the model expects, kept between the least and the most stars there are."""
    user, item, rating = tensors(ratings)
    with ge.no_grad():
        return ge.clip(model(user, item)[0], rating.min(), rating.max()).numpy()


# --- what the vectors mean -----------------------------------------------------------------------


def neighbours(vectors: Array, known: Array, title: int, count: int = 4) -> list[int]:
    """The films whose vectors point most nearly the same way, among those in `known`."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = units[known] @ units[title]
    return [int(i) for i in known[np.argsort(-near)] if i != title][:count]


def spoken(title: str) -> str:
    """The article, which the catalogue puts last, in its place."""
    head, _, tail = title.rpartition(", ")
    return f"{tail} {head}" if head and len(tail) <= 3 else title


def plane(vectors: Array) -> tuple[Array, Array]:
    """The two principal components of the vectors, and their shares of the variance."""
    _, sizes, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    return vectors @ axes[:2].T, sizes[:2] ** 2 / (sizes**2).sum()


# --- picture -------------------------------------------------------------------------------------


def draw(
    history: History, beaten: dict[str, float], model: Factors, train: Ratings, path: str
) -> None:
    """The learning curve over the baselines, and a map of the films."""
    title = (
        f"Films and people as vectors: held-out error {history.test[-1]:.3f} stars, "
        f"{beaten['person + film bias']:.3f} without the vectors"
    )
    figure = support.figure(10, 5.6, title)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.9))
    axes = figure.add_subplot(grid[0])
    epochs = np.arange(1, len(history.test) + 1)
    axes.plot(epochs, history.train, color=support.BLUE, label="training ratings")
    axes.plot(epochs, history.test, color=support.ORANGE, label="held-out ratings")
    for (name, value), colour in zip(beaten.items(), support.COLOURS[::-1], strict=False):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1, label=name)
    support.legend(axes, "upper right")
    support.label(axes, "root mean squared error", "epoch", "stars")
    draw_map(figure.add_subplot(grid[1]), model.q.weight.numpy(), train)
    support.save(figure, path)


def draw_map(axes: Any, vectors: Array, train: Ratings, labels: int = 30) -> None:
    """Films by the two main directions of their vectors; the outermost have their titles."""
    counts = np.bincount(train.item, minlength=len(train.titles))
    known = np.argsort(-counts)[: min(300, len(counts))]
    known = known[counts[known] > 0]
    places, shares = plane(vectors[known])
    stars = means(train.rating, train.item, len(train.titles), shrink=0)[known]
    dots = axes.scatter(*places.T, c=stars, s=counts[known] / 8 + 4, cmap="viridis", linewidths=0)
    axes.figure.colorbar(dots, ax=axes, label="mean rating, stars", shrink=0.7, pad=0.01)
    spread = np.ptp(places, axis=0) + 1e-9
    far = np.linalg.norm((places - places.mean(0)) / spread, axis=1)
    named: list[Array] = []
    for i in np.argsort(-far):  # from outside to inside, wherever there is room for a title
        apart = np.abs([(places[i] - other) / spread for other in named] or [(1, 1)])
        if len(named) < labels and np.all((apart[:, 0] > 0.3) | (apart[:, 1] > 0.035)):
            named.append(places[i])
            where = {"xytext": (4, 3), "textcoords": "offset points"}
            axes.annotate(spoken(train.titles[known[i]])[:26], places[i], fontsize=7, **where)
    axes.margins(x=0.17)
    support.label(
        axes,
        f"the {len(known)} films rated most, larger dots more often",
        f"first principal component of q ({shares[0]:.0%} of the variance)",
        f"second ({shares[1]:.0%})",
    )


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Load, train, evaluate, draw, sum up."""
    parser = support.parser(__doc__, __file__)
    parser.add_argument("--data", metavar="FILE", help="user, item, rating, with tabs between")
    parser.add_argument("--epochs", type=support.positive, default=30, help="default: 30")
    parser.add_argument("--rank", type=support.positive, default=32, help="default: 32")
    parser.add_argument("--batch", type=support.positive, default=1000, help="default: 1000")
    run(support.start(parser))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    ratings = support.load(read, options.data)
    train, test = ratings.split()
    beaten = baselines(train, test)
    middle = float(train.rating.mean(dtype=np.float64))
    model = Factors(train.users, len(train.titles), options.rank, middle)
    epochs = min(options.epochs, 3) if options.quick else options.epochs
    with support.Stopwatch() as watch:
        history = train_model(model, train, test, epochs, options.batch)
    draw(history, beaten, model, train, options.picture)
    counts = np.bincount(train.item, minlength=len(train.titles))
    known = np.flatnonzero(counts >= min(50, np.sort(counts)[-5:].min()))
    first = int(counts.argmax())
    like = neighbours(model.q.weight.numpy(), known, first)
    support.summary(
        (
            "data",
            f"{len(train.rating):,} ratings by {train.users} people of {len(train.titles)}"
            f" films, {len(test.rating):,} held out",
        ),
        *((name, f"{value:.4f}") for name, value in beaten.items()),
        ("factorisation", f"{history.test[-1]:.4f} stars RMSE after {epochs} epochs"),
        (f"like {spoken(train.titles[first])}", "; ".join(spoken(train.titles[i]) for i in like)),
        ("training took", f"{watch.seconds:.1f} s"),
    )


if __name__ == "__main__":
    main()
