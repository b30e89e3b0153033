"""The functions that are timed, forward and vjp, and how each library writes them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Call = Callable[[], Any]
MILLION = (1000, 1000)


@dataclass(frozen=True)
class Function:
    """y = f(x) on float32 numbers of a shape, and the pull-back of one cotangent."""

    name: str
    aim: float
    shape: tuple[int, ...] = MILLION

    def __str__(self) -> str:
        return f"{self.name}, {'x'.join(map(str, self.shape))}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """x and a cotangent."""
        random = np.random.default_rng(0)
        x, g = (random.normal(size=self.shape).astype(np.float32) for _ in range(2))
        return x, g


FUNCTIONS = [
    Function("relu", 1.6),
    Function("sigmoid", 1.6),
    Function("tanh", 1.6),
    Function("gelu", 4.0),
    Function("softmax", 2.2),
    Function("layer norm", 2.2),
]


# --- libraries with a backward method ---


def gradengine(function: Function) -> Call:
    """Our side."""
    import gradengine as ge

    found: dict[str, Callable[[Any], Any]] = {
        "relu": ge.relu,
        "sigmoid": ge.sigmoid,
        "tanh": ge.tanh,
        "gelu": ge.gelu,
        "softmax": lambda x: ge.softmax(x, axis=-1),
        "layer norm": ge.nn.LayerNorm(1000, elementwise_affine=False),
    }
    x, g = function.arrays()
    t, seed = ge.tensor(x, requires_grad=True), ge.tensor(g)
    apply = found[function.name]

    def call() -> None:
        t.grad = None
        apply(t).backward(seed)

    return call


def pytorch(function: Function) -> Call:
    """PyTorch eager."""
    torch = importlib.import_module("torch")
    f = torch.nn.functional
    found: dict[str, Callable[[Any], Any]] = {
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": f.gelu,
        "softmax": lambda x: torch.softmax(x, -1),
        "layer norm": lambda x: f.layer_norm(x, (1000,)),
    }
    return _torch_call(function, found[function.name])


def compiled(function: Function) -> Call:
    """`torch.compile` of the same."""
    torch = importlib.import_module("torch")
    f = torch.nn.functional
    found: dict[str, Callable[[Any], Any]] = {
        "relu": lambda x: torch.relu(x),
        "sigmoid": lambda x: torch.sigmoid(x),
        "tanh": lambda x: torch.tanh(x),
        "gelu": lambda x: f.gelu(x),
        "softmax": lambda x: torch.softmax(x, -1),
        "layer norm": lambda x: f.layer_norm(x, (1000,)),
    }
    return _torch_call(function, torch.compile(found[function.name]))


def _torch_call(function: Function, apply: Callable[[Any], Any]) -> Call:
    torch = importlib.import_module("torch")
    x, g = (torch.from_numpy(v) for v in function.arrays())
    x.requires_grad_()

    def call() -> None:
        x.grad = None
        apply(x).backward(g)

    return call


def mygrad(function: Function) -> Call | None:
    """MyGrad, where it has the function."""
    mg = importlib.import_module("mygrad")
    nnet = importlib.import_module("mygrad.nnet.activations")
    found: dict[str, Callable[[Any], Any]] = {
        "relu": nnet.relu,
        "sigmoid": nnet.sigmoid,
        "tanh": nnet.tanh,
        "softmax": nnet.softmax,
    }
    if function.name not in found:
        return None
    x, g = function.arrays()
    t, apply = mg.tensor(x), found[function.name]

    def call() -> None:
        apply(t).backward(g)

    return call


# --- libraries with transforms ---


def formula(name: str, xp: Any, erf: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function in terms of NumPy's names."""

    def softmax(x: Any) -> Any:
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def layer_norm(x: Any) -> Any:
        off = x - xp.mean(x, axis=-1, keepdims=True)
        return off / xp.sqrt(xp.mean(off * off, axis=-1, keepdims=True) + 1e-5)

    found: dict[str, Callable[[Any], Any]] = {
        "relu": lambda x: xp.maximum(x, 0),
        "sigmoid": lambda x: 0.5 * xp.tanh(0.5 * x) + 0.5,
        "tanh": xp.tanh,
        "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "softmax": softmax,
        "layer norm": layer_norm,
    }
    return found[name]


def autograd(function: Function) -> Call:
    """HIPS autograd."""
    anp = importlib.import_module("autograd.numpy")
    make_vjp = importlib.import_module("autograd").make_vjp
    erf = importlib.import_module("autograd.scipy.special").erf
    f = formula(function.name, anp, erf)
    x, g = function.arrays()
    return lambda: make_vjp(f)(x)[0](g)


def jax(function: Function) -> Call:
    """JAX, jitted: value and pull-back in one compiled call."""
    module = importlib.import_module("jax")
    f = formula(function.name, module.numpy, module.scipy.special.erf)
    x, g = (module.numpy.asarray(v) for v in function.arrays())

    def both(x: Any, g: Any) -> Any:
        y, pull = module.vjp(f, x)
        return y, pull(g)

    jitted = module.jit(both)
    return lambda: module.block_until_ready(jitted(x, g))


SIDES: dict[str, Callable[[Function], Call | None]] = {
    "gradengine": gradengine,
    "pytorch": pytorch,
    "torch.compile": compiled,
    "jax": jax,
    "autograd": autograd,
    "mygrad": mygrad,
}
