"""The settings of a board."""

from __future__ import annotations

from benchmarks.device import Device
from benchmarks.ssh.fields import SshFields


class SshSettings(SshFields):
    """A Linux board or a Mac over ssh."""

    kind = "ssh"
    shorthand = "address"

    def connect(self, name: str) -> Device:
        """The board, under this name; it is connected when it is entered."""
        from benchmarks.ssh.device import Board

        return Board(self, name)
