"""Specs of small inputs that tests share."""

from __future__ import annotations

from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec


def small_spec(*inputs: str, labels: tuple[str, ...] = ("label",)) -> ClipSpec:
    """A spec with the given inputs: 4 frames of 32 x 32, 16 bands x 16 bins, 6 tokens, 3 classes a column."""
    return ClipSpec(
        video=VideoSpec(frames=4, size=32, resize=36) if "clip" in inputs else None,
        audio=AudioSpec(mels=16, bins=16) if "audio" in inputs else None,
        text=TextSpec(length=6, vocabulary=("left", "right", "up")) if "text" in inputs else None,
        labels=tuple(LabelSpec(name=name, classes=("a", "b", "c")) for name in labels),
    )


def clip_spec(*, frames: int, size: int, classes: int) -> ClipSpec:
    """A spec of clips alone, as publications state them, with one label column of numbered classes."""
    names = tuple(f"class {k}" for k in range(classes))
    return ClipSpec(
        video=VideoSpec(frames=frames, size=size, resize=size),
        labels=(LabelSpec(name="action", classes=names),),
    )
