"""A board over ssh as a device."""

from __future__ import annotations

from itertools import count
from typing import Self

from benchmarks.device import CoreCluster, Description, Session, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.machine import parse_ranges
from benchmarks.ssh.board import frames
from benchmarks.ssh.fields import SshFields
from benchmarks.ssh.link import Link, interrupted
from benchmarks.ssh.pythons import Pythons
from benchmarks.ssh.session import BoardSession
from compress.command.terminal import problems


class Board:
    """A `Device` at the end of an ssh connection."""

    _link: Link
    _pythons: Pythons

    def __init__(self, settings: SshFields, name: str) -> None:
        self.name = name
        self._settings = settings
        self._cpus = None if settings.cpus is None else parse_ranges(settings.cpus)
        self._channels = count(frames.HUB + 1)

    def __enter__(self) -> Self:
        self._link = Link(self._settings, self.name)
        try:
            description = self.describe()
        except Unavailable:
            self._link.close()
            raise
        self._pythons = Pythons(
            self._link, is_mac="macOS" in description.system, wheels=self._settings.wheels
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._settings.clean and not interrupted(kind):
                self._link.ask("clean")
        except Unavailable as error:
            problems().print(f"{self.name}: not cleaned: {error}", markup=False, highlight=False)
        finally:
            self._link.close()

    def describe(self) -> Description:
        """The board at this moment. Raises `Unavailable` if it is lost or lacks the cores `cpus`."""
        given = self._link.ask("describe", name=self.name, cpus=self._cpus)
        given["clusters"] = tuple(CoreCluster(**cluster) for cluster in given["clusters"])
        given["int8_instructions"] = tuple(given["int8_instructions"])
        given["notes"] = (*given["notes"], *self._link.notes)
        return Description(**given)

    def open(self, file: ExportedFile) -> Session:
        """A session of the file; nothing is loaded yet."""
        return BoardSession(
            file,
            device=self.name,
            link=self._link,
            pythons=self._pythons,
            channel=next(self._channels),
            cpus=self._cpus,
        )
