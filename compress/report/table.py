"""Prints the files of a finished run, and the gates that did not pass."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from compress.command.terminal import headed
from compress.figures import name_of
from compress.report.files import file_row
from compress.report.page import gate_figures
from compress.report_shape import Report


def print_files(report: Report, console: Console) -> None:
    """Prints one row per file: size, accuracy, and for each device latency and speedup over fp32."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", no_wrap=True)
    for heading in ("size", "top-1", "change", "median", "vs fp32"):
        table.add_column(heading, justify="right")
    for file in report["files"]:
        row = file_row(file, report)
        if row["tag"]:
            table.add_row(name_of(file), row["tag"])
            continue
        latency = row["latency"]
        table.add_row(
            name_of(file),
            row["size"],
            row["top1"],
            row["change"],
            "\n".join(one["p50"] for one in latency),
            "\n".join(one["times"] for one in latency),
        )
    console.print(table)


def print_gates(report: Report, console: Console) -> None:
    """Prints the number of passed gates, and every gate that did not pass."""
    passed = sum(gate["verdict"] == "passed" for gate in report["gates"])
    for gate in report["gates"]:
        if gate["verdict"] != "passed":
            value, limit = gate_figures(gate)
            why = f" ({gate['reason']})" if gate.get("reason") else ""
            style = "yellow" if gate.get("allowed") else "red"
            console.print(headed(gate["verdict"], f"{gate['metric']} is {value}, {limit}{why}", style=style))
    if report["gates"]:
        console.print(headed("gates", f"{passed} of {len(report['gates'])} passed"))
