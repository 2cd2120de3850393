"""Post-training quantization: calibration alone, without changes to the weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from compress.quantization.method import Decision, QuantizationMethod, Task
from export.quantize.ranges import RANGES

if TYPE_CHECKING:
    from export.quantize.observers import Ranges

CALIBRATION = ("ranges", "percentile", "weight_ranges", "equalize", "correct_bias")
"""Keys for methods whose ranges come from calibration alone."""


def calibrated_ranges(config: Any) -> Ranges:
    """Observers of the range method of the stage."""
    from export.quantize.observers import calibrated

    row = RANGES[config.ranges]
    search = partial(row.search, **{name: getattr(config, name) for name in row.settings})
    return calibrated(search, weights=config.weight_ranges)


def keep_as_calibrated(prepared: torch.fx.GraphModule, task: Task) -> Decision:
    """Does nothing after calibration."""
    return Decision()


PTQ = QuantizationMethod(
    ranges=calibrated_ranges,
    decide=keep_as_calibrated,
    settings=CALIBRATION,
    schemes=("w8a8", "w8", "w4"),
)
