"""Private APIs of torch."""

from __future__ import annotations

import contextlib
import copy
import operator
import traceback
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from compress.command.insides import Insides
from compress.command.lines import is_library

WRITTEN_FOR = {"torch": "2.13.0"}

_inside = Insides(WRITTEN_FOR, __name__)

aten = torch.ops.aten

TorchDispatchMode: Any = _inside("torch.utils._python_dispatch:TorchDispatchMode")
"""Dispatch mode that receives every operator; torch's notes on extending it document this name."""

tree_flatten_with_path: Any = _inside("torch.utils._pytree:tree_flatten_with_path")
tree_leaves: Any = _inside("torch.utils._pytree:tree_leaves")
tree_map: Any = _inside("torch.utils._pytree:tree_map")
tree_map_only: Any = _inside("torch.utils._pytree:tree_map_only")
tree_structure: Any = _inside("torch.utils._pytree:tree_structure")
SequenceKey: Any = _inside("torch.utils._pytree:SequenceKey")
"""Nested tuples, lists and dicts as in `torch.export`, registered dataclasses included."""


def schema_of(target: Any) -> Any | None:
    """The schema of an operator, the `target` of a node; `None` if it is not an operator of torch."""
    if isinstance(target, type(aten.add.Tensor)):
        return _inside.of(target, "_schema")
    return getattr(target, "_schema", None)  # ExecuTorch's operators have a separate class


def decompositions(operators: Collection[Any]) -> dict[Any, Callable[..., Any]]:
    """Torch's decompositions of `operators`, including those that are core ATen operators.

    The public `default_decompositions` omits these, not all of which coremltools takes.
    """
    found: dict[Any, Callable[..., Any]] = _inside("torch._decomp:get_decompositions")(list(operators))
    return found


def decomposed(program: ExportedProgram, table: Mapping[Any, Callable[..., Any]]) -> ExportedProgram:
    """`program.run_decompositions(table)`; where that would change no operator, a copy of the program.

    `run_decompositions` traces the whole graph again, even if nothing is to be decomposed.
    """
    if _has_operators_of(program, table):
        with _registry_read_once():
            return _run_decompositions(program, table)
    graph = fx.Graph()
    result = graph.graph_copy(program.graph, {})
    graph.output(result).meta = dict(program.graph.output_node().meta)
    for node, own in zip(graph.nodes, program.graph.nodes, strict=True):
        node.name = (
            own.name
        )  # a copy calls an input `input` `input_1`, as it does with every name of Python's
    return ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=copy.deepcopy(program.graph_signature),
        state_dict=dict(program.state_dict),
        range_constraints=program.range_constraints,
        module_call_graph=copy.deepcopy(program.module_call_graph),
        example_inputs=program.example_inputs,
        constants=program.constants,
    )


@contextlib.contextmanager
def needless_decompositions_skipped() -> Iterator[None]:
    """Makes `run_decompositions` of every program what `decomposed` is, within the context: libraries call it."""

    def run(program: ExportedProgram, decomp_table: Any = None, **settings: Any) -> ExportedProgram:
        if decomp_table is None or settings:
            return _run_decompositions(program, decomp_table, **settings)
        return decomposed(program, decomp_table)

    ExportedProgram.run_decompositions = run  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = _run_decompositions  # type: ignore[method-assign]


_run_decompositions = ExportedProgram.run_decompositions

_TRACED_AWAY = ("alias", "detach", "lift", "lift_fresh", "lift_fresh_copy")
"""Operators of ATen that a trace may drop."""


def _has_operators_of(program: ExportedProgram, table: Container[Any]) -> bool:
    """Whether `run_decompositions(table)` may change an operator of the program, or its inputs and outputs."""
    inputs = {spec.kind for spec in program.graph_signature.input_specs}
    outputs = {spec.kind for spec in program.graph_signature.output_specs}
    computed = {InputKind.USER_INPUT, InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}
    if not inputs <= computed or outputs != {OutputKind.USER_OUTPUT}:
        return True
    return any(_may_change(node, table) for node in program.graph.nodes)


def _may_change(node: fx.Node, table: Container[Any]) -> bool:
    if node.op == "output":
        return any(not isinstance(one, fx.Node) or one.op == "placeholder" for one in node.args[0])  # type: ignore[union-attr]
    if node.op == "placeholder":
        return not isinstance(node.meta.get("val"), Tensor)
    if node.op != "call_function" or not node.users or "val" not in node.meta:
        return True
    if node.target is operator.getitem:
        return False
    schema = schema_of(node.target)
    if not isinstance(node.target, type(aten.add.Tensor)) or schema is None or node.target in table:
        return True
    if schema.is_mutable or schema.name.removeprefix("aten::") in _TRACED_AWAY:
        return True
    # Functions of several operators that may return views of their inputs are always decomposed.
    if _is_composite(node.target) and not _is_kept(node.target):
        return True
    return _is_written_otherwise(node, schema)


def _is_written_otherwise(node: fx.Node, schema: Any) -> bool:
    """Whether a trace would write the arguments in another way: without defaults, and with lists for numbers."""
    if len(node.args) > len(schema.arguments):
        return True
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.kwarg_only or ("List" in str(argument.type) and isinstance(value, int | float)):
            return True
    last = schema.arguments[len(node.args) - 1] if node.args else None
    if last is not None and last.has_default_value() and _equal(node.args[-1], last.default_value):
        return True
    named = {argument.name: argument for argument in schema.arguments if argument.kwarg_only}
    return any(
        name not in named or (named[name].has_default_value() and _equal(value, named[name].default_value))
        for name, value in node.kwargs.items()
    )


def _equal(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return not isinstance(value, fx.Node) and bool(value == default)


_is_composite: Any = _inside("torch._export.utils:_is_cia_op")
_is_kept: Any = _inside("torch._export.utils:_is_preservable_cia_op")


@contextlib.contextmanager
def _registry_read_once() -> Iterator[None]:
    """Makes torch look up its composite operators once within the context.

    It does for every namespace of operators, which takes longer than the decomposition of a small network. Nothing
    registers operators meanwhile.
    """
    utils: Any = _inside("torch._export.utils")
    own = _inside.of(utils, "_materialize_cpp_cia_ops")
    looked_up = False

    def once() -> None:
        nonlocal looked_up
        if not looked_up:
            own()
            looked_up = True

    utils._materialize_cpp_cia_ops = once
    try:
        yield
    finally:
        utils._materialize_cpp_cia_ops = own


@contextlib.contextmanager
def user_lines_kept(*, file: str, function: str) -> Iterator[None]:
    """Keeps every line of the user's code in stack traces of captured nodes; torch keeps only that of `forward`.

    The traces begin after the innermost call of `function` in `file`, the call that captures, and contain no other
    line of that file.
    """
    tracer_kind: Any = _inside("torch.fx.proxy:TracerBase")
    own = _inside("torch.fx.proxy:TracerBase._filter_traceback_frames")

    def kept(tracer: Any, summary: traceback.StackSummary) -> traceback.StackSummary:
        frames = list(summary)
        begins = (i for i, frame in enumerate(frames) if (frame.filename, frame.name) == (file, function))
        forward = own(tracer, summary)
        return traceback.StackSummary.from_list(
            [
                frame
                for frame in frames[max(begins, default=-1) + 1 :]
                if frame.filename != file
                and (frame in forward or not (frame.filename.startswith("<") or is_library(frame.filename)))
            ]
        )

    tracer_kind._filter_traceback_frames = kept
    try:
        yield
    finally:
        tracer_kind._filter_traceback_frames = own


@contextlib.contextmanager
def no_autocast(note: Callable[[], None]) -> Iterator[None]:
    """Makes `torch.autocast` a no-op within the context, and calls `note` where it would have had an effect."""
    kind = _inside("torch:autocast")
    own = _inside("torch:autocast.__enter__"), _inside("torch:autocast.__exit__")

    def enter(region: Any) -> Any:
        if _inside.of(region, "_enabled"):
            note()
        return region

    kind.__enter__, kind.__exit__ = enter, lambda *_: None
    try:
        yield
    finally:
        kind.__enter__, kind.__exit__ = own
