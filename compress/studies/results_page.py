"""Writes the figures of the main job into README.md and docs/results.md, from one committed run.

`python -m compress.studies.results_page out/mobilenet3d_int8/report.json` stores the figures of that run in
`benchmarks/results/main_job.json` and writes the tables of both pages. `python -m compress.studies.generate_docs`
writes the tables again from the stored figures, and a test checks that they are current.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.figures import name_of
from compress.folders.output import write_output_file
from compress.studies.generated_blocks import with_block

if not only_reads_arguments(__name__):
    from compress.report.read import read_report

Figures = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
STORED = Path("benchmarks") / "results" / "main_job.json"
_BLOCK = "main_job"


def pages(root: Path, figures: Figures | None = None) -> dict[Path, str]:
    """README.md and docs/results.md with the tables of these figures, or of the stored ones."""
    if figures is None:
        figures = cast(Figures, read_report(root / STORED))
    readme, results = root / "README.md", root / "docs" / "results.md"
    return {
        readme: _with_lines(readme, _summary(figures)),
        results: _with_lines(results, _tables(figures)),
    }


def figures_of(report: dict[str, Any]) -> Figures:
    """The figures of a report, without the description of the system and the epochs."""
    device = {name: report["environment"]["device"][name] for name in ("cpu", "cores", "int8_instructions")}
    kept = ("schema_version", "recipe", "data", "models", "files", "gates")
    return {
        **{name: report[name] for name in kept},
        "environment": {**report["environment"], "device": device},
        "stages": [
            {name: value for name, value in stage.items() if name != "curve"} for stage in report["stages"]
        ],
    }


def _with_lines(page: Path, lines: Iterator[str]) -> str:
    content = "\n".join(lines)
    return with_block(page.read_text(encoding="utf-8"), _BLOCK, f"\n{content}\n\n")


def _summary(figures: Figures) -> Iterator[str]:
    """The summary table of the README."""
    test, models = figures["data"]["test"], figures["models"]
    yield (
        f"`make run`, {test} test clips through every file, {_threads(figures)} of a shared x86-64 server "
        "([all figures](docs/results.md)):"
    )
    yield ""
    yield "| | top-1 | latency | against fp32 | size |"
    yield "|---|---|---|---|---|"
    teacher, student = models["teacher"], models["student_float"]
    yield f"| teacher: video, audio, text | {_percent(teacher['top1'])} % | | | |"
    yield (
        f"| student: video only, distilled, {_pruned_percent(figures):.0f} % of its MACs pruned "
        f"| {_percent(student['top1'])} % | | | |"
    )
    for file in figures["files"]:
        name, latency = _runtime(file), file["latency"][0] if file["latency"] else {}
        size = f"{file['size_bytes'] / 1e3:.0f} kB"
        if file["accuracy"]["top1"] is None:
            yield f"| {_numbers(file)}, {name} | measured on Apple systems only | | | {size} |"
        else:
            yield (
                f"| {_numbers(file)}, {name} | {_percent(file['accuracy']['top1'])} % "
                f"| {latency['p50_ms']:.2f} ms | {_speed(latency)} | {size} |"
            )


def _tables(figures: Figures) -> Iterator[str]:
    """The tables of docs/results.md, with the conditions of the measurement."""
    data, models = figures["data"], figures["models"]
    environment, clip = figures["environment"], figures["recipe"]["clip"]
    device, rounds = environment["device"], figures["recipe"]["benchmark"]["rounds"]
    yield (
        f"`recipes/{figures['recipe']['name']}.yaml`, seed {figures['recipe']['seed']}: "
        f"{data['train']:,} / {data['validation']:,} / {data['test']:,} generated clips, {clip['frames']} frames "
        f"of {clip['size']} x {clip['size']}; all {data['test']} test clips through every file. "
        f"{device['cpu']}, {device['cores']} cores, shared with other work; Python {environment['python']}, "
        f"torch {environment['packages']['torch']}. Latency: {_threads(figures)}, batch 1, median of {rounds} "
        "interleaved rounds, with its 95 % interval. Training and testing of the stages took "
        f"{sum(stage['seconds'] for stage in figures['stages']) / 60:.0f} minutes."
    )
    yield ""
    yield "| network | top-1 | parameters | MACs |"
    yield "|---|---|---|---|"
    for name, title in (
        ("teacher", "teacher (video, audio, text)"),
        ("student_float", "student (video), distilled and pruned"),
        ("student_quantized", "the same in int8, torch reference"),
    ):
        model = models[name]
        yield (
            f"| {title} | {_share(model)} | {model['parameters'] / 1e3:,.0f} k | {model['macs'] / 1e6:.1f} M |"
        )
    before = _stage(figures, "prune")["before"]
    yield ""
    yield (
        f"Before pruning the student had {before['parameters'] / 1e3:,.0f} k parameters, "
        f"{before['macs'] / 1e6:.1f} M MACs and a top-1 of {_percent(before['top1'])} %; pruning removed "
        f"{_pruned_percent(figures):.0f} % of the MACs. The epochs of recovery continue the distillation, so "
        "accuracy can rise in the pruning stage."
    )
    yield ""
    yield "| file | top-1 | agreement with torch | SQNR | latency | against fp32 | size |"
    yield "|---|---|---|---|---|---|---|"
    for file in figures["files"]:
        accuracy, parity, size = file["accuracy"], file["parity"], f"{file['size_bytes'] / 1e3:.0f} kB"
        if accuracy["top1"] is None:
            reason = accuracy["reason"]
            reason = reason if "not measured" in reason else f"not measured: {reason}"
            yield f"| {name_of(file)} | {reason} | | | | | {size} |"
            continue
        latency = file["latency"][0]
        low, high = latency["p50_ci95_ms"]
        yield (
            f"| {name_of(file)} ({accuracy['runtime']}) | {_share(accuracy)} "
            f"| {_percent(parity['top1_agreement'])} % | {parity['sqnr_db']:.1f} dB "
            f"| {latency['p50_ms']:.2f} ms [{low:.2f}, {high:.2f}] | {_speed(latency)} | {size} |"
        )


def _runtime(file: Figures) -> str:
    """The name of the runtime without its version; Core ML if it cannot run."""
    runtime = file["accuracy"]["runtime"]
    return str(runtime).rpartition(" ")[0] if runtime else "Core ML"


def _numbers(file: Figures) -> str:
    """The numeric type of a file, for readers who do not know the schemes."""
    return {"fp32": "float", "w8a8": "int8"}.get(file["scheme"], str(file["scheme"]))


def _speed(latency: Figures) -> str:
    times = latency.get("ratio_to_fp32")
    return "" if times is None else f"{1 / times:.2f}x as fast"


def _threads(figures: Figures) -> str:
    count = figures["recipe"]["benchmark"]["threads"]
    return "one thread" if count == 1 else f"{count} threads"


def _pruned_percent(figures: Figures) -> float:
    stage = _stage(figures, "prune")
    return 100.0 * (1 - stage["after"]["macs"] / stage["before"]["macs"])


def _stage(figures: Figures, name: str) -> Figures:
    (stage,) = (stage for stage in figures["stages"] if stage["name"] == name)
    found: Figures = stage
    return found


def _share(row: Figures) -> str:
    low, high = row["ci95"]
    return f"{_percent(row['top1'])} [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT", help="report.json of a finished `make run`.", exists=True, dir_okay=False
        ),
    ],
) -> None:
    """Stores the figures of one run and writes them into README.md and docs/results.md.

    Exit codes: 0 written; 2 the report is not of a finished `make run`: nothing is written.
    """
    with exit_codes():
        for path, content in _files(report).items():
            write_output_file(path, content)
            output().print(str(path), markup=False)


def _files(report: Path) -> dict[Path, str]:
    """All files with their new content from a report; ValueError for an incomplete report."""
    if not report.is_file():
        raise ValueError(f"{report}: is not a regular file; give the report.json of a finished `make run`")
    try:
        figures = figures_of(cast(Figures, read_report(report)))
        stored = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return {ROOT / STORED: stored, **pages(ROOT, figures)}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{report}: is not the report of a finished `make run` ({type(error).__name__}: {error})"
        ) from error


if __name__ == "__main__":
    run_command(main)
