"""What the README says is so: its commands are CI's, its code runs, its links and extras exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
README = PAGES[0].read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_two_commands_are_those_of_ci():
    commands = blocks(README, "bash")[0].splitlines()
    assert commands == [
        'python -m pip install -e ".[demo]" && gradengine demo',
        'python -m pip install -e ".[test]" && python -m pytest',
    ]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for command in commands:
        assert command in script


def test_the_first_screen_has_picture_and_commands():
    head = README.splitlines()[:16]
    assert any(re.match(r"!\[.+\]\(examples/images/digits\.png\)", line) for line in head)
    assert "```bash" in head


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_code_runs(number: int, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks(README, "python")[number]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_there_is_code_and_it_is_short():
    code = blocks(README, "python")
    assert code
    statements = [line for line in code[0].splitlines() if line.strip() and line[0] != "#"]
    assert len(statements) <= 24


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).is_file(), target


def test_extras_exist():
    named = re.findall(r'"?(?:gradengine|\.)\[([a-z0-9,]+)\]"', README)
    assert named
    for extras in named:
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
