"""Multi-task training of teachers: tasks, losses and metrics.

Tasks are label columns (one class per clip), tag columns (any number), and `retrieval` (matching captions to
clips).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from benchmarks.clips.text import tags_in, words
from compress.criterion import Batch, Criterion, Outputs
from compress.losses import binary_cross_entropy, contrastive, cross_entropy
from models.spec import ClipSpec

RETRIEVAL = "retrieval"
"""Name of the task without a column."""

Weighting = Literal["fixed", "uncertainty"]


def with_tasks(spec: ClipSpec, inputs: tuple[str, ...], tasks: Sequence[str]) -> ClipSpec:
    """The spec of a teacher with these inputs and tasks; `spec` is that of the data."""
    labels = [label.name for label in spec.labels]
    return replace(
        spec.only(inputs, labels=tuple(name for name in tasks if name in labels)),
        tags=tuple(column for column in spec.tags if column.name in tasks),
        retrieval=RETRIEVAL in tasks,
    )


def task_names(spec: ClipSpec) -> list[str]:
    """The tasks of a network in the order of its outputs."""
    return [column.name for column in (*spec.labels, *spec.tags)] + [RETRIEVAL] * spec.retrieval


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The targets of all tasks for the clips of a set."""

    labels: Tensor
    """Class indices, int64 `N` x label columns."""
    tags: tuple[Tensor, ...]
    """0 or 1, float32 `N K` per tag column."""
    captions: Tensor
    """Number of each clip's caption, int64 `N`: equal for equal words, -1 for none."""

    @classmethod
    def of(cls, clips: ClipSet, spec: ClipSpec, *, tag_separator: str) -> Truth:
        """The targets of `clips` for the label columns of `spec`."""
        tags = []
        for column in spec.tags:
            found = [set(tags_in(row.more[column.name], separator=tag_separator)) for row in clips.rows]
            tags.append(torch.tensor([[float(name in own) for name in column.classes] for own in found]))
        numbers = {"": -1}
        captions = [numbers.setdefault(" ".join(words(row.text)), len(numbers)) for row in clips.rows]
        return cls(labels=clips.labels, tags=tuple(tags), captions=torch.tensor(captions))


class TaskCriterion(Criterion):
    """The weighted sum of the losses of all tasks of a spec.

    With `learned`, the weights are multiplied by ones learned from the uncertainty of each task. Kendall, Gal,
    Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", section 3.2: every task has a variance;
    its loss is weighted by `1 / variance`, and half the logarithm of the variance is added as a penalty.
    """

    def __init__(
        self,
        spec: ClipSpec,
        truth: Truth,
        *,
        weights: Mapping[str, float],
        label_smoothing: float,
        learned: bool = False,
    ) -> None:
        """`truth` has the targets of all clips, `weights` the weight of each task by name."""
        super().__init__()
        self.spec, self.truth = spec, truth
        self.weights = [weights[name] for name in task_names(spec)]
        self.label_smoothing = label_smoothing
        self.log_variance = nn.Parameter(torch.zeros(len(self.weights))) if learned else None

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and 0."""
        weighted = torch.stack(self._losses(outputs.logits, batch))
        weighted = weighted * torch.tensor(self.weights, device=weighted.device)
        if self.log_variance is None:
            task = weighted.sum()
        else:
            task = (weighted * (-self.log_variance).exp() + 0.5 * self.log_variance).sum()
        return task, torch.zeros_like(task)

    def _losses(self, outputs: tuple[Tensor, ...], batch: Batch) -> list[Tensor]:
        """The losses of the tasks, in the order of the outputs."""
        spec, truth, device = self.spec, self.truth, outputs[0].device
        tagged = len(spec.labels) + len(spec.tags)
        losses = [
            cross_entropy(
                column, truth.labels[batch.indices, k].to(device), label_smoothing=self.label_smoothing
            )
            for k, column in enumerate(outputs[: len(spec.labels)])
        ]
        losses += [
            binary_cross_entropy(column, truth.tags[k][batch.indices].to(device))
            for k, column in enumerate(outputs[len(spec.labels) : tagged])
        ]
        if spec.retrieval:
            clips, captions = outputs[tagged].unbind(1)
            losses.append(contrastive(clips, captions, truth.captions[batch.indices].to(device)))
        return losses

    def task_weights(self) -> dict[str, float] | None:
        """The learned weights of the losses; None for fixed weights."""
        if self.log_variance is None:
            return None
        return dict(zip(task_names(self.spec), (-self.log_variance).exp().tolist(), strict=True))


def measure(outputs: Sequence[Tensor], truth: Truth, spec: ClipSpec) -> dict[str, dict[str, float]]:
    """The metrics of every task, by name; all are shares, 0..1.

    Label columns: `top1`, `top5` where there are more than 5 classes, `macro_f1`. Tag columns: `map`, the mean
    over tags of average precision. Retrieval: `caption_recall_at_<k>`, how often a clip's caption is among the k
    nearest of all distinct captions, and `clip_recall_at_<k>`, how often a clip with that caption is among the k
    nearest clips.
    """
    from torchmetrics.functional.classification import (
        binary_average_precision,
        multiclass_accuracy,
        multiclass_f1_score,
    )

    figures: dict[str, dict[str, float]] = {}
    for label, logits, target in zip(spec.labels, outputs, truth.labels.T, strict=False):
        classes = len(label.classes)
        figures[label.name] = {
            f"top{k}": float(multiclass_accuracy(logits, target, classes, average="micro", top_k=k))
            for k in (1, 5)
            if k < classes
        }
        figures[label.name]["macro_f1"] = float(multiclass_f1_score(logits, target, classes, average="macro"))
    for column, logits, given in zip(spec.tags, outputs[len(spec.labels) :], truth.tags, strict=False):
        # Tags without a clip in the split are not part of the mean.
        each = [
            binary_average_precision(logits[:, tag], given[:, tag].long())
            for tag in given.any(0).nonzero().flatten().tolist()
        ]
        figures[column.name] = {"map": float(torch.stack(each).mean())}
    if spec.retrieval:
        figures[RETRIEVAL] = _recall(outputs[-1], truth.captions)
    return figures


def _recall(pairs: Tensor, captions: Tensor) -> dict[str, float]:
    """Recall at 1 and 5 in both directions for `N 2 F`, over the clips with a caption."""
    from torchmetrics.retrieval import RetrievalHitRate

    has = captions >= 0
    clips, numbers = pairs[has, 0], captions[has]
    different = sorted(set(numbers.tolist()))
    first = [int((captions == number).nonzero()[0]) for number in different]
    scores = clips @ pairs[first, 1].T
    belongs = numbers.unsqueeze(1) == torch.tensor(different)
    found = {}
    for what, near, target in (("caption", scores, belongs), ("clip", scores.T, belongs.T)):
        queries = torch.arange(len(near)).unsqueeze(1).expand_as(near)
        for k in (1, 5):
            rate = RetrievalHitRate(top_k=k)(near.flatten(), target.flatten(), indexes=queries.flatten())
            found[f"{what}_recall_at_{k}"] = float(rate)
    return found
