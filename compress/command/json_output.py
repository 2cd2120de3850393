"""`--json`: only the JSON document goes to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from compress.command.terminal import output_failed

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, and everything else on standard error."),
]
"""The option `--json` of commands."""


def json_alone(wanted: bool) -> Callable[[Any], None]:
    """Reserves standard output for one JSON document if `wanted`; returns the function that writes it.

    All other output, also of libraries, child processes and user code, then goes to standard error. If `wanted` is
    false, the function does nothing. It takes plain data, or JSON as text.
    """
    if not wanted:
        return lambda document: None
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def write(document: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document, indent=2)
        try:
            with os.fdopen(kept, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text.rstrip("\n") + "\n")
        except OSError as error:
            raise output_failed(error) from error

    return write
