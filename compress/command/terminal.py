"""What commands print: text of users is never read as markup, and streams that cannot be written to say so."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text


class StandardOutputFailed(OSError):
    """Standard output took no more: the device is full, or whoever read it is gone."""


class Terminal(Console):
    """A rich console that takes text as it is: `[x]`, `:smile:` and numbers in it stand for themselves.

    Text with colours is a `rich.text.Text`, such as `headed` gives.
    """

    def __init__(self, **settings: Any) -> None:
        if "file" not in settings and not _is_terminal(sys.stderr if settings.get("stderr") else sys.stdout):
            settings.setdefault("force_interactive", False)  # FORCE_COLOR is about colours, not about bars
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def print(self, *objects: Any, soft_wrap: bool | None = None, **settings: Any) -> None:
        """As rich's; text is not broken into lines: paths and messages are to be copied whole."""
        if soft_wrap is None:
            soft_wrap = all(isinstance(one, str | Text) for one in objects)
        super().print(*objects, soft_wrap=soft_wrap, **settings)

    def on_broken_pipe(self) -> None:
        """Lets the error through: rich would exit with code 1, which of our commands says that a gate failed."""
        raise


def output() -> Terminal:
    """The console on standard output."""
    return Terminal()


def problems() -> Terminal:
    """The console on standard error."""
    return Terminal(stderr=True)


def headed(head: str, text: object, *, style: str = "bold") -> Text:
    """`head: text` with the head in a style of rich; neither is read as markup."""
    return Text.assemble((f"{head}:", style), f" {text}")


def print_error(message: object) -> None:
    """Prints `error: <message>` on standard error; nothing where that cannot be written to."""
    with suppress(OSError):
        problems().print(headed("error", message, style="bold red"))


class PlainColumn(TextColumn):
    """A column of a progress bar whose text is no markup."""

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)


def prepare_streams() -> None:
    """Makes the standard streams of this process take every character, and their failures tell what they are.

    A closed standard stream becomes the null device: the next file that is opened would take its number, and what
    is printed would end in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):  # None, or replaced by another kind of stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stdout is not None:
        sys.stdout = _Output(sys.stdout)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = _Problems(sys.stderr)  # type: ignore[assignment]


def finish_output() -> None:
    """Flushes standard output; raises `StandardOutputFailed`, of which the interpreter's end then says nothing."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # What is left in the buffer would fail again when the interpreter ends, with a message and code of its own.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(AttributeError, OSError, ValueError):  # None, replaced by another kind of stream, or closed
        return stream.isatty()  # type: ignore[union-attr]
    return False


class _Stream:
    """A text stream that passes everything on."""

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
    """What to raise where standard output took no more."""
    return StandardOutputFailed(f"standard output cannot be written to: {error.strerror or error}")
