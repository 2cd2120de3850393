"""Environment of a report, and how to reproduce it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from compress import figures
from compress.report.files import descriptions
from compress.report.wording import in_words
from compress.report_shape import Report

_DEVICES = ("device", "further_devices")


def environment(report: Report) -> list[dict[str, Any]]:
    """Groups of facts: the software, the packages, and every device."""
    given = report["environment"]
    software = {key: value for key, value in given.items() if key not in (*_DEVICES, "packages")}
    groups = [
        {"title": "Software", "facts": _facts(software), "reason": ""},
        {"title": "Packages", "facts": _facts(given.get("packages", {}), plain=True), "reason": ""},
    ]
    for name, description in descriptions(report).items():
        reason = "" if description is not None else f"could not be used: {_reason(report, name)}"
        facts = {key: value for key, value in (description or {}).items() if key != "name"}
        groups.append({"title": f"Device {name}", "facts": _facts(facts), "reason": reason})
    return [group for group in groups if group["facts"] or group["reason"]]


def _reason(report: Report, device: str) -> str:
    """The reason of most of its files; others may have one of their own."""
    rows = (row for file in report["files"] for row in file["latency"] if row["device"] == device)
    reasons = Counter(row["reason"] for row in rows if "reason" in row)
    return reasons.most_common(1)[0][0] if reasons else "no reason given"


def _facts(values: Mapping[str, Any], *, plain: bool = False) -> list[tuple[str, str]]:
    return [(key if plain else in_words(key), shown(key, value)) for key, value in values.items()]


def shown(name: str, value: Any) -> str:
    """A value of the environment as text, however it is nested."""
    if isinstance(value, Mapping):
        return ", ".join(f"{in_words(key)} {shown(key, one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(name, one) for one in value) or "none"
    if value is None:
        return "unknown"
    if name.endswith("_bytes"):
        return figures.size(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)
