"""An op of your own in CUDA: two kernels behind the rule of custom_op.py.

On a GPU the formula x + sin(a x)^2 / a costs a launch and a trip through memory for each of its
operations; a kernel of your own makes one trip. Such a kernel is CUDA source in a string, compiled
by CuPy when it is first needed, and called with the arrays that lie in `tensor.data`:

    Snake          forward: snake_forward    backward: SnakePullback
    SnakePullback  forward: snake_backward   backward: the formula, through `ge.vjp`

so the fused gradient can itself be differentiated, and `check_grads` sees to all of it. The kernels
run with `--device cuda`. Without it the same ops run in NumPy, and the source is compiled for
several GPUs where NVRTC is installed (`pip install "cupy-cuda13x[ctk]"`), which needs no GPU.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import custom_op
import numpy as np

import gradengine as ge
import support
from gradengine.cuda import nvrtc
from gradengine.testing import check_grads

Array = Any

# --- the kernels ---------------------------------------------------------------------------------

SOURCE = r"""
// x, y, g are rows of `features` numbers, n numbers in all; a holds one number for each feature.
template <typename T>
__global__ void snake_forward(long long n, long long features, const T* x, const T* a, T* y) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const T rate = a[i % features];
        const T wave = sin(rate * x[i]);
        y[i] = x[i] + wave * wave / rate;
    }
}

// sin(2 z) = 2 sin(z) cos(z): one sincos serves both gradients.
template <typename T>
__global__ void snake_backward(long long n, long long features, const T* g, const T* x, const T* a,
                               T* gx, T* ga) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const T rate = a[i % features];
        const T s = sin(rate * x[i]), c = cos(rate * x[i]);
        gx[i] = g[i] * (1 + 2 * s * c);
        ga[i] = g[i] * (2 * s * c * x[i] - s * s / rate) / rate;
    }
}
"""

TYPES = {"float32": "float", "float64": "double"}
KERNELS = tuple(f"{k}<{t}>" for k in ("snake_forward", "snake_backward") for t in TYPES.values())
BLOCK, MOST_BLOCKS = 256, 4096


@functools.cache
def module() -> Any:
    """The compiled kernels; CuPy keeps them on disk for the next time."""
    import cupy  # noqa: TID251  # a user's own CUDA

    return cupy.RawModule(code=SOURCE, options=("-std=c++17",), name_expressions=KERNELS)


def launch(name: str, inputs: list[ge.Tensor], outputs: int) -> list[ge.Tensor]:
    """Run a kernel on tensors of which the last is a; as many new tensors like the first."""
    import cupy  # noqa: TID251

    arrays = [cupy.ascontiguousarray(x.data) for x in inputs]
    made = [cupy.empty_like(arrays[0]) for _ in range(outputs)]
    size, features = arrays[0].size, arrays[-1].size
    blocks = min(-(-size // BLOCK), MOST_BLOCKS)
    if blocks:
        kernel = module().get_function(f"{name}<{TYPES[arrays[0].dtype.name]}>")
        kernel((blocks, 1, 1), (BLOCK, 1, 1), (np.int64(size), np.int64(features), *arrays, *made))
    return [ge.asarray(y) for y in made]


# --- the op --------------------------------------------------------------------------------------


def fits(x: ge.Tensor, a: ge.Tensor) -> bool:
    """Whether the kernels take these: on a GPU, one float type, a along the last axis of x."""
    same = x.dtype == a.dtype and x.dtype.name in TYPES
    return x.device.type == "cuda" and same and a.shape == x.shape[-1:]


class SnakePullback(custom_op.SnakePullback):
    """The cotangents of x and a by one kernel; the latter is summed to a's shape afterwards."""

    @staticmethod
    def forward(ctx: Any, *args: ge.Tensor) -> tuple[ge.Tensor, ge.Tensor]:
        g, x, a = args
        if not fits(x, a):
            return custom_op.SnakePullback.forward(ctx, g, x, a)
        ctx.save_for_backward(g, x, a)
        gx, ga = launch("snake_backward", [g, x, a], outputs=2)
        return gx, ga


class Snake(custom_op.Snake):
    """x + sin(a x)^2 / a by one kernel."""

    @staticmethod
    def forward(ctx: Any, x: ge.Tensor, a: ge.Tensor) -> ge.Tensor:
        if not fits(x, a):
            return custom_op.Snake.forward(ctx, x, a)
        ctx.save_for_backward(x, a)
        return launch("snake_forward", [x, a], outputs=1)[0]

    @staticmethod
    def backward(ctx: Any, g: ge.Tensor) -> Any:
        return SnakePullback.apply(g, *ctx.saved_tensors)


# --- checks --------------------------------------------------------------------------------------


def check() -> str:
    """Both derivatives against finite differences, and all values against the formula."""
    x, a = ge.randn(4, 3, dtype=ge.float64), ge.rand(3, dtype=ge.float64) + 0.5
    check_grads(Snake.apply, (x, a), order=2)
    worst = 0.0
    for dtype in (ge.float32, ge.float64):
        x, a = ge.randn(1000, 37, dtype=dtype), ge.rand(37, dtype=dtype) + 0.5
        found, wanted = (
            [y := f(x, a), *ge.vjp(f, x, a)[1](ge.ones_like(y))]
            for f in (Snake.apply, custom_op.snake)
        )
        for one, other in zip(found, wanted, strict=True):
            apart = (ge.abs(one - other).max() / ge.abs(other).max()).item()
            worst = max(worst, apart / ge.finfo(dtype).eps)
    return f"order 2 in both modes; at most {worst:.1f} epsilons of the largest from the formula"


def compile_everywhere(archs: tuple[str, ...] = ("sm_75", "sm_90", "sm_100")) -> str:
    """NVRTC's word on the source; no GPU is needed."""
    try:
        sizes = [len(nvrtc.compile_cubin(SOURCE, KERNELS, arch).cubin) for arch in archs]
    except nvrtc.NvrtcMissing as error:
        return f"not tried: {error}"
    return f"compiled for {', '.join(archs)}: {sum(sizes) // 1024} kB of machine code"


# --- time ----------------------------------------------------------------------------------------


def seconds(f: Callable[..., ge.Tensor], x: ge.Tensor, a: ge.Tensor, repeats: int = 5) -> float:
    """The best time of value and gradients."""
    step = ge.value_and_grad(lambda x, a: f(x, a).sum(), argnums=(0, 1))
    best = float("inf")
    for _ in range(repeats + 1):  # the first one compiles
        began = time.perf_counter()
        step(x, a)
        if x.device.type == "cuda":
            ge.cuda.synchronize(x.device)
        best = min(best, time.perf_counter() - began)
    return best


def measure(sizes: Array, features: int = 100) -> dict[str, list[float]]:
    """Seconds of each way, for each number of elements."""
    ways = {"formula": custom_op.snake, "one op of arrays": custom_op.Snake.apply}
    if ge.current_device().type == "cuda":
        ways["one op of kernels"] = Snake.apply
    found: dict[str, list[float]] = {name: [] for name in ways}
    for size in support.progress(sizes, "timing", "size"):
        x, a = ge.randn(int(size) // features, features), 0.5 + ge.rand(features)
        for name, f in ways.items():
            found[name].append(seconds(f, x, a))
    return found


def draw(sizes: Array, found: dict[str, list[float]], path: str) -> None:
    """Time by size."""
    figure = support.figure(8, 4.4, "The value and both gradients of Snake: a formula and an op")
    axes = figure.add_subplot(1, 1, 1)
    for (name, times), colour in zip(found.items(), support.COLOURS, strict=False):
        axes.plot(sizes, 1e3 * np.array(times), "o-", color=colour, markersize=4, label=name)
    axes.set(xscale="log", yscale="log")
    support.legend(axes, "upper left")
    support.label(axes, f"on {ge.current_device()}, float32", "elements", "milliseconds")
    support.save(figure, path)


# --- command -------------------------------------------------------------------------------------


def main() -> None:
    """Check, compile, time, draw, sum up."""
    run(support.start(support.parser(__doc__, __file__)))


def run(options: argparse.Namespace) -> None:
    """Everything after the command line."""
    checked = check()
    sizes = np.geomspace(1e3, 1e5 if options.quick else 1e7, 3 if options.quick else 9)
    with support.Stopwatch() as watch:
        found = measure(sizes)
    draw(sizes, found, options.picture)
    support.summary(
        ("computed by", "kernels" if options.device != "cpu" else "NumPy (--device cuda: kernels)"),
        ("check_grads", checked),
        ("CUDA source", compile_everywhere()),
        *(
            (name, f"{1e3 * t[-1]:.2f} ms for {sizes[-1]:.0e} elements")
            for name, t in found.items()
        ),
        ("timing took", f"{watch.seconds:.1f} s"),
    )


if __name__ == "__main__":
    main()
