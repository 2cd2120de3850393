"""`pocketreel compare A B`: compares two runs, with top-1 on the same clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.terminal import output
from compress.folders.output import check_output_page, write_output_file

if not only_reads_arguments(__name__):
    from compress.report.compare import compare_runs, comparison_page
    from compress.report.write import fitted, render

_BEGIN = {".html": "<!doctype html><!-- Pocketreel comparison -->", ".md": "<!-- Pocketreel comparison -->"}
"""Formats of --out, and how their first line identifies a page of this command."""


def main(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="Folder of a finished run, or its report.json.")
    ],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page, .html or .md, in the report's format."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compares two runs: top-1 of every file on the same clips, latency, size, fast kernels, settings.

    Whether top-1 changed is tested on the predictions of both runs; clips are compared one by one.

    Exit codes: 0 compared, whatever the result; 2 an argument or a report is invalid.
    """
    write_json = json_alone(as_json)
    with exit_codes():
        if out is not None:
            if out.suffix not in _BEGIN:
                raise ValueError(
                    f"--out {out}: the page is written as .html or .md; give one of these endings"
                )
            check_output_page(out, begin=_BEGIN[out.suffix], option="--out")
        found = compare_runs(before, after)
        shown = comparison_page(found)
        if out is not None:
            page = render(f"compare{out.suffix}", shown)
            write_output_file(out, fitted(page) if out.suffix == ".md" else page)
    _print(shown, output())
    write_json(found)


def _print(shown: Mapping[str, Any], console: Console) -> None:
    console.print(shown["verdict"], markup=False, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("file", "change", "95 %", "verdict"):
        table.add_column(heading)
    for row in shown["changes"]:
        name = Text(f"{row['name']}, {row['label']}" if row["label"] else row["name"])
        if row["reason"]:
            table.add_row(name, "", "", Text(f"not compared: {row['reason']}"))
        else:
            table.add_row(name, row["change"], row["interval"], row["verdict"])
    console.print(table)


if __name__ == "__main__":
    run_command(main)
