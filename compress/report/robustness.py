"""The robustness table of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress import figures
from compress.report.wording import short
from compress.report_shape import Report


def robustness_table(report: Report, titles: Mapping[str, str]) -> dict[str, Any] | None:
    """One row per network and file (and label column, if there are several), one cell per corruption."""
    found = report.get("robustness")
    if found is None:
        return None
    several = len({row["label"] for row in found["rows"]}) > 1
    rows = []
    for row in found["rows"]:
        title = titles.get(row["name"], row["name"])
        cells = [
            "unaffected"
            if name in row.get("unaffected", ())
            else " / ".join(f"{100 * share:.1f}" for share in row.get("corrupted", {}).get(name, ()))
            or figures.NOT_MEASURED
            for name in found["corruptions"]
        ]
        rows.append(
            {
                "title": f"{title}, {short(row['label'])}" if several else title,
                "clean": figures.percent(row["clean"]),
                "mean": figures.percent(row["mean"]),
                "cells": cells,
                "reason": row.get("reason", ""),
            }
        )
    return {
        "clips": found["clips"],
        "severities": ", ".join(map(str, found["severities"])),
        "corruptions": [name.replace("_", " ") for name in found["corruptions"]],
        "rows": rows,
    }
