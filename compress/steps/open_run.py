"""Opens the data of a recipe and checks its networks, before any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from compress.data import open_data
from compress.recipe.augmentations import refuse_flips, trainings_of
from compress.recipe.sections import Recipe
from compress.recipe.teacher_checks import teachers_in
from compress.recipe.teacher_spec import geometries
from compress.run_folder import RunFolder
from compress.steps.benchmark import check_settings
from compress.steps.pipeline import Run
from compress.steps.try_networks import try_before_clips, try_networks
from models.spec import ClipSpec


def open_run(
    recipe: Recipe,
    *,
    folder: RunFolder,
    cache: Path,
    workers: int,
    device: torch.device,
    console: Console,
    fresh: bool = False,
) -> Run:
    """The run of a recipe in `folder`, which is claimed as soon as data and settings are validated.

    With `fresh`, earlier results are removed then. Raises `ValueError` for invalid data and for networks that do
    not match it.
    """
    tried = try_before_clips(recipe, device=device)
    teachers = teachers_in({"teacher": recipe.teacher, "teachers": recipe.teachers})
    trainings = trainings_of(teachers, recipe.stages)

    def check_spec(spec: ClipSpec) -> None:
        refuse_flips(trainings, spec)
        if not tried:
            try_networks(recipe, spec, device=device)

    data = open_data(
        recipe.data,
        recipe.clip,
        cache=cache,
        workers=workers,
        seed=recipe.seed,
        console=console,
        before_decoding=check_spec,
        also=geometries(recipe.named_teachers.values(), recipe.clip),
    )
    folder.check_clips(data)
    run = Run(recipe=recipe, data=data, folder=folder.out, cache=cache, device=device, console=console)
    check_settings(run)
    run.check_student()
    run.check_layers()
    run.check_float_layers()
    folder.begin(fresh=fresh)
    return replace(run, folder=folder.place, finished=folder.finished)
