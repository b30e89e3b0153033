"""The parts of the examples that make claims, checked against something that knows the answer.

test_examples.py runs each example as a whole; here their functions are imported and compared with
scikit-learn, with exact solutions, with data made for the purpose.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradengine as ge

FOLDER = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module", autouse=True)
def examples_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def example(name: str) -> Any:
    pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
    return importlib.import_module(name)


# --- newton.py -----------------------------------------------------------------------------------


def test_newton_finds_scikit_learns_optimum():
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    newton = example("newton")
    problem, _ = newton.problems()
    run = newton.Run(problem.loss)
    newton.newton(run, ge.zeros(31, dtype=ge.float64), 30)
    x, s = problem.x.numpy(), problem.s.numpy()
    theirs = linear.LogisticRegression(C=1 / (newton.DECAY * len(s)), tol=1e-10, max_iter=1000)
    theirs.fit(x[:, :-1], s)
    expected = np.append(theirs.coef_[0], theirs.intercept_)
    np.testing.assert_allclose(run.w.numpy(), expected, atol=2e-4)
    assert run.norms[-1] < 1e-9


def test_newton_converges_superlinearly():
    newton = example("newton")
    matrix = ge.tensor(np.random.default_rng(0).normal(size=(50, 5)))
    problem = newton.Problem(matrix, ge.tensor(np.where(matrix.numpy()[:, 0] > 0.3, 1.0, -1.0)))
    run = newton.Run(problem.loss)
    newton.newton(run, ge.zeros(5, dtype=ge.float64), 30)
    ratios = np.array(run.norms[1:]) / np.array(run.norms[:-1])
    assert ratios[-1] < 1e-2 * ratios[0]
    hessian = ge.hessian(problem.loss)(ge.zeros(5, dtype=ge.float64)).numpy()
    largest = newton.largest_curvature(problem.loss, ge.zeros(5, dtype=ge.float64))
    np.testing.assert_allclose(largest, np.linalg.eigvalsh(hessian)[-1], rtol=1e-3)


# --- recommender.py ------------------------------------------------------------------------------


@pytest.fixture
def ratings_file(tmp_path: Path) -> Path:
    """Ratings that are mu + b + c + p . q of rank 1, in whole and half stars, in u.data's form."""
    random = np.random.default_rng(1)
    users, items = 40, 30
    p, q = random.choice([-1.0, 1.0], users), random.choice([-1.0, 1.0], items)
    stars = 3 + np.outer(p, q) + random.choice([-0.5, 0.5], (1, items))
    lines = [
        f"u{user}\t{100 + item}\t{stars[user, item]}\t0"
        for user in range(users)
        for item in range(items)
        if random.random() < 0.7
    ]
    path = tmp_path / "ratings.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_recommender_finds_vectors_that_biases_cannot_replace(ratings_file: Path):
    recommender = example("recommender")
    ratings = recommender.read(str(ratings_file))
    assert (ratings.users, len(ratings.titles)) == (40, 30)
    train, test = ratings.split(0.2)
    assert len(train.rating) + len(test.rating) == len(ratings.rating)
    beaten = recommender.baselines(train, test)
    model = recommender.Factors(train.users, len(train.titles), 2, float(train.rating.mean()))
    history = recommender.train_model(model, train, test, epochs=40, batch=50)
    assert history.test[-1] < 0.6 * min(beaten.values())
    assert beaten["global mean"] > 0.9


def test_baselines_by_hand():
    recommender = example("recommender")
    numbers = np.array([0, 0, 1, 1])
    stars = np.array([5, 4, 2, 1], np.float32)
    ratings = recommender.Ratings(numbers, np.array([0, 1, 0, 1]), stars, ("a", "b"), 2)
    found = recommender.baselines(ratings, ratings)
    assert found["global mean"] == pytest.approx(np.sqrt(2.5))
    assert found["mean of the person"] == pytest.approx(0.5)
    assert recommender.spoken("Postino, Il") == "Il Postino"
    assert recommender.spoken("Mad Love, or Not") == "Mad Love, or Not"


def test_the_recommender_reads_a_file_from_its_command_line(ratings_file, tmp_path, monkeypatch):
    recommender = example("recommender")
    picture = tmp_path / "out.png"
    arguments = ["--quick", "--data", str(ratings_file), "--picture", str(picture), "--rank", "4"]
    monkeypatch.setattr(sys, "argv", ["recommender.py", *arguments])
    with ge.default_device("cpu"):
        recommender.main()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_missing_ratings_name_the_command_that_brings_them(monkeypatch):
    recommender = example("recommender")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ge.DataError, match="pip install --no-deps recbole"):
        recommender.read(None)


# --- time_series.py ------------------------------------------------------------------------------


@pytest.fixture
def weather_file(tmp_path: Path) -> Path:
    """Two months, hour by hour, with a gap; the air warms by a degree a day, then cools again."""
    hours = np.delete(np.arange(24 * 60), [700])
    random = np.random.default_rng(0)
    slow = np.abs(hours / 24 % 12 - 6)
    values = slow + 5 * np.sin(hours * 2 * np.pi / 24) + 0.05 * random.normal(size=len(hours))
    times = np.datetime64("2021-01-01T00:00:00") + hours.astype("timedelta64[h]")
    rows = [f"{t},{v:.2f}" for t, v in zip(times, values, strict=True)]
    path = tmp_path / "weather.csv"
    path.write_text("\n".join(["time,temperature", *rows]), encoding="utf-8")
    return path


def test_stretches_of_weather_keep_to_their_part(weather_file: Path):
    forecast = example("time_series")
    series = forecast.read(str(weather_file))
    learnt, held_out = forecast.stretches(series)
    late = (series.time.astype("datetime64[D]") - series.time.astype("datetime64[M]")).astype(int)
    for starts, wanted in ((learnt, False), (held_out, True)):
        rows = starts[:, None] + np.arange(forecast.PAST + forecast.AHEAD)
        assert len(starts) > 50
        assert ((late[rows] >= 21) == wanted).all()
        assert (np.diff(series.time[rows], axis=1) == np.timedelta64(1, "h")).all()
    test = forecast.windows(series, held_out, learnt)
    truth = series.temperature[held_out[:, None] + forecast.PAST + np.arange(forecast.AHEAD)]
    before = series.temperature[held_out[:, None] + forecast.PAST - 24 + np.arange(24)]
    change = (test.truth - test.persistence).numpy() * test.degrees
    np.testing.assert_allclose(change, truth - before, atol=1e-4)


def test_the_forecast_learns_what_persistence_does_not_know(weather_file: Path):
    forecast = example("time_series")
    series = forecast.read(str(weather_file))
    learnt, held_out = forecast.stretches(series)
    train, test = (forecast.windows(series, part, learnt) for part in (learnt, held_out))
    model = forecast.Forecast(train.x.shape[2])
    forecast.train_model(model, train, test, epochs=6, batch=64)
    errors = [
        float(forecast.rmse(found, test.truth))
        for found in (forecast.predict(model, test), test.persistence)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_the_forecast_reads_a_file_from_its_command_line(weather_file, tmp_path, monkeypatch):
    forecast = example("time_series")
    picture = tmp_path / "out.png"
    arguments = ["--quick", "--data", str(weather_file), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["time_series.py", *arguments])
    with ge.default_device("cpu"):
        forecast.main()
    assert picture.read_bytes().startswith(b"\x89PNG")


# --- custom_op.py --------------------------------------------------------------------------------


def test_every_way_to_state_the_op_gives_the_same():
    op = example("custom_op")
    x, a = ge.randn(5, 3, dtype=ge.float64), ge.rand(3, dtype=ge.float64) + 0.5

    def loss(f: Any) -> Any:
        return lambda x, a: (f(x, a) ** 3).sum()

    ways = (op.snake, op.snake_with_rule, op.NumpySnake.apply, op.Snake.apply)
    first, *others = [ge.value_and_grad(loss(f), argnums=(0, 1))(x, a) for f in ways]
    for other in others:
        np.testing.assert_allclose(other[0].item(), first[0].item(), rtol=1e-13)
        for got, want in zip(other[1], first[1], strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-14)


def test_the_op_that_is_differentiable_once_says_so():
    op = example("custom_op")
    x, a = ge.randn(3, dtype=ge.float64), ge.ones(3, dtype=ge.float64)
    once = ge.grad(lambda x: op.NumpySnake.apply(x, a).sum())
    with pytest.raises(ge.GraphError, match="once_differentiable"):
        ge.grad(lambda x: once(x).sum())(x)
