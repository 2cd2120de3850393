"""Runs code that users brought: whatever it raises becomes an error with a sentence, `sys.exit(0)` too.

In a command it runs in a process that `compress.command.supervise` watches, which is told here what goes on: where
it crashes, does not end or takes too much memory, the command ends with a sentence that names it.
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
"""How long a user's code may take to be imported, to build a network or to answer once."""

_BEYOND_GB = 1e9
"""More memory than any machine has, which is no limit."""

MemoryOption = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0.1,
        help="Most memory that the process may hold while it runs your own code.",
        show_default="three quarters of the machine's",
    ),
]
"""`--user-code-memory` of the commands that run a user's code."""


class UserCodeFailed(ValueError):
    """Code of the user's raised something that is no `Exception`, such as what `sys.exit()` raises."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a user's code may take; `None` for no limit. Only a supervised process is held to it."""

    seconds: float | None = TIME_LIMIT_S
    bytes: int | None = None
    """Memory of the whole process with all that it started; three quarters of the machine's where it is `None`."""


limits = Limits()
"""Those of this process; a command sets them by `set_limits`."""


def set_limits(*, seconds: float | None, gigabytes: float | None) -> None:
    """Holds the user's code in this process to these limits from now on; `None` for the default."""
    global limits
    limits = Limits(
        seconds=TIME_LIMIT_S if seconds is None else seconds,
        bytes=None if gigabytes is None else int(min(gigabytes, _BEYOND_GB) * 1e9),
    )


@contextmanager
def user_code(doing: str, *, timed: bool = True) -> Iterator[None]:
    """What runs inside is the user's, and `doing` says what it is: `calling my_net.py:make_net`.

    Exceptions pass. Whatever else it raises, SystemExit, GeneratorExit, a KeyboardInterrupt without Ctrl-C, or
    another BaseException, becomes `UserCodeFailed` with the line that raised it. `timed` is false for what may take
    as much as it takes, such as an epoch.
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
