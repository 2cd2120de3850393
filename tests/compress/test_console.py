"""Bars say how much there is to do as soon as it is known, and no `0/?` before."""

from __future__ import annotations

import io

from rich.console import Console

from compress.console import bar


def test_a_bar_without_a_total_shows_no_question_mark() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with bar(console, "decoding") as report:
        pass
    assert "decoding" in written.getvalue()
    assert "/?" not in written.getvalue()
    with bar(console, "decoding") as report:
        report(0, 12)
    assert "0/12" in written.getvalue()
