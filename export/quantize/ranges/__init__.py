"""The table of range methods for int8 activations. A new one is a file here and one line."""

from __future__ import annotations

from export.quantize.ranges.divergence import KL
from export.quantize.ranges.extremes import MINMAX
from export.quantize.ranges.histogram import RangeMethod
from export.quantize.ranges.least_error import MSE
from export.quantize.ranges.percentile import PERCENTILE

RANGES: dict[str, RangeMethod] = {
    "mse": MSE,
    "minmax": MINMAX,
    "percentile": PERCENTILE,
    "kl": KL,
}
