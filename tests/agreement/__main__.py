"""`python -m agreement --write PAGE` (from tests/): the table of what agrees with PyTorch."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

from .case import Case
from .compare import check, differences
from .topics import topics

HEAD = """# Agreement with PyTorch

Every layer, loss, function, optimiser and scheduler with the same state on the same float64 inputs:
the largest difference found, relative to PyTorch's largest magnitude (absolute below 1). `order` is
the order of derivatives that `check_grads` confirmed. Made by `python -m agreement --write PAGE` in
`tests/` with PyTorch {torch}, NumPy {numpy}, Python {python}.

{count} cases of {names} names; the largest difference is {worst:.1e}.
"""


def row(name: str, cases: list[Case]) -> tuple[str, float]:
    """One line for all cases of a name."""
    worst: dict[str, float] = {}
    for case in cases:
        for what, distance in differences(case).items():
            worst[what] = max(worst.get(what, 0.0), distance)
        if case.kind in ("layer", "function") and case.order:
            check(case)
    shown = ", ".join(f"{what} {distance:.0e}" for what, distance in worst.items())
    orders = {case.order for case in cases if case.kind in ("layer", "function")}
    order = "/".join(map(str, sorted(orders))) if orders else ""
    return f"| `{name}` | {len(cases)} | {shown} | {order} |", max(worst.values())


def page() -> str:
    """The whole page: one table a topic."""
    lines: list[str] = []
    furthest, count, names = 0.0, 0, 0
    for topic, cases in topics().items():
        lines += [
            f"\n## {topic}\n",
            "| name | cases | largest difference | order |",
            "| --- " * 4 + "|",
        ]
        by_name: dict[str, list[Case]] = {}
        for case in cases:
            by_name.setdefault(case.name, []).append(case)
        for name, own in by_name.items():
            line, distance = row(name, own)
            lines.append(line)
            furthest = max(furthest, distance)
        count, names = count + len(cases), names + len(by_name)
    head = HEAD.format(
        torch=torch.__version__.split("+")[0],
        numpy=np.__version__,
        python=platform.python_version(),
        count=count,
        names=names,
        worst=furthest,
    )
    return head + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser("agreement", description="compare gradengine with PyTorch")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    options = parser.parse_args()
    text = page()
    if options.write is None:
        print(text)
    else:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
