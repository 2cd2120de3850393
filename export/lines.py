"""The user's own line of code: the one that is being run, and the one that an exception came from."""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path

from export.lower.source import is_library

_PACKAGE = Path(__file__).resolve().parent


def running_line() -> str | None:
    """The innermost line of the user's code that is being run as `file:line` and the code, or `None`.

    The file is relative to the working directory, or its bare name outside of it: what says it may travel.
    """
    frame = sys._getframe(1)
    is_begun = False
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if _is_own(file):
            return _said(file, frame.f_lineno, None)
        if Path(file).is_relative_to(_PACKAGE):
            # Behind what asks stands the network, and behind that what calls the network.
            if is_begun and not name.startswith("__torch"):
                return None
        else:
            is_begun = True
        frame = frame.f_back  # type: ignore[assignment]
    return None


def line_of(error: BaseException) -> str | None:
    """The innermost line of the user's code that `error` passed through, as `running_line` has it.

    Where there is none, the innermost one of an installed package but torch, `None` where there is neither.
    """
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    own = [frame for frame in frames if _is_own(frame.filename)]
    foreign = [frame for frame in frames if _is_foreign(frame.filename)]
    for found in (own, foreign):
        if found:
            return _said(found[-1].filename, found[-1].lineno or 0, found[-1].line)
    return None


def _is_own(file: str) -> bool:
    return not file.startswith("<") and not is_library(file)


def _is_foreign(file: str) -> bool:
    parts = Path(file).parts
    return "site-packages" in parts and "torch" not in parts


def _said(file: str, line: int, code: str | None) -> str:
    code = code or linecache.getline(file, line).strip()
    here = Path(file).is_relative_to(Path.cwd())
    shown = Path(file).relative_to(Path.cwd()).as_posix() if here else Path(file).name
    return f"{shown}:{line} `{code}`" if code else f"{shown}:{line}"
