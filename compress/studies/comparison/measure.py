"""Measures one network: fit, export, run, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.latency import FileLatency, Ratio, measure_files, ratio
from compress.studies.comparison.files import MEASURED, Origin, Written, write_naive, write_ours, write_peers
from compress.studies.comparison.fitting import FITTED, fit
from compress.studies.comparison.networks import Row
from compress.studies.published_formats import PUBLISHED_FORMATS

_LONGEST_S = 3600.0
"""Time limit of the rounds, far above that of the slowest network."""

Notify = Callable[[str], None]
"""Called with the name of each step when it starts."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Size of the measurement."""

    seed: int = 0
    clips: int = 200
    """Number of unseen clips for the agreement of int8 and float."""
    rounds: int = 30
    fitted: int = FITTED
    """Number of clips for fitting classifiers."""
    peers: bool = False
    formats: tuple[str, ...] = PUBLISHED_FORMATS


def measure(row: Row, folder: Path, *, effort: Effort, notify: Notify) -> dict[str, Any]:
    """All figures of one network as plain data; its files remain in `folder`."""
    clock = _Clock(notify)
    clock.begin("fit")
    fitted = fit(row, seed=effort.seed, clips=effort.clips, known=effort.fitted)
    clock.begin("export")
    written = [write_naive(fitted, folder), *write_ours(fitted, folder, formats=effort.formats)]
    if effort.peers:
        written += write_peers(fitted, written[0], folder)
    clock.begin("latency")
    timed = [one for one in written if one.file.format in (*MEASURED, "openvino")]
    latencies = measure_files(
        [one.file for one in timed],
        {"clip": fitted.unseen[:1]},
        rounds=effort.rounds,
        max_seconds=_LONGEST_S,
        seed=effort.seed,
    )
    clock.begin("done")
    by_file = {(one.origin, one.file.format): latency for one, latency in zip(timed, latencies, strict=True)}
    return {
        "row": asdict(row),
        "parameters": sum(parameter.numel() for parameter in fitted.model.parameters()),
        "classifier": {"clips": effort.fitted, "accuracy": fitted.accuracy, "margin": fitted.margin},
        "files": [
            {
                "origin": one.origin,
                "format": one.file.format,
                **one.facts,
                "latency": _figures(by_file.get((one.origin, one.file.format))),
            }
            for one in written
        ],
        "ratios": {name: asdict(times) for name, times in _ratios(timed, by_file) if times is not None},
        "seconds": clock.seconds,
    }


def _figures(latency: FileLatency | None) -> dict[str, Any] | None:
    if latency is None:
        return None
    names = ("runtime", "p50_ms", "p50_ci95_ms", "rounds", "peak_rss_bytes", "unavailable")
    return {name: getattr(latency, name) for name in names}


def _ratios(
    timed: Sequence[Written], latencies: dict[tuple[Origin, str], FileLatency]
) -> list[tuple[str, Ratio | None]]:
    """Speedups: float over the naive export; int8 over float; the best int8 over the peer."""
    pairs: list[tuple[str, tuple[Origin, str], tuple[Origin, str]]] = [
        ("naive / float, onnx", ("naive", "onnx"), ("float", "onnx")),
        *((f"float / int8, {name}", ("float", name), ("int8", name)) for name in MEASURED),
    ]
    ratios = [
        (name, ratio(latencies[slow], latencies[fast]))
        for name, slow, fast in pairs
        if slow in latencies and fast in latencies
    ]
    int8 = [latency for (origin, _), latency in latencies.items() if origin == "int8" and latency.p50_ms]
    best = min(int8, key=lambda latency: latency.p50_ms or 0.0, default=None)
    for origin in ("peer float", "peer int8"):
        peer = latencies.get((origin, "openvino"))
        if best is not None and peer is not None:
            ratios.append((f"best int8 / {origin}", ratio(best, peer)))
    return ratios


class _Clock:
    """Reports the start of each step and records its duration."""

    def __init__(self, notify: Notify) -> None:
        self.seconds: dict[str, float] = {}
        self._notify, self._name, self._since = notify, "", time.monotonic()

    def begin(self, name: str) -> None:
        now = time.monotonic()
        if self._name:
            self.seconds[self._name] = round(now - self._since, 1)
        self._name, self._since = name, now
        self._notify(name)
