"""Writes `.pte` files for ExecuTorch with its XNNPACK backend: float or int8, one partition where it fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import fx
from torch.export import ExportedProgram
from torch.fx import GraphModule

from export import require
from export.capture.stepping import Stepper
from export.emit.executorch.constants import round_constants_inside
from export.emit.executorch.partition_forms import in_forms_of_xnnpack, partitioner
from export.emit.executorch.sharing import separate_consumers
from export.emit.executorch.weights import round_activations
from export.layout.stream_order import stream
from export.lower.prelu import restore_prelu
from export.manifest import FileSpec, WrittenFile
from export.private.executorch import (
    decomposed_once,
    patterns_where_needed,
    refusals,
    unchanged_graphs_kept,
)
from export.quantize.weight_only import WEIGHT_SCHEMES
from export.verify.coverage.on_executorch import executorch_coverage
from export.verify.coverage.report import attempt

if TYPE_CHECKING:
    from torch.fx.passes.infra.pass_base import PassResult

CLIP_METHOD, STEP_METHOD = "forward", "step"
"""Methods of the file: the clip program, and the step program of a streaming network."""

DESCRIPTION_METHOD = "description"
"""Constant method of the file that returns its description as a JSON string."""

_COPIES = ("aten.expand_copy.default", "dim_order_ops._to_dim_order_copy.default")
"""Names of ExecuTorch's own copy operators."""

_BOOKKEEPING = ("getitem", "executorch_call_delegate")


def load_backend() -> None:
    """Imports the libraries that write and run the files. Raises ImportError, with the `pip` command."""
    require("executorch", "executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch.runtime")


def write(
    program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str, step: Stepper | None = None
) -> WrittenFile:
    """Writes the program to `path`; its method `forward` takes the inputs by position, `step` is a method too.

    The notes count the XNNPACK partitions and name every operator that runs in portable kernels.
    Raises ImportError without executorch.
    """
    require("executorch", "executorch.exir")
    from executorch.exir import to_edge_transform_and_lower

    program, form = stream(program, plane_costs=True)
    methods = {CLIP_METHOD: program} if step is None else {CLIP_METHOD: program, STEP_METHOD: step.program}
    if scheme in WEIGHT_SCHEMES:
        methods = {name: round_activations(method) for name, method in methods.items()}
    elif scheme == "w8a8":
        methods = {name: round_constants_inside(method) for name, method in methods.items()}
    methods = {name: in_forms_of_xnnpack(method) for name, method in methods.items()}
    methods = {name: separate_consumers(method) for name, method in methods.items()}
    for method in methods.values():
        restore_prelu(method)
        _forget_history(method)
    with refusals() as refused, unchanged_graphs_kept(), decomposed_once(), patterns_where_needed():
        edge = to_edge_transform_and_lower(
            methods,
            transform_passes=[_drop_copies],
            partitioner={name: [partitioner()] for name in methods},
            constant_methods={DESCRIPTION_METHOD: json.dumps(spec.description, ensure_ascii=False)},
        )
    # Before the program is written, which changes the edge programs in place.
    written = _written(edge.exported_program(CLIP_METHOD), path, spec, refused, entry=CLIP_METHOD)
    if step is not None:
        stepping = _written(edge.exported_program(STEP_METHOD), path, step.spec, refused, entry=STEP_METHOD)
        written = replace(written, step=stepping)
    with path.open("wb") as file:
        edge.to_executorch().write_to_file(file)
    return replace(written, notes=(*form, *written.notes))


def _forget_history(program: ExportedProgram) -> None:
    """Drops the history of each node, which ExecuTorch's passes copy repeatedly (an eighth of their time)."""
    for node in program.graph.nodes:
        node.meta.pop("from_node", None)


def _drop_copies(graph_module: GraphModule) -> PassResult:
    """Drops identity copies, which ExecuTorch leaves where it decomposes matmul: XNNPACK does not
    support them, and each would split its partition."""
    from torch.fx.passes.infra.pass_base import PassResult

    found = [node for node in graph_module.graph.nodes if _copies(node) and _changes_nothing(node)]
    for node in found:
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph_module.graph.erase_node(node)
    graph_module.recompile()
    return PassResult(graph_module, modified=bool(found))


def _copies(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") in _COPIES


def _changes_nothing(copy: fx.Node) -> bool:
    (source,) = copy.all_input_nodes
    before, after = source.meta["val"], copy.meta["val"]
    return all(getattr(before, name) == getattr(after, name) for name in ("shape", "dtype")) and (
        before.dim_order() == after.dim_order()
    )


def _written(
    method: ExportedProgram, path: Path, spec: FileSpec, refused: Mapping[str, str], *, entry: str
) -> WrittenFile:
    notes = _delegation_notes(method)
    coverage, unknown = attempt(lambda: executorch_coverage(method, refused))
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(*notes, *unknown),
        coverage=coverage,
        entry=entry,
    )


def _delegation_notes(method: ExportedProgram) -> tuple[str, ...]:
    from executorch.devtools.backend_debug import get_delegation_info

    info = get_delegation_info(method.graph_module)
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
