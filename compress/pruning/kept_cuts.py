"""Keeps the result of each cut, so that an interrupted stage resumes with equal shapes."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from compress.artifact import load_resized
from compress.folders.writing import Damaged, read_sealed, write_sealed
from compress.pruning.cut import Cut


def kept_cut(path: Path, model: nn.Module, make: Callable[[], Cut]) -> Cut:
    """The cut stored at `path`, or a new one. `model` is the network before it.

    Measured latencies differ between runs, and with them the channels that are removed.
    """
    if path.is_file():
        try:
            data = torch.load(io.BytesIO(read_sealed(path)), weights_only=True)
        except Damaged:
            path.unlink()
        else:
            weights, notes = data.pop("weights"), tuple(data.pop("notes"))
            pruned = copy.deepcopy(model)
            load_resized(pruned, weights)
            return Cut(model=pruned, notes=notes, **data)
    cut = make()
    buffer = io.BytesIO()
    torch.save(
        {
            "weights": cut.model.state_dict(),
            "cost": cut.cost,
            "originally": cut.originally,
            "notes": list(cut.notes),
        },
        buffer,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, buffer.getvalue())
    return cut
