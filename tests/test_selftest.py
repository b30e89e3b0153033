"""The self-test: it calls every op, passes a right one, and catches a wrong one of either kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gradengine.op import pointwise, real, registry
from gradengine.program import cli, selftest
from gradengine.testing import cases


@pytest.fixture
def wrong_op() -> Iterator[str]:
    """An op whose derivative is not its derivative, for the time of a test."""
    pointwise("wrong_sine", forward="sin", partial=lambda y, _x: y, sample=real(0.5, 1.0))
    yield "wrong_sine"
    del registry["wrong_sine"]


def verdicts(*names: str, device: str = "cpu", order: int = 1) -> list[selftest.Verdict]:
    return list(selftest.check(names, device, order))


def test_right_ops_pass():
    for verdict in verdicts("sin", "matmul", "less"):
        assert not verdict.problems
        assert verdict.calls > 5


def test_all_ops_are_reached(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selftest, "_try", lambda *call: "")
    found = list(selftest.check(None, "cpu", 1))
    assert [verdict.name for verdict in found] == list(registry)


def test_a_wrong_derivative_is_caught(wrong_op: str):
    (verdict,) = verdicts(wrong_op)
    assert verdict.problems
    assert "GradientError" in verdict.problems[0]


def test_a_device_that_disagrees_with_the_cpu_is_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selftest, "cases", lambda op, dtype, device: cases(op, dtype))
    assert not verdicts("exp", device="elsewhere")[0].problems
    monkeypatch.setattr(selftest, "_at_home", lambda x: x + 0.01)
    (verdict,) = verdicts("exp", device="elsewhere")
    assert "Not equal to tolerance" in verdict.problems[0]


def test_the_command(wrong_op: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["selftest", "--quick", "--op", "sin", "--op", "matmul"]) == 0
    assert "cpu: 2 ops" in capsys.readouterr().out
    assert cli.main(["selftest", "--quick", "--op", wrong_op]) == 1
    shown = capsys.readouterr().out
    assert "WRONG wrong_sine(" in shown
    assert "1 wrong" in shown


def test_a_name_that_is_no_op(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["selftest", "--op", "matmull"]) == 2
    assert "did you mean matmul?" in capsys.readouterr().err


@pytest.mark.gpu
def test_the_command_on_the_gpu(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["selftest", "--quick", "--device", "cuda"]) == 0
    assert "all right" in capsys.readouterr().out
