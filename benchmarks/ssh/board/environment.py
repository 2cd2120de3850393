"""A Python on the board with NumPy and the runtime of a file.

The Python that runs the hub is used as it is if it has them. Otherwise the board gets a virtual environment, once.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.device import Unavailable

_PIP_LIMIT_S = 3600.0
_LAST_LINES = 3
_LISTS_MISSING = (
    "import sys; from importlib.util import find_spec; print(*(m for m in sys.argv[1:] if not find_spec(m)))"
)


class Environment:
    """The virtual environment in a subfolder of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / "environment"
        self._python = self._home / "bin" / "python"
        self._ready = self._home / "ready"

    def python_with(self, modules: Sequence[str]) -> str | None:
        """Path of a Python that finds the top-level `modules`: this one, or that of the environment, or None."""
        if all(find_spec(module) is not None for module in modules):
            return sys.executable
        return str(self._python) if self._is_ready() and not _missing(self._python, modules) else None

    def install(self, modules: Sequence[str], *, requirements: Sequence[str], wheels: str | None) -> str:
        """Installs `requirements` with pip from its index, or only from the subfolder `wheels` of the folder.

        Returns the path of a Python that finds `modules`. Raises `Unavailable` with the last words of pip.
        """
        if not self._is_ready():
            _make(self._home)
            self._ready.write_text(sys.version)
        _install(self._python, requirements, wheels=None if wheels is None else self._folder / wheels)
        missing = _missing(self._python, modules)
        if missing:
            raise Unavailable(
                f"{' '.join(requirements)} are installed on the board, but {missing} is not found"
            )
        return str(self._python)

    def _is_ready(self) -> bool:
        """Whether it is complete and of the Python of the hub."""
        return self._ready.exists() and self._ready.read_text() == sys.version


def _missing(python: Path, modules: Sequence[str]) -> str:
    """The modules that this Python does not find, separated by spaces."""
    command = [str(python), "-c", _LISTS_MISSING, *modules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _make(home: Path) -> None:
    found = _run([sys.executable, "-m", "venv", "--clear", str(home)])
    if found.returncode:
        raise Unavailable(
            f"{sys.executable} on the board cannot make a virtual environment ({_last_words(found)}): install its "
            "module venv (Debian and Ubuntu: sudo apt install python3-venv), or give the `python` of an "
            "environment that has NumPy and the runtime"
        )


def _install(python: Path, requirements: Sequence[str], *, wheels: Path | None) -> None:
    given = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--retries", "1", "--timeout", "15"]
    found = _run([str(python), "-m", "pip", "install", *options, *given, *requirements])
    if found.returncode:
        raise Unavailable(
            f"pip cannot install {' '.join(requirements)} on the board ({_last_words(found)}); on a board without "
            "a network, or for which pip finds no file, download them here with\n"
            f"  {_download(requirements)}\n"
            "and give `wheels: wheels`; or give the `python` of an environment that has them"
        )


def _download(requirements: Sequence[str]) -> str:
    """The command that downloads wheels for this board on another machine."""
    tags = [f"manylinux_2_{minor}_{platform.machine()}" for minor in (34, 28, 27)]
    tags.append(f"manylinux2014_{platform.machine()}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    platforms = " ".join(f"--platform {tag}" for tag in tags)
    return (
        f"pip download -d wheels --only-binary :all: {platforms} --python-version {version} "
        f"{' '.join(requirements)}"
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PIP_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"{' '.join(command[:4])} did not end within {_PIP_LIMIT_S:g} s on the board"
        ) from error


def _last_words(found: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in found.stdout.splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or f"exit code {found.returncode}"
