"""`gradengine selftest`: every op of the registry on this machine's own hardware.

Derivatives are compared with finite differences on the device, values with those of the CPU. The
calls are the ones the project's tests make; what fails here fails because of this machine.

Floor 7: stands on testing/.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradengine.device import as_array, is_array, move, to_numpy
from gradengine.dtypes import is_inexact
from gradengine.op import Op, registry
from gradengine.tape import Traced
from gradengine.testing import cases, check_grads
from gradengine.testing.cases import describe_call, op_of

Array = Any
TOLERANCES = {"float64": (1e-9, 1e-11), "float32": (1e-4, 1e-5)}  # device against CPU


@dataclass
class Verdict:
    """What came of one op: how many calls were made, and what was wrong with any."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list[str])


def check(names: Iterable[str] | None, device: str, order: int) -> Iterator[Verdict]:
    """The verdict on each op, all of the registry by default, as it is reached."""
    for op in [op_of(name) for name in names] if names else list(registry.values()):
        verdict, started = Verdict(op.name), time.perf_counter()
        for dtype in TOLERANCES:
            for args, params in cases(op, dtype=dtype, device=device):
                verdict.calls += 1
                problem = _try(op, args, params, dtype, device, order)
                if problem:
                    verdict.problems.append(f"{describe_call(args, params)} {dtype}: {problem}")
        verdict.seconds = time.perf_counter() - started
        yield verdict


def _try(
    op: Op, args: tuple[Any, ...], params: dict[str, Any], dtype: str, device: str, order: int
) -> str:
    """What is wrong with one call, "" if nothing is."""

    def call(*inputs: Any) -> Any:
        return op.function(*inputs, **params)

    try:
        if device != "cpu":
            there, here = call(*args), call(*(_at_home(x) for x in args))
            np.testing.assert_allclose(
                _values(there), _values(here), *TOLERANCES[dtype], equal_nan=True
            )
        smooth = op.differentiable and any(is_array(x) and is_inexact(x.dtype) for x in args)
        if dtype == "float64" and smooth:
            check_grads(call, args, order=order)
    except Exception as error:  # a self-test reports whatever goes wrong and goes on
        return f"{type(error).__name__}: {error}".strip()
    return ""


def _at_home(x: Any) -> Any:
    return move(x, "cpu") if is_array(x) else x


def _outputs(result: Any) -> list[Any]:
    return [*result] if isinstance(result, (tuple, list)) else [result]


def _values(result: Any) -> Array:
    """All numbers of a result, of several outputs too, as one float64 array."""
    arrays = [to_numpy(x.array if isinstance(x, Traced) else as_array(x)) for x in _outputs(result)]
    return np.concatenate([array.astype(np.float64).reshape(-1) for array in arrays])
