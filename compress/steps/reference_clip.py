"""The reference clip of an export: a small video, its input tensors, and the outputs of every file.

An application that preprocesses the video by `manifest.json` must obtain the same tensors, and with them the same
outputs. The video is generated without user data: stripes finer than the network's resolution, saturated colours, a
moving disc; two different audio channels at another sample rate than the network's, and a pause.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.clips.cache import open_clips
from benchmarks.clips.rows import ClipRow
from compress.store import write_atomic
from export import EXPORTERS
from export.manifest import FileSpec, sha256_of
from export.trial import Network, run_networks
from export.verify.execute import execute
from models.spec import ClipSpec

FOLDER = "reference"
NAMES = ("reference/clip.mp4", "reference/*.npy")
"""Patterns of the files in it."""
LOG_FILE = "run.log"
WIDTH, HEIGHT, FRAMES, FPS = 320, 192, 24, 15
RATE_HZ = 44_100
LAYOUTS = {"clip": "NCTHW", "audio": "NCMB", "text": "NL"}

_FILES = {"clip": "", "step": "step_"}
_WORDS = 3
"""Number of words of the vocabulary in the caption."""


def write_reference(
    export: Path,
    *,
    networks: Mapping[str, Network],
    spec: FileSpec,
    clips: ClipSpec,
    steps: Mapping[str, FileSpec] | None = None,
) -> None:
    """Writes `reference/` into an export and lists its files in the existing `manifest.json`.

    `networks` has the torch network of each scheme, whose outputs are included. The same export gives the same
    bytes. Files that miss their pass criterion, or cannot run on this machine, have no outputs. `steps` has the
    step program of a streaming network by scheme; its output is that after the last frame.
    """
    folder = export / FOLDER
    folder.mkdir(exist_ok=True)
    write_video(folder / "clip.mp4")
    caption = _caption(clips)
    inputs = _inputs(folder / "clip.mp4", clips, caption=caption)
    listed = [
        {
            **_saved(export, folder / f"{name}.npy", array),
            "name": name,
            "dtype": str(array.dtype),
            "layout": LAYOUTS[name],
        }
        for name, array in inputs.items()
    ]
    manifest = json.loads((export / "manifest.json").read_text(encoding="utf-8"))
    trial = run_networks(networks, {name: array[None] for name, array in inputs.items()}, source="it")
    outputs = [
        {
            **_saved(export, folder / "torch" / scheme / f"{info.name}.npy", array[0]),
            "name": info.name,
            "format": "torch",
            "scheme": scheme,
            "program": "clip",
            "runner": f"torch {torch.__version__}",
        }
        for scheme, columns in trial.outputs.items()
        for info, array in zip(spec.outputs, columns, strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="pocketreel-reference-") as scratch:
        trial.save(Path(scratch))
        for row in manifest["files"]:
            if row["status"] == "exported":
                step = (steps or {}).get(row["scheme"])
                outputs += _outputs_of(export, row, spec=spec, step=step, samples=Path(scratch))
    manifest["reference"] = {
        "video": {**_listed(export, folder / "clip.mp4"), "start_s": 0.0, "end_s": FRAMES / FPS},
        "caption": caption,
        "inputs": listed,
        "outputs": outputs,
    }
    content = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(export / "manifest.json", content)


def write_video(path: Path) -> None:
    """Writes the reference video, H.264 and AAC in MP4; every call gives the same bytes."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # As in `compress/sources/synthetic.py`: slower presets are not deterministic.
        video.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
        audio = container.add_stream("aac", rate=RATE_HZ)
        audio.layout, audio.bit_rate, audio.options = "stereo", 64_000, {"aac_coder": "fast"}
        for number, pixels in enumerate(_frames()):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(_sound(), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts = RATE_HZ, 0
        container.mux(audio.encode(samples))
        container.mux(audio.encode())


def _frames() -> Iterator[np.ndarray]:
    """Frames uint8 `H W 3`: rings that become finer outwards, bars of six colours, and a moving disc."""
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    rings = 127.5 + 110 * np.cos(((row - HEIGHT / 2) ** 2 + (column - WIDTH / 2) ** 2) / 60)
    still = np.repeat(rings[..., None], 3, axis=-1)
    colours = np.array(
        [(220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30), (30, 220, 220), (220, 30, 220)]
    )
    bars = slice(HEIGHT // 3, HEIGHT // 2)
    still[bars] = colours[(column[bars] * len(colours) // WIDTH).astype(int)]
    for number in range(FRAMES):
        at = WIDTH * (0.2 + 0.6 * number / (FRAMES - 1))
        disc = np.hypot(row - HEIGHT * 0.6, column - at) < HEIGHT / 6
        yield np.where(disc[..., None], np.array([250, 140, 20]), still).astype(np.uint8)


def _sound() -> np.ndarray:
    """Audio float32 `2 samples`: a tone rising from 100 Hz to 6 kHz, and one of 440 Hz; silent in the third
    quarter."""
    seconds = FRAMES / FPS
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rising = np.sin(2 * np.pi * (100 * time_s + (6_000 - 100) / (2 * seconds) * time_s**2))
    both = np.stack([0.4 * rising, 0.2 * np.sin(2 * np.pi * 440 * time_s)])
    both[:, (time_s > seconds / 2) & (time_s < 0.75 * seconds)] = 0
    return both.astype(np.float32)


def _caption(clips: ClipSpec) -> str | None:
    """Known words, an unknown one, and other cases of the tokenizer."""
    if clips.text is None:
        return None
    return f"Unseen-of-yet: {', '.join(clips.text.vocabulary[:_WORDS]).upper()}! Don't go_on, 2x."


def _inputs(video: Path, clips: ClipSpec, *, caption: str | None) -> dict[str, np.ndarray]:
    """Inputs of the video from the clip reader, by name, `1 x shape`."""
    labels = {label.name: label.classes[0] for label in clips.labels}
    row = ClipRow(path=video, split="test", labels=labels, text=caption or "")
    with tempfile.TemporaryDirectory(prefix="pocketreel-reference-") as cache:
        opened = open_clips([row], clips, cache=Path(cache))
        return {name: tensor.numpy() for name, tensor in zip(clips.inputs, opened.batch([0]), strict=True)}


def _outputs_of(
    export: Path, row: Mapping[str, Any], *, spec: FileSpec, step: FileSpec | None, samples: Path
) -> list[dict[str, Any]]:
    """Runs one file of the export and saves its outputs; empty if the file cannot run on this machine."""
    exporter = EXPORTERS[row["format"]]
    order = {"clip_layout": exporter.clip_layout, "token_dtype": exporter.token_dtype}
    common: dict[str, Any] = {"format": row["format"], "samples": samples, "log": samples / LOG_FILE}
    executed = execute(
        export / row["path"],
        network=spec,
        file=spec.arranged(**order),
        **common,
    )
    programs = {"clip": executed}
    if step is not None and row["step"] is not None:
        programs["step"] = execute(
            export / row["step"]["path"],
            network=step,
            file=step.arranged(**order),
            entry=row["step"]["entry"],
            clip=spec.inputs[0].name,
            **common,
        )
    folder = export / FOLDER / row["format"] / row["scheme"]
    return [
        {
            **_saved(export, folder / f"{_FILES[program]}{info.name}.npy", array[0]),
            "name": info.name,
            "format": row["format"],
            "scheme": row["scheme"],
            "program": program,
            "runner": ran.runner,
        }
        for program, ran in programs.items()
        for info, array in zip(spec.outputs, ran.outputs or (), strict=ran.outputs is not None)
    ]


def _saved(export: Path, path: Path, array: np.ndarray) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return {**_listed(export, path), "shape": list(array.shape)}


def _listed(export: Path, path: Path) -> dict[str, Any]:
    return {
        "path": path.relative_to(export).as_posix(),
        "size_bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }
