"""`pocketreel bench EXPORT_DIR`: measures exported files, also on the user's own clips."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmarks.clips.limits import LIMITS_HELP, parse_limits
from benchmarks.device import MAX_SECONDS, ROUNDS
from benchmarks.devices import DEVICES, named_devices, parse_device
from compress.command import FAILED, OK, names, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.progress import bar
from compress.command.terminal import output, problems
from compress.folders.output import check_output_file, write_output_file

if not only_reads_arguments(__name__):
    from benchmarks.accuracy import FileAccuracy
    from benchmarks.clips.cache import ClipSet
    from benchmarks.exported import read_export
    from benchmarks.field_data import FieldData, open_field_data
    from benchmarks.latency import FileLatency
    from benchmarks.measure import Effort, Measurement, check_threads, measure
    from benchmarks.predictions import (
        check_predictions,
        forget_predictions,
        keep_predictions,
        predictions_name,
    )
    from benchmarks.preparation import preparation
    from benchmarks.summary import print_summary, to_dict
    from compress.folders.keys import Key
    from compress.folders.locks import one_at_a_time

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    export_dir: Annotated[
        Path, typer.Argument(metavar="EXPORT_DIR", help="Folder with an export's manifest.json.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled clips: a manifest (CSV) or a folder root/split/class/clip.mp4."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data to evaluate on.")] = "test",
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=A,B", help="Keep only the rows of the manifest with these values."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=A,B", help="Exclude the rows of the manifest with these values."),
    ] = None,
    pad_s: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Extend start and end of each clip by this many seconds."
        ),
    ] = 0.0,
    unreadable: Annotated[
        Literal["refuse", "skip"], typer.Option(help="How to treat unreadable files.")
    ] = "refuse",
    max_unreadable_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="Largest share of clips that --unreadable skip may exclude."
        ),
    ] = 0.05,
    missing_audio: Annotated[
        Literal["refuse", "silence"],
        typer.Option(help="How to treat files without audio when the network takes audio."),
    ] = "refuse",
    limit: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help=LIMITS_HELP)] = None,
    formats: Annotated[str | None, typer.Option(metavar="A,B", help="Only these formats.")] = None,
    schemes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these schemes, such as fp32,w8a8.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Number of threads per runtime.")] = 1,
    rounds: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Number of interleaved rounds; intervals need at least 6."),
    ] = ROUNDS,
    duration: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Time every file for at least this many seconds and 1024 inferences; 60 is the minimum of "
            "MLPerf Mobile.",
        ),
    ] = None,
    sustained: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="MINUTES", help="Also measure latency over this many minutes without pauses."
        ),
    ] = None,
    roofs: Annotated[
        bool,
        typer.Option(
            "--roofs",
            help="Also state the roofs of the device, measured once, and each file's share in them.",
        ),
    ] = False,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help=f"Stop after this many seconds; by default {MAX_SECONDS:g}, and with --duration none.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE",
            help=f"Measurement device: {', '.join(DEVICES)}; or a YAML mapping {{KIND: {{SETTING: VALUE}}}}. "
            "Repeatable.",
            show_default="host",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Also write the figures to this JSON file, and with --data the predictions and logits "
            "for each clip to the folder OUT.predictions."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Number of decoding processes; 0 decodes in the main process, without a memory limit.",
        ),
    ] = 1,
    cache: Annotated[
        Path | None, typer.Option(help="Cache folder for decoded clips; by default none.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measures exported files: accuracy on labelled clips (--data), latency, size and memory.

    Every file runs in its own runtime and process; files are interleaved.

    Without --data only latency is measured, on random inputs of the right shapes.

    With --json, the document is what --out writes.

    Example: pocketreel bench out/mobilenet3d_int8/export --data field.csv

    Exit codes: 0 measured; 2 an argument, the export or the data is invalid; 3 a file that should run here failed,
    or none could run.
    """
    write_json = json_alone(as_json)
    console = output()
    with exit_codes():
        devices = named_devices(map(parse_device, device or ["host"]))
        check_threads(devices, threads)
        check_output_file(out, is_ours=_is_ours)
        predictions = None if out is None else out.with_name(f"{out.name}.predictions")
        if predictions is not None:
            check_predictions(predictions)
        field_data = None
        if data is not None:
            field_data = FieldData(
                path=data,
                split=split,
                where=_columns(where, option="--where"),
                exclude=_columns(exclude, option="--exclude"),
                pad_s=pad_s,
                unreadable=unreadable,
                max_unreadable_share=max_unreadable_share,
                missing_audio=missing_audio,
                limits=parse_limits(limit),
            )
        exported = read_export(export_dir, formats=names(formats), schemes=names(schemes))
        with (
            tempfile.TemporaryDirectory(prefix="pocketreel-clips-") as scratch,
            bar(problems(), "bench") as progress,
        ):
            clips, prepared = None, None
            if field_data is not None:
                clips = open_field_data(
                    field_data,
                    exported.clip_spec(),
                    cache=cache or Path(scratch),
                    workers=workers,
                    progress=progress,
                )
                prepared = preparation(field_data, clips, workers=workers)
            measurements = measure(
                exported,
                devices=devices,
                clips=clips,
                effort=Effort(
                    threads=threads,
                    rounds=rounds,
                    duration_s=duration,
                    max_seconds=_limit_s(max_seconds, duration),
                    sustained_minutes=sustained,
                    with_roofs=roofs,
                ),
                progress=progress,
            )
    for measurement in measurements:
        print_summary(measurement, exported.files, console=console, threads=threads)
        console.print()
    console.print(_data_remark(data, split, clips))
    if prepared is not None:
        console.print(
            f"beside inference, a clip takes {prepared.decode_ms:.1f} ms to decode and "
            f"{prepared.arrange_ms:.2f} ms to arrange (medians of {prepared.clips} clips)"
        )
    content = to_dict(measurements, exported.files) | {
        "data": _data_dict(data, split, clips),
        "preparation": None if prepared is None else asdict(prepared),
    }
    if out is not None and predictions is not None:
        with exit_codes():
            kept = _keep_predictions(predictions, measurements, clips)
            write_output_file(out, json.dumps(content, indent=2) + "\n")
        if kept:
            console.print(f"predictions for each clip: {predictions}", markup=False, soft_wrap=True)
    write_json(content)
    raise typer.Exit(_exit_code(measurements))


def _limit_s(max_seconds: float | None, duration: float | None) -> float:
    if max_seconds is not None:
        return max_seconds
    return MAX_SECONDS if duration is None else math.inf


def _keep_predictions(folder: Path, measurements: Sequence[Measurement], clips: ClipSet | None) -> bool:
    """Writes the predictions of every file, or removes those of earlier figures; returns whether there are any."""
    predictions = {
        predictions_name(one.id, device=None if place == 0 else measurement.name): one.logits
        for place, measurement in enumerate(measurements)
        for one in measurement.accuracy
        if one.unavailable is None
    }
    if (clips is None or not predictions) and not folder.exists():
        return False
    with one_at_a_time(folder, waiting=lambda holder: problems().print(f"predictions: waiting for {holder}")):
        if clips is None or not predictions:
            forget_predictions(folder)
            return False
        arrays = {
            name: [values.tobytes() for values in logits.values()] for name, logits in predictions.items()
        }
        facts = {name: hashlib.sha256(b"".join(given)).hexdigest() for name, given in arrays.items()}
        keep_predictions(
            folder, predictions, clips, key=Key.of({"clips": clips.digest, "predictions": facts})
        )
        return True


def _columns(options: list[str] | None, *, option: str) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for given in options or ():
        column, equals, values = given.partition("=")
        if not column or not equals or not values:
            raise ValueError(f"{option} {given!r}: give COLUMN=VALUE or COLUMN=VALUE,VALUE")
        columns.setdefault(column, []).extend(values.split(","))
    return columns


def _data_remark(data: Path | None, split: str, clips: ClipSet | None) -> str:
    if clips is None:
        return "latency on random inputs; no accuracy without clips (--data)"
    lines = [f"accuracy on {len(clips)} clips of {data}, split {split}; latency on random inputs"]
    lines += [f"skipped: {path}: {reason}" for path, reason in clips.skipped]
    lines += [f"note: {path}: {note}" for path, note in clips.notes]
    return "\n".join(lines)


def _data_dict(data: Path | None, split: str, clips: ClipSet | None) -> dict[str, object] | None:
    if clips is None:
        return None
    return {
        "path": str(data),
        "split": split,
        "clips": len(clips),
        "left_out": [{"path": str(path), "reason": reason} for path, reason in clips.skipped],
        "notes": [{"path": str(path), "note": note} for path, note in clips.notes],
    }


def _exit_code(measurements: Sequence[Measurement]) -> int:
    figures: list[FileLatency | FileAccuracy] = []
    for one in measurements:
        figures += [*one.latency, *one.accuracy]
    sustained_failed = any(one.sustained is not None and one.sustained.failed for one in measurements)
    if sustained_failed or any(one.failed for one in figures):
        return FAILED
    return OK if any(one.unavailable is None for one in figures) else FAILED


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    given = set(content)
    return {"schema_version", "devices"} <= given or {"schema_version", "device", "files"} <= given


if __name__ == "__main__":
    run_command(run)
