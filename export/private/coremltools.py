"""Insides of coremltools: which libraries its import loads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

WRITTEN_FOR = {"coremltools": "9.0"}

OTHERS = ("tensorflow", "executorch")
"""What it would import for other sources of programs: seconds and memory. It goes on without them."""


@contextmanager
def without_others() -> Iterator[None]:
    """While it lasts, `import coremltools` takes the libraries `OTHERS` for not installed, unless they are loaded.

    There is no setting for that.
    """
    hidden = [name for name in OTHERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
