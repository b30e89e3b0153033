"""nn.summary: counts and bytes against those by hand, and a model that nothing has happened to."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn


class Counting(nn.Module):
    """Replaces a buffer, writes into another, counts calls, draws random numbers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("replaced", ge.zeros(2))
        self.register_buffer("written", ge.zeros(2))
        self.register_buffer("behind", ge.zeros(2))
        self.generator = ge.random.Generator(0)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.replaced = self.replaced + 1
        with ge.no_grad():
            self.written += 1
        self.behind.data[...] += 1
        noise = ge.rand(x.shape, generator=self.generator) + ge.rand(x.shape)
        self.train(False)
        return x * noise


def test_rows_and_sums():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Sequential(nn.Linear(3, 2, bias=False)))
    model[2].requires_grad_(False)
    found = nn.summary(model, (5, 4))
    rows = {row.path: row for row in found.rows}
    assert list(rows) == ["", "0", "1", "2", "2.0"]
    assert [row.kind for row in found.rows] == [
        "Sequential",
        "Linear",
        "Tanh",
        "Sequential",
        "Linear",
    ]
    assert [row.output for row in found.rows] == ["(5, 2)", "(5, 3)", "(5, 3)", "(5, 2)", "(5, 2)"]
    assert [row.parameters for row in found.rows] == [0, 15, 0, 0, 6]
    assert [row.trainable for row in found.rows] == [0, 15, 0, 0, 0]
    assert (found.parameters, found.trainable, found.parameter_bytes) == (21, 15, 84)
    assert rows["0"].saved == 5 * 4 * 4  # its input
    assert rows["1"].saved == 5 * 3 * 4  # one array of its output's size
    assert rows["2.0"].saved == 0  # frozen: only the weight is needed for the way back
    assert found.saved_bytes == sum(row.saved for row in found.rows)
    assert str(found) == repr(found)
    assert "2.0 (Linear)" in str(found)
    assert "trainable 15, frozen 6" in str(found)


def test_under_no_grad_it_sees_the_same():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with ge.no_grad():
        inside = nn.summary(model, (5, 4))
    assert inside.saved_bytes == nn.summary(model, (5, 4)).saved_bytes > 0


def test_nothing_has_happened_to_the_model():
    model = nn.Sequential(nn.Linear(2, 2), Counting(), nn.BatchNorm1d(2))
    state = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    objects = [id(t) for t in (*model.parameters(), *model.buffers())]
    default = ge.random.get_state()
    own = model[1].generator.get_state()
    nn.summary(model, (3, 2))
    for name, t in model.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), state[name])
    assert [id(t) for t in (*model.parameters(), *model.buffers())] == objects
    assert ge.random.get_state() == default
    assert model[1].generator.get_state() == own
    assert model[1].calls == 0
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert all(module._hooks is None for module in model.modules())


def test_it_is_unchanged_after_an_error_too():
    model = nn.Sequential(Counting(), nn.Linear(7, 1))
    before = ge.random.get_state()
    with pytest.raises(ge.ShapeError):
        nn.summary(model, (3, 2))
    assert model[0].calls == 0
    assert model[0].behind.tolist() == [0.0, 0.0]
    assert ge.random.get_state() == before
    assert model[1]._hooks is None


def test_hooks_of_the_user_stay():
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: seen.append(1))
    nn.summary(layer, (3, 2))
    layer(ge.ones((1, 2)))
    assert seen == [1, 1]


def test_shared_and_repeated_modules_count_once():
    shared = nn.Linear(2, 2, bias=False)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    model.other = [shared.weight]
    found = nn.summary(model, (3, 2))
    assert found.parameters == 4
    assert [row.calls for row in found.rows] == [1, 2, 1]
    assert "x2" in str(found)


def test_several_inputs_tensors_keywords_and_what_is_not_called():
    class Two(nn.Module):
        def __init__(self):
            self.table, self.head = nn.Embedding(5, 3), nn.Bilinear(3, 4, 2)
            self.unused = nn.Linear(1, 1)

        def forward(self, tokens, x, scale=1.0):
            return {"y": self.head(self.table(tokens), x) * scale, "scale": scale}

    found = nn.summary(Two(), [np.array([0, 4]), (2, 4)], kwargs={"scale": 2.0})
    assert found.rows[0].output == "(2, 2)"
    assert found.rows[-1].output == "not called"
    assert nn.summary(nn.Embedding(5, 3), (2, 2), dtype="int64").rows[0].output == "(2, 2, 3)"
    with pytest.raises(ge.ShapeError, match=r"(?s)an input is a str.*hint: "):
        nn.summary(nn.Tanh(), "a")


def test_depth_limits_the_table_alone():
    model = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(2, 2))))
    found = nn.summary(model, (1, 2), depth=1)
    assert "0.0" not in str(found)
    assert "0 (Sequential)" in str(found)
    assert found.parameters == 6
    assert "0.0.0 (Linear)" in str(nn.summary(model, (1, 2)))


def test_the_saved_bytes_are_those_of_the_graph():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    found = nn.summary(model.double(), ge.ones((10, 4), dtype="float64"))
    assert found.saved_bytes == 8 * (10 * 4 + 10 * 8)  # the input, and what relu gives, once


def test_a_slope_kept_for_the_way_back_counts_as_saved():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid())
    found = nn.summary(model.double(), ge.ones((10, 4), dtype="float64"))
    assert found.rows[2].saved == 8 * (10 * 8 + 10 * 8)  # what it was given, and its slope there
