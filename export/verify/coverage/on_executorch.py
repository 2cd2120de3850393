"""Coverage of an ExecuTorch program by XNNPACK, from the lowered edge program and the partitioner's reasons."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from importlib.metadata import version

from torch import fx
from torch.export import ExportedProgram

from export.verify.coverage.macs import macs
from export.verify.coverage.places import place_of
from export.verify.coverage.report import Coverage, LeftBehind


def executorch_coverage(program: ExportedProgram, refused: Mapping[str, str]) -> Coverage:
    """Coverage of a lowered method: one partition per call of the delegate, everything else is outside.

    `refused` holds the reasons that `export.private.executorch.refusals` collected during lowering.
    """
    module = program.graph_module
    accelerated, left = [], []
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.name.startswith("executorch_call_delegate"):
            lowered = getattr(module, node.args[0].target)
            accelerated.append(sum(map(macs, lowered.original_module.graph.nodes)))
        else:
            left.append(_left_behind(node, refused))
    return Coverage(
        macs=sum(accelerated) + sum(one.macs for one in left),
        accelerated_macs=sum(accelerated),
        partitions=len(accelerated),
        left=tuple(left),
        source=f"delegation table of ExecuTorch {version('executorch')}, XNNPACK partitioner",
    )


def _left_behind(node: fx.Node, refused: Mapping[str, str]) -> LeftBehind:
    return LeftBehind(
        node=node.name,
        operator=node.target.__name__,  # type: ignore[union-attr]
        macs=macs(node),
        reason=_reason(node, refused),
        place=place_of(node.meta.get("stack_trace")),
    )


def _reason(node: fx.Node, refused: Mapping[str, str]) -> str:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir.backend.canonical_partitioners.config_partitioner import format_target_name

    if node.name in refused:
        return f"XNNPACK's partitioner refuses it: {refused[node.name]}"
    known = XnnpackPartitioner().target_partitioner_configs
    if format_target_name(node.target.__name__) not in known:  # type: ignore[union-attr]
        return "XNNPACK's partitioner has no rule for this operator"
    return "XNNPACK's partitioner supports this operator, and left it out for an unknown reason"
