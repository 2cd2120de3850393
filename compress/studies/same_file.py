"""False alarms of a comparison of two latencies: the same file is measured against itself.

Each measurement opens a file several times and compares every copy with every other one. An interval of the ratio
that excludes 1 is a false alarm. Every comparison is repeated with the latency of one copy multiplied by 1.03: an
interval that still includes 1 misses this slowdown. The first arm divides the rounds among starts, as `pocketreel
bench` does; the second takes them all in one process per copy, with the interval over rounds.

    python -m compress.studies.same_file EXPORT_DIR --file tflite.fp32

It writes `benchmarks/results/same_file.json` and a table of `docs/measuring.md`.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.folders.output import check_output_file, write_output_file
from compress.studies.command_line import command_line
from compress.studies.generated_blocks import check_page, with_block

if not only_reads_arguments(__name__):
    import numpy as np

    from benchmarks.exported import read_export
    from benchmarks.files import ExportedFile
    from benchmarks.host import Host
    from benchmarks.intervals import median_interval
    from benchmarks.latency import STARTS, random_inputs
    from benchmarks.machine import processor
    from benchmarks.rounds import shares, take_rounds
    from benchmarks.turns import Turns
    from compress.versions import FILES, installed

_BLOCK = "same_file"
COPIES = 6
SLOWDOWN = 1.03
ONE_PROCESS = "one process per copy, interval over rounds"
NEW_PROCESSES = "a new process for each round, interval over starts"


def main(
    export_dir: Annotated[Path, typer.Argument(metavar="EXPORT_DIR", help="Folder of an export.")],
    file: Annotated[str, typer.Option(metavar="FORMAT.SCHEME", help="The file.")] = "onnx.w8a8",
    measurements: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of measurements of each arm.")
    ] = 7,
    page: Annotated[Path, typer.Option(help="Page for the table.")] = Path("docs/measuring.md"),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/same_file.json"
    ),
) -> None:
    """Measures the same file against itself and writes the false alarms; each measurement is written at once."""
    options = {"file": [file], "measurements": [str(measurements)]}
    command = command_line("same_file", export_dir, overrides=[], options=options)
    with exit_codes():
        check_page(page, _BLOCK)
        check_output_file(results, is_ours=lambda content: "comparisons" in content, option="--results")
        exported = read_export(export_dir)
        found = next((one for one in exported.files if str(one.id) == file), None)
        if found is None:
            known = ", ".join(str(one.id) for one in exported.files)
            raise ValueError(f"--file is {file!r}; the export has {known}")
        inputs = random_inputs(exported, seed=0)
    comparisons: list[dict[str, Any]] = []
    for seed in range(measurements):
        for arm, starts in ((NEW_PROCESSES, STARTS), (ONE_PROCESS, 1)):
            comparisons += [{"arm": arm, **one} for one in compare(found, inputs, starts=starts, seed=seed)]
        content = {
            "command": command,
            "file": file,
            "cpu": processor(),
            "versions": installed(FILES),
            "rounds": STARTS,
            "copies": COPIES,
            "slowdown": SLOWDOWN,
            "summary": summarise(comparisons),
            "comparisons": comparisons,
        }
        write_output_file(results, json.dumps(content, indent=1) + "\n", option="--results")
    text = page.read_text(encoding="utf-8")
    write_output_file(page, with_block(text, _BLOCK, table(content)), option="--page")


def compare(
    file: ExportedFile, inputs: dict[str, np.ndarray], *, starts: int, seed: int
) -> list[dict[str, Any]]:
    """All comparisons of the copies in one measurement of `STARTS` rounds."""
    device = Host()
    watch = device.watch()
    copies = [Turns(file, device=device, threads=1) for _ in range(COPIES)]
    take_rounds(
        copies,
        inputs,
        with_reference=False,
        rounds_of_starts=shares(STARTS, starts),
        duration_s=None,
        max_seconds=3600.0,
        seed=seed,
        progress=None,
    )
    load = asdict(watch.end())
    logs = [np.log(np.median(one.rounds_ns, axis=1)) for one in copies]
    return [
        {"seed": seed, "copies": [i, j], **ratio_of(logs[j] - logs[i]), **load}
        for i, j in itertools.combinations(range(COPIES), 2)
    ]


def ratio_of(logs: np.ndarray) -> dict[str, float]:
    """The ratio and its interval from the logarithms of all rounds."""
    interval = median_interval(logs)
    assert interval is not None
    names = ("ratio", "low", "high")
    return dict(zip(names, np.exp([np.median(logs), *interval]).tolist(), strict=True))


def summarise(comparisons: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Shares of false alarms and of found slowdowns, and the median half-width, by arm."""
    summary = {}
    for arm in (NEW_PROCESSES, ONE_PROCESS):
        ours = [one for one in comparisons if one["arm"] == arm]
        alarms = [not one["low"] <= 1 <= one["high"] for one in ours]
        # A planted slowdown of either copy, which multiplies the interval.
        found = [SLOWDOWN * one["low"] > 1 for one in ours] + [one["high"] / SLOWDOWN < 1 for one in ours]
        summary[arm] = {
            "comparisons": len(ours),
            "false_alarms": float(np.mean(alarms)),
            "slowdowns_found": float(np.mean(found)),
            "half_width": float(np.median([(one["high"] - one["low"]) / 2 for one in ours])),
        }
    return summary


def table(content: dict[str, Any]) -> str:
    """The summary, and under which load it was measured."""
    lines = [
        "| processes | comparisons | false alarms | slowdowns by 3 % found | half-width of the interval |",
        "|---|---|---|---|---|",
    ]
    for arm, figures in content["summary"].items():
        lines.append(
            f"| {arm} | {figures['comparisons']} | {figures['false_alarms']:.0%} | "
            f"{figures['slowdowns_found']:.0%} | {figures['half_width']:.1%} |"
        )
    others = [one["others_cores"] for one in content["comparisons"]]
    measurements = len({one["seed"] for one in content["comparisons"]})
    return "\n".join(
        [
            *lines,
            "",
            f"`{content['file']}`, {measurements} measurements of each kind with {content['copies']} copies and "
            f"{content['rounds']} rounds; {content['cpu']}, on which other programs used {min(others):.1f} to "
            f"{max(others):.1f} cores; `{content['command']}`.",
            "",
        ]
    )


if __name__ == "__main__":
    run_command(main)
