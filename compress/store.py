"""Results on disk: found again by a hash of all that can change them, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compress.folders.keys import Key
from compress.folders.locks import one_at_a_time
from compress.folders.results import Stored, stored
from compress.folders.source import source_hashes
from compress.folders.writing import write_atomic
from compress.versions import TRAINING, installed

__all__ = ["Stored", "content_key", "one_at_a_time", "stored", "write_atomic"]


def content_key(*, code: Iterable[str], alone: Iterable[str] = (), **parts: Any) -> Key:
    """Hash of plain data, the source that makes the result, and the versions of what networks are made with.

    `code` are the modules that make it; those that they import count with them (`compress.folders.source`). Modules
    `alone` count without: a step that reaches every other through the recipe and its tables.
    """
    source = source_hashes(*code, alone=alone)
    return Key.of({**parts, "source": source, "versions": installed(TRAINING)})
