"""Step 4c: checks that the layers of the distillation losses exist and can be compared.

Networks of the tables are built on torch's meta device. Networks of factories and of other packages are checked
before training, when they are built (`compress/steps/try_networks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from compress.command.lines import first_line
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.criterion import Layers, build_losses
from compress.distillation.loss import LayerSettings
from compress.features import check_names, feature_sizes
from compress.recipe.compose import Place
from compress.recipe.networks import build_without_weights
from models.spec import ClipSpec

_Found = Iterator[tuple[Place, str, dict[str, str | None]]]


def check_layers(settings: DistillationConfig, *, data: Any, clip: Any, teacher: Any, student: Any) -> _Found:
    """Yields faults of the layers that the losses name. Sections may be None where they are invalid."""
    layers = Layers.of(settings)
    if not layers.student or data is None or clip is None:
        return
    networks = {
        "student": build_without_weights(student, data=data, clip=clip, teacher=teacher),
        "teacher": build_without_weights(teacher, data=data, clip=clip, teacher=teacher),
    }
    faults = 0
    for place, given in _named(settings):
        for side, built in networks.items():
            if built is None:
                continue
            try:
                check_names(built[0], [getattr(given, side)])
            except ValueError as error:
                faults += 1
                yield (*place, side), str(error), {"given": getattr(given, side)}
    if faults or None in networks.values():
        return
    try:
        sizes = {side: _sizes(*built, getattr(layers, side)) for side, built in networks.items() if built}
        build_losses(settings, **sizes, seed=0)
    except ValueError as error:
        yield ("distillation", "losses"), str(error), {}
    except (
        NotImplementedError,
        RuntimeError,
    ) as error:  # an operator without a meta kernel: checked when it runs
        if "meta" not in str(error):
            yield ("distillation", "losses"), f"cannot be computed on these clips: {first_line(error)}", {}


def without_layers(settings: DistillationConfig, file: str) -> _Found:
    """Yields faults of losses on layers of a teacher that is a file, at `file` in the recipe."""
    allowed = ", ".join(name for name, row in LOSSES.items() if not issubclass(row.settings, LayerSettings))
    for place, _ in _named(settings):
        yield place, f"compares layers, but {file} has outputs only", {"allowed": allowed}


def _sizes(model: nn.Module, spec: ClipSpec, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return feature_sizes(model, tuple(x.to("meta") for x in spec.example()), names)


def _named(settings: DistillationConfig) -> Iterator[tuple[Place, LayerSettings]]:
    """The losses on layers with their places in the recipe."""
    for _, row, given in settings.losses.chosen():
        if not isinstance(given, LayerSettings):
            continue
        several = getattr(settings.losses, row)
        place: Place = ("distillation", "losses", row)
        yield (*place, several.index(given)) if isinstance(several, tuple) else place, given
