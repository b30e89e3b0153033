"""The chain rule by hand, beside the tape: first one sigmoid neuron, then a 2-2-1 network.

For every link of the chain it prints the local derivative, the product of all links so far, the
gradient the tape found, and a central finite difference. All four are computed independently.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import gradengine as ge

HEAD = f"{'':<10}{'link':<18}{'local':>10}{'chain':>14}{'tape':>14}{'difference':>14}"


def sigma(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def slope(f: Callable[[float], float], x: float, h: float = 1e-5) -> float:
    return float(f(x + h) - f(x - h)) / (2 * h)


def row(name: str, link: str, local: float, chain: float, tape: Any, difference: float) -> None:
    tape = tape.item()
    print(f"{name:<10}{link:<18}{local:>10.6f}{chain:>14.8f}{tape:>14.8f}{difference:>14.8f}")
    assert abs(chain - tape) < 1e-12, f"{name}: the chain and the tape differ"
    assert abs(chain - difference) < 1e-8, f"{name}: the chain and the finite difference differ"


def number(value: float) -> ge.Tensor:
    return ge.tensor(np.float64(value), requires_grad=True)


def neuron(w0: float, b0: float, x: float, y: float) -> None:
    """z = w x + b, a = sigma(z), L = (a - y)^2."""
    w, b = number(w0), number(b0)
    z = w * x + b
    a = ge.sigmoid(z)
    loss = (a - y) ** 2
    for between in (z, a):
        between.retain_grad()  # gradients of intermediate values are kept on request
    loss.backward()

    def from_a(a: float) -> float:
        return (a - y) ** 2

    def from_z(z: float) -> float:
        return from_a(sigma(z))

    z1 = w0 * x + b0
    a1 = float(sigma(z1))
    print(f"One neuron: {neuron.__doc__}  x = {x}, y = {y}, w = {w0}, b = {b0}\n\n{HEAD}")
    chain = local = 2 * (a1 - y)
    row("dL/da", "2 (a - y)", local, chain, a.grad, slope(from_a, a1))
    local = a1 * (1 - a1)
    chain *= local
    row("dL/dz", "da/dz = a (1 - a)", local, chain, z.grad, slope(from_z, z1))
    row("dL/dw", "dz/dw = x", x, chain * x, w.grad, slope(lambda w: from_z(w * x + b0), w0))
    row("dL/db", "dz/db = 1", 1, chain, b.grad, slope(lambda b: from_z(w0 * x + b), b0))


def network(x: Any, y: float, seed: int) -> None:
    """h = sigma(W x + b), o = sigma(v . h + c), L = (o - y)^2."""
    rng = np.random.default_rng(seed)
    values = {"W": rng.normal(size=(2, 2)), "b": rng.normal(size=2), "v": rng.normal(size=2)}
    values["c"] = rng.normal(size=())
    w, b, v, c = (ge.tensor(value, requires_grad=True) for value in values.values())
    h = ge.sigmoid(w @ ge.tensor(x) + b)
    o = ge.sigmoid((v * h).sum() + c)
    loss = (o - y) ** 2
    for between in (h, o):
        between.retain_grad()
    loss.backward()

    def from_h(h: Any) -> float:
        return float((sigma(values["v"] @ h + values["c"]) - y) ** 2)

    def changed(name: str, place: tuple[int, ...]) -> Callable[[float], float]:
        def f(value: float) -> float:
            now = {key: array.copy() for key, array in values.items()}
            now[name][place] = value
            hidden = sigma(now["W"] @ x + now["b"])
            return float((sigma(now["v"] @ hidden + now["c"]) - y) ** 2)

        return f

    def difference(name: str, *place: int) -> float:
        return slope(changed(name, place), float(values[name][place]))

    h1 = sigma(values["W"] @ x + values["b"])
    o1 = float(sigma(values["v"] @ h1 + values["c"]))
    print(f"\nA 2-2-1 network: {network.__doc__}  x = {x}, y = {y}\n\n{HEAD}")
    chain = local = 2 * (o1 - y)
    row("dL/do", "2 (o - y)", local, chain, o.grad, slope(lambda o: (o - y) ** 2, o1))
    local = o1 * (1 - o1)
    chain *= local
    row("dL/dc", "do/dc = o (1 - o)", local, chain, c.grad, difference("c"))
    for j in range(2):
        row(f"dL/dv{j}", f"h{j}", h1[j], chain * h1[j], v.grad[j], difference("v", j))
    for j in range(2):
        step = np.eye(2)[j]
        local, back = values["v"][j], chain * values["v"][j]
        shifted = slope(lambda t, step=step: from_h(h1 + t * step), 0.0)
        row(f"dL/dh{j}", f"v{j}", local, back, h.grad[j], shifted)
        local = h1[j] * (1 - h1[j])
        back *= local
        row(f"dL/db{j}", f"h{j} (1 - h{j})", local, back, b.grad[j], difference("b", j))
        for i in range(2):
            found = difference("W", j, i)
            row(f"dL/dW{j}{i}", f"x{i}", x[i], back * x[i], w.grad[j, i], found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the network's weights")
    parser.add_argument("--quick", action="store_true", help="changes nothing: it is quick")
    options = parser.parse_args()
    neuron(w0=0.6, b0=0.9, x=1.5, y=0.0)
    network(np.array([0.5, -1.0]), y=1.0, seed=options.seed)
