"""The settings that every kind of device has."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.device import Device


class DeviceSettings(BaseModel):
    """Settings of one device."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: ClassVar[str]
    """Name of the row in `DEVICES`."""
    shorthand: ClassVar[str | None] = None
    """The setting that the short form gives, as `address` in `ssh:pi@board`; None if there is no such form."""

    name: str | None = Field(default=None, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Name in figures, files and gates; by default the kind, such as `host`, and for further ones `host_2`."""

    @abstractmethod
    def connect(self, name: str) -> Device:
        """The device, under this name; it is connected when it is entered."""

    @property
    def module(self) -> str:
        """The module whose code determines the figures, for keys of results."""
        return type(self).__module__

    def identity(self) -> str | None:
        """What determines figures beside these settings and is known without a connection, such as the
        processor."""
        return None
