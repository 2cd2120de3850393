"""The per-frame form that is fastest in ONNX Runtime: in its blocked layout."""

from __future__ import annotations

from torch import fx

from export.layout.per_frame.aligned import align_channels
from export.layout.per_frame.blocked import activated, spread
from export.layout.per_frame.frames import put_together, take_apart
from export.layout.per_frame.rewrite import Style, Walk
from export.layout.per_frame.rules import RULES

BLOCKED = Style(
    rules=RULES,
    take_apart=take_apart,
    put_together=put_together,
    activated=activated,
    spread=spread,
    finish=align_channels,
)


def frames_apart(lowered: fx.GraphModule) -> fx.GraphModule:
    """The same function with one tensor per frame wherever the network has temporal operators.

    `lowered` is a float graph from `export.lower`; one for several clips is returned unchanged. Inputs and outputs
    do not change.
    """
    return Walk(lowered, BLOCKED).run()
