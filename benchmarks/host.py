"""This machine as a device."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.device import Description, Session

if TYPE_CHECKING:
    from benchmarks.conditions import Watch
    from benchmarks.energy import Meter
    from benchmarks.files import ExportedFile
    from benchmarks.sustained import Heat

_INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


class Host:
    """This machine as a `Device`."""

    def __init__(self, name: str = "host") -> None:
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def describe(self) -> Description:
        """CPU, cores, memory, system, clock governor and current load."""
        import psutil

        return Description(
            name=self.name,
            cpu=processor(),
            cores=usable_cores(),
            memory_bytes=psutil.virtual_memory().total,
            system=platform.platform(),
            governor=_governor(),
            int8_instructions=_int8_instructions(),
            load_1min=os.getloadavg()[0],
        )

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

    def heat(self) -> Heat:
        """Temperature of the hottest sensor and mean clock of the cores, where the system reports them."""
        import psutil

        from benchmarks.sustained import Heat

        sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
        temperatures_c = [one.current for group in sensors.values() for one in group]
        clock = psutil.cpu_freq()
        return Heat(
            temperature_c=max(temperatures_c, default=None),
            clock_mhz=None if clock is None or not clock.current else clock.current,
        )


HOST = Host()


def usable_cores() -> int:
    """Number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Name of the processor."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _int8_instructions() -> tuple[str, ...]:
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return tuple(name for name in _INT8_INSTRUCTIONS if name in flags)


def _cpuinfo(key: str) -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return None


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else None
