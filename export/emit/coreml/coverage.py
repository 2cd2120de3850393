"""The share of a saved ML program that the Neural Engine runs.

On an Apple system Core ML's compute plan gives the device of every operator. Elsewhere the tables of
`neural_engine` decide. The source field names which of the two was used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from export.emit.coreml.macs import macs
from export.emit.coreml.neural_engine import SOURCE, refusal
from export.emit.coreml.saved import read_program
from export.emit.coreml.step import Step
from export.verify.coverage.report import Coverage, LeftBehind


def cover(path: Path, *, places: Mapping[str, str]) -> Coverage:
    """Coverage of the package at `path`; `places` gives the user's source line for names of torch nodes.

    On an Apple system by Core ML's compute plan, elsewhere by operator tables. Raises what `read_program` raises.
    """
    if sys.platform == "darwin":
        from export.emit.coreml.compute_plan import planned_steps

        return summarise(*planned_steps(path), places=places)
    return summarise(_steps_by_tables(path), SOURCE, places=places)


def summarise(steps: Sequence[Step], source: str, *, places: Mapping[str, str]) -> Coverage:
    """The coverage of `steps`; a partition is a sequence of consecutive steps on the Neural Engine."""
    left = [step for step in steps if step.refusal is not None]
    total = sum(step.macs for step in steps)
    return Coverage(
        macs=total,
        accelerated_macs=total - sum(step.macs for step in left),
        partitions=sum(taken for taken, _ in groupby(step.refusal is None for step in steps)),
        left=tuple(
            LeftBehind(
                node=step.node,
                operator=step.operator,
                macs=step.macs,
                reason=step.refusal or "",
                place=_place(step.node, places),
            )
            for step in left
        ),
        source=source,
    )


def _steps_by_tables(path: Path) -> list[Step]:
    return [
        Step(
            node=operation.outputs[0].name,
            operator=operation.op_type,
            macs=macs(operation),
            refusal=refusal(operation),
        )
        for operation in read_program(path).operations
        if operation.op_type != "const" and not operation.op_type.startswith("constexpr_")
    ]


def _place(node: str, places: Mapping[str, str]) -> str | None:
    """Place of the torch node that `node` is named after; coremltools appends words (`conv2d_1_cast_fp16`)."""
    while node not in places:
        node, _, appended = node.rpartition("_")
        if not node or appended.isdigit():  # a counter of coremltools, as in `add_0`: not a torch node
            return None
    return places[node]
