"""Kinds of devices and their settings.

A new kind is one row of `DEVICES`: its settings, whose `connect` gives a `Device` (`device.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from benchmarks.adb.kind import AdbSettings
from benchmarks.browser.settings import BrowserSettings
from benchmarks.device import Device
from benchmarks.device_settings import DeviceSettings
from benchmarks.host import Host
from benchmarks.machine import processor
from benchmarks.ssh.settings import SshSettings


class HostSettings(DeviceSettings):
    """This machine."""

    kind = "host"

    def connect(self, name: str) -> Device:
        """This machine."""
        return Host(name)

    @property
    def module(self) -> str:
        """The module of this machine."""
        return "benchmarks.host"

    def identity(self) -> str:
        """The processor."""
        return processor()


DEVICES: dict[str, type[DeviceSettings]] = {
    "host": HostSettings,
    "ssh": SshSettings,
    "adb": AdbSettings,
    "browser": BrowserSettings,
}
"""Kinds of devices. A new one is one line here and one package."""


def parse_device(text: str) -> DeviceSettings:
    """Settings from the text of an option: `host`, `ssh:pi@board`, or a YAML mapping `{ssh: {address: pi@board}}`.

    Raises ValueError for an unknown kind and for wrong settings.
    """
    if not text.lstrip().startswith("{"):
        return device_of(text)
    try:
        return device_of(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"device {text!r} is not a YAML mapping: {str(error).splitlines()[0]}") from None


def device_of(entry: Any) -> DeviceSettings:
    """Settings from an entry of a recipe: a text such as `host` or `ssh:pi@board`, or a mapping with one key, the
    kind.

    Raises ValueError for an unknown kind and for wrong settings.
    """
    if isinstance(entry, DeviceSettings):
        return entry
    if isinstance(entry, str):
        kind, colon, rest = entry.partition(":")
        given: Any = rest if colon else {}
    elif isinstance(entry, Mapping) and len(entry) == 1:
        ((kind, given),) = entry.items()
    else:
        raise ValueError(f"a device is a text such as host, or a mapping with one key; given: {entry!r}")
    if kind not in DEVICES:
        raise ValueError(f"device {kind!r} is unknown; allowed: {', '.join(DEVICES)}")
    settings = DEVICES[kind]
    if isinstance(given, settings):
        return given
    if isinstance(given, str):
        if settings.shorthand is None:
            raise ValueError(f"device {kind!r} takes nothing after the colon; given: {given!r}")
        given = {settings.shorthand: given}
    if not isinstance(given, Mapping):
        raise ValueError(f"the settings of device {kind!r} are a mapping; given: {given!r}")
    try:
        return settings.model_validate(given)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(f"device {kind!r}: {'; '.join(faults)}") from None


def named_devices(devices: Iterable[DeviceSettings]) -> dict[str, DeviceSettings]:
    """The devices by name, in their order. Raises ValueError if two have the same name, or are the same."""
    named: dict[str, DeviceSettings] = {}
    for settings in devices:
        if settings in named.values():
            raise ValueError(f"the device {settings.kind!r} is given twice with the same settings")
        name = settings.name or _free_name(settings.kind, named)
        if name in named:
            raise ValueError(f"two devices are named {name!r}; give each its own `name`")
        named[name] = settings
    return named


def _free_name(kind: str, taken: Mapping[str, DeviceSettings]) -> str:
    number = sum(one.kind == kind for one in taken.values()) + 1
    return kind if number == 1 else f"{kind}_{number}"
