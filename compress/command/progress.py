"""Progress of long work: a bar on a terminal; elsewhere, in a log file or in CI, a line now and then.

Both say how much is done, and when the rest will be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.text import Text

from compress.command.terminal import PlainColumn

FIRST_LINE_S = 10.0
"""How long work goes on before the first line about it."""
LINE_EVERY_S = 60.0
"""From one line about the same work to the next."""
LEAST_S = 2.0
"""Milestones, such as epochs, that follow sooner than this share a line; shorter work has none."""
_LEAST_KNOWN_S = 1.0
"""How long work goes on before it is said when it will be done."""


class Report:
    """Says how far a step is: `report(3, 10)`, or with the name of what goes on, `report("load", 1, 4)`."""

    def __init__(self, console: Console, description: str, unit: str) -> None:
        self._console, self._description, self._unit = console, description, unit
        self.remark = ""
        """What goes on, or what has been reached."""
        self.done: float = 0
        self.total: float | None = None
        self._begin_s = self._counted_from_s = time.monotonic()
        self._counted_from: float = 0
        self._last_line_s: float | None = None
        self._next_line_s = self._begin_s + FIRST_LINE_S
        self._drawn: tuple[Progress, TaskID] | None = None
        """What shows it; without that, lines are printed."""

    def __call__(self, *args: str | float) -> None:
        """`done` of `total`, behind what goes on. Another total, or less done, begins another part of the work."""
        *remark, done, total = args
        done, total = float(done), float(total)
        if total != self.total or done < self.done:
            self._counted_from_s, self._counted_from = time.monotonic(), done
        if remark:
            self.remark = " ".join(map(str, remark))
        self.done, self.total = done, total
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, completed=done, total=total)

    def milestone(self, text: str) -> None:
        """What has been reached, such as `epoch 3 of 12, loss 1.234`: a line of its own where there is no bar."""
        self.remark = text
        if self._drawn is not None:
            return
        now_s = time.monotonic()
        is_last = self.done == self.total
        since_s = now_s - (self._begin_s if self._last_line_s is None or is_last else self._last_line_s)
        if since_s >= LEAST_S:
            self._print(text, f"took {duration(now_s - self._begin_s)}" if is_last else self.left())

    def left_s(self) -> float | None:
        """Seconds until all is done at the pace so far; `None` as long as that is not known."""
        if self.total is None or self.done >= self.total:
            return None
        now_s = time.monotonic() - self._counted_from_s
        done = self.done - self._counted_from
        return None if done <= 0 or now_s < _LEAST_KNOWN_S else now_s / done * (self.total - self.done)

    def amount(self) -> str:
        """`3 of 10`, with the unit; nothing as long as the number to do is not known."""
        return "" if self.total is None else f"{self.done:,.0f} of {self.total:,.0f}{self._unit}"

    def left(self) -> str:
        """`2 min left`; nothing as long as that is not known."""
        left_s = self.left_s()
        return "" if left_s is None else f"{duration(left_s)} left"

    def draw_on(self, progress: Progress, task: TaskID) -> None:
        """Shows from now on how far the work is on a bar."""
        self._drawn = progress, task

    def print_now_and_then(self, ended: threading.Event) -> None:
        """Prints how far the work is until it has ended."""
        while not ended.wait(max(0.0, self._next_line_s - time.monotonic())):
            if time.monotonic() < self._next_line_s:
                continue  # a milestone was printed meanwhile
            if _open[-1] is self:
                self._print(self.remark, self.amount(), self.left())
            else:  # a part of it goes on, which has lines of its own
                self._next_line_s = time.monotonic() + LEAST_S

    def _print(self, *parts: str) -> None:
        self._last_line_s = time.monotonic()
        self._next_line_s = self._last_line_s + LINE_EVERY_S
        text = ", ".join(part for part in parts if part) or "working"
        with suppress(OSError):  # the command itself will find that nothing can be printed
            self._console.print(
                f"  {self._description}: {text}", markup=False, highlight=False, soft_wrap=True
            )


_open: list[Report] = []
"""The work that goes on: each is a part of the one before."""


@contextmanager
def bar(console: Console, description: str, *, unit: str = "") -> Iterator[Report]:
    """A progress bar that is gone when the work is done; where there is no terminal, lines now and then.

    `unit` stands behind the number to do, such as ` s`.
    """
    report = Report(console, description, unit)
    _open.append(report)
    try:
        if console.is_interactive:
            columns = (
                PlainColumn("  {task.description}"),
                BarColumn(),
                _Now(report.amount),
                TimeElapsedColumn(),
                _Now(report.left),
                _Now(lambda: report.remark),
            )
            with Progress(*columns, console=console, transient=True) as progress:
                report.draw_on(progress, progress.add_task(description, total=None))
                yield report
        else:
            ended = threading.Event()
            lines = threading.Thread(target=report.print_now_and_then, args=(ended,), daemon=True)
            lines.start()
            try:
                yield report
            finally:
                ended.set()
                lines.join()
    finally:
        _open.remove(report)


class _Now(ProgressColumn):
    """A column of a bar that shows what a function gives."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        """The text of now."""
        return Text(self._text())


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
