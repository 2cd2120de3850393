"""A `.tflite` file in its runtime: operators, tensors, and the operators that the delegate took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from export.private.litert import operators_of


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor in memory order; `dtype` is NumPy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    """Quantization scales: none, one, or one per channel."""
    is_constant: bool

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the file; `partition` is the delegated part that contains it, `None` outside."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    partition: int | None


def read_file(path: Path) -> tuple[Operator, ...]:
    """The operators of a file in order of execution, after the runtime has applied its delegate."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    listed = operators_of(interpreter)
    nodes = [node for node in listed if node["op_name"] != "DELEGATE"]
    delegates = [node for node in listed if node["op_name"] == "DELEGATE"]
    taken = _taken(nodes, delegates)
    tensors = _tensors(interpreter, nodes)
    return tuple(
        Operator(
            kind=node["op_name"],
            inputs=tuple(tensors[i] for i in node["inputs"] if i >= 0),
            outputs=tuple(tensors[i] for i in node["outputs"]),
            partition=taken.get(node["index"]),
        )
        for node in nodes
    )


def _taken(nodes: Sequence[dict[str, Any]], delegates: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Node -> partition: the operators between the inputs and the outputs of a delegate."""
    maker = {tensor: node for node in nodes for tensor in map(int, node["outputs"])}
    found: dict[int, int] = {}
    for partition, delegate in enumerate(delegates):
        read = set(map(int, delegate["inputs"]))
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            node = None if tensor in read else maker.get(tensor)
            if node is not None and node["index"] not in found:
                found[node["index"]] = partition
                wanted += map(int, node["inputs"])
    return found


def _tensors(interpreter: Any, nodes: Sequence[dict[str, Any]]) -> dict[int, Tensor]:
    computed = {int(tensor) for node in nodes for tensor in node["outputs"]}
    given = {detail["index"] for detail in interpreter.get_input_details()}
    return {
        detail["index"]: Tensor(
            name=detail["name"],
            shape=tuple(map(int, detail["shape"])),
            dtype=np.dtype(detail["dtype"]).name,
            scales=tuple(map(float, detail["quantization_parameters"]["scales"])),
            is_constant=detail["index"] not in computed | given,
        )
        for detail in interpreter.get_tensor_details()
    }
