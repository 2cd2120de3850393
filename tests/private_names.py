"""What modules of ours take from inside other libraries, and what they change there, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

DOCUMENTED = {"_replace", "_asdict", "_fields", "_make"}
"""Public names with an underscore, which distinguishes them from fields: of named tuples, of `ast`."""

OURS = ("models", "export", "benchmarks", "compress", "tests")

OPERATORS = ("aten", "torch.ops.aten")
"""What names of operators stand behind: these are what a graph holds, and have no other."""

_BY_NAME = ("getattr", "setattr", "delattr", "hasattr")


def private_accesses(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every name with one leading underscore that the module at `path` takes from another library.

    An attribute is the module's own if the module itself defines or assigns one of that name. The standard library
    is left out, and so are names of operators, `aten._to_copy`.
    """
    tree = ast.parse(path.read_text())
    own, standard = _defined(tree), _standard(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((node.lineno, name) for name in _imported(node) if _has_private_part(name))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            base = ast.unparse(node.value)
            if base not in standard and base not in OPERATORS:
                yield node.lineno, f"{base}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if _is_private(str(name)) and name not in own:
                yield node.lineno, ast.unparse(node)


def patches(path: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every change to what another library defines, and to `sys.modules`.

    Changed are attributes of what was imported, the standard library left out, and methods with two underscores of
    whatever it is. Entering a module into `sys.modules` that was made from a file, as Python's manual has it, is no
    such change.
    """
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias, name in zip(node.names, _imported(node), strict=True)
        if name.partition(".")[0] not in (*OURS, *sys.stdlib_module_names)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("sys.modules."):
            if not ast.unparse(node.func).endswith((".get", ".items", ".keys", ".values", ".copy")):
                yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "sys.modules":
            if isinstance(node.ctx, ast.Del) or (
                isinstance(node.ctx, ast.Store) and not _is_made(node, tree)
            ):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            base = ast.unparse(node.value)
            is_method = node.attr.startswith("__") and node.attr.endswith("__") and base != "self"
            if is_method or base.partition(".")[0] in imported:
                yield node.lineno, f"{base}.{node.attr}"


def private_operators(path: Path) -> set[str]:
    """Names with a leading underscore of the operators that the module at `path` names."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and ast.unparse(node.value) in OPERATORS
    }


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in DOCUMENTED


def _has_private_part(name: str) -> bool:
    parts = name.split(".")
    is_foreign = parts[0] not in OURS and parts[0] not in sys.stdlib_module_names
    return is_foreign and any(map(_is_private, parts))


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [f"{before}{alias.name}" for alias in node.names]


def _standard(tree: ast.Module) -> set[str]:
    """Names of imported modules of the standard library."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] in sys.stdlib_module_names
    }


def _defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return names


def _is_made(target: ast.Subscript, tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Assign)
        and target in node.targets
        and "module_from_spec(" in ast.unparse(node.value)
        for node in ast.walk(tree)
    )
