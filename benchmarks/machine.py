"""Properties of the machine of this process that affect its figures: processor, cores, memory, clock, temperature.

Imports only the standard library, because it also runs on boards. Functions with `root` read the files of Linux
below that folder.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

from benchmarks.device import CoreCluster, Description
from compress.command.processor import lacks_vnni

ROOT = Path("/")

WITHOUT_VNNI = "no VNNI: int8 .onnx files run with session.x64quantprecision = 1, exact and slower"
"""Note on every figure of such a machine."""

_INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
_PROCESSOR_ZONES = re.compile("cpu|soc|x86_pkg|core|tsens|bcm", re.IGNORECASE)
_PROCESSOR_DRIVERS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Drivers of hardware monitors that report the processor: Linux, Documentation/hwmon."""
_ARM = "0x41"
_ARM_CORES = {
    **{0xD03: "A53", 0xD04: "A35", 0xD05: "A55", 0xD07: "A57", 0xD08: "A72", 0xD09: "A73", 0xD0A: "A75"},
    **{0xD0B: "A76", 0xD0D: "A77", 0xD41: "A78", 0xD42: "A78AE", 0xD44: "X1", 0xD46: "A510", 0xD47: "A710"},
    **{0xD48: "X2", 0xD4D: "A715", 0xD4E: "X3", 0xD80: "A520", 0xD81: "A720", 0xD82: "X4", 0xD85: "X925"},
    0xD87: "A725",
}
"""Cortex cores by part number: Linux, arch/arm64/include/asm/cputype.h."""


def describe(name: str, *, cpus: Collection[int] | None = None) -> Description:
    """The machine of this process under a device's name; `cpus` are the cores that files run on, by default all."""
    used = usable_cpus() if cpus is None else sorted(cpus)
    return Description(
        name=name,
        cpu=processor(),
        cores=len(used) or os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        governor=governor(used),
        int8_instructions=_int8_instructions(),
        load_1min=os.getloadavg()[0],
        clusters=clusters(),
        cpus=None if cpus is None else ranges(used),
        clock_mhz=clock_mhz(used),
        temperature_c=temperature_c(),
        notes=(WITHOUT_VNNI,) if lacks_vnni() else (),
    )


def usable_cpus() -> list[int]:
    """Numbers of the cores available to this process; empty where the system does not number them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def usable_cores() -> int:
    """Number of cores available to this process."""
    return len(usable_cpus()) or os.cpu_count() or 1


def processor(root: Path = ROOT) -> str:
    """Name of the processor, or of the board where the processor has none."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    board = _read(root / "proc/device-tree/model").strip("\0")
    named = next(iter(_cpuinfo("model name", root)), None)
    return named or board or platform.processor() or platform.machine()


def clusters(root: Path = ROOT) -> tuple[CoreCluster, ...]:
    """Cores of equal kind and maximum clock, in the order of their numbers; empty if the system reports neither."""
    cores = _cores(root)
    found: dict[tuple[str | None, float | None], list[int]] = {}
    for cpu in _numbered(root):
        kind = cores.get(cpu), _mhz(_cpufreq(cpu, root) / "cpuinfo_max_freq")
        found.setdefault(kind, []).append(cpu)
    return tuple(
        CoreCluster(cpus=ranges(cpus), core=core, max_mhz=max_mhz)
        for (core, max_mhz), cpus in found.items()
        if core is not None or max_mhz is not None
    )


def governor(cpus: Iterable[int], root: Path = ROOT) -> str | None:
    """Clock frequency governors of these cores, such as `ondemand`."""
    found = {_read(_cpufreq(cpu, root) / "scaling_governor") for cpu in cpus} - {""}
    return ", ".join(sorted(found)) or None


def clock_mhz(cpus: Iterable[int], root: Path = ROOT) -> float | None:
    """The highest current clock of these cores."""
    clocks = (_mhz(_cpufreq(cpu, root) / "scaling_cur_freq") for cpu in cpus)
    return max((clock for clock in clocks if clock is not None), default=None)


def temperature_c(root: Path = ROOT) -> float | None:
    """The highest temperature of the sensors of the processor, or of all thermal zones if none is known as such."""
    of_processor: list[int | None] = []
    of_others: list[int | None] = []
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        is_processor = _PROCESSOR_ZONES.search(_read(zone / "type"))
        (of_processor if is_processor else of_others).append(_number(zone / "temp"))
    for monitor in (root / "sys/class/hwmon").glob("hwmon*"):
        if _read(monitor / "name") in _PROCESSOR_DRIVERS:
            of_processor += [_number(sensor) for sensor in monitor.glob("temp*_input")]
    known = [[one / 1000 for one in found if one is not None] for found in (of_processor, of_others)]
    return max(known[0] or known[1], default=None)


def parse_ranges(text: str) -> list[int]:
    """The numbers of `0,4-7`."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return sorted(numbers)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as `0,4-7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _int8_instructions() -> tuple[str, ...]:
    flags = next(iter([*_cpuinfo("flags", ROOT), *_cpuinfo("Features", ROOT)]), "").split()
    return tuple(name for name in _INT8_INSTRUCTIONS if name in flags)


def _cores(root: Path) -> dict[int, str]:
    """Names of ARM cores by number."""
    implementers, parts = _cpuinfo("CPU implementer", root), _cpuinfo("CPU part", root)
    found = {}
    for number, implementer, part in zip(_cpuinfo("processor", root), implementers, parts, strict=False):
        core = _ARM_CORES.get(int(part, 16)) if implementer == _ARM else None
        found[int(number)] = f"Cortex-{core}" if core else f"implementer {implementer}, part {part}"
    return found


def _cpuinfo(key: str, root: Path) -> list[str]:
    """Values of a key of /proc/cpuinfo, one per core."""
    pairs = (line.partition(":") for line in _read(root / "proc/cpuinfo").splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _numbered(root: Path) -> list[int]:
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*")
    return sorted(int(folder.name.removeprefix("cpu")) for folder in folders)


def _cpufreq(cpu: int, root: Path) -> Path:
    return root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"


def _mhz(path: Path) -> float | None:
    khz = _number(path)
    return None if khz is None else khz / 1000


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _read(path: Path) -> str:
    """The text of a file of the system; empty if there is none or it cannot be read now."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
