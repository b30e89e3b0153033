"""The wheel is built, installed elsewhere and used: what a person gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("build", reason="needs the test extra: build and hatchling")
pytest.importorskip("hatchling", reason="needs the test extra: build and hatchling")

ROOT = Path(__file__).parents[1]
RUNTIME = {"numpy", "scipy", "ml-dtypes", "opt-einsum", "safetensors", "tqdm"}


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout in which a compiler's leftovers lie about."""
    copy = tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("gradengine", "kernels"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy)
    (copy / "kernels" / "leftover.ptx").write_text("// ignored")
    (copy / "gradengine" / "leftover.so").write_text("ignored")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), cwd=copy)
    (path,) = (copy / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder far from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    run(*pip, cwd=folder)
    return folder


def sources(folder: str) -> set[str]:
    """The files below a folder of the checkout that belong to it."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(ROOT))
        for path in found
        if "__pycache__" not in path.parts and path.suffix not in (".ptx", ".cubin", ".o", ".so")
    }


# --- contents ------------------------------------------------------------------------------------


def test_kernels_and_package_are_whole_and_nothing_else_travels(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kernels = {f"gradengine/{name}" for name in sources("kernels")}
    assert len(kernels) > 3
    assert names == kernels | sources("gradengine")
    assert {"gradengine/py.typed", "gradengine/datasets/data/digits.npz"} <= names


def test_leftovers_stay_at_home(wheel: Path):
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "leftover" in name]


def test_metadata(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {line.partition(">")[0] for line in required} == RUNTIME
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"cuda12", "cuda13", "demo", "plot", "test"} <= set(metadata.get_all("Provides-Extra"))
    licences = {name.rpartition("/")[2] for name in archive.namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE.md"}


# --- use -----------------------------------------------------------------------------------------


def test_import_comes_from_the_wheel(site: Path, tmp_path: Path):
    code = "import gradengine, pathlib; print(pathlib.Path(gradengine.__file__).parents[1])"
    assert Path(run("-W", "error", "-c", code, cwd=tmp_path, path=site).strip()) == site


def test_kernels_are_found_from_another_directory(site: Path, tmp_path: Path):
    code = (
        "from gradengine.cuda import source; root = source.folder();"
        "print(root); print(*sorted(str(p.relative_to(root)) for p in root.rglob('*.cu*')))"
    )
    root, files = run("-c", code, cwd=tmp_path, path=site).splitlines()
    assert Path(root) == site / "gradengine" / "kernels"
    expected = {name.removeprefix("kernels/") for name in sources("kernels") if ".cu" in name}
    assert set(files.split()) == expected


def test_the_demo_runs_from_the_wheel(site: Path, tmp_path: Path):
    shown = run("-W", "error", "-m", "gradengine", "demo", "--quick", cwd=tmp_path, path=site)
    assert "accuracy" in shown
    assert (tmp_path / "gradengine-demo.png").stat().st_size > 10_000
