"""What an exception says in a sentence: the first line of its message, and the user's line that it came from."""

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
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def line_of(error: BaseException) -> str | None:
    """The innermost line of the user's code that `error` passed through, as `shown_line` has it.

    Where there is none, the innermost one of an installed package but torch, `None` where there is neither.
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
    """The line of `line_of` as the end of a sentence; nothing where there is none."""
    line = line_of(error)
    return f" ({line})" if line else ""


def is_library(file: str) -> bool:
    """Whether code in `file` is torch's, another package's, Python's, or of ours what stands around networks.

    Networks of ours count as the user's.
    """
    return _libraries().search(file) is not None


def shown_line(file: str, line: int, code: str | None = None) -> str:
    """`file:line` and the code of a line.

    The file is relative to the working directory, or its bare name outside of it: what says it may travel.
    """
    code = code or linecache.getline(file, line).strip()
    here = Path(file).is_relative_to(Path.cwd())
    shown = Path(file).relative_to(Path.cwd()).as_posix() if here else Path(file).name
    return f"{shown}:{line} `{code}`" if code else f"{shown}:{line}"


@cache
def _libraries() -> re.Pattern[str]:
    """What stands in the path of code that is not the user's own."""
    folders = [sysconfig.get_paths()["stdlib"], *(str(_CHECKOUT / name) for name in ("export", "compress"))]
    torch = importlib.util.find_spec("torch")  # which does not import it
    if torch is not None and torch.origin:
        folders.append(str(Path(torch.origin).parent))
    return re.compile(
        "|".join([r"[\\/](site|dist)-packages[\\/]", *(re.escape(f"{folder}{os.sep}") for folder in folders)])
    )


def _is_foreign(file: str) -> bool:
    parts = Path(file).parts
    return "site-packages" in parts and "torch" not in parts
