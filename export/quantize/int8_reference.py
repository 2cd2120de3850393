"""The int8 network in torch, the reference for every exported int8 file.

    prepared = prepare(lowered)                      # observers; with qat=True fake quantization for training
    calibrate(prepared, batches)
    reference = convert(prepared)                    # quantized_decomposed operators, ready for torch.export

Graphs are static, so training and calibration run on a graph lowered for their batch size; `transfer` copies
weights and ranges to the graph lowered for one clip, which is exported.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, fx
from torchao.quantization.pt2e import disable_fake_quant, enable_fake_quant, enable_observer
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e

from export.quantize.bias_range import keep_biases_in_range
from export.quantize.observers import CALIBRATED, TRAINED, Ranges, TrainedRange
from export.quantize.quantizer import CLAMPS, KEEPS_VALUES, PASSES_ON, EdgeQuantizer

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

SCHEMES = ("w8a8",)
"""Schemes with integer activations, which need a reference."""


def prepare(
    lowered: fx.GraphModule,
    *,
    scheme: str = "w8a8",
    qat: bool = False,
    states: Collection[str] = (),
    ranges: Ranges | None = None,
) -> fx.GraphModule:
    """A copy of `lowered` with observers for the range of every int8 value; with `qat` it also rounds, for
    training.

    `ranges` are the observers, by default `CALIBRATED` or with `qat` `TRAINED`. `states` are the names of the
    state inputs of a step program. Raises ValueError for a scheme without integer activations.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} has no int8 reference; allowed: {', '.join(SCHEMES)}")
    graph = torch.export.export(lowered, _examples(lowered)).module(check_guards=False)
    quantizer = EdgeQuantizer(ranges or (TRAINED if qat else CALIBRATED), states=states)
    return (prepare_qat_pt2e if qat else prepare_pt2e)(graph, quantizer)


def calibrate(prepared: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Runs a prepared graph on `batches`, which records ranges, with fake quantization off.

    Raises ValueError if there is no batch, or one of another size than the graph was lowered for.
    """
    shapes = [tuple(example.shape) for example in _examples(prepared)]
    prepared.apply(enable_observer)
    prepared.apply(disable_fake_quant)
    seen = 0
    with torch.no_grad():
        for batch in batches:
            given = [tuple(tensor.shape) for tensor in batch]
            if given != shapes:
                raise ValueError(
                    f"a calibration batch has shapes {given}; the graph was lowered for {shapes}"
                )
            prepared(*batch)
            seen += 1
    if not seen:
        raise ValueError("there is no calibration batch; give at least one")
    prepared.apply(enable_fake_quant)


def freeze_ranges(prepared: fx.GraphModule) -> None:
    """Freezes the ranges of activations, for the last epochs of QAT."""
    for module in prepared.modules():
        if isinstance(module, TrainedRange):
            module.disable_observer()


def transfer(source: fx.GraphModule, target: fx.GraphModule) -> None:
    """Copies weights and ranges from one prepared graph to one of the same network for another batch size.

    Raises ValueError if the two are not of the same network, and names the difference.
    """
    state, wanted = source.state_dict(), target.state_dict()
    if state.keys() != wanted.keys():
        name = sorted(state.keys() ^ wanted.keys())[0]
        raise ValueError(
            f"the graphs are not of one network prepared in one way: only one of them has {name!r}"
        )
    parameters = {name for name, _ in source.named_parameters()}
    for name in parameters:
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)} and {tuple(wanted[name].shape)}"
            raise ValueError(f"the graphs are not of one network: {name!r} has shapes {shapes}")
    ranges = {name for name in state if name.startswith("activation_post_process_")}
    target.load_state_dict({name: state[name] for name in parameters | ranges}, strict=False)


def convert(prepared: fx.GraphModule) -> fx.GraphModule:
    """The int8 reference of a calibrated or trained graph; `prepared` is not changed.

    Weights are int8 tensors followed by `dequantize_per_channel`; activations pass `quantize_per_tensor` and
    `dequantize_per_tensor`. A clamp that its quantization range implies is omitted: int8 saturates at the same
    values. If a bias would not fit int32, the scale of its channel's weights is larger
    (`export.quantize.bias_range`). Raises ValueError if a range is missing because nothing was calibrated.
    """
    _refuse_uncalibrated(prepared)
    reference = convert_pt2e(copy.deepcopy(prepared))
    _drop_implied_clamps(reference)
    _repeat_scales(reference)
    # After data movement of int8 values, too, a layer now has the input scale that its bias is stored in.
    keep_biases_in_range(reference)
    return reference


def for_evaluation(reference: fx.GraphModule) -> fx.GraphModule:
    """The same numbers several times faster: weights are float again, and rounding is in-place arithmetic.

    Not for export.
    """
    fast = copy.deepcopy(reference)
    repeated = {node for node in fast.graph.nodes if _is_pair(node) and _is_rounded(node.args[0])}
    for node in list(fast.graph.nodes):
        arguments: Any = node.args
        with fast.graph.inserting_before(node):
            if node.target is quantized.dequantize_per_channel.default:
                values = [_constant(fast, a) if isinstance(a, fx.Node) else a for a in arguments]
                fast.register_buffer(f"{node.name}_float", quantized.dequantize_per_channel(*values))
                node.replace_all_uses_with(fast.graph.get_attr(f"{node.name}_float"))
            elif node in repeated:
                node.replace_all_uses_with(arguments[0].args[0])
            elif _is_pair(node):
                node.replace_all_uses_with(_rounded(fast.graph, arguments[0].args))
    fast.graph.eliminate_dead_code()
    fast.recompile()
    return fast


def _rounded(graph: fx.Graph, quantize: Any) -> fx.Node:
    """Quantize and dequantize with the arguments `quantize`, as float arithmetic."""
    value, scale, zero_point, low, high, _ = quantize
    steps = graph.call_function(aten.mul.Tensor, (value, 1 / scale))
    steps = graph.call_function(aten.round_.default, (steps,))
    steps = graph.call_function(aten.clamp_.default, (steps, low - zero_point, high - zero_point))
    return graph.call_function(aten.mul_.Tensor, (steps, scale))


def _is_rounded(quantize: Any) -> bool:
    """Whether the input of `quantize` has the same rounding already, with only data movement in between."""
    value, *scale = quantize.args
    while value.target in KEEPS_VALUES:
        value = value.all_input_nodes[0]
    return value.target is quantized.dequantize_per_tensor.default and [*value.args[1:]] == scale


def _is_pair(node: fx.Node) -> bool:
    """Whether `node` dequantizes a value that is quantized only for it."""
    if node.target is not quantized.dequantize_per_tensor.default:
        return False
    source: Any = node.args[0]
    return source.target is quantized.quantize_per_tensor.default and source.args[1:] == node.args[1:]


def _constant(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return operator.attrgetter(str(node.target))(module)


def _examples(graph: fx.GraphModule) -> tuple[Tensor, ...]:
    """Inputs of the right shape and type."""
    inputs = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    return tuple(torch.zeros(value.shape, dtype=value.dtype) for value in inputs)


def _refuse_uncalibrated(prepared: fx.GraphModule) -> None:
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args and node.args[0].op != "get_attr":
            observer = getattr(prepared, str(node.target))
            observer = getattr(observer, "activation_post_process", observer)
            low = getattr(observer, "min_val", None)
            if low is not None and (low.numel() == 0 or not torch.isfinite(low).all()):
                raise ValueError(
                    f"the range of {node.args[0].name!r} is unknown; run calibrate() before convert()"
                )


def _drop_implied_clamps(reference: fx.GraphModule) -> None:
    """Removes clamps that are followed by a quantization with a narrower range."""
    for node in list(reference.graph.nodes):
        if node.target not in CLAMPS or not node.users:
            continue
        low, high = _limits(node)
        if all(_saturates_within(user, low, high) for user in node.users):
            node.replace_all_uses_with(node.args[0])
            reference.graph.erase_node(node)
    reference.recompile()


def _repeat_scales(reference: fx.GraphModule) -> None:
    """Adds quantize and dequantize after operators that pass int8 values on: backends expect both sides."""
    for node in list(reference.graph.nodes):
        if not node.meta.get(PASSES_ON):
            continue
        source: Any = node.all_input_nodes[0]
        scale, users = source.args[1:], list(node.users)
        with reference.graph.inserting_after(node):
            q = reference.graph.call_function(quantized.quantize_per_tensor.default, (node, *scale))
        q.meta = dict(node.meta)
        # A dequantize for each consumer: ExecuTorch's partitioner cannot separate consumers that share one.
        for user in users:
            with reference.graph.inserting_before(user):
                dq = reference.graph.call_function(quantized.dequantize_per_tensor.default, (q, *scale))
            dq.meta = dict(node.meta)
            user.replace_input_with(node, dq)
    reference.recompile()


def _limits(clamp: fx.Node) -> tuple[float, float]:
    """Lower and upper limit of a clamp."""
    numbers: Any = [*clamp.args[1:], None, None]
    if clamp.target is aten.relu.default:
        return 0.0, math.inf
    if clamp.target is aten.relu6.default:
        return 0.0, 6.0
    if clamp.target is aten.hardtanh.default and len(clamp.args) == 1:
        return -1.0, 1.0
    low, high = (clamp.kwargs.get(key, number) for key, number in zip(("min", "max"), numbers, strict=False))
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _saturates_within(node: fx.Node, low: float, high: float) -> bool:
    """Whether `node` quantizes to values that all are in `low`..`high`, up to half a step of rounding."""
    if node.target is not quantized.quantize_per_tensor.default:
        return False
    arguments: Any = node.args
    _, scale, zero_point, smallest, largest, _ = arguments
    first, last = (smallest - zero_point) * scale, (largest - zero_point) * scale
    return first >= low - 1e-6 and last <= high + scale / 2
