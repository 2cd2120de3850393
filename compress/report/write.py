"""Writes a report as JSON for tools, Markdown for reviews, and a self-contained HTML page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compress.report.markdown import code, escaped, fenced
from compress.report.page import page
from compress.report_shape import Report
from compress.store import write_atomic


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample image for the page, as PNG."""

    png: bytes
    caption: str


def write_report(report: Report, folder: Path, *, samples: Sequence[Sample] = ()) -> None:
    """Writes `report.json`, `report.md` and `report.html` into `folder`, each atomically.

    Numbers that JSON does not support (NaN, infinity) become null and are listed in `notes`.
    """
    report = _finite_report(report)
    data = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "report.json", f"{data}\n")
    content = {**page(report), "recipe": yaml.safe_dump(report["recipe"], sort_keys=False)}
    pictures = [
        {"uri": "data:image/png;base64," + base64.b64encode(one.png).decode(), "caption": one.caption}
        for one in samples
    ]
    for name in ("report.md", "report.html"):
        is_markdown = name == "report.md"
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=not is_markdown,
            finalize=escaped if is_markdown else None,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(code=code, fenced=fenced)
        text = environment.get_template(f"{name}.j2").render(content, samples=pictures)
        write_atomic(folder / name, text)


def _finite_report(report: Report) -> Report:
    """The report without NaN and infinity, which are listed in `notes`."""
    replaced: list[str] = []

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(one, f"{path}.{key}" if path else str(key)) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [walk(one, f"{path}.{index}") for index, one in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            replaced.append(f"{path} was {value} and is written as null.")
            return None
        # Paths may contain bytes that are not valid text.
        return (
            value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if isinstance(value, str)
            else value
        )

    clean = walk(report, "")
    if replaced:
        clean["notes"] = [*clean.get("notes", []), *replaced]
    return cast(Report, clean)
