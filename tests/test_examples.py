"""Every example runs as a person would run it, in quick mode, with warnings as errors.

An example is every file of the folder but support.py, which they share. Each is run once; what the
tests after that ask for is read from what it printed and the picture it left.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gradengine import datasets

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
PATHS = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "support")
DRAWN = [name for name in EXAMPLES if "support.save(" in (FOLDER / f"{name}.py").read_text("utf-8")]

# Examples whose data come with a package that the tests do not require.
NEEDS = {
    "newton": "breast_cancer",
    "recommender": "movielens_100k",
    "time_series": "greensboro_weather",
    "char_gpt": "pydoc",
    "char_rnn": "pydoc",
}

# What a quick run reaches: (example, the line that says it, comparison, bound). A line is found by
# its beginning; the first number after that is compared.
CLAIMS: list[tuple[str, str, str, float]] = [
    ("convnet", "held-out accuracy", ">", 97.0),
    ("vanishing_gradients", "sigmoid:", "<", 1e-12),
    ("vanishing_gradients", "tanh:", ">", 1e-2),
    ("vanishing_gradients", "ReLU, He's weights:", ">", 1e-2),
    ("vanishing_gradients", "ReLU + residual + norm:", ">", 0.1),
    ("vanishing_gradients", "recurrent, not clipped:", "<", 3),
    ("vanishing_gradients", "a bias of -1:", ">", 70),
    ("vanishing_gradients", "saddle, momentum 0.9:", "<", 150),
    ("newton", "Newton-CG", "<", 1e-9),
    ("newton", "scipy differs by", "<", 1e-5),
    ("newton", "held-out accuracy", ">", 96.0),
    ("recommender", "global mean", ">", 1.1),
    ("recommender", "factorisation", "<", 0.94),
    ("time_series", "GRU", "<", 3.4),
    ("custom_op", "digits with Snake", ">", 90.0),
    ("pinn", "relative L2 error", "<", 0.45),
    ("gan_penalty", "gradient penalty", "<", 0.8),
    ("char_rnn", "held-out loss", "<", 2.95),  # frequencies of characters alone: 3.19
    ("char_gpt", "held-out loss", "<", 2.95),
]


@functools.cache
def run(name: str) -> tuple[str, bytes]:
    """What `python examples/NAME.py --quick` prints, and the picture NAME.png it leaves."""
    if name in NEEDS:
        try:
            datasets.load(NEEDS[name])
        except datasets.MissingDataError as error:
            pytest.skip(str(error))
    # One BLAS thread: matrices this small gain nothing from two, and tests often share their cores.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), "--quick"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PATHS, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        picture = Path(folder, f"{name}.png")
        return done.stdout, picture.read_bytes() if picture.is_file() else b""


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str):
    assert run(name)[0].strip(), "an example says what it found"


@pytest.mark.parametrize("name", DRAWN)
def test_picture(name: str):
    picture = run(name)[1]
    assert picture.startswith(b"\x89PNG"), f"no {name}.png in the current folder"
    assert struct.unpack(">I", picture[16:20])[0] >= 800, "wide enough to be read"


@pytest.mark.parametrize(
    ("name", "line", "comparison", "bound"), CLAIMS, ids=lambda value: str(value)
)
def test_claim(name: str, line: str, comparison: str, bound: float):
    found = re.search(rf"^{re.escape(line)}\D*?(-?[\d.]+(?:e-?\d+)?)", run(name)[0], re.MULTILINE)
    assert found, f"{name} prints no line that begins with {line!r}"
    value = float(found[1])
    assert value > bound if comparison == ">" else value < bound, (value, comparison, bound)


# --- the gallery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_in_the_gallery(name: str):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"[{name}.py]({name}.py)" in text
    if name in DRAWN:
        assert f"](images/{name}.png)" in text


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_of_the_gallery_are_small(name: str):
    assert 1000 < (FOLDER / "images" / f"{name}.png").stat().st_size < 120_000
