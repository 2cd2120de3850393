"""Passes that shrink a graph without changing its results: fused clamps, merged RESHAPEs, ..."""

from __future__ import annotations

from export.emit.tflite.graph import CLAMPS, Graph, Op, Tensor, constant

_MOVES = ("RESHAPE", "TRANSPOSE")
_CAN_CLAMP = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV")


def fuse_clamps(graph: Graph) -> None:
    """Rewrites CONV_2D -> RESHAPE -> RELU to CONV_2D with the fused activation RELU -> RESHAPE.

    In int8, all must have the same scale and zero point.
    """
    for clamp in [op for op in graph.ops if op.kind in CLAMPS]:
        consumers, producers = graph.consumers(), graph.producers()
        moves: list[Op] = []
        source = clamp.inputs[0]
        while _alone(graph, source, consumers) and source in producers and producers[source].kind in _MOVES:
            moves.append(producers[source])
            source = moves[-1].inputs[0]
        before = producers.get(source)
        if before is None or before.kind not in _CAN_CLAMP or before.options.get("fusedActivationFunction"):
            continue
        if not _alone(graph, source, consumers) or source.quantization != clamp.output.quantization:
            continue
        before.options["fusedActivationFunction"] = clamp.kind
        source.name = f"{clamp.output.name}/{before.kind.lower()}"
        (moves[0] if moves else before).outputs = clamp.outputs
        graph.ops.remove(clamp)


def _alone(graph: Graph, tensor: Tensor, consumers: dict[Tensor, list[Op]]) -> bool:
    return len(consumers.get(tensor, ())) == 1 and tensor not in graph.outputs


def share(graph: Graph) -> None:
    """Merges equal operators on the same inputs.

    PAD is excluded: XNNPACK fuses it into a convolution, at no cost, only if that is its only consumer.
    """
    first: dict[tuple[object, ...], Op] = {}
    for op in [op for op in graph.ops if op.kind != "PAD" and len(op.outputs) == 1]:
        inputs = tuple(tensor if tensor.data is None else _content(tensor) for tensor in op.inputs)
        key = (op.kind, inputs, repr(op.options), *_kind_of(op.output))
        known = first.setdefault(key, op)
        if known is not op and op.output not in graph.outputs:
            graph.replace(op.output, known.output)
            graph.ops.remove(op)


def _kind_of(tensor: Tensor) -> tuple[object, ...]:
    """The type, the only difference between a CAST to int32 and one to float."""
    return tensor.dtype, tensor.shape, tensor.quantization


def _content(tensor: Tensor) -> tuple[object, ...]:
    assert tensor.data is not None
    return tensor.dtype, tensor.shape, tensor.data.tobytes(), tensor.quantization


def merge_reshapes(graph: Graph) -> None:
    """Merges RESHAPE -> RESHAPE into the last one, and drops one that changes nothing."""
    producers = graph.producers()
    for op in list(graph.ops):
        if op.kind != "RESHAPE":
            continue
        before = producers.get(op.inputs[0])
        while before is not None and before.kind == "RESHAPE":
            op.inputs[0] = before.inputs[0]
            before = producers.get(op.inputs[0])
        source = op.inputs[0]
        if source.shape == op.output.shape and op.output not in graph.outputs:
            graph.replace(op.output, source)
    graph.remove_unread()


def absorb_transpose(graph: Graph) -> None:
    """Replaces TRANSPOSE -> RESHAPE to (1, numbers) -> FULLY_CONNECTED by permuting the columns of the weight.

    This makes flattening an image free, which is channels first in torch and channels last in memory.
    """
    producers, consumers = graph.producers(), graph.consumers()
    for op in graph.ops:
        flat = producers.get(op.inputs[0]) if op.kind == "FULLY_CONNECTED" else None
        turn = producers.get(flat.inputs[0]) if flat is not None and flat.kind == "RESHAPE" else None
        if flat is None or turn is None or turn.kind != "TRANSPOSE":
            continue
        alone = len(consumers[flat.output]) == len(consumers[turn.output]) == 1
        if not alone or flat.output.shape[0] != 1 or len(flat.output.shape) != 2:
            continue
        if _has_groups(op, producers):
            continue
        _move_columns(op, turn, producers)
        flat.inputs[0] = turn.inputs[0]
    graph.remove_unread()


def _has_groups(op: Op, producers: dict[Tensor, Op]) -> bool:
    """Whether columns of the weight share scales with their neighbours."""
    holder = producers.get(op.inputs[1])
    meaning = None if holder is None else holder.inputs[0].quantization
    return meaning is not None and meaning.groups > 1


def _move_columns(op: Op, turn: Op, producers: dict[Tensor, Op]) -> None:
    holder = producers.get(op.inputs[1], op)
    slot = 0 if holder.kind == "DEQUANTIZE" else 1
    weight, moves = holder.inputs[slot], turn.inputs[1].data
    assert weight.data is not None and moves is not None
    columns = weight.data.reshape(len(weight.data), *turn.output.shape)
    back = [0, *(1 + list(moves).index(axis) for axis in range(len(moves)))]
    moved = columns.transpose(back).reshape(weight.data.shape)
    holder.inputs[slot] = constant(weight.name, moved, quantization=weight.quantization)
