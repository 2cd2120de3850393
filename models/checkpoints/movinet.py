"""Layouts of MoViNet A0, A1 and A2: files of MoViNet-pytorch, base networks and those for streams.

Source: `movinets/models.py` and `movinets/config.py` of github.com/Atze00/MoViNet-pytorch, files `*_v3`.
"""

from __future__ import annotations

import re

from torch import Tensor

from models.checkpoints.layout import Layout, Normalisation

_COUNTS = {"a0": (1, 3, 3, 4, 4), "a1": (2, 4, 5, 6, 7), "a2": (3, 5, 5, 6, 7)}
"""Blocks of every stage."""
_STEEPER = 0.2 * 6
"""Slope of the published hard-sigmoid, 0.2, relative to that of torch, 1/6."""
_PLACES = {"expand": "expand", "deep": "space", "project": "project"}


def _kind(name: str) -> str:
    return "norm" if name == "norm" else "conv"


def _layout(counts: tuple[int, ...], *, conv: str) -> Layout:
    """`conv` is `conv2d` for streams, `conv3d` for base networks."""

    def number(match: re.Match[str]) -> str:
        return f"blocks.{sum(counts[: int(match['stage'])]) + int(match['block'])}"

    block = r"blocks\.b(?P<stage>\d)_l(?P<block>\d+)\."
    layer = rf"(?P<kind>{conv}|norm)\.(?P<rest>.+)"
    return Layout(
        source="MoViNet-pytorch",
        normalisation=Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        fold=_fold,
        inflates=True,
        left_out=r"classifier\.3\..+",
        rules=(
            (r"conv1\.conv_1\." + layer, lambda m: f"stem.{_kind(m['kind'])}.{m['rest']}"),
            (r"conv7\.conv_1\." + layer, lambda m: f"widen.{_kind(m['kind'])}.{m['rest']}"),
            (rf"classifier\.0\.conv_1\.{conv}\.(.+)", lambda m: f"features.0.{m[1]}"),
            (
                block + r"(?P<part>expand|deep|project)\.conv_1\." + layer,
                lambda m: f"{number(m)}.{_PLACES[m['part']]}.{_kind(m['kind'])}.{m['rest']}",
            ),
            (
                block + r"deep\.conv_2\." + layer,
                lambda m: (
                    f"{number(m)}.{'after_time' if m['kind'] == 'norm' else 'time'}"
                    f".{_kind(m['kind'])}.{m['rest']}"
                ),
            ),
            (
                block + rf"se\.fc(?P<place>[12])\.conv_1\.{conv}\.(?P<rest>.+)",
                lambda m: f"{number(m)}.excite.{'squeeze' if m['place'] == '1' else 'gate.1'}.{m['rest']}",
            ),
            (block + r"se\.fc1_past\.weight", lambda m: f"{number(m)}.excite.past.weight"),
            (
                block + r"res\.[01]\.conv_1\." + layer,
                lambda m: f"{number(m)}.shortcut.{_kind(m['kind'])}.{m['rest']}",
            ),
        ),
    )


def _fold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are here.

    The factor of a sum is part of the BatchNorm before, the slope of a gate part of its last layer. The first layer
    of a gate is one for the means of the past and one for those of the frame.
    """
    for name in [name for name in weights if name.endswith(".alpha")]:
        norm = name.removesuffix("alpha") + "project.conv_1.norm"
        if f"{norm}.weight" in weights and f"{norm}.bias" in weights:
            factor = weights.pop(name)
            weights[f"{norm}.weight"] = weights[f"{norm}.weight"] * factor
            weights[f"{norm}.bias"] = weights[f"{norm}.bias"] * factor
    for name in list(weights):
        if re.fullmatch(r"blocks\.\w+\.se\.fc2\.conv_1\.conv2d\.(weight|bias)", name):
            weights[name] = weights[name] * _STEEPER
        elif re.fullmatch(r"blocks\.\w+\.se\.fc1\.conv_1\.conv2d\.weight", name):
            past, weights[name] = weights[name].tensor_split(2, dim=1)
            weights[name.replace("fc1.conv_1.conv2d", "fc1_past")] = past
    return weights


MOVINET_LAYOUTS: dict[str, Layout] = {
    **{f"movinet_{size}_base": _layout(counts, conv="conv3d") for size, counts in _COUNTS.items()},
    **{f"movinet_{size}_stream": _layout(counts, conv="conv2d") for size, counts in _COUNTS.items()},
}
"""Layouts by network."""
