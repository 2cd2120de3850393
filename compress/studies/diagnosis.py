"""`python -m compress.studies.diagnosis`: predicted against measured gains of distillation.

Every cell is a data set, a teacher and a student. The diagnosis of each cell is made with the first seed; the gain
of the distilled student over the same student trained on the labels is measured with several. Results are cached,
and a stopped study resumes. Writes the table in `docs/distillation.md` after every cell.
"""

from __future__ import annotations

import json
import platform
import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import numpy as np
    import torch

    from benchmarks.top1 import correct_predictions
    from compress.data import Data, open_data
    from compress.diagnosis.observe import observe
    from compress.diagnosis.settings import briefly, temperature_of
    from compress.diagnosis.verdict import verdict_of
    from compress.distillation.config import DistillationConfig
    from compress.folders.locks import held
    from compress.folders.output import check_output_file, write_output_file
    from compress.recipe import load_recipe
    from compress.steps.pipeline import Run, StepFailed
    from compress.steps.train import make_teachers, run_stages
    from compress.studies.gain import gain
    from compress.studies.generated_blocks import check_page, with_block
    from export.process.quiet import silence_libraries

RECIPE = Path("recipes/mobilenet3d_int8.yaml")
SMALL = (
    "clip.size=32",
    "data.clips={train: 600, validation: 300, test: 600}",
    "stages=[{distill: {epochs: 12, batch: 16}}]",
    "export.formats=[onnx]",
    "export.schemes=[fp32]",
    "gates=[]",
)
"""Settings of all cells: clips and students that train in seconds."""

DATA = {
    "a quarter of the labels wrong": "data.difficulty=0.5",
    "a tenth of the labels wrong": "data.difficulty=0.2",
}
TEACHERS: dict[str, tuple[str, ...]] = {
    "video, audio and text": (),
    "video": ("teacher.inputs=[clip]",),
    "audio": ("teacher.inputs=[audio]",),
    "text": ("teacher.inputs=[text]",),
    "video, one epoch": ("teacher.inputs=[clip]", "teacher.train.epochs=1"),
    "all, labels memorised": (
        "teacher.train.epochs=40",
        "teacher.train.label_smoothing=0",
        "teacher.train.views=0",
        "teacher.options={dropout: 0.0, modality_dropout: 0.0}",
    ),
}
STUDENTS = ("mobilenet3d_tiny", "mobilenet2plus1d_tiny")
_SEEDS = [0, 1, 2]
_BLOCK = "diagnosis"


def main(
    seed: Annotated[
        list[int] | None, typer.Option(help="Seeds of the students.", show_default="0 1 2")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the networks.")] = Path("out/diagnosis"),
    cache: Annotated[Path, typer.Option(help="Cache folder.")] = Path("out/cache"),
    page: Annotated[Path, typer.Option(help="Page for the table.")] = Path("docs/distillation.md"),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/diagnosis.json"
    ),
) -> None:
    """Measures whether `pocketreel diagnose` predicts the gain of distillation, and writes the table."""
    silence_libraries()
    torch.set_num_threads(1)
    with exit_codes():
        check_page(page, _BLOCK)
        check_output_file(
            results, is_ours=lambda content: {"cells", "seeds"} <= set(content), option="--results"
        )
    with exit_codes(failed=(StepFailed,)), held(out):
        seeds = seed or _SEEDS
        words = ["python", "-m", "compress.studies.diagnosis", *(f"--seed={one}" for one in seed or ())]
        figures: dict[str, Any] = {
            "command": shlex.join(words),
            "measured": time.strftime("%Y-%m-%d"),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "settings": list(SMALL),
            "seeds": seeds,
            "cells": [],
        }
        for data in DATA:
            for student in STUDENTS:
                for teacher in TEACHERS:
                    output().print(Rule(f"{data}; {student}; teacher: {teacher}"))
                    figures["cells"].append(_cell(data, student, teacher, seeds=seeds, out=out, cache=cache))
                    write_output_file(results, json.dumps(figures, indent=1) + "\n", option="--results")
                    text = page.read_text(encoding="utf-8")
                    write_output_file(page, with_block(text, _BLOCK, table(figures)), option="--page")


def _cell(
    data: str, student: str, teacher: str, *, seeds: list[int], out: Path, cache: Path
) -> dict[str, Any]:
    """The diagnosis and the measured gain of one cell."""
    console = output()
    settings = [*SMALL, DATA[data], *TEACHERS[teacher], f"student.network={student}"]
    recipe = load_recipe(RECIPE, overrides=settings)
    clips = open_data(recipe.data, recipe.clip, cache=cache, workers=1, seed=0, console=console)
    alone = DistillationConfig.model_validate({"label_weight": 1.0, "losses": {"kd": 0}})

    def run(name: str, **changes: Any) -> Run:
        return Run(
            recipe=recipe.model_copy(update=changes),
            data=clips,
            folder=out / "_".join((data, student, teacher, name)).replace(" ", "_").replace(",", ""),
            cache=cache,
            device=torch.device("cpu"),
            console=console,
            finished=tuple(_others(out, data, student, name)),
        )

    first = run("teacher")
    teachers = make_teachers(first)
    found = observe(first, teachers, config=briefly(recipe), temperature=temperature_of(recipe))
    figures = found["teacher"]["label"]
    correct = {
        arm: np.stack(
            [
                _correct(run(f"{arm} {seed}", seed=seed, distillation=settings), teachers, clips)
                for seed in seeds
            ]
        )
        for arm, settings in (("labels", alone), ("distilled", recipe.distillation))
    }
    return {
        "data": data,
        "student": student,
        "teacher": teacher,
        "teacher_top1": teachers[0].record["after"]["top1"],
        "labels_top1": float(correct["labels"].mean()),
        "predicted": asdict(verdict_of(figures)),
        "figures": asdict(figures),
        "gain": gain(
            correct["distilled"], correct["labels"], files=[str(row.path) for row in clips.test.rows]
        ),
    }


def _others(out: Path, data: str, student: str, name: str) -> list[Path]:
    """Folders of the same arm with other teachers: the student on the labels is the same for all of them."""
    return [
        out / "_".join((data, student, other, name)).replace(" ", "_").replace(",", "") for other in TEACHERS
    ]


def _correct(run: Run, teachers: Any, clips: Data) -> np.ndarray:
    """Whether each test clip is classified correctly after distillation."""
    logits = run_stages(run, teachers, None)[-1].test_logits[0]
    return correct_predictions(logits, clips.test.labels[:, 0]).astype(int)


def table(figures: Mapping[str, Any]) -> str:
    """The table of the page, and how often the prediction was right."""
    rows = [
        "| data | student | teacher | teacher | labels | predicted | gain, points |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in figures["cells"]:
        low, high = cell["gain"]["ci95_pp"]
        rows.append(
            f"| {cell['data']} | `{cell['student']}` | {cell['teacher']} | {100 * cell['teacher_top1']:.1f} "
            f"| {100 * cell['labels_top1']:.1f} | {cell['predicted']['word']} "
            f"| {cell['gain']['mean_pp']:+.1f} [{low:+.1f}, {high:+.1f}] |"
        )
    right = sum(cell["predicted"]["word"] == measured(cell["gain"]) for cell in figures["cells"])
    head = (
        f"`{figures['command']}`, {figures['measured']}, torch {figures['versions']['torch']}, "
        f"{len(figures['seeds'])} seeds. Top-1 in per cent on the test clips; 95 % intervals over seeds and clips "
        "together."
    )
    foot = (
        f"The prediction agrees with the measurement in {right} of {len(figures['cells'])} cells: `helps` for an "
        "interval above 0, `harms` below 0, `neutral` for one that includes 0."
    )
    return "\n".join(["", head, "", *rows, "", foot, "", ""])


def measured(found: Mapping[str, Any]) -> str:
    """The word of a measured gain."""
    low, high = found["ci95_pp"]
    return "helps" if low > 0 else "harms" if high < 0 else "neutral"


if __name__ == "__main__":
    run_command(main, resume=Resume())
