"""One gradient or training step of each network, in each library.

gradengine and PyTorch build models.py; JAX and autograd take the formulas below, with the array
module handed in; MyGrad has the perceptrons.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .models import Network

Call = Callable[[], Any]
Params = dict[str, Any]
RATE, BETAS, EPS = 1e-3, (0.9, 0.999), 1e-8


# --- libraries with modules ---


def gradengine(network: Network) -> Call:
    """Our side."""
    import gradengine as ge

    ge.manual_seed(0)
    model = network.build(SimpleNamespace(nn=ge.nn))
    opt = ge.optim.Adam(model.parameters(), lr=RATE)
    x, labels = (ge.tensor(v) for v in network.batch())

    def gradient() -> None:
        opt.zero_grad()
        ge.cross_entropy(model(x), labels).backward()

    def step() -> None:
        gradient()
        opt.step()

    return step if network.what == "step" else gradient


def pytorch(network: Network, *, fused: bool = False, compiled: bool = False) -> Call:
    """PyTorch: eager, with its default or its fused Adam, or compiled."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    model = network.build(SimpleNamespace(nn=torch.nn))
    opt = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    x, labels = (torch.from_numpy(v) for v in network.batch())
    forward = torch.compile(model) if compiled else model
    loss = torch.nn.functional.cross_entropy

    def gradient() -> None:
        opt.zero_grad()
        loss(forward(x), labels).backward()

    def step() -> None:
        gradient()
        opt.step()

    return step if network.what == "step" else gradient


def fused(network: Network) -> Call | None:
    """PyTorch eager with the fused Adam, the honest comparator of a step."""
    return pytorch(network, fused=True) if network.what == "step" else None


def compiled(network: Network) -> Call:
    """`torch.compile`, with the fused Adam."""
    return pytorch(network, fused=True, compiled=True)


# --- formulas, for the libraries with transforms ---


def parameters(network: Network) -> Params:
    """Start values with PyTorch's names and shapes."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    model = network.build(SimpleNamespace(nn=torch.nn))
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def logits(network: Network, xp: Any, erf: Callable[[Any], Any]) -> Callable[..., Any] | None:
    """The network as a function of (parameters, x), or None where there is no formula of it."""
    if network.name.startswith("MLP"):
        return lambda p, x: _perceptron(xp, p, x)
    if network.name.startswith("LSTM of cells"):
        return lambda p, x: _cells(xp, p, x)
    if network.name.startswith("transformer"):
        return lambda p, x: _block(xp, erf, p, x)
    return None


def _linear(p: Params, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _perceptron(xp: Any, p: Params, x: Any) -> Any:
    names = sorted({key.partition(".")[0] for key in p}, key=int)
    for name in names[:-1]:
        x = xp.maximum(_linear(p, name, x), 0)
    return _linear(p, names[-1], x)


def _sigmoid(xp: Any, x: Any) -> Any:
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def _cells(xp: Any, p: Params, x: Any) -> Any:
    h = c = xp.zeros((x.shape[0], 128), "float32")
    for t in range(x.shape[1]):
        gates = x[:, t] @ p["cell.weight_ih"].T + p["cell.bias_ih"]
        gates = gates + h @ p["cell.weight_hh"].T + p["cell.bias_hh"]
        i, f, g, o = (gates[:, k * 128 : (k + 1) * 128] for k in range(4))
        c = _sigmoid(xp, f) * c + _sigmoid(xp, i) * xp.tanh(g)
        h = _sigmoid(xp, o) * xp.tanh(c)
    return _linear(p, "head", h)


def _norm(xp: Any, p: Params, name: str, x: Any) -> Any:
    off = x - xp.mean(x, axis=-1, keepdims=True)
    scale = xp.sqrt(xp.mean(off * off, axis=-1, keepdims=True) + 1e-5)
    return off / scale * p[f"{name}.weight"] + p[f"{name}.bias"]


def _block(xp: Any, erf: Callable[[Any], Any], p: Params, x: Any, heads: int = 4) -> Any:
    batch, length, width = x.shape
    p = {key.removeprefix("block."): value for key, value in p.items()}
    y = _norm(xp, p, "norm1", x)
    packed = y @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
    packed = xp.reshape(packed, (batch, length, 3, heads, width // heads))
    q, k, v = (xp.transpose(packed[:, :, j], (0, 2, 1, 3)) for j in range(3))
    scores = xp.matmul(q, xp.transpose(k, (0, 1, 3, 2))) / math.sqrt(width // heads)
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    mixed = xp.matmul(e / xp.sum(e, axis=-1, keepdims=True), v)
    mixed = xp.reshape(xp.transpose(mixed, (0, 2, 1, 3)), (batch, length, width))
    x = x + _linear(p, "self_attn.out_proj", mixed)
    y = _linear(p, "linear1", _norm(xp, p, "norm2", x))
    x = x + _linear(p, "linear2", 0.5 * y * (1 + erf(y / math.sqrt(2))))
    return _linear(p, "head", xp.mean(x, axis=1))


def _objective(network: Network, xp: Any, erf: Callable[[Any], Any]) -> Callable[..., Any] | None:
    apply = logits(network, xp, erf)
    if apply is None:
        return None
    rows = np.arange(network.inputs[0])

    def loss(p: Params, x: Any, labels: Any) -> Any:
        y = apply(p, x)
        y = y - xp.max(y, axis=-1, keepdims=True)
        y = y - xp.log(xp.sum(xp.exp(y), axis=-1, keepdims=True))
        return -xp.mean(y[rows, labels])

    return loss


def _adam(xp: Any, p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
    m = BETAS[0] * m + (1 - BETAS[0]) * g
    v = BETAS[1] * v + (1 - BETAS[1]) * g * g
    scale = RATE / (1 - BETAS[0] ** step)
    return p - scale * m / (xp.sqrt(v / (1 - BETAS[1] ** step)) + EPS), m, v


def autograd(network: Network) -> Call | None:
    """HIPS autograd."""
    anp = importlib.import_module("autograd.numpy")
    erf = importlib.import_module("autograd.scipy.special").erf
    loss = _objective(network, anp, erf)
    if loss is None:
        return None
    gradient = importlib.import_module("autograd").value_and_grad(loss)
    p = parameters(network)
    m, v = ({k: np.zeros_like(a) for k, a in p.items()} for _ in range(2))
    x, labels = network.batch()
    count = [0]

    def step() -> None:
        g = gradient(p, x, labels)[1]
        count[0] += 1
        for k in p:
            p[k], m[k], v[k] = _adam(np, p[k], g[k], m[k], v[k], count[0])

    return step if network.what == "step" else lambda: gradient(p, x, labels)


def jax(network: Network) -> Call | None:
    """JAX, the whole step jitted."""
    module = importlib.import_module("jax")
    loss = _objective(network, module.numpy, module.scipy.special.erf)
    if loss is None:
        return None
    gradient = module.value_and_grad(loss)
    x, labels = (module.numpy.asarray(v) for v in network.batch())
    p = {k: module.numpy.asarray(a) for k, a in parameters(network).items()}
    if network.what == "gradient":
        jitted = module.jit(gradient)
        return lambda: module.block_until_ready(jitted(p, x, labels))

    def update(state: Any, x: Any, labels: Any) -> Any:
        p, m, v, count = state
        value, g = gradient(p, x, labels)
        new = {k: _adam(module.numpy, p[k], g[k], m[k], v[k], count + 1) for k in p}
        parts = [{k: new[k][i] for k in p} for i in range(3)]
        return value, (*parts, count + 1)

    zeros = {k: module.numpy.zeros_like(a) for k, a in p.items()}
    state: list[Any] = [(p, zeros, zeros, module.numpy.float32(0))]
    jitted_step = module.jit(update)

    def step() -> None:
        value, state[0] = jitted_step(state[0], x, labels)
        module.block_until_ready(value)

    return step


def mygrad(network: Network) -> Call | None:
    """MyGrad, the perceptrons."""
    if not network.name.startswith("MLP"):
        return None
    mg = importlib.import_module("mygrad")
    nnet = importlib.import_module("mygrad.nnet")
    p = {k: mg.tensor(a) for k, a in parameters(network).items()}
    m, v = ({k: np.zeros_like(a.data) for k, a in p.items()} for _ in range(2))
    names = sorted({key.partition(".")[0] for key in p}, key=int)
    x, labels = network.batch()
    count = [0]

    def step() -> None:
        y: Any = x
        for name in names:
            y = mg.matmul(y, p[f"{name}.weight"].T) + p[f"{name}.bias"]
            y = nnet.activations.relu(y) if name != names[-1] else y
        nnet.losses.softmax_crossentropy(y, labels).backward()
        count[0] += 1
        for k, a in p.items():
            a.data[...], m[k], v[k] = _adam(np, a.data, a.grad, m[k], v[k], count[0])

    return step


SIDES: dict[str, Callable[[Network], Call | None]] = {
    "gradengine": gradengine,
    "pytorch": pytorch,
    "pytorch, fused Adam": fused,
    "torch.compile": compiled,
    "jax": jax,
    "autograd": autograd,
    "mygrad": mygrad,
}
