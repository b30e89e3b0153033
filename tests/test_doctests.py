"""The examples in the docs of ops: pytest's own collector does not see them, since an op's public
function is made by the engine and not by the module that states it.
"""

from __future__ import annotations

import doctest

import pytest

import gradengine as ge
from gradengine.op import registry

WITH_EXAMPLES = {name: op.function.__doc__ for name, op in registry.items() if ">>>" in op.doc}


def test_ops_have_examples():
    assert len(WITH_EXAMPLES) > 20


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_of_an_op_runs(name: str):
    text = WITH_EXAMPLES[name]
    example = doctest.DocTestParser().get_doctest(text, {"ge": ge}, name, None, None)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not report, "".join(report)
