"""`pocketreel stream EXPORT_DIR`: cost of a new frame with the step program, compared with the whole clip.

For each new frame of a stream, a clip network processes the last T frames again; the step program of the same
network processes only the new frame. Both are measured in the same rounds, so that their ratio does not depend on
other load; see `docs/measuring.md`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.device import MAX_SECONDS, ROUNDS
from compress.command import FAILED, OK, names, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.progress import bar
from compress.command.terminal import output, problems
from compress.folders.output import check_output_file, write_output_file

if not only_reads_arguments(__name__):
    import numpy as np

    from benchmarks.exported import read_export
    from benchmarks.files import ExportedFile
    from benchmarks.frame_by_frame import first_inputs, step_of
    from benchmarks.latency import FileLatency, Progress, Ratio, measure_files, ratio


@dataclass(frozen=True, kw_only=True)
class FrameCost:
    """Cost of a frame in one file; None for figures that could not be measured."""

    format: str
    scheme: str
    runtime: str | None
    frames: int
    """Frames of a clip."""
    clip_ms: float | None
    """Median latency of the program for clips."""
    frame_ms: float | None
    """Median latency of the step program."""
    cheaper: Ratio | None
    """Speedup of a new frame by the step program."""
    macs_ratio: float | None
    """The same ratio in multiply-adds: the speedup if they determined the time."""
    unavailable: str | None = None


def measure_streaming(
    export_dir: Path,
    *,
    formats: Sequence[str] | None = None,
    schemes: Sequence[str] | None = None,
    threads: int = 1,
    rounds: int = ROUNDS,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[FrameCost, ...]:
    """Cost of a frame in every file of an export; both programs are interleaved in random order.

    Raises what `read_export` raises, and ValueError for an export without step programs.
    """
    exported = read_export(export_dir, formats=formats, schemes=schemes)
    clips = [file for file in exported.files if file.missing is None]
    steps = [step_of(file) for file in clips]
    inputs = {
        tensor.name: array
        for file in clips[:1]
        for tensor, array in ((t, _random(t.canonical_shape, seed=seed)) for t in file.inputs)
    }
    for step in steps:
        inputs |= first_inputs(step, seed=seed)
    latencies = measure_files(
        [*clips, *steps],
        inputs,
        threads=threads,
        rounds=rounds,
        max_seconds=max_seconds,
        seed=seed,
        progress=progress,
    )
    return tuple(
        _cost(clip, step, *pair)
        for clip, step, pair in zip(
            clips,
            steps,
            zip(latencies[: len(clips)], latencies[len(clips) :], strict=True),
            strict=True,
        )
    )


def _random(shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def _cost(clip: ExportedFile, step: ExportedFile, whole: FileLatency, one: FileLatency) -> FrameCost:
    (taken,) = clip.inputs
    return FrameCost(
        format=clip.format,
        scheme=clip.scheme,
        runtime=one.runtime,
        frames=taken.shape[taken.layout.index("T")],
        clip_ms=whole.p50_ms,
        frame_ms=one.p50_ms,
        cheaper=ratio(whole, one),
        macs_ratio=clip.macs / step.macs if clip.macs and step.macs else None,
        unavailable=whole.unavailable or one.unavailable,
    )


def main(
    export_dir: Annotated[
        Path, typer.Argument(metavar="EXPORT_DIR", help="Folder with an export's manifest.json.")
    ],
    formats: Annotated[str | None, typer.Option(metavar="A,B", help="Only these formats.")] = None,
    schemes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these schemes, such as fp32,w8a8.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Number of threads per runtime.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Number of interleaved rounds.")] = ROUNDS,
    max_seconds: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Stop after this many seconds.")
    ] = MAX_SECONDS,
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measures the latency of a new frame of a stream: with the step program and with the whole clip again.

    With --json, the document is what --out writes.

    Example: pocketreel stream out/live/export

    Exit codes: 0 measured; 2 an argument or the export is invalid; 3 nothing could be measured.
    """
    write_json = json_alone(as_json)
    console = output()
    with exit_codes(), bar(problems(), "stream") as progress:
        check_output_file(out, is_ours=_is_ours)
        costs = measure_streaming(
            export_dir,
            formats=names(formats),
            schemes=names(schemes),
            threads=threads,
            rounds=rounds,
            max_seconds=max_seconds,
            progress=progress,
        )
    console.print(_table(costs, threads=threads))
    for cost in costs:
        if cost.unavailable is not None:
            console.print(f"{cost.format}.{cost.scheme}: {cost.unavailable}")
    content = [asdict(cost) for cost in costs]
    if out is not None:
        write_output_file(out, json.dumps(content, indent=2) + "\n")
    write_json(content)
    raise typer.Exit(OK if any(cost.cheaper for cost in costs) else FAILED)


def _table(costs: Sequence[FrameCost], *, threads: int) -> Table:
    title = f"Cost of a new frame, {threads} thread{'s' * (threads > 1)}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in ("runtime", "scheme", "clip ms", "frame ms", "times cheaper", "95 %", "in MACs"):
        table.add_column(column, justify="left" if column in ("runtime", "scheme") else "right")
    for cost in costs:
        interval = cost.cheaper.ci95 if cost.cheaper else None
        table.add_row(
            cost.runtime or cost.format,
            cost.scheme,
            _number(cost.clip_ms),
            _number(cost.frame_ms),
            _number(cost.cheaper.value if cost.cheaper else None),
            "-" if interval is None else f"{interval[0]:.1f}..{interval[1]:.1f}",
            _number(cost.macs_ratio),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return (
        isinstance(content, list)
        and content != []
        and all({"format", "clip_ms", "frame_ms"} <= set(row) for row in content)
    )


if __name__ == "__main__":
    run_command(main)
