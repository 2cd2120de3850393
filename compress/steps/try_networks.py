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
from compress.distillation.criterion import Layers
from compress.factory import build_network, load_weights
from compress.features import check_names
from compress.file_network import FileNetwork
from compress.recipe.sections import FactoryStudent, FactoryTeacher, FileTeacher, Recipe
from compress.recipe.teacher_spec import teacher_spec
from compress.sources.source import FilesConfig
from compress.teacher_check import CLIPS, check_on_inputs
from export.quantize.layer_names import unmatched
from models.spec import ClipSpec


def try_networks(recipe: Recipe, spec: ClipSpec, *, device: torch.device) -> None:
    """Builds the networks of the recipe's factories for clips of `spec`, loads their weights, opens files, and
    checks all on random clips; a student must also be exportable, and both must have the layers of the
    distillation losses.

    Raises `ValueError` for an unusable one.
    """
    for key, section in _user_networks(recipe):
        try:
            if isinstance(section, FactoryStudent):
                own = spec.only(section.inputs, labels=section.labels)
            else:
                own = teacher_spec(section, spec)
            if isinstance(section, FileTeacher):
                _try_file(section, own, seed=recipe.seed, device=device, what=f"the {key} (on random clips)")
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                model = build_network(section.factory, own)
            if section.weights is not None:
                load_weights(model, section.weights)
            inputs = own.example(batch=CLIPS, seed=recipe.seed)
            if recipe.teacher is not None and any(entry.trains for entry in recipe.stages):
                check_names(model, getattr(Layers.of(recipe.distillation), key))
            check_on_inputs(model, own, inputs, device=device, what=f"the {key} (on random clips)")
            if key == "student":
                _check_float_layers(recipe, model)
                _check_export(model, own)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error


def _try_file(teacher: FileTeacher, spec: ClipSpec, *, seed: int, device: torch.device, what: str) -> None:
    network = FileNetwork(teacher.file, spec, inputs=teacher.inputs, outputs=teacher.outputs).eval()
    check_on_inputs(network, spec, spec.example(batch=CLIPS, seed=seed), device=device, what=what)


def _check_float_layers(recipe: Recipe, model: nn.Module) -> None:
    """Every pattern of layers to keep in float names a module of the network."""
    names = [name for name, _ in model.named_modules() if name]
    for index, entry in enumerate(recipe.stages):
        for place, problem in unmatched(getattr(entry.config, "float_layers", ()), names):
            raise ValueError(f"stages.{index}.{entry.verb}.float_layers.{place}: {problem}")


def try_before_clips(recipe: Recipe, *, device: torch.device) -> bool:
    """Checks networks of users if that does not need the clips; returns whether they were checked."""
    found = [section for _, section in _user_networks(recipe)]
    inputs = [None if section.inputs is None else tuple(section.inputs) for section in found]
    needed = None if None in inputs else tuple(dict.fromkeys(name for own in inputs for name in own or ()))
    spec = spec_before_clips(recipe.data, recipe.clip, inputs=needed) if found else None
    if spec is None:
        return False
    try_networks(recipe, spec, device=device)
    return True


def try_for_plan(recipe: Recipe, *, cache: Path, device: torch.device, console: Console) -> None:
    """Checks the networks of users and prints the result; lists the clips, but decodes and writes nothing."""
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


def _user_networks(
    recipe: Recipe,
) -> Iterator[tuple[str, FactoryTeacher | FileTeacher | FactoryStudent]]:
    for key, section in (*recipe.named_teachers.items(), ("student", recipe.student)):
        if isinstance(section, FactoryTeacher | FileTeacher | FactoryStudent):
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
