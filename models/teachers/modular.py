"""The modular teacher: a video, an audio and a text encoder, a fusion, and a head for every task.

Whole modalities are hidden at random while training, so that no encoder leans on the others and a clip that lacks
one is still answered (Neverova et al. 2016, "ModDrop: adaptive multi-modal gesture recognition").
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
"""Values of a picture or a log-mel that differ by no more are the same: a pixel's step is four times as large, and
silence comes out of the resampling in time with the rounding of float32."""


@dataclass(frozen=True, kw_only=True)
class ModularOptions:
    """Parts of a modular teacher, each by `name` with its own options beside it."""

    video: VideoChoice = field(
        default_factory=lambda: _VIDEO["r2plus1d_18"](name="r2plus1d_18"), metadata=_BY_NAME
    )
    """What sees: `name` says the encoder (by default r2plus1d_18), beside it stand the keys of that encoder."""
    audio: AudioChoice = field(default_factory=lambda: _AUDIO["cnn"](name="cnn"), metadata=_BY_NAME)
    """What hears, by default cnn."""
    text: TextChoice = field(default_factory=lambda: _TEXT["lstm"](name="lstm"), metadata=_BY_NAME)
    """What reads, by default lstm."""
    fusion: FusionChoice = field(default_factory=lambda: _FUSION["gated"](name="gated"), metadata=_BY_NAME)
    """What makes one vector of all that is there, by default gated."""
    captions: Literal["evidence", "retrieval"] = "evidence"
    """Whether captions are evidence for every task, or only what retrieval looks for."""
    retrieval_features: int = within(128, 1, 8_192)
    """Length of the vectors that retrieval compares."""
    modality_dropout: float = within(0.2, 0.0, 1.0)
    """Probability that one modality of a training clip is hidden; at least one is always left."""
    dropout: float = dropout_share(0.3)
    """Share of fused features zeroed before the classifiers while training."""


class ModularTeacher(nn.Module):
    """Answers to every task from the inputs that the spec has: clip, audio, text, in this order.

    Gives logits `N K` of each label column, then of each tag column, then for retrieval `N 2 F` (see
    `RetrievalHead`); a tensor when there is one answer, else a tuple. A modality that a clip lacks is masked: its
    encoder has no part in the clip's answers. A picture or a sound is missing when all of its values are the same,
    a caption when it has no words.
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
        """Answers to every task."""
        given = dict(zip(self.encoders, inputs, strict=True))
        has = {name: is_there(name, x) for name, x in given.items()}
        features = {name: self._encoded(name, x, has[name]) for name, x in given.items()}
        fused = [features[name] for name in self.fused]
        there = torch.stack([has[name] for name in self.fused], dim=1)
        shown = self._hide_one(there) if self.training else there
        answers = as_tuple(self.heads(self.fusion(fused, shown)))
        if self.retrieval is not None:
            # A clip must not be found by its caption's own words.
            silent = torch.tensor([name != "text" for name in self.fused], device=there.device)
            clips = self.fusion(fused, there & silent)
            answers += (self.retrieval(clips, features["text"], has["text"]),)
        return answers[0] if len(answers) == 1 else answers

    def _encoded(self, name: str, x: Tensor, has: Tensor) -> Tensor:
        """Features `N F`; while training, BatchNorm sees only inputs that are there.

        In the place of one that is missing stands that of another clip; the fusion masks what comes of it.
        """
        if self.training and bool(has.any()) and not bool(has.all()):
            others = has.nonzero().squeeze(1)
            numbers = torch.arange(len(x), device=x.device)
            x = x[torch.where(has, numbers, others[numbers % len(others)])]
        return self.encoders[name](x)

    def _hide_one(self, there: Tensor) -> Tensor:
        """`there` with at most one modality of a clip hidden, with probability `modality_dropout`."""
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
    """Probability that one modality of a training clip is hidden; at least one is always left."""
    dropout: float = dropout_share(0.3)
    """Share of fused features zeroed before the classifiers while training."""


def multimodal(spec: ClipSpec, options: MultimodalOptions) -> ModularTeacher:
    """The default teacher, side by side: about 2 M parameters with all three modalities."""
    return _multimodal(spec, options, video="factorised", audio="cnn", text_features=64)


def multimodal_tiny(spec: ClipSpec, options: MultimodalOptions) -> ModularTeacher:
    """The same in small: for tests, where it trains in seconds."""
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
    """Which clips have the modality `name`, whose input is `x`: `N`, true or false."""
    if name == "text":
        return (x != PAD_TOKEN).any(1)
    values = x.flatten(1)
    return values.amax(1) - values.amin(1) > _SAME


def _require_sense(spec: ClipSpec, *, fused: Sequence[str], options: ModularOptions) -> None:
    """Raises `ValueError` for parts that would have nothing to do, and for tasks that cannot be answered."""
    if options.captions == "retrieval" and "text" in spec.inputs and not spec.retrieval:
        raise ValueError(
            "captions are for retrieval alone, but it is no task: add it, or leave out the input text"
        )
    if not fused:
        raise ValueError("nothing is left to answer from but captions, which are for retrieval alone")
    if spec.retrieval and ("text" not in spec.inputs or set(spec.inputs) == {"text"}):
        raise ValueError(
            "retrieval compares captions with what is seen or heard; the teacher's inputs are "
            f"{', '.join(spec.inputs)}"
        )
