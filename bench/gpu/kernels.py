"""The kernels that are timed, beside what PyTorch offers for the same: the table of issue sizes.

Inputs are made on the device and dropped when a subject has been timed: generators give one subject
after the other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradengine.cuda import columns, gemm, launch, rows, steps

from .clock import Call, Scale, Subject

Sides = dict[str, Call]

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("relu", {}),
    "LeakyRelu": ("leaky_relu", {}),
    "Elu": ("elu", {}),
    "Selu": ("selu", {}),
    "Gelu": ("gelu", {}),
    "GeluTanh": ("gelu", {"approximate": "tanh"}),
    "Silu": ("silu", {}),
    "Mish": ("mish", {}),
    "Softplus": ("softplus", {}),
    "Sigmoid": ("sigmoid", {}),
    "LogSigmoid": ("logsigmoid", {}),
    "Tanh": ("tanh", {}),
    "Hardtanh": ("hardtanh", {}),
    "Hardsigmoid": ("hardsigmoid", {}),
    "Hardswish": ("hardswish", {}),
    "Softsign": ("softsign", {}),
    "Tanhshrink": ("tanhshrink", {}),
    "Softshrink": ("softshrink", {}),
    "Hardshrink": ("hardshrink", {}),
}
"""Functor of kernels/activations.cuh -> PyTorch's function and its keywords."""

PARAMETERS = {
    "LeakyRelu": [0.01],
    "Elu": [1.0],
    "Softplus": [1.0, 20.0],
    "Hardtanh": [-1.0, 1.0],
    "Softshrink": [0.5],
    "Hardshrink": [0.5],
}
"""PyTorch's defaults, as the functor takes them."""


class Data:
    """Arrays of one dtype on the device, and the same ones for PyTorch where it is installed."""

    def __init__(self, dtype: str, torch: Any) -> None:
        self.cupy: Any = importlib.import_module("cupy")
        self.name, self.torch = dtype, torch
        wide = importlib.import_module("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
        self.dtype = np.dtype(wide)

    def normal(self, *shape: int) -> Any:
        """Normal numbers, a repeated block of them where there are many."""
        size = int(np.prod(shape))
        block = np.random.default_rng(0).normal(size=min(size, 2**20)).astype(np.float32)
        short = self.cupy.array(block.astype(self.dtype))
        return self.cupy.tile(short, -(-size // short.size))[:size].reshape(shape)

    def theirs(self, array: Any, *, grad: bool = False) -> Any:
        """A PyTorch tensor over the same memory."""
        if array.dtype.kind == "V":  # bfloat16 does not travel by DLPack as such
            tensor = self.torch.from_dlpack(array.view(np.int16)).view(self.torch.bfloat16)
        else:
            tensor = self.torch.from_dlpack(array)
        return tensor.requires_grad_(grad)


def _compiled(torch: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(f)


# --- elementwise ---------------------------------------------------------------------------------


def activations(scale: Scale, torch: Any, dtype: str) -> Iterator[Subject]:
    """Every activation forward and backward, 2^28 elements: two and three passes over memory."""
    data = Data(dtype, torch)
    x, g = data.normal(scale.elements), data.normal(scale.elements)
    for functor, (name, options) in ACTIVATIONS.items():
        parameters = PARAMETERS.get(functor, [])
        forward: Sides = {"gradengine": lambda f=functor, p=parameters: launch.forward(f, x, p)}
        backward: Sides = {"gradengine": lambda f=functor, p=parameters: launch.vjp(f, g, x, p)}
        if torch is not None:
            f = getattr(torch.nn.functional, name)
            t, seed = data.theirs(x), data.theirs(g)
            leaf = data.theirs(x).detach().requires_grad_()
            forward["pytorch"] = lambda f=f, o=options, t=t: f(t, **o)
            y = f(leaf, **options)
            backward["pytorch"] = lambda y=y, leaf=leaf, seed=seed: torch.autograd.grad(
                y, leaf, seed, retain_graph=True
            )
            if functor in ("Gelu", "Silu"):
                c = _compiled(torch, lambda t, f=f, o=options: f(t, **o))
                forward["torch.compile"] = lambda c=c, t=t: c(t)
        faster = 1.2 if functor == "Gelu" and dtype == "bfloat16" else 1.0
        moved = 2 * x.nbytes
        yield Subject("forward", f"{functor} {dtype}", forward, moved, 0, 0.92, faster)
        yield Subject("backward", f"{functor} {dtype}", backward, moved * 3 / 2, 0, 0.92, 1.0)


def bias_gelu(scale: Scale, torch: Any, dtype: str) -> Iterator[Subject]:
    """gelu(x + b), and its backward with the gradient of b."""
    data = Data(dtype, torch)
    x, g = (data.normal(scale.norm_rows, scale.width) for _ in range(2))
    b = data.normal(scale.width)
    forward: Sides = {"gradengine": lambda: launch.bias_forward("Gelu", x, b)}
    backward: Sides = {"gradengine": lambda: columns.bias_vjp("Gelu", g, x, b)}
    if torch is not None:
        gelu = torch.nn.functional.gelu
        t, c, seed = data.theirs(x), data.theirs(b), data.theirs(g)
        forward["pytorch"] = lambda: gelu(t + c)
        leaves = [v.detach().clone().requires_grad_() for v in (t, c)]
        y = gelu(leaves[0] + leaves[1])
        backward["pytorch"] = lambda: torch.autograd.grad(y, leaves, seed, retain_graph=True)
        jitted = _compiled(torch, lambda t, c: gelu(t + c))
        forward["torch.compile"] = lambda: jitted(t, c)
    name, moved = f"bias + gelu {dtype}", 2 * x.nbytes
    yield Subject("fused", f"{name} forward", forward, moved, 0, 0.85, 1.8)
    yield Subject("fused", f"{name} backward", backward, moved * 3 / 2, 0, 0.85, 1.8)


# --- rows ----------------------------------------------------------------------------------------


def cross_entropy(scale: Scale, torch: Any, dtype: str) -> Iterator[Subject]:
    """Softmax cross-entropy, loss and gradient: one read and one write of the logits."""
    data = Data(dtype, torch)
    x = data.normal(scale.rows, scale.classes)
    labels = np.random.default_rng(1).integers(0, scale.classes, scale.rows)
    target = data.cupy.array(labels)
    share = 1.0 / scale.rows
    sides: Sides = {
        "gradengine": lambda: rows.softmax_cross_entropy(x, target, scale=share),
    }
    if torch is not None:
        loss = torch.nn.functional.cross_entropy
        leaf, t = data.theirs(x).detach().clone().requires_grad_(), data.theirs(target)
        sides["pytorch"] = lambda: torch.autograd.grad(loss(leaf, t), leaf)
        jitted = _compiled(torch, lambda a, t: loss(a, t))
        sides["torch.compile"] = lambda: torch.autograd.grad(jitted(leaf, t), leaf)
    name = f"softmax cross-entropy {dtype}"
    yield Subject("rows", name, sides, 2 * x.nbytes, 0, 0.85, 2.0)


def layer_norm(scale: Scale, torch: Any, dtype: str) -> Iterator[Subject]:
    """Layer norm forward, and backward with the gradients of weight and bias."""
    data = Data(dtype, torch)
    x, g = (data.normal(scale.norm_rows, scale.width) for _ in range(2))
    w, b = data.normal(scale.width), data.normal(scale.width)
    _, mean, rstd = rows.norm_forward(x, w, b, epsilon=1e-5)
    forward: Sides = {"gradengine": lambda: rows.norm_forward(x, w, b, epsilon=1e-5)}
    backward: Sides = {"gradengine": lambda: rows.norm_vjp(g, x, w, mean, rstd)}
    if torch is not None:
        norm = torch.nn.functional.layer_norm
        leaves = [data.theirs(v).detach().clone().requires_grad_() for v in (x, w, b)]
        seed = data.theirs(g)
        shape = (scale.width,)
        y = norm(leaves[0], shape, leaves[1], leaves[2])
        still = [v.detach() for v in leaves]
        forward["pytorch"] = lambda: norm(still[0], shape, still[1], still[2])
        backward["pytorch"] = lambda: torch.autograd.grad(y, leaves, seed, retain_graph=True)
    name, moved = f"layer norm {dtype}", 2 * x.nbytes
    yield Subject("rows", f"{name} forward", forward, moved, 0, 0.85, 1.0)
    yield Subject("rows", f"{name} backward", backward, moved * 3 / 2, 0, 0.75, 1.5)


# --- the rest ------------------------------------------------------------------------------------


def adam(scale: Scale, torch: Any) -> Iterator[Subject]:
    """One step of Adam on one large parameter: 28 bytes each."""
    data = Data("float32", torch)
    p, g = data.normal(scale.parameters), data.normal(scale.parameters)
    m, v = data.cupy.zeros_like(p), data.cupy.zeros_like(p)
    sides: Sides = {"gradengine": lambda: steps.adam_step(p, g, m, v, lr=1e-9, step=10)}
    if torch is not None:
        parameter = data.theirs(p).detach().clone().requires_grad_()
        parameter.grad = data.theirs(g)
        optimizer = torch.optim.Adam([parameter], lr=1e-9, fused=True)
        sides["pytorch"] = optimizer.step
    yield Subject("steps", "Adam float32", sides, 28.0 * scale.parameters, 0, 0.90, 1.0)


def products(scale: Scale, torch: Any) -> Iterator[Subject]:
    """A large product in bfloat16, and in float32 with and without TF32."""
    n = scale.matrix
    for dtype, precision in (("bfloat16", "highest"), ("float32", "high"), ("float32", "highest")):
        data = Data(dtype, torch)
        a, b = data.normal(n, n), data.normal(n, n)

        def ours(a: Any = a, b: Any = b, precision: str = precision) -> Any:
            with gemm.float32_matmul_precision(precision):
                return gemm.matmul(a, b)

        sides: Sides = {"gradengine": ours}
        if torch is not None:
            t, u = data.theirs(a), data.theirs(b)

            def theirs(t: Any = t, u: Any = u, precision: str = precision) -> Any:
                torch.set_float32_matmul_precision(precision)
                return torch.matmul(t, u)

            sides["pytorch"] = theirs
        shown = f"matmul {n}^3 {dtype}" + (" (TF32)" if precision == "high" else "")
        speed = 0.98 if dtype == "bfloat16" else None
        yield Subject("products", shown, sides, 0, 2.0 * n**3, None, speed)


def subjects(scale: Scale, torch: Any) -> Iterator[Subject]:
    """All of them, one after the other."""
    for dtype in ("float32", "bfloat16"):
        yield from activations(scale, torch, dtype)
        yield from bias_gelu(scale, torch, dtype)
        yield from cross_entropy(scale, torch, dtype)
        yield from layer_norm(scale, torch, dtype)
    yield from adam(scale, torch)
    yield from products(scale, torch)
