"""The int8 reference of a step program: the same integers as in the clip program, frame by frame.

Nothing is calibrated here. The step program and the clip program are two graphs of the same modules, so every
rounded value of one has a counterpart in the other: an output or an input of the same operator of the same module.
Ranges and weights are taken from there.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.lower import lower
from export.lower.source import operator_name, place
from export.quantize.int8_reference import convert, prepare
from export.quantize.layers import layers_of
from export.quantize.mixed_precision import keep_float
from export.quantize.quantizer import KEEPS_VALUES, WEIGHTED

Role = tuple[str, str, str, int, int]
"""Role of a value in an operator: `gives` or `reads`, path of the module, operator, its index there, argument."""

_PREFIX = "network."
"""Name under which `export.capture.stepping.StepNetwork` holds the network."""

_PASSES_ON = (*KEEPS_VALUES, torch.ops.aten.cat.default)


def step_reference(
    prepared: fx.GraphModule,
    program: ExportedProgram,
    *,
    qat: bool = False,
    float_layers: Collection[str] = (),
) -> ExportedProgram:
    """The int8 reference of the step program `program`, with ranges and weights of the clip's `prepared`.

    `float_layers` are the layers of `prepared`, in which all are int8, that stay in float in both programs. Raises
    ValueError for a value or a weight without a counterpart in the clip's graph, and the errors of lowering.
    """
    assert program.example_inputs is not None
    lowered = lower(program)
    states = [node.name for node in lowered.graph.nodes if node.op == "placeholder"][1:]
    stepping = prepare(lowered, qat=qat, states=states)
    known = {role: node for node in _observers(prepared) for role in _roles(node, _numbered(prepared))}
    numbers = _numbered(stepping)
    taken: dict[str, nn.Module] = {}
    for node in _observers(stepping):
        roles = list(_roles(node, numbers))
        found = next((known[role] for role in roles if role in known), None)
        if found is None:
            value: Any = node.args[0]
            raise ValueError(
                f"{operator_name(value)} at {place(value)} has no counterpart in the network for clips, which "
                "would determine its rounding; let step call the modules that forward calls"
            )
        taken[str(node.target)] = getattr(prepared, str(found.target))
    for name, observer in taken.items():
        setattr(stepping, name, observer)
    _copy_weights(prepared, stepping)
    keep_float(stepping, float_layers, known=layers_of(prepared).values())
    reference = convert(stepping)
    _separate_outputs(reference)
    return torch.export.export(reference, program.example_inputs[0])


def _observers(graph: fx.GraphModule) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.op == "call_module"]


def _numbered(graph: fx.GraphModule) -> dict[fx.Node, tuple[str, str, int]]:
    """Every operator's module, name, and index among the operators of that name there."""
    counts: Counter[tuple[str, str]] = Counter()
    numbers = {}
    for node in graph.graph.nodes:
        if node.op != "call_function":
            continue
        stack = list(node.meta.get("nn_module_stack", {}).values())
        key = (str(stack[-1][0]).removeprefix(_PREFIX) if stack else "", str(node.target))
        numbers[node] = (*key, counts[key])
        counts[key] += 1
    return numbers


def _roles(observer: fx.Node, numbers: dict[fx.Node, tuple[str, str, int]]) -> Iterator[Role]:
    """The users of the rounded value, through operators that pass it on; then its source."""
    queue, seen = [observer], {observer}
    while queue:
        value = queue.pop(0)
        for user in value.users:
            if user.target in _PASSES_ON or user.op == "call_module":
                if user not in seen:
                    seen.add(user)
                    queue.append(user)
            elif user in numbers:
                yield ("reads", *numbers[user], user.args.index(value))
    source: Any = observer.args[0]
    if source in numbers and source.target not in _PASSES_ON:
        yield ("gives", *numbers[source], 0)


def _separate_outputs(reference: fx.GraphModule) -> None:
    """Gives every output its own dequantize: ExecuTorch loses one that a layer uses too."""
    output = next(reversed(reference.graph.nodes))
    for node in output.all_input_nodes:
        if (
            node.target is torch.ops.quantized_decomposed.dequantize_per_tensor.default
            and len(node.users) > 1
        ):
            with reference.graph.inserting_before(output):
                copied = reference.graph.node_copy(node)
            copied.meta = dict(node.meta)
            output.replace_input_with(node, copied)
    reference.recompile()


def _copy_weights(source: fx.GraphModule, target: fx.GraphModule) -> None:
    """Copies weights and biases of the clip's graph, which training may have changed."""
    layers = {key: node for node, key in _numbered(source).items() if node.target in WEIGHTED}
    for node, key in _numbered(target).items():
        if node.target not in WEIGHTED:
            continue
        twin = layers.get(key)
        if twin is None:
            raise ValueError(
                f"{operator_name(node)} at {place(node)} has no counterpart in the network for clips"
            )
        for index in range(1, min(3, len(node.args))):
            mine, theirs = _stored(target, node.args[index]), _stored(source, twin.args[index])
            if mine is not None and theirs is not None:
                mine.data.copy_(
                    theirs if theirs.shape == mine.shape else _of_the_past(theirs, mine, node, twin)
                )


def _of_the_past(theirs: Tensor, mine: Tensor, node: fx.Node, twin: fx.Node) -> Tensor:
    """`mine` with the taps of `theirs` up to that of the current frame; later taps are zeros, for the future.

    A clip that is shorter than the kernel lacks the first taps, which are not changed.
    """
    padding: Any = twin.args[4]
    now = padding[0] + 1
    taps = min(mine.shape[2], now)
    fitted = mine.detach().clone()
    alike = fitted[:, :, :1].shape == theirs[:, :, :1].shape
    if not alike or theirs[:, :, : now - taps].any() or theirs[:, :, now:].any():
        raise ValueError(
            f"{operator_name(node)} at {place(node)} has weights {list(mine.shape)} for one frame and "
            f"{list(theirs.shape)} for clips, which are not causal kernels of one layer"
        )
    fitted[:, :, mine.shape[2] - taps :] = theirs[:, :, now - taps : now].detach()
    return fitted


def _stored(graph: fx.GraphModule, node: Any) -> Tensor | None:
    while isinstance(node, fx.Node) and node.op == "call_module":
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    found: Tensor = operator.attrgetter(str(node.target))(graph)
    return found
