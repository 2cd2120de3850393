"""Measures an export on devices: latency, memory and accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.accuracy import FileAccuracy, evaluate
from benchmarks.device import MAX_SECONDS, ROUNDS, Description, Device, Unavailable
from benchmarks.device_settings import DeviceSettings
from benchmarks.exported import Exported
from benchmarks.kept_roofs import roofs_of
from benchmarks.latency import FileLatency, Progress, measure_latency, random_inputs
from benchmarks.machine import usable_cores
from benchmarks.roofs import Roofs
from benchmarks.sustained import Sustained, measure_sustained
from benchmarks.user_cache import user_cache

if TYPE_CHECKING:
    from benchmarks.clips.cache import ClipSet


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Figures of every file of an export on one device, in the order of the files."""

    name: str
    """Name of the device."""
    device: Description | None
    """None if the device could not be used; every file then reports the reason."""
    latency: list[FileLatency]
    accuracy: list[FileAccuracy]
    """Empty without clips."""
    sustained: Sustained | None = None
    """Latency under sustained load, if that was asked for."""
    roofs: Roofs | None = None
    """Roofs of the device, if they were asked for."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How a device is measured, and what is measured beside latency and accuracy."""

    threads: int = 1
    rounds: int = ROUNDS
    duration_s: float | None = None
    """Every file is timed for at least this long."""
    max_seconds: float = MAX_SECONDS
    """Time after which the rounds are stopped early."""
    sustained_minutes: int | None = None
    """Latency under sustained load is measured for this long."""
    with_roofs: bool = False
    """The roofs of the device are measured, unless they were before."""
    seed: int = 0
    """Determines the inputs and the order within rounds."""


DEFAULT_EFFORT = Effort()


def check_threads(devices: Mapping[str, DeviceSettings], threads: int) -> None:
    """Raises ValueError if this machine is one of the devices and has fewer cores than `threads`."""
    for name, settings in devices.items():
        if settings.kind == "host" and threads > usable_cores():
            raise ValueError(f"threads is {threads}: device {name!r} has {usable_cores()} cores")


def measure(
    exported: Exported,
    *,
    devices: Mapping[str, DeviceSettings],
    clips: ClipSet | None = None,
    effort: Effort = DEFAULT_EFFORT,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Latency of every exported file on every device, and accuracy if `clips` are given; in the order of devices.

    A device that cannot be used, or a file that cannot run, reports the reason and does not stop the others.
    Raises what `measure_latency` and `evaluate` raise.
    """
    found = []
    for name, settings in devices.items():
        named = _named(progress, name if len(devices) > 1 else "")
        try:
            with settings.connect(name) as device:
                found.append(measure_on(device, exported, clips=clips, effort=effort, progress=named))
        except Unavailable as error:
            reason = str(error)
            found.append(not_measured(name, exported, reason=reason, threads=effort.threads, clips=clips))
    return found


def measure_on(
    device: Device,
    exported: Exported,
    *,
    clips: ClipSet | None = None,
    effort: Effort = DEFAULT_EFFORT,
    progress: Progress | None = None,
) -> Measurement:
    """As `measure`, on one connected device. Also raises `Unavailable` if the device itself is lost, or has fewer
    cores than threads are asked for."""
    description, threads = device.describe(), effort.threads
    if threads > description.cores:
        raise Unavailable(f"threads is {threads}: device {device.name!r} has {description.cores} cores")
    latency = measure_latency(
        exported,
        device=device,
        threads=threads,
        rounds=effort.rounds,
        duration_s=effort.duration_s,
        max_seconds=effort.max_seconds,
        seed=effort.seed,
        progress=progress,
    )
    accuracy = []
    if clips is not None:
        accuracy = evaluate(exported, clips, device=device, threads=threads, progress=progress)
    sustained, roofs = None, None
    if effort.sustained_minutes is not None:
        sustained = measure_sustained(
            exported.files,
            random_inputs(exported, seed=effort.seed),
            device=device,
            minutes=effort.sustained_minutes,
            threads=threads,
            seed=effort.seed,
            progress=progress,
        )
    if effort.with_roofs:
        roofs = roofs_of(device, folder=user_cache("roofs"), threads=threads)
    return Measurement(
        name=device.name,
        device=description,
        latency=latency,
        accuracy=accuracy,
        sustained=sustained,
        roofs=roofs,
    )


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None or not name:
        return progress
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def not_measured(
    name: str, exported: Exported, *, reason: str, threads: int, clips: ClipSet | None
) -> Measurement:
    """The measurement on a device that cannot be used, for the given reason."""
    ids = [(file.id, file.missing or reason) for file in exported.files]
    return Measurement(
        name=name,
        device=None,
        latency=[
            FileLatency(format=one.format, scheme=one.scheme, device=name, threads=threads, unavailable=why)
            for one, why in ids
        ],
        accuracy=[
            FileAccuracy(format=one.format, scheme=one.scheme, device=name, unavailable=why)
            for one, why in ids
            if clips is not None
        ],
    )
