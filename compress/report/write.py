"""Writes a report as JSON for tools, Markdown for reviews, and a self-contained HTML page."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compress.report.markdown import code, escaped, fenced
from compress.report.page import page
from compress.report.wording import short
from compress.report_shape import Report
from compress.store import write_atomic


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample image for the page, as PNG."""

    png: bytes
    caption: str


LONGEST_MARKDOWN = 65_000
"""Characters of `report.md`: a comment or check of GitHub has at most 65,536."""
_ROOM_TO_SAY_SO = 600


def write_report(
    report: Report,
    folder: Path,
    *,
    samples: Sequence[Sample] = (),
    pictures: Mapping[int, bytes] | None = None,
) -> None:
    """Writes `report.json`, `report.md` and `report.html` into `folder`, each atomically.

    `pictures` are JPEG images of test clips, by their number in `predictions`.

    Numbers that JSON does not support (NaN, infinity) become null and are listed in `notes`.
    """
    report = _finite_report(report)
    data = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "report.json", f"{data}\n")
    content = {
        **page(report),
        "recipe": yaml.safe_dump(report["recipe"], sort_keys=False, allow_unicode=True),
        "samples": [{"uri": _uri(one.png, "png"), "caption": short(one.caption, 300)} for one in samples],
        "pictures": {number: _uri(one, "jpeg") for number, one in (pictures or {}).items()},
    }
    write_atomic(folder / "report.md", fitted(render("report.md", content)))
    write_atomic(folder / "report.html", render("report.html", content))


def render(name: str, content: Mapping[str, Any]) -> str:
    """The template `name`, Markdown or HTML, with all text of `content` escaped."""
    is_markdown = name.endswith(".md")
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
    return environment.get_template(f"{name}.j2").render(content)


def fitted(markdown: str) -> str:
    """Markdown of at most `LONGEST_MARKDOWN` characters: sections that do not fit are left out, and named."""
    if len(markdown) <= LONGEST_MARKDOWN:
        return markdown
    kept, *sections = re.split(r"(?m)^(?=## )", markdown)
    left_out = []
    for section in sections:
        if len(kept) + len(section) + _ROOM_TO_SAY_SO > LONGEST_MARKDOWN:
            left_out.append(_heading(section))
        else:
            kept += section
    said = (
        f"## Left out\n\nThese sections would exceed {LONGEST_MARKDOWN} characters and are in report.html: "
    )
    return f"{kept}{said}{', '.join(left_out)}.\n"


def _heading(section: str) -> str:
    return section.partition("\n")[0].removeprefix("## ")


def _uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


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
