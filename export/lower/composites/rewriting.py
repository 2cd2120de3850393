"""Rewrites a captured program with fewer kinds of operators: BatchNorm folded, composites decomposed."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram, default_decompositions

from export.lower.composites.resampling import by_inexact_factors
from export.lower.composites.table import COMPOSITES
from export.lower.composites.transposed import transposed_convolution
from export.lower.normalisation import TRANSPOSED, fold_norms
from export.lower.source import bind, parameters
from export.private.torch import decomposed

aten = torch.ops.aten

BROADCASTING = (
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.maximum.default,
    aten.minimum.default,
    aten.where.self,
    aten.remainder.Tensor,
    aten.fmod.Tensor,
    aten.div.Tensor_mode,
    aten.atan2.default,
)
"""Operators that broadcast all of their operands."""

COMPARISONS = (
    aten.eq.Tensor,
    aten.ne.Tensor,
    aten.gt.Tensor,
    aten.ge.Tensor,
    aten.lt.Tensor,
    aten.le.Tensor,
)
"""Operators that take numbers of one type and return booleans."""


def simplified(program: ExportedProgram, *, known: Container[Any]) -> ExportedProgram:
    """`program` in `known` operators as far as the tables allow, with BatchNorm folded."""
    kept = (*TRANSPOSED, aten.convolution.default)
    table = {
        op: way for op, way in default_decompositions().items() if op not in known and op not in kept
    } | COMPOSITES
    program = _rewritten(program, table)
    fold_norms(program.graph)
    resized = by_inexact_factors(program.graph)
    if resized or any(node.target in TRANSPOSED for node in program.graph.nodes):
        program = _rewritten(program, table | dict.fromkeys(TRANSPOSED, transposed_convolution))
    return program


def _rewritten(program: ExportedProgram, table: dict[Any, Callable[..., Any]]) -> ExportedProgram:
    used = _operators(program)
    while True:
        ways = {op: table[op] for op in used if op in table}
        program = decomposed(program, ways)
        before, used = used, _operators(program)
        # Operators that remain after their lookup have no simpler form.
        if not any(op in table for op in used - before):
            return program


def _operators(program: ExportedProgram) -> set[Any]:
    return {node.target for node in program.graph.nodes if node.op == "call_function"}


def broadcast_at_users(graph: fx.Graph) -> None:
    """Replaces expand -> an operator that broadcasts to that shape anyway with that operator."""
    for node in list(graph.nodes):
        if node.target is not aten.expand.default:
            continue
        source: Any = node.args[0]
        for reader in list(node.users):
            if reader.target not in BROADCASTING:
                continue
            operands = [source if operand is node else operand for operand in reader.all_input_nodes]
            sizes = [operand.meta["val"].shape for operand in operands]
            if torch.broadcast_shapes(*sizes) == reader.meta["val"].shape:
                reader.replace_input_with(node, source)


REDUCTIONS = (aten.mean.dim, aten.sum.dim_IntList, aten.softmax.int, aten.log_softmax.int)
"""Reductions with a `dtype` argument."""


def converted_before_reductions(graph: fx.Graph) -> None:
    """Moves the type conversion of a mean, sum or softmax in front of it."""
    for node in list(graph.nodes):
        if node.target not in REDUCTIONS:
            continue
        names = [argument.name for argument in parameters(node)]
        given: dict[str, Any] = dict(zip(names, node.args, strict=False))
        wanted: Any = node.kwargs.get("dtype", given.get("dtype"))
        if wanted is not None:
            _convert(graph, node, node.all_input_nodes[0], wanted)
            node.args = node.args[: names.index("dtype")]
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != "dtype"}


def one_number_type(graph: fx.Graph) -> None:
    """Converts all operands to the type of the result, in arithmetic on integers and floats and in roots and
    logarithms of integers."""
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            continue
        if node.target not in (*BROADCASTING, *COMPARISONS) and not _gives_broken(node, value):
            continue
        wanted = value.dtype
        if node.target in COMPARISONS:
            given = [arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in node.args]
            wanted = torch.result_type(*given)  # type: ignore[arg-type]
        for operand in node.all_input_nodes:
            has_type = operand.meta["val"].dtype == wanted
            if not has_type and not (node.target is aten.where.self and operand is node.args[0]):
                _convert(graph, node, operand, wanted)


LOGIC = {
    aten.add.Tensor: aten.logical_or.default,
    aten.maximum.default: aten.logical_or.default,
    aten.mul.Tensor: aten.logical_and.default,
    aten.minimum.default: aten.logical_and.default,
}
"""Logical form of arithmetic on booleans, which no runtime adds or multiplies."""


def logic_of_booleans(graph: fx.Graph) -> None:
    """Replaces a sum or product of booleans with a logical or / and."""
    for node in graph.nodes:
        if node.target not in LOGIC or len(node.all_input_nodes) != len(node.args):
            continue
        if all(one.meta["val"].dtype == torch.bool for one in (node, *node.all_input_nodes)):
            node.target, node.kwargs = LOGIC[node.target], {}


def _gives_broken(node: fx.Node, value: torch.Tensor) -> bool:
    """Whether an elementwise operator computes floats from integers."""
    is_pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    if not is_pointwise or not value.is_floating_point() or node.target is aten._to_copy.default:
        return False
    return node.target is aten.pow.Tensor_Tensor or not any(
        operand.meta["val"].is_floating_point() for operand in node.all_input_nodes
    )


def _convert(graph: fx.Graph, reader: fx.Node, operand: fx.Node, dtype: torch.dtype) -> None:
    """Makes `reader` read `operand` in the type `dtype`."""
    with graph.inserting_before(reader):
        converted = graph.call_function(aten._to_copy.default, (operand,), {"dtype": dtype})
    converted.meta["val"] = operand.meta["val"].to(dtype)
    reader.replace_input_with(operand, converted)


ONE_TYPE = (aten._to_copy.default, aten.view.default, aten.unsqueeze.default, aten.expand.default)
"""Operators that do not change numbers."""

PLACES = (aten.argmax.default, aten.argmin.default)
"""Operators with non-negative results."""


def without_needless_remainders(graph: fx.Graph) -> None:
    """Replaces `argmax(x) % n` over at most `n` entries with `argmax(x)`."""
    for node in list(graph.nodes):
        if node.target is not aten.remainder.Tensor:
            continue
        place, divisor = node.args
        while isinstance(place, fx.Node) and place.target in ONE_TYPE:
            place = place.args[0]
        if (
            not isinstance(place, fx.Node)
            or place.target not in PLACES
            or divisor.target is not aten.full.default
        ):
            continue
        bound = bind(place, place.args, place.kwargs)
        source, dim = bound["self"].meta["val"], bound["dim"]
        entries = source.numel() if dim is None else source.shape[dim]
        if entries <= divisor.args[1] and node.args[0].meta["val"].dtype == node.meta["val"].dtype:
            node.replace_all_uses_with(node.args[0])
