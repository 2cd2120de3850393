"""`prune`: structured channel pruning to a given share of the MACs, followed by recovery training.

Groups of dependent channels come from the dependency graph: Fang et al. 2023, "DepGraph: Towards Any Structural
Pruning" (the torch-pruning library). A row of `PRUNING_CRITERIA` ranks channels globally over all layers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from compress.artifact import Artifact, size_of
from compress.distillation.criterion import best_criterion, teaching_notes
from compress.pruning import PRUNING_CRITERIA
from compress.pruning.criterion import LabelledClips
from compress.stage import Context, StageResult, training_job
from compress.training import MAX_EPOCHS, TrainConfig, batch_notes, fit, selection_notes
from models.counts import count_parameters
from models.heads import output_layers
from models.spec import ClipSpec, as_tuple

_STEPS = 500
"""Number of equal steps in which torch-pruning would remove everything; stops at the first that meets the
target."""


class PruneConfig(TrainConfig):
    """Settings of one `prune` stage; the training settings apply to the recovery."""

    macs_ratio: float = Field(
        ge=0.001, lt=1, description="Share of the MACs that remains, e.g. 0.55; not the removed share."
    )
    criterion: Literal[tuple(PRUNING_CRITERIA)] = Field(  # type: ignore[valid-type]
        default="magnitude", description="Criterion for the importance of channels."
    )
    epochs: int = Field(default=4, ge=0, le=MAX_EPOCHS, description="Epochs of recovery; 0 skips it.")
    round_to: int = Field(default=8, ge=1, le=1_024, description="Channel counts remain multiples of this.")
    max_pruning_ratio: float = Field(
        default=0.8, gt=0, lt=1, description="Largest share of channels removed from a layer."
    )


def prune(artifact: Artifact, config: PruneConfig, context: Context) -> StageResult:
    """The pruned and recovered student; `ValueError` if the target cannot be reached."""
    model = copy.deepcopy(artifact.model).cpu()
    cut_channels(model, artifact.spec, config=config, clips=_labelled(artifact.spec, config, context))
    curve: tuple[dict[str, float], ...] = ()
    if config.epochs:
        curve = fit(
            model,
            context.data.train.for_spec(artifact.spec),
            criterion=best_criterion(model, artifact.spec, config=config, context=context),
            config=config,
            validation=context.data.validation.for_spec(artifact.spec),
            job=training_job("prune: recovery", context),
        )
    notes: tuple[str, ...] = ("no recovery after pruning: epochs is 0",)
    if config.epochs:
        notes = (
            *batch_notes(config, context.data.train),
            *selection_notes(config, curve),
            *teaching_notes(artifact.spec, context),
        )
    return StageResult(artifact=replace(artifact, model=model), curve=curve, notes=notes)


def _labelled(spec: ClipSpec, config: PruneConfig, context: Context) -> Iterator[LabelledClips]:
    """Yields batches of training clips in random order, centre crops."""
    clips = context.data.train.for_spec(spec)
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(context.seed)).tolist()
    for start in range(0, len(order), config.batch):
        indices = order[start : start + config.batch]
        yield LabelledClips(inputs=clips.batch(indices), labels=clips.labels[indices])


def cut_channels(
    model: nn.Module, spec: ClipSpec, *, config: PruneConfig, clips: Iterable[LabelledClips] = ()
) -> None:
    """Removes channels from `model` in place until its MACs are at most `config.macs_ratio` of the original.

    `clips` are for criteria that run the network. A network may have a method `layers_left_whole()` that returns
    layers that are not pruned; output layers are not pruned either.
    """
    import torch_pruning as tp

    importance = PRUNING_CRITERIA[config.criterion](model, clips)
    target = config.macs_ratio * size_of(model, spec).macs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            model,
            spec.example(),
            importance=importance,
            global_pruning=True,
            pruning_ratio=1.0,
            max_pruning_ratio=config.max_pruning_ratio,
            iterative_steps=_STEPS,
            ignored_layers=[
                *output_layers(model, spec.example()),
                *getattr(model, "layers_left_whole", list)(),
            ],
            round_to=config.round_to,
            output_transform=lambda logits: sum(column.sum() for column in as_tuple(logits)),
        )
        for _ in range(_STEPS):
            parameters = count_parameters(model)
            pruner.step()
            if count_parameters(model) == parameters:
                continue  # Most steps remove nothing, and counting MACs is slow.
            if size_of(model, spec).macs <= target:
                return
    raise ValueError(
        f"prune: {size_of(model, spec).macs / target * config.macs_ratio:.0%} of the MACs is the minimum that "
        f"round_to {config.round_to} and max_pruning_ratio {config.max_pruning_ratio} allow, the target is "
        f"{config.macs_ratio:.0%}; raise `macs_ratio` or `max_pruning_ratio`, or lower `round_to`"
    )
