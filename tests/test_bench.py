"""The benchmarks run: their code is exercised at tiny sizes, their times are not looked at."""

from __future__ import annotations

import json
import shutil

import pytest

from bench import chain, cpu, scale
from bench.gpu import __main__ as gpu
from bench.gpu.training import crossing_point


def test_cpu_workloads_run_quickly(capsys):
    cpu.main(["--quick", "--only", "softmax"])
    assert "softmax, 1000x1000" in capsys.readouterr().out


@pytest.mark.parametrize("name", [w["name"] for w in cpu.workloads()])
def test_every_workload_has_our_side(name):
    call = cpu.find("gradengine", name)
    assert call is not None
    if name != chain.NAME:
        call()
    assert cpu.find("mygrad", "CNN, batch 32, 28x28") is None


def test_a_chain_holds_bytes():
    assert 50 < chain.bytes_per_op("gradengine", 20_000) < 5_000


def test_scale_fits_exponents():
    assert scale.exponent([10, 100, 1000], [9.0, 20.0, 2000.0], 100) == pytest.approx(2)
    found = scale.sweeps(quick=True)
    assert "by differences" in scale.report(found)
    points, _ = found["depth"]
    assert points[-1].held > points[0].held > 0


def test_the_crossing_lies_between_the_widths_around_it():
    points = [{"width": w, "cpu": c, "cuda": 2.0} for w, c in ((64, 0.5), (256, 8), (512, 16))]
    assert crossing_point(points) == pytest.approx(128)
    assert crossing_point(points[1:]) is None


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: the emulator cannot be built")
def test_gpu_measurements_run_on_the_stand_in_device(tmp_path):
    assert gpu.main(["--standin", "--only", "gelu float32", "--folder", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu-stand-in.json").read_text())
    assert {"Gelu float32", "bias + gelu float32 backward"} <= {r["name"] for r in found["rows"]}
    assert all(row["share"] > 0 for row in found["rows"])
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert "no crossing in this range" in (tmp_path / "gpu-stand-in.md").read_text()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: the emulator cannot be built")
def test_gpu_measurements_are_kept_one_by_one(tmp_path, monkeypatch):
    """A run that is cut short leaves what it has measured; the next one goes on from there."""
    measured = []

    def until_the_third(clock, subject, found):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append((subject.group, subject.name))
        found["rows"].append({"group": subject.group, "name": subject.name, "seconds": {}})

    asked = ["--standin", "--only", "elu float32", "--folder", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "_measured", until_the_third)
        with pytest.raises(KeyboardInterrupt):
            gpu.main(asked)
    path = tmp_path / "gpu-stand-in.json"
    assert [(r["group"], r["name"]) for r in json.loads(path.read_text())["rows"]] == measured
    assert (
        gpu.main(["--standin", "--only", "relu float32", "--folder", str(tmp_path), "--resume"])
        == 0
    )
    rows = [(r["group"], r["name"]) for r in json.loads(path.read_text())["rows"]]
    assert rows[:2] == measured
    assert len(rows) == len(set(rows)) > 2
    assert not list(tmp_path.glob("*.part"))


def test_gpu_measurements_go_on_after_a_failure(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no such subject")
        yield

    monkeypatch.setattr(gpu.kernels, "subjects", broken)
    assert gpu.main(["--standin", "--only", "cpu", "--folder", str(tmp_path)]) == 1
    found = json.loads((tmp_path / "gpu-stand-in.json").read_text())
    assert "no such subject" in found["failures"][0]
    assert [p["width"] for p in found["crossing"]["points"]] == [8, 16]
    assert "CPU / GPU" in capsys.readouterr().out
