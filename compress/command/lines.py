"""Summarises an exception: the first line of its message, and the line of user code that raised it."""

from __future__ import annotations

import importlib.util
import linecache
import os
import re
import sysconfig
import traceback
from functools import cache
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def line_of(error: BaseException) -> str | None:
    """The innermost line of user code in the traceback of `error`, formatted by `shown_line`.

    If there is none, the innermost line of an installed package other than torch; else `None`.
    """
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    own = [frame for frame in frames if not is_library(frame.filename)]
    foreign = [frame for frame in frames if _is_foreign(frame.filename)]
    for found in (own, foreign):
        if found:
            return shown_line(found[-1].filename, found[-1].lineno or 0, found[-1].line)
    return None


def at_line(error: BaseException) -> str:
    """The line of `line_of` in parentheses; empty if there is none."""
    line = line_of(error)
    return f" ({line})" if line else ""


def is_library(file: str) -> bool:
    """Whether `file` belongs to torch, another package, Python, or Pocketreel apart from its networks.

    Networks of Pocketreel count as user code.
    """
    return _libraries().search(file) is not None


def shown_line(file: str, line: int, code: str | None = None) -> str:
    """`file:line` and the code of a line.

    The file is relative to the working directory, or its bare name outside of it, so that messages reveal no paths.
    """
    code = code or linecache.getline(file, line).strip()
    here = Path(file).is_relative_to(Path.cwd())
    shown = Path(file).relative_to(Path.cwd()).as_posix() if here else Path(file).name
    return f"{shown}:{line} `{code}`" if code else f"{shown}:{line}"


@cache
def _libraries() -> re.Pattern[str]:
    """Pattern of paths of code that is not user code."""
    folders = [sysconfig.get_paths()["stdlib"], *(str(_CHECKOUT / name) for name in ("export", "compress"))]
    torch = importlib.util.find_spec("torch")  # does not import it
    if torch is not None and torch.origin:
        folders.append(str(Path(torch.origin).parent))
    return re.compile(
        "|".join([r"[\\/](site|dist)-packages[\\/]", *(re.escape(f"{folder}{os.sep}") for folder in folders)])
    )


def _is_foreign(file: str) -> bool:
    parts = Path(file).parts
    return "site-packages" in parts and "torch" not in parts
