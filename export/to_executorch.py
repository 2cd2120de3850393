"""Writes `.pte` files for ExecuTorch with its XNNPACK backend: float or int8, one partition where it fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from export import require
from export.coverage.on_executorch import executorch_coverage, refusals
from export.coverage.report import attempt
from export.manifest import FileSpec, WrittenFile
from export.streamed import stream
from export.weights import WEIGHT_SCHEMES
from export.xnnpack_weights import round_activations

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager

DESCRIPTION_METHOD = "description"
"""Constant method of the file that gives its description as one JSON string."""

_BOOKKEEPING = ("getitem", "executorch_call_delegate")


def write(program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str) -> WrittenFile:
    """Writes the program to `path`; its method `forward` takes the inputs by position.

    The notes count the XNNPACK partitions and name every operator that stays with the portable kernels.
    Raises ImportError without executorch.
    """
    require("executorch", "executorch.exir")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program, form = stream(program, plane_costs=True)
    if scheme in WEIGHT_SCHEMES:
        program = round_activations(program)
    with refusals() as refused:
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner()],
            constant_methods={DESCRIPTION_METHOD: json.dumps(spec.description, ensure_ascii=False)},
        )
    # Both before the program is written: that changes the edge program itself.
    notes = _delegation_notes(edge)
    coverage, unknown = attempt(lambda: executorch_coverage(edge, refused))
    with path.open("wb") as file:
        edge.to_executorch().write_to_file(file)
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(*form, *notes, *unknown),
        coverage=coverage,
    )


def _delegation_notes(edge: EdgeProgramManager) -> tuple[str, ...]:
    from executorch.devtools.backend_debug import get_delegation_info

    info = get_delegation_info(edge.exported_program().graph_module)
    partitions = f"{info.num_delegated_subgraphs} XNNPACK partition(s) with {info.num_delegated_nodes} nodes"
    left = {
        name: counts.non_delegated
        for name, counts in info.delegation_by_operator.items()
        if counts.non_delegated and name not in _BOOKKEEPING
    }
    if not left:
        return (f"{partitions}, nothing left behind",)
    listed = ", ".join(f"{name} x{count}" for name, count in sorted(left.items()))
    return (partitions, f"left to portable kernels: {listed}")
