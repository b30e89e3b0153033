"""Every op on the GPU against the CPU: value, first and second derivative, in every float dtype.

`pytest -m gpu` runs the registry on a CUDA device. The same tests run on the stand-in device: ops
with kernels in float32 among the ordinary tests, everything with GRADENGINE_STANDIN=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from device_checks import compare
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda.standin import standin
from gradengine.op import Op, registry
from gradengine.program import demo
from gradengine.program.demo import Options

FLOATS = ("float16", "bfloat16", "float32", "float64")
OPS = list(registry.values())
SMALL = [
    registry[name]
    for name in (
        *("add", "multiply", "divide", "pow", "exp", "sqrt", "tan", "relu", "relu6", "gelu"),
        *("softplus", "hypot", "copysign"),
        *("prelu", "sum", "mean", "softmax", "log_softmax", "cross_entropy", "standardise"),
        *("dropout", "take", "take_back", "astype", "copy", "reshape", "where", "matmul"),
    )
]


@pytest.fixture(name="stand_in")
def a_stand_in() -> Iterator[None]:
    with standin():
        yield


def agree(op: Op, dtype: str) -> None:
    problems = compare(op, dtype)
    assert not problems, f"{len(problems)} calls differ:\n" + "\n".join(problems[:5])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_op_on_the_gpu(op: Op, dtype: str) -> None:
    agree(op, dtype)


@needs_emulator
@pytest.mark.parametrize("op", SMALL, ids=lambda op: op.name)
def test_op_on_the_stand_in(stand_in: None, op: Op) -> None:
    agree(op, "float32")


@needs_emulator
@pytest.mark.skipif("GRADENGINE_STANDIN" not in os.environ, reason="minutes: GRADENGINE_STANDIN=1")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_on_the_stand_in(stand_in: None, op: Op, dtype: str) -> None:
    agree(op, dtype)


# --- moves ---


def moves() -> None:
    x = ge.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x.to("cuda") * 2).to("cpu") + x.cuda().square().cpu()
    (d,) = ge.autograd.grad(y.sum(), [x], create_graph=True)
    assert d.tolist() == [4.0, 6.0, 8.0]
    (e,) = ge.autograd.grad(d.sum(), [x])
    assert e.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.gpu
def test_moves_on_the_gpu() -> None:
    moves()


@needs_emulator
def test_moves_on_the_stand_in(stand_in: None) -> None:
    moves()


# --- the demo ---


def train_the_demo(folder: Path, quick: bool) -> demo.History:
    """The demo on the device learns as it does on the CPU: its first losses are the same."""
    out = str(folder / "p.png")
    there = demo.run(Options(device="cuda", quick=quick, out=out))
    here = demo.run(Options(device="cpu", quick=True, out=out))
    assert there.device.startswith("cuda")
    assert np.allclose(there.loss[:20], here.loss[:20], rtol=1e-3)
    return there


@pytest.mark.gpu
def test_the_demo_on_the_gpu(tmp_path: Path) -> None:
    assert train_the_demo(tmp_path, quick=False).test_accuracy[-1] >= 0.97


@needs_emulator
@pytest.mark.slow
def test_the_demo_on_the_stand_in(stand_in: None, tmp_path: Path) -> None:
    assert train_the_demo(tmp_path, quick=True).test_accuracy[-1] >= 0.85
