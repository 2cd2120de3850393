"""The key figures at the top of a report, in the order in which an engineer asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compress import figures
from compress.report.files import covered, descriptions, latency_row, verdict
from compress.report.headline import fell_back, lacks, lost_devices, models_of
from compress.report.wording import counted, listed, mean_share, short
from compress.report_shape import FileReport, PairedReport, Report

MOST_DEVICES = 6


def key_figures(report: Report) -> Iterator[dict[str, str]]:
    """Fast kernels, latency, accuracy, size, what fell back, the networks behind."""
    files = [one for one in report["files"] if one.get("status", "exported") == "exported"]
    for tile in (
        _fast_kernels(files),
        *_latencies(report, files),
        _change(report, files),
        _top1(report, files),
        _size(files),
        _fell_back(report),
        *_networks(report),
        _operations(report),
    ):
        if tile is not None:
            yield tile


def _tile(title: str, value: str, note: str, *, warning: str = "") -> dict[str, str]:
    return {"title": title, "value": value, "note": note, "warning": warning}


def _fast_kernels(files: list[FileReport]) -> dict[str, str] | None:
    """The lowest share of multiply-adds in fast kernels."""
    if not files:
        return None
    # A file that ran nowhere, such as Core ML's on Linux, says nothing about the devices at hand.
    ran = [one for one in files if any(row["p50_ms"] is not None for row in one["latency"])]
    files = ran or files
    known = [(one["coverage"], figures.name_of(one)) for one in files if one.get("coverage") is not None]
    if not known:
        return _tile("In fast kernels", "not determined", "for no file")
    lowest, name = min(known, key=lambda one: one[0]["share"])  # type: ignore[index]
    note = f"of the multiply-adds in each of {counted(len(known), 'measured file' if ran else 'file')}"
    if lowest is not None and lowest["share"] < 1:
        full = sum(one is not None and one["share"] == 1 for one, _ in known)
        note = f"of the multiply-adds in {name}; all of them in {full} of {counted(len(known), 'file')}"
    if len(known) < len(files):
        note += f"; not determined for {len(files) - len(known)}"
    return _tile("In fast kernels", covered(lowest)["share"], note)


def _latencies(report: Report, files: list[FileReport]) -> Iterator[dict[str, str]]:
    """The fastest file on each device; a device without figures says so."""
    of_devices: dict[str, list[tuple[float, Any, FileReport]]] = {name: [] for name in descriptions(report)}
    for file in files:
        for row in file["latency"]:
            if row["p50_ms"] is not None:
                of_devices.setdefault(row["device"], []).append((row["p50_ms"], row, file))
    for device, rows in list(of_devices.items())[:MOST_DEVICES]:
        title = f"p50 / p90 on {short(device, 24)}"
        if not rows:
            yield _tile(title, figures.NOT_MEASURED, "no file ran on this device")
            continue
        _, row, file = min(rows, key=lambda one: one[0])
        shown = latency_row(row, report)
        value = f"{shown['p50'].removesuffix(' ms')} / {shown['p90']}" if row["p90_ms"] else shown["p50"]
        note = f"the fastest file, {figures.name_of(file)}, {shown['threads']}"
        yield _tile(title, value, note, warning=shown["busy"])


def _change(report: Report, files: list[FileReport]) -> dict[str, str] | None:
    """The largest drop from the float student on the same clips."""
    found: list[tuple[PairedReport, str, int]] = []
    for file in files:
        places = [
            ("", file["accuracy"]),
            *((one["device"], one["accuracy"]) for one in file.get("elsewhere", [])),
        ]
        for device, accuracy in places:
            for label, one in accuracy.get("paired", {}).items():
                several = len(accuracy["paired"]) > 1
                name = figures.name_of(file) + (f" on {device}" if device else "")
                found.append((one, name + (f", {short(label, 24)}" if several else ""), accuracy["clips"]))
    if found:
        worst, name, clips = min(found, key=lambda one: one[0]["change_pp"])
        note = (
            f"{name}: {worst['lost']} lost and {worst['won']} won of {clips} clips; {verdict(worst)}"
            if worst["lost"] or worst["won"]
            else f"no file classifies fewer of the {clips} clips correctly than the float student"
        )
        return _tile("Largest drop on your clips", f"{figures.points(-worst['change_pp'])} points", note)
    student = report["models"]["student_float"]
    before = None if student is None else mean_share(student["top1"])
    after = [(mean_share(one["accuracy"]["top1"]), figures.name_of(one)) for one in files]
    known = [(share, name) for share, name in after if share is not None]
    if before is None or not known:
        return None
    share, name = min(known)
    drop = figures.points(figures.drop_pp(before, share))
    return _tile("Largest drop on your clips", f"{drop} points", f"{name}, from the float student")


def _top1(report: Report, files: list[FileReport]) -> dict[str, str] | None:
    """The range of top-1 over files, with chance level."""
    shares = sorted(share for one in files if (share := mean_share(one["accuracy"]["top1"])) is not None)
    if not shares:
        return None
    low, high = figures.percent(shares[0]), figures.percent(shares[-1])
    text = low if low == high else f"{low.removesuffix(' %')}–{high}"
    chances = {label: one["chance"]["share"] for label, one in report.get("predictions", {}).items()}
    several = (
        " (mean of label columns)"
        if any(isinstance(one["accuracy"]["top1"], Mapping) for one in files)
        else ""
    )
    chance = mean_share(chances) if chances else None
    note = f"of {counted(len(shares), 'file')}, each in its runtime{several}"
    return _tile("Top-1", text, note if chance is None else f"{note}; chance level {figures.percent(chance)}")


def _size(files: list[FileReport]) -> dict[str, str] | None:
    sizes = [(one["size_bytes"], figures.name_of(one)) for one in files if one["size_bytes"] is not None]
    if not sizes:
        return None
    note = min(sizes)[1]
    if len(sizes) > 1:
        note += f"; the largest, {max(sizes)[1]}, has {figures.size(max(sizes)[0])}"
    return _tile("Smallest file", figures.size(min(sizes)[0]), note)


def _fell_back(report: Report) -> dict[str, str] | None:
    """Failed files, operators outside fast kernels, and missing figures, each counted."""
    if not report["files"]:
        return None
    slow = fell_back(report)
    bad = [figures.name_of(one) for one in report["files"] if one.get("status", "exported") != "exported"]
    parts = [f"{counted(len(bad), 'file')} failed ({listed(bad)})"] if bad else []
    if slow:
        files = list(dict.fromkeys(one["file"] for one in slow))
        parts.append(f"{counted(sum(one['count'] for one in slow), 'operator')} in {listed(files)}")
    lost = lost_devices(report)
    lacking = [
        figures.name_of(one)
        for one in report["files"]
        if one.get("status", "exported") == "exported" and lacks(one, without=lost)
    ]
    if lacking:
        parts.append(f"figures of {counted(len(lacking), 'file')} not measured ({listed(lacking)})")
    if lost:
        parts.append(f"could not be used: {', '.join(lost)}")
    value = counted(len({*bad, *lacking, *(one["file"] for one in slow)}), "file") if parts else "nothing"
    return _tile("Fell back, failed or missing", value, "; ".join(parts) or "every file runs as intended")


def _networks(report: Report) -> Iterator[dict[str, str]]:
    models: Mapping[str, Any] = report["models"]
    student, alone = (models.get(name) for name in ("student_float", "student_labels_only"))
    for name, model in models_of(report):
        if name.startswith("teacher"):
            parameters = model["parameters"]
            note = (
                model.get("network", "") if parameters is None else f"{figures.count(parameters)} parameters"
            )
            title = name.replace("_", " ").capitalize()
            yield _tile(title, *_share(model["top1"], note))
    if student:
        gain = figures.drop_pp(student["top1"], alone["top1"]) if alone else None
        note = f"{figures.count(student['parameters'])} parameters"
        if gain is not None:
            note = f"{gain:+.1f} points over labels alone"
        yield _tile("Student, float", *_share(student["top1"], note))


def _share(top1: Any, note: str) -> tuple[str, str]:
    """Top-1, or its mean over label columns, and the note."""
    if isinstance(top1, Mapping):
        note = f"mean of {counted(len(top1), 'label column')}; {note}"
    return figures.percent(mean_share(top1)), note


def _operations(report: Report) -> dict[str, str] | None:
    """Operations of the exported student, relative to the unpruned one."""
    student = report["models"]["student_float"]
    built = next((stage["before"]["macs"] for stage in report["stages"] if stage["before"].get("macs")), None)
    if student is None or not student["macs"]:
        return None
    change = f", {100 * (student['macs'] / built - 1):+.0f} %" if built and built != student["macs"] else ""
    return _tile("Operations", f"{figures.count(student['macs'])} MAC", f"per clip{change}".replace("-", "−"))
