"""The compared networks and the size of their clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.spec import ClipSpec, LabelSpec, VideoSpec

Kind = Literal["dense", "depthwise", "factorised", "other"]
"""Type of the temporal convolutions: dense Conv3d; depthwise Conv3d over T, H and W; depthwise Conv3d over T and
over H and W separately; other operators."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the comparison."""

    network: str
    """Name in `models.STUDENTS`."""
    kind: Kind
    frames: int
    size: int
    """Height and width of a frame in pixels."""
    width: float = 1.0
    small_steps: int = 0
    """Training steps on clips of half the size, on which deep networks of thin layers learn faster."""
    steps: int = 0
    """Further training steps on full-size clips until features separate the classes."""
    learning_rate: float = 2e-3
    """Initial learning rate of both trainings, which decays to zero."""
    ridge: bool = True
    """Whether the classifier is fitted by ridge regression, or kept from training: a fitted one depends on weak
    features, which int8 may change strongly."""
    int8_faster: bool = False
    """Whether its int8 files must reach the speedups of `acceptance` over float."""
    peer: bool = False
    """Whether it is compared with the fastest peer."""
    convolutional: bool = True
    """Whether it is purely convolutional, so that runtimes must accelerate all of it."""


NETWORKS: dict[str, Row] = {
    "c3d": Row(network="c3d", kind="dense", frames=8, size=64, steps=40, learning_rate=1e-4, ridge=False),
    "i3d": Row(network="i3d", kind="dense", frames=8, size=112),
    "r2plus1d_18": Row(network="r2plus1d_18", kind="dense", frames=8, size=64),
    "r3d_18": Row(network="r3d_18", kind="dense", frames=8, size=64),
    "s3d": Row(
        network="s3d",
        kind="dense",
        frames=8,
        size=112,
        small_steps=40,
        steps=20,
        learning_rate=1e-3,
        ridge=False,
    ),
    "slowfast_r50": Row(network="slowfast_r50", kind="dense", frames=16, size=64),
    "x3d_s": Row(
        network="x3d_s",
        kind="depthwise",
        frames=13,
        size=112,
        small_steps=80,
        steps=30,
        learning_rate=3e-3,
        ridge=False,
        int8_faster=True,
    ),
    "x3d_m": Row(
        network="x3d_m",
        kind="depthwise",
        frames=16,
        size=112,
        small_steps=80,
        steps=30,
        learning_rate=3e-3,
        ridge=False,
    ),
    "mobilenet3d_v1": Row(
        network="mobilenet3d_v1", kind="depthwise", frames=8, size=112, steps=40, int8_faster=True, peer=True
    ),
    "mobilenet3d_v1_half": Row(
        network="mobilenet3d_v1",
        kind="depthwise",
        frames=8,
        size=112,
        width=0.5,
        steps=40,
        int8_faster=True,
        peer=True,
    ),
    "mobilenet3d": Row(
        network="mobilenet3d", kind="depthwise", frames=8, size=112, steps=40, int8_faster=True, peer=True
    ),
    "mobilenet3d_half": Row(
        network="mobilenet3d",
        kind="depthwise",
        frames=8,
        size=112,
        width=0.5,
        steps=40,
        int8_faster=True,
        peer=True,
    ),
    "mobilenet3d_v3": Row(network="mobilenet3d_v3", kind="depthwise", frames=8, size=112, steps=40),
    "shufflenet3d": Row(network="shufflenet3d", kind="depthwise", frames=8, size=112),
    "mobilenet2plus1d": Row(
        network="mobilenet2plus1d",
        kind="factorised",
        frames=8,
        size=112,
        small_steps=120,
        steps=60,
        learning_rate=3e-3,
        ridge=False,
        int8_faster=True,
    ),
    "movinet_a0": Row(network="movinet_a0", kind="factorised", frames=8, size=112),
    "cnn_lstm": Row(network="cnn_lstm", kind="other", frames=8, size=112, steps=40, convolutional=False),
    "video_transformer": Row(
        network="video_transformer", kind="other", frames=8, size=112, convolutional=False
    ),
}
"""All compared networks. Large ones use smaller clips than published, so that two cores suffice."""


def spec_of(row: Row, *, classes: int) -> ClipSpec:
    """The spec of the network of `row`."""
    names = tuple(f"class {number}" for number in range(classes))
    return ClipSpec(
        video=VideoSpec(frames=row.frames, size=row.size, resize=row.size),
        labels=(LabelSpec(name="scene", classes=names),),
    )
