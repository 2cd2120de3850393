"""Reads `report.json` of this and earlier versions, for tools that compare reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from compress.gates import renamed
from compress.report_shape import SCHEMA_VERSION, Report


def read_report(path: Path) -> Report:
    """Reads a report and converts it to the current schema; `docs/report.md` lists the changes.

    Raises FileNotFoundError, and ValueError for a file that is not a report, or of a later version.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error})") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version not in range(1, SCHEMA_VERSION + 1):
        raise ValueError(
            f"{path}: schema_version is {version!r}; this version of Pocketreel reads 1 to {SCHEMA_VERSION}"
        )
    return current(report)


def current(report: Mapping[str, Any]) -> Report:
    """Converts a report of an earlier schema to the current one."""
    if report["schema_version"] == SCHEMA_VERSION:
        return cast(Report, report)
    files = report["artifacts"]
    schemes = {file["format"]: file["scheme"] for file in files}

    def name(old: str) -> str:
        return f"{old}.{schemes[old]}" if old in schemes else old

    def metric(old: str) -> str:
        scheme = schemes.get(old.split(".")[1], "*")
        return renamed(old, scheme=scheme, device="host") or old

    robustness = report.get("robustness")
    if robustness is not None:
        robustness = {
            **robustness,
            "rows": [{**row, "name": name(row["name"])} for row in robustness["rows"]],
        }
    warnings = [
        {**one, "path": f"files.{name(one['path'].removeprefix('artifacts.'))}"}
        if one["path"].startswith("artifacts.")
        else one
        for one in report.get("warnings", [])
    ]
    rest = {key: value for key, value in report.items() if key != "artifacts"}
    changed = {
        "schema_version": SCHEMA_VERSION,
        "files": files,
        "gates": [{**gate, "metric": metric(gate["metric"])} for gate in report.get("gates", [])],
        "robustness": robustness,
        "warnings": warnings,
    }
    return cast(Report, {**rest, **changed})
