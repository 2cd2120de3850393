"""The settings of pruning with the device that measures latency.

A module of its own, which `compress.prune` does not import: the table of devices is no part of the keys of stages.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from benchmarks.device_settings import DeviceSettings
from compress.device_entries import AnyDevice, named, settings_of
from compress.pruning.config import PruneConfig


class PruneOnDeviceConfig(PruneConfig):
    """Settings of one `prune` stage: one target, or another `pattern`; training settings are for recovery."""

    device: AnyDevice = Field(
        default="host",
        description="Device on which latency is measured, with the kinds and settings of `benchmark.devices`.",
    )

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: AnyDevice) -> AnyDevice:
        settings_of(device)
        return device

    @property
    def measured_on(self) -> tuple[str, DeviceSettings]:
        """Name and settings of the device."""
        return named(self.device)
