"""Which networks are compared, and on clips of which size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.spec import ClipSpec, LabelSpec, VideoSpec

Kind = Literal["dense", "depthwise", "factorised", "other"]
"""What convolves over time: Conv3d over all channels; depthwise Conv3d over T, H and W at once; depthwise Conv3d
over T, and over H and W, one after the other; something else than a Conv3d."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the comparison."""

    network: str
    """Its name in `models.STUDENTS`."""
    kind: Kind
    frames: int
    size: int
    """Side of a frame in pixels."""
    width: float = 1.0
    small_steps: int = 0
    """Training steps on clips of half the size, on which deep networks of thin layers learn sooner."""
    steps: int = 0
    """Training steps that it needs, after those, before its features tell clips apart."""
    learning_rate: float = 2e-3
    """Of both trainings, each of which begins with it and ends at zero."""
    ridge: bool = True
    """Whether the classifier is fitted to the features, or kept as training left it: where int8 changes features
    much, it must not listen to the faint ones."""
    int8_faster: bool = False
    """Whether its int8 files have to be faster than the float ones by the shares of `acceptance`."""
    peer: bool = False
    """Whether it is to be as fast as the strongest peer."""
    convolutional: bool = True
    """Whether it is a CNN throughout, so that runtimes have to take all of it."""


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
"""Every compared network. The heavy ones see smaller clips than published, so that two cores do the whole table."""


def spec_of(row: Row, *, classes: int) -> ClipSpec:
    """What the network of `row` takes and gives."""
    names = tuple(f"class {number}" for number in range(classes))
    return ClipSpec(
        video=VideoSpec(frames=row.frames, size=row.size, resize=row.size),
        labels=(LabelSpec(name="scene", classes=names),),
    )
