"""The architecture, held by tests: imports go down, files stay short, CuPy has two homes."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

from gradengine.op import Op, registry
from gradengine.testing import cases
from gradengine.testing.table import op_table, table_in

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradengine"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
LINES = 450

FOLDERS = {
    "ops": 3,
    "cuda": 1,
    "nn": 6,
    "optim": 6,
    "data": 6,
    "saving": 6,
    "datasets": 6,
    "testing": 6,
}
"""Floors of modules that do not state one, by folder; those right in gradengine/ are at the top."""
TOP = 7
DESIGN = {"device": 0, "tape": 1, "op": 2, "ops": 3, "tensor": 4, "autodiff": 5, "testing": 6}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def floor(name: str) -> int:
    stated = re.search(r"^Floor (\d):", ast.get_docstring(tree(name)) or "", re.MULTILINE)
    if stated:
        return int(stated[1])
    folder = name.split(".")[1] if name.count(".") else ""
    return FOLDERS.get(folder, TOP)


# --- which modules a module imports ---


def imported(name: str) -> set[str]:
    """The modules of gradengine that a module imports, inside functions too; not for types only."""
    found: set[str] = set()
    for node in _statements(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            found |= {
                inner if (inner := f"{base}.{alias.name}") in FILES else base
                for alias in node.names
            }
    return {n for n in found if n in FILES and n != name}


def _statements(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return list(chain.from_iterable(map(_statements, node.orelse)))
    return [node, *chain.from_iterable(map(_statements, ast.iter_child_nodes(node)))]


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = FILES[name].stem == "__init__"
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def third_party(name: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


# --- the floors ---


def test_the_files_are_found():
    assert {"gradengine", "gradengine.tape", "gradengine.ops.shape"} <= set(FILES)
    assert "gradengine.device" in imported("gradengine.tape")
    assert "gradengine.op" in imported("gradengine.ops.shape")
    assert "numpy" in third_party("gradengine.device")


@pytest.mark.parametrize("part", DESIGN)
def test_the_floors_are_those_of_the_design(part: str):
    names = [n for n in FILES if n == f"gradengine.{part}" or n.startswith(f"gradengine.{part}.")]
    assert names
    assert {floor(n) for n in names} == {DESIGN[part]}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down(name: str):
    up = {other: floor(other) for other in imported(name) if floor(other) > floor(name)}
    assert not up, f"{name} is on floor {floor(name)} and imports from above: {up}"


def test_no_module_needs_itself():
    """Within a floor too there is an order."""
    graph = {
        name: {n for n in imported(name) if FILES[n].stem != "__init__"}
        for name in FILES
        if FILES[name].stem != "__init__"
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {error.args[1]}")
    assert len(order) == len(graph)


def test_nn_and_optim_do_not_know_each_other():
    for mine, other in [("nn", "optim"), ("optim", "nn")]:
        for name in FILES:
            if name.startswith(f"gradengine.{mine}"):
                assert not [n for n in imported(name) if n.startswith(f"gradengine.{other}")]


def test_ops_files_import_only_earlier_ones():
    """The order of the blocks in ops/__init__.py is the order of reading, easy to hard."""
    order = [
        node.module
        for node in tree("gradengine.ops").body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
    ]
    order = list(dict.fromkeys(order))
    for name in order:
        needed = {
            n.rsplit(".", 1)[1]
            for n in imported(f"gradengine.ops.{name}")
            if n.startswith("gradengine.ops.")
        }
        late = [n for n in needed if n in order and order.index(n) >= order.index(name)]
        assert not late, f"ops/{name}.py imports {late}, which come after it"
    files = {n.rsplit(".", 1)[1] for n in FILES if n.startswith("gradengine.ops.")}
    stating = {n for n in files if states_ops(f"gradengine.ops.{n}")}
    assert stating <= set(order) <= files
    assert len(stating) > 10


def states_ops(name: str) -> bool:
    calls = {node.id for node in ast.walk(tree(name)) if isinstance(node, ast.Name)}
    return bool(calls & {"pointwise", "primitive"})


# --- what each part may know ---


@pytest.mark.parametrize("name", FILES)
def test_cupy_has_two_homes(name: str):
    if name != "gradengine.device" and not name.startswith("gradengine.cuda"):
        assert not third_party(name) & {"cupy", "cupyx", "cuda"}


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("gradengine.ops.")])
def test_ops_name_neither_numpy_nor_cupy(name: str):
    assert not third_party(name) & {"numpy", "cupy", "cupyx", "scipy"}
    named = {node.id for node in ast.walk(tree(name)) if isinstance(node, ast.Name)}
    assert not named & {"np", "numpy", "cp", "cupy"}


@pytest.mark.parametrize("name", FILES)
def test_files_are_short_and_say_what_they_are(name: str):
    text = FILES[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES or name in LONG
    assert ast.get_docstring(tree(name)), "a file opens with a paragraph: what it is"


LONG = {"gradengine.tensor"}
"""Written out on purpose: one line a method, so that editors and type checkers see them."""


# --- the registry ---


@pytest.mark.parametrize("op", registry.values(), ids=lambda op: op.name)
def test_an_op_has_words_and_cases(op: Op):
    assert op.doc.strip(), "doc= or a docstring: the formula"
    assert next(cases(op), None) is not None, "sample= or cases="
    if op.differentiable:
        assert op.partials is not None or op.adjoints or op.joint


def test_the_readme_lists_the_ops():
    assert table_in((ROOT / "README.md").read_text(encoding="utf-8")) == op_table(), (
        "run: python -m gradengine.testing.table --write README.md"
    )
