"""The ground floor of every command: exit codes, the guard around it, terminals, limits on processes.

Imports the standard library, typer, rich and psutil alone, and nothing of ours, so that every package may import it
and a command answers a wrong argument before it loads anything large.
"""

import os
import signal

OK = 0
GATE_FAILED = 1
"""A gate of a recipe, or a line or figure of a table that has to hold, does not."""
USAGE = 2
"""The recipe or an argument is wrong; what a user's own module raises while it is loaded counts as that."""
FAILED = 3
"""A stage, a backend or the user's code failed, or the machine ran out of something."""
UNEXPECTED = 70
"""An error that the project did not foresee (`EX_SOFTWARE` of sysexits.h); its traceback is in a file."""
INTERRUPTED = 130
"""Stopped by Ctrl-C, SIGTERM or SIGHUP."""

SUPERVISED = "POCKETREEL_SUPERVISED"
"""Environment variable by which the process that works (`compress.command.supervise`) knows that it is that."""


def names(option: str | None) -> list[str] | None:
    """What an option lists with commas, such as `fp32,w8a8`; None where it is not given."""
    return None if option is None else [name.strip() for name in option.split(",")]


def only_reads_arguments(module: str) -> bool:
    """Whether this process is the one of a command that reads its arguments and leaves the work to another.

    The module of a command, whose `__name__` is given, imports what takes long only where this is false. Then
    `--help` and a wrong argument are answered at once, and whoever watches the work holds little memory. From
    here on, until the command has taken the signal over, Ctrl-C ends it without a word: libraries are being loaded.
    """
    if module == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    return module == "__main__" and SUPERVISED not in os.environ
