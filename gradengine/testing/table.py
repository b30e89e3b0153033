"""The table of all ops, from the registry; `python -m gradengine.testing.table --write README.md`.

It stands in README.md between two comments, and a test holds it to the registry.

Floor 6: stands on op.py; the ops register themselves when gradengine is imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gradengine.errors import DataError, hinted
from gradengine.op import Op, registry

START, END = "<!-- ops -->", "<!-- /ops -->"


def op_table() -> str:
    """The ops of the registry as a Markdown table, in the order of their definition.

    `differentiable`: has a derivative. `kernel`: the CUDA functor that computes it.

    >>> print(op_table().splitlines()[0])
    | op | what it computes | differentiable | kernel |
    """
    head = ["| op | what it computes | differentiable | kernel |", "| --- " * 4 + "|"]
    return "\n".join(head + [_row(op) for op in registry.values()])


def _row(op: Op) -> str:
    words = op.doc.strip().splitlines()[0].replace("|", "\\|") if op.doc.strip() else ""
    marks = ["yes" if op.differentiable else "", op.kernel or ""]
    return f"| `{op.name}` | {words} | " + " | ".join(marks) + " |"


def table_in(text: str) -> str:
    """What stands between the two comments of a page."""
    before, _, rest = text.partition(START)
    inside, end, _ = rest.partition(END)
    if not end or not before:
        raise DataError(hinted(f"table: no {START} ... {END}", "add both comments to the page"))
    return inside.strip()


def write_table(page: Path) -> None:
    """Put the table of now between the two comments of a page."""
    text = page.read_text(encoding="utf-8")
    table_in(text)
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n\n{op_table()}\n\n{END}{after}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser("gradengine.testing.table", description="the table of all ops")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put it into this page")
    options = parser.parse_args(argv)
    if options.write is None:
        print(op_table())
    else:
        write_table(options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
