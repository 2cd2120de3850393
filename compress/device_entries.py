"""Entries of a recipe that name a device: a text such as `ssh:pi@board`, or a kind with its settings."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, create_model

from benchmarks.devices import DEVICES, DeviceSettings, device_of, named_devices

_Text = Annotated[str, Field(max_length=400)]


class DeviceEntry(BaseModel):
    """A device with settings: one key, the kind, and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


DEVICE_ROWS: dict[str, type[DeviceEntry]] = {
    kind: create_model(  # type: ignore[call-overload]
        f"Device_{kind}",
        __base__=DeviceEntry,
        __doc__=None,
        # Pydantic would search all modules for the source of a created model, which takes seconds.
        __cls_kwargs__={"use_attribute_docstrings": False},
        **{kind: (settings if settings.shorthand is None else _Text | settings, ...)},
    )
    for kind, settings in DEVICES.items()
}
if TYPE_CHECKING:
    AnyDevice = str | DeviceEntry
else:
    AnyDevice = reduce(or_, (_Text, *DEVICE_ROWS.values()))


def settings_of(entry: AnyDevice) -> DeviceSettings:
    """The settings of an entry. Raises ValueError for an unknown kind and for wrong settings."""
    return device_of(entry if isinstance(entry, str) else dict(entry))


def named(entry: AnyDevice) -> tuple[str, DeviceSettings]:
    """The name of a single device, by default its kind, and its settings."""
    ((name, settings),) = named_devices([settings_of(entry)]).items()
    return name, settings
