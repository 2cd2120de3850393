"""This machine as a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from benchmarks import machine
from benchmarks.device import Description, Session

if TYPE_CHECKING:
    from benchmarks.conditions import Watch
    from benchmarks.energy import Meter
    from benchmarks.files import ExportedFile


class Host:
    """This machine as a `Device`."""

    def __init__(self, name: str = "host") -> None:
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def describe(self) -> Description:
        """Processor, cores, memory, system, clock, temperature and current load."""
        return machine.describe(self.name)

    def open(self, file: ExportedFile) -> Session:
        """Opens the file in a process of its own."""
        # Imported here, so that `python -m benchmarks.host_process` is the first import of that module.
        from benchmarks.host_process import Worker

        return Worker(file)

    def watch(self) -> Watch:
        """Observes the load by other processes and virtual machines."""
        from benchmarks.host_load import HostLoad

        return HostLoad()

    def meter(self) -> Meter:
        """The energy of the processor, where the system reports it."""
        from benchmarks.energy import Rapl

        return Rapl()


HOST = Host()
