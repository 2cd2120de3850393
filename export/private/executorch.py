"""Private APIs of ExecuTorch: how its passes trace, what they look for, and why its partitioner refuses nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch.export import ExportedProgram
from torch.fx import GraphModule

from compress.command.insides import Insides
from export.private.torch import decomposed, schema_of

if TYPE_CHECKING:
    from torch.fx.passes.infra.pass_base import PassResult

WRITTEN_FOR = {"executorch": "1.4.1"}

PARTITIONER_LOG = "executorch.backends.xnnpack.partition"
"""Name of the logger to which XNNPACK's partitioner writes its reasons."""

_inside = Insides(WRITTEN_FOR, __name__)


@contextmanager
def refusals() -> Iterator[dict[str, str]]:
    """Node name -> reason for every node that XNNPACK's partitioner refuses within the context.

    The partitioner reports its reasons only in debug messages, as separate arguments for node and reason.
    """
    message = _inside("executorch.exir.backend.utils:WhyNoPartition")
    found: dict[str, str] = {}

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.msg, message):
                node, reason = _inside.of(record.msg, "node"), _inside.of(record.msg, "reason")
                if reason:
                    found[node.name] = reason

    logger, listener = logging.getLogger(PARTITIONER_LOG), Listener()
    before = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(listener)
        logger.level, logger.propagate = before


_WITHOUT_EFFECT = ("call", "requires", "ensures")
"""Methods of a pass that tracing does not use: changes by `call` are visible in the graph."""


@contextmanager
def unchanged_graphs_kept() -> Iterator[list[str]]:
    """Makes ExecuTorch's passes keep a graph that has not changed since the last trace, within the context.

    The passes retrace the whole graph, even if nothing changed.

    A pass of ExecuTorch changes the graph, or a method of it replaces operators while the graph is traced, or both.
    Without such a method, and if the graph equals the result of the last trace node by node, tracing returns the
    same graph: about half of the traces of an int8 network, a quarter of the time of ExecuTorch's conversion. The
    list collects the names of the passes that did not trace.
    """
    from torch.fx.passes.infra.pass_base import PassResult

    export_pass = _inside("executorch.exir.pass_base:ExportPass")
    methods = [
        name
        for kind in export_pass.__mro__[:-1]
        for name, method in vars(kind).items()
        if callable(method) and not name.startswith("__") and name not in _WITHOUT_EFFECT
    ]
    trace = _inside("executorch.exir.pass_base:ExportPass.call")
    traced: WeakKeyDictionary[GraphModule, list[tuple[Any, ...]]] = WeakKeyDictionary()
    kept: list[str] = []

    def call(self: Any, graph_module: GraphModule) -> PassResult:
        only_traces = all(getattr(type(self), name) is getattr(export_pass, name) for name in methods)
        if only_traces and _is_still(graph_module, traced.get(graph_module)):
            kept.append(type(self).__name__)
            return PassResult(graph_module, modified=True)
        result = trace(self, graph_module)
        traced[result.graph_module] = _contents(result.graph_module)
        return result

    export_pass.call = call
    try:
        yield kept
    finally:
        export_pass.call = trace


@contextmanager
def decomposed_once() -> Iterator[None]:
    """Makes ExecuTorch decompose a program once instead of three times, within the context.

    It decomposes nothing, then all but the operators that its partitioner takes, then what the partitioner refuses,
    and traces the program each time. The first trace removes operators in place, the last is needed only if an
    operator is left; the second does all else. The operators must not change values in place.
    """
    own = ExportedProgram.run_decompositions

    def run(program: ExportedProgram, decomp_table: Any = None, **settings: Any) -> ExportedProgram:
        if decomp_table is None or settings:
            return own(program, decomp_table, **settings)
        if not decomp_table and not _changes_values(program):
            return program
        return decomposed(program, decomp_table)

    ExportedProgram.run_decompositions = run  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = own  # type: ignore[method-assign]


def _changes_values(program: ExportedProgram) -> bool:
    schemas = (schema_of(node.target) for node in program.graph.nodes if node.op == "call_function")
    return any(schema is not None and schema.is_mutable for schema in schemas)


_BILINEAR = ("aten.upsample_bilinear2d.vec", "aten.index.Tensor", "aten._unsafe_index.Tensor")
_ATTENTION = ("aten.scaled_dot_product_attention.default", "aten._softmax.default")
"""Operators of which each pattern of a pass has at least one."""


@contextmanager
def patterns_where_needed() -> Iterator[list[str]]:
    """Makes XNNPACK's passes build their patterns only for graphs that can contain them, within the context.

    The patterns are small networks that are captured and converted, in every process: more than a quarter of the
    conversion of a small network. The list collects the names of the passes that did not look.
    """
    kept: list[str] = []
    trace = _inside("executorch.exir.pass_base:ExportPass")
    passes = {
        _inside(
            "executorch.backends.xnnpack._passes.convert_to_upsample_bilinear2d:ConvertToUpsampleBilinear2d"
        ): _BILINEAR,
        _inside("executorch.backends.xnnpack._passes.convert_to_sdpa:ConvertToSDPAPass"): _ATTENTION,
    }

    def where_needed(look: Any, names: tuple[str, ...]) -> Any:
        def call(self: Any, graph_module: GraphModule) -> PassResult:
            if any(getattr(node.target, "__name__", "") in names for node in graph_module.graph.nodes):
                return look(self, graph_module)  # type: ignore[no-any-return]
            kept.append(type(self).__name__)
            graph_module.recompile()
            return trace.call(self, graph_module)  # type: ignore[no-any-return]

        return call

    looks = {kind: _inside.of(kind, "call") for kind in passes}
    for kind, names in passes.items():
        kind.call = where_needed(looks[kind], names)
    try:
        yield kept
    finally:
        for kind, look in looks.items():
            kind.call = look


def _contents(graph_module: GraphModule) -> list[tuple[Any, ...]]:
    """The inputs of a trace for every node: the value last, all else comparable."""
    return [
        (node.name, node.op, node.target, repr(node.args), repr(node.kwargs), node.meta.get("val"))
        for node in graph_module.graph.nodes
    ]


def _is_still(graph_module: GraphModule, before: list[tuple[Any, ...]] | None) -> bool:
    if before is None:
        return False
    now = _contents(graph_module)
    return len(now) == len(before) and all(
        one[:-1] == other[:-1] and one[-1] is other[-1] for one, other in zip(now, before, strict=True)
    )
