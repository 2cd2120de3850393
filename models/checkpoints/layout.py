"""How names and values of published tensors become those of a network of this project."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NewName = Callable[[re.Match[str]], str]
Supply = Callable[[str, Mapping[str, Tensor], Tensor], Tensor]
"""`(name, tensors from the file by their new names, own tensor)` -> the value of the own tensor."""

_NEVER_GIVEN = re.compile(r"normalise\.(mean|std)|.*num_batches_tracked|heads\.classifiers\..+")
_SHOWN = 3
"""Number of tensors that a message names."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation per channel of RGB in 0..1 that weights were trained with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Of torchvision's ImageNet weights."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rules for renaming public tensors; the first pattern that matches the whole name applies."""

    source: str
    """Who publishes such files."""
    rules: tuple[tuple[str, NewName], ...]
    left_out: str
    """Pattern of the names of classifiers."""
    not_given: str = r"$^"
    """Pattern of tensors of this project that such checkpoints do not have; they stay as initialised."""
    supplied: tuple[tuple[str, Supply], ...] = ()
    """Pattern and value of tensors that such checkpoints do not have, and with which the network computes the same
    as the published one."""
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    """Combines tensors of the file, by their published names, that are one in this project."""
    inflates: bool = False
    """Whether kernels over pictures become the centre of kernels over space and time, and all other taps zero.

    This is the central frame initialisation of Arnab et al. 2021, "ViViT", section 3.4. The other known form
    divides by the number of frames (Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?", section 2.4),
    which is exact for still clips except near their ends, where the padding is dark. The centre is exact for every
    clip.
    """
    normalisation: Normalisation | None = None
    """That of the published network; None if the file's own documents state it."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Result of loading public weights."""

    layout: Layout
    left_out: tuple[str, ...]
    """Names of the tensors of classifiers in the file."""
    supplied: tuple[str, ...]
    """Names of own tensors with the values of `Layout.supplied`."""
    drawn: tuple[str, ...]
    """Names of own tensors that stay as initialised, without those of classifiers."""


def load_layout(
    network: nn.Module, weights: Mapping[str, Tensor], *, layouts: Sequence[Layout], name: str
) -> Loaded:
    """Loads a public state dict into `network`, by that of its `layouts` whose rules know the most tensors.

    Every tensor but those of classifiers must be used, and every own tensor set. Raises `ValueError` for mismatched
    names or shapes; `name` is that of the network in messages.
    """
    layout = max(layouts, key=lambda one: sum(_knows(one, key) for key in weights))
    weights = layout.fold(dict(weights)) if layout.fold else weights
    own = network.state_dict()
    left_out = tuple(key for key in weights if re.fullmatch(layout.left_out, key))
    renamed = {key: _new_name(key, layout) for key in weights if key not in left_out}
    places: dict[str, str] = {}
    for key, new in renamed.items():
        places.setdefault(new, key)
    given = {
        new: _fitted(weights[key], own[new], layout) if new in own else weights[key]
        for new, key in places.items()
    }
    supplies = {
        key: supply
        for key in own
        for pattern, supply in layout.supplied
        if key not in given and re.fullmatch(pattern, key)
    }
    drawn = [
        key for key in own if key not in given and key not in supplies and not _NEVER_GIVEN.fullmatch(key)
    ]
    faults = {
        "unknown": [
            f"{key} {_shape(weights[key])}"
            for key, new in renamed.items()
            if places[new] != key or (new not in own and not _NEVER_GIVEN.fullmatch(new))
        ],
        "of another shape": [
            f"{key} is {_shape(given[key])} instead of {_shape(own[key])}"
            for key in own
            if key in given and given[key].shape != own[key].shape
        ],
        "missing": [f"{key} {_shape(own[key])}" for key in drawn if not re.fullmatch(layout.not_given, key)],
    }
    if any(faults.values()):
        sources = " or ".join(dict.fromkeys(one.source for one in layouts))
        raise ValueError(
            f"these are not the public weights of {name} ({sources}) at its published size, for these clips: "
            + "; ".join(_listed(what, found) for what, found in faults.items() if found)
        )
    supplied = {key: supply(key, given, own[key]) for key, supply in supplies.items()}
    network.load_state_dict({**own, **{key: given[key] for key in own if key in given}, **supplied})
    return Loaded(layout=layout, left_out=left_out, supplied=tuple(supplied), drawn=tuple(drawn))


def _listed(what: str, found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{len(found)} tensors {what}: {', '.join(found[:_SHOWN])}{more}"


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape)


def _knows(layout: Layout, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern, _ in layout.rules)


def _new_name(name: str, layout: Layout) -> str:
    """The new name of a public tensor; unknown names are unchanged."""
    for pattern, new_name in layout.rules:
        match = re.fullmatch(pattern, name)
        if match:
            try:
                return new_name(match)
            except (KeyError, IndexError):  # a layer that the published network does not have
                return name
    return name


def _fitted(value: Tensor, own: Tensor, layout: Layout) -> Tensor:
    """A public tensor in the shape of the own one: without or with axes of length one at the end, or inflated.

    Tensors of other shapes are unchanged.
    """
    if value.shape == own.shape:
        return value
    if _without_ones(value) == _without_ones(own):
        return value.reshape(own.shape)
    pictures = own.shape[:2] + own.shape[3:]
    if layout.inflates and own.dim() == 5 and value.shape == pictures:
        inflated = torch.zeros_like(own, dtype=value.dtype, device=value.device)
        inflated[:, :, own.shape[2] // 2] = value
        return inflated
    return value


def _without_ones(value: Tensor) -> list[int]:
    """The shape without axes of length one at its end, after the two first."""
    shape = list(value.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return shape
