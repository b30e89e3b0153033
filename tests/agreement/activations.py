"""Activations as modules and functions, with every option; inputs on both sides of every kink."""

from __future__ import annotations

from .case import function, layer, uniform

X = uniform(-4.0, 8.0, (3, 7))
IMAGE = [(2, 4, 3, 3)]

# PyTorch's slope of hardsigmoid is 1/6 rounded to float32, in float64 too
SIXTH = {"tolerance": 1e-7}

_PLAIN = [
    *("Hardswish", "LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU"),
    *("Sigmoid", "SiLU", "Softsign", "Tanh", "Tanhshrink"),
]
_FUNCTIONS = [
    *("relu", "relu6", "selu", "silu", "mish", "hardswish"),
    *("logsigmoid", "sigmoid", "tanh", "softsign", "tanhshrink"),
]

CASES = [
    *(layer(name, inputs=[X]) for name in _PLAIN),
    layer("Hardsigmoid", inputs=[X], **SIXTH),
    layer("ELU", inputs=[X]),
    layer("ELU", alpha=0.3, inputs=[X], id="alpha"),
    layer("CELU", inputs=[X]),
    layer("CELU", alpha=0.3, inputs=[X], id="alpha"),
    layer("GELU", inputs=[X]),
    layer("GELU", approximate="tanh", inputs=[X], id="tanh"),
    layer("LeakyReLU", inputs=[X]),
    layer("LeakyReLU", 0.3, inputs=[X], id="slope"),
    layer("PReLU", inputs=[X]),
    layer("PReLU", 4, init=0.1, inputs=IMAGE, id="channels"),
    layer("PReLU", 7, inputs=[X], id="features"),
    layer("PReLU", inputs=[(4,)], id="vector"),
    layer("PReLU", inputs=[()], id="0-d"),
    layer("RReLU", 0.1, 0.5, inputs=[X], mode="eval"),
    layer("Hardshrink", inputs=[X]),
    layer("Hardshrink", 1.5, inputs=[X], id="lambd"),
    layer("Softshrink", inputs=[X]),
    layer("Softshrink", 1.5, inputs=[X], id="lambd"),
    layer("Hardtanh", inputs=[X]),
    layer("Hardtanh", -2.0, 3.0, inputs=[X], id="bounds"),
    layer("Softplus", inputs=[X]),
    layer("Softplus", beta=2.0, threshold=90.0, inputs=[X], id="beta"),
    layer("Threshold", 0.1, 20.0, inputs=[X]),
    layer("GLU", inputs=[(3, 8)]),
    layer("GLU", dim=1, inputs=IMAGE, id="dim"),
    *(layer(name, dim=dim, inputs=[(2, 3, 4)], id=f"dim{dim}")
      for name in ("Softmax", "Softmin", "LogSoftmax") for dim in (0, 1, -1)),
    layer("Softmax2d", inputs=IMAGE),
    layer("Softmax2d", inputs=[(4, 3, 3)], id="unbatched"),
    # functions
    *(function(name, inputs=[X]) for name in _FUNCTIONS),
    function("hardsigmoid", inputs=[X], **SIXTH),
    function("elu", alpha=0.3, inputs=[X]),
    function("celu", alpha=0.3, inputs=[X]),
    function("gelu", approximate="tanh", inputs=[X]),
    function("leaky_relu", negative_slope=0.3, inputs=[X]),
    function("prelu", inputs=[(2, 4, 3), (4,)]),
    function("rrelu", lower=0.1, upper=0.5, inputs=[X]),
    function("hardshrink", lambd=1.5, inputs=[X]),
    function("softshrink", lambd=1.5, inputs=[X]),
    function("hardtanh", min_val=-2.0, max_val=3.0, inputs=[X]),
    function("softplus", beta=2.0, threshold=90.0, inputs=[X]),
    function("threshold", 0.1, 20.0, inputs=[X]),
    function("glu", dim=0, inputs=[(4, 3)]),
    *(function(name, dim=1, inputs=[(2, 3, 4)]) for name in ("softmax", "softmin", "log_softmax")),
]  # fmt: skip
