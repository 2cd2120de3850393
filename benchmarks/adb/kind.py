"""The kind of device `adb`: a phone, and how it is connected."""

from __future__ import annotations

from benchmarks.adb.settings import PhoneSettings
from benchmarks.device import Device


class AdbSettings(PhoneSettings):
    """An Android phone over USB or Wi-Fi, through the `adb` client of this machine."""

    kind = "adb"
    shorthand = "serial"

    def connect(self, name: str) -> Device:
        """The phone, under this name; it is connected when it is entered."""
        from benchmarks.adb.phone import Phone

        return Phone(name, self)

    @property
    def module(self) -> str:
        """The module of the phone, which imports all others."""
        return "benchmarks.adb.phone"
