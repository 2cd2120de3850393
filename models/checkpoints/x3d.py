"""Layouts of X3D-XS, S and M: files of PyTorchVideo and of SlowFast.

Sources: `pytorchvideo/models/x3d.py` of facebookresearch/pytorchvideo, `slowfast/models/video_model_builder.py` of
facebookresearch/SlowFast. PyTorchVideo's first shortcut, whose numbers of channels agree, has a convolution without
BatchNorm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from models.checkpoints.layout import Layout
from models.checkpoints.neutral import after_norm, neutral_norm
from models.checkpoints.video import FACEBOOK

_STARTS = (0, 3, 8, 19)
"""Number of the first block of every stage."""
_CONV_OR_NORM = {"conv": 0, "norm": 1, "": 0, "_bn": 1}


def _block(match: re.Match[str], *, first: int) -> str:
    return f"blocks.{_STARTS[int(match['stage']) - first] + int(match['block'])}"


def _body(match: re.Match[str]) -> str:
    """Places of the layers a, b and c; that of c follows the squeeze-excite of every other block, and a swish."""
    place = {"a": 0, "b": 1, "c": 3 + (int(match["block"]) % 2 == 0)}[match["layer"]]
    return f"body.{place}.{_CONV_OR_NORM[match['kind']]}.{match['rest']}"


def _first_shortcut(name: str, given: Mapping[str, Tensor], own: Tensor) -> Tensor:
    """A neutral BatchNorm. Inputs are sums of the stem's channels, which are taken as independent."""
    mean, variance = after_norm(given, "stem.1.1")
    kernel = given["blocks.0.shortcut.0.weight"].flatten(1).float()
    return neutral_norm(name.rpartition(".")[2], kernel @ mean, kernel.square() @ variance)


_VIDEO_BLOCK = r"blocks\.(?P<stage>[1-4])\.res_blocks\.(?P<block>\d+)\."
_PYTORCHVIDEO = Layout(
    source="PyTorchVideo",
    normalisation=FACEBOOK,
    rules=(
        (r"blocks\.0\.conv\.conv_t\.(.+)", lambda m: f"stem.0.{m[1]}"),  # The names of both are exchanged.
        (r"blocks\.0\.conv\.conv_xy\.(.+)", lambda m: f"stem.1.0.{m[1]}"),
        (r"blocks\.0\.norm\.(.+)", lambda m: f"stem.1.1.{m[1]}"),
        (
            _VIDEO_BLOCK + r"branch1_(?P<kind>conv|norm)\.(?P<rest>.+)",
            lambda m: f"{_block(m, first=1)}.shortcut.{_CONV_OR_NORM[m['kind']]}.{m['rest']}",
        ),
        (
            _VIDEO_BLOCK + r"branch2\.norm_b\.1\.block\.(?P<place>[02])\.(?P<rest>.+)",
            lambda m: f"{_block(m, first=1)}.body.2.gate.{m['place']}.{m['rest']}",
        ),
        (
            _VIDEO_BLOCK + r"branch2\.(?P<kind>conv|norm)_(?P<layer>[abc])\.(?:0\.)?(?P<rest>\w+)",
            lambda m: f"{_block(m, first=1)}.{_body(m)}",
        ),
        (r"blocks\.5\.pool\.pre_(conv|norm)\.(.+)", lambda m: f"widen.{_CONV_OR_NORM[m[1]]}.{m[2]}"),
        (r"blocks\.5\.pool\.post_conv\.(.+)", lambda m: f"features.0.{m[1]}"),
    ),
    left_out=r"blocks\.5\.proj\..+",
    supplied=((r"blocks\.0\.shortcut\.1\.(?!num_batches).+", _first_shortcut),),
)

_SLOWFAST_BLOCK = r"s(?P<stage>[2-5])\.pathway0_res(?P<block>\d+)\."
_SLOWFAST = Layout(
    source="SlowFast",
    normalisation=FACEBOOK,
    rules=(
        (r"s1\.pathway0_stem\.conv_xy\.(.+)", lambda m: f"stem.0.{m[1]}"),
        (r"s1\.pathway0_stem\.conv\.(.+)", lambda m: f"stem.1.0.{m[1]}"),
        (r"s1\.pathway0_stem\.bn\.(.+)", lambda m: f"stem.1.1.{m[1]}"),
        (
            _SLOWFAST_BLOCK + r"branch1(?P<kind>|_bn)\.(?P<rest>.+)",
            lambda m: f"{_block(m, first=2)}.shortcut.{_CONV_OR_NORM[m['kind']]}.{m['rest']}",
        ),
        (
            _SLOWFAST_BLOCK + r"branch2\.se\.fc(?P<place>[12])\.(?P<rest>.+)",
            lambda m: f"{_block(m, first=2)}.body.2.gate.{2 * int(m['place']) - 2}.{m['rest']}",
        ),
        (
            _SLOWFAST_BLOCK + r"branch2\.(?P<layer>[abc])(?P<kind>|_bn)\.(?P<rest>.+)",
            lambda m: f"{_block(m, first=2)}.{_body(m)}",
        ),
        (r"head\.conv_5(|_bn)\.(.+)", lambda m: f"widen.{_CONV_OR_NORM[m[1]]}.{m[2]}"),
        (r"head\.lin_5\.(.+)", lambda m: f"features.0.{m[1]}"),
    ),
    left_out=r"head\.projection\..+",
)

X3D_LAYOUTS: dict[str, tuple[Layout, ...]] = dict.fromkeys(
    ("x3d_xs", "x3d_s", "x3d_m"), (_PYTORCHVIDEO, _SLOWFAST)
)
"""Layouts by network."""
