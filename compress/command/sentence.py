"""Formats errors in one line."""

from __future__ import annotations

import re

from compress.command.lines import first_line

_MESSAGE_LENGTH = 500

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Terminal colour codes in messages of torch's ONNX exporter."""


def in_a_sentence(error: BaseException) -> str:
    """The error in one line, with its root cause if the message does not contain it."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    sentence, first = _line(error), _line(root)
    return sentence if str(root) in sentence or first in sentence else f"{sentence} (because of {first})"


def _line(error: BaseException) -> str:
    """The error's type and the first line of its message."""
    message = _COLOURS.sub("", first_line(error))
    shortened = message if len(message) <= _MESSAGE_LENGTH else message[: _MESSAGE_LENGTH - 3] + "..."
    return f"{type(error).__name__}: {shortened}"
