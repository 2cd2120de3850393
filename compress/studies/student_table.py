"""`python -m compress.studies.student_table`: exports every student, float and int8, to every format.

Networks are trained for a minute on eight moving scenes, so that their predictions are confident; clips are small.
Every file is run in its runtime, Core ML in Pocketreel's reference interpreter, and compared with torch. Streaming
students are exported with their step program, which runs on the same clips frame by frame. Exports of the same
code are cached. Writes the table to `docs/students.md`. Exit codes: 0 all files meet their pass criterion, 1 one
does not, 2 an argument is invalid.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from compress.command import GATE_FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output
from compress.studies.published_formats import PUBLISHED_FORMATS
from export import EXPORTERS

if not only_reads_arguments(__name__):
    import numpy as np
    import torch
    from torch import nn

    from compress.folders.locks import held
    from compress.folders.output import write_output_file
    from compress.folders.source import imports_of
    from compress.store import Stored, content_key, stored, write_atomic
    from compress.studies.comparison.clips import CLASSES, scene_inputs
    from compress.studies.comparison.fitting import measure_statistics, train
    from compress.studies.comparison.networks import NETWORKS
    from compress.studies.generated_blocks import block, check_page, with_block
    from export.network import export_network
    from export.outcome import ExportOutcome
    from export.process.quiet import silence_libraries
    from models import STUDENTS
    from models.spec import AudioSpec, ClipSpec, LabelSpec, VideoSpec

PAGE = Path("docs/students.md")
CLIPS, KNOWN = 8, 32
"""Number of clips for running every file, and for training and calibration. The Core ML interpreter is slow."""
FRAMES, SIZE = 8, 64
"""Size of clips; small, because only correctness is checked."""

STEPS, LEARNING_RATE = 60, 3e-3
"""Training settings; networks of the comparison use their learning rate there."""

FORMATS, SCHEMES = PUBLISHED_FORMATS, ("fp32", "w8a8")
_ROW = re.compile(r"^\| `(\w+)` \|.*$", re.MULTILINE)
_ALONE = (
    "compress.studies.student_table",
    "compress.studies.comparison.fitting",
    "compress.studies.comparison.networks",
)
"""Modules that export the files and import all networks by their tables."""
_FOOTNOTE = {"coreml": "¹"}
"""Formats whose runtime is not available on all systems."""

Row = Mapping[str, Any]
"""Result of one network: `parameters`, `seconds`, and a list of `files`."""


def main(
    networks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these networks; other rows are kept.", show_default="all"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for files and figures.")] = Path("out/students"),
    page: Annotated[Path, typer.Option(help="Page for the table.")] = PAGE,
) -> None:
    """Exports every student, float and int8, to every format, runs every file, and writes the table.

    Exit codes: 0 all files meet their pass criterion, 1 one does not, 2 an argument is invalid.
    """
    torch.set_num_threads(1)
    silence_libraries()
    console = output()
    with exit_codes():
        names = _chosen(networks)
        check_page(page, "exports")
    with exit_codes(), held(out):
        _fill_table(names, out=out, page=page, console=console)


def _fill_table(names: list[str], *, out: Path, page: Path, console: Console) -> None:
    faults = 0
    for done, name in enumerate(names, start=1):
        console.print(f"{name} ({done} of {len(names)})", markup=False)
        result: Stored[Row] = stored(
            out / name,
            key=content_key(code=_code(name), alone=_ALONE, network=name),
            make=partial(_export, name, console=console),
            load=lambda folder: json.loads((folder / "row.json").read_text(encoding="utf-8")),
            names=("row.json", "fp32/*", "w8a8/*"),
            notify=partial(console.print, markup=False),
        )
        row = result.value
        _write_row(page, name, _line(name, row))
        console.print(f"  {'cached' if result.cached else 'done'}: {_line(name, row)}", markup=False)
        for file in row["files"]:
            if file["status"] != "exported":
                faults += 1
                fault = f"  {file['format']} {file['scheme']} {file['status']}: {file['reason']}"
                console.print(fault, markup=False)
    if faults:
        console.print(f"{faults} files failed or missed their pass criterion")
        raise typer.Exit(GATE_FAILED)


def _code(name: str) -> list[str]:
    """The modules that export the files of a student."""
    network = STUDENTS[name]
    writers = [module for format_ in FORMATS for module in EXPORTERS[format_].modules]
    own = [network.build.__module__, network.options.__module__, "models.statistics"]
    return [
        *own,
        "compress.studies.comparison.clips",
        *imports_of("compress.studies.student_table", package="export"),
        *writers,
    ]


def published_students() -> list[str]:
    """Names of all students except those for tests."""
    return [name for name in STUDENTS if not name.endswith("_tiny")]


def _chosen(given: str | None) -> list[str]:
    if given is None:
        return published_students()
    names = [name.strip() for name in given.split(",")]
    unknown = [name for name in names if name not in STUDENTS]
    if unknown:
        raise ValueError(f"--networks: {unknown[0]!r} is not a student; allowed: {', '.join(STUDENTS)}")
    return names


def _export(name: str, folder: Path, *, console: Console) -> None:
    """Exports one student and writes `row.json` to `folder`."""
    began_s = time.monotonic()
    model, known, unseen = _trained(name)
    exported = export_network(
        model,
        {key: torch.from_numpy(array[:1]) for key, array in known.items()},
        out=folder / "export",
        formats=FORMATS,
        schemes=SCHEMES,
        calibration=known,
        clips=unseen,
        stream=STUDENTS[name].streams,
        progress=partial(_print_progress, console),
    )
    files = [_file(outcome) for outcome in exported.outcomes]
    row: Row = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(time.monotonic() - began_s, 1),
        "files": files,
    }
    write_atomic(folder / "row.json", json.dumps(row, indent=1, allow_nan=False) + "\n")


def _print_progress(console: Console, what: str, done: int, total: int) -> None:
    console.print(f"  {what} ({done} of {total})", markup=False)


def _trained(name: str) -> tuple[nn.Module, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A briefly trained student, its training inputs, and other inputs."""
    student = STUDENTS[name]
    spec = ClipSpec(
        video=VideoSpec(frames=FRAMES, size=SIZE, resize=SIZE),
        audio=AudioSpec() if name.startswith("audiovisual") else None,
        labels=(LabelSpec(name="scene", classes=tuple(f"scene {number}" for number in range(CLASSES))),),
    )
    torch.manual_seed(0)
    model = student.build(spec, student.options())
    known, labels = scene_inputs(spec, count=KNOWN, seed=0)
    rate = NETWORKS[name].learning_rate if name in NETWORKS else LEARNING_RATE
    train(model, known, labels, steps=STEPS, learning_rate=rate)
    measure_statistics(model, known)
    unseen, _ = scene_inputs(spec, count=CLIPS, seed=1)
    return model, _arrays(spec, known), _arrays(spec, unseen)


def _arrays(spec: ClipSpec, inputs: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in zip(spec.inputs, inputs, strict=True)}


def _file(outcome: ExportOutcome) -> dict[str, Any]:
    """The figures of one file relative to the float network, for clips and frame by frame."""
    parities = [outcome.parity, None if outcome.step is None else outcome.step.parity]
    floats = [parity.against["float"][0] for parity in parities if parity is not None and parity.against]
    return {
        "format": outcome.format,
        "scheme": outcome.scheme,
        "status": outcome.status,
        "reason": outcome.reason,
        "relative_error": [one.relative_error for one in floats],
        "sqnr_db": [one.sqnr_db for one in floats],
    }


def _line(name: str, row: Row) -> str:
    cells = [f"`{name}`", f"{row['parameters'] / 1e6:.2f} M"]
    for scheme in SCHEMES:
        files = {file["format"]: file for file in row["files"] if file["scheme"] == scheme}
        cells += [_cell(files[name]) for name in FORMATS]
    return f"| {' | '.join(cells)} | {row['seconds']:.0f} s |"


def _cell(file: Mapping[str, Any]) -> str:
    """The figure of a file, followed by that of its step program."""
    if file["scheme"] == "fp32":
        figures = ["-" if one is None else f"{one:.0e}" for one in file["relative_error"]]
    else:
        figures = [f"{one:.0f}" for one in file["sqnr_db"]]
    text = ", ".join(figures)
    return text if file["status"] == "exported" else f"**{file['status']}** {text}".strip()


def _write_row(page: Path, name: str, line: str) -> None:
    """Writes one row of the table, in the order of `STUDENTS`; other rows are unchanged."""
    text = page.read_text(encoding="utf-8")
    lines = {row[1]: row[0] for row in _ROW.finditer(block(text, "exports"))}
    lines[name] = line
    formats = [EXPORTERS[name].runtime + _FOOTNOTE.get(name, "") for name in FORMATS]
    heads = [
        "network",
        "parameters",
        *(f"float, {t}" for t in formats),
        *(f"int8, {t}" for t in formats),
        "time",
    ]
    table = [
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
        *(lines[key] for key in STUDENTS if key in lines),
    ]
    content = "\n".join(table) + "\n"
    write_output_file(page, with_block(text, "exports", content), option="--page")


if __name__ == "__main__":
    run_command(main, resume=Resume(says="finished networks are cached; resume with"))
