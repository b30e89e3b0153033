"""Checkpoint: training goes on bit for bit, and a killed process never leaves a broken file."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from identical import identical

import gradengine as ge
from gradengine import nn, optim
from gradengine.data import DataLoader, TensorDataset, sample_generator
from gradengine.errors import DataError, DTypeError, OutOfRangeError
from gradengine.random import Generator
from gradengine.saving import load, save
from gradengine.saving.checkpoints import Checkpoint

# --- a training run that uses everything ---

EPOCHS, BATCHES = 4, 6  # 23 samples in batches of 4


class Noisy(TensorDataset):
    """Samples with noise of their own."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + 0.1 * ge.randn(x.shape, generator=sample_generator()).numpy(), y


class Drop(nn.Module):
    """Dropout, by the default generator."""

    def forward(self, x: Any) -> Any:
        return ge.dropout(x, 0.4, training=self.training)


class Run:
    """An MLP with batch norm and dropout, Adam, StepLR, a shuffled loader with threads."""

    def __init__(self, folder: Path, seed: int, workers: int = 2, **options: Any) -> None:
        ge.manual_seed(seed)
        rng = np.random.default_rng(7)
        x, y = rng.normal(size=(23, 5)).astype("f4"), rng.integers(0, 3, 23)
        self.loader = DataLoader(Noisy(x, y), 4, shuffle=True, num_workers=workers)
        self.model = nn.Sequential(
            nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), Drop(), nn.Linear(16, 3)
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.05)
        self.schedule = optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.3)
        self.losses: list[float] = []
        self.step = 0
        self.checkpoint = Checkpoint(
            folder, model=self.model, optimizer=self.optimizer, scheduler=self.schedule,
            loader=self.loader, **options,
        )  # fmt: skip

    def train(self, stop: int | None = None, save_at: int | None = None) -> None:
        """From where it stands; `stop` breaks off after that many steps in all."""
        while self.loader.state_dict()["epoch"] < EPOCHS:
            for x, y in self.loader:
                self.optimizer.zero_grad()
                loss = ge.cross_entropy(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                self.losses.append(loss.item())
                self.step += 1
                if self.step == save_at:
                    self.checkpoint.save(self.step, losses=self.losses)
                if self.step == stop:
                    return
            self.schedule.step()

    def state(self) -> Any:
        return (
            {k: v.numpy() for k, v in self.model.state_dict().items()},
            self.optimizer.state_dict(),
            self.schedule.state_dict(),
            self.losses,
            tuple(ge.random.get_state()),
        )


@pytest.mark.parametrize("at", [1, 4, 6, 9, 12, 17, 23, 24])
def test_training_goes_on_bit_for_bit(tmp_path: Path, at: int):
    whole = Run(tmp_path / "none", seed=1)
    whole.train()
    assert len(whole.losses) == EPOCHS * BATCHES

    first = Run(tmp_path / "run", seed=1)
    first.train(stop=at + 2, save_at=at)  # killed two steps after it was saved
    del first
    ge.rand(13)

    for workers in (2, 0):
        second = Run(tmp_path / "run", seed=999, workers=workers)
        extra = second.checkpoint.restore()
        assert extra["step"] == second.checkpoint.steps()[-1] == at
        second.step, second.losses = extra["step"], extra["losses"]
        second.train()
        identical(second.state(), whole.state())


def test_without_the_loader_s_state_it_would_not(tmp_path: Path):
    """The test above can fail."""
    whole = Run(tmp_path / "none", seed=1)
    whole.train()
    first = Run(tmp_path / "run", seed=1)
    first.train(stop=9, save_at=9)
    second = Run(tmp_path / "run", seed=999)
    second.checkpoint.restore()
    second.loader = DataLoader(second.loader.dataset, 4, shuffle=True)
    second.train()
    assert second.losses[-1] != whole.losses[-1]


# --- what is kept, which is the newest ---


class Part:
    def __init__(self, value: Any = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.value == "refuses":
            raise ValueError("not mine")
        self.value = state["value"]


def test_the_last_ones_are_kept(tmp_path: Path):
    part = Part()
    checkpoint = Checkpoint(tmp_path / "new" / "folder", part=part, keep_last=3)
    assert checkpoint.steps() == []
    assert checkpoint.latest() is None
    for step in (1, 5, 20, 300, 10**13):
        part.value = step
        path = checkpoint.save(step, note=f"n{step}")
        assert path == checkpoint.latest()
    assert checkpoint.steps() == [20, 300, 10**13]
    assert checkpoint.restore() == {"step": 10**13, "note": f"n{10**13}"}
    assert checkpoint.restore(20) == {"step": 20, "note": "n20"}
    assert part.value == 20
    (checkpoint.path / "notes.txt").write_text("others' files are left alone")
    (checkpoint.path / "step-7.safetensors").write_text("")
    assert checkpoint.steps() == [20, 300, 10**13]
    part.value = "again"
    checkpoint.save(10**13)
    assert checkpoint.restore() == {"step": 10**13}
    assert part.value == "again"


def test_one_file(tmp_path: Path):
    part = Part(1)
    checkpoint = Checkpoint(tmp_path / "last.safetensors", part=part)
    with pytest.raises(DataError, match="no checkpoint"):
        checkpoint.restore()
    checkpoint.save(3)
    part.value = 2
    checkpoint.save(2, a=np.arange(3))
    part.value = 0
    extra = checkpoint.restore()
    assert (extra["step"], extra["a"].tolist(), part.value) == (2, [0, 1, 2], 2)
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_random_numbers(tmp_path: Path):
    own = Generator(5)
    own.take()
    checkpoint = Checkpoint(tmp_path, own=own, python_random=True, numpy_random=True)

    def draw() -> list[Any]:
        legacy = np.random.normal(size=2).tolist()  # noqa: NPY002
        return [
            ge.rand(2).tolist(), random.random(), random.gauss(0, 1), legacy,
            ge.rand(2, generator=own).tolist(),
        ]  # fmt: skip

    draw()
    checkpoint.save(1)
    first = draw()
    assert draw() != first
    checkpoint.restore()
    assert draw() == first
    Checkpoint(tmp_path / "a", own=own).save(1)
    now = own.take()
    asking = Checkpoint(tmp_path / "a", own=own, numpy_random=True)
    with pytest.raises(DataError, match=r"no state of numpy's(.|\n)*numpy_random=False"):
        asking.restore()
    assert own.get_state() == (now.seed, now.offset + 1), "nothing was restored"


# --- mistakes ---


def test_a_later_step_is_not_buried(tmp_path: Path):
    part = Part()
    checkpoint = Checkpoint(tmp_path, part=part)
    for step in (10, 20):
        checkpoint.save(step)
    checkpoint.restore(10)
    with pytest.raises(DataError, match=r"save\(step=11\), but step 20 is there already"):
        checkpoint.save(11)
    assert checkpoint.steps() == [10, 20]


def test_another_model_is_refused_and_nothing_changes(tmp_path: Path):
    saved = Checkpoint(tmp_path, first=Part(1), model=nn.Linear(3, 2), optimizer=Part(2))
    saved.save(1)
    first, model, seed = Part("old"), nn.Linear(3, 4), ge.random.get_state()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    other = Checkpoint(tmp_path, first=first, model=model, optimizer=Part("refuses"))
    with pytest.raises(ge.GradengineError, match=r"weight.*\(2, 3\)(.|\n)*bias") as caught:
        other.restore()
    assert "while restoring 'model'" in caught.value.__notes__[-1]
    assert first.value == "old"
    identical({k: v.numpy() for k, v in model.state_dict().items()}, before)
    assert ge.random.get_state() == seed

    model = nn.Linear(3, 2)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    last = Checkpoint(tmp_path, first=first, model=model, optimizer=Part("refuses"))
    with pytest.raises(ValueError, match="not mine"):
        last.restore()
    assert first.value == "old"
    identical({k: v.numpy() for k, v in model.state_dict().items()}, before)


def test_a_part_that_refuses_half_way_gets_back_what_it_had(tmp_path: Path):
    class Half(Part):
        def load_state_dict(self, state: Any) -> None:
            self.value = state["value"]
            if self.value == "spoiled":
                raise ValueError("half done")

    Checkpoint(tmp_path, part=Half("spoiled")).save(1)
    part = Half("good")
    with pytest.raises(ValueError, match="half done") as caught:
        Checkpoint(tmp_path, part=part).restore()
    assert part.value == "good"
    assert "nothing has changed" in caught.value.__notes__[-1]


def test_other_parts_are_refused(tmp_path: Path):
    Checkpoint(tmp_path, model=Part(), ema=Part()).save(1)
    with pytest.raises(DataError, match=r"\['ema', 'model'\](.|\n)*give ema="):
        Checkpoint(tmp_path, model=Part()).restore()
    with pytest.raises(DataError, match=r"leave out \['scaler'\]"):
        Checkpoint(tmp_path, model=Part(), ema=Part(), scaler=Part()).restore()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: Checkpoint(p, model=3), DTypeError, r"model is a int(.|\n)*save\(step"),
        (lambda p: Checkpoint(p, keep_last=0), OutOfRangeError, "keep_last=0"),
        (lambda p: Checkpoint(p / "a.safetensors", keep_last=2), OutOfRangeError, "a folder"),
        (lambda p: Checkpoint(p).save("x"), DTypeError, "no integer"),
        (lambda p: Checkpoint(p).save(-1), OutOfRangeError, "step -1"),
        (lambda p: Checkpoint(p).restore(), DataError, "no checkpoint"),
        (lambda p: Checkpoint(p).restore(7), DataError, "no checkpoint of step 7"),
    ],
)
def test_mistakes(tmp_path: Path, make: Any, error: type, message: str):
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        Checkpoint(tmp_path / "file")
    checkpoint = Checkpoint(tmp_path / "a.safetensors", part=Part())
    for other in ({"weight": ge.ones(2)}, [1]):
        save(other, tmp_path / "a.safetensors")
        with pytest.raises(DataError, match=r"no checkpoint(.|\n)*ge.load"):
            checkpoint.restore()
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(DataError, match="a pickle"):
        checkpoint.restore()


def test_a_damaged_newest_is_named_and_the_one_before_restores(tmp_path: Path):
    part = Part(1)
    checkpoint = Checkpoint(tmp_path, part=part)
    checkpoint.save(1)
    part.value = 2
    newest = checkpoint.save(2)
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.raises(DataError, match="truncated") as caught:
        checkpoint.restore()
    assert str(newest) in str(caught.value)
    assert part.value == 2
    assert checkpoint.restore(1)["step"] == 1


# --- SIGKILL ---

SAVER = """
import os, random, signal, sys, time
import numpy as np
from gradengine.saving.checkpoints import Checkpoint
from gradengine.saving import save

folder = sys.argv[1]
rng = random.Random(int(sys.argv[2]))

class Part:
    def state_dict(self):
        return {"a": np.full(30_000, self.step), "b": [np.full(10_000, float(self.step))]}
    def load_state_dict(self, state): ...

def work():
    part = Part()
    checkpoint = Checkpoint(os.path.join(folder, "many"), part=part, keep_last=3)
    part.step = (checkpoint.steps() or [0])[-1]
    while True:
        part.step += 1
        checkpoint.save(part.step, twice=2 * part.step)
        save(part.state_dict(), os.path.join(folder, "one.safetensors"))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        work()
    time.sleep(rng.uniform(0.002, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start and kill quickly")
def test_killed_at_fifty_random_moments(tmp_path: Path):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    killer = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path), "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert killer.stdin is not None
    assert killer.stdout is not None
    left, newest, single = 0, 0, 0
    with killer:
        for _ in range(50):
            killer.stdin.write("next\n")
            killer.stdin.flush()
            assert killer.stdout.readline() == "killed\n"
            steps = whole(tmp_path / "many")
            assert not steps or steps[-1] >= newest, "what was written stays"
            newest = steps[-1] if steps else newest
            left += len(list(tmp_path.rglob(".*.tmp")))
            if (tmp_path / "one.safetensors").exists():
                state = load(tmp_path / "one.safetensors")
                step = int(state["a"][0])
                assert (state["a"] == step).all()
                assert (state["b"][0] == step).all()
                assert step >= single
                single = step
        killer.stdin.close()
    assert newest > 20, "it was saving all the time"
    assert left > 10, "it was killed in the middle of writing, too"
    last = Checkpoint(tmp_path / "many", part=Part(), keep_last=3)
    last.save(newest + 1)
    assert last.steps() == [*steps[-2:], newest + 1]
    assert not list((tmp_path / "many").glob(".*.tmp")), "the next save clears up"


def whole(folder: Path) -> list[int]:
    """The steps in a folder; every file is complete and consistent."""
    checkpoint = Checkpoint(folder, part=Part())
    for step in checkpoint.steps():
        found = load(folder / f"step-{step:012d}.safetensors")
        state = found["parts"]["part"]
        assert found["step"] == step
        assert found["extra"] == {"twice": 2 * step}
        assert (state["a"] == step).all()
        assert (state["b"][0] == step).all()
    return checkpoint.steps()
