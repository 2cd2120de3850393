"""The modular teacher: a video, an audio and a text encoder, a fusion, and a head for every task.

Modalities are dropped at random during training, so that the network does not depend on a single one and handles
clips with missing modalities (Neverova et al. 2016, "ModDrop: adaptive multi-modal gesture recognition").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from models.layers import Heads
from models.ranges import dropout_share, size_factor, within
from models.spec import PAD_TOKEN, ClipSpec, Modality, as_tuple
from models.teachers.audio import AUDIO_ENCODERS
from models.teachers.encoder import Encoder, choices
from models.teachers.fusion import FUSIONS
from models.teachers.retrieval import RetrievalHead
from models.teachers.text import TEXT_ENCODERS
from models.teachers.video import VIDEO_ENCODERS

TABLES: Mapping[Modality, Mapping[str, Encoder]] = {
    "clip": VIDEO_ENCODERS,
    "audio": AUDIO_ENCODERS,
    "text": TEXT_ENCODERS,
}
_VIDEO, _AUDIO = choices(VIDEO_ENCODERS), choices(AUDIO_ENCODERS)
_TEXT, _FUSION = choices(TEXT_ENCODERS), choices(FUSIONS)

if TYPE_CHECKING:
    VideoChoice = Any
    AudioChoice = Any
    TextChoice = Any
    FusionChoice = Any
else:
    VideoChoice = reduce(or_, _VIDEO.values())
    AudioChoice = reduce(or_, _AUDIO.values())
    TextChoice = reduce(or_, _TEXT.values())
    FusionChoice = reduce(or_, _FUSION.values())

_BY_NAME = {"discriminator": "name"}
_SAME = 1e-3
"""Tolerance for equal values of a frame or a log-mel: a quarter of a pixel step, and above the float32 rounding of
resampled silence."""


@dataclass(frozen=True, kw_only=True)
class ModularOptions:
    """Parts of a modular teacher, each selected by `name` with its own options."""

    video: VideoChoice = field(
        default_factory=lambda: _VIDEO["r2plus1d_18"](name="r2plus1d_18"), metadata=_BY_NAME
    )
    """Video encoder, selected by `name` (by default r2plus1d_18), with the keys of that encoder."""
    audio: AudioChoice = field(default_factory=lambda: _AUDIO["cnn"](name="cnn"), metadata=_BY_NAME)
    """Audio encoder, by default cnn."""
    text: TextChoice = field(default_factory=lambda: _TEXT["lstm"](name="lstm"), metadata=_BY_NAME)
    """Text encoder, by default lstm."""
    fusion: FusionChoice = field(default_factory=lambda: _FUSION["gated"](name="gated"), metadata=_BY_NAME)
    """Fusion of the modalities, by default gated."""
    captions: Literal["evidence", "retrieval"] = "evidence"
    """Whether captions are an input for every task, or only for retrieval."""
    retrieval_features: int = within(128, 1, 8_192)
    """Length of the embeddings for retrieval."""
    modality_dropout: float = within(0.2, 0.0, 1.0)
    """Probability that one modality of a training clip is dropped; at least one is kept."""
    dropout: float = dropout_share(0.3)
    """Share of fused features zeroed before the classifiers while training."""


class ModularTeacher(nn.Module):
    """Predicts all tasks from the inputs of the spec: clip, audio, text, in this order.

    Returns logits `N K` of each label column, then of each tag column, then for retrieval `N 2 F` (see
    `RetrievalHead`); a tensor for one output, else a tuple. Missing modalities of a clip are masked and do not
    affect its outputs. Video and audio count as missing if all values are equal, a caption if it has no words.
    """

    def __init__(self, spec: ClipSpec, options: ModularOptions) -> None:
        super().__init__()
        chosen = {"clip": options.video, "audio": options.audio, "text": options.text}
        self.encoders = nn.ModuleDict(
            {name: TABLES[name][chosen[name].name].build(spec, chosen[name]) for name in spec.inputs}
        )
        self.fused = [name for name in spec.inputs if name != "text" or options.captions == "evidence"]
        _require_sense(spec, fused=self.fused, options=options)
        sizes = {name: int(encoder.features) for name, encoder in self.encoders.items()}  # type: ignore[arg-type]
        self.modality_dropout = options.modality_dropout
        fusion = FUSIONS[options.fusion.name]
        self.fusion = fusion.build([sizes[name] for name in self.fused], options.fusion)
        features = int(self.fusion.features)  # type: ignore[arg-type]
        self.heads = Heads(features, spec, dropout=options.dropout)
        self.retrieval: RetrievalHead | None = None
        if spec.retrieval:
            self.retrieval = RetrievalHead(features, sizes["text"], features=options.retrieval_features)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of all tasks."""
        given = dict(zip(self.encoders, inputs, strict=True))
        has = {name: is_there(name, x) for name, x in given.items()}
        features = {name: self._encoded(name, x, has[name]) for name, x in given.items()}
        fused = [features[name] for name in self.fused]
        there = torch.stack([has[name] for name in self.fused], dim=1)
        shown = self._hide_one(there) if self.training else there
        outputs = as_tuple(self.heads(self.fusion(fused, shown)))
        if self.retrieval is not None:
            # Retrieval must not use the caption of the clip.
            silent = torch.tensor([name != "text" for name in self.fused], device=there.device)
            clips = self.fusion(fused, there & silent)
            outputs += (self.retrieval(clips, features["text"], has["text"]),)
        return outputs[0] if len(outputs) == 1 else outputs

    def _encoded(self, name: str, x: Tensor, has: Tensor) -> Tensor:
        """Features `N F`; in training, BatchNorm uses only available inputs.

        A missing input is replaced by that of another clip, and the fusion masks its features.
        """
        if self.training and bool(has.any()) and not bool(has.all()):
            others = has.nonzero().squeeze(1)
            numbers = torch.arange(len(x), device=x.device)
            x = x[torch.where(has, numbers, others[numbers % len(others)])]
        return self.encoders[name](x)

    def _hide_one(self, there: Tensor) -> Tensor:
        """`there` with one modality of a clip dropped with probability `modality_dropout`."""
        clips, modalities = there.shape
        if modalities == 1:
            return there
        hide = torch.rand(clips, device=there.device) < self.modality_dropout
        chosen = torch.randint(0, modalities, (clips,), device=there.device)
        hidden = hide.unsqueeze(1) & (torch.arange(modalities, device=there.device) == chosen.unsqueeze(1))
        left = there & ~hidden
        return torch.where(left.any(1, keepdim=True), left, there)


def modular(spec: ClipSpec, options: ModularOptions) -> ModularTeacher:
    """A teacher of the parts that `options` names."""
    return ModularTeacher(spec, options)


@dataclass(frozen=True, kw_only=True)
class MultimodalOptions:
    """Size of the default teacher."""

    width: float = size_factor()
    """Multiplies the channels of every encoder."""
    modality_dropout: float = within(0.2, 0.0, 1.0)
    """Probability that one modality of a training clip is dropped; at least one is kept."""
    dropout: float = dropout_share(0.3)
    """Share of fused features zeroed before the classifiers while training."""


def multimodal(spec: ClipSpec, options: MultimodalOptions) -> ModularTeacher:
    """The default teacher with concatenated features: about 2 M parameters with all three modalities."""
    return _multimodal(spec, options, video="factorised", audio="cnn", text_features=64)


def multimodal_tiny(spec: ClipSpec, options: MultimodalOptions) -> ModularTeacher:
    """A small version, for tests: trains in seconds."""
    return _multimodal(spec, options, video="factorised_tiny", audio="cnn_tiny", text_features=16)


def _multimodal(
    spec: ClipSpec, options: MultimodalOptions, *, video: str, audio: str, text_features: int
) -> ModularTeacher:
    parts = ModularOptions(
        video=_VIDEO[video](name=video, width=options.width),
        audio=_AUDIO[audio](name=audio, width=options.width),
        text=_TEXT["mean"](name="mean", features=max(1, round(text_features * options.width))),
        fusion=_FUSION["concatenation"](name="concatenation"),
        modality_dropout=options.modality_dropout,
        dropout=options.dropout,
    )
    return ModularTeacher(spec, parts)


def is_there(name: str, x: Tensor) -> Tensor:
    """Whether each clip has the modality `name` with the input `x`: bool `N`."""
    if name == "text":
        return (x != PAD_TOKEN).any(1)
    values = x.flatten(1)
    return values.amax(1) - values.amin(1) > _SAME


def _require_sense(spec: ClipSpec, *, fused: Sequence[str], options: ModularOptions) -> None:
    """Raises `ValueError` for unused parts, and for tasks without the required inputs."""
    if options.captions == "retrieval" and "text" in spec.inputs and not spec.retrieval:
        raise ValueError(
            "captions are for retrieval alone, but it is not a task: add it, or remove the input text"
        )
    if not fused:
        raise ValueError("the only input is text, but captions are for retrieval alone")
    if spec.retrieval and ("text" not in spec.inputs or set(spec.inputs) == {"text"}):
        raise ValueError(
            "retrieval compares captions with video or audio; the teacher's inputs are "
            f"{', '.join(spec.inputs)}"
        )
