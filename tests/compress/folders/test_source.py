"""The source code that determines a result, found without importing it."""

from __future__ import annotations

import shutil

import pytest

from compress.folders import source
from compress.folders.source import imports_of, source_hashes

FILES = {
    "models/__init__.py": "from models.net import net\nNETWORKS = {'net': net}\n",
    "models/net.py": "from models.spec import SPEC\nnet = SPEC\n",
    "models/spec.py": "SPEC = 1\n",
    "models/other.py": "OTHER = 1\n",
    "compress/__init__.py": "",
    "compress/plain.py": "import models.spec as spec\nx = 1\n",
    "compress/late.py": "def f():\n    from models import other\n    return other\n",
    "compress/near.py": "from . import plain\nfrom .late import f\n",
    "compress/table.py": "from models import NETWORKS\n",
    "compress/whole.py": "import models.spec\n",
    "compress/typed.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from models.other import OTHER\nelse:\n    import compress.plain as plain\n"
    ),
    "compress/run.py": "if not only_reads_arguments(__name__):\n    import models.other as o\n",
    "compress/child.py": "COMMAND = ['python', '-m', 'models.other']\n",
    "compress/page.py": "TEMPLATE = 'page.j2'\n",
    "compress/page.j2": "Hello",
    "compress/store.py": "from models.other import OTHER\n",
    "compress/said.py": "from compress.command.progress import OTHER\n",
    "export/__init__.py": "if True:\n    raise_an_alarm()\nTABLE = {'a': 'export.a'}\n",
    "export/a.py": "A = 1\n",
    "export/deep/__init__.py": "",
    "export/deep/c.py": "from ..a import A\nfrom .. import b\n",
    "export/b.py": "from export import TABLE\nfrom export.a import A\nimport torch\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("models.spec", "models/spec.py"),
        ("models.net", "models/net.py models/spec.py"),
        ("compress.plain", "compress/plain.py models/spec.py"),
        ("compress.late", "compress/late.py models/other.py"),
        (
            "compress.near",
            "compress/late.py compress/near.py compress/plain.py models/other.py models/spec.py",
        ),
        ("compress.table", "compress/table.py models/__init__.py models/net.py models/spec.py"),
        ("compress.whole", "compress/whole.py models/__init__.py models/net.py models/spec.py"),
        ("compress.typed", "compress/plain.py compress/typed.py models/spec.py"),
        ("compress.run", "compress/run.py models/other.py"),
        ("compress.child", "compress/child.py models/other.py"),
        ("compress.page", "compress/page.j2 compress/page.py"),
        ("compress.said", "compress/said.py"),
        ("export.a", "export/__init__.py export/a.py"),
        ("export.b", "export/__init__.py export/a.py export/b.py"),
        ("export.deep.c", "export/__init__.py export/a.py export/b.py export/deep/c.py"),
    ],
)
def test_what_a_module_imports_is_found(tree, module, files):
    assert " ".join(source_hashes(module, root=tree)) == files


def test_modules_alone_count_without_what_they_import(tree):
    assert [*source_hashes("models.spec", alone=["compress.late"], root=tree)] == [
        "compress/late.py",
        "models/spec.py",
    ]


def test_the_imports_of_a_module_itself_in_one_package(tree):
    assert imports_of("export.b", package="export", root=tree) == ["export.a"]


def test_a_module_that_is_not_there_is_refused(tree):
    with pytest.raises(
        ModuleNotFoundError, match=r"compress\.gone is not a module of models, compress, export"
    ):
        source_hashes("compress.gone", root=tree)
    assert source.is_ours("models.spec", root=tree) and not source.is_ours("torch", root=tree)


BEFORE = '''"""What it does."""
import os


class A:
    size: int = 1
    """How large."""

    def f(self, x):
        """Gives it."""
        return {"a": x, "b": f"{x:>3} it's"}
'''
SAME = """
import os  # why

class A:
    size: int = 1

    def f(self, x):
        # A remark.
        return {
            'a': x,
            "b": f'{x:>3} it\\'s',
        }
"""


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (SAME, True),
        (BEFORE.replace("size: int = 1", "size: int = 2"), False),
        (BEFORE.replace("it's", "its"), False),
        (BEFORE.replace(":>3", ":>4"), False),
        (BEFORE.replace("return {", "yield {"), False),
        (BEFORE.replace("= 1", "= True"), False),
    ],
)
def test_remarks_and_the_breaking_of_lines_do_not_count(tmp_path, after, same):
    found = []
    for name, text in (("a", BEFORE), ("b", after)):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "it.py").write_text(text)
        found.append(source_hashes("models.it", root=tmp_path / name))
    assert (found[0] == found[1]) is same


def test_no_constant_is_taken_for_none(tmp_path):
    found = []
    for name, text in (("a", "x = None"), ("b", "x = 0"), ("c", "x: int"), ("d", "x: int = None")):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "it.py").write_text(text)
        found.append(source_hashes("models.it", root=tmp_path / name)["models/it.py"])
    assert len(set(found)) == 4


def test_an_edit_during_a_run_does_not_count(tree):
    """Its modules are imported by then, also those whose key is asked for later."""
    copy = shutil.copytree(tree, tree / "copy")
    source_hashes("models.spec", root=tree)
    (tree / "models/other.py").write_text("OTHER = 2\n")
    assert source_hashes("models.other", root=tree) == source_hashes("models.other", root=copy)
