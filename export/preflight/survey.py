"""Lowers a network as far as possible: refusals are recorded, and an extra input replaces each missing result."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lower.program import GraphLowering
from export.lower.source import Refusal
from export.verify.coverage.macs import macs


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """A lowered network, complete except for refused operators."""

    graph: fx.GraphModule
    """The lowered part; it has an additional input for each result that could not be computed."""
    refusals: tuple[Refusal, ...]
    macs: int
    """Multiply-adds of the captured network."""

    def examples(self) -> tuple[Tensor, ...]:
        """Random inputs of the right shapes: integers are 0."""
        generator = torch.Generator().manual_seed(0)
        values = [node.meta["val"] for node in self.graph.graph.nodes if node.op == "placeholder"]
        return tuple(
            torch.rand(value.shape, generator=generator).to(value.dtype)
            if value.is_floating_point()
            else torch.zeros(value.shape, dtype=value.dtype)
            for value in values
        )


class _Survey(GraphLowering):
    """A lowering that continues after a refusal."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program)
        self.refusals: list[Refusal] = []

    def _operator(self, node: fx.Node) -> Any:
        try:
            return super()._operator(node)
        except Refusal as refusal:
            self.refusals.append(refusal)
            value = node.meta["val"]
            if isinstance(value, Tensor):
                return self._stand_in(node.name, value)
            return tuple(self._stand_in(f"{node.name}_{i}", part) for i, part in enumerate(value))

    def _stand_in(self, name: str, value: Tensor) -> Any:
        given: Any = SimpleNamespace(name=f"{name}_unknown", meta={"val": value})
        return self.input(given)


def survey(program: ExportedProgram) -> Surveyed:
    """Lowers `program` and records refusals. Raises ValueError if its inputs or outputs are not plain tensors."""
    lowering = _Survey(program)
    graph = lowering.run()
    return Surveyed(
        graph=graph,
        refusals=tuple(lowering.refusals),
        macs=sum(map(macs, lowering.module.graph.nodes)),
    )
