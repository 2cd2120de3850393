"""What a check found, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.check.finding import SEVERITIES, Finding

_COLOURS = {"refused": "red", "slow": "yellow", "float": "cyan"}


def print_findings(findings: Sequence[Finding], console: Console, *, formats: Sequence[str]) -> None:
    """A table for each format that something was found for, and a line for the others."""
    for name in formats:
        rows = [found for found in findings if found.format == name]
        if not rows:
            console.print(f"[bold]{name}[/]: nothing to say")
            continue
        table = Table(title=f"[bold]{name}[/]", title_justify="left", box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("operator", no_wrap=True)
        table.add_column("MACs", justify="right", no_wrap=True)
        table.add_column("what, where and what instead", overflow="fold")
        for found in rows:
            count = f" x{found.count}" if found.count > 1 else ""
            what = f"{escape(found.why)}; [green]{escape(found.instead)}[/]"
            where = f"\n[dim]{escape(found.place)}[/]" if found.place else ""
            severity = f"[{_COLOURS[found.severity]}]{found.severity}[/]"
            table.add_row(severity, f"{escape(found.operator)}{count}", f"{found.share:.0%}", what + where)
        console.print(table)
    for severity, meaning in SEVERITIES.items():
        if any(found.severity == severity for found in findings):
            console.print(f"{severity}: {meaning}", style="dim")
