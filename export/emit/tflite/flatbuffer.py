"""Serializes graphs as a `.tflite` file: schema version 3, a subgraph and a signature for each, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.emit.tflite.graph import Graph, Op, Quantization, Tensor, constant

SIGNATURE, STEP_SIGNATURE = "serving_default", "step"
"""Names of the signatures: of the clip program, and of the step program."""

_ALIGNMENT = 16
"""Alignment of constants in bytes. The runtime copies constants that are not aligned."""

_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "EQUAL": "EqualOptions",
    "NOT_EQUAL": "NotEqualOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
    "LOGICAL_AND": "LogicalAndOptions",
    "LOGICAL_OR": "LogicalOrOptions",
    "LOGICAL_NOT": "LogicalNotOptions",
    "SELECT_V2": "SelectV2Options",
    "CAST": "CastOptions",
    "POW": "PowOptions",
    "FLOOR_DIV": "FloorDivOptions",
    "FLOOR_MOD": "FloorModOptions",
    "TOPK_V2": "TopKV2Options",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "SOFTMAX": "SoftmaxOptions",
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "EXP": "ExpOptions",
    "NEG": "NegOptions",
    "ABS": "AbsOptions",
    "RESHAPE": "ReshapeOptions",
    "TRANSPOSE": "TransposeOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "SLICE": "SliceOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "CONCATENATION": "ConcatenationOptions",
    "GATHER": "GatherOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "QUANTIZE": "QuantizeOptions",
    "DEQUANTIZE": "DequantizeOptions",
}
"""Options table of each operator in the schema; operators that are not listed have none."""

_INT8_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "BATCH_MATMUL": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "ADD": 2,
    "SUB": 2,
    "MUL": 2,
    "MAXIMUM": 2,
    "MINIMUM": 2,
    "MEAN": 2,
    "SUM": 2,
    "REDUCE_MAX": 2,
    "SOFTMAX": 2,
    "LOGISTIC": 2,
    "TANH": 2,
    "LEAKY_RELU": 2,
    "GELU": 2,
    "RELU": 2,
    "RELU6": 2,
    "TRANSPOSE": 2,
    "BROADCAST_TO": 3,
    "SLICE": 2,
    "STRIDED_SLICE": 2,
    "CONCATENATION": 2,
    "PAD": 2,
    "PADV2": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "DEQUANTIZE": 2,
}
"""Operator version from which a runtime supports the int8 form, if it is not 1."""

_FLOAT_VERSIONS = {"BROADCAST_TO": 2}
"""Operator version of the float form, if it is not 1."""

_INT4_WEIGHT_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 12}
"""Operator version from which a runtime supports float32 values with integer weights, one scale per channel."""

_ENUMERATIONS = {"padding": "Padding", "fusedActivationFunction": "ActivationFunctionType"}


def serialize(graphs: Mapping[str, Graph], *, metadata: Mapping[str, bytes]) -> bytes:
    """The bytes of the file, with `graphs` by signature name; equal constants are stored once.

    The first graph is the default signature. `metadata` entries are stored by name.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    return _Model(schema, flatbuffers, graphs, metadata).pack()


class _Model:
    def __init__(
        self, schema: Any, flatbuffers: Any, graphs: Mapping[str, Graph], metadata: Mapping[str, bytes]
    ) -> None:
        self.schema, self.flatbuffers, self.graphs = schema, flatbuffers, graphs
        self.metadata = metadata
        self.buffers: list[bytes] = [b""]
        """Buffer 0 is empty by convention and stands for computed values."""
        self.buffer_numbers: dict[bytes, int] = {}
        """Equal constants share one buffer."""
        self.number: dict[Tensor, int] = {}
        """Index of every tensor in its subgraph."""
        tensors = [tensor for graph in graphs.values() for tensor in _all_tensors(graph)]
        self.scales = {tensor: _group_scales(tensor) for tensor in tensors if _has_groups(tensor)}
        """The scales of weights in groups, which are tensors of their own."""
        ends = [tensor for graph in graphs.values() for tensor in (*graph.inputs, *graph.outputs)]
        self.names = _unique_names([*ends, *tensors, *self.scales.values()])
        self.codes: list[tuple[str, int]] = []

    def pack(self) -> bytes:
        schema = self.schema
        model = schema.ModelT()
        model.version = 3
        model.description = "Pocketreel"
        model.subgraphs = [self._subgraph(name, graph) for name, graph in self.graphs.items()]
        model.operatorCodes = [self._operator_code(*code) for code in self.codes]
        model.signatureDefs = [
            self._signature(name, graph, subgraph=index)
            for index, (name, graph) in enumerate(self.graphs.items())
        ]
        model.metadata = [self._metadata(name, data) for name, data in self.metadata.items()]
        model.buffers = [self._buffer(data) for data in self.buffers]
        builder = self.flatbuffers.Builder(sum(map(len, self.buffers)) + 65536)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _subgraph(self, name: str, graph: Graph) -> Any:
        tensors = _all_tensors(graph)
        tensors += [self.scales[tensor] for tensor in tensors if tensor in self.scales]
        self.number.update({tensor: index for index, tensor in enumerate(tensors)})
        made = self.schema.SubGraphT()
        made.name = "main" if name == SIGNATURE else name
        made.tensors = [self._tensor(tensor) for tensor in tensors]
        made.inputs = [self.number[tensor] for tensor in graph.inputs]
        made.outputs = [self.number[tensor] for tensor in graph.outputs]
        made.operators = [self._operator(op) for op in graph.ops]
        return made

    def _tensor(self, tensor: Tensor) -> Any:
        made = self.schema.TensorT()
        made.name = self.names[tensor]
        made.shape = list(tensor.shape)
        made.hasRank = True
        made.type = getattr(self.schema.TensorType, tensor.dtype.upper())
        if tensor.data is not None:
            made.buffer = self._buffer_number(_bytes(tensor.data, tensor.dtype))
        if tensor in self.scales:
            made.quantization = self._groups(tensor)
        elif tensor.quantization is not None:
            made.quantization = self._quantization(tensor.quantization)
        return made

    def _groups(self, tensor: Tensor) -> Any:
        details = self.schema.BlockwiseQuantizationT()
        details.scales = self.number[self.scales[tensor]]
        details.zeroPoints = -1  # none: the numbers are symmetric
        details.blockSize = tensor.shape[-1] // self.scales[tensor].shape[-1]
        made = self.schema.QuantizationParametersT()
        made.detailsType = self.schema.QuantizationDetails.BlockwiseQuantization
        made.details = details
        return made

    def _quantization(self, quantization: Quantization) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale = list(quantization.scale)
        made.zeroPoint = list(quantization.zero_point)
        made.quantizedDimension = quantization.axis or 0
        return made

    def _buffer_number(self, data: bytes) -> int:
        if data not in self.buffer_numbers:
            self.buffer_numbers[data] = len(self.buffers)
            self.buffers.append(data)
        return self.buffer_numbers[data]

    def _operator(self, op: Op) -> Any:
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code_number(op)
        made.inputs = [self.number[tensor] for tensor in op.inputs]
        made.outputs = [self.number[tensor] for tensor in op.outputs]
        if op.kind in _OPTIONS:
            options = _OPTIONS[op.kind]
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = self._options(options, op.options)
        else:
            assert not op.options, f"{op.kind} has options and no options table"
        return made

    def _options(self, table: str, values: Mapping[str, Any]) -> Any:
        made = getattr(self.schema, f"{table}T")()
        for name, value in values.items():
            assert hasattr(made, name), f"{table} has no field {name}"
            enumeration = _ENUMERATIONS.get(name)
            setattr(made, name, getattr(getattr(self.schema, enumeration), value) if enumeration else value)
        return made

    def _code_number(self, op: Op) -> int:
        first = {tensor.dtype for tensor in (*op.inputs[:1], *op.outputs[:1])}
        versions = _INT8_VERSIONS if "int8" in first else _FLOAT_VERSIONS
        if "float32" in first and any(tensor.dtype == "int4" for tensor in op.inputs):
            versions = _INT4_WEIGHT_VERSIONS
        code = (op.kind, versions.get(op.kind, 1))
        if code not in self.codes:
            self.codes.append(code)
        return self.codes.index(code)

    def _operator_code(self, kind: str, version: int) -> Any:
        made = self.schema.OperatorCodeT()
        made.builtinCode = getattr(self.schema.BuiltinOperator, kind)
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)
        made.version = version
        return made

    def _signature(self, name: str, graph: Graph, *, subgraph: int) -> Any:
        made = self.schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = name, subgraph
        made.inputs = [self._named(tensor) for tensor in graph.inputs]
        made.outputs = [self._named(tensor) for tensor in graph.outputs]
        return made

    def _named(self, tensor: Tensor) -> Any:
        made = self.schema.TensorMapT()
        made.name, made.tensorIndex = tensor.name, self.number[tensor]
        return made

    def _metadata(self, name: str, data: bytes) -> Any:
        made = self.schema.MetadataT()
        self.buffers.append(data)
        made.name, made.buffer = name, len(self.buffers) - 1
        return made

    def _buffer(self, data: bytes) -> Any:
        return _AlignedBuffer(self.schema, data)


class _AlignedBuffer:
    """Packs the schema's `Buffer` with the required alignment, which the generated Python code omits."""

    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema, self.data = schema, data

    def Pack(self, builder: Any) -> int:
        """Offset of the packed table; the name is the one the generated code calls."""
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), _ALIGNMENT)
            builder.head = builder.head - len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        self.schema.BufferStart(builder)
        if vector is not None:
            self.schema.BufferAddData(builder, vector)
        return self.schema.BufferEnd(builder)


def _bytes(data: np.ndarray, dtype: str) -> bytes:
    """The numbers as stored in the file; of two int4 numbers the first is in the lower half of the byte."""
    if dtype != "int4":
        return data.tobytes()
    halves = data.reshape(-1).view(np.uint8) & 15
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    return (halves[0::2] | halves[1::2] << 4).tobytes()


def _unique_names(tensors: Sequence[Tensor]) -> dict[Tensor, str]:
    """A name for every tensor: its own, with a number if one before it has that name.

    The runtime does not need unique names; tools that change files, such as AI Edge Quantizer, refuse others.
    """
    names: dict[Tensor, str] = {}
    used: set[str] = set()
    for tensor in dict.fromkeys(tensors):
        name, number = tensor.name, 1
        while name in used:
            number += 1
            name = f"{tensor.name}/{number}"
        used.add(name)
        names[tensor] = name
    return names


def _has_groups(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.groups > 1


def _group_scales(weight: Tensor) -> Tensor:
    """The scales of a weight `(O, I)` as a tensor `(O, groups)` of float16, which represents them exactly."""
    assert weight.quantization is not None
    scales = np.asarray(weight.quantization.scale, np.float16).reshape(weight.shape[0], -1)
    return constant(f"{weight.name}/scales", scales)


def _all_tensors(graph: Graph) -> list[Tensor]:
    found = dict.fromkeys(graph.inputs)
    for op in graph.ops:
        found.update(dict.fromkeys((*op.inputs, *op.outputs)))
    return list(found)
