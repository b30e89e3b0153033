"""The case lists of this folder, by topic."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .case import Case

MACHINERY = {"__init__", "__main__", "case", "compare", "topics"}


def topics() -> dict[str, list[Case]]:
    """Topic -> its cases, in the order of the file names."""
    names = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - MACHINERY)
    return {name: list(import_module(f"agreement.{name}").CASES) for name in names}
