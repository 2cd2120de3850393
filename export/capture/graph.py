"""Captures a network as one static graph of ATen operators, the input of the rest of this package."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.overrides import TorchFunctionMode

from export.capture.explain import why_not
from export.lower.source import (
    OPEN_SIZE,
    OPEN_SIZES,
    OUTSIDE,
    name_module,
    operator_name,
    place,
    refuse,
)
from export.private.torch import (
    SequenceKey,
    schema_of,
    tree_flatten_with_path,
    tree_leaves,
    tree_map,
    tree_structure,
    user_lines_kept,
)

_READ_DATA: Any = Tensor.data.__get__  # type: ignore[attr-defined]
"""The function that modes see when `x.data` is read."""


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """The graph of `model(*example)` in eval mode, static in every shape, batch size included.

    It returns one tensor or a tuple of tensors, and modifies no input: the network's in-place changes go to a copy.
    The training mode of the model is kept. Raises TypeError if an input is not a tensor, NotImplementedError, with
    the line, if `torch.export` cannot capture the network (usually for control flow that depends on values).
    """
    for position, value in enumerate(example):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"input {position} of the example is {type(value).__name__}; give one tensor per input"
            )
    training = {module: module.training for module in model.modules()}
    model.eval()  # its result is ignored: `train` of some modules returns None
    try:
        with torch.no_grad(), user_lines_kept(file=__file__, function=capture.__name__), _DetachedData():
            program = torch.export.export(model, example)
    except Exception as error:  # of many types, most of them torch's
        raise NotImplementedError(why_not(error)) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    for node in program.graph.nodes:
        name_module(node)
    _drop_unread(program)
    _refuse_values(program)
    _flatten_outputs(program)
    _copy_changed_inputs(program)
    return program


def named_outputs(result: Any) -> dict[str, Tensor]:
    """The tensors that a network returns, however nested, in the order of its tuples, lists and dicts.

    The name of a single tensor is `logits`. Other names are keys and attributes, or `output_0`, `output_1`, ... in
    tuples and lists, joined by `_` where nested. None is left out, as in `torch.export`. Raises ValueError for any
    other value that is not a tensor.
    """
    leaves, _ = tree_flatten_with_path(_with_plain_dicts(result))
    named = {_name(path): leaf for path, leaf in leaves if leaf is not None}
    for leaf in named.values():
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"the network returns {type(leaf).__name__}; let it return tensors: one, or several in tuples, "
                "lists, dicts or a dataclass registered with torch.export.register_dataclass"
            )
    if len(named) < sum(leaf is not None for _, leaf in leaves):
        raise ValueError(f"two outputs of the network have one name, among {', '.join(named)}; rename one")
    return {"logits": named["output_0"]} if list(named) == ["output_0"] else named


def _with_plain_dicts(result: Any) -> Any:
    """`result` with dicts for all mappings: torch does not know the keys of a Hugging Face ModelOutput."""
    return tree_map(
        lambda part: (
            {key: _with_plain_dicts(value) for key, value in part.items()}
            if isinstance(part, Mapping)
            else part
        ),
        result,
        is_leaf=lambda part: isinstance(part, Mapping),
    )


def _name(path: tuple[Any, ...]) -> str:
    if not path:
        return "logits"
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    if isinstance(path[0], SequenceKey):
        parts.insert(0, "output")
    return re.sub(r"\W", "_", "_".join(parts))


def _flatten_outputs(program: ExportedProgram) -> None:
    """Joins several outputs into one tuple: the writers' processes do not know the user's classes."""
    signature = program.module_call_graph[0].signature
    assert signature is not None
    if not signature.out_spec.is_leaf():
        signature.out_spec = tree_structure((0,) * signature.out_spec.num_leaves)


def _drop_unread(program: ExportedProgram) -> None:
    """Drops what no output depends on: a printed value, an attempt before an `except`, a counter.

    A buffer that is changed and never read keeps its value.
    """
    graph = program.graph
    owners: dict[fx.Node, fx.Node] = {}
    writers: list[tuple[fx.Node, set[fx.Node]]] = []
    for node in graph.nodes:
        shared = [(owners[source], writes) for source, writes in _shared_memory(node) if source in owners]
        owners[node] = shared[0][0] if shared else node
        if any(writes for _, writes in shared):
            writers.append((node, {owner for owner, writes in shared if writes}))
    read: set[fx.Node] = set()
    read_memory: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        while waiting:
            node = waiting.pop()
            if node not in read:
                read.add(node)
                read_memory.add(owners[node])
                waiting += node.all_input_nodes
        # A write into memory that is read counts as read.
        waiting = [node for node, written in writers if node not in read and written & read_memory]
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and node not in read:
            graph.erase_node(node)
    program.graph_module.recompile()


def _refuse_values(program: ExportedProgram) -> None:
    """Refuses sizes that depend on values, numbers taken out of tensors, and BatchNorm in training mode."""
    for node in program.graph.nodes:
        if _has_open_size(node):
            raise refuse(node, OPEN_SIZE, OPEN_SIZES.get(operator_name(node), OUTSIDE))
        if operator_name(node) == "batch_norm" and node.args[3] is not None and node.args[5]:
            raise NotImplementedError(
                f"BatchNorm at {place(node)} is in training mode, although eval() was called: its outputs "
                "depend on the other clips of a batch; leave out .train() in forward, "
                "and let train(mode) follow its argument"
            )
        if isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool):
            raise NotImplementedError(
                f"the network takes a number out of a tensor at {place(node)}, which a file cannot: keep it a "
                "tensor with one element, without .item(), .tolist(), int() and float()"
            )


def _has_open_size(node: fx.Node) -> bool:
    """Whether values determine the size of a result, as those of a mask do, even if only a later layer needs the
    size."""
    indices: Any = node.args[1] if node.target is torch.ops.aten.index.Tensor else ()
    if any(index is not None and index.meta["val"].dtype is torch.bool for index in indices):
        return True
    values = tree_leaves(node.meta.get("val"))
    return any(free_unbacked_symbols(tuple(value.shape)) for value in values if isinstance(value, Tensor))


def _copy_changed_inputs(program: ExportedProgram) -> None:
    """Copies inputs that are modified in place: a file must not modify the caller's tensors."""
    graph, names = program.graph, program.graph_signature.user_inputs
    owners = {node: node for node in graph.nodes if node.op == "placeholder" and node.name in names}
    changed = []
    for node in graph.nodes:
        for source, is_written in _shared_memory(node):
            if source in owners:
                owners[node] = owners[source]
                if is_written and owners[source] not in changed:
                    changed.append(owners[source])
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for given in changed:
        readers = list(given.users)
        with graph.inserting_before(first):
            copy = graph.call_function(torch.ops.aten.clone.default, (given,))
        copy.meta["val"] = given.meta["val"]
        for reader in readers:
            reader.replace_input_with(given, copy)
        for output in program.graph_signature.output_specs:
            if output.arg.name == given.name:
                output.arg.name = copy.name
    program.graph_module.recompile()


def _shared_memory(node: fx.Node) -> Iterator[tuple[Any, bool]]:
    """The arguments that the result of an operator may share memory with, and whether it writes to them."""
    if node.target is operator.getitem:
        yield node.args[0], False
    schema = schema_of(node.target)
    for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
        if isinstance(value, fx.Node) and argument.alias_info is not None:
            yield value, argument.alias_info.is_write


class _DetachedData(TorchFunctionMode):
    """Makes `x.data` of a captured value `x.detach()` while active; torch would treat it as a constant."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _READ_DATA and type(args[0]) not in (Tensor, nn.Parameter):
            return args[0].detach()
        return func(*args, **(kwargs or {}))
