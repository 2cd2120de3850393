"""Which module of ours imports which, read from the source, and the circles among them.

Every import counts, also one inside a function and one for type checkers alone: whoever reads a module of a circle
has to read all of them. `from package import name` is an import of the module `name` where there is one, else of
the package. So an `__init__` may hand on what lies in its package, unless that imports the package itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]
"""Module -> the modules that it imports."""


def modules(root: Path, packages: Iterable[str]) -> dict[str, Path]:
    """The file of every module of `packages`, folders in `root`; a package is the module of its `__init__`."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(files: Mapping[str, Path]) -> Graph:
    """What each of the modules `files` imports among them."""
    return {name: frozenset(_imported(path, files) - {name}) for name, path in files.items()}


def of_packages(graph: Graph, files: Mapping[str, Path]) -> Graph:
    """The imports of each package from other packages; nested packages are exempt."""
    home = {
        name: name if path.name == "__init__.py" else name.rpartition(".")[0] for name, path in files.items()
    }
    found: dict[str, set[str]] = {package: set() for package in home.values()}
    for name, imported in graph.items():
        for other in imported:
            one, two = home[name], home[other]
            if not f"{one}.".startswith(f"{two}.") and not f"{two}.".startswith(f"{one}."):
                found[one].add(two)
    return {package: frozenset(others) for package, others in found.items()}


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """A shortest circle of each strongly connected part: `a, b, ...`, each imports the next, and the last `a`."""
    reached = {name: _reached(graph, name) for name in graph}
    found, seen = [], set[str]()
    for name in sorted(graph):
        if name in reached[name] and name not in seen:
            part = {other for other in reached[name] if name in reached[other]}
            seen |= part
            found.append(min((_circle(graph, start) for start in sorted(part)), key=len))
    return found


def _imported(path: Path, files: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found.add(module if module in files else node.module)
    return found & set(files)


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _circle(graph: Graph, start: str) -> tuple[str, ...]:
    """The shortest way from `start` back to it."""
    ways = [(start,)]
    seen: set[str] = set()
    while True:
        way = ways.pop(0)
        for other in sorted(graph[way[-1]]):
            if other == start:
                return way
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
