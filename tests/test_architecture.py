"""The rules of ARCHITECTURE.md that a program can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "export", "benchmarks", "compress")
GROUND_FLOOR = ("compress.command", "compress.folders")
"""Parts of `compress` that import nothing of ours but themselves, so that every package may import them."""
MAY_IMPORT = {
    "models": {"models"},
    "export": {"export", "models.spec", *GROUND_FLOOR},
    "benchmarks": {"benchmarks", "models.spec", *GROUND_FLOOR},
    "compress": {"compress", "export", "benchmarks", "models"},
}
STAGE_FILES = ("distill", "prune", "quantize")
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


@pytest.mark.parametrize("package", GROUND_FLOOR)
def test_the_ground_floor_imports_little(package):
    allowed = {*sys.stdlib_module_names, "typer", "rich", "psutil", "filelock"}
    for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
        for name in _imports(path):
            ours = name == package or name.startswith(f"{package}.")
            assert ours or name.partition(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_module_of_the_pipeline_reaches_itself_through_what_it_imports():
    """Imports for type checkers count: two modules that need each other's names are one."""
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "compress").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = _modules_imported(path)
    while graph:
        leaves = {name for name, others in graph.items() if not others & (set(graph) - {name})}
        assert leaves, f"these import each other in a circle, or what does: {sorted(graph)}"
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}


def _modules_imported(path: Path) -> set[str]:
    """Modules that a file imports itself, at any depth of its code; names out of a package count as the package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                below = ROOT.joinpath(*node.module.split("."), alias.name)
                whole = below.is_dir() or below.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if whole else node.module)
    return found


@pytest.mark.parametrize("stage", STAGE_FILES)
def test_stages_do_not_import_each_other(stage):
    others = {f"compress.{name}" for name in STAGE_FILES if name != stage}
    assert not _imports(ROOT / "compress" / f"{stage}.py") & others


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
