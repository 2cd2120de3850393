"""The table of sources of clips. A new one is a file here and one line."""

from __future__ import annotations

from compress.sources.folder import FOLDER
from compress.sources.manifest import MANIFEST
from compress.sources.source import Source
from compress.sources.synthetic import SYNTHETIC

SOURCES: dict[str, Source] = {
    "synthetic": SYNTHETIC,
    "manifest": MANIFEST,
    "folder": FOLDER,
}
