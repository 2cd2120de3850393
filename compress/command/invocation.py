"""How the user started this command: its name in messages, and the line that starts it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A command that `compress.cli` starts under a name of its own."""

    words: tuple[str, ...]
    """What the user typed before the arguments: `("pocketreel", "plan")`."""
    implied: tuple[str, ...] = ()
    """Options that the name stands for; the help of the command leaves them out."""
    help: str | None = None
    """Replaces the command's own help text."""

    @property
    def program(self) -> str:
        """The name in usage lines and errors."""
        return shlex.join(self.words)


_invocation: Invocation | None = None


def started_as(invocation: Invocation) -> None:
    """Has this process name itself by `invocation`."""
    global _invocation
    _invocation = invocation


def invocation() -> Invocation | None:
    """The name under which the command was started; `None` for a module that Python runs itself."""
    return _invocation


def typed_again(*, without: Collection[str] = ()) -> str:
    """The command line that starts this command again, for a shell; the options `without` are left out of it."""
    if _invocation is None:
        arguments = sys.argv[1:]
        start = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
    else:
        start, arguments = list(_invocation.words), _typed_arguments(_invocation)
    return shlex.join([*start, *(word for word in arguments if word not in without)])


def _typed_arguments(invocation: Invocation) -> list[str]:
    """Arguments of this process but for those that its name stands for, which come first."""
    return sys.argv[1 + len(invocation.implied) :]
