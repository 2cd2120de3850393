"""The per-frame form that is fastest in ONNX Runtime: in its blocked layout."""

from __future__ import annotations

from torch import fx

from export.layout.per_frame.aligned import align_channels
from export.layout.per_frame.blocked import activated, spread
from export.layout.per_frame.frames import join_frames, split_frames
from export.layout.per_frame.rewrite import Rewriter, Style
from export.layout.per_frame.rules import RULES

BLOCKED = Style(
    rules=RULES,
    split_frames=split_frames,
    join_frames=join_frames,
    activated=activated,
    spread=spread,
    finish=align_channels,
)


def to_per_frame(lowered: fx.GraphModule) -> fx.GraphModule:
    """The same function with one tensor per frame wherever the network has temporal operators.

    `lowered` is a float graph from `export.lower`; one for several clips is returned unchanged. Inputs and outputs
    do not change.
    """
    return Rewriter(lowered, BLOCKED).run()
