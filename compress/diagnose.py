"""Predicts whether the teacher will help the student: `pocketreel diagnose RECIPE`.

Trains the teacher of the recipe, and the student on the labels alone for a part of its epochs, and compares both
on the validation split. The teacher is stored as the first stage of the run, with which `pocketreel run` continues.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, keep_tracebacks_in, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.recipe_options import (
    CACHE,
    WORKERS,
    CacheOption,
    OutOption,
    RecipeArgument,
    SetOption,
    TrainDeviceOption,
    UserCodeTimeoutOption,
    WorkersOption,
)
from compress.command.supervise import Resume
from compress.command.terminal import headed, output
from compress.command.user_code import TIME_LIMIT_S, MemoryOption, set_limits
from compress.recipe.keys import check_words

if not only_reads_arguments(__name__):
    from compress.device import training_device
    from compress.diagnosis.figures import Figures
    from compress.diagnosis.observe import check_validation, observe
    from compress.diagnosis.settings import briefly, temperature_of
    from compress.diagnosis.verdict import Verdict, verdict_of
    from compress.recipe import load_recipe
    from compress.run_folder import check_run_folder, opened
    from compress.steps.open_run import open_run
    from compress.steps.pipeline import StepFailed
    from compress.steps.train import make_teachers
    from export.process.quiet import silence_libraries


def main(
    recipe: RecipeArgument,
    set_: SetOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Epochs of the student on the labels alone.",
            show_default="a fifth of the epochs of distill",
        ),
    ] = None,
    out: OutOption = None,
    cache: CacheOption = CACHE,
    workers: WorkersOption = WORKERS,
    train_device: TrainDeviceOption = "auto",
    user_code_timeout: UserCodeTimeoutOption = TIME_LIMIT_S,
    user_code_memory: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predicts whether the teacher of a recipe will help its student: helps, neutral or harms, with the reasons.

    Trains the teacher, which a later run of the recipe uses, and the student on the labels alone for a few epochs.
    Compares both on the validation clips.

    Exit codes: 0 done, 2 the recipe or an argument is invalid, 3 a training failed.
    """
    write_json = json_alone(as_json)
    silence_libraries()
    set_limits(seconds=user_code_timeout, gigabytes=user_code_memory)
    console = output()
    with exit_codes():
        checked = load_recipe(recipe, overrides=set_ or [])
        config = briefly(checked, epochs=epochs)
        device = training_device(train_device)
        folder = out or Path("out") / checked.name
        check_run_folder(folder, checked, recipe_path=recipe, cache=cache, plan_only=False)
    with exit_codes(failed=(StepFailed,)), opened(folder, checked, console=console) as held:
        keep_tracebacks_in(folder)
        run = open_run(checked, folder=held, cache=cache, workers=workers, device=device, console=console)
        check_validation(run)
        found = observe(run, make_teachers(run), config=config, temperature=temperature_of(checked))
    verdicts = {
        teacher: {name: verdict_of(one) for name, one in of_columns.items()}
        for teacher, of_columns in found.items()
    }
    for teacher, of_columns in found.items():
        for name, one in of_columns.items():
            _print(f"{teacher}, {name}", one, verdicts[teacher][name], console, epochs=config.epochs)
    document = {
        teacher: {
            name: {"figures": asdict(one), **asdict(verdicts[teacher][name])}
            for name, one in of_columns.items()
        }
        for teacher, of_columns in found.items()
    }
    write_json(json.dumps(document, indent=1))


def _print(title: str, found: Figures, verdict: Verdict, console: Console, *, epochs: int) -> None:
    correlation, cka = found.confusion_correlation, found.cka
    rows = {
        "teacher, validation": f"{found.teacher_top1:.1%}",
        "teacher, training labels": f"{found.teacher_train_top1:.1%}",
        f"student, labels alone, epochs {epochs}": f"{found.student_top1:.1%}",
        "teacher right, student wrong": f"{found.teacher_wins:.1%}",
        "student right, teacher wrong": f"{found.teacher_loses:.1%}",
        "mean largest probability of the teacher": f"{found.top_probability:.2f}",
        "probability of the other classes": f"{found.non_target_mass:.3f}, entropy "
        f"{found.non_target_entropy_bits:.2f} bits",
        "rank correlation of confusions": "-" if correlation is None else f"{correlation:+.2f}",
        "I(student; teacher)": f"{found.information_of_teacher_bits:.2f} bits or more",
        "I(student; labels)": f"{found.information_of_labels_bits:.2f} bits or more",
        "similarity of embeddings (CKA)": "-" if cka is None else f"{cka:.2f}",
    }
    console.print(headed(title, f"{found.clips} validation clips"))
    width = max(map(len, rows))
    for what, value in rows.items():
        console.print(f"  {what:{width}}  {value}")
    console.print(headed(f"verdict on {title}", verdict.word))
    for sentence in (verdict.reason, *verdict.advice):
        console.print(f"  {sentence}")


if __name__ == "__main__":
    run_command(main, first=check_words, resume=Resume())
