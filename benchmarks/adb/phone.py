"""A phone as a device: how it is found, what it is, and the sessions of files on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

from benchmarks.adb.attached import Attached
from benchmarks.adb.client import Adb, find_phone
from benchmarks.adb.runners import RUNNERS
from benchmarks.adb.session import PhoneSession
from benchmarks.adb.settings import PhoneSettings
from benchmarks.device import Description, Unavailable
from benchmarks.files import ExportedFile
from compress.command.terminal import problems

_FACTS = """
echo "abis=$(getprop ro.product.cpu.abilist)"
echo "chip=$(getprop ro.soc.manufacturer) $(getprop ro.soc.model)"
echo "board=$(getprop ro.board.platform)"
echo "model=$(getprop ro.product.manufacturer) $(getprop ro.product.model)"
echo "android=$(getprop ro.build.version.release)"
echo "cores=$(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l)"
echo "memory=$(grep MemTotal /proc/meminfo)"
echo "features=$(grep -m 1 -E '^(Features|flags)' /proc/cpuinfo)"
echo "governor=$(cat /sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor 2>/dev/null)"
echo "load=$(uptime)"
"""
_INT8_FEATURES = ("asimddp", "i8mm")


class Phone:
    """The `Device` of an Android phone; connected when it is entered."""

    def __init__(self, name: str, settings: PhoneSettings) -> None:
        self.name = name
        self._settings = settings

    def __enter__(self) -> Self:
        """Finds the phone and makes the folder for its files. Raises `Unavailable`."""
        self._adb: Adb = find_phone(self._settings.adb, self._settings.serial)
        self._facts = self._ask()
        self._adb.make_folder(self._settings.folder)
        self._attached = Attached(self._adb, self._settings, abis=self._facts["abis"])
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Removes what was copied, unless `keep` is set; says so if the phone is gone."""
        if self._settings.keep:
            return
        try:
            self._attached.remove_files()
        except Unavailable as error:
            left = f"{error}; files are left in {self._settings.folder} of the phone"
            problems().print(left, markup=False, soft_wrap=True)

    def describe(self) -> Description:
        """The phone's chip, cores, memory, Android version, clock governor and load."""
        facts = self._facts
        cores = int(facts["cores"])
        mask = self._settings.mask
        if mask.bit_length() > cores:
            raise Unavailable(
                f"{self._adb}: cpus is {self._settings.cpus!r}, but the phone has cores 0 to {cores - 1}"
            )
        load = re.search(r"load averages?: ([\d.]+)", self._ask()["load"])
        if load is None:
            raise Unavailable(f"{self._adb}: `uptime` does not tell the load; it printed {facts['load']!r}")
        features = facts["features"].split()
        return Description(
            name=self.name,
            cpu=facts["chip"].strip() or facts["board"].strip() or facts["abis"],
            cores=mask.bit_count() or cores,
            memory_bytes=int(re.findall(r"\d+", facts["memory"])[0]) * 1024,
            system=f"Android {facts['android']}, {facts['model'].strip()} ({facts['abis']})",
            governor=facts["governor"] or None,
            int8_instructions=tuple(one for one in _INT8_FEATURES if one in features),
            load_1min=float(load[1]),
        )

    def open(self, file: ExportedFile) -> PhoneSession:
        """A session of the file; nothing is copied yet."""
        return PhoneSession(self._attached, file, RUNNERS.get(file.format))

    def _ask(self) -> Mapping[str, str]:
        first = next(
            (cpu for cpu in range(self._settings.mask.bit_length()) if self._settings.mask >> cpu & 1), 0
        )
        lines = self._adb.shell(_FACTS.replace("{cpu}", str(first))).text.splitlines()
        facts = dict(line.partition("=")[::2] for line in lines if "=" in line)
        missing = {"abis", "cores", "memory", "load"} - {
            name for name, value in facts.items() if value.strip()
        }
        if missing:
            raise Unavailable(
                f"{self._adb} does not tell its {', '.join(sorted(missing))}: is it an Android phone?"
            )
        return facts
