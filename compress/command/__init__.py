"""Infrastructure of all commands: exit codes, error handling, terminals, limits on processes.

Imports only the standard library, typer, rich and psutil, so that every package may import it and a command reports
an invalid argument before it loads anything large.
"""

import os
import signal

OK = 0
GATE_FAILED = 1
"""A gate of a recipe, or a criterion of a table, is not met."""
USAGE = 2
"""The recipe or an argument is invalid, or a module of the user raises on import."""
FAILED = 3
"""A stage, a backend or user code failed, or the machine ran out of a resource."""
UNEXPECTED = 70
"""Unexpected error (`EX_SOFTWARE` of sysexits.h); its traceback is written to a file."""
INTERRUPTED = 130
"""Stopped by Ctrl-C, SIGTERM or SIGHUP."""

SUPERVISED = "POCKETREEL_SUPERVISED"
"""Environment variable that marks the worker process (`compress.command.supervise`)."""


def names(option: str | None) -> list[str] | None:
    """The names in a comma-separated option, such as `fp32,w8a8`; None if it is not given."""
    return None if option is None else [name.strip() for name in option.split(",")]


def only_reads_arguments(module: str) -> bool:
    """Whether this process only parses the arguments of a command and starts the worker.

    The module of a command passes its `__name__` and does slow imports only if this is false. `--help` and invalid
    arguments are then handled at once, and the supervisor uses little memory. From here on, until the command
    handles the signal itself, Ctrl-C ends the process silently while it loads libraries.
    """
    if module == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    return module == "__main__" and SUPERVISED not in os.environ
