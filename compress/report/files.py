"""The displayed figures of exported files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compress import figures
from compress.report.headline import TAGS
from compress.report.significance import LEVEL
from compress.report.wording import counted, mean_share, of_label, short, significance
from compress.report_shape import CoverageReport, FileReport, LatencyReport, PairedReport, Report


def file_row(file: FileReport, report: Report) -> dict[str, Any]:
    """The displayed figures of one file."""
    accuracy, parity = file["accuracy"], file["parity"]
    student = report["models"]["student_float"]
    drop: Any = None if student is None else _by_label(figures.drop_pp, student["top1"], accuracy["top1"])
    return {
        "name": figures.name_of(file),
        "format": file["format"],
        "scheme": file["scheme"],
        "path": file["path"] or "",
        "runtime": accuracy["runtime"] or "",
        "tag": TAGS.get(file.get("status", ""), ""),
        "reason": file.get("reason") or "",
        "size": figures.size(file["size_bytes"]),
        "clips": accuracy["clips"],
        "covered": covered(file.get("coverage")),
        **_summary(list(_columns(accuracy, parity, drop))),
        "latency": [latency_row(row, report) for row in file["latency"]],
        "step": _step(file.get("step")),
        "notes": file.get("notes", []),
    }


def covered(coverage: CoverageReport | None) -> dict[str, str]:
    """Share of the multiply-adds in fast kernels, and in how many parts."""
    if coverage is None:
        return {"share": "not determined", "parts": ""}
    outside = sum(1 for one in coverage["left"] if one["macs"])
    parts = [] if coverage["partitions"] is None else [counted(coverage["partitions"], "part")]
    parts += [f"{counted(outside, 'operator')} outside"] if outside else []
    return {"share": share_covered(coverage["share"]), "parts": ", ".join(parts)}


def share_covered(share: float) -> str:
    """A share of multiply-adds in percent; less than all of them never appears as 100 %."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def paired_words(paired: PairedReport | None) -> str:
    """Whether a change is significant."""
    if paired is None:
        return ""
    low, high = (figures.points(-end) for end in paired["ci95_pp"])
    return f"{low} to {high}; {verdict(paired)}"


def verdict(paired: PairedReport) -> str:
    """`worse (p 0.003)`, `better (p 0.01)` or `not significant (p 0.69)`."""
    if paired["lost"] == paired["won"] == 0:
        return "no clip differs"
    if paired["p"] >= LEVEL:
        return f"not significant ({significance(paired['p'])})"
    return f"{'worse' if paired['change_pp'] < 0 else 'better'} ({significance(paired['p'])})"


def disturbed(row: LatencyReport, description: Mapping[str, Any] | None) -> str:
    """A warning if the machine was busy while the latency was measured; else empty."""
    signs = []
    load, cores = (description or {}).get("load_1min"), (description or {}).get("cores")
    if load is not None and cores and load > 1.5 * cores:
        signs.append(f"load average {load:.1f} on {counted(cores, 'core')}")
    if row["p50_ms"] and row["p90_ms"] and row["p90_ms"] > 1.5 * row["p50_ms"]:
        signs.append(f"p90 is {row['p90_ms'] / row['p50_ms']:.1f} times the median")
    return f"busy machine: {', '.join(signs)}" if signs else ""


def descriptions(report: Report) -> dict[str, Mapping[str, Any] | None]:
    """The description of every device by name; None for one that could not be used."""
    environment = report["environment"]
    if "device" not in environment:
        return {}
    first = environment["device"]
    rows = [row["device"] for file in report["files"] for row in file["latency"]]
    further = environment.get("further_devices", {})
    name = (first or {}).get("name") or next((one for one in rows if one not in further), None)
    return {**({name: first} if name else {}), **further}


def latency_row(row: LatencyReport, report: Report) -> dict[str, Any]:
    """The displayed latency of one file on one device."""
    interval = row.get("p50_ci95_ms")
    return {
        "device": row["device"],
        "threads": counted(row["threads"], "thread"),
        "measured": row["p50_ms"] is not None,
        "p50": figures.milliseconds(row["p50_ms"]),
        "p90": figures.milliseconds(row["p90_ms"]),
        "p99": figures.milliseconds(row["p99_ms"]),
        "interval": ""
        if not interval
        else " to ".join(figures.milliseconds(end).removesuffix(" ms") for end in interval),
        "rounds": row.get("rounds", ""),
        "memory": figures.size(row["peak_rss_bytes"]),
        "speed": _speed(row),
        "times": _times(row),
        "busy": disturbed(row, descriptions(report).get(row["device"])) if row["p50_ms"] is not None else "",
        "reason": row.get("reason", ""),
    }


def accuracy_rows(report: Report) -> list[dict[str, Any]]:
    """Top-1 and change of every file on every device in every label column.

    Empty if the table of files has all of them.
    """
    student = report["models"]["student_float"]
    rows: list[dict[str, Any]] = []
    for file in report["files"]:
        places = [(_first_device(file), file["accuracy"], file["parity"])]
        places += [(one["device"], one["accuracy"], one["parity"]) for one in file.get("elsewhere", [])]
        for device, accuracy, parity in places:
            if accuracy["top1"] is None:
                continue
            drop = None if student is None else _by_label(figures.drop_pp, student["top1"], accuracy["top1"])
            rows += [
                {"name": figures.name_of(file), "device": device, **one}
                for one in _columns(accuracy, parity, drop)
            ]
    shown = sum(file["accuracy"]["top1"] is not None for file in report["files"])
    return rows if len(rows) > shown else []


def _first_device(file: FileReport) -> str:
    elsewhere = [one["device"] for one in file.get("elsewhere", [])]
    return next((row["device"] for row in file["latency"] if row["device"] not in elsewhere), "")


def _summary(columns: list[dict[str, Any]]) -> dict[str, str]:
    """Figures of one label column; of several, the mean of top-1 and the column with the largest drop."""
    worst = min(columns, key=lambda one: one["change_pp"])
    least = min(columns, key=lambda one: one["agreeing"])
    several = len(columns) > 1
    return {
        "top1": figures.percent(mean_share({one["label"]: one["share"] for one in columns})),
        "interval": f"mean of {len(columns)} label columns" if several else worst["interval"],
        "change": worst["change"],
        "paired": f"{worst['label']}: {worst['paired']}".removesuffix(": ") if several else worst["paired"],
        "agreement": least["agreement"],
        "agreement_of": f"lowest, of {least['label']}" if several else "",
    }


def _columns(accuracy: Mapping[str, Any], parity: Mapping[str, Any], drop: Any) -> Iterator[dict[str, Any]]:
    """Top-1, change and agreement of each label column."""
    top1, paired = accuracy["top1"], accuracy.get("paired", {})
    for label in top1 if isinstance(top1, Mapping) else [""]:
        one = paired.get(label) if label else next(iter(paired.values()), None)
        yield {
            "label": short(label, 24) if label else "",
            "share": of_label(top1, label),
            "change_pp": -(of_label(drop, label) or 0.0),
            "agreeing": of_label(parity["top1_agreement"], label) or 0.0,
            "top1": figures.percent(of_label(top1, label)),
            "interval": figures.interval(of_label(accuracy["ci95"], label)),
            "change": figures.points(of_label(drop, label)),
            "paired": paired_words(one),
            "counts": "" if one is None else f"{one['lost']} lost, {one['won']} won",
            "agreement": figures.percent(of_label(parity["top1_agreement"], label)),
        }


def _step(step: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The step program of a streaming student."""
    if step is None:
        return None
    ends, speedup = step["speedup_ci95"], step["speedup"]
    interval = "" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]"
    return {
        "size": "in the same file" if step["size_bytes"] is None else figures.size(step["size_bytes"]),
        "p50": figures.milliseconds(step["p50_ms"]),
        "speedup": "" if speedup is None else f"{speedup:.1f}x as fast as the clip{interval}",
        "covered": covered(step["coverage"])["share"],
        "reason": step.get("reason", ""),
    }


def _times(row: LatencyReport) -> str:
    """Speedup of a file over the fp32 file of its format: `1.42x`."""
    slower = row.get("ratio_to_fp32")
    return "" if slower is None else f"{1 / slower:.2f}x"


def _speed(row: LatencyReport) -> str:
    """The speedup with its interval: `1.42x as fast as fp32 [1.40, 1.45]`."""
    ends = row.get("ratio_to_fp32_ci95")
    interval = "" if ends is None else f" [{1 / ends[1]:.2f}, {1 / ends[0]:.2f}]"
    return f"{_times(row)} as fast as fp32{interval}" if _times(row) else ""


def _by_label(function: Any, before: Any, after: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {label: function(before.get(label), one) for label, one in after.items()}
    return function(before, after)
