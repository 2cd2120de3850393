"""Progress on the terminal: one bar for anything that takes longer than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@contextmanager
def bar(console: Console, description: str) -> Iterator[Report]:
    """A progress bar that is gone when the work is done; without a terminal, nothing is drawn."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=None, remark="")

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report
