"""Checks a user teacher on random clips before any clip is decoded, to report faults in seconds, not hours.

Its stage checks it again on real clips.
"""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from compress.data import list_data, spec_before_clips
from compress.factory import build_network, load_weights
from compress.recipe.sections import FactoryTeacher, Recipe
from compress.sources.source import FilesConfig
from compress.teacher_check import CLIPS, check_on_inputs
from models.spec import ClipSpec

_WHAT = "the teacher (on random clips)"


def try_teacher(recipe: Recipe, spec: ClipSpec, *, device: torch.device) -> None:
    """Builds the factory's network for clips of `spec`, loads its weights, and checks it on random clips.

    Does nothing for a recipe without such a teacher. Raises `ValueError` for an unusable one.
    """
    config = recipe.teacher
    if not isinstance(config, FactoryTeacher):
        return
    own = spec.only(config.inputs or spec.inputs)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = build_network(config.factory, own)
        load_weights(model, config.weights)
        inputs = own.example(batch=CLIPS, seed=recipe.seed)
        check_on_inputs(model, own, inputs, device=device, what=_WHAT)
    except ValueError as error:
        raise ValueError(f"teacher: {error}") from error


def try_before_clips(recipe: Recipe, *, device: torch.device) -> bool:
    """Checks the teacher if that does not need the clips; returns whether it was checked."""
    config = recipe.teacher
    if not isinstance(config, FactoryTeacher):
        return False
    spec = spec_before_clips(recipe.data, recipe.clip, inputs=config.inputs)
    if spec is not None:
        try_teacher(recipe, spec, device=device)
    return spec is not None


def try_for_plan(recipe: Recipe, *, cache: Path, device: torch.device, console: Console) -> None:
    """Checks the teacher and prints the result; lists the clips, but decodes and writes nothing."""
    if not isinstance(recipe.teacher, FactoryTeacher):
        return
    if not try_before_clips(recipe, device=device):
        if not isinstance(recipe.data, FilesConfig):
            console.print("teacher: not checked yet, because its captions are not generated yet")
            return
        listing = list_data(
            recipe.data, recipe.clip, cache=cache, workers=0, seed=recipe.seed, console=Console(quiet=True)
        )
        try_teacher(recipe, listing.spec, device=device)
    console.print("teacher: passed the check on random clips")
