"""Checks user networks on random clips before any clip is decoded, to report faults in seconds, not hours.

A teacher's stage checks it again on real clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from compress.command.user_code import user_code
from compress.data import list_data, spec_before_clips
from compress.factory import build_network, load_weights
from compress.recipe.sections import FactoryStudent, FactoryTeacher, Recipe
from compress.sources.source import FilesConfig
from compress.teacher_check import CLIPS, check_on_inputs
from export.quantize.layer_names import unmatched
from models.spec import ClipSpec


def try_networks(recipe: Recipe, spec: ClipSpec, *, device: torch.device) -> None:
    """Builds the networks of the recipe's factories for clips of `spec`, loads their weights, and checks them on
    random clips; a student must also be exportable.

    Raises `ValueError` for an unusable one.
    """
    for key, section in _user_networks(recipe):
        own = spec.only(section.inputs or spec.inputs, labels=getattr(section, "labels", None))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                model = build_network(section.factory, own)
            if section.weights is not None:
                load_weights(model, section.weights)
            inputs = own.example(batch=CLIPS, seed=recipe.seed)
            check_on_inputs(model, own, inputs, device=device, what=f"the {key} (on random clips)")
            if key == "student":
                _check_float_layers(recipe, model)
                _check_export(model, own)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error


def _check_float_layers(recipe: Recipe, model: nn.Module) -> None:
    """Every pattern of layers to keep in float names a module of the network."""
    names = [name for name, _ in model.named_modules() if name]
    for index, entry in enumerate(recipe.stages):
        for place, problem in unmatched(getattr(entry.config, "float_layers", ()), names):
            raise ValueError(f"stages.{index}.{entry.verb}.float_layers.{place}: {problem}")


def try_before_clips(recipe: Recipe, *, device: torch.device) -> bool:
    """Checks the networks of factories if that does not need the clips; returns whether they were checked."""
    found = [section for _, section in _user_networks(recipe)]
    inputs = [section.inputs for section in found]
    needed = None if None in inputs else tuple(dict.fromkeys(name for own in inputs for name in own or ()))
    spec = spec_before_clips(recipe.data, recipe.clip, inputs=needed) if found else None
    if spec is None:
        return False
    try_networks(recipe, spec, device=device)
    return True


def try_for_plan(recipe: Recipe, *, cache: Path, device: torch.device, console: Console) -> None:
    """Checks the networks of factories and prints the result; lists the clips, but decodes and writes nothing."""
    names = " and ".join(key for key, _ in _user_networks(recipe))
    if not names:
        return
    if not try_before_clips(recipe, device=device):
        if not isinstance(recipe.data, FilesConfig):
            console.print(f"{names}: not checked yet, because captions are not generated yet")
            return
        listing = list_data(
            recipe.data, recipe.clip, cache=cache, workers=0, seed=recipe.seed, console=Console(quiet=True)
        )
        try_networks(recipe, listing.spec, device=device)
    console.print(f"{names}: passed the check on random clips")


def _user_networks(recipe: Recipe) -> Iterator[tuple[str, FactoryTeacher | FactoryStudent]]:
    for key, section in (("teacher", recipe.teacher), ("student", recipe.student)):
        if isinstance(section, FactoryTeacher | FactoryStudent):
            yield key, section


def _check_export(model: nn.Module, spec: ClipSpec) -> None:
    """Raises `ValueError` for a network that no format can represent."""
    from export.capture.graph import capture
    from export.lower import lower

    with user_code("capturing the student"):
        try:
            lower(capture(model, spec.example()))
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it cannot be exported: {error}") from error
