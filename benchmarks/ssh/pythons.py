"""Finds or makes a Python on the board with the runtime of a file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.device import Unavailable
from benchmarks.runtimes import Runtime
from benchmarks.ssh import uploads
from benchmarks.ssh.link import Link

_INSTALL_LIMIT_S = 7200.0
_BESIDES = {"executorch": ("torch",)}
"""Distributions that a runtime needs for its tensors, each with a module of the same name."""


class Pythons:
    """Paths of Pythons on one board by runtime."""

    def __init__(self, link: Link, *, is_mac: bool, wheels: str | None) -> None:
        self._link = link
        self._is_mac = is_mac
        self._wheels = wheels
        self._found: dict[str, str] = {}

    def of(self, runtime: Runtime) -> str:
        """Path of a Python with NumPy and this runtime; they are installed if there is none.

        Raises `Unavailable` with reason and remedy.
        """
        if runtime.system == "Darwin" and not self._is_mac:
            raise Unavailable(runtime.elsewhere)
        if runtime.distribution not in self._found:
            self._found[runtime.distribution] = self._find(runtime)
        return self._found[runtime.distribution]

    def _find(self, runtime: Runtime) -> str:
        besides = _BESIDES.get(runtime.distribution, ())
        modules = ["numpy", runtime.module.partition(".")[0], *besides]
        found: str | None = self._link.ask("python", modules=modules)
        if found is not None:
            return found
        requirements = [_pinned(one) for one in ("numpy", runtime.distribution, *besides)]
        installed: str = self._link.ask(
            "install",
            limit_s=_INSTALL_LIMIT_S,
            modules=modules,
            requirements=requirements,
            wheels=None if self._wheels is None else self._pushed(self._wheels),
        )
        return installed

    def _pushed(self, wheels: str) -> str:
        try:
            path, files = uploads.of_wheels(Path(wheels).expanduser())
        except ValueError as error:
            raise Unavailable(f"`wheels`: {error}: download those for the board into it") from error
        self._link.push(files, what="wheels")
        return path


def _pinned(distribution: str) -> str:
    """A requirement of the version that is installed here."""
    try:
        return f"{distribution}=={version(distribution).partition('+')[0]}"
    except PackageNotFoundError:
        raise Unavailable(
            f"{distribution} is not on the board, which gets the version of this machine, where it is not "
            "installed either: install it here or there"
        ) from None
