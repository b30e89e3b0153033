"""What every test starts from: seeded random numbers, and no global state left behind by others.

`gpu` tests are skipped, with the reason, where there is no CUDA device; `shared_data` is the
folder of real data beside the checkout, where there is one.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # every core runs tests of its own

import numpy as np
import pytest

from gradengine import device, dtypes
from gradengine.random import manual_seed
from gradengine.tape import grad_enabled

ROOT = Path(__file__).parents[1]


# --- every test ---


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The random numbers of a test do not depend on the tests before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # for libraries that still draw from the global state
    manual_seed(0)


@pytest.fixture(autouse=True)
def no_state_leaks() -> Iterator[None]:
    """A test leaves grad mode, default dtype and default device as it found them."""
    before = _state()
    assert before["grad mode"], "recording was off before the test"
    yield
    after = _state()
    assert after == before, "the test has changed global state"


def _state() -> dict[str, object]:
    return {
        "grad mode": grad_enabled(),
        "default dtype": dtypes.get_default_dtype(),
        "default device": device.current_device(),
        "floating-point errors": np.geterr(),
    }


# --- what a machine may lack ---


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where CUDA cannot be used, and say why."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = _why_no_cuda() if marked else None
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_cuda() -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # CuPy warns at import about set-ups that do not matter here
        if device.cuda_is_available():
            return None
        try:
            device.import_cupy()
        except device.DeviceError as error:
            return str(error).splitlines()[0]
    return "no CUDA device"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data files beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: real data files are not on this machine")
    return folder
