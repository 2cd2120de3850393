"""Predicts whether the teacher will help the student: `pocketreel diagnose RECIPE`.

Trains the teacher of the recipe, and the student on the labels alone for a part of its epochs, and compares both on
the validation split. The teacher is stored as the first stage of the run, so that `pocketreel run` continues with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, keep_tracebacks_in, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.supervise import Resume
from compress.command.terminal import headed, output
from compress.command.user_code import TIME_LIMIT_S, MemoryOption, set_limits
from compress.recipe.keys import check_words

if not only_reads_arguments(__name__):
    from compress.data import open_data
    from compress.device import training_device
    from compress.diagnosis.figures import Figures
    from compress.diagnosis.observe import observe
    from compress.diagnosis.verdict import Verdict, verdict_of
    from compress.distill import DistillConfig
    from compress.recipe import load_recipe
    from compress.recipe.sections import Recipe
    from compress.run_folder import check_run_folder, opened
    from compress.steps.pipeline import Run, StepFailed
    from compress.steps.train import make_teacher
    from compress.steps.try_networks import try_before_clips, try_networks
    from export.process.quiet import silence_libraries

SHARE = 0.2
"""Share of the epochs of `distill` for which the student is trained on the labels."""


def main(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (YAML).", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe. Repeatable."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Epochs of the student on the labels alone.",
            show_default="a fifth of the epochs of distill",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder of the run.", show_default="out/<recipe name>")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Cache folder, shared by all runs.")] = Path("out/cache"),
    workers: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Number of decoding processes; 0 decodes in the main process."),
    ] = 2,
    train_device: Annotated[
        str, typer.Option(help="Training device: auto, cpu or cuda.", metavar="DEVICE")
    ] = "auto",
    user_code_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="Time limit for user code.")
    ] = TIME_LIMIT_S,
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
        config = _brief(checked, epochs)
        device = training_device(train_device)
        folder = out or Path("out") / checked.name
        check_run_folder(folder, checked, recipe_path=recipe, cache=cache, plan_only=False)
    with exit_codes(failed=(StepFailed,)), opened(folder, checked, console=console) as held:
        keep_tracebacks_in(folder)
        tried = try_before_clips(checked, device=device)
        data = open_data(
            checked.data,
            checked.clip,
            cache=cache,
            workers=workers,
            seed=checked.seed,
            console=console,
            before_decoding=lambda spec: None if tried else try_networks(checked, spec, device=device),
        )
        held.check_clips(data)
        run = Run(recipe=checked, data=data, folder=held.out, cache=cache, device=device, console=console)
        run.check_student()
        held.begin(fresh=False)
        run = replace(run, folder=held.place, finished=held.finished)
        found = observe(run, make_teacher(run), config=config, temperature=checked.distillation.temperature)
    verdicts = {name: verdict_of(one) for name, one in found.items()}
    _print(found, verdicts, console, epochs=config.epochs)
    write_json(
        json.dumps(
            {name: {"figures": asdict(found[name]), **asdict(verdicts[name])} for name in found}, indent=1
        )
    )


def _brief(recipe: Recipe, epochs: int | None) -> DistillConfig:
    """The settings of the training on the labels; `ValueError` for a recipe without teacher or `distill`."""
    stages = [entry.config for entry in recipe.stages if entry.verb == "distill"]
    if recipe.teacher is None or not stages:
        raise ValueError(
            "a diagnosis is about distillation: the recipe needs a teacher and the stage distill"
        )
    config = stages[0]
    assert isinstance(config, DistillConfig)
    return config.model_copy(update={"epochs": epochs or max(1, math.ceil(SHARE * config.epochs))})


def _print(
    found: Mapping[str, Figures], verdicts: Mapping[str, Verdict], console: Console, *, epochs: int
) -> None:
    for name, one in found.items():
        verdict = verdicts[name]
        correlation, cka = one.confusion_correlation, one.cka
        rows = {
            "teacher, validation": f"{one.teacher_top1:.1%}",
            "teacher, training labels": f"{one.teacher_train_top1:.1%}",
            f"student, labels alone, {epochs} epochs": f"{one.student_top1:.1%}",
            "teacher right, student wrong": f"{one.teacher_wins:.1%}",
            "student right, teacher wrong": f"{one.teacher_loses:.1%}",
            "mean largest probability of the teacher": f"{one.top_probability:.2f}",
            "probability of other classes": f"{one.non_target_mass:.3f}, entropy {one.non_target_entropy_bits:.2f} bits",
            "rank correlation of confusions": "-" if correlation is None else f"{correlation:+.2f}",
            "I(student; teacher)": f"{one.information_of_teacher_bits:.2f} bits or more",
            "I(student; labels)": f"{one.information_of_labels_bits:.2f} bits or more",
            "similarity of embeddings (CKA)": "-" if cka is None else f"{cka:.2f}",
        }
        console.print(headed(name, f"{one.clips} validation clips"))
        width = max(map(len, rows))
        for what, value in rows.items():
            console.print(f"  {what:{width}}  {value}")
        console.print(headed(f"verdict on {name}", verdict.word))
        for sentence in (verdict.reason, *verdict.advice):
            console.print(f"  {sentence}")


if __name__ == "__main__":
    run_command(main, first=check_words, resume=Resume())
