"""`python -m compress.studies.chain TEACHER_RUN STUDENT_RUN`: the teacher against the shipped files of its student.

Both are folders of finished runs: one exports the teacher as it is (`student: {from: teacher}`, no stages), the
other its student. In every runtime, the fp32 file of the teacher and the int8 file of the student are timed in the
same rounds. Accuracy is that of the two reports, on the same test clips. It writes
`benchmarks/results/chain.json` and a table of `docs/results.md`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.figures import milliseconds, name_of, percent, size
from compress.folders.output import check_output_file, write_output_file
from compress.studies.generated_blocks import check_page, with_block

if not only_reads_arguments(__name__):
    from benchmarks.device import ROUNDS
    from benchmarks.exported import Exported, read_export
    from benchmarks.files import ExportedFile, FileId
    from benchmarks.latency import FileLatency, measure_files, random_inputs, ratio
    from benchmarks.machine import processor
    from compress.command.progress import bar
    from compress.report.read import read_report
    from compress.report_shape import Report
    from compress.versions import FILES, installed

_BLOCK = "chain"
BEFORE, AFTER = "fp32", "w8a8"
"""Schemes of the teacher's and the student's files."""


def main(
    teacher_run: Annotated[Path, typer.Argument(help="Run that exports the teacher.", show_default=False)],
    student_run: Annotated[Path, typer.Argument(help="Run that exports its student.", show_default=False)],
    page: Annotated[Path, typer.Option(help="Page with the table.")] = Path("docs/results.md"),
    results: Annotated[Path, typer.Option(help="JSON file of the figures.")] = Path(
        "benchmarks/results/chain.json"
    ),
) -> None:
    """Times the files of a teacher and of its student in the same rounds, and writes the table.

    Exit codes: 0 done, 2 an argument is invalid.
    """
    with exit_codes():
        check_page(page, _BLOCK)
        check_output_file(results, is_ours=lambda content: "chain" in content, option="--results")
        runs = [
            (read_export(one / "export"), read_report(one / "report.json"))
            for one in (teacher_run, student_run)
        ]
        (teacher, teacher_report), (student, student_report) = runs
        if teacher_report["data"] != student_report["data"]:
            raise ValueError("the two runs have different clips, so that their accuracies are not comparable")
        pairs = _pairs(teacher, student)
        files = [file for pair in pairs for file in pair]
        with bar(output(), "latency", unit=" rounds") as report:
            # The student's inputs are among the teacher's; a file takes those that it needs.
            measured = measure_files(files, random_inputs(teacher, seed=0), rounds=ROUNDS, progress=report)
    content: dict[str, Any] = {
        "command": f"python -m compress.studies.chain {teacher_run} {student_run}",
        "cpu": processor(),
        "versions": installed(FILES),
        "recipe": student_report["recipe"],
        "chain": [
            {
                "runtime": before.runtime,
                "before": _file(before, teacher_report),
                "after": _file(after, student_report),
                "ratio": _ratio(before, after),
            }
            for before, after in zip(measured[::2], measured[1::2], strict=True)
        ],
    }
    write_output_file(results, json.dumps(content, indent=1) + "\n", option="--results")
    text = page.read_text(encoding="utf-8")
    write_output_file(page, with_block(text, _BLOCK, table(content)), option="--page")


def _pairs(teacher: Exported, student: Exported) -> list[tuple[ExportedFile, ExportedFile]]:
    """The files of both, one pair per format that has both; raises ValueError if none has."""
    before, after = (
        {file.id: file for file in one.files if file.missing is None} for one in (teacher, student)
    )
    pairs = [
        (file, after[FileId(file.format, AFTER)])
        for file in before.values()
        if file.scheme == BEFORE and FileId(file.format, AFTER) in after
    ]
    if not pairs:
        raise ValueError(f"no format has a file {BEFORE} of the teacher and a file {AFTER} of the student")
    return pairs


def _file(latency: FileLatency, report: Report) -> dict[str, Any]:
    row = next(one for one in report["files"] if name_of(one) == str(latency.id))
    return {
        "file": str(latency.id),
        "top1": row["accuracy"]["top1"],
        "size_bytes": row["size_bytes"],
        "p50_ms": latency.p50_ms,
        "unavailable": latency.unavailable,
        "notes": latency.notes,
    }


def _ratio(before: FileLatency, after: FileLatency) -> dict[str, Any] | None:
    """How many times faster the file of the student is, with the 95 % interval over starts."""
    found = ratio(before, after)
    return None if found is None else asdict(found)


def table(content: dict[str, Any]) -> str:
    """The files of both networks in every runtime."""
    lines = [
        "| runtime | teacher, fp32 | student, int8 | times faster | top-1 | size |",
        "|---|---|---|---|---|---|",
    ]
    for row in content["chain"]:
        before, after = row["before"], row["after"]
        if row["ratio"] is None:
            lines.append(f"| {before['file']} | {before['unavailable'] or after['unavailable']} | | | | |")
            continue
        low, high = row["ratio"]["ci95"] or (float("nan"), float("nan"))
        lines.append(
            f"| {row['runtime']} | {milliseconds(before['p50_ms'])} | {milliseconds(after['p50_ms'])} | "
            f"{row['ratio']['value']:.0f} [{low:.0f}, {high:.0f}] | "
            f"{percent(before['top1'])} → {percent(after['top1'])} | "
            f"{size(before['size_bytes'])} → {size(after['size_bytes'])} |"
        )
    return "\n".join(["", *lines, "", f"{content['cpu']}, one thread; `{content['command']}`.", "", ""])


if __name__ == "__main__":
    run_command(main)
