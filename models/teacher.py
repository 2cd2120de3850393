"""The multimodal teacher: one encoder per modality, fusion by concatenation, one head per label column.

The video encoder factorises space and time: R(2+1)D of Tran et al. 2018, "A Closer Look at Spatiotemporal
Convolutions for Action Recognition", section 3.5. Whole modalities are hidden at random while training, so
that no encoder leans on the others and a clip that lacks one is still answered (Neverova 2016, "ModDrop").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import AudioEncoder, Heads, Normalise, Triple
from models.spec import PAD_TOKEN, ClipSpec


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Size of a multimodal teacher."""

    width: float = 1.0
    """Multiplies the channels of every encoder."""
    modality_dropout: float = 0.2
    """Probability that one modality of a training clip is hidden; at least one is always left."""
    dropout: float = 0.3
    """Share of fused features zeroed before the classifiers while training."""


class _FactorisedConv(nn.Sequential):
    """Spatial 1x3x3, BatchNorm, ReLU, temporal 3x1x1, BatchNorm: `N C T H W` -> `N C' T' H' W'`."""

    def __init__(self, before: int, after: int, *, stride: Triple) -> None:
        time, rows, columns = stride
        super().__init__(
            nn.Conv3d(before, after, (1, 3, 3), stride=(1, rows, columns), padding=(0, 1, 1), bias=False),
            nn.BatchNorm3d(after),
            nn.ReLU(inplace=True),
            nn.Conv3d(after, after, (3, 1, 1), stride=(time, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(after),
        )


class _Residual(nn.Module):
    """A factorised convolution with a shortcut, then ReLU."""

    def __init__(self, before: int, after: int, *, stride: Triple) -> None:
        super().__init__()
        self.body = _FactorisedConv(before, after, stride=stride)
        self.shortcut = nn.Sequential(
            nn.Conv3d(before, after, 1, stride=stride, bias=False), nn.BatchNorm3d(after)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class VideoEncoder(nn.Module):
    """Clip `N 3 T H W` in 0..1 -> `N features`: a stem of stride (1, 4, 4), then residual blocks."""

    def __init__(self, spec: ClipSpec, *, channels: Sequence[int]) -> None:
        super().__init__()
        assert spec.video is not None
        self.normalise = Normalise(spec.video.mean, spec.video.std)
        first = channels[0]
        self.stem = nn.Sequential(
            nn.Conv3d(3, first, (1, 7, 7), stride=(1, 4, 4), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(first),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(
            *(
                _Residual(before, after, stride=(1, 1, 1) if stage == 0 else (2, 2, 2))
                for stage, (before, after) in enumerate(zip([first, *channels], channels, strict=False))
            )
        )
        self.features = channels[-1]

    def forward(self, clip: Tensor) -> Tensor:
        """Mean over time and space of the last block."""
        return self.blocks(self.stem(self.normalise(clip))).mean((2, 3, 4))


class TextEncoder(nn.Module):
    """Tokens `N L` -> `N features`: the mean of the embeddings of the words that are there, then a layer."""

    def __init__(self, spec: ClipSpec, *, features: int) -> None:
        super().__init__()
        assert spec.text is not None
        self.embedding = nn.Embedding(len(spec.text.vocabulary) + 2, features, padding_idx=PAD_TOKEN)
        self.layer = nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True))
        self.features = features

    def forward(self, tokens: Tensor) -> Tensor:
        """A caption without words gives the layer's answer to zeros."""
        present = (tokens != PAD_TOKEN).unsqueeze(-1)
        words = present.sum(1).clamp(min=1)
        return self.layer((self.embedding(tokens) * present).sum(1) / words)


class MultimodalTeacher(nn.Module):
    """Logits `N K` per label column from the inputs that the spec has: clip, audio, text, in this order."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        video_channels: Sequence[int],
        audio_channels: Sequence[int],
        text_features: int,
        options: TeacherOptions,
    ) -> None:
        super().__init__()

        def scaled(channels: Sequence[int]) -> list[int]:
            return [max(1, round(count * options.width)) for count in channels]

        encoders: dict[str, VideoEncoder | AudioEncoder | TextEncoder] = {}
        if spec.video is not None:
            encoders["clip"] = VideoEncoder(spec, channels=scaled(video_channels))
        if spec.audio is not None:
            encoders["audio"] = AudioEncoder(spec.audio, channels=scaled(audio_channels), keep_time=True)
        if spec.text is not None:
            encoders["text"] = TextEncoder(spec, features=scaled([text_features])[0])
        self.encoders = nn.ModuleDict(encoders)
        self.modality_dropout = options.modality_dropout
        self.heads = Heads(sum(e.features for e in encoders.values()), spec, dropout=options.dropout)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        features = [encoder(x) for encoder, x in zip(self.encoders.values(), inputs, strict=True)]
        if self.training and len(features) > 1:
            features = self._hide_one(features)
        return self.heads(torch.cat(features, dim=1))

    def _hide_one(self, features: list[Tensor]) -> list[Tensor]:
        """Zeroes the features of at most one modality per clip, with probability `modality_dropout`."""
        clips, device = features[0].shape[0], features[0].device
        hide = torch.rand(clips, device=device) < self.modality_dropout
        chosen = torch.randint(0, len(features), (clips,), device=device)
        return [x * ~(hide & (chosen == k)).unsqueeze(1) for k, x in enumerate(features)]


def multimodal(spec: ClipSpec, options: TeacherOptions) -> MultimodalTeacher:
    """The default teacher: about 2 M parameters with all three modalities."""
    return MultimodalTeacher(
        spec,
        video_channels=(48, 96, 192, 320),
        audio_channels=(32, 64, 96, 128),
        text_features=64,
        options=options,
    )


def multimodal_tiny(spec: ClipSpec, options: TeacherOptions) -> MultimodalTeacher:
    """The same in small: for tests, where it trains in seconds."""
    return MultimodalTeacher(
        spec, video_channels=(8, 16), audio_channels=(8, 16, 24), text_features=16, options=options
    )
