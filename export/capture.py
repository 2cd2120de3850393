"""A network as one static graph of ATen operators, the form in which everything else in this package reads it."""

from __future__ import annotations

import contextlib
import operator
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from export.child import in_a_sentence

_TORCH = Path(torch.__file__).parent


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """The graph of `model(*example)` in eval mode, static in every shape, batch size included.

    It gives one tensor or a tuple of them, and changes no input: what the network changes in place is a copy. The
    model keeps its own training mode. Raises TypeError when an input is not a tensor, NotImplementedError when
    `torch.export` cannot capture the network (control flow that depends on values, as a rule), naming the line.
    """
    for position, value in enumerate(example):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"input {position} of the example is {type(value).__name__}; give one tensor per input"
            )
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), _data_is_detached(), _every_line_is_noted():
            program = torch.export.export(model, example)
    except Exception as error:  # of many types, most of them torch's own
        raise NotImplementedError(
            f"the network cannot be captured as one graph{_place(error)}: {in_a_sentence(error)}; let what is "
            "computed depend on shapes, not on values: torch.where instead of `if`, no .item()"
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    _flatten_outputs(program)
    _copy_changed_inputs(program)
    return program


def named_outputs(result: Any) -> dict[str, Tensor]:
    """The tensors in what a network returns, however nested, in the order of its tuples, lists and dicts.

    `logits` for a single tensor; keys and attributes as they are; `output_0`, `output_1`, ... in tuples and lists;
    joined by `_` where they are nested. None is left out, as `torch.export` leaves it out. Raises ValueError for
    anything else that is no tensor.
    """
    leaves, _ = pytree.tree_flatten_with_path(_with_plain_dicts(result))
    named = {_name(path): leaf for path, leaf in leaves if leaf is not None}
    for leaf in named.values():
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"the network returns {type(leaf).__name__}; let it return tensors: one, or several in tuples, "
                "lists, dicts or a dataclass that torch.export.register_dataclass has been told of"
            )
    if len(named) < sum(leaf is not None for _, leaf in leaves):
        raise ValueError(f"two outputs of the network have one name, among {', '.join(named)}; rename one")
    return {"logits": named["output_0"]} if list(named) == ["output_0"] else named


def _with_plain_dicts(result: Any) -> Any:
    """`result` with dicts for mappings of all kinds: torch is not told the keys of a Hugging Face ModelOutput."""
    return pytree.tree_map(
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
    if isinstance(path[0], pytree.SequenceKey):
        parts.insert(0, "output")
    return re.sub(r"\W", "_", "_".join(parts))


def _flatten_outputs(program: ExportedProgram) -> None:
    """Several outputs become one tuple: the processes of the writers do not know the user's classes."""
    signature = program.module_call_graph[0].signature
    assert signature is not None
    if not signature.out_spec.is_leaf():
        signature.out_spec = pytree.tree_structure((0,) * signature.out_spec.num_leaves)


def _copy_changed_inputs(program: ExportedProgram) -> None:
    """Inputs that are changed in place are copied first: a file has no tensor of a caller's to change."""
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
    """The arguments whose memory the result of an operator may share, and whether it writes there."""
    if node.target is operator.getitem:
        yield node.args[0], False
    schema = getattr(node.target, "_schema", None)
    for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
        if isinstance(value, fx.Node) and argument.alias_info is not None:
            yield value, argument.alias_info.is_write


@contextlib.contextmanager
def _data_is_detached() -> Iterator[None]:
    """While it lasts, `x.data` of a captured value is `x.detach()`; torch would take it for a constant."""
    own: Any = torch._C.TensorBase.data  # type: ignore[attr-defined]

    def read(tensor: Tensor) -> Tensor:
        return tensor.detach() if isinstance(tensor, FakeTensor) else own.__get__(tensor)

    torch.Tensor.data = property(read, own.__set__)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        del torch.Tensor.data


@contextlib.contextmanager
def _every_line_is_noted() -> Iterator[None]:
    """While it lasts, operators know the lines of all functions that led to them, not of `forward` alone."""
    own = fx.proxy.TracerBase._filter_traceback_frames

    def noted(tracer: Any, stack: traceback.StackSummary) -> traceback.StackSummary:
        names = [frame.name for frame in stack]
        inside = stack[names.index("forward") :] if "forward" in names else []
        frames = [
            frame
            for frame in inside
            if frame.name == "forward" or not Path(frame.filename).is_relative_to(_TORCH)
        ]
        return traceback.StackSummary.from_list(frames)

    fx.proxy.TracerBase._filter_traceback_frames = noted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        fx.proxy.TracerBase._filter_traceback_frames = own  # type: ignore[method-assign]


def _place(error: Exception) -> str:
    """The innermost line outside torch that was being captured, if there is one."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_TORCH) and frame.filename != __file__
    ]
    return f" at {frames[-1].filename}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""
