"""How the user started this command: its name in messages, and the command line to repeat it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A command that `compress.cli` starts under another name."""

    words: tuple[str, ...]
    """The part of the command line before the arguments: `("pocketreel", "plan")`."""
    implied: tuple[str, ...] = ()
    """Options implied by the name, hidden in the help of the command."""
    help: str | None = None
    """Replaces the command's own help text."""

    @property
    def program(self) -> str:
        """The name in usage lines and errors."""
        return shlex.join(self.words)


_invocation: Invocation | None = None


def started_as(invocation: Invocation) -> None:
    """Sets the name of this process to `invocation`."""
    global _invocation
    _invocation = invocation


def invocation() -> Invocation | None:
    """The invocation of this process; `None` for a module run by `python -m`."""
    return _invocation


def typed_again(*, without: Collection[str] = ()) -> str:
    """The command line that repeats this command, for a shell, without the options `without`."""
    if _invocation is None:
        arguments = sys.argv[1:]
        start = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
    else:
        start, arguments = list(_invocation.words), _typed_arguments(_invocation)
    return shlex.join([*start, *(word for word in arguments if word not in without)])


def _typed_arguments(invocation: Invocation) -> list[str]:
    """Arguments of this process without the implied ones, which come first."""
    return sys.argv[1 + len(invocation.implied) :]
