"""Output of commands: user text is never parsed as markup, and failing streams are reported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text


class StandardOutputFailed(OSError):
    """Standard output cannot be written: the device is full, or the reader has closed the pipe."""


class Terminal(Console):
    """A rich console that prints text verbatim: no markup, emoji codes or highlighting.

    Coloured text is a `rich.text.Text`, as from `headed`.
    """

    def __init__(self, **settings: Any) -> None:
        if "file" not in settings and not _is_terminal(sys.stderr if settings.get("stderr") else sys.stdout):
            settings.setdefault("force_interactive", False)  # FORCE_COLOR concerns colours, not progress bars
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def print(self, *objects: Any, soft_wrap: bool | None = None, **settings: Any) -> None:
        """As rich's, without line breaks in text, so that paths and messages can be copied."""
        if soft_wrap is None:
            soft_wrap = all(isinstance(one, str | Text) for one in objects)
        super().print(*objects, soft_wrap=soft_wrap, **settings)

    def on_broken_pipe(self) -> None:
        """Re-raises the error: rich would exit with code 1, which means a failed gate here."""
        raise


def output() -> Terminal:
    """The console on standard output."""
    return Terminal()


def problems() -> Terminal:
    """The console on standard error."""
    return Terminal(stderr=True)


def headed(head: str, text: object, *, style: str = "bold") -> Text:
    """`head: text` with a styled head; neither is parsed as markup."""
    return Text.assemble((f"{head}:", style), f" {text}")


def print_error(message: object) -> None:
    """Prints `error: <message>` on standard error, if it can be written."""
    with suppress(OSError):
        problems().print(headed("error", message, style="bold red"))


class PlainColumn(TextColumn):
    """A column of a progress bar whose text is not parsed as markup."""

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)


def prepare_streams() -> None:
    """Makes the standard streams of this process accept every character and report failures.

    A closed standard stream is replaced by the null device: otherwise the next opened file would get its descriptor
    and receive the output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):  # None, or another type of stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stdout is not None:
        sys.stdout = _Output(sys.stdout)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = _Problems(sys.stderr)  # type: ignore[assignment]


def finish_output() -> None:
    """Flushes standard output; raises `StandardOutputFailed`, and the interpreter does not report it again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # The rest of the buffer would fail again at interpreter exit, with another message and exit code.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(AttributeError, OSError, ValueError):  # None, another type of stream, or closed
        return stream.isatty()  # type: ignore[union-attr]
    return False


class _Stream:
    """A text stream that forwards everything."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Stream):
    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise output_failed(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise output_failed(error) from error


class _Problems(_Stream):
    def write(self, text: str) -> int:
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def output_failed(error: OSError) -> StandardOutputFailed:
    """The exception for a failed write to standard output."""
    return StandardOutputFailed(f"standard output cannot be written to: {error.strerror or error}")
