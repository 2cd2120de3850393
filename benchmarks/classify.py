"""`pocketreel classify VIDEO...`: classifies whole videos of any length with an exported file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmarks.clips.limits import LIMITS_HELP, parse_limits
from benchmarks.long_video.aggregate import AGGREGATES
from compress.command import OK, USAGE, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.progress import bar
from compress.command.terminal import output, problems
from compress.folders.output import check_output_file, write_output_file

if not only_reads_arguments(__name__):
    from benchmarks.clips.rows import listed
    from benchmarks.device import SessionFailed, Unavailable
    from benchmarks.long_video.accuracy import labelled_videos, video_accuracy
    from benchmarks.long_video.classify import Ranking, VideoPrediction, classify
    from benchmarks.long_video.windows import Dynamic, Sliding, Windows

SCHEMA_VERSION = 1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    model: Annotated[
        Path,
        typer.Option(help="Exported file of any format, such as out/x/export/onnx/w8a8/model.onnx."),
    ],
    videos: Annotated[
        list[Path] | None, typer.Argument(metavar="VIDEO...", help="Video files, of any length.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled videos instead: a manifest (CSV) or a folder root/split/class/video.mp4; reports top-1."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    windows: Annotated[
        Literal["sliding", "dynamic"],
        typer.Option(help="Evenly spaced windows, or windows that end at a change of the image."),
    ] = "sliding",
    segment_s: Annotated[
        float | None, typer.Option(help="Length of sliding windows in seconds.", show_default="2")
    ] = None,
    stride_s: Annotated[
        float | None,
        typer.Option(help="Stride of sliding windows in seconds.", show_default="half the length"),
    ] = None,
    overlap_s: Annotated[
        float | None, typer.Option(help="Overlap of sliding windows in seconds, instead of --stride-s.")
    ] = None,
    min_s: Annotated[
        float | None, typer.Option(help="Minimum length of dynamic windows in seconds.", show_default="1")
    ] = None,
    max_s: Annotated[
        float | None, typer.Option(help="Maximum length of dynamic windows in seconds.", show_default="8")
    ] = None,
    change: Annotated[
        float | None,
        typer.Option(
            help="Threshold of the colour difference that ends a dynamic window.", show_default="0.25"
        ),
    ] = None,
    aggregate: Annotated[
        str, typer.Option(help=f"How to aggregate the windows of a video: {', '.join(AGGREGATES)}.")
    ] = "mean",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Number of classes to report.")] = 5,
    text: Annotated[str | None, typer.Option(help="Caption, for a network that takes text.")] = None,
    missing_audio: Annotated[
        Literal["refuse", "silence"],
        typer.Option(help="How to treat videos without audio when the network takes audio."),
    ] = "refuse",
    limit: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help=LIMITS_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the predictions of every window to this JSON file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Classifies whole videos with an exported file: predicts every window and aggregates the predictions.

    A video is decoded once, in memory that does not grow with its length.

    With --json, the document is what --out writes.

    Example: pocketreel classify match.mp4 --model out/mobilenet3d_int8/export/onnx/w8a8/model.onnx

    Exit codes: 0 every video was classified; 2 an argument is invalid or a video cannot be read; 3 the file failed
    in its runtime.
    """
    write_json = json_alone(as_json)
    console = output()
    predictions: list[VideoPrediction] = []
    with exit_codes(failed=(SessionFailed, Unavailable)):
        limits = parse_limits(limit)
        check_output_file(out, is_ours=_is_ours)
        sliding = {"segment_s": segment_s, "stride_s": stride_s, "overlap_s": overlap_s}
        dynamic = {"min_s": min_s, "max_s": max_s, "change": change}
        rule = _windows(windows, sliding=sliding, dynamic=dynamic)
        if bool(videos) == bool(data):
            raise ValueError("give either videos or labelled videos (--data), not both or neither")
        rows = labelled_videos(data, model, split=split) if data else []
        with bar(problems(), "classify", unit=" s of video") as report:
            for prediction in classify(
                videos or [row.path for row in rows],
                model,
                windows=rule,
                aggregate=aggregate,
                top=top,
                caption=text,
                missing_audio=missing_audio,
                limits=limits,
                progress=lambda video, done_s, total_s: report(video.name, done_s, total_s),
            ):
                predictions.append(prediction)
                console.print("\n".join(_lines(prediction)))
    accuracy = video_accuracy(predictions, rows) if rows else {}
    readable = sum(prediction.unreadable is None for prediction in predictions)
    for name, one in accuracy.items():
        ends = " to ".join(f"{100 * end:.1f}" for end in one.interval)
        console.print(f"{name}: top-1 {100 * one.top1:.1f} % of {readable} videos (95 %: {ends})")
    content = {
        "schema_version": SCHEMA_VERSION,
        "model": str(model),
        "windows": {"kind": windows, **asdict(rule)},
        "aggregate": aggregate,
        "accuracy": {name: one.to_dict() for name, one in accuracy.items()} if rows else None,
        "videos": [_to_dict(prediction) for prediction in predictions],
    }
    if out is not None:
        write_output_file(out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_json(content)
    raise typer.Exit(USAGE if any(prediction.unreadable for prediction in predictions) else OK)


def _windows(kind: str, *, sliding: dict[str, float | None], dynamic: dict[str, float | None]) -> Windows:
    """The windows given by the options; ValueError for options of the other kind of windows."""
    given, others = (sliding, dynamic) if kind == "sliding" else (dynamic, sliding)
    wrong = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} has no effect with --windows {kind}; leave it out")
    settings = {name: value for name, value in given.items() if value is not None}
    if kind == "dynamic":
        return Dynamic(**settings)
    segment_s = settings.get("segment_s", Sliding.segment_s)
    if "stride_s" in settings and "overlap_s" in settings:
        raise ValueError("--stride-s and --overlap-s are alternatives; give one of them")
    return Sliding(
        segment_s=segment_s,
        stride_s=settings.get("stride_s", segment_s - settings.get("overlap_s", segment_s / 2)),
    )


def _lines(prediction: VideoPrediction) -> Iterator[str]:
    """The printed lines of one video."""
    if prediction.unreadable is not None:
        part = "only partly classified" if prediction.segments else "not classified"
        yield f"{prediction.path}: {part}: {prediction.unreadable}"
    if prediction.segments:
        yield (
            f"{prediction.path}: {len(prediction.segments)} windows in "
            f"{prediction.end_s - prediction.start_s:.1f} s, classified in {prediction.seconds:.1f} s"
        )
        for name, ranking in prediction.top.items():
            yield f"  {name}: " + ", ".join(f"{label} {score:.3f}" for label, score in ranking)
    yield from (f"  note: {note}" for note in prediction.notes)
    if prediction.left_out:
        yield f"  skipped: {len(prediction.left_out)} windows"
        yield listed(
            [
                f"{one.window.start_s:.2f} to {one.window.end_s:.2f} s: {one.reason}"
                for one in prediction.left_out
            ]
        )


def _to_dict(prediction: VideoPrediction) -> dict[str, Any]:
    return {
        "path": str(prediction.path),
        "start_s": round(prediction.start_s, 6),
        "end_s": round(prediction.end_s, 6),
        "seconds": round(prediction.seconds, 3),
        "unreadable": prediction.unreadable,
        "top": _rankings(prediction.top, score="score"),
        "segments": [
            {
                "start_s": round(one.window.start_s, 6),
                "end_s": round(one.window.end_s, 6),
                "top": _rankings(one.top, score="probability"),
            }
            for one in prediction.segments
        ],
        "left_out": [
            {"start_s": one.window.start_s, "end_s": one.window.end_s, "reason": one.reason}
            for one in prediction.left_out
        ],
        "notes": list(prediction.notes),
    }


def _rankings(top: dict[str, Ranking], *, score: str) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"class": label, score: round(value, 6)} for label, value in ranking]
        for name, ranking in top.items()
    }


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return {"schema_version", "model", "windows", "videos"} <= set(content)


if __name__ == "__main__":
    run_command(run)
