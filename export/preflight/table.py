"""Prints the findings of a check on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compress.command.terminal import headed
from export.preflight.finding import SEVERITIES, Finding

_COLOURS = {"refused": "red", "slow": "yellow", "float": "cyan"}


def print_findings(findings: Sequence[Finding], console: Console, *, formats: Sequence[str]) -> None:
    """Prints a table for each format with findings, and a line for the others."""
    for name in formats:
        rows = [found for found in findings if found.format == name]
        if not rows:
            console.print(headed(name, "no findings"))
            continue
        table = Table(title=Text(name, style="bold"), title_justify="left", box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("operator", no_wrap=True)
        table.add_column("MACs", justify="right", no_wrap=True)
        table.add_column("finding, place and remedy", overflow="fold")
        for found in rows:
            count = f" x{found.count}" if found.count > 1 else ""
            what = Text.assemble(f"{found.why}; ", (found.instead, "green"))
            if found.place:
                what.append(f"\n{found.place}", style="dim")
            severity = Text(found.severity, style=_COLOURS[found.severity])
            table.add_row(severity, Text(f"{found.operator}{count}"), f"{found.share:.0%}", what)
        console.print(table)
    for name, meaning in SEVERITIES.items():
        if any(found.severity == name for found in findings):
            console.print(f"{name}: {meaning}", style="dim")
