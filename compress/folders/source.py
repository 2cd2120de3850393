"""Hashes of the source code that determines a result: the Pocketreel modules that a module imports.

The source is parsed, never imported. Comments, docstrings and line breaks do not affect a hash; names, numbers and
messages do. Hashes are equal in all versions of Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("models", "compress", "export", "benchmarks")
"""Packages of Pocketreel; other modules are identified by their versions."""

AROUND = ("compress.command", "compress.folders", "compress.store", "compress.versions")
"""Modules and packages that no result depends on: progress, process supervision and storage. They are not part of
keys."""

TABLES = (
    *("compress.distillation", "compress.pruning", "compress.quantization", "compress.sources"),
    "export.quantize.ranges",
)
"""Packages whose `__init__` is only a table of methods. A result names the rows that it uses
(`Stage.methods`), so that a new row changes no key."""

ROOT = Path(__file__).resolve().parent.parent.parent
"""The folder of the packages."""

_WITHOUT_EFFECT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def source_hashes(*modules: str, alone: Iterable[str] = (), root: Path | None = None) -> dict[str, str]:
    """SHA-256 by path of the given modules and all Pocketreel modules that they import, directly or indirectly.

    Included are imports at any depth of the code (except for type checkers), relative imports, modules named by a
    string with their dotted name (`python -m`, `import_module`), and data files in the same folder that a module
    names. Of parent packages, only the statements of `__init__` count, not its imports and definitions, because
    tables import every row. Strings in an `__init__` are not followed; a result names the module of its row.

    Modules `alone` count without their imports. Raises `ModuleNotFoundError` for a module outside Pocketreel.
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
    """The modules of a package that a module imports directly, without the package itself, which may be a table."""
    root = root or ROOT
    return [name for name in _imports(_known(module, root), root) if name.startswith(f"{package}.")]


def is_ours(module: str, *, root: Path | None = None) -> bool:
    """Whether a module belongs to Pocketreel."""
    return _file(module, root or ROOT) is not None


def _known(module: str, root: Path) -> str:
    if _file(module, root) is None:
        raise ModuleNotFoundError(f"{module} is not a module of {', '.join(PACKAGES)} in {root}", name=module)
    return module


def _is_around(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in AROUND)


def _parents(module: str) -> list[str]:
    """The parent packages of a module: `a` and `a.b` of `a.b.c`."""
    parts = module.split(".")
    return [name for k in range(1, len(parts)) if not _is_around(name := ".".join(parts[:k]))]


@cache
def _files(root: Path) -> dict[str, bytes]:
    """All files of the packages by path, read at the first call.

    An edit during a run does not change its keys, because the modules are already imported.
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
    """The syntax tree of a module without statements that have no effect."""
    path = _place(module, root)
    tree = _Stripped().visit(ast.parse(_files(root)[path], filename=path))
    assert isinstance(tree, ast.Module)
    return tree


class _Stripped(ast.NodeTransformer):
    """Removes docstrings, other string statements, and code for type checkers."""

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
    """Hash by path of a module and of the data files in its folder that it names."""
    path, tree = _place(module, root), _tree(module, root)
    found = {path: _sha256(tree)}
    beside = _data_files(path.rpartition("/")[0], root)
    for text in _strings(tree) if beside else ():
        if text in beside:
            found[beside[text]] = hashlib.sha256(_files(root)[beside[text]]).hexdigest()
    return found


@cache
def _data_files(folder: str, root: Path) -> dict[str, str]:
    """Paths by name of the files in a folder that are not modules."""
    paths = [path for path in _files(root) if path.rpartition("/")[0] == folder and not path.endswith(".py")]
    return {path.rpartition("/")[2]: path for path in paths}


@cache
def _effects(package: str, root: Path) -> str | None:
    """Hash of the statements of an `__init__` other than imports and definitions; None if there are none."""
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
    """The Pocketreel modules that a module imports, or names by a string."""
    path, tree = _place(module, root), _tree(module, root)
    is_package = path.endswith("/__init__.py")
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` binds a, which gives access to all of a
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
    """The absolute name of the module of a relative import."""
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
    """A tree as text, without empty fields, in which versions of Python differ."""
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
