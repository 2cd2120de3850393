"""`pocketreel live VIDEO|FOLDER|CAMERA --model FILE`: classifies frame by frame with an exported file.

The file holds a streaming network (`docs/streaming.md`). Each frame is decoded, preprocessed as `manifest.json`
specifies, and passed to the file once, together with the state after the previous frame.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from benchmarks.clips.limits import LIMITS_HELP, USUAL, Limits, parse_limits
from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.progress import Report, bar
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import av
    import numpy as np
    from av.video.reformatter import VideoReformatter

    from benchmarks.clips.container import message_of
    from benchmarks.clips.passing import Passing, Picture, passing_pictures
    from benchmarks.clips.pictures import Shown, square_of
    from benchmarks.device import SessionFailed, Unavailable
    from benchmarks.exported import read_model
    from benchmarks.files import ExportedFile
    from benchmarks.frame_by_frame import Stream, step_of
    from benchmarks.runtimes import RUNTIMES
    from models.spec import ClipSpec, VideoSpec

_VIDEOS = frozenset((".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"))
_CAMERAS = {"Linux": ("v4l2", "/dev/video{}"), "Darwin": ("avfoundation", "{}")}
"""FFmpeg's camera format and the pattern of camera names, by operating system."""
_LATEST = 100
"""Number of frames in the median of the displayed latency."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction after one frame."""

    source: str
    time_s: float
    """Presentation time of the frame in its video, or time since the camera was opened."""
    latency_ms: float
    """Inference only, without decoding and preprocessing."""
    shares: np.ndarray
    """Softmax of the logits of the first label column."""


def classify_frames(
    source: str, model: Path, *, threads: int = 1, every: int = 1, limits: Limits = USUAL
) -> Iterator[Prediction]:
    """Predicts every `every`-th frame of a video, of all videos in a folder, or of a camera (`0`, `1`, ...).

    The state is reset for each video, which is decoded in a separate process within `limits`. Raises ValueError and
    FileNotFoundError for a source or a model that cannot be read, `Unavailable` if the runtime is missing, and
    `SessionFailed` if it cannot load or run the file.
    """
    spec, file = read_model(model)
    step = step_of(file)
    assert spec.video is not None
    RUNTIMES[step.format].start()
    with _running(step):
        stream = Stream(step, RUNTIMES[step.format].load(step, threads))
    first = (spec.video.resize - spec.video.size) // 2
    middle = slice(first, first + spec.video.size)
    for name, pictures in _sources(source, spec.video, every=every, limits=limits):
        stream.reset()
        for picture in pictures:
            frame = (picture.square[middle, middle].transpose(2, 0, 1)[None] / 255).astype(np.float32)
            begin_s = time.perf_counter()
            with _running(step):
                logits = stream.predict(frame)[0].reshape(len(spec.labels[0].classes))
            latency_ms = (time.perf_counter() - begin_s) * 1e3
            powers = np.exp(logits - logits.max())
            yield Prediction(
                source=name, time_s=picture.time_s, latency_ms=latency_ms, shares=powers / powers.sum()
            )


@contextmanager
def _running(file: ExportedFile) -> Iterator[None]:
    """Converts any exception of the runtime to `SessionFailed`."""
    try:
        yield
    except Exception as error:
        raise SessionFailed(f"{file.title} failed in its runtime: {type(error).__name__}: {error}") from error


def _sources(
    source: str, video: VideoSpec, *, every: int, limits: Limits
) -> Iterator[tuple[str, Iterator[Picture]]]:
    """Name and frames of each video of a source."""
    if source.isdecimal():
        yield f"camera {source}", _squares(_camera(int(source)), video, every=every, limits=limits)
        return
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source}: no such video or folder; give a camera by its number, such as 0")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in _VIDEOS)
    if not files:
        raise ValueError(
            f"{source}: there is no video in this folder; looked for {', '.join(sorted(_VIDEOS))}"
        )
    for file in files:
        yield str(file), passing_pictures(Passing(path=file, resize=video.resize, every=every, limits=limits))


def _camera(number: int) -> Iterator[Shown]:
    """Yields frames as they arrive; raises ValueError with a remedy if the camera cannot be opened."""
    kind, pattern = _CAMERAS.get(platform.system(), (None, ""))
    if kind is None:
        raise ValueError(
            f"cameras are supported on {' and '.join(_CAMERAS)}, not on {platform.system()}; give a video"
        )
    name = pattern.format(number)
    try:
        container = av.open(name, format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ValueError(
            f"camera {number} ({name}) cannot be opened: {message_of(error)}; "
            "check that it is connected and not in use"
        ) from None
    with container:
        begin_s = time.monotonic()
        for frame in container.decode(video=0):
            yield Shown(frame=frame, time_s=time.monotonic() - begin_s, intact=True, aspect=1.0)


def _squares(frames: Iterator[Shown], video: VideoSpec, *, every: int, limits: Limits) -> Iterator[Picture]:
    """The centre square of every `every`-th frame of a camera."""
    scaler = VideoReformatter()
    for number, shown in enumerate(frames):
        if number % every == 0:
            square = square_of(shown, resize=video.resize, scaler=scaler, path=Path("camera"), limits=limits)
            yield Picture(time_s=shown.time_s, square=square)


def main(
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|FOLDER|CAMERA", help="Video file, folder of videos, or camera number (0, 1, ...)."
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(
            help="Exported file of a streaming network, such as out/x/export/onnx/w8a8/model_step.onnx."
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Number of threads of the runtime.")] = 1,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Use every Nth frame.")] = 1,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Number of classes to show.")] = 5,
    limit: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help=LIMITS_HELP)] = None,
) -> None:
    """Classifies a camera or videos live with an exported file and shows the latency per frame.

    Example: pocketreel live 0 --model out/live/export/onnx/w8a8/model_step.onnx

    Exit codes: 0 the source ended, or was stopped with Ctrl-C; 2 an argument is invalid or the source cannot be
    read; 3 the runtime is missing or cannot load the file.
    """
    console = output()
    latest: deque[float] = deque(maxlen=_LATEST)
    frames, prediction = 0, None
    with (
        exit_codes(failed=(Unavailable, SessionFailed)),
        suppress(KeyboardInterrupt),
        Live(console=console, refresh_per_second=10) as display,
        nullcontext() if console.is_interactive else bar(console, "live") as lines,
    ):
        spec, _ = read_model(model)
        for prediction in classify_frames(
            source, model, threads=threads, every=every, limits=parse_limits(limit)
        ):
            latest.append(prediction.latency_ms)
            frames += 1
            display.update(_table_of(prediction, spec, latest, frames=frames, top=top))
            if lines is not None:
                _show_line(prediction, spec, lines, frames=frames)
    if prediction is not None:
        console.print(
            f"{frames} frames; {statistics.median(latest):.2f} ms per frame (median of the last frames)"
        )


def _show_line(prediction: Prediction, spec: ClipSpec, lines: Report, *, frames: int) -> None:
    likeliest = int(prediction.shares.argmax())
    lines.remark = (
        f"{prediction.source} at {prediction.time_s:.1f} s, frame {frames}, "
        f"{spec.labels[0].classes[likeliest]} {100 * prediction.shares[likeliest]:.1f} %"
    )


def _table_of(
    prediction: Prediction, spec: ClipSpec, latest: deque[float], *, frames: int, top: int
) -> Table:
    """Table of the most probable classes as bars, with the latency."""
    title = (
        f"{prediction.source}  {prediction.time_s:.1f} s   frame {frames}   {prediction.latency_ms:.2f} ms "
        f"(median {statistics.median(latest):.2f} ms, {1e3 / statistics.median(latest):.0f} frames per second)"
    )
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", show_header=False)
    for number in np.argsort(prediction.shares)[::-1][:top]:
        share = float(prediction.shares[number])
        table.add_row(spec.labels[0].classes[number], f"{share:.1%}", "█" * round(40 * share))
    return table


if __name__ == "__main__":
    run_command(main)
