"""The command line: every command runs, and what goes wrong is told in one line with status 1."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradengine as ge
from gradengine.program import cli, diagnostics
from gradengine.program.diagnostics import GPU, Driver, Machine

ROOT = Path(__file__).parents[1]
H200 = GPU("NVIDIA H200", (9, 0), 141 * 2**30)


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    for name in ("demo", "info", "doctor", "selftest", "kernels"):
        assert name in shown


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["traín"])
    assert "invalid choice" in capsys.readouterr().err


def test_python_dash_m():
    command = [sys.executable, "-W", "error", "-m", "gradengine", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ge.__version__


def test_info(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr().out
    assert "gradengine" in shown
    assert ge.__version__ in shown
    assert np.__version__ in shown


# --- doctor --------------------------------------------------------------------------------------


def machine(monkeypatch: pytest.MonkeyPatch, facts: Machine) -> None:
    monkeypatch.setattr(diagnostics, "inspect_machine", lambda: facts)


def test_doctor_is_content_without_a_gpu(monkeypatch, capsys):
    machine(monkeypatch, Machine())
    assert cli.main(["doctor"]) == 0
    assert "computes on the CPU" in capsys.readouterr().out


def test_doctor_gives_the_line_that_mends(monkeypatch, capsys):
    machine(monkeypatch, Machine(driver=Driver((12, 4), (H200,))))
    assert cli.main(["doctor"]) == 1
    assert '-> python -m pip install "gradengine[cuda12]"' in capsys.readouterr().out


def test_doctor_tries_the_gpu_when_all_looks_well(monkeypatch, capsys):
    packages = {"cupy-cuda13x": "14.2.0", "nvidia-cuda-nvrtc": "13.0.88"}
    machine(monkeypatch, Machine(driver=Driver((13, 0), (H200,)), packages=packages))
    found = diagnostics.Finding("error", "a first gradient on the GPU fails: boom")
    monkeypatch.setattr(cli, "try_gpu", lambda: found)
    assert cli.main(["doctor"]) == 1
    assert "fails: boom" in capsys.readouterr().out


def test_a_gpu_that_fails_is_a_finding(monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("cudaErrorUnknown")

    monkeypatch.setattr(ge, "zeros", broken)
    found = cli.try_gpu()
    assert found.level == "error"
    assert "cudaErrorUnknown" in found.text


# --- demo ----------------------------------------------------------------------------------------


def test_demo_in_a_hurry(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "new" / "picture.png"
    assert cli.main(["demo", "--quick", "--device", "cpu", "--out", str(picture)]) == 0
    shown = capsys.readouterr().out
    for word in ("1438 images", "359 held out", "64 -> 128 -> 64 -> 10", "cpu", "samples/s"):
        assert word in shown
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_demo_without_matplotlib(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "p.png")]) == 1
    assert 'pip install "gradengine[plot]"' in capsys.readouterr().err


def test_demo_with_a_folder_that_is_none(capsys, tmp_path):
    assert cli.main(["demo", "--quick", "--data", str(tmp_path / "nothing")]) == 1
    shown = capsys.readouterr().err
    assert "no such folder" in shown
    assert "hint: " in shown


@pytest.mark.parametrize("text", ["0", "-3", "many"])
def test_demo_refuses_epochs_that_are_none(capsys, text):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["demo", "--epochs", text])
    assert "--epochs" in capsys.readouterr().err
