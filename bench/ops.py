"""Microseconds per op, forward and with backward, beside PyTorch, autograd and MyGrad.

`python -m bench.ops` takes samples of all sides in turn in one run and writes
bench/results/ops.json and ops.md. `--quick` takes few samples.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np

import gradengine as ge

from .timing import RESULTS, in_turn, summary, table, write

SIZES = (1, 100, 10_000)
OPS = ("add", "multiply", "divide", "tanh", "exp", "relu", "sum")
Sides = dict[str, tuple[Callable[[], Any], Callable[[], Any]]]


def sides_for(op: str, n: int, only: str | None = None) -> Sides:
    """Side -> (forward, forward plus backward) of one op on n float32 elements."""
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.5, 1.5, n).astype(np.float32) for _ in range(2))
    g = np.ones(() if op == "sum" else n, np.float32)
    makers = {
        "gradengine": _gradengine,
        "pytorch": _pytorch,
        "autograd": _autograd,
        "mygrad": _mygrad,
    }
    found: Sides = {}
    for name, make in makers.items():
        if only not in (None, name):
            continue
        try:
            pair = make(op, a, b, g)
        except ImportError:
            continue
        if pair is not None:
            found[name] = pair
    return found


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
}


def _gradengine(op: str, a: Any, b: Any, g: Any) -> Any:
    x, y = ge.tensor(a, requires_grad=True), ge.tensor(b, requires_grad=True)
    seed = ge.tensor(g)
    forward = _call(op, x, y, getattr(ge, op, None))

    def both() -> None:
        forward().backward(seed)

    return forward, both


def _pytorch(op: str, a: Any, b: Any, g: Any) -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(2)
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    seed = torch.tensor(g)
    forward = _call(op, x, y, getattr(torch, op, None))

    def both() -> None:
        forward().backward(seed)

    return forward, both


def _autograd(op: str, a: Any, b: Any, g: Any) -> Any:
    anp = importlib.import_module("autograd.numpy")
    make_vjp = importlib.import_module("autograd").make_vjp
    unary = (lambda x: anp.maximum(x, 0)) if op == "relu" else getattr(anp, op, None)
    if op in BINARY:

        def f(v: Any) -> Any:
            return BINARY[op](v[0], v[1])

        def both() -> Any:
            return make_vjp(f)((a, b))[0](g)
    else:

        def both() -> Any:
            return make_vjp(unary)(a)[0](g)

    def forward() -> Any:  # recorded, as everywhere else; its API offers no bare forward
        return make_vjp(f)((a, b))[1] if op in BINARY else make_vjp(unary)(a)[1]

    return forward, both


def _mygrad(op: str, a: Any, b: Any, g: Any) -> Any:
    mg = importlib.import_module("mygrad")
    unary = mg.nnet.relu if op == "relu" else getattr(mg, op, None)
    x, y = mg.tensor(a), mg.tensor(b)
    forward = _call(op, x, y, unary)

    def both() -> None:
        forward().backward(g)

    return forward, both


def _call(op: str, x: Any, y: Any, unary: Any) -> Callable[[], Any]:
    if op in BINARY:
        f = BINARY[op]
        return lambda: f(x, y)
    return lambda: unary(x)


def main(argv: list[str] | None = None) -> None:
    """Run, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.ops", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples, nothing written")
    args = parser.parse_args(argv)
    rounds, seconds = (3, 0.002) if args.quick else (15, 0.02)
    rows: list[dict[str, Any]] = []
    for op in OPS:
        for n in SIZES:
            sides = sides_for(op, n)
            for k, phase in enumerate(("forward", "forward+backward")):
                calls = {name: pair[k] for name, pair in sides.items()}
                found = summary(in_turn(calls, rounds, seconds), "pytorch")
                rows.append({"op": op, "elements": n, "phase": phase, "sides": found})
    text = report(rows)
    print(text)
    if not args.quick:
        print(write("ops", rows))
        (RESULTS / "ops.md").write_text(text + "\n")


def report(rows: list[dict[str, Any]]) -> str:
    """Microseconds of each side and the ratio to PyTorch, as Markdown."""
    names = [n for n in ("gradengine", "pytorch", "autograd", "mygrad") if n in rows[0]["sides"]]
    header = ["op", "elements", "phase", *(f"{n} us" for n in names), "ours / pytorch"]
    lines: list[list[str]] = []
    for row in rows:
        sides = row["sides"]
        times = [f"{1e6 * sides[n]['seconds']:.2f}" if n in sides else "" for n in names]
        ratio = sides["gradengine"].get("ratio")
        shown = "" if ratio is None else f"{ratio:.2f}"
        lines.append([row["op"], str(row["elements"]), row["phase"], *times, shown])
    return table(header, lines)


if __name__ == "__main__":
    main()
