"""Which source makes a result: the modules of ours that a module imports, and a hash of what each of them does.

Found by reading the source, never by importing it. A hash knows what Python would run: comments, docstrings and the
breaking of lines do not count, names, numbers and messages do. It is the same in every version of Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("models", "compress", "export", "benchmarks")
"""Packages of ours; what other modules do is told by versions."""

AROUND = ("compress.command", "compress.folders", "compress.store", "compress.versions")
"""Modules and packages that no result depends on: what they do is to show progress, to guard processes and to find
and keep results. They stand in no key."""

TABLES = ("compress.distillation", "compress.pruning", "compress.quantization", "compress.sources")
"""Packages whose `__init__` is a table of methods and nothing else. Whoever makes a result names the rows that it
goes by (`Stage.methods`), so that a line more in a table changes no key."""

ROOT = Path(__file__).resolve().parent.parent.parent
"""The folder that the packages lie in."""

_WITHOUT_EFFECT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def source_hashes(*modules: str, alone: Iterable[str] = (), root: Path | None = None) -> dict[str, str]:
    """SHA-256 by path of the modules of ours that are run when the given ones are, those themselves among them.

    What counts: imports at any depth of the code (but not those for type checkers), relative ones too, modules that
    are named by a string of their dotted name (`python -m`, `import_module`), and files beside a module that it
    names. Of a package that is only passed on the way to a module below it, what its `__init__` does counts, and
    not what it holds: there are the tables, in which every row meets every other. Nor are names in strings of an
    `__init__` followed; who makes a result names the row's own module.

    Modules `alone` count without what they import. Raises `ModuleNotFoundError` for a module that is none of ours.
    """
    root = root or ROOT
    found: dict[str, str] = {}
    for name in alone:
        found |= _own_files(_known(name, root), root)
    waiting, seen = [_known(name, root) for name in modules], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name in TABLES or _is_around(name):
            continue
        seen.add(name)
        found |= _own_files(name, root)
        waiting += _imports(name, root)
    for package in {parent for name in seen for parent in _parents(name)} - seen:
        effects = _effects(package, root)
        if effects:
            found[_place(package, root)] = effects
    return dict(sorted(found.items()))


def imports_of(module: str, *, package: str, root: Path | None = None) -> list[str]:
    """The modules of a package that a module imports itself; without the package as such, which may be a table."""
    root = root or ROOT
    return [name for name in _imports(_known(module, root), root) if name.startswith(f"{package}.")]


def is_ours(module: str, *, root: Path | None = None) -> bool:
    """Whether there is a module of this name in one of our packages."""
    return _file(module, root or ROOT) is not None


def _known(module: str, root: Path) -> str:
    if _file(module, root) is None:
        raise ModuleNotFoundError(f"{module} is no module of {', '.join(PACKAGES)} in {root}", name=module)
    return module


def _is_around(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in AROUND)


def _parents(module: str) -> list[str]:
    """The packages that a module lies in: `a` and `a.b` of `a.b.c`."""
    parts = module.split(".")
    return [name for k in range(1, len(parts)) if not _is_around(name := ".".join(parts[:k]))]


@cache
def _files(root: Path) -> dict[str, bytes]:
    """All files of our packages by path, as they are when they are first asked for.

    An edit during a run, which has imported its modules by then, changes no key of that run.
    """
    paths = (path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in paths
        if "__pycache__" not in path.parts
    }


@cache
def _file(module: str, root: Path) -> str | None:
    place = module.replace(".", "/")
    return next((path for path in (f"{place}/__init__.py", f"{place}.py") if path in _files(root)), None)


def _place(module: str, root: Path) -> str:
    path = _file(module, root)
    assert path is not None
    return path


@cache
def _tree(module: str, root: Path) -> ast.Module:
    """A module as it is parsed, without what has no effect."""
    path = _place(module, root)
    tree = _Stripped().visit(ast.parse(_files(root)[path], filename=path))
    assert isinstance(tree, ast.Module)
    return tree


class _Stripped(ast.NodeTransformer):
    """Takes out docstrings, other strings that stand alone, and what only type checkers read."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        test = node.test
        name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
        if name != "TYPE_CHECKING":
            return self.generic_visit(node)
        return [kept for statement in node.orelse if (kept := self.visit(statement)) is not None]


@cache
def _own_files(module: str, root: Path) -> dict[str, str]:
    """Hash by path of a module and of the files beside it that it names."""
    path, tree = _place(module, root), _tree(module, root)
    found = {path: _sha256(tree)}
    beside = _data_files(path.rpartition("/")[0], root)
    for text in _strings(tree) if beside else ():
        if text in beside:
            found[beside[text]] = hashlib.sha256(_files(root)[beside[text]]).hexdigest()
    return found


@cache
def _data_files(folder: str, root: Path) -> dict[str, str]:
    """Paths by name of the files in a folder that are no modules."""
    paths = [path for path in _files(root) if path.rpartition("/")[0] == folder and not path.endswith(".py")]
    return {path.rpartition("/")[2]: path for path in paths}


@cache
def _effects(package: str, root: Path) -> str | None:
    """Hash of what an `__init__` does beside importing and defining; None when it does nothing or is not there."""
    if _file(package, root) is None:
        return None
    done = [node for node in _tree(package, root).body if not _defines(node)]
    return _sha256(ast.Module(body=done, type_ignores=[])) if done else None


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) for target in node.targets)
    return isinstance(node, _WITHOUT_EFFECT) or (
        isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    )


@cache
def _imports(module: str, root: Path) -> tuple[str, ...]:
    """The modules of ours that a module imports, or names by a string."""
    path, tree = _place(module, root), _tree(module, root)
    is_package = path.endswith("/__init__.py")
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` gives the name a, by which all of a can be reached
                found += [alias.name] if alias.asname else [*_parents(alias.name), alias.name]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                below = f"{base}.{alias.name}"
                found.append(below if _file(below, root) else base)
    if not is_package:
        found += [text for text in _strings(tree) if "." in text]
    return tuple(dict.fromkeys(name for name in found if _file(name, root)))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The full name of what is imported from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _sha256(tree: ast.AST) -> str:
    return hashlib.sha256("".join(_written(tree)).encode("utf-8", "surrogatepass")).hexdigest()


def _written(node: object) -> Iterator[str]:
    """A tree as text; what is empty is left out, since versions of Python differ in what they have of that."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None and name == "value" and isinstance(node, ast.Constant):
                yield "(value None)"
            elif value is not None and value != [] and name not in ("kind", "type_comment", "type_ignores"):
                yield f"({name} "
                yield from _written(value)
                yield ")"
    elif isinstance(node, list):
        for entry in node:
            yield "["
            yield from _written(entry)
            yield "]"
    else:
        yield repr(node)
