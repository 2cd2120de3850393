"""The rules of ARCHITECTURE.md that can be checked by a program."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from tests.circles import circles, imports_of, modules, of_packages
from tests.private_names import patches, private_accesses, private_operators

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "export", "benchmarks", "compress")
INFRASTRUCTURE = ("compress.command", "compress.folders")
"""Parts of `compress` that import no other package of this project, so that every package may import them."""
MAY_IMPORT = {
    "models": {"models"},
    "export": {"export", "models.spec", *INFRASTRUCTURE},
    "benchmarks": {"benchmarks", "models.spec", *INFRASTRUCTURE},
    "compress": {"compress", "export", "benchmarks", "models"},
}
STAGE_FILES = ("distill", "prune", "quantize")
PAGES = (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
OUTPUTS = ("out", "stages", "predictions", "answers", "reference", "unfinished", "figures.json.predictions")
"""First folders of paths that a run writes."""
BACKENDS = (
    *("tensorflow", "coremltools", "executorch", "onnx", "onnxruntime", "ai_edge_litert", "torchao"),
    *("transformers", "torchmetrics"),
)


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        for name in _imports(path):
            if name.partition(".")[0] in PACKAGES:
                allowed = any(name == may or name.startswith(f"{may}.") for may in MAY_IMPORT[package])
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", INFRASTRUCTURE)
def test_infrastructure_imports_little(package):
    allowed = {*sys.stdlib_module_names, "typer", "rich", "psutil", "filelock"}
    for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
        for name in _imports(path):
            # `compress` itself is the parent package, imported for its `__version__`.
            ours = name in (package, "compress") or name.startswith(f"{package}.")
            assert ours or name.partition(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_import_cycles_between_modules():
    """Imports inside functions and for type checkers count: neither is an exception."""
    assert not _shown(circles(imports_of(modules(ROOT, PACKAGES))))


def test_no_import_cycles_between_packages():
    files = modules(ROOT, PACKAGES)
    assert not _shown(circles(of_packages(imports_of(files), files)))


def _shown(found):
    return "".join(
        f"\nan import cycle: {' -> '.join((*circle, circle[0]))}; move what they share to a module of its own"
        for circle in found
    )


def test_import_cycles_are_found(tmp_path):
    """At the top, in a function, for type checkers, through a package; not where an `__init__` only hands on."""
    sources = {
        "p/__init__.py": "from p.handed import on",
        "p/handed.py": "on = 1",
        "p/a.py": "from p.b import x",
        "p/b.py": "def f():\n    import p.c",
        "p/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import a",
        "p/q/__init__.py": "from p.q.part import y",
        "p/q/part.py": "from p.q import z",
        "p/r/__init__.py": "",
        "p/r/one.py": "import p.s.one",
        "p/s/__init__.py": "",
        "p/s/one.py": "from p.handed import on",
        "p/s/two.py": "from p.r import two",
        "p/r/two.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = modules(tmp_path, ["p"])
    graph = imports_of(files)
    assert circles(graph) == [("p.a", "p.b", "p.c"), ("p.q", "p.q.part")]
    assert circles(of_packages(graph, files)) == [("p.r", "p.s")]
    assert "p.a -> p.b -> p.c -> p.a" in _shown(circles(graph))


@pytest.mark.parametrize("stage", STAGE_FILES)
def test_stages_do_not_import_each_other(stage):
    others = {f"compress.{name}" for name in STAGE_FILES if name != stage}
    assert not _imports(ROOT / "compress" / f"{stage}.py") & others


def _is_private_module(path):
    """Whether a file may use private APIs of other libraries."""
    return path.parent.name == "private" and path.parent.parent.name in ("export", "benchmarks")


@pytest.mark.parametrize("package", PACKAGES)
def test_private_apis_are_used_in_private_modules_alone(package):
    found = [
        f"{path.relative_to(ROOT)}:{line} {what} {name}"
        for path in (ROOT / package).rglob("*.py")
        if not _is_private_module(path)
        for what, names in (("uses", private_accesses(path)), ("changes", patches(path)))
        for line, name in names
    ]
    assert not found, (
        f"private APIs of another library: {found}; use a public API, or move the code to `private/<library>.py`"
    )
    for path in (ROOT / package).rglob("*.py"):
        asks = "compress.command.insides" in _imports(path)
        assert not asks or _is_private_module(path), f"{path.relative_to(ROOT)} uses private APIs"


def test_every_private_module_states_its_version_and_is_tested():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    required = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("private/*.py")):
        if path.name == "__init__.py":
            continue
        lines = ast.parse(path.read_text()).body
        (written_for,) = (
            ast.literal_eval(line.value)
            for line in lines
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "WRITTEN_FOR"
        )
        test = ROOT / "tests" / path.parent.relative_to(ROOT) / f"test_{path.name}"
        assert "check(insides)" in test.read_text(), f"{test} does not check the version"
        for name, written in written_for.items():
            (bounds,) = (one.specifier for one in required if one.name == name)
            assert written in bounds, f"pyproject.toml: {name}{bounds} leaves out {written}"
            assert any(bound.operator == "<" for bound in bounds), (
                f"pyproject.toml: {name} has no upper bound"
            )


def test_operators_with_an_underscore_are_operators():
    found = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in private_operators(path)
    }
    assert "_to_copy" in found
    lost = sorted(name for name in found if not hasattr(torch.ops.aten, name))
    assert not lost, f"torch {torch.__version__} has no operators {lost}"


USES = """
import torch, os, collections
from torch.utils import _pytree
from torch._decomp import get_decompositions
from compress.run import _ours
import xml.etree._inner
class Own:
    def _own(self): self._kept = 1
def f(node, own):
    own._own(); own._kept; os._exit(0); node._replace(a=1); torch.ops.aten._to_copy
    node.target._schema
    getattr(node, "_hidden", None)
    node.__dict__
"""
CHANGES = """
import sys, importlib.util, torch
from torch import Tensor
def f(spec, module, kind):
    Tensor.data = 1
    del Tensor.data
    torch.fx.Graph.lint = None
    kind.__enter__ = None
    sys.modules["a"] = None
    del sys.modules["a"]
    sys.modules.update(a=None)
    made = sys.modules["b"] = importlib.util.module_from_spec(spec)
    sys.modules.get("c"), sys.modules["c"]
    sys.stdout = None
    module.weight = 1
class Own:
    def __init__(self): self.__own__ = 1
"""


def test_private_apis_are_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(USES)
    assert {name for _, name in private_accesses(path)} == {
        *("torch.utils._pytree", "torch._decomp.get_decompositions"),
        *("node.target._schema", "getattr(node, '_hidden', None)"),
    }
    assert private_operators(path) == {"_to_copy"}
    path.write_text(CHANGES)
    assert sorted(patches(path)) == [
        *((5, "Tensor.data"), (6, "Tensor.data"), (7, "torch.fx.Graph.lint"), (8, "kind.__enter__")),
        *((9, "sys.modules['a']"), (10, "sys.modules['a']"), (11, "sys.modules.update")),
    ]


def test_importing_the_packages_loads_no_backend():
    script = (
        "import sys, compress.run, export, benchmarks, models\n"
        f"print([name for name in {BACKENDS!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_strangers_package_of_the_same_name_is_refused(tmp_path):
    stranger = tmp_path / "models"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    script = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import compress"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert str(stranger) in run.stderr and "own package 'models'" in run.stderr


def test_every_package_is_installed():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_the_pages_exists(page):
    """Files with a folder, and folders, in inline code; names with placeholders are skipped."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    paths = [
        path
        for path in re.findall(r"`([\w./-]+)`", text)
        if re.fullmatch(r"([\w.-]+/)+([\w.-]+\.(py|md|json|yaml|toml))?", path)
        and path.partition("/")[0] not in OUTPUTS
    ]
    lost = sorted({path for path in paths if not (ROOT / path).exists()})
    assert not lost, f"{page.name} names {lost}, which do not exist"


def test_every_name_in_architecture_exists():
    """Dotted names of the packages, such as `export.lower`, and names of functions and classes."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", text):
        place = ROOT / name.replace(".", "/")
        assert place.with_suffix(".py").exists() or place.is_dir(), name
    source = "\n".join(path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    defined = set(re.findall(r"^ *(?:def|class) (\w+)|^ *(\w+)(?:: [^=\n]+)? = ", source, flags=re.MULTILINE))
    defined = {name for pair in defined for name in pair}
    named = re.findall(r"`(?:\w+\.)?([a-z]\w*)\(\)`|`([A-Z]\w+)`", text)
    lost = sorted({name for pair in named for name in pair if name} - defined)
    assert not lost, f"ARCHITECTURE.md names {lost}, which are not defined"


def test_the_layout_in_architecture_is_complete():
    """Every package is in the tree, and everything in the tree exists."""
    tree = re.search(r"## Layout\n\n```\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.DOTALL)
    assert tree
    shown, folders = [], []
    for line in tree[1].splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        folders = [*folders[: len(indent) // 2], name]
        shown.append("".join(folders))
    assert not [path for path in shown if not (ROOT / path).exists()]
    packages = {
        f"{path.parent.relative_to(ROOT).as_posix()}/"
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert packages <= set(shown), sorted(packages - set(shown))
