"""Reads pinned forms: the choices of an earlier export, taken again without a measurement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.choice import STEP
from export.targets import FORMS


def read_pins(path: Path) -> dict[str, str]:
    """The form by file (`onnx.fp32`, `onnx.fp32.step`) from the `manifest.json` of an export, or from a JSON file
    `{"forms": {"onnx.fp32": "per-frame"}}`.

    Raises FileNotFoundError, and ValueError for a file without pins and for an unknown form.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give the manifest.json of an export, or a file with the key forms"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); give the manifest.json of an export") from None
    found = _forms(content)
    if not found:
        raise ValueError(
            f"{path}: pins no form; give the manifest.json of an export whose files have a `form`, or a file such "
            'as {"forms": {"onnx.fp32": "per-frame"}}'
        )
    for file, form in found.items():
        if form not in FORMS:
            raise ValueError(f"{path}: form {form!r} of {file} is unknown; allowed: {', '.join(FORMS)}")
    return found


def _forms(content: Any) -> dict[str, Any]:
    """The pins of a manifest or of a file of forms; empty if there are none."""
    if not isinstance(content, Mapping):
        return {}
    if isinstance(content.get("forms"), Mapping):
        return dict(content["forms"])
    found: dict[str, Any] = {}
    rows = content.get("files")
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, Mapping):
            continue
        for end, part in (("", row), (f".{STEP}", row.get("step"))):
            form = part.get("form") if isinstance(part, Mapping) else None
            if isinstance(form, Mapping):
                found[f"{row.get('format')}.{row.get('scheme')}{end}"] = form.get("name")
    return found
