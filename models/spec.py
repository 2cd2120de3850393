"""Specification of the inputs and outputs of a network, with units.

A `ClipSpec` is stored with the weights: it defines preprocessing in the clip reader, the layers of networks, and
the manifest of exports. Values are plain data, so `to_dict` / `from_dict` round-trip as JSON.

Shape legend used throughout the project: N clips, C channels, T frames, H rows, W columns, M mel bands,
B time bins of the log-mel spectrogram, L text tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

Modality = Literal["clip", "audio", "text"]
MODALITIES: tuple[Modality, ...] = ("clip", "audio", "text")
"""All modalities, in the order of the arguments of `forward`."""

PAD_TOKEN, UNKNOWN_TOKEN = 0, 1
"""Token ids that are not words; the first word of `TextSpec.vocabulary` has id 2."""


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """Sampling and cropping of video: network input `clip`, float32 `N 3 T H W`, RGB in 0..1.

    The short side of each (upright) frame is resized to `resize` pixels, then the centre `size` x `size` is
    cropped. Networks apply `(x - mean) / std` themselves.
    """

    frames: int
    size: int
    resize: int
    sampling: Literal["uniform", "strided"] = "uniform"
    stride: int = 1
    """Source frames from one sampled frame to the next; used by `strided` only."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """Conversion of audio to a log-mel spectrogram: network input `audio`, float32 `N 1 M B`.

    Mono audio at `sample_rate_hz`; periodic Hann window of `window` samples moved by `hop` samples; unscaled
    power spectrum; `mels` HTK mel bands from 0 Hz to half the sample rate; natural logarithm of
    (power + 1e-6), then `(x - mean) / std`; resampled in time to exactly `bins` bins over the clip's span.
    """

    sample_rate_hz: int = 16_000
    window: int = 400
    hop: int = 160
    mels: int = 40
    bins: int = 64
    mean: float = -4.0
    std: float = 4.0


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """Tokenization of a caption: network input `text`, int64 `N L`.

    Lower-cased runs of letters, digits and apostrophes; id = position in `vocabulary` + 2, 1 = unknown
    word, 0 = padding up to `length`.
    """

    length: int
    vocabulary: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """One label column and its classes, in the order of the logits."""

    name: str
    classes: tuple[str, ...]


State = dict[str, Tensor]
"""State of a streaming network between frames, by name; zeros before the first frame."""

COUNT_STATE = "count"
"""Name of the state that counts the frames of a stream."""


@dataclass(frozen=True, kw_only=True)
class StateSpec:
    """One tensor of a `State`, of rank 4 at most; the meaning of its axes is internal to the network."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"]


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """The inputs of a network (`None` for an unused modality) and its label columns."""

    video: VideoSpec | None
    audio: AudioSpec | None = None
    text: TextSpec | None = None
    labels: tuple[LabelSpec, ...]
    tags: tuple[LabelSpec, ...] = ()
    """Columns with any number of classes per clip. Teachers learn them; exported files have no outputs for them."""
    retrieval: bool = False
    """Whether a teacher also learns to match captions to clips."""

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """Names of the inputs in the order in which `forward` takes them."""
        used = {"clip": self.video, "audio": self.audio, "text": self.text}
        return tuple(name for name in MODALITIES if used[name] is not None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the logits, one per label column: `logits`, or `logits_<column>` of several."""
        if len(self.labels) == 1:
            return ("logits",)
        return tuple(f"logits_{label.name}" for label in self.labels)

    def shape(self, name: Modality, *, batch: int = 1) -> tuple[int, ...]:
        """Shape of the input `name` for `batch` clips."""
        if name == "clip" and self.video:
            return (batch, 3, self.video.frames, self.video.size, self.video.size)
        if name == "audio" and self.audio:
            return (batch, 1, self.audio.mels, self.audio.bins)
        if name == "text" and self.text:
            return (batch, self.text.length)
        raise ValueError(f"this network has no input {name!r}; its inputs are {', '.join(self.inputs)}")

    def example(self, *, batch: int = 1, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs of the right shapes, dtypes and value ranges, in `forward`'s order."""
        generator = torch.Generator().manual_seed(seed)
        tensors = []
        for name in self.inputs:
            shape = self.shape(name, batch=batch)
            if name == "text":
                assert self.text is not None
                words = len(self.text.vocabulary) + 2
                tensors.append(torch.randint(0, words, shape, generator=generator))
            elif name == "audio":
                tensors.append(torch.randn(shape, generator=generator))
            else:
                tensors.append(torch.rand(shape, generator=generator))
        return tuple(tensors)

    def only(self, inputs: tuple[str, ...], *, labels: tuple[str, ...] | None = None) -> ClipSpec:
        """The spec with only these modalities and label columns (`None`: all columns), without tags."""
        missing = [name for name in inputs if name not in self.inputs]
        if missing:
            raise ValueError(f"the data has no input {missing[0]!r}; it has {', '.join(self.inputs)}")
        columns = {label.name: label for label in self.labels}
        unknown = [name for name in labels or () if name not in columns]
        if unknown:
            raise ValueError(f"the data has no label column {unknown[0]!r}; it has {', '.join(columns)}")
        return replace(
            self,
            labels=self.labels if labels is None else tuple(columns[name] for name in labels),
            tags=(),
            retrieval=False,
            video=self.video if "clip" in inputs else None,
            audio=self.audio if "audio" in inputs else None,
            text=self.text if "text" in inputs else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps` and `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClipSpec:
        """Restores a spec from `to_dict` (lists of JSON become tuples)."""

        def build(kind: type, values: Mapping[str, Any] | None) -> Any:
            if values is None:
                return None
            return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

        return cls(
            video=build(VideoSpec, data["video"]),
            audio=build(AudioSpec, data["audio"]),
            text=build(TextSpec, data["text"]),
            labels=tuple(build(LabelSpec, label) for label in data["labels"]),
            tags=tuple(build(LabelSpec, label) for label in data.get("tags", ())),
            retrieval=data.get("retrieval", False),
        )


def describe_state(state: Mapping[str, Tensor]) -> tuple[StateSpec, ...]:
    """Names, shapes and types of a state's tensors, in their order.

    Raises ValueError for a tensor of rank above 4 or of another type than float32 and int64, which phone runtimes
    do not support.
    """
    known: dict[torch.dtype, Literal["float32", "int64"]] = {
        torch.float32: "float32",
        torch.int64: "int64",
    }
    for name, tensor in state.items():
        if tensor.dim() > 4 or tensor.dtype not in known:
            raise ValueError(
                f"state {name!r} is {tensor.dtype} of shape {list(tensor.shape)}; states are float32 or int64, of "
                "rank 4 at most: flatten axes"
            )
    return tuple(
        StateSpec(name=name, shape=tuple(tensor.shape), dtype=known[tensor.dtype])
        for name, tensor in state.items()
    )


def as_tuple(logits: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Logits as one tensor `N K` per label column, whether `forward` gave a tensor or a tuple."""
    return logits if isinstance(logits, tuple) else (logits,)
