"""Measures an export on one device: latency, memory and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import DEVICES
from benchmarks.accuracy import FileAccuracy, evaluate
from benchmarks.device import MAX_SECONDS, ROUNDS, Description
from benchmarks.exported import Exported
from benchmarks.latency import FileLatency, Progress, measure_latency

if TYPE_CHECKING:
    from benchmarks.clips.cache import ClipSet


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Figures of every file of an export on one device, in the order of the files."""

    device: Description
    latency: list[FileLatency]
    accuracy: list[FileAccuracy]
    """Empty without clips."""


def measure(
    exported: Exported,
    *,
    device: str = "host",
    clips: ClipSet | None = None,
    threads: int = 1,
    rounds: int = ROUNDS,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Measurement:
    """Latency of every exported file on a device, and accuracy if `clips` are given.

    A file that cannot run reports the reason and does not stop the others. Raises what `measure_latency` and
    `evaluate` raise.
    """
    description = DEVICES[device].describe()
    latency = measure_latency(
        exported,
        device=device,
        threads=threads,
        rounds=rounds,
        max_seconds=max_seconds,
        seed=seed,
        progress=progress,
    )
    accuracy = []
    if clips is not None:
        accuracy = evaluate(exported, clips, device=device, threads=threads, progress=progress)
    return Measurement(device=description, latency=latency, accuracy=accuracy)
