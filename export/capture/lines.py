"""Finds the line of the user's own code that is running."""

from __future__ import annotations

import sys
from pathlib import Path

from compress.command.lines import is_library, shown_line

_PACKAGE = Path(__file__).resolve().parents[1]


def running_line() -> str | None:
    """The innermost line of the user's code that is running, in the form of `shown_line`, or `None`."""
    frame = sys._getframe(1)
    is_begun = False
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if not file.startswith("<") and not is_library(file):
            return shown_line(file, frame.f_lineno)
        if Path(file).is_relative_to(_PACKAGE):
            # The stack holds the caller of this function, then the network, then the network's caller.
            if is_begun and not name.startswith("__torch"):
                return None
        else:
            is_begun = True
        frame = frame.f_back  # type: ignore[assignment]
    return None
