"""Fits networks in minutes such that clips have confident predictions that int8 must preserve.

Weights are random, BatchNorms get statistics like those of trained networks, and the classifier is fitted. Deep
networks of thin layers need more, because their random features are too sensitive to small changes of a clip; they
are trained for some steps first, mostly on smaller clips, where a step is cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, one_hot

from compress.studies.comparison.clips import CLASSES, scene_clips
from compress.studies.comparison.networks import Row, spec_of
from models import STUDENTS
from models.heads import classifiers_of
from models.layers import BatchNorm
from models.spec import ClipSpec
from models.statistics import settle_statistics

FITTED = 96
"""Number of clips for fitting the classifier."""

_BATCH = 8
"""Clips per training step: one of every class."""
_WARM_UP = 4
"""Warm-up steps, followed by a linear decay of the learning rate to zero."""
_LABEL_SMOOTHING = 0.1
_LARGEST_GRADIENT = 1.0
"""Largest gradient norm."""

_RIDGE = 0.1
"""Ridge penalty, relative to the mean variance of the features."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A network, the clips for fitting its classifier, and unseen clips."""

    model: nn.Module
    spec: ClipSpec
    known: np.ndarray
    """float32 `N 3 T H W`, as are the others."""
    unseen: np.ndarray
    accuracy: float
    """Accuracy of the float network on the unseen clips."""
    margin: float
    """Median over unseen clips of largest minus second logit, relative to the largest magnitude of all logits."""


def fit(row: Row, *, seed: int, clips: int, known: int = FITTED) -> Fitted:
    """Builds the network of `row` with weights from `seed` and fits its classifier; generates `clips` unseen
    clips."""
    spec = spec_of(row, classes=CLASSES)
    assert spec.video is not None
    network = STUDENTS[row.network]
    torch.manual_seed(seed)
    model = network.build(spec, network.options(width=row.width))
    seen, labels = scene_clips(spec.video, count=known, seed=2 * seed)
    if row.steps:
        if row.small_steps:
            half = interpolate(seen, scale_factor=(1, 0.5, 0.5), mode="trilinear")
            train(model, (half,), labels, steps=row.small_steps, learning_rate=row.learning_rate)
        train(model, (seen,), labels, steps=row.steps, learning_rate=row.learning_rate)
        measure_statistics(model, (seen,))
    else:
        settle_statistics(model, spec, seed=seed)
    if row.ridge:
        (classifier,) = classifiers_of(model)
        weight, bias = _ridge(_features(model, classifier, seen), labels)
        with torch.no_grad():
            classifier.weight.copy_(weight)
            classifier.bias.copy_(bias)
    unseen, truth = scene_clips(spec.video, count=clips, seed=2 * seed + 1)
    with torch.inference_mode():
        logits = torch.cat([model(clip[None]) for clip in unseen])
    first, second = logits.topk(2).values.T
    return Fitted(
        model=model,
        spec=spec,
        known=seen.numpy(),
        unseen=unseen.numpy(),
        accuracy=float((logits.argmax(1) == truth).double().mean()),
        margin=float(((first - second) / logits.abs().max()).median()),
    )


def train(
    model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, *, steps: int, learning_rate: float
) -> None:
    """A short training with a learning rate that decays to zero; batches cycle through the inputs."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    for step in range(steps):
        at = torch.arange(step * _BATCH, (step + 1) * _BATCH) % len(labels)
        share = min((step + 1) / _WARM_UP, 1.0) * (1 - step / steps)
        optimiser.param_groups[0]["lr"] = learning_rate * share
        optimiser.zero_grad()
        loss = cross_entropy(
            model(*(tensor[at] for tensor in inputs)), labels[at], label_smoothing=_LABEL_SMOOTHING
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
    model.eval()


def measure_statistics(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Recomputes running means and variances over all inputs, because the few training steps do not converge
    them."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over batches
        norm.train()
    with torch.no_grad():
        for batch in zip(*(tensor.split(_BATCH) for tensor in inputs), strict=True):
            model(*batch)
    for norm in norms:
        norm.eval()


def _features(model: nn.Module, classifier: nn.Module, clips: Tensor) -> Tensor:
    """The inputs of the classifier, `N F`."""
    given: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        for clip in clips:
            model(clip[None])
    hook.remove()
    return torch.cat(given)


def _ridge(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `K F` and bias `K` of a linear classifier: ridge regression onto one-hot labels.

    Hoerl and Kennard 1970, "Ridge Regression", in the dual form, as there are fewer clips than features.
    """
    features = features.double()
    mean, deviation = features.mean(0), features.std(0)
    scale = 1 / (deviation.clamp(min=1e-3 * float(deviation.max())) * features.shape[1] ** 0.5)
    scaled = (features - mean) * scale
    targets = one_hot(labels, CLASSES).double()
    offset = targets.mean(0)
    kernel = scaled @ scaled.T + _RIDGE * torch.eye(len(scaled), dtype=torch.float64)
    weight = (scaled.T @ torch.linalg.solve(kernel, targets - offset)).T * scale
    return weight.float(), (offset - weight @ mean).float()
