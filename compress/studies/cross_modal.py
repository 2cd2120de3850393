"""`python -m compress.studies.cross_modal RECIPE`: distillation from audio into a video-only student.

The teacher of the recipe is trained with audio, with video, and with both. Its video-only student is trained on
the labels alone and with each teacher, with several seeds, and quantized to int8. Data, networks and settings are
those of the recipe; stages other than `distill` and `quantize` are skipped. Results are cached, and a stopped run
resumes. The tables in `docs/cross_modal.md` are updated after every seed; files are exported and measured for the
first seed.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule
from rich.text import Text

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output
from compress.recipe.keys import check_words

if not only_reads_arguments(__name__):
    import numpy as np
    import torch

    from benchmarks.accuracy import evaluate
    from benchmarks.exported import read_export
    from benchmarks.top1 import accuracy_of, correct_predictions
    from compress.data import Data, open_data
    from compress.distillation.config import DistillationConfig
    from compress.folders.locks import held
    from compress.folders.output import check_output_file, write_output_file
    from compress.recipe import load_recipe
    from compress.recipe.sections import Recipe, TableTeacher
    from compress.steps.export import export, file_id
    from compress.steps.pipeline import Run, StageOutcome, StepFailed
    from compress.steps.train import make_teacher, run_stages
    from compress.studies.command_line import command_line
    from compress.studies.cross_modal_page import write_page
    from compress.studies.gain import gain
    from compress.studies.generated_blocks import check_page
    from export.process.quiet import silence_libraries
    from models.spec import Modality

TEACHERS: dict[str, tuple[Modality, ...]] = {
    "sound": ("audio",),
    "picture": ("clip",),
    "picture and sound": ("clip", "audio"),
}
_EPOCHS = {"picture": 2}
"""Multiple of the recipe's epochs for each teacher: lip reading needs the most."""
LABELS = "labels"
"""The student without a teacher."""
_SEEDS = [0, 1, 2, 3, 4]


def main(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="Recipe whose teacher takes video and audio.", show_default=False
        ),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seeds of the students.", show_default="0 1 2 3 4")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the networks and files.")] = Path("out/cross_modal"),
    cache: Annotated[Path, typer.Option(help="Cache folder for decoded clips and teacher logits.")] = Path(
        "out/cache"
    ),
    page: Annotated[Path, typer.Option(help="Page for the tables.")] = Path("docs/cross_modal.md"),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/cross_modal.json"
    ),
) -> None:
    """Trains teachers and students, and writes the gains of cross-modal distillation in float and int8."""
    silence_libraries()
    torch.set_num_threads(1)
    with exit_codes():
        check_page(page, "cross_modal")
        check_output_file(results, is_ours=_is_ours, option="--results")
    with exit_codes(failed=(StepFailed,)), held(out):
        _compare(recipe, set_ or [], seed or _SEEDS, out=out, cache=cache, page=page, results=results)


def _compare(
    recipe: Path, overrides: list[str], seeds: list[int], *, out: Path, cache: Path, page: Path, results: Path
) -> None:
    console = output()
    checked = _recipe(recipe, overrides)
    data = open_data(checked.data, checked.clip, cache=cache, workers=1, seed=checked.seed, console=console)

    def run(name: str, **changes: Any) -> Run:
        return Run(
            recipe=checked.model_copy(update=changes),
            data=data,
            folder=out / name.replace(" ", "_"),
            cache=cache,
            device=torch.device("cpu"),
            console=console,
        )

    def taught_by(kind: str) -> StageOutcome:
        if kind not in teachers:
            console.print(Rule(Text(f"teacher: {kind}")))
            teachers[kind] = make_teacher(run(f"teacher {kind}", teacher=_teacher(checked, kind)))
        return teachers[kind]

    teachers: dict[str, StageOutcome] = {}
    students: list[dict[str, Any]] = []
    finals: dict[str, tuple[Run, StageOutcome]] = {}
    options = {"seed": () if seeds == _SEEDS else seeds}
    command = command_line("cross_modal", recipe, overrides=overrides, options=options)

    def write() -> None:
        figures = _figures(checked, data, teachers, students, command=command)
        write_output_file(results, json.dumps(figures, indent=1) + "\n", option="--results")
        write_page(page, figures)

    for number in seeds:
        for arm in (LABELS, *TEACHERS):
            teacher = taught_by("sound" if arm == LABELS else arm)
            console.print(Rule(f"student: {arm}, seed {number} ({len(students) + 1} of {4 * len(seeds)})"))
            own = run(
                f"{arm} seed {number}",
                seed=number,
                stages=_stages(checked),
                distillation=_distillation(checked, arm),
            )
            outcomes = run_stages(own, [teacher] if teacher else [], None)
            students.append(_student(arm, number, outcomes, data=data))
            finals.setdefault(arm, (own, outcomes[-1]))
        write()
    for row in students[: len(finals)]:
        console.print(Rule(f"files: {row['learned_from']}, seed {row['seed']}"))
        row["files"] = _files(*finals[row["learned_from"]])
        write()


def _recipe(path: Path, overrides: Sequence[str]) -> Recipe:
    """The validated recipe; `typer.BadParameter` if it is unsuitable for the comparison."""
    try:
        checked = load_recipe(path, overrides=overrides)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    verbs = sorted(entry.verb for entry in checked.stages if entry.verb in ("distill", "quantize"))
    labels = getattr(checked.data, "labels", [])
    faults = {
        "it needs a teacher from the table": isinstance(checked.teacher, TableTeacher),
        "its clips need audio": checked.clip.audio is not None,
        "its student must take only video": checked.student.inputs == ("clip",),
        "it needs the stages distill and quantize, once each": verbs == ["distill", "quantize"],
        f"it needs one label column, not {len(labels)}": len(labels) == 1,
    }
    wrong = [fault for fault, holds in faults.items() if not holds]
    if wrong:
        raise typer.BadParameter(f"{path} is not suitable: {'; '.join(wrong)}")
    return checked


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return {"recipe", "teachers", "students", "gains"} <= set(content)


def _teacher(recipe: Recipe, kind: str) -> TableTeacher:
    """The recipe's teacher with the inputs of `kind`."""
    teacher = recipe.teacher
    assert isinstance(teacher, TableTeacher)
    train = teacher.train.model_copy(update={"epochs": _EPOCHS.get(kind, 1) * teacher.train.epochs})
    return teacher.model_copy(update={"inputs": TEACHERS[kind], "train": train})


def _stages(recipe: Recipe) -> tuple[Any, ...]:
    """The recipe's `distill` and `quantize`."""
    return tuple(entry for entry in recipe.stages if entry.verb in ("distill", "quantize"))


def _distillation(recipe: Recipe, arm: str) -> DistillationConfig:
    """The distillation settings of a student; without a teacher, the labels have all the weight.

    Its settings do not depend on those of other students, so that it is trained only once.
    """
    alone = {"label_weight": 1.0, "losses": {"kd": 0}}
    return DistillationConfig.model_validate(alone) if arm == LABELS else recipe.distillation


def _files(run: Run, final: StageOutcome) -> dict[str, float | str]:
    """Top-1 of every exported int8 file in its own runtime, or the reason why it is missing."""
    exported = export(run, {"w8a8": final})
    found: dict[str, float | str] = {
        row["format"]: row["reason"] for row in exported.rows if row["status"] != "exported"
    }
    whole = [file_id(row) for row in exported.rows if row["format"] not in found]
    clips = run.data.test.for_spec(final.artifact.spec)
    for file in evaluate(read_export(exported.folder).only(whole), clips):
        found[file.format] = str(file.unavailable) if file.first is None else file.first.top1
    return found


def _student(arm: str, seed: int, outcomes: Sequence[StageOutcome], *, data: Data) -> dict[str, Any]:
    learned, int8 = outcomes[0], outcomes[-1]
    return {
        "learned_from": arm,
        "seed": seed,
        "top1": learned.record["after"]["top1"],
        "top1_int8": int8.record["after"]["top1"],
        "validation_top1": [epoch["validation_top1"] for epoch in learned.record["curve"]],
        "parameters": learned.record["after"]["parameters"],
        "macs": learned.record["after"]["macs"],
        "seconds": round(learned.record["seconds"] + int8.record["seconds"]),
        "right": _correct(learned, data).astype(int).tolist(),
        "right_int8": _correct(int8, data).astype(int).tolist(),
    }


def _correct(outcome: StageOutcome, data: Data) -> np.ndarray:
    return correct_predictions(outcome.test_logits[0], data.test.labels[:, 0])


def _figures(
    recipe: Recipe,
    data: Data,
    teachers: dict[str, StageOutcome],
    students: list[dict[str, Any]],
    *,
    command: str,
) -> dict[str, Any]:
    """All figures: shares are 0..1, gains and losses in points."""
    clips = len(data.test)
    files = [str(row.path) for row in data.test.rows]
    return {
        "command": command,
        "recipe": recipe.name,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "measured": time.strftime("%Y-%m-%d"),
        "clips": {"train": len(data.train), "validation": len(data.validation), "test": clips},
        "classes": len(data.spec.labels[0].classes),
        "test_files": len(set(files)),
        "settings": {
            "clip": recipe.clip.model_dump(mode="json"),
            "teacher": recipe.teacher.model_dump(mode="json"),  # type: ignore[union-attr]
            "student": recipe.student.model_dump(mode="json"),
            "stages": [{e.verb: e.config.model_dump(mode="json")} for e in _stages(recipe)],
            "distillation": recipe.distillation.model_dump(mode="json"),
        },
        "teachers": {
            kind: {
                "top1": outcome.record["after"]["top1"],
                "ci95": accuracy_of(outcome.test_logits[0], data.test.labels[:, 0]).interval,
                "parameters": outcome.record["after"]["parameters"],
                "epochs": len(outcome.record["curve"]),
                "softened_top_probability": _top_probability(outcome, temperature=_temperature(recipe)),
                "seconds": round(outcome.record["seconds"]),
            }
            for kind, outcome in teachers.items()
        },
        "students": [
            {name: value for name, value in row.items() if not name.startswith("right")} for row in students
        ],
        "gains": {arm: _gain(students, (arm, "right"), (LABELS, "right"), files=files) for arm in TEACHERS},
        "int8_gains": {
            arm: _gain(students, (arm, "right_int8"), (LABELS, "right_int8"), files=files) for arm in TEACHERS
        },
        "int8_losses": {
            arm: _gain(students, (arm, "right_int8"), (arm, "right"), files=files)
            for arm in (LABELS, *TEACHERS)
        },
    }


def _temperature(recipe: Recipe) -> float:
    """The temperature of the soft targets; 1 if the recipe has none."""
    softened = [given for _, row, given in recipe.distillation.losses.chosen() if row == "kd"]
    return float(getattr(softened[0], "temperature", 1.0)) if softened else 1.0


def _top_probability(teacher: StageOutcome, *, temperature: float) -> float:
    """Mean over the test clips of the largest probability in the soft targets."""
    return float((teacher.test_logits[0] / temperature).softmax(1).amax(1).mean())


def _gain(
    students: Sequence[dict[str, Any]], after: tuple[str, str], before: tuple[str, str], *, files: list[str]
) -> dict[str, Any]:
    """Gain in top-1 of one kind of student over another, with equal seeds.

    A kind is the source of learning and the network (float or int8).
    """
    seeds = sorted({row["seed"] for row in students})

    def correct(arm: str, which: str) -> np.ndarray:
        rows = {row["seed"]: row[which] for row in students if row["learned_from"] == arm}
        return np.array([rows[seed] for seed in seeds])

    return gain(correct(*after), correct(*before), files=files)


if __name__ == "__main__":
    run_command(main, first=check_words, resume=Resume())
