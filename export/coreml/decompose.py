"""Makes a captured program out of operators that coremltools converts."""

from __future__ import annotations

import operator

from torch import fx
from torch._decomp import get_decompositions
from torch.export import ExportedProgram

from export.lower.composites.table import SPARE
from export.lower.source import operator_name, place


def decompose(program: ExportedProgram) -> ExportedProgram:
    """`program` with operators of coremltools' table alone; torch itself says what the others consist of.

    Recurrent layers thereby become linear layers and sums, one set for every step of the sequence: coremltools
    takes no captured LSTM, writes GRUs as loops, and the Neural Engine runs neither. Raises NotImplementedError for
    an operator that neither coremltools nor torch's decompositions know, with its place in the user's source.
    """
    program = program.run_decompositions({})
    while unknown := [node for node in program.graph.nodes if not _is_known(node)]:
        targets = {node.target for node in unknown}
        table = get_decompositions(list(targets)) | {op: SPARE[op] for op in targets if op in SPARE}
        if not table:
            raise NotImplementedError(
                f"{operator_name(unknown[0])} at {place(unknown[0])} cannot be written for Core ML: coremltools "
                "has no form of it, and torch does not say what it consists of; write it with other operators"
            )
        program = program.run_decompositions(table)
    return program


def _is_known(node: fx.Node) -> bool:
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    if node.op != "call_function" or node.target is operator.getitem:
        return True
    return sanitize_op_kind(node.target.name()) in _TORCH_OPS_REGISTRY  # type: ignore[union-attr]
