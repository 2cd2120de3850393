"""Progress on the terminal: one bar for anything that takes longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from compress.command.terminal import PlainColumn


class _DoneOfTotal(MofNCompleteColumn):
    """`3/10`, and nothing as long as the number to do is not known."""

    def render(self, task: Task) -> Text:
        """The two numbers of a task."""
        return Text() if task.total is None else super().render(task)


Report = Callable[..., None]
"""Says how far a step is: `report(3, 10)`, or with the name of what goes on, `report("load", 1, 4)`."""


@contextmanager
def bar(console: Console, description: str, *, after_s: float = 0.0) -> Iterator[Report]:
    """A progress bar that is gone when the work is done; without a terminal, nothing is drawn.

    It appears with the first report after `after_s`: work that is done by then shows none.
    """
    columns = (
        PlainColumn("  {task.description}"),
        BarColumn(),
        _DoneOfTotal(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        PlainColumn("{task.fields[remark]}"),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(description, total=None, remark="")
    begin_s = time.monotonic()
    if not after_s:
        progress.start()

    def report(*args: str | int) -> None:
        *remark, done, total = args
        if not progress.live.is_started and time.monotonic() - begin_s > after_s:
            progress.start()
        progress.update(task, completed=int(done), total=int(total), remark=" ".join(map(str, remark)))

    try:
        yield report
    finally:
        progress.stop()
