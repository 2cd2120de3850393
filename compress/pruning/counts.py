"""Targets that are counted: multiply-accumulate operations, parameters, bytes of the exported file."""

from __future__ import annotations

from torch import nn

from compress.pruning.order import Limits, Removed, Slice, ranked
from compress.pruning.search import TOLERANCE, Found, search
from compress.pruning.target import Ranking, Setting
from models.counts import count_macs, count_parameters
from models.layers import BatchNorm

_SCALE_BYTES = 4


def bytes_of(model: nn.Module, *, scheme: str) -> int:
    """Bytes of the weights in an exported file, with BatchNorms folded into their layers.

    Float: 4 for each weight. `w8a8`: 1 for each weight of a layer with two or more axes, 4 for each other one, and
    4 for the scale of each output channel. The graph of a file needs some kB more.
    """
    total = 0
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, BatchNorm):
                total += 4 * weight.numel() if name == "bias" else 0
            elif scheme == "w8a8" and weight.dim() > 1:
                total += weight.numel() + _SCALE_BYTES * len(weight)
            else:
                total += 4 * weight.numel()
    return total


class Counted:
    """A target whose cost is counted; channels are ranked by importance alone."""

    quantity: str
    unit: str
    notes: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        self._setting = setting
        self.original = self.count(model)

    def count(self, model: nn.Module) -> float:
        """The cost of a network."""
        raise NotImplementedError

    def cut(self, model: nn.Module, ranking: Ranking, *, goal: float) -> Found:
        """The network whose count is at most `goal`, and at least 2 % of the original less where slices permit."""
        limits = ranking.limits

        def order(removed: Removed, round_to: int) -> list[Slice]:
            smaller = Limits(
                round_to=round_to, max_pruning_ratio=limits.max_pruning_ratio, originally=limits.originally
            )
            return ranked(
                ranking.importances,
                smaller,
                scope=ranking.scope,
                isomorphic=ranking.isomorphic,
                removed=removed,
            )

        return search(
            model,
            order,
            self.count,
            goal=goal,
            tolerance=TOLERANCE * self.original,
            round_to=limits.round_to,
        )


class Macs(Counted):
    """Multiply-accumulate operations for one clip."""

    quantity = unit = "MACs"

    def count(self, model: nn.Module) -> float:
        """Multiply-accumulate operations for one clip."""
        return float(count_macs(model, self._setting.spec))


class Parameters(Counted):
    """Number of parameters."""

    quantity = unit = "parameters"

    def count(self, model: nn.Module) -> float:
        """Number of parameters."""
        return float(count_parameters(model))


class SizeBytes(Counted):
    """Bytes of the weights in an exported file."""

    quantity, unit = "weights in the file", "bytes"

    def count(self, model: nn.Module) -> float:
        """Bytes of the weights in a file of the scheme of the setting."""
        return float(bytes_of(model, scheme=self._setting.scheme))
