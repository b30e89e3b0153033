"""What a type checker sees: the package is marked as typed, and no name hides a public function."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import gradengine as ge

PACKAGE = Path(ge.__file__).parent


def test_the_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_no_import_binds_a_module_over_a_public_function():
    """`from .tensor import Tensor` in `__init__` binds the module `tensor` to the name too.

    Checkers take that binding for `ge.tensor`, although at run time the function wins.
    """
    shadowed = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if not isinstance(getattr(ge, path.stem, ge), ModuleType)
    }
    assert "tensor" in shadowed
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
    }
    assert not imported & shadowed
