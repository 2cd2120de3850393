"""What a connected phone holds: the runners, libraries and files that are copied to it, by their content."""

from __future__ import annotations

import hashlib
import shlex
from contextlib import suppress
from pathlib import Path

from benchmarks.adb.client import Adb
from benchmarks.adb.invocation import Runner
from benchmarks.adb.settings import PhoneSettings
from benchmarks.adb.thermal import Cooling
from benchmarks.device import Unavailable
from benchmarks.files import ExportedFile

_ELF_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}
"""Android's name of an ABI by `e_machine` of an ELF header."""


class Attached:
    """A phone in use: its connection, its thermal state, and the files that were copied to it.

    `abis` are the ABIs that its programs may have. Every method raises `Unavailable`.
    """

    def __init__(self, adb: Adb, settings: PhoneSettings, *, abis: str) -> None:
        self.adb = adb
        self.cooling = Cooling(adb, limit=settings.thermal_limit, budget_s=settings.cooling_s)
        self._settings = settings
        self._abis = abis
        self._copied: list[str] = []

    @property
    def pinning(self) -> list[str]:
        """Prefix of a command that keeps it on the chosen cores."""
        return ["taskset", f"{self._settings.mask:x}"] if self._settings.mask else []

    @property
    def environment(self) -> str:
        """Lines before a command in the shell of the phone."""
        return (
            f"export LD_LIBRARY_PATH={shlex.quote(self._settings.folder)}\n"
            if self._settings.libraries
            else ""
        )

    def install(self, runner: Runner) -> tuple[str, str]:
        """Copies a runner and its libraries; returns its path from the folder of a file, and its SHA-256.

        Raises `Unavailable` for a runner that is not given, missing, or for another processor.
        """
        local: Path | None = getattr(self._settings, runner.name)
        if local is None:
            raise Unavailable(
                f"no {runner.name} is given: give the path of one for Android as `{runner.name}`"
            )
        for library in self._settings.libraries:
            self._check_program(library, "libraries")
            self._send(library, f"{self._settings.folder}/{library.name}", always=True)
        self._check_program(local, runner.name)
        digest = _sha256(local)
        name = f"{digest[:16]}-{runner.name}"
        self._send(local, f"{self._settings.folder}/{name}")
        self.adb.shell(f"chmod 755 {shlex.quote(f'{self._settings.folder}/{name}')}")
        return f"../{name}", digest

    def send_file(self, file: ExportedFile, name: str) -> str:
        """Copies a file under `name` into a folder of its own, named by its content; returns that folder."""
        folder = f"{self._settings.folder}/{_sha256(file.path)[:16]}"
        self.adb.make_folder(folder)
        self._send(file.path, f"{folder}/{name}")
        self._copied.append(folder)
        return folder

    def _send(self, local: Path, remote: str, *, always: bool = False) -> None:
        """Copies a file, unless it is there; a file with its final name is complete."""
        there = self.adb.shell(f"test -e {shlex.quote(remote)}").code == 0
        self._copied.append(remote)
        if there and not always:
            return
        part = shlex.quote(f"{remote}.part")
        try:
            self.adb.push(local, f"{remote}.part")
        except Unavailable:
            with suppress(Unavailable):
                self.adb.shell(f"rm -f {part}")
            raise
        moved = self.adb.shell(f"mv -f {part} {shlex.quote(remote)}")
        if moved.code != 0:
            raise Unavailable(
                f"{self.adb}: {local.name} could not be copied to {remote}: {moved.text.strip()}"
            )

    def _check_program(self, path: Path, setting: str) -> None:
        """Refuses a program that is missing or for another processor."""
        try:
            with path.open("rb") as stream:
                header = stream.read(20)
        except OSError as error:
            raise Unavailable(
                f"{setting}: {path} cannot be read ({error.strerror}); correct the path"
            ) from error
        abi = _ELF_ABIS.get(int.from_bytes(header[18:20], "little")) if header[:4] == b"\x7fELF" else None
        if abi is not None and abi not in self._abis.split(","):
            raise Unavailable(
                f"{setting}: {path} is built for {abi}, but {self.adb} runs {self._abis}; give one for that"
            )

    def remove_files(self) -> None:
        """Removes what was copied, and the folder if nothing else is in it."""
        self.adb.shell(f"rm -rf {shlex.join(self._copied)}; rmdir {shlex.quote(self._settings.folder)}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
