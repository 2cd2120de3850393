"""The forms of a float network in a file for ONNX Runtime: equal functions of different latency.

A network whose temporal operators mix frames has three: frames in the batch axis (`export.lower`), one tensor per
frame (`export.layout.per_frame`), and the original network, 3D operators included. `select` chooses one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx
from torch.export import ExportedProgram

from export.layout.per_frame import to_per_frame
from export.lower import lower
from export.lower.source import operator_name
from export.targets import BATCHED, ORIGINAL, PER_FRAME

MOST_NODES = 10_000
"""Nodes above which there is no per-frame form: files of so many nodes take long to load."""

Forms = dict[str, Callable[[], fx.GraphModule]]
"""Makes the network in each form. Raises ValueError for a form that this network does not have, and the errors of
lowering."""


def forms_of(program: ExportedProgram) -> Forms:
    """The forms of a captured network; `BATCHED` alone if no operator mixes frames.

    Raises the errors of `export.lower.lower`.
    """
    batched = lower(program)
    found: Forms = {BATCHED: lambda: batched}
    if _mixes_frames(program):
        found[PER_FRAME] = lambda: _per_frame(batched)
        found[ORIGINAL] = lambda: program.module(check_guards=False)  # type: ignore[assignment, return-value]
    return found


def _per_frame(batched: fx.GraphModule) -> fx.GraphModule:
    graph = to_per_frame(batched)
    count = len(graph.graph.nodes)
    if count > MOST_NODES:
        raise ValueError(f"it would be {count} nodes, more than {MOST_NODES}")
    return graph


def _mixes_frames(program: ExportedProgram) -> bool:
    """Whether an operator on clips depends on several frames."""
    return any(
        node.op == "call_function"
        and operator_name(node) == "conv3d"
        and node.args[1].meta["val"].shape[2] > 1  # type: ignore[union-attr]
        for node in program.graph.nodes
    )
