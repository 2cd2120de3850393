"""`prune`: removes channels or weights until a target is met, and trains the network to recover.

Groups of dependent channels come from the dependency graph: Fang et al. 2023, "DepGraph: Towards Any Structural
Pruning" (the torch-pruning library). A row of `PRUNING_CRITERIA` ranks channels, a row of `TARGETS` decides how
many are removed.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from compress.artifact import Artifact
from compress.criterion import Criterion
from compress.distillation.criterion import best_criterion, teaching_notes
from compress.pruning import TARGETS
from compress.pruning.config import PruneConfig
from compress.pruning.criterion import LabelledClips
from compress.pruning.cut import cut_channels
from compress.pruning.dependencies import find_groups, kept_layers
from compress.pruning.kept_cuts import kept_cut
from compress.pruning.masks import (
    deflated_bytes,
    masked,
    masks_of,
    prunable_weights,
    share_of_zeros,
    sparse_bytes,
)
from compress.pruning.sparse_training import GroupSparsity
from compress.pruning.statistics import estimate_statistics
from compress.pruning.target import Setting
from compress.stage import Context, StageResult, training_job
from compress.training import batch_notes, fit, selection_notes
from models.spec import ClipSpec

Curve = tuple[dict[str, float], ...]


def prune(artifact: Artifact, config: PruneConfig, context: Context) -> StageResult:
    """The pruned and recovered student; `ValueError` if the target cannot be reached."""
    model = copy.deepcopy(artifact.model).cpu()
    work = _Training(spec=artifact.spec, config=config, context=context)
    if config.pattern != "structured":
        return _sparse(artifact, model, work)
    setting = Setting(
        spec=artifact.spec,
        runtime=config.runtime,
        device=config.measured_on,
        scheme=config.scheme,
        cache=context.cache,
        console=context.console,
        seed=context.seed,
    )
    target = TARGETS[config.target](model, setting)
    goal = config.goal(target.original)
    if goal >= target.original:
        raise ValueError(
            f"prune: the student already has {target.original:,.6g} {target.unit}, the target is {goal:,.6g}; "
            f"lower `{config.target}`, or remove the stage"
        )
    if config.sparse_training is not None:
        criterion = best_criterion(model, artifact.spec, config=config, context=context)
        work.train(
            model,
            "prune: sparse training",
            epochs=config.sparse_training.epochs,
            criterion=GroupSparsity(
                criterion, find_groups(model, artifact.spec), weight=config.sparse_training.weight
            ),
        )
    originally: dict[str, int] = {}
    of_cuts: list[str] = []
    for number in range(1, config.steps + 1):
        step_goal = target.original * (goal / target.original) ** (number / config.steps)
        make = functools.partial(
            cut_channels,
            model.cpu(),
            artifact.spec,
            config=config,
            target=target,
            goal=step_goal,
            clips=work.labelled(),
            originally=originally,
        )
        cut = kept_cut(context.folder / f"prune_cut_{number}" / "checkpoint.pt", model, make)
        model, originally = cut.model, cut.originally
        which = f"cut {number} of {config.steps}: " if config.steps > 1 else ""
        of_cuts += [f"{which}{note}" for note in cut.notes]
        estimated = estimate_statistics(
            model, work.clips, batch=config.batch, device=context.device, seed=context.seed
        )
        work.recover(model, number=number)
    if estimated:
        work.notes += (f"BatchNorm statistics estimated from {estimated} training clips after each cut",)
    asked, reached = goal / target.original, cut.cost / target.original
    figures = {
        "target": config.target,
        "original": target.original,
        "asked": goal,
        "reached": cut.cost,
        "asked_share": asked,
        "reached_share": reached,
    }
    text = f"asked for {asked:.1%} of the {target.quantity}, reached {reached:.1%} ({cut.cost:,.6g} {target.unit})"
    return StageResult(
        artifact=replace(artifact, model=model),
        curve=work.curve,
        notes=(text, *target.notes, *of_cuts, *work.notes, *_training_notes(artifact, work)),
        figures={"pruning": figures},
    )


class _Training:
    """The trainings of one stage, and what is reported of them."""

    def __init__(self, *, spec: ClipSpec, config: PruneConfig, context: Context) -> None:
        self.spec, self.config, self.context = spec, config, context
        self.clips = context.data.train.for_spec(spec)
        self.curve: Curve = ()
        self.notes: tuple[str, ...] = () if config.epochs else ("no recovery after pruning: epochs is 0",)

    def recover(self, model: nn.Module, *, number: int) -> None:
        """Trains after cut `number`; the last one gets the epochs that do not divide evenly."""
        steps, epochs = self.config.steps, self.config.epochs // self.config.steps
        if number == steps:
            epochs = self.config.epochs - epochs * (steps - 1)
        if epochs:
            name = "prune: recovery" if steps == 1 else f"prune: recovery {number} of {steps}"
            criterion = best_criterion(model, self.spec, config=self.config, context=self.context)
            self.train(model, name, epochs=epochs, criterion=criterion)

    def train(self, model: nn.Module, name: str, *, epochs: int, criterion: Criterion) -> None:
        """Trains `model` in place."""
        config = self.config.model_copy(update={"epochs": epochs})
        rows = fit(
            model,
            self.clips,
            criterion=criterion,
            config=config,
            validation=self.context.data.validation.for_spec(self.spec),
            job=training_job(name, self.context),
        )
        before = len(self.curve)
        self.curve += tuple({**row, "epoch": before + row["epoch"]} for row in rows)
        which = name.removeprefix("prune: ")
        self.notes += tuple(f"{which}: {note}" for note in selection_notes(config, rows))

    def labelled(self) -> Iterator[LabelledClips]:
        """Yields batches of training clips in random order, centre crops."""
        generator = torch.Generator().manual_seed(self.context.seed)
        order = torch.randperm(len(self.clips), generator=generator).tolist()
        for start in range(0, len(order), self.config.batch):
            indices = order[start : start + self.config.batch]
            yield LabelledClips(inputs=self.clips.batch(indices), labels=self.clips.labels[indices])


def _sparse(artifact: Artifact, model: nn.Module, work: _Training) -> StageResult:
    """The student with single weights set to zero; several cuts approach the share by a cubic.

    Zhu & Gupta 2017, "To prune, or not to prune", equation 1.
    """
    config = work.config
    assert config.pattern != "structured"
    whole = set(kept_layers(model, artifact.spec))
    share = config.sparsity or 0.5
    before = deflated_bytes(model)
    for number in range(1, config.steps + 1):
        weights = prunable_weights(model, whole)
        masks = masks_of(
            {name: weight.cpu() for name, weight in weights.items()},
            pattern=config.pattern,
            sparsity=share * (1 - (1 - number / config.steps) ** 3),
            by_layer=config.scope == "layer",
        )
        model.cpu()
        with masked(weights, masks):
            work.recover(model, number=number)
    model.cpu()
    reached = share_of_zeros(prunable_weights(model, whole))
    figures = {
        "pattern": config.pattern,
        "asked_share": share,
        "reached_share": reached,
        "deflated_bytes_before": before,
        "deflated_bytes": deflated_bytes(model),
        "sparse_bytes": sparse_bytes(model),
    }
    notes = (
        f"{reached:.1%} of the weights that may be removed are zero, asked for {share:.1%}; float weights "
        f"compressed with deflate: {before:,} bytes before, {figures['deflated_bytes']:,} after; as sparse weights "
        f"(values and a bit mask): {figures['sparse_bytes']:,}",
        "latency is unchanged: the CPU runtimes compute zeros like other weights; Core ML, which stores such "
        "weights sparsely, was not timed",
    )
    return StageResult(
        artifact=replace(artifact, model=model),
        curve=work.curve,
        notes=(*notes, *work.notes, *_training_notes(artifact, work)),
        figures={"pruning": figures},
    )


def _training_notes(artifact: Artifact, work: _Training) -> tuple[str, ...]:
    if not work.config.trains:
        return ()
    context = work.context
    return (*batch_notes(work.config, context.data.train), *teaching_notes(artifact.spec, context))
