"""How the forms of exported files are chosen: by the rule of a target, on a device, by pins, or on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compress.device_entries import named
from compress.recipe.sections import DeviceTarget, ExportConfig
from compress.stopwatch import DeviceStopwatch
from export.choice import MEASURED_HERE, Forms
from export.pins import read_pins


@contextmanager
def chosen_forms(export: ExportConfig) -> Iterator[Forms]:
    """The choice that the recipe makes; a device is connected until the end.

    Raises `Unavailable` if the device cannot be reached, and the errors of `read_pins`.
    """
    if isinstance(export.target, DeviceTarget):
        name, settings = named(export.target.device)
        with settings.connect(name) as device:
            yield Forms(stopwatch=DeviceStopwatch(device))
    elif export.forms is not None:
        yield Forms(pins=read_pins(export.forms), source=export.forms.name)
    else:
        yield MEASURED_HERE if export.target is None else Forms(target=export.target)


def key_of_forms(export: ExportConfig) -> dict[str, Any]:
    """Everything that determines the choice, except for the code and for noise."""
    settings = None if not isinstance(export.target, DeviceTarget) else named(export.target.device)[1]
    return {
        "target": export.model_dump(mode="json")["target"],
        "device": None if settings is None else settings.identity(),
        "pins": None if export.forms is None else read_pins(export.forms),
    }


def code_of_forms(export: ExportConfig) -> list[str]:
    """The modules of the device that measures, if one does."""
    return [named(export.target.device)[1].module] if isinstance(export.target, DeviceTarget) else []
