"""Coverage of a `.tflite` file by the XNNPACK delegate, from LiteRT itself, which applies the delegate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from math import prod
from pathlib import Path

from export.verify.coverage.litert_file import Operator, read_file
from export.verify.coverage.litert_rules import reason
from export.verify.coverage.report import Coverage, LeftBehind


def litert_coverage(path: Path, *, places: Mapping[str, str]) -> Coverage:
    """Coverage of the file at `path`; `places` gives the user's source line for names of torch nodes.

    Raises ImportError without ai-edge-litert, and the errors of the runtime for a file that it cannot load.
    """
    operators = read_file(path)
    partitions = {op.partition for op in operators if op.partition is not None}
    left = [op for op in operators if op.partition is None]
    macs = {id(op): _macs(op) for op in operators}
    total = sum(macs.values())
    return Coverage(
        macs=total,
        accelerated_macs=total - sum(macs[id(op)] for op in left),
        partitions=len(partitions),
        left=tuple(_left_behind(op, places) for op in left),
        source=f"LiteRT {version('ai-edge-litert')}: the operators that its XNNPACK delegate took",
    )


def _left_behind(op: Operator, places: Mapping[str, str]) -> LeftBehind:
    name = op.outputs[0].name
    # A tensor's name is that of its torch node, a slash, and the writer's suffix.
    place = places.get(name) or places.get(name.partition("/")[0])
    return LeftBehind(node=name, operator=op.kind, macs=_macs(op), reason=reason(op), place=place)


def _macs(op: Operator) -> int:
    return _COUNTS[op.kind](op) if op.kind in _COUNTS else 0


def _convolution(op: Operator) -> int:
    """Weights O H W I."""
    return op.outputs[0].size * prod(op.inputs[1].shape[1:])


def _depthwise(op: Operator) -> int:
    """Weights 1 H W O."""
    return op.outputs[0].size * prod(op.inputs[1].shape[1:3])


def _transposed(op: Operator) -> int:
    """Weights O H W I, then the values; every value is multiplied with its kernel."""
    return op.inputs[2].size * prod(op.inputs[1].shape[:3])


def _volume(op: Operator) -> int:
    """Weights D H W I O."""
    return op.outputs[0].size * prod(op.inputs[1].shape[:4])


def _fully_connected(op: Operator) -> int:
    """Weights O I."""
    return op.outputs[0].size * op.inputs[1].shape[1]


def _product(op: Operator) -> int:
    """Rows times columns, in either order of the first operand."""
    rows = op.outputs[0].shape[-2]
    return op.outputs[0].size * (prod(op.inputs[0].shape[-2:]) // rows)


_COUNTS: dict[str, Callable[[Operator], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D": _volume,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _product,
}
"""Multiply-adds by kind; other kinds are not counted."""
