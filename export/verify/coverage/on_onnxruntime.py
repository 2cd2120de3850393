"""Kernels that ONNX Runtime uses for a file, from the graph that it optimises for this processor."""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from export.verify.coverage.onnx_file import Graph, macs
from export.verify.coverage.onnx_rules import (
    BLOCKED,
    LAYERS,
    described,
    float_reason,
    integer_reason,
    is_accelerated,
    name_of,
)
from export.verify.coverage.report import Coverage, LeftBehind

if TYPE_CHECKING:
    import onnx

_MOVES = frozenset(
    ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Pad", "Concat", "Split")
)
"""Operators that do not change values."""

_CURVES = frozenset(
    ("Add", "BiasGelu", "BiasSoftmax", "Div", "Elu", "Erf", "Exp", "FastGelu", "Gelu", "HardSigmoid", "HardSwish",
     "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "Mul", "Pow", "QuickGelu", "ReduceMean", "ReduceSum",
     "Sigmoid", "SkipLayerNormalization", "Softmax", "Sqrt", "Sub", "Tanh")
)  # fmt: skip
"""Float operators that compute and are not layers."""

_NO_KERNEL = "ONNX Runtime's optimised graph has no kernel that matches this layer"


def onnxruntime_coverage(path: Path, *, scheme: str, places: Mapping[str, str]) -> Coverage:
    """Coverage of the ONNX file at `path` by the CPU provider of ONNX Runtime.

    Accelerated are integer kernels in a `w8a8` file; in others matrix products (including recurrent layers) and
    convolutions in blocks of channels, but not convolutions through im2col. The list for an int8 file also names
    every inner pair of quantize and dequantize that was not fused into a kernel. `partitions` is `None`: the CPU
    provider takes the whole graph. `places` gives the user's source line for names of nodes and values.

    Raises ImportError without onnxruntime, and its errors for a file that it cannot load.
    """
    import onnx
    import onnxruntime

    written = Graph(onnx.load(path))
    optimised = Graph(_optimised(path))
    integers = scheme == "w8a8"
    kernels = _kernels(optimised)
    total, left = 0, []
    for layer in written.nodes:
        count = macs(layer, written)
        total += count
        kernel = _kernel_of(layer, written, kernels) if count else None
        if count and (kernel is None or not is_accelerated(kernel, integers=integers)):
            reason = _reason(layer, kernel, written=written, optimised=optimised, integers=integers)
            place = places.get(layer.output[0])
            name, kind = name_of(layer), layer.op_type
            left.append(LeftBehind(node=name, operator=kind, macs=count, reason=reason, place=place))
    accelerated = total - sum(one.macs for one in left)
    if integers:
        left += _unfused(optimised, places)
        left += _between(optimised, places)
    blocked = any(node.domain == BLOCKED for node in optimised.nodes)
    return Coverage(
        macs=total,
        accelerated_macs=accelerated,
        partitions=None,
        left=tuple(left),
        source=f"graph that ONNX Runtime {onnxruntime.__version__} optimised for this {platform.machine()} "
        f"processor, {'with' if blocked else 'without'} blocked (NCHWc) kernels; another processor may differ",
    )


def _optimised(path: Path) -> onnx.ModelProto:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is valid for this processor only
    with tempfile.TemporaryDirectory(prefix="pocketreel-coverage-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _kernels(optimised: Graph) -> dict[str, onnx.NodeProto]:
    """The layers of an optimised graph by every name that they may have in the written file.

    A fused kernel is named after its original node, with additions; a blocked one after its output; and most
    outputs keep their names.
    """
    found: dict[str, onnx.NodeProto] = {}
    for node in optimised.nodes:
        if node.op_type in LAYERS:
            origin = re.sub(r"_token_\d+$", "", node.name.removeprefix("fused ").partition("/")[0])
            names = [origin, *node.output, node.name.removesuffix("_nchwc") if node.domain == BLOCKED else ""]
            found.update({name: node for name in names if name})
    return found


def _kernel_of(
    layer: onnx.NodeProto, written: Graph, kernels: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto | None:
    """The kernel that computes `layer`: named after it, its output, or an operator fused after it."""
    if layer.name in kernels:
        return kernels[layer.name]
    result = layer.output[0]
    while result not in kernels:
        readers = written.readers.get(result, [])
        if len(readers) != 1 or readers[0].op_type in LAYERS:
            return None
        result = readers[0].output[0]
    return kernels[result]


def _reason(
    layer: onnx.NodeProto,
    kernel: onnx.NodeProto | None,
    *,
    written: Graph,
    optimised: Graph,
    integers: bool,
) -> str:
    if kernel is None:
        return _NO_KERNEL
    return integer_reason(layer, written) if integers else float_reason(kernel, optimised)


def _unfused(optimised: Graph, places: Mapping[str, str]) -> Iterator[LeftBehind]:
    """Every inner quantize or dequantize of an optimised int8 graph that is not fused into a kernel.

    Those that convert the inputs to int8, and the outputs to float, are part of the file.
    """
    for node in optimised.nodes:
        neighbour, what = None, ""
        if node.op_type == "DequantizeLinear" and node.input[0] not in optimised.constants:
            neighbour, what = next(iter(optimised.readers.get(node.output[0], [])), None), "uses"
        elif node.op_type == "QuantizeLinear":
            neighbour, what = _maker(node, optimised), "returns"
        if neighbour is not None:
            # In a graph converted to channels last, values are named after the nodes that compute them.
            # The operator that computes in float comes first: that line is to be changed.
            at_fault = neighbour if what == "returns" else _traced(neighbour, optimised, places)
            named = (*_names(at_fault), node.name, *node.output)
            yield LeftBehind(
                node=name_of(node),
                operator=node.op_type,
                macs=0,
                reason=f"{described(neighbour)} {what} the value in float",
                place=next((places[name] for name in named if name in places), None),
            )


def _names(node: onnx.NodeProto) -> tuple[str, ...]:
    return (node.name, *node.output)


def _traced(node: onnx.NodeProto, graph: Graph, places: Mapping[str, str]) -> onnx.NodeProto:
    """The first node from `node` on that has a place; those of an inlined ONNX function have none but the last."""
    while not any(name in places for name in _names(node)):
        readers = graph.readers.get(node.output[0], [])
        if not readers:
            break
        node = readers[0]
    return node


def _between(optimised: Graph, places: Mapping[str, str]) -> Iterator[LeftBehind]:
    """Operators that compute in float between float operators, so that no quantization is next to them."""
    for node in optimised.nodes:
        if node.op_type not in _CURVES:
            continue
        makers = [optimised.makers[value] for value in node.input if value in optimised.makers]
        near = [*makers, *(reader for value in node.output for reader in optimised.readers.get(value, []))]
        if makers and not any(one.op_type in ("QuantizeLinear", "DequantizeLinear") for one in near):
            yield LeftBehind(
                node=name_of(node),
                operator=node.op_type,
                macs=0,
                reason="it computes in float, as its inputs and consumers do",
                place=next((places[name] for name in _names(node) if name in places), None),
            )


def _maker(node: onnx.NodeProto, graph: Graph) -> onnx.NodeProto | None:
    """The node that computed the input of `node`, `None` if it is an input of the graph."""
    maker = graph.makers.get(node.input[0])
    while maker is not None and maker.op_type in _MOVES:
        maker = graph.makers.get(maker.input[0])
    return maker
