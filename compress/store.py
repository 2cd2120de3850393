"""Keys of results on disk: hashes of everything that determines them."""

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
    """Hash of plain data, the source code of the result, and the versions of the training packages.

    `code` are the modules that compute it, including their imports (`compress.folders.source`). Modules `alone`
    count without their imports: steps that import all others through the recipe and its tables.
    """
    source = source_hashes(*code, alone=alone)
    return Key.of({**parts, "source": source, "versions": installed(TRAINING)})
