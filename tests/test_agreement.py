"""Layers, losses, optimisers and schedulers give what PyTorch gives, and are right to second order.

The cases stand in agreement/, one file a topic; bench/results/agreement.md is the table of them.
"""

from __future__ import annotations

import pytest
from agreement.case import Case
from agreement.topics import topics

torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")

CASES = [case for cases in topics().values() for case in cases]
DERIVED = [case for case in CASES if case.kind in ("layer", "function") and case.order]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case}")
def test_agrees_with_pytorch(case: Case):
    from agreement.compare import differences

    for what, distance in differences(case).items():
        assert distance <= case.tolerance, f"{case}: {what} differ by {distance:.1e}"


@pytest.mark.parametrize("case", DERIVED, ids=lambda case: f"{case.kind}-{case}")
def test_derivatives(case: Case):
    from agreement.compare import check

    check(case)
