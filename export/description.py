"""Describes for app developers how to prepare the inputs of a file and how to read its outputs, as data and
text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.preparation import prepare_audio, prepare_clip, prepare_text
from models.spec import ClipSpec

SCHEMA_VERSION = 1
"""Version of `manifest.json` and `model.json`; see `docs/export-manifest.md`."""


def describe(spec: ClipSpec, *, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing of every input, meaning of the outputs and origin of the file, as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": dict(provenance),
        "clip": None if spec.video is None else prepare_clip(spec.video),
        "audio": None if spec.audio is None else prepare_audio(spec.audio),
        "text": None if spec.text is None else prepare_text(spec.text),
        "labels": [{"name": label.name, "classes": list(label.classes)} for label in spec.labels],
        "spec": spec.to_dict(),
    }


def describe_network(*, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields for a network of which only the shapes of inputs and outputs are known."""
    unknown: dict[str, Any] = {"clip": None, "audio": None, "text": None, "labels": [], "spec": None}
    return {"schema_version": SCHEMA_VERSION, "provenance": dict(provenance), **unknown}
