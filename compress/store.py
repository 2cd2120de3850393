"""Results on disk: found again by a hash of all that can change them, written whole or not at all."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from compress.folders.keys import Key
from compress.folders.locks import one_at_a_time
from compress.folders.results import Stored, stored
from compress.folders.writing import write_atomic
from compress.versions import TRAINING, installed

__all__ = ["Stored", "content_key", "one_at_a_time", "source_digest", "stored", "write_atomic"]


def content_key(**parts: Any) -> Key:
    """Hash of plain data, this project's source and the versions of what networks are made with."""
    return Key.of({**parts, "source": source_digest(), "versions": installed(TRAINING)})


@cache
def source_digest() -> str:
    """Hash over the source of the packages that make results, so that changed code never meets old results."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("models", "compress", "export", "benchmarks"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
