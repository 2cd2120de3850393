"""Converts a graph that computes in float between DEQUANTIZE and QUANTIZE to one that computes in int8.

The torch reference gives the scale and zero point of every value. This module decides nothing: a chain
DEQUANTIZE -> operator -> QUANTIZE becomes the int8 operator with exactly those parameters, and an operator without
such a chain stays in float, as in the reference. The passes, in order:

1. `_sink_dequantize`, `_hoist_quantize`: data movement and clamps commute with (de)quantization.
2. `_fix_outputs`, `_before_factors`: insert parameters that LiteRT prescribes or that follow from others.
3. `_cancel`: DEQUANTIZE -> QUANTIZE is removed, or becomes one int8-to-int8 QUANTIZE if the parameters differ.
4. `use_delegated`: rewrites operators without an int8 kernel in XNNPACK.
5. `_fold`: the chains become int8 operators; biases become int32 in units of input scale x weight scale.

The int8 rules are those of the "LiteRT 8-bit quantization specification" (ai.google.dev/edge/litert).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.emit.tflite.delegated import as_images, use_delegated
from export.emit.tflite.graph import CLAMPS, Graph, Op, Quantization, Tensor, constant

_MOVES = (
    "RESHAPE",
    "TRANSPOSE",
    "SLICE",
    "STRIDED_SLICE",
    "BROADCAST_TO",
    "RESIZE_NEAREST_NEIGHBOR",
    "PAD",
    "PADV2",
    "CONCATENATION",
)
_MONOTONE = ("MAX_POOL_2D", "REDUCE_MAX", "MAXIMUM", "MINIMUM", *CLAMPS)
"""Operators that pass on some of their inputs (or a bound): on int8 numbers they act as on floats."""

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_COMPUTING = (
    *_WEIGHTED,
    "ADD",
    "SUB",
    "MUL",
    "MEAN",
    "SUM",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "HARD_SWISH",
    "LEAKY_RELU",
    "ELU",
    "GELU",
    "LOGISTIC",
    "TANH",
    "SOFTMAX",
)
"""Operators with an int8 kernel whose output parameters may differ from those of the inputs."""

_FIXED = {
    "LOGISTIC": Quantization((1 / 256,), (-128,)),
    "SOFTMAX": Quantization((1 / 256,), (-128,)),
    "TANH": Quantization((1 / 128,), (0,)),
}
"""Output parameters that the specification prescribes."""

_LEFT_FLOAT = ("AVERAGE_POOL_2D",)
"""Operators with only a float kernel in the XNNPACK delegate: averages that `use_delegated` did not rewrite."""


def use_integers(graph: Graph) -> None:
    """Makes every operator whose inputs and output the reference quantizes compute in int8."""
    as_images(graph)
    _sink_dequantize(graph)
    _hoist_quantize(graph)
    _fix_outputs(graph)
    _before_factors(graph)
    _cancel(graph)
    use_delegated(graph)
    _fold(graph)
    graph.remove_unread()


def _int8(like: Tensor, quantization: Quantization | None, *, suffix: str = "int8") -> Tensor:
    return Tensor(f"{like.name}/{suffix}", like.shape, "int8", quantization=quantization)


def _read_as_int8(tensor: Tensor, producers: dict[Tensor, Op]) -> Tensor | None:
    """The int8 tensor of which `tensor` is the DEQUANTIZE."""
    op = producers.get(tensor)
    return op.inputs[0] if op is not None and op.kind == "DEQUANTIZE" else None


def _is_activation(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.data is None


def _sink_dequantize(graph: Graph) -> None:
    """Rewrites DEQUANTIZE -> RESHAPE to RESHAPE -> DEQUANTIZE (all inputs with the same parameters)."""
    producers: dict[Tensor, Op] = {}
    ops: list[Op] = []
    for op in graph.ops:
        ops.append(op)
        if op.kind in (*_MOVES, *_MONOTONE):
            computed = [tensor for tensor in op.inputs if tensor.data is None]
            sources = [_read_as_int8(tensor, producers) for tensor in computed]
            first = sources[0] if sources else None
            meaning = first.quantization if first is not None else None
            # Per-index scales would have to move with their axis.
            if (
                meaning is not None
                and meaning.axis is None
                and all(source is not None and source.quantization == meaning for source in sources)
            ):
                result = op.output
                op.inputs = [_same_numbers(tensor, producers, meaning) for tensor in op.inputs]
                op.outputs = [_int8(result, meaning)]
                ops.append(Op("DEQUANTIZE", [op.output], [result]))
        producers.update({tensor: made for made in ops[-2:] for tensor in made.outputs})
    graph.ops = ops


def _same_numbers(tensor: Tensor, producers: dict[Tensor, Op], meaning: Quantization) -> Tensor:
    source = _read_as_int8(tensor, producers)
    if source is not None:
        return source
    if tensor.data is not None and tensor.dtype == "float32":
        return constant(tensor.name, meaning.quantize(tensor.data), quantization=meaning)
    return tensor


def _hoist_quantize(graph: Graph) -> None:
    """Rewrites RESHAPE -> QUANTIZE to QUANTIZE -> RESHAPE (on every input of a CONCATENATION)."""
    for quantize in reversed([op for op in graph.ops if op.kind == "QUANTIZE"]):
        producers, consumers = graph.producers(), graph.consumers()
        move = producers.get(quantize.inputs[0])
        meaning = quantize.output.quantization
        assert meaning is not None
        while move is not None and move.kind in _MOVES and _read_alone(graph, move.output, consumers):
            sources = [tensor for tensor in move.inputs if tensor.data is None]
            made = [Op("QUANTIZE", [tensor], [_int8(tensor, meaning)]) for tensor in sources]
            names = dict(zip(sources, (op.output for op in made), strict=True))
            move.inputs = [names.get(t) or _same_numbers(t, {}, meaning) for t in move.inputs]
            move.outputs = [quantize.output]
            graph.ops.remove(quantize)
            at = graph.ops.index(move)
            graph.ops[at:at] = made
            if len(made) > 1:
                break
            quantize = made[0]
            producers, consumers = graph.producers(), graph.consumers()
            move = producers.get(quantize.inputs[0])


def _read_alone(graph: Graph, tensor: Tensor, consumers: dict[Tensor, list[Op]]) -> bool:
    return len(consumers.get(tensor, ())) == 1 and tensor not in graph.outputs


def _requantized(op: Op, meaning: Quantization) -> list[Op]:
    """`op` followed by QUANTIZE and DEQUANTIZE with `meaning`; consumers of its output do not change."""
    result = op.output
    raw = replace(result, name=f"{result.name}/float")
    op.outputs = [raw]
    number = _int8(result, meaning, suffix="fixed")
    return [op, Op("QUANTIZE", [raw], [number]), Op("DEQUANTIZE", [number], [result])]


def _fix_outputs(graph: Graph) -> None:
    """Adds a pair QUANTIZE -> DEQUANTIZE after operators with prescribed output parameters."""
    producers = graph.producers()
    ops: list[Op] = []
    for op in graph.ops:
        fixed = _FIXED.get(op.kind)
        if fixed and _is_activation(_read_as_int8(op.inputs[0], producers)):
            ops += _requantized(op, fixed)
        else:
            ops.append(op)
    graph.ops = ops


def _before_factors(graph: Graph) -> None:
    """Quantizes the input of MUL by a number f -> QUANTIZE with scale s: with scale s / f.

    Multiplying and rounding in units of s equals rounding in units of s / f and multiplying, so no number changes.
    """
    producers, consumers = graph.producers(), graph.consumers()
    ops: list[Op] = []
    for op in reversed(graph.ops):
        ops.append(op)
        factor = _factor(op)
        readers = consumers.get(op.output, []) if op.kind == "MUL" else []
        if factor is None or not readers or readers[0].kind != "QUANTIZE":
            continue
        (source,) = (tensor for tensor in op.inputs if tensor.data is None)
        before, meaning = producers.get(source), readers[0].output.quantization
        if before is None or before.kind not in _COMPUTING or not _read_alone(graph, source, consumers):
            continue
        if not any(_is_activation(_read_as_int8(tensor, producers)) for tensor in before.inputs):
            continue
        assert meaning is not None
        unit = Quantization((float(np.float32(meaning.scale[0] / factor)),), meaning.zero_point)
        number, again = _int8(source, unit), replace(source, name=f"{source.name}/rounded")
        op.inputs = [again if tensor is source else tensor for tensor in op.inputs]
        ops += [Op("DEQUANTIZE", [number], [again]), Op("QUANTIZE", [source], [number])]
        consumers[source] = [ops[-1]]
    graph.ops = ops[::-1]


def _factor(op: Op) -> float | None:
    """The positive number that `op` multiplies by, if it is such a product."""
    numbers = [tensor.data for tensor in op.inputs if tensor.data is not None]
    if op.kind != "MUL" or len(numbers) != 1 or numbers[0].size != 1 or numbers[0].item() <= 0:
        return None
    return numbers[0].item()


def _cancel(graph: Graph) -> None:
    """Replaces DEQUANTIZE -> QUANTIZE with the int8 tensor, or with one QUANTIZE from int8 to int8."""
    producers = graph.producers()
    for op in list(graph.ops):
        source = _read_as_int8(op.inputs[0], producers) if op.kind == "QUANTIZE" else None
        if source is None:
            continue
        if source.quantization == op.output.quantization and op.output not in graph.outputs:
            graph.replace(op.output, source)
        else:
            op.inputs = [source]
    graph.remove_unread()


def _fold(graph: Graph) -> None:
    """Replaces DEQUANTIZE -> operator -> QUANTIZE with the int8 operator."""
    for op in graph.ops[:]:
        if op.kind not in _COMPUTING or op.kind in _LEFT_FLOAT or op.output in graph.outputs:
            continue
        producers, readers = graph.producers(), graph.consumers().get(op.output, [])
        meanings = {reader.output.quantization for reader in readers if reader.kind == "QUANTIZE"}
        if len(meanings) != 1 or any(reader.kind != "QUANTIZE" for reader in readers):
            continue
        inputs = _integer_inputs(op, producers)
        if inputs is None:
            continue
        number = readers[0].output
        for reader in readers:
            graph.ops.remove(reader)
            graph.replace(reader.output, number)
        op.inputs, op.outputs = inputs, [number]


def _integer_inputs(op: Op, producers: dict[Tensor, Op]) -> list[Tensor] | None:
    """Inputs of the int8 form of `op`, or None if one of them is not quantized in the reference."""
    if op.kind in _WEIGHTED:
        source, weight = (_read_as_int8(tensor, producers) for tensor in op.inputs[:2])
        if source is None or weight is None or weight.data is None:
            return None
        return [source, *_weight_and_bias(source, weight, op.inputs[2])]
    inputs: list[Tensor] = []
    for tensor in op.inputs:
        source = _read_as_int8(tensor, producers)
        if source is None and tensor.data is None:
            return None
        inputs.append(source or _constant_operand(tensor))
    return inputs


def _constant_operand(tensor: Tensor) -> Tensor:
    """A float constant as int8 with its own scale; axes and shapes stay as they are."""
    if tensor.dtype != "float32" or tensor.data is None:
        return tensor
    largest = float(np.abs(tensor.data).max()) or 1.0
    meaning = Quantization((float(np.float32(largest / 127)),), (0,))
    return constant(tensor.name, meaning.quantize(tensor.data), quantization=meaning)


def _weight_and_bias(source: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The int8 weight and the int32 bias in units of input scale x weight scale.

    A channel whose weights are all zero may have any scale; a tiny one would overflow the int32 bias, so such a
    channel gets the largest scale of its weight.
    """
    assert source.quantization and weight.quantization and weight.data is not None and bias.data is not None
    meaning = weight.quantization
    if any(meaning.zero_point):
        raise NotImplementedError(
            f"weight {weight.name!r} has a zero point; LiteRT's int8 weights are symmetric"
        )
    if meaning.axis is not None:
        other_axes = tuple(axis for axis in range(weight.data.ndim) if axis != meaning.axis)
        empty = ~weight.data.any(axis=other_axes)
        scales = np.where(empty, max(meaning.scale), meaning.scale)
        meaning = replace(meaning, scale=tuple(float(scale) for scale in scales))
        weight = constant(weight.name, weight.data, quantization=meaning)
    units = np.float64(source.quantization.scale[0]) * np.asarray(meaning.scale, np.float64)
    numbers = np.rint(bias.data.astype(np.float64) / units)
    if np.abs(numbers).max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(
            f"bias {bias.name!r} does not fit int32 in units of its weight scale; use a larger weight scale"
        )
    scale = tuple(float(np.float32(unit)) for unit in np.broadcast_to(units, np.shape(meaning.scale)))
    axis = None if meaning.axis is None else 0
    offsets = Quantization(scale, (0,) * len(scale), axis)
    return weight, constant(bias.name, numbers.astype(np.int32), quantization=offsets)
