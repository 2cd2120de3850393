"""The table of pruning criteria. A new one is a file here and one line."""

from __future__ import annotations

from compress.pruning.criterion import PruningCriterion
from compress.pruning.magnitude import magnitude

PRUNING_CRITERIA: dict[str, PruningCriterion] = {
    "magnitude": magnitude,
}
