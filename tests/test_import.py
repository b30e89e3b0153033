"""What `import gradengine` costs, what it brings along, and which names it offers."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import gradengine as ge

ROOT = Path(__file__).parents[1]
BUDGET = 0.040  # seconds of CPU beyond NumPy's own
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
HEAVY = (
    "scipy",
    "cupy",
    "matplotlib",
    "ml_dtypes",
    "opt_einsum",
    "safetensors",
    "tqdm",
    "torch",
    "gradengine.nn",
    "gradengine.optim",
    "gradengine.testing",
    "gradengine.data",
    "gradengine.datasets",
    "gradengine.saving",
    "gradengine.amp",
)


def run(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- cost ---


def test_import_costs_at_most_numpy_and_forty_milliseconds(tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPYCACHEPREFIX", str(tmp_path))
    code = """
import time, numpy
before = time.thread_time()
import gradengine
print(time.thread_time() - before)
"""
    run("import gradengine")  # writes the bytecode
    # the time of this thread: NumPy's BLAS threads, just started, still spin beside it
    best = float("inf")
    for _ in range(20):  # CPU time grows when other work shares the caches: the best counts
        best = min(best, float(run(code)))
        if best <= BUDGET:
            return
    pytest.fail(f"{best * 1e3:.1f} ms of CPU beyond NumPy")


def test_import_brings_nothing_heavy():
    loaded = json.loads(run("import json, sys, gradengine; print(json.dumps(list(sys.modules)))"))
    assert not [name for name in HEAVY if name in loaded]


def test_import_prints_nothing_and_touches_no_gpu():
    assert run("import gradengine") == ""
    code = "import sys; sys.modules['cupy'] = None; import gradengine as ge; print(ge.zeros(2))"
    assert run(code).strip() == "tensor([0., 0.])"


def test_ordinary_work_stays_light():
    code = """
import json, sys
import numpy as np
import gradengine as ge
x = ge.tensor(np.ones((3, 4), "f4"), requires_grad=True)
y = (ge.tanh(x @ ge.ones((4, 2))) ** 2).mean()
y.backward()
print(json.dumps(list(sys.modules)))
"""
    loaded = json.loads(run(code))
    assert not {"scipy", "cupy", "matplotlib", "opt_einsum"} & set(loaded)


# --- names ---


def test_sub_packages_come_when_named():
    code = """
import sys, gradengine as ge
assert "gradengine.nn" not in sys.modules
ge.nn.Linear
assert "gradengine.nn" in sys.modules
ge.optim.Adam, ge.datasets.load_digits, ge.testing.check_grads, ge.cuda
assert ge.bfloat16.itemsize == 2
"""
    run(code)
    assert {"nn", "optim", "datasets", "testing", "cuda", "bfloat16", "tensor"} <= set(dir(ge))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ge.nonsense  # noqa: B018


def test_names_are_not_hidden_by_modules_of_the_same_name():
    importlib.import_module("gradengine.tensor")
    importlib.import_module("gradengine.creation")
    assert callable(ge.tensor)
    assert ge.tensor([1.0]).shape == (1,)


def test_version_has_one_home():
    assert ge.__version__.count(".") == 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "gradengine/__init__.py"


def test_every_public_name_is_documented_or_a_value():
    for name in dir(ge):
        value = getattr(ge, name)
        if not name.startswith("_") and callable(value):
            assert (value.__doc__ or "").strip(), f"ge.{name} says nothing about itself"


# --- the array API standard, 2024.12 ---

CONSTANTS = "e inf nan newaxis pi"
DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"
)
CREATION = (
    "arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones "
    "ones_like tril triu zeros zeros_like"
)
ELEMENTWISE = (
    "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert "
    "bitwise_or bitwise_right_shift bitwise_xor ceil clip copysign cos cosh divide equal exp expm1 "
    "floor floor_divide greater greater_equal hypot isfinite isinf isnan less less_equal log log1p "
    "log2 log10 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply "
    "negative nextafter not_equal positive pow reciprocal remainder round sign signbit sin sinh "
    "square sqrt subtract tan tanh trunc"
)
OTHERS = (
    "can_cast finfo iinfo isdtype result_type astype matmul matrix_transpose tensordot vecdot "
    "broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape "
    "roll squeeze stack tile unstack argmax argmin count_nonzero nonzero where take argsort "
    "take_along_axis sort cumulative_prod cumulative_sum max mean min prod std sum var all any "
    "__array_namespace_info__"
)


@pytest.mark.parametrize("group", [CONSTANTS, DTYPES, CREATION, ELEMENTWISE, OTHERS])
def test_names_of_the_standard(group):
    missing = [name for name in group.split() if not hasattr(ge, name)]
    assert not missing


def test_constants_and_dtypes():
    assert (ge.pi, ge.e, ge.inf) == (np.pi, np.e, np.inf)
    assert ge.nan != ge.nan
    assert ge.newaxis is None
    for name in DTYPES.split():
        assert getattr(ge, name) == np.dtype(name)
        assert ge.zeros(1, dtype=getattr(ge, name)).dtype == getattr(ge, name)


def test_namespace_of_a_tensor():
    x = ge.ones(2)
    assert x.__array_namespace__() is ge
    assert x.__array_namespace__(api_version="2024.12") is ge
    with pytest.raises(ValueError, match=r"1999\.01"):
        x.__array_namespace__(api_version="1999.01")
