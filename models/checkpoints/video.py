"""Layouts of weights for video networks and for encoders of teachers, from the repositories of their authors."""

from __future__ import annotations

import re

from models.checkpoints.layout import IMAGENET, Layout, NewName, Normalisation

_KINETICS = Normalisation(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))
"""Of torchvision.models.video."""
FACEBOOK = Normalisation(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
"""Of SlowFast, PyTorchVideo and TimeSformer."""
_CENTRED = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""RGB in -1..1."""


def _resnet3d(stem: tuple[tuple[str, NewName], ...]) -> Layout:
    def place(match: re.Match[str]) -> int:
        return 2 * int(match["stage"]) - 1 + int(match["block"])

    block = r"layer(?P<stage>\d)\.(?P<block>\d)\."
    return Layout(
        source="torchvision.models.video",
        normalisation=_KINETICS,
        rules=(
            *stem,
            (
                block + r"conv(?P<conv>\d)\.(?P<part>\d)\.(?P<rest>.+)",
                lambda m: f"video.{place(m)}.body.{3 * int(m['conv']) - 3 + int(m['part'])}.{m['rest']}",
            ),
            (block + r"downsample\.(?P<rest>.+)", lambda m: f"video.{place(m)}.shortcut.{m['rest']}"),
        ),
        left_out=r"fc\..+",
    )


_R3D = _resnet3d(((r"stem\.(.+)", lambda m: f"video.0.{m[1]}"),))
_R2PLUS1D = _resnet3d(
    (
        (r"stem\.([01])\.(.+)", lambda m: f"video.0.0.{m[1]}.{m[2]}"),
        (r"stem\.([34])\.(.+)", lambda m: f"video.0.1.{int(m[1]) - 3}.{m[2]}"),
    )
)

_BRANCHES = ("point", "three", "second", "pooled")
_S3D = Layout(
    source="torchvision.models.video",
    normalisation=_KINETICS,
    rules=(
        (r"features\.(\d+)\.branch(\d)\.(.+)", lambda m: f"video.{m[1]}.{_BRANCHES[int(m[2])]}.{m[3]}"),
        (r"features\.(.+)", lambda m: f"video.{m[1]}"),
    ),
    left_out=r"classifier\..+",
)

_I3D_PLACES = {
    **{"Conv3d_1a_7x7": 0, "Conv3d_2b_1x1": 2, "Conv3d_2c_3x3": 3, "Mixed_3b": 5, "Mixed_3c": 6},
    **{"Mixed_4b": 8, "Mixed_4c": 9, "Mixed_4d": 10, "Mixed_4e": 11, "Mixed_4f": 12},
    **{"Mixed_5b": 14, "Mixed_5c": 15},
}
_I3D_BRANCHES = {
    **{"b0": "point", "b1a": "three.0", "b1b": "three.1"},
    **{"b2a": "second.0", "b2b": "second.1", "b3b": "pooled.1"},
}
_CONV_OR_NORM = {"conv3d": 0, "bn": 1}
_I3D = Layout(
    source="pytorch-i3d",
    normalisation=_CENTRED,
    rules=(
        (
            r"(Mixed_\w\w)\.(b\w+)\.(conv3d|bn)\.(.+)",
            lambda m: f"video.{_I3D_PLACES[m[1]]}.{_I3D_BRANCHES[m[2]]}.{_CONV_OR_NORM[m[3]]}.{m[4]}",
        ),
        (
            r"(Conv3d_\w+)\.(conv3d|bn)\.(.+)",
            lambda m: f"video.{_I3D_PLACES[m[1]]}.{_CONV_OR_NORM[m[2]]}.{m[3]}",
        ),
    ),
    left_out=r"logits\..+",
)

_C3D_PLACES = {
    **{"conv1": "video.0", "conv2": "video.3", "conv3a": "video.6", "conv3b": "video.8"},
    **{"conv4a": "video.11", "conv4b": "video.13", "conv5a": "video.16", "conv5b": "video.18"},
    **{"fc6": "hidden.0", "fc7": "hidden.3"},
}
_C3D = Layout(
    source="the PyTorch port of the Sports-1M weights",
    rules=((r"(conv\w+|fc[67])\.(.+)", lambda m: f"{_C3D_PLACES[m[1]]}.{m[2]}"),),
    left_out=r"fc8\..+",
)

_PATHWAYS = ("slow", "fast")
_SLOWFAST_PARTS = {
    **{"branch1_conv": "shortcut.0", "branch1_norm": "shortcut.1"},
    **{f"branch2.conv_{part}": f"body.{place}.0" for place, part in enumerate("abc")},
    **{f"branch2.norm_{part}": f"body.{place}.1" for place, part in enumerate("abc")},
}
_SLOWFAST = Layout(
    source="PyTorchVideo",
    normalisation=FACEBOOK,
    rules=(
        (
            r"blocks\.0\.multipathway_blocks\.(\d)\.(conv|norm)\.(.+)",
            lambda m: f"{_PATHWAYS[int(m[1])]}_stem.{int(m[2] == 'norm')}.{m[3]}",
        ),
        (
            r"blocks\.(\d)\.multipathway_fusion\.(conv_fast_to_slow|norm)\.(.+)",
            lambda m: f"laterals.{m[1]}.{int(m[2] == 'norm')}.{m[3]}",
        ),
        (
            r"blocks\.(\d)\.multipathway_blocks\.(\d)\.res_blocks\.(\d)\.(branch1_\w+|branch2\.\w+)\.(.+)",
            lambda m: f"{_PATHWAYS[int(m[2])]}_stages.{int(m[1]) - 1}.{m[3]}.{_SLOWFAST_PARTS[m[4]]}.{m[5]}",
        ),
    ),
    left_out=r"blocks\.6\.proj\..+",
)

_TIMESFORMER_PARTS = {
    **{"norm1": "before_space", "attn.qkv": "space.query_key_value", "attn.proj": "space.project"},
    **{"temporal_norm1": "before_time", "temporal_attn.qkv": "time.query_key_value"},
    **{"temporal_attn.proj": "time.project", "temporal_fc": "after_time"},
    **{"norm2": "before_layers", "mlp.fc1": "layers.0", "mlp.fc2": "layers.2"},
}
_TIMESFORMER_TOKENS = {"cls_token": "answer", "pos_embed": "place", "time_embed": "moment"}
_TIMESFORMER = Layout(
    source="TimeSformer",
    normalisation=FACEBOOK,
    rules=(
        (r"(?:model\.)?(cls_token|pos_embed|time_embed)", lambda m: _TIMESFORMER_TOKENS[m[1]]),
        (r"(?:model\.)?patch_embed\.proj\.(.+)", lambda m: f"embed.{m[1]}"),
        (
            r"(?:model\.)?blocks\.(\d+)\.(.+)\.(weight|bias)",
            lambda m: f"blocks.{m[1]}.{_TIMESFORMER_PARTS[m[2]]}.{m[3]}",
        ),
        (r"(?:model\.)?norm\.(.+)", lambda m: f"norm.{m[1]}"),
    ),
    left_out=r"(?:model\.)?head\..+",
)

_FRAMES = Layout(
    source="torchvision.models",
    normalisation=IMAGENET,
    rules=((r"((conv1|bn1|layer\d)\..+)", lambda m: f"frame.{m[1]}"),),
    left_out=r"fc\..+",
    not_given=r"recurrent\..+",
)

_HUGGINGFACE = Layout(
    source="the model's own file",
    rules=((r"(?!classifier\.)(.+)", lambda m: f"model.{m[1]}"),),
    left_out=r"classifier\..+",
)

VIDEO_LAYOUTS: dict[str, Layout] = {
    "r3d_18": _R3D,
    "r2plus1d_18": _R2PLUS1D,
    "s3d": _S3D,
    "i3d": _I3D,
    "c3d": _C3D,
    "slowfast_r50": _SLOWFAST,
    "resnet50_frames": _FRAMES,
    "resnet50_lstm": _FRAMES,
    "timesformer": _TIMESFORMER,
    "huggingface": _HUGGINGFACE,
}
"""Layouts by network."""
