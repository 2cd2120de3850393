"""Compares a run with a baseline, and stops regressions: `pocketreel gate RUN --baseline BASELINE`.

Accuracy is compared clip by clip, latency in this session, other figures with plain limits. Each gate passes, fails
or is inconclusive, with a stated error rate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from compress.command import GATE_FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.progress import bar
from compress.command.terminal import headed, output, problems
from compress.folders.output import check_output_page, write_output_file

if not only_reads_arguments(__name__):
    from compress.gating.baseline import check_baseline_folder, read_baseline, write_baseline
    from compress.gating.compare import compare
    from compress.gating.github import append_summary, summary_file, workflow_commands
    from compress.gating.junit import HEAD, junit
    from compress.gating.measured import read_measured, run_folder_of
    from compress.gating.settings import read_settings
    from compress.gating.verdict import Judgement

_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_MOST_FLIPS = 10


def main(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run, or its report.json.", show_default=False
        ),
    ],
    baseline: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the baseline.", show_default=False)
    ],
    config: Annotated[
        Path | None,
        typer.Option(metavar="GATES.YAML", help="Gates; by default accuracy, latency, size and coverage."),
    ] = None,
    update_baseline: Annotated[
        bool,
        typer.Option("--update-baseline", help="Write the baseline from this run instead of comparing."),
    ] = False,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write the outcomes as JUnit XML.")
    ] = None,
    github: Annotated[
        bool,
        typer.Option(
            "--github", help="Also print annotations and append to the job summary of GitHub Actions."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compares a run with a baseline: pass, fail or inconclusive for every gate.

    Accuracy: on the same clips, clip by clip. Latency: both files are measured now, in interleaved rounds. Size,
    coverage and any other figure of the report: limits relative to the baseline.

    Example: pocketreel gate out/mobilenet3d_int8 --baseline baselines/main --junit gates.xml

    Exit codes: 0 every gate passed, or the baseline was written; 1 a gate failed, or was inconclusive and the
    settings say that this fails; 2 an argument, the run or the baseline is invalid, or their clips differ.
    """
    write_json = json_alone(as_json)
    console = output()
    with exit_codes():
        folder = run_folder_of(run)
        settings = read_settings(config)
        if update_baseline and (junit_file is not None or github):
            raise ValueError("--update-baseline compares nothing: give it without --junit and --github")
        if update_baseline:
            check_baseline_folder(baseline)
        if junit_file is not None:
            check_output_page(junit_file, begin=HEAD, option="--junit")
        step_summary = summary_file() if github else None
        measured = read_measured(folder)
        if update_baseline:
            write_baseline(measured, baseline)
            files = ", ".join(map(str, measured.sha256))
            console.print(f"baseline written to {baseline}: {files}; answers to {len(measured.clips)} clips")
            write_json({"baseline": str(baseline), "clips": len(measured.clips)})
            return
        earlier, about = read_baseline(baseline)
        console.print(f"baseline of {about['written']}: {len(earlier.clips)} clips", markup=False)
        with bar(problems(), "gate") as progress:
            judgement = compare(
                measured,
                earlier,
                settings,
                before=lambda lines: _print_lines(lines, console),
                progress=progress,
            )
        if junit_file is not None:
            write_output_file(junit_file, junit(judgement), option="--junit")
        if step_summary is not None:
            append_summary(judgement, step_summary)
    _print(judgement, console)
    if github:
        for line in workflow_commands(judgement):
            print(line)
    write_json(judgement.to_dict())
    if not judgement.passed:
        raise typer.Exit(GATE_FAILED)


def _print_lines(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}")


def _print(judgement: Judgement, console: Console) -> None:
    _print_lines(list(judgement.notes), console)
    for outcome in judgement.outcomes:
        title = f"{outcome.verdict}: {outcome.gate}, {outcome.figure}"
        console.print(headed(title, outcome.reason, style=_STYLES[outcome.verdict]))
        if outcome.needed is not None:
            console.print(f"  would decide: {outcome.needed}")
        for flip in outcome.flips[:_MOST_FLIPS]:
            console.print(f"  {flip}")
        if len(outcome.flips) > _MOST_FLIPS:
            console.print(f"  and {len(outcome.flips) - _MOST_FLIPS} more clips; --json lists all")
    console.print(headed("gates", judgement.headline()))


if __name__ == "__main__":
    run_command(main)
