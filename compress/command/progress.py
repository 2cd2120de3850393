"""Progress of long work: a bar on a terminal, otherwise (log file, CI) a line at intervals.

Both show the completed amount and the estimated remaining time.
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
"""Time before the first line."""
LINE_EVERY_S = 60.0
"""Interval between lines."""
LEAST_S = 2.0
"""Milestones, such as epochs, at shorter intervals share a line; shorter work prints none."""
_LEAST_KNOWN_S = 1.0
"""Time before the remaining time is estimated."""


class Report:
    """Reports the progress of a step: `report(3, 10)`, or with a description, `report("load", 1, 4)`."""

    def __init__(self, console: Console, description: str, unit: str) -> None:
        self._console, self._description, self._unit = console, description, unit
        self.remark = ""
        """Current activity or last milestone."""
        self.done: float = 0
        self.total: float | None = None
        self._begin_s = self._counted_from_s = time.monotonic()
        self._counted_from: float = 0
        self._last_line_s: float | None = None
        self._next_line_s = self._begin_s + FIRST_LINE_S
        self._drawn: tuple[Progress, TaskID] | None = None
        """The bar that shows it; without one, lines are printed."""

    def __call__(self, *args: str | float) -> None:
        """`done` of `total`, after an optional description. Another total, or a smaller `done`, starts another
        part."""
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
        """Reports a milestone, such as `epoch 3 of 12, loss 1.234`, on a separate line if there is no bar."""
        self.remark = text
        if self._drawn is not None:
            return
        now_s = time.monotonic()
        is_last = self.done == self.total
        since_s = now_s - (self._begin_s if self._last_line_s is None or is_last else self._last_line_s)
        if since_s >= LEAST_S:
            self._print(text, f"took {duration(now_s - self._begin_s)}" if is_last else self.left())

    def left_s(self) -> float | None:
        """Estimated remaining seconds; `None` while unknown."""
        if self.total is None or self.done >= self.total:
            return None
        now_s = time.monotonic() - self._counted_from_s
        done = self.done - self._counted_from
        return None if done <= 0 or now_s < _LEAST_KNOWN_S else now_s / done * (self.total - self.done)

    def amount(self) -> str:
        """`3 of 10`, with the unit; empty while the total is unknown."""
        return "" if self.total is None else f"{self.done:,.0f} of {self.total:,.0f}{self._unit}"

    def left(self) -> str:
        """`2 min left`; empty while unknown."""
        left_s = self.left_s()
        return "" if left_s is None else f"{duration(left_s)} left"

    def draw_on(self, progress: Progress, task: TaskID) -> None:
        """Shows progress on a bar from now on."""
        self._drawn = progress, task

    def print_now_and_then(self, ended: threading.Event) -> None:
        """Prints progress at intervals until the work has ended."""
        while not ended.wait(max(0.0, self._next_line_s - time.monotonic())):
            if time.monotonic() < self._next_line_s:
                continue  # a milestone was printed recently
            if _open[-1] is self:
                self._print(self.remark, self.amount(), self.left())
            else:  # a nested part prints its own lines
                self._next_line_s = time.monotonic() + LEAST_S

    def _print(self, *parts: str) -> None:
        self._last_line_s = time.monotonic()
        self._next_line_s = self._last_line_s + LINE_EVERY_S
        text = ", ".join(part for part in parts if part) or "working"
        with suppress(OSError):  # the command itself reports failing output
            self._console.print(
                f"  {self._description}: {text}", markup=False, highlight=False, soft_wrap=True
            )


_open: list[Report] = []
"""Running work: each entry is a part of the previous one."""


@contextmanager
def bar(console: Console, description: str, *, unit: str = "") -> Iterator[Report]:
    """A progress bar that is removed at the end; without a terminal, lines at intervals.

    `unit` follows the total, such as ` s`.
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
    """A column of a bar that shows the result of a function."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        """The current text."""
        return Text(self._text())


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
