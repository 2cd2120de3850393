"""Passes over data movement: values move as one byte each, and as little as possible."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import (
    bypass,
    initializer,
    is_per_tensor,
    nodes,
    read_once,
    same_parameters,
    source,
    static_shape,
    take_place,
)

if TYPE_CHECKING:
    import onnx_ir as ir


MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that move values without changing any: they commute with per-tensor Q and DQ."""


def quantize_before_moving(model: ir.Model) -> int:
    """Moves Q up through data movement, so that one byte a value is moved instead of four.

    Given: X -> Transpose/Reshape/... -> Q, and no other consumer of the moved values.
    Result: X -> Q -> Transpose/Reshape/...
    """
    import onnx_ir as ir

    count = 0
    for quantize in reversed(nodes(model, "QuantizeLinear")):
        move = source(quantize).producer() if is_per_tensor(quantize) else None
        while move is not None and move.op_type in MOVES and read_once(move.outputs[0]):
            values = source(move)
            early = ir.node("QuantizeLinear", [values, *quantize.inputs[1:]], name=f"{move.name}_early_q")
            early.outputs[0].shape, early.outputs[0].type = values.shape, quantize.outputs[0].type
            model.graph.insert_before(move, early)
            move.replace_input_with(0, early.outputs[0])
            move.outputs[0].type = quantize.outputs[0].type
            bypass(model, quantize, move.outputs[0])
            quantize, move = early, values.producer()
            count += 1
    return count


def dequantize_after_moving(model: ir.Model) -> int:
    """Moves DQ down through data movement, so that one byte a value is moved instead of four.

    Given: DQ -> Transpose/Reshape/...
    Result: Transpose/Reshape/... -> DQ
    """
    import onnx_ir as ir

    count = 0
    for move in nodes(model, *MOVES):
        dequantize = source(move).producer()
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or not is_per_tensor(dequantize):
            continue
        integers = source(dequantize)
        moved = ir.Node(
            "",
            move.op_type,
            [integers, *move.inputs[1:]],
            move.attributes.values(),
            name=f"{move.name}_moved",
        )
        moved.outputs[0].shape, moved.outputs[0].type = move.outputs[0].shape, integers.type
        late = ir.node(
            "DequantizeLinear", [moved.outputs[0], *dequantize.inputs[1:]], name=f"{move.name}_late_dq"
        )
        model.graph.insert_before(move, moved)
        take_place(model, move, late)
        count += 1
    return count


def cancel_round_trips(model: ir.Model) -> int:
    """Drops a requantization that changes nothing.

    Given: DQ -> Q with equal scale and zero point.
    Result: the consumers of Q take the input of DQ.
    """
    count = 0
    for quantize in nodes(model, "QuantizeLinear"):
        dequantize = source(quantize).producer()
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        if is_per_tensor(quantize) and same_parameters(dequantize, quantize):
            bypass(model, quantize, source(dequantize))
            count += 1
    return count


def view_in_channels_last(model: ir.Model) -> int:
    """Rewrites a reshape so that no value moves if both shapes are stored channels-last.

    ONNX Runtime runs integer convolutions channels-last, between transposes that it inserts.

    Given: a chain of Transpose and Reshape that is a plain reshape if values of rank 4 are stored channels-last:
    T C H W -> 1 C T H*W and back, rows of images, or the flattening before pooling.
    Result: Transpose to channels-last -> Reshape -> Transpose back, where the value has rank 4; both transposes
    cancel with their inverses.
    """
    import onnx_ir as ir

    count = 0
    for last in nodes(model, "Transpose", "Reshape"):
        chain = _chain_of_moves(last)
        first = source(chain[0])
        if len(chain) < 2:
            continue
        places = np.arange(math.prod(static_shape(first))).reshape(static_shape(first))
        moved = places
        for node in chain:
            moved = _move(node, moved)
        before, after = _channels_last(places), _channels_last(moved)
        if 4 not in (places.ndim, moved.ndim) or not np.array_equal(before.reshape(after.shape), after):
            continue
        view = first
        if places.ndim == 4:
            to_last = ir.node("Transpose", [first], {"perm": (0, 2, 3, 1)}, name=f"{last.name}_to_last")
            model.graph.insert_before(last, to_last)
            view = to_last.outputs[0]
            view.shape, view.type = ir.Shape(before.shape), first.type
        sizes = initializer(model, f"{last.name}_channels_last", np.array(after.shape, np.int64))
        reshape = ir.node("Reshape", [view, sizes], name=f"{last.name}_view")
        if moved.ndim == 4:
            model.graph.insert_before(last, reshape)
            reshape.outputs[0].shape, reshape.outputs[0].type = ir.Shape(after.shape), first.type
            back = {"perm": (0, 3, 1, 2)}
            reshape = ir.node("Transpose", [reshape.outputs[0]], back, name=f"{last.name}_back")
        take_place(model, last, reshape)
        count += 1
    return count


def _channels_last(values: np.ndarray) -> np.ndarray:
    """`N C H W` as `N H W C`; other ranks unchanged."""
    return np.transpose(values, (0, 2, 3, 1)) if values.ndim == 4 else values


def _chain_of_moves(last: ir.Node) -> list[ir.Node]:
    """The longest chain of Transpose and Reshape that ends with `last` and has no other consumer."""
    if any(reader.op_type in ("Transpose", "Reshape") for reader in last.outputs[0].consumers()):
        return [last]
    chain = [last]
    while True:
        before = source(chain[0]).producer()
        if (
            before is None
            or before.op_type not in ("Transpose", "Reshape")
            or not read_once(before.outputs[0])
        ):
            return chain
        chain.insert(0, before)


def _move(node: ir.Node, values: np.ndarray) -> np.ndarray:
    """`values` after a Transpose or Reshape node."""
    if node.op_type == "Transpose":
        return np.transpose(values, node.attributes.get_ints("perm"))
    return values.reshape(static_shape(node.outputs[0]))
