"""What holds of every module that takes from inside a library: the version that it was written for is installed."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from types import ModuleType


def check(module: ModuleType) -> None:
    """Fails where another version is installed, or where that has lost a name that `module` asks for."""
    for distribution, written_for in module.WRITTEN_FOR.items():
        found = version(distribution).partition("+")[0]
        assert found == written_for, (
            f"{module.__name__} was written for {distribution} {written_for}, found {found}: read again, in "
            f"{distribution}'s source, what it takes from its inside and whether there is a public way by now; "
            "then write the new version into WRITTEN_FOR, and raise the bound in pyproject.toml"
        )
    for path in names(module):
        module._inside(path)


def names(module: ModuleType) -> list[str]:
    """What `module` asks for, in the order of its text."""
    return [
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_inside"
    ]
