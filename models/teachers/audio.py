"""Audio encoders over log-mel spectrograms `N 1 M B`: a CNN, a GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import AudioEncoder
from models.ranges import size_factor, within
from models.spec import AudioSpec, ClipSpec
from models.teachers.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class AudioCnnOptions:
    """Size of a CNN over log-mel spectrograms."""

    width: float = size_factor()
    """Multiplies every number of channels."""


@dataclass(frozen=True, kw_only=True)
class AudioGruOptions:
    """Size of a GRU over the time bins of log-mel spectrograms."""

    features: int = within(128, 1, 8_192)
    """Features of each of the two directions."""
    layers: int = within(1, 1, 16)
    """Number of stacked GRUs."""

    def __post_init__(self) -> None:
        if self.features < 1 or self.layers < 1:
            raise ValueError(
                f"a GRU has at least 1 feature and 1 layer, not {self.features} and {self.layers}"
            )


class AudioGru(nn.Module):
    """Log-mel `N 1 M B` -> `N features`: a bidirectional GRU over the time bins.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3; returns the
    last states of both directions, then the mean of all.
    """

    def __init__(self, audio: AudioSpec, *, features: int, layers: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(audio.mels, features, layers, batch_first=True, bidirectional=True)
        self.features = 4 * features

    def forward(self, log_mel: Tensor) -> Tensor:
        """Forward state after the last bin, backward state after the first, then the means of both."""
        states = self.recurrent(log_mel.squeeze(1).transpose(1, 2))[0]
        forwards, backwards = states.chunk(2, dim=2)
        return torch.cat([forwards[:, -1], backwards[:, 0], states.mean(1)], dim=1)


def _cnn(channels: Sequence[int]) -> Callable[[ClipSpec, AudioCnnOptions], AudioEncoder]:
    def build(spec: ClipSpec, options: AudioCnnOptions) -> AudioEncoder:
        assert spec.audio is not None
        scaled = [max(1, round(count * options.width)) for count in channels]
        return AudioEncoder(spec.audio, channels=scaled, keep_time=True)

    return build


def _gru(spec: ClipSpec, options: AudioGruOptions) -> AudioGru:
    assert spec.audio is not None
    return AudioGru(spec.audio, features=options.features, layers=options.layers)


AUDIO_ENCODERS: dict[str, Encoder] = {
    "cnn": Encoder(build=_cnn((32, 64, 96, 128)), options=AudioCnnOptions),
    "cnn_tiny": Encoder(build=_cnn((8, 16, 24)), options=AudioCnnOptions),
    "gru": Encoder(build=_gru, options=AudioGruOptions),
}
