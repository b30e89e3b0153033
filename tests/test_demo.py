"""The demo learns: accuracy on held-out digits, the same run from the same seed, MNIST's files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gradengine.datasets import Dataset
from gradengine.program import demo, diagnostics, picture
from gradengine.program.demo import Options
from gradengine.program.diagnostics import GPU, Driver, Machine

MNIST = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> demo.History:
    return demo.run(Options(device="cpu", out=str(tmp_path_factory.mktemp("demo") / "p.png")))


def test_the_digits_are_learnt(whole: demo.History):
    assert whole.test_accuracy[-1] >= 0.97
    assert whole.train_accuracy[-1] >= 0.99
    assert whole.seconds < 30


def test_the_history_is_complete(whole: demo.History):
    steps = 30 * 45
    assert len(whole.loss) == steps
    assert len(whole.train_accuracy) == len(whole.test_accuracy) == 30
    assert whole.samples == 30 * 1438
    assert list(whole.gradient_norms) == ["0.weight", "2.weight", "4.weight"]
    for norms in whole.gradient_norms.values():
        assert len(norms) == len(whole.norm_steps) >= 150
        assert np.isfinite(norms).all()
        assert max(norms) > 0


def test_the_same_seed_is_the_same_run(tmp_path: Path):
    def losses(seed: int) -> list[float]:
        options = Options(device="cpu", quick=True, seed=seed, out=str(tmp_path / "p.png"))
        return demo.run(options).loss

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


# --- data ----------------------------------------------------------------------------------------


def write_part(folder: Path, part: str, count: int) -> None:
    labels = np.arange(count, dtype=np.uint8) % 3
    images = np.repeat(labels * 100, 36).astype(np.uint8)
    header = struct.pack(">HBB3I", 0, 8, 3, count, 6, 6)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">HBBI", 0, 8, 1, count)
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [({"train": 60, "t10k": 20}, (60, 20)), ({"train": 60}, (48, 12)), ({"t10k": 20}, (16, 4))],
)
def test_one_part_is_split_and_two_are_taken(tmp_path: Path, parts: dict[str, int], sizes):
    for part, count in parts.items():
        write_part(tmp_path, part, count)
    train_set, test_set = demo.load(str(tmp_path))
    assert (len(train_set), len(test_set)) == sizes


def test_other_sizes_and_classes_are_learnt(tmp_path: Path):
    write_part(tmp_path, "train", 60)
    history = demo.run(Options(str(tmp_path), "cpu", epochs=100, out=str(tmp_path / "p.png")))
    assert history.test_accuracy[-1] == 1.0


@pytest.mark.skipif(
    not (MNIST / "t10k-images-idx3-ubyte.gz").exists(), reason="needs MNIST's test files"
)
def test_real_mnist_images_are_learnt(tmp_path: Path):
    history = demo.run(Options(str(MNIST), "cpu", epochs=2, out=str(tmp_path / "p.png")))
    assert history.test_accuracy[-1] > 0.9


# --- device --------------------------------------------------------------------------------------


def test_an_idle_gpu_is_told_with_its_remedy(monkeypatch, capsys):
    facts = Machine(driver=Driver((13, 0), (GPU("NVIDIA H200", (9, 0), 1 << 37),)))
    monkeypatch.setattr(demo, "cuda_is_available", lambda: False)
    monkeypatch.setattr(diagnostics, "inspect_machine", lambda: facts)
    assert demo.choose_device("auto") == "cpu"
    assert 'pip install "gradengine[cuda13]"' in capsys.readouterr().out


def test_the_gpu_is_taken_if_there_is_one(monkeypatch):
    monkeypatch.setattr(demo, "cuda_is_available", lambda: True)
    assert demo.choose_device("auto") == "cuda"
    assert demo.choose_device("cpu") == "cpu"


# --- picture -------------------------------------------------------------------------------------


def test_wrong_digits_are_shown_first_and_fill_half_at_most():
    labels = np.arange(100) % 10
    predictions = labels.copy()
    predictions[[7, 50]] = (labels[[7, 50]] + 1) % 10
    assert picture.shown(labels, predictions, 6) == [7, 50, 0, 1, 2, 3]
    assert picture.shown(labels, (labels + 1) % 10, 6) == [0, 1, 2]
    assert picture.shown(labels, labels, 3) == [0, 1, 2]


def test_a_wrong_digit_is_marked():
    from matplotlib.figure import Figure

    figure = Figure()
    data = Dataset("two", np.zeros((2, 8, 8), np.uint8), np.array([3, 5]), classes=10)
    picture.draw_digits(
        figure, figure.add_gridspec(picture.ROWS, picture.COLUMNS), data, np.array([3, 6])
    )
    assert [axes.get_title() for axes in figure.axes] == ["6, is 5", "3"]
    visible = [axes.spines["left"].get_visible() for axes in figure.axes]
    assert visible == [True, False]
