"""Packs the part that runs on the board into one file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

from compress.folders.source import PACKAGES, ROOT, imports_of

_START = "benchmarks.ssh.board.hub"
_DATE = (1980, 1, 1, 0, 0, 0)
_MAIN = """\
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "pocketreel: %s on the board is Python %d.%d; 3.11 or newer is needed: give another one as `python`"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
from benchmarks.ssh.board.hub import main

main(sys.argv)
"""


class Runner(NamedTuple):
    """A file that Python runs (a zip archive with `__main__.py`)."""

    name: str
    """Contains the hash of the content."""
    content: bytes


@cache
def pack() -> Runner:
    """The same modules as here, in equal bytes for equal sources; packages get an empty `__init__`."""
    files = {"__main__.py": _MAIN.encode()}
    for module in modules():
        path = PurePosixPath(*module.split(".")).with_suffix(".py")
        files |= {str(folder / "__init__.py"): b"" for folder in path.parents if folder.name}
        files[str(path)] = (ROOT / path).read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in sorted(files.items()):
            stream.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    content = archive.getvalue()
    return Runner(name=f"runner-{hashlib.sha256(content).hexdigest()[:16]}.pyz", content=content)


def modules() -> list[str]:
    """The modules that the board needs: the hub and what it imports."""
    waiting, found = [_START], set[str]()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for package in PACKAGES for name in imports_of(module, package=package)]
    return sorted(found)
