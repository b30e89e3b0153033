"""The parts of the examples that make claims, checked against something that knows the answer.

test_examples.py runs each example as a whole; here their functions are imported and compared with
scikit-learn, with exact solutions, with data made for the purpose, and on a stand-in for a GPU.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import kernels, nvrtc
from gradengine.cuda.standin import standin

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


# --- custom_kernel.py ----------------------------------------------------------------------------


class RawModule:
    """CuPy's RawModule on the stand-in: a user's CUDA source, run by the emulator."""

    def __init__(self, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]):
        assert options == ("-std=c++17",)
        kernels.backend().add(code, name_expressions)

    def get_function(self, name: str) -> Any:
        return functools.partial(kernels.launch, name)


@needs_emulator
def test_the_kernels_of_a_user_run_and_are_differentiated(monkeypatch):
    """The whole path of `--device cuda`: dispatch, launch, the real source, both orders."""
    own = example("custom_kernel")
    with standin() as backend, ge.default_device("cuda"):
        monkeypatch.setattr(sys.modules["cupy"], "RawModule", RawModule, raising=False)
        own.module.cache_clear()
        try:
            assert "epsilons" in own.check()
            ran = {name.partition("<")[0] for name in backend.calls}
            assert {"snake_forward", "snake_backward"} <= ran
            x = ge.randn(6, 4, dtype=ge.float64)
            a = ge.ones(4, dtype=ge.float64)
            for changed in (x[:, ::2], x.T[:3].T):  # no contiguous rows
                rate = a[: changed.shape[1]]
                got, want = own.Snake.apply(changed, rate), own.custom_op.snake(changed, rate)
                np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)
            assert own.Snake.apply(x[:0], a).shape == (0, 4)
        finally:
            own.module.cache_clear()


def test_the_kernels_of_a_user_compile():
    own = example("custom_kernel")
    try:
        nvrtc.include_directories()
        nvrtc.version()
    except nvrtc.NvrtcMissing as error:
        pytest.skip(f"compiling kernels: {error}")
    assert own.compile_everywhere(("sm_75", "sm_90")).startswith("compiled for sm_75, sm_90")


def test_without_a_gpu_the_op_is_numpys():
    own = example("custom_kernel")
    with ge.default_device("cpu"):
        assert "epsilons" in own.check()
        assert not own.fits(ge.ones(2, 3), ge.ones(3))


@pytest.mark.gpu
def test_the_kernels_of_a_user_on_a_gpu():
    own = example("custom_kernel")
    with ge.default_device("cuda"):
        assert own.fits(ge.ones(2, 3), ge.ones(3))
        assert "epsilons" in own.check()


# --- pinn.py -------------------------------------------------------------------------------------


def test_the_exact_solution_solves_the_equation():
    pinn = example("pinn")
    h = 1e-4
    x, t = np.meshgrid(np.linspace(-0.9, 0.9, 7), [0.1, 0.3])
    u = pinn.exact(x, t)
    u_t = (pinn.exact(x, t + h) - pinn.exact(x, t - h)) / (2 * h)
    u_x = (pinn.exact(x + h, t) - pinn.exact(x - h, t)) / (2 * h)
    u_xx = (pinn.exact(x + h, t) - 2 * u + pinn.exact(x - h, t)) / h**2
    np.testing.assert_allclose(u_t + u * u_x - pinn.VISCOSITY * u_xx, 0, atol=1e-5)
    zero = np.zeros(5)
    line = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(pinn.exact(line, zero), -np.sin(np.pi * line), atol=1e-15)
    np.testing.assert_allclose(pinn.exact(zero + 1, np.linspace(0, 1, 5)), 0, atol=1e-12)


def test_the_residual_is_that_of_a_known_function():
    pinn = example("pinn")
    places = ge.rand(20, 2, dtype=ge.float64)
    x, t = places.numpy().T

    def u(places: Any) -> Any:
        return places[:, 0] ** 3 * ge.exp(places[:, 1])

    wanted = x**3 * np.exp(t) + 3 * x**5 * np.exp(2 * t) - pinn.VISCOSITY * 6 * x * np.exp(t)
    np.testing.assert_allclose(pinn.residual(u, places).numpy(), wanted, rtol=1e-12)


# --- gan_penalty.py ------------------------------------------------------------------------------


def test_the_gradient_penalty_of_a_known_slope():
    gan = example("gan_penalty")
    real, made = ge.randn(50, 2), ge.randn(50, 2)
    weight = ge.tensor([3.0, 4.0], requires_grad=True)
    penalty = gan.gradient_penalty(lambda y: y @ weight, real, made)
    assert penalty.item() == pytest.approx(16.0, rel=1e-5)  # (|w| - 1)^2 at |w| = 5
    penalty.backward()
    np.testing.assert_allclose(weight.grad.numpy(), [4.8, 6.4], rtol=1e-5)


def test_coverage_counts_modes():
    gan = example("gan_penalty")
    data = gan.draw_data(2000).numpy()
    modes, close = gan.coverage(data)
    assert modes == 8
    assert close > 0.99
    assert gan.coverage(data[data[:, 0] > 1])[0] == 3
    assert gan.coverage(np.zeros((10, 2)))[1] == 0.0
