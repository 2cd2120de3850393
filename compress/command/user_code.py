"""Runs user code: everything that it raises, also `sys.exit(0)`, becomes an error with a message.

In a command, it runs in a process that `compress.command.supervise` watches. If it crashes, hangs or uses too much
memory, the command ends with a message that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from compress.command import interrupts, supervise
from compress.command.lifetime import memory_limit_bytes
from compress.command.lines import at_line, first_line

TIME_LIMIT_S = 600.0
"""Time limit for importing user code, building a network or one forward pass."""

_BEYOND_GB = 1e9
"""More memory than any machine has: no limit."""

MemoryOption = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0.1,
        help="Memory limit of the process while it runs your own code.",
        show_default="three quarters of the machine's",
    ),
]
"""The option `--user-code-memory` of commands that run user code."""


class UserCodeFailed(ValueError):
    """User code raised a `BaseException` other than `Exception`, as `sys.exit()` does."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits for user code; `None` for no limit. They apply only to a supervised process."""

    seconds: float | None = TIME_LIMIT_S
    bytes: int | None = None
    """Memory of the process and its descendants; `None` means three quarters of the machine's memory."""


limits = Limits()
"""Limits of this process; a command sets them by `set_limits`."""


def set_limits(*, seconds: float | None, gigabytes: float | None) -> None:
    """Sets the limits for user code in this process; `None` for the default."""
    global limits
    limits = Limits(
        seconds=TIME_LIMIT_S if seconds is None else seconds,
        bytes=None if gigabytes is None else int(min(gigabytes, _BEYOND_GB) * 1e9),
    )


@contextmanager
def user_code(doing: str, *, timed: bool = True) -> Iterator[None]:
    """Context for running user code; `doing` describes it: `calling my_net.py:make_net`.

    Exceptions pass. SystemExit, GeneratorExit, a KeyboardInterrupt without Ctrl-C and other BaseExceptions become
    `UserCodeFailed` with the line that raised it. `timed=False` disables the time limit, such as for an epoch.
    """
    seconds = limits.seconds if timed else None
    memory = (limits.bytes or memory_limit_bytes()) if timed and supervise.is_supervised() else None
    with interrupts.watched(), supervise.phase(doing, seconds=seconds, memory_bytes=memory):
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interrupts.stop_requested():
                raise
            raise UserCodeFailed(f"{doing} raised {_raised(error)}{at_line(error)}") from error


def _raised(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"SystemExit({error.code!r}), as sys.exit() does"
    return type(error).__name__ + (f": {first_line(error)}" if str(error).strip() else "")
