"""The two language models of the examples: what they claim of caches, checkpoints and sampling.

test_examples.py runs each as a whole; here their functions are imported. Interruptions are real:
the process sends itself the signal that Ctrl-C sends, or raises in the middle of a step.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine import nn
from gradengine.cuda.standin import standin
from gradengine.datasets import Vocabulary

ROOT = Path(__file__).parents[1]
LETTERS = Vocabulary.of("the quick brown fox jumps over the lazy dog\n")


@pytest.fixture(scope="module", autouse=True)
def examples_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "examples"))
    yield
    sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(autouse=True)
def generator_is_restored() -> Iterator[None]:
    state = ge.random.get_state()
    yield
    ge.random.set_state(state)


def example(name: str) -> Any:
    pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
    return importlib.import_module(name)


# --- support.py ----------------------------------------------------------------------------------


def test_pick_draws_with_the_softmaxs_probabilities():
    support = example("support")
    ge.random.manual_seed(0)
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    rows = ge.tensor(np.broadcast_to(logits, (20_000, 3)).copy())
    for temperature in (1.0, 0.5):
        chance = np.exp(logits / temperature)
        chance /= chance.sum()
        found = np.bincount(support.pick(rows, temperature).numpy(), minlength=3) / 20_000
        np.testing.assert_allclose(found, chance, atol=4 * 0.5 / np.sqrt(20_000))


def test_passage_folds_long_lines_and_replaces_what_cannot_be_printed():
    support = example("support")
    axes = support.figure(4, 4).add_subplot(1, 1, 1)
    support.passage(axes, "title", "\nabcdef\n\n$x\t$", rows=4, columns=4)
    assert [text.get_text() for text in axes.texts] == ["abcd\nef\n\n$x $"]


def test_passage_sets_short_lines_in_two_columns():
    support = example("support")
    axes = support.figure(4, 4).add_subplot(1, 1, 1)
    support.passage(axes, "title", "a\nb\nc\nd\n" + "long" * 9, rows=2, columns=20)
    assert [text.get_text() for text in axes.texts] == ["a\nb", "c\nd"]


def test_read_says_that_a_text_is_too_short(tmp_path: Path):
    support = example("support")
    path = tmp_path / "short.txt"
    path.write_text("hello")
    assert support.read(str(path), 5).text == "hello"
    with pytest.raises(SystemExit, match="5 characters are too few, it takes 6"):
        support.read(str(path), 6)


# --- char_gpt.py ---------------------------------------------------------------------------------


@pytest.fixture(name="gpt")
def small_gpt() -> Any:
    module = example("char_gpt")
    ge.random.manual_seed(1)
    model = module.GPT(len(LETTERS), 16, 2, 2)
    with ge.no_grad():  # weights that make a difference
        for p in model.parameters():
            p.copy_(ge.randn_like(p) * 0.3)
    return module, model


def test_gpt_sees_no_later_character(gpt: Any):
    _, model = gpt
    tokens = ge.random.randint(len(LETTERS), shape=(1, 8))
    before = model(tokens).numpy()
    tokens[0, 5] = (tokens[0, 5] + 1) % len(LETTERS)
    after = model(tokens).numpy()
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(axis=-1).all()


@pytest.mark.parametrize("first", [1, 5])
def test_gpt_with_a_cache_gives_the_same_logits(gpt: Any, first: int):
    _, model = gpt
    tokens = ge.random.randint(len(LETTERS), shape=(3, 12))
    with ge.no_grad():
        whole = model(tokens).numpy()
        caches = [nn.KVCache(12) for _ in model.blocks]
        parts = [model(tokens[:, :first], caches)]
        parts += [model(tokens[:, i : i + 1], caches) for i in range(first, 12)]
    np.testing.assert_allclose(ge.concatenate(parts, axis=1).numpy(), whole, atol=2e-5)


def test_gpt_writes_on_when_the_cache_is_full(gpt: Any, monkeypatch: pytest.MonkeyPatch):
    module, model = gpt
    monkeypatch.setattr(module.support, "pick", lambda logits, _: ge.argmax(logits, axis=-1))
    written = module.write(model, LETTERS.encode("the fox"), 40, block=16)
    assert LETTERS.decode(written).startswith("the fox")
    assert len(written) == 47
    # without a cache: the likeliest character after what the cache held at that time
    tokens, held = LETTERS.encode("the fox").tolist(), 7
    for _ in range(40):
        logits = model(ge.tensor([tokens[-held:]]))[0, -1]
        tokens.append(int(logits.numpy().argmax()))
        held = 8 if held == 16 else held + 1
    assert written == tokens


def test_gpt_evaluates_every_place(gpt: Any):
    module, model = gpt
    tokens = np.random.default_rng(0).integers(0, len(LETTERS), 5 * 8 + 3)
    by_place = module.evaluate(model, tokens, block=8, batch=2)
    windows = np.stack([tokens[i : i + 9] for i in range(0, 40, 8)])
    logits = model(ge.tensor(windows[:, :-1])).numpy().astype(np.float64)
    normed = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(normed, windows[:, 1:, None], -1)[..., 0].mean(0)
    np.testing.assert_allclose(by_place, expected, rtol=1e-5)


def test_gpt_records_its_curve(tmp_path: Path):
    module = example("char_gpt")
    history = module.History([3.0, 2.0], [1, 2], [2.9, 2.1], [0.5, 1.0], [0.4, 0.8])
    module.record(str(tmp_path / "curve.json"), history, {"text": "x", "parameters": 7})
    found = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    assert found["held_out"] == [2.9, 2.1]
    assert found["parameters"] == 7
    assert "| 2 | 2.500 | 2.100 | 3.030 | 1 | 1 |" in (tmp_path / "curve.md").read_text("utf-8")


def test_recorded_run_keeps_its_promise():
    """0.8 million weights, below 1.9 nats, in less than the 15 minutes that two cores have."""
    found = json.loads((ROOT / "bench/results/char_gpt.json").read_text(encoding="utf-8"))
    assert found["parameters"] < 850_000
    assert found["held_out_characters"] > 100_000
    assert found["held_out"][-1] < 1.9
    assert found["cpu_seconds"][-1] < 15 * 60


# --- char_rnn.py ---------------------------------------------------------------------------------


SETTINGS = {"text": "x"}


def run_rnn(folder: Path, *, resume: bool = False, steps: int = 24, seed: int = 5) -> Any:
    """A training of 24 steps, new or resumed; (training, whether it came to its end)."""
    module = example("char_rnn")
    ge.random.manual_seed(99 if resume else seed)  # what a checkpoint holds must win
    data = np.random.default_rng(0).integers(0, len(LETTERS), 700)
    model = module.CharRNN(len(LETTERS), hidden=8, layers=2)
    path = str(folder / "rnn.safetensors")
    training = module.Training(model, steps, path, SETTINGS)
    if resume:
        training.resume()
    return training, module.train(training, data[:500], data[500:], batch=4, length=10)


@pytest.fixture(name="whole", scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    training, finished = run_rnn(tmp_path_factory.mktemp("whole"))
    assert finished
    assert training.step == len(training.history["loss"]) == 24
    return training


def assert_same(found: Any, whole: Any) -> None:
    assert found.history == whole.history
    assert found.step == whole.step
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[name].numpy(), value.numpy(), name)
    for mine, theirs in zip(found.state, whole.state, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("at", [1, 7, 12, 23])
def test_rnn_goes_on_after_ctrl_c_as_if_nothing_had_been(
    at: int, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = example("char_rnn")
    step = module.Training.one_step

    def pressed(self: Any, x: Any, y: Any) -> None:
        if self.step == at - 1:
            signal.raise_signal(signal.SIGINT)  # in the middle of the step: it is finished first
        step(self, x, y)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(module.Training, "one_step", pressed)
        training, finished = run_rnn(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert not finished
    assert training.step == at
    found, finished = run_rnn(tmp_path, resume=True)
    assert finished
    assert_same(found, whole)


def test_rnn_goes_on_after_a_crash(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = example("char_rnn")
    update = ge.optim.Adam.step

    def crashing(self: Any) -> Any:
        update(self)
        if training.step == 9:  # half a step: the weights are new, the counts are not
            raise MemoryError
        return None

    data = np.random.default_rng(0).integers(0, len(LETTERS), 700)
    ge.random.manual_seed(5)
    model = module.CharRNN(len(LETTERS), hidden=8, layers=2)
    training = module.Training(model, 24, str(tmp_path / "rnn.safetensors"), SETTINGS)
    with monkeypatch.context() as patched:
        patched.setattr(ge.optim.Adam, "step", crashing)
        with pytest.raises(MemoryError):
            module.train(training, data[:500], data[500:], batch=4, length=10)
    assert_same(run_rnn(tmp_path, resume=True)[0], whole)


def test_a_second_ctrl_c_interrupts():
    module = example("char_rnn")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        with module.CtrlC() as pressed:
            signal.raise_signal(signal.SIGINT)
            assert pressed.once
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_rnn_refuses_the_checkpoint_of_another_run(whole: Any, tmp_path: Path):
    module = example("char_rnn")
    run_rnn(tmp_path, steps=2)
    model = module.CharRNN(len(LETTERS), hidden=8, layers=2)
    path = str(tmp_path / "rnn.safetensors")
    with pytest.raises(SystemExit, match="another text"):
        module.Training(model, 2, path, {"text": "y"}).resume()
    with pytest.raises(SystemExit, match="no checkpoint"):
        module.Training(model, 2, str(tmp_path / "none.safetensors"), SETTINGS).resume()


def test_rnn_carries_its_state_but_not_its_history():
    """Two steps with a carried state see what one of double length sees, up to the cut."""
    module = example("char_rnn")
    ge.random.manual_seed(2)
    model = module.CharRNN(len(LETTERS), hidden=8, layers=1)
    model.eval()
    tokens = ge.random.randint(len(LETTERS), shape=(12, 3))
    whole, _ = model(tokens, None)
    first, state = model(tokens[:6], None)
    state = (state[0].detach(), state[1].detach())
    second, _ = model(tokens[6:], state)
    joined = ge.concatenate([first, second]).numpy()
    np.testing.assert_allclose(joined, whole.numpy(), atol=1e-6)
    (used,) = ge.autograd.grad(second.sum(), [model.embedding.weight])
    seen = np.zeros(len(LETTERS), bool)
    seen[tokens[6:].numpy()] = True
    np.testing.assert_array_equal((used.numpy() != 0).any(axis=1), seen)


def test_rnn_evaluates_in_streams():
    module = example("char_rnn")
    ge.random.manual_seed(3)
    model = module.CharRNN(len(LETTERS), hidden=8, layers=1)
    tokens = np.random.default_rng(1).integers(0, len(LETTERS), 50)
    model.eval()
    columns = tokens[:48].reshape(4, 12).T
    logits, _ = model(ge.tensor(columns[:-1]), None)
    expected = module.next_loss(logits, ge.tensor(columns[1:])).item()
    model.train()
    assert module.evaluate(model, tokens, count=4, length=5) == pytest.approx(expected, rel=1e-5)
    assert model.training


# --- on a GPU's stand-in -------------------------------------------------------------------------


@needs_emulator
def test_both_run_on_a_device(tmp_path: Path):
    rnn, gpt = example("char_rnn"), example("char_gpt")
    data = np.random.default_rng(0).integers(0, len(LETTERS), 300)
    with standin(), ge.default_device("cuda"):
        model = rnn.CharRNN(len(LETTERS), hidden=8, layers=1)
        training = rnn.Training(model, 2, str(tmp_path / "rnn.safetensors"), SETTINGS)
        assert rnn.train(training, data, data[:80], batch=4, length=8)
        training.resume()
        assert training.state[0].device == model.head.weight.device
        assert len(rnn.write(model, LETTERS.encode("the"), 5)) == 8
        model = gpt.GPT(len(LETTERS), 8, 2, 1)
        options = gpt.argparse.Namespace(steps=2, batch=4, block=8)
        history = gpt.train(model, data, data[:80], options)
        assert history.held_out[-1] < 4
        assert len(gpt.write(model, LETTERS.encode("the"), 10, 8)) == 13
