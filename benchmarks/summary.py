"""Formats a measurement as tables and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import FileAccuracy
from benchmarks.conditions import Conditions
from benchmarks.device import Description
from benchmarks.files import ExportedFile
from benchmarks.latency import FileLatency, Ratio, ratio
from benchmarks.measure import Measurement
from benchmarks.roofs import Roofs
from benchmarks.sustained import Sustained

SCHEMA_VERSION = 2


def print_summary(
    measurement: Measurement, files: Sequence[ExportedFile], *, console: Console, threads: int
) -> None:
    """Prints the device, a table of sizes and accuracy, one of latency, and notes."""
    device = measurement.device
    header = f"{measurement.name}: not measured"
    if device is not None:
        header = (
            f"{measurement.name}: {device.cpu}, {_cores(device)}, {device.system}; "
            f"{threads} thread{'s' * (threads > 1)}, clock governor {device.governor or 'unknown'}, "
            f"load {'unknown' if device.load_1min is None else f'{device.load_1min:.1f}'}"
        )
    console.print(header, highlight=False, markup=False, soft_wrap=True)
    console.print()
    console.print(_costs(measurement, files))
    console.print()
    console.print(_latencies(measurement, files))
    console.print()
    conditions = next((one.conditions for one in measurement.latency if one.conditions is not None), None)
    for remark in ([] if conditions is None else [_said(conditions)]) + _remarks(measurement, files):
        console.print(remark, highlight=False, markup=False, soft_wrap=True)
    if measurement.roofs is not None:
        console.print(_roofs(measurement.roofs), highlight=False, markup=False, soft_wrap=True)
    if measurement.sustained is not None:
        console.print()
        if measurement.sustained.minutes:
            console.print(_over_time(measurement.sustained))
        for remark in _said_of_minutes(measurement.sustained):
            console.print(remark, highlight=False, markup=False, soft_wrap=True)


def _cores(device: Description) -> str:
    clusters = ", ".join(
        f"{cluster.cpus}: {cluster.core or 'cores'}"
        + ("" if cluster.max_mhz is None else f" up to {cluster.max_mhz:.0f} MHz")
        for cluster in device.clusters
    )
    used = f"{device.cores} cores" if device.cpus is None else f"bound to cores {device.cpus}"
    return f"{used} ({clusters})" if clusters else used


def to_dict(measurements: Sequence[Measurement], files: Sequence[ExportedFile]) -> dict[str, Any]:
    """The measurements as plain data, without the logits."""
    return {
        "schema_version": SCHEMA_VERSION,
        "devices": [
            {
                "name": one.name,
                "description": None if one.device is None else asdict(one.device),
                "files": _rows(one, files),
                "roofs": None if one.roofs is None else asdict(one.roofs),
                "sustained": None if one.sustained is None else one.sustained.to_dict(),
            }
            for one in measurements
        ],
    }


def _rows(measurement: Measurement, files: Sequence[ExportedFile]) -> list[dict[str, Any]]:
    rows = []
    for file, latency, accuracy, times in _joined(measurement, files):
        row: dict[str, Any] = {
            "format": file.format,
            "scheme": file.scheme,
            "path": str(file.path),
            "size_bytes": file.size_bytes,
            "latency": asdict(latency),
            "ratio_to_first": None if times is None else asdict(times),
            "roof_share": _roof_share(measurement.roofs, file, latency),
            "accuracy": None,
        }
        if accuracy is not None:
            row["accuracy"] = accuracy.to_dict()
        rows.append(row)
    return rows


def _roof_share(roofs: Roofs | None, file: ExportedFile, latency: FileLatency) -> float | None:
    if roofs is None:
        return None
    return roofs.share(macs=file.macs, scheme=file.scheme, latency_ms=latency.p50_ms)


def _joined(
    measurement: Measurement, files: Sequence[ExportedFile]
) -> list[tuple[ExportedFile, FileLatency, FileAccuracy | None, Ratio | None]]:
    """Each file with its figures and its latency relative to the first measured file."""
    accuracies: Sequence[FileAccuracy | None] = measurement.accuracy or [None] * len(files)
    first = next((latency for latency in measurement.latency if latency.unavailable is None), None)
    return [
        (file, latency, accuracy, None if first is None else ratio(latency, first))
        for file, latency, accuracy in zip(files, measurement.latency, accuracies, strict=True)
    ]


def _costs(measurement: Measurement, files: Sequence[ExportedFile]) -> Table:
    labels = _label_names(measurement) if measurement.accuracy else []
    table = _empty_table(
        "file",
        *("MB", "peak MiB", "model MiB", "load ms", "first ms"),
        *(f"top-1 % {name}".rstrip() for name in labels),
    )
    for file, latency, accuracy, _ in _joined(measurement, files):
        cells = [f"{file.size_bytes / 1e6:.2f}" if file.missing is None else "-"]
        for size_bytes in (latency.peak_rss_bytes, latency.model_rss_bytes):
            cells.append("-" if size_bytes is None else f"{size_bytes / 2**20:.0f}")
        cells += [_ms(latency.load_ms), _ms(latency.first_ms)]
        if accuracy is not None:
            cells += [_share(accuracy, name) for name in labels]
        table.add_row(f"{file.format} {file.scheme}", *cells)
    return table


def _latencies(measurement: Measurement, files: Sequence[ExportedFile]) -> Table:
    metered = any(latency.energy_mj is not None for latency in measurement.latency)
    table = _empty_table(
        *("file", "p50 ms", "95 %", "p90", "p99", "vs first", "95 %"), *(["mJ"] if metered else [])
    )
    for file, latency, _, times in _joined(measurement, files):
        percentiles = [_ms(value) for value in (latency.p50_ms, latency.p90_ms, latency.p99_ms)]
        p50_interval, times_interval = "-", "-"
        if latency.p50_ci95_ms is not None:
            p50_interval = f"[{_ms(latency.p50_ci95_ms[0])}, {_ms(latency.p50_ci95_ms[1])}]"
        if times is not None and times.ci95 is not None:
            times_interval = f"[{times.ci95[0]:.2f}, {times.ci95[1]:.2f}]"
        table.add_row(
            f"{file.format} {file.scheme}",
            percentiles[0],
            p50_interval,
            *percentiles[1:],
            "-" if times is None else f"{times.value:.2f}x",
            times_interval,
            *([_ms(latency.energy_mj)] if metered else []),
        )
    return table


def _empty_table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _label_names(measurement: Measurement) -> list[str]:
    """Names of the label columns; one column without a name if there is at most one."""
    names = next((list(one.per_label) for one in measurement.accuracy if one.per_label), [""])
    return names if len(names) > 1 else [""]


def _share(accuracy: FileAccuracy, label: str) -> str:
    if accuracy.unavailable is not None:
        return "-"
    one = accuracy.per_label[label] if label else next(iter(accuracy.per_label.values()))
    low, high = one.interval
    return f"{one.top1 * 100:.1f} [{low * 100:.1f}, {high * 100:.1f}]"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def _roofs(roofs: Roofs) -> str:
    """The roofs in one line, or why there are none."""
    values = (roofs.float_macs_per_s, roofs.int8_macs_per_s, roofs.bytes_per_s)
    giga = [f"{value / 1e9:.1f}" for value in values if value is not None]
    if len(giga) < len(values):
        return f"roofs: {roofs.absent}"
    said = "roofs: {} GMAC/s in float, {} GMAC/s in int8, {} GB/s".format(*giga)
    by = [] if roofs.runtime is None else [f"by {roofs.runtime}"]
    by += [] if roofs.measured is None else [f"measured {roofs.measured}"]
    return "; ".join([said, *by, *roofs.notes])


def _over_time(sustained: Sustained) -> Table:
    """Every file in the first and in the last minute, in the order of the last."""
    first, last = sustained.minutes[0], sustained.minutes[-1]
    table = _empty_table("sustained load", "minute 1 ms", f"minute {last.minute + 1} ms", "change", "rank")
    for rank, name in enumerate(last.ranking, start=1):
        before_ms, after_ms = first.p50_ms[name], last.p50_ms[name]
        before = first.ranking.index(name) + 1
        table.add_row(
            name.replace(".", " ", 1),
            _ms(before_ms),
            _ms(after_ms),
            f"{after_ms / before_ms - 1:+.1%}",
            str(rank) if rank == before else f"{before} to {rank}",
        )
    return table


def _said_of_minutes(sustained: Sustained) -> list[str]:
    """Temperature, clock and throttling in one line, and the reasons of the files that stopped running."""
    remarks = []
    if sustained.minutes:
        begin, end = sustained.begin, sustained.minutes[-1].heat
        parts = [
            _from_to("temperature", begin.temperature_c, end.temperature_c, unit="°C"),
            _from_to("clock", begin.clock_mhz, end.clock_mhz, unit="MHz"),
        ]
        if sustained.throttled is not None:
            parts.append("throttled" if sustained.throttled else "not throttled")
        remarks.append(f"sustained load: {'; '.join(parts)}")
    return remarks + [
        f"sustained load: {name} stopped: {reason}" for name, reason in sustained.unavailable.items()
    ]


def _from_to(what: str, begin: float | None, end: float | None, *, unit: str) -> str:
    if begin is None or end is None:
        return f"{what} unknown"
    return f"{what} {begin:.0f} to {end:.0f} {unit}"


def _said(conditions: Conditions) -> str:
    """The conditions in one line."""
    twins = f"{conditions.twin_ratio:.3f}x"
    if conditions.twin_ratio_ci95 is not None:
        twins += f" [{conditions.twin_ratio_ci95[0]:.3f}, {conditions.twin_ratio_ci95[1]:.3f}]"
    parts = [
        f"{conditions.reference} measured twice: {twins}",
        f"{conditions.slow_rounds} of {conditions.rounds} rounds slow",
    ]
    if conditions.others_cores is not None:
        parts.append(f"other processes used {conditions.others_cores:.1f} cores")
    if conditions.busy:
        parts.append("the machine was busy, so that the figures are less reliable")
    return "conditions: " + "; ".join(parts)


def _remarks(measurement: Measurement, files: Sequence[ExportedFile]) -> list[str]:
    """Notes: runtimes, number of measurements, reasons for missing figures."""
    remarks = []
    for file, latency, accuracy, _ in _joined(measurement, files):
        parts = [latency.runtime] if latency.runtime else []
        if latency.unavailable is None:
            parts.append(
                f"{latency.inferences} inferences in {latency.rounds} rounds and {latency.starts} starts, "
                f"{latency.timed_s:.1f} s"
            )
        share = _roof_share(measurement.roofs, file, latency)
        if share is not None:
            parts.append(f"{share:.0%} of the roof")
        for one in (latency, accuracy):
            if one is not None:
                parts += [one.unavailable] if one.unavailable else []
                parts += one.notes
        if accuracy is not None and accuracy.clips:
            parts.append(f"{accuracy.clips} clips")
        remarks.append(f"{file.id}: {'; '.join(dict.fromkeys(parts))}")
    return remarks
