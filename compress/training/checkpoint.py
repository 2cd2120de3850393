"""The state of a training on disk, from which a killed training resumes to the same weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from compress.folders.writing import Damaged, read_sealed, write_sealed
from compress.training.selection import Curve, best_epoch

Weights = dict[str, Tensor]


@dataclass(kw_only=True)
class State:
    """The state of a training after its last complete epoch."""

    parts: Mapping[str, nn.Module | torch.optim.Optimizer]
    """Everything that learns, by name."""
    path: Path
    curve: Curve = ()
    """One row per complete epoch."""
    best: Weights = field(default_factory=dict)
    """The weights of the best epoch; empty if they are not kept."""

    def add(self, row: dict[str, float], *, result: nn.Module, keep_best: bool) -> None:
        """Appends the row of an epoch and writes the checkpoint; `result` has the weights that were validated."""
        self.curve += (row,)
        if keep_best and best_epoch(self.curve) == len(self.curve) - 1:
            self.best = {name: value.detach().clone() for name, value in result.state_dict().items()}
        buffer = io.BytesIO()
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({**parts, "curve": list(self.curve), "best": self.best}, buffer)
        write_sealed(self.path, buffer.getvalue())

    def resume(self, name: str, *, device: torch.device, console: Console) -> None:
        """Restores the checkpoint, if there is one; a damaged one is ignored with a message."""
        if not self.path.is_file():
            return
        try:
            data = read_sealed(self.path)
        except Damaged as damage:
            console.print(f"  {name}: restarts, because {damage}", markup=False, soft_wrap=True)
            return
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        for key, part in self.parts.items():
            part.load_state_dict(state[key])
        self.curve, self.best = tuple(state["curve"]), state["best"]
        console.print(f"  {name}: resumed after epoch {len(self.curve)}")
